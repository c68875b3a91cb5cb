//! Times as RFC 3339 has them.

/// The time in milliseconds since the Unix epoch; digits behind the milliseconds are cut off. `None`
/// when the text is no time of RFC 3339.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', 't'])?;
    let (time, offset_minutes) = split_offset(time)?;
    let mut date = date.splitn(3, '-');
    let year = digits(date.next()?, 4)?;
    let month = digits(date.next()?, 2)?;
    let day = digits(date.next()?, 2)?;
    let (time, fraction) = match time.split_once('.') {
        Some((time, fraction)) => (time, milliseconds(fraction)?),
        None => (time, 0),
    };
    let mut time = time.splitn(3, ':');
    let hour = digits(time.next()?, 2)?;
    let minute = digits(time.next()?, 2)?;
    let second = digits(time.next()?, 2)?;
    // A leap second is the last one of its minute.
    let sound = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !sound {
        return None;
    }
    let minutes = (days_since_epoch(year, month, day) * 24 + hour) * 60 + minute - offset_minutes;
    Some((minutes * 60 + second.min(59)) * 1_000 + fraction)
}

/// The time of so many milliseconds since the Unix epoch, in UTC.
#[must_use]
pub fn format_rfc3339(unix_ms: i64) -> String {
    let (days, ms) = (
        unix_ms.div_euclid(86_400_000),
        unix_ms.rem_euclid(86_400_000),
    );
    let (year, month, day) = date_of(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    let ms = ms % 1_000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// The time of the day, and by how many minutes it is ahead of UTC.
fn split_offset(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let at = time.rfind(['+', '-'])?;
    let (time, offset) = time.split_at(at);
    let (hours, minutes) = offset[1..].split_once(':')?;
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    (hours < 24 && minutes < 60).then_some((time, sign * (hours * 60 + minutes)))
}

/// A number of exactly so many digits.
fn digits(text: &str, count: usize) -> Option<i64> {
    let sound = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    sound.then(|| text.parse().ok()).flatten()
}

/// The first three digits of a fraction of a second.
fn milliseconds(fraction: &str) -> Option<i64> {
    let sound = (1..=9).contains(&fraction.len());
    let number = digits(fraction, fraction.len()).filter(|_| sound)?;
    let (length, three) = (fraction.len() as u32, 3);
    Some(if length < three {
        number * 10_i64.pow(three - length)
    } else {
        number / 10_i64.pow(length - three)
    })
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar: `days_from_civil` of
/// <https://howardhinnant.github.io/date_algorithms.html>.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// `civil_from_days` of the same page.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_fraction_and_their_offset() {
        for (text, unix_ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2025-11-21T23:00:00.123Z", 1_763_766_000_123),
            ("2025-11-21T23:00:00.123999999z", 1_763_766_000_123),
            ("2025-11-22T01:30:00.1+02:30", 1_763_766_000_100),
            ("2025-11-21t18:00:00-05:00", 1_763_766_000_000),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000),
            ("2016-12-31T23:59:60Z", 1_483_228_799_000),
        ] {
            assert_eq!(parse_rfc3339(text), Some(unix_ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2025-11-21",
            "2025-11-21T23:00:00",
            "2025-11-21 23:00:00Z",
            "2025-13-21T23:00:00Z",
            "2025-02-29T23:00:00Z",
            "2025-11-21T24:00:00Z",
            "2025-11-21T23:00Z",
            "2025-11-21T23:00:00.Z",
            "2025-11-21T23:00:00.0123456789Z",
            "2025-11-21T23:00:00+0200",
            "2025-11-21T23:00:00+24:00",
            "+025-11-21T23:00:00Z",
            "é025-11-21T23:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_that_was_written_is_read_back() {
        for unix_ms in (-5_000_000_000_000_i64..5_000_000_000_000).step_by(86_399_999_983) {
            let text = format_rfc3339(unix_ms);
            assert_eq!(parse_rfc3339(&text), Some(unix_ms), "{text}");
        }
    }
}
