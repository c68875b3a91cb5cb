//! Numbers and times as protobuf has them.

use std::time::Duration;

use super::status::Refusal;

/// A time, from milliseconds since the Unix epoch.
pub(super) fn timestamp(unix_ms: u64) -> prost_types::Timestamp {
    let nanos = i32::try_from(unix_ms % 1000 * 1_000_000).expect("it is below a second");
    prost_types::Timestamp {
        seconds: int64(unix_ms / 1000),
        nanos,
    }
}

/// A length of time.
pub(super) fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: int64(duration.as_secs()),
        nanos: i32::try_from(duration.subsec_nanos()).expect("it is below a second"),
    }
}

/// A length of time that a client sent.
pub(super) fn parse_duration(
    field: &str,
    wire: prost_types::Duration,
) -> Result<Duration, Refusal> {
    Duration::try_from(wire)
        .map_err(|_| Refusal::field(field, format!("{field} must not be negative")))
}

/// The API counts in signed numbers (AIP-141); what is too large to be one is cut off.
pub(super) fn int64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// As [`int64`].
pub(super) fn int32(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
