//! When a server asks to be called again (RFC 9110, section 10.2.3).

use std::time::{Duration, SystemTime};

use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

/// The longest wait that is believed; a number without a bound would overflow clocks.
const WAIT_MAX: Duration = Duration::from_secs(60 * 60);

/// What `Retry-After` asks for, at most an hour: seconds, or a date, which is compared with the
/// server's own clock where it sends one. A date in the past is "now".
pub(crate) fn read(headers: &HeaderMap) -> Option<Duration> {
    let seconds = seconds(headers)?;
    Some(Duration::from_secs(seconds).min(WAIT_MAX))
}

fn seconds(headers: &HeaderMap) -> Option<u64> {
    let text = text(headers, RETRY_AFTER)?;
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let then = unix_seconds(text)?;
    let now = text_date(headers).or_else(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.ok().map(|since| since.as_secs())
    })?;
    Some(then.saturating_sub(now))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn text_date(headers: &HeaderMap) -> Option<u64> {
    unix_seconds(text(headers, DATE)?)
}

/// Reads the one date form that servers send, `Sun, 06 Nov 1994 08:49:37 GMT`.
fn unix_seconds(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_weekday, rest) = text.split_once(", ")?;
    let mut words = rest.strip_suffix(" GMT")?.split(' ');
    let day: u64 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|&month| month == name)? as u64 + 1;
    let year: u64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(str::parse);
    let (hour, minute, second): (u64, u64, u64) = (
        clock.next()?.ok()?,
        clock.next()?.ok()?,
        clock.next()?.ok()?,
    );
    let valid = (1970..=9999).contains(&year) && (1..=31).contains(&day);
    if !valid || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days from 1970-01-01 to a date: Howard Hinnant's `days_from_civil` for years after 1970.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
        headers.insert(RETRY_AFTER, text.parse().unwrap());
        read(&headers)
    }

    #[test]
    fn seconds_and_dates_are_read_and_nonsense_is_not() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(after("0"), seconds(0));
        assert_eq!(after(" 120 "), seconds(120));
        assert_eq!(after("Sun, 06 Nov 1994 08:50:07 GMT"), seconds(30));
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT"), seconds(0));
        assert_eq!(after("18446744073709551615"), Some(WAIT_MAX));
        for text in [
            "",
            "-1",
            "soon",
            "1.5",
            "Sun, 06 Nov 1994",
            "Sun, 99 Nov 1994 08:50:07 GMT",
        ] {
            assert_eq!(after(text), None, "{text}");
        }
        assert_eq!(read(&HeaderMap::new()), None);
    }

    #[test]
    fn dates_are_unix_seconds() {
        let table = [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Thu, 29 Feb 2024 12:00:00 GMT", 1_709_208_000),
            ("Fri, 31 Dec 2100 23:59:59 GMT", 4_133_980_799),
        ];
        for (text, expected) in table {
            assert_eq!(unix_seconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_date_without_the_servers_clock_is_compared_with_ours() {
        let mut headers = HeaderMap::new();
        headers.insert(
            RETRY_AFTER,
            "Fri, 31 Dec 9999 23:59:59 GMT".parse().unwrap(),
        );
        assert_eq!(read(&headers), Some(WAIT_MAX));
    }
}
