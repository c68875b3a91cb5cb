//! Times as RFC 3339 texts.

const MS_PER_DAY: u64 = 86_400_000;

/// The time in milliseconds since the Unix epoch, in UTC, with an offset and milliseconds: what
/// Python's `datetime.fromisoformat` has always read.
pub(super) fn rfc3339(unix_ms: u64) -> String {
    let (year, month, day) = civil(unix_ms / MS_PER_DAY);
    let ms = unix_ms % MS_PER_DAY;
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}+00:00")
}

/// The date so many days after 1970-01-01: Howard Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>), for days that are not before it.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = match month_from_march {
        0..10 => month_from_march + 3,
        _ => month_from_march - 9,
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_other_clocks() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000+00:00"),
            (951_827_696_789, "2000-02-29T12:34:56.789+00:00"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999+00:00"),
            (1_764_671_400_000, "2025-12-02T10:30:00.000+00:00"),
            (4_102_444_800_000, "2100-01-01T00:00:00.000+00:00"),
        ] {
            assert_eq!(rfc3339(unix_ms), text);
        }
    }
}
