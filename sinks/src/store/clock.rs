//! The time, as the store writes it down.

use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat};

/// Microseconds since 1970, by this machine's clock.
pub(super) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// A time as RFC 3339 with seconds; the beginning of 1970 if it has no such form.
pub(super) fn rfc3339(time_us: i64) -> String {
    DateTime::from_timestamp_micros(time_us).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Secs, true)
}
