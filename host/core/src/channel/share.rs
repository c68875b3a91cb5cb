//! A share of deliberations.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A share in hundredths of a percent: 0 to 10,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Share(u16);

/// What is no share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a share: a percentage from 0 to 100 with at most two decimals, like `5` or `0.25`"
)]
pub struct NotAShare(String);

impl Share {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self(10_000);

    /// Hundredths of a percent.
    #[must_use]
    pub fn basis_points(self) -> u16 {
        self.0
    }

    /// As a probability, 0 to 1.
    #[must_use]
    pub fn probability(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }

    /// Whether the share takes what stands at this place of 2^32.
    #[must_use]
    pub fn takes(self, place: u32) -> bool {
        // Spreads the places over 10,000 without a remainder that favours some.
        let point = (u64::from(place) * 10_000) >> 32;
        point < u64::from(self.0)
    }
}

impl TryFrom<u16> for Share {
    type Error = NotAShare;

    /// Takes hundredths of a percent.
    fn try_from(basis_points: u16) -> Result<Self, NotAShare> {
        match Self(basis_points) {
            share if share <= Self::ALL => Ok(share),
            _ => Err(NotAShare(format!("{}", f64::from(basis_points) / 100.0))),
        }
    }
}

impl From<Share> for u16 {
    fn from(share: Share) -> Self {
        share.0
    }
}

/// Takes a percentage, with or without its sign.
impl FromStr for Share {
    type Err = NotAShare;

    fn from_str(text: &str) -> Result<Self, NotAShare> {
        let refused = || NotAShare(text.to_owned());
        let number = text.trim().trim_end_matches('%').trim_end();
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > 2 {
            return Err(refused());
        }
        let whole: u32 = whole.parse().map_err(|_| refused())?;
        let hundredths: u32 = format!("{decimals:0<2}").parse().map_err(|_| refused())?;
        let points = whole
            .checked_mul(100)
            .and_then(|it| it.checked_add(hundredths));
        let points = points.and_then(|it| u16::try_from(it).ok());
        let share = points.and_then(|it| Self::try_from(it).ok());
        share.ok_or_else(refused)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, part) if part % 10 == 0 => write!(f, "{whole}.{}%", part / 10),
            (whole, part) => write!(f, "{whole}.{part:02}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_read_and_printed() {
        for (text, shown) in [
            ("0", "0%"),
            ("5%", "5%"),
            ("0.25", "0.25%"),
            ("12.5 %", "12.5%"),
            ("99.90", "99.9%"),
            ("100", "100%"),
        ] {
            let share: Share = text.parse().unwrap();
            assert_eq!(share.to_string(), shown);
        }
        for text in [
            "",
            "%",
            "-1",
            "100.01",
            "1.234",
            "1e1",
            "1.",
            ".5",
            "999999999999",
        ] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_takes_its_part_of_all_places() {
        let taken = |text: &str| {
            let share: Share = text.parse().unwrap();
            let places = (0..100_000_u32).map(|it| it.wrapping_mul(2_654_435_761));
            places.filter(|place| share.takes(*place)).count()
        };
        assert_eq!(taken("0"), 0);
        assert_eq!(taken("100"), 100_000);
        assert!((9_900..10_100).contains(&taken("10")), "{}", taken("10"));
        assert!(Share::ALL.takes(u32::MAX) && !Share::NONE.takes(0));
    }
}
