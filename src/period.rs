//! From when to when some events are.
//!
//! The API server writes every time in one form, in which texts order as times do. So a time is
//! read only where that is not known of it.

use chrono::{DateTime, Utc};
use detect::event::{Event, Key};
use detect::json::Json;

/// How many bytes the usual form has: `2026-01-02T03:04:05.678901Z`.
const PLAIN_BYTES: usize = 27;
/// How many of them say date, hour and minute.
const MINUTE_BYTES: usize = 17;

type Plain = [u8; PLAIN_BYTES];

/// The times of the first and the last of some events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Period {
    /// Of times in the usual form.
    plain: Option<(Plain, Plain)>,
    /// Of times in any other form.
    read: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// The beginning of a time that has been read.
    minute: [u8; MINUTE_BYTES],
}

impl Period {
    /// Extends the period to an event, if it has a time.
    pub(crate) fn add(&mut self, event: &Event<'_>) {
        let keys = [Key::RequestReceivedTimestamp, Key::StageTimestamp];
        let _ = keys.iter().filter_map(|key| event.get(*key)).any(|time| self.add_time(time));
    }

    /// Extends the period to another.
    pub(crate) fn merge(&mut self, other: &Self) {
        if let Some((first, last)) = other.bounds() {
            self.extend(first);
            self.extend(last);
        }
    }

    /// The first and the last time.
    pub(crate) fn bounds(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let plain = self.plain.and_then(|(first, last)| Some((parsed(&first)?, parsed(&last)?)));
        match (plain, self.read) {
            (Some((first, last)), Some(read)) => Some((first.min(read.0), last.max(read.1))),
            (plain, read) => plain.or(read),
        }
    }

    /// False if it is no time.
    fn add_time(&mut self, time: Json<'_>) -> bool {
        let plain = time.bytes().strip_prefix(b"\"").and_then(<[u8]>::first_chunk::<PLAIN_BYTES>);
        match plain.filter(|plain| time.bytes().len() == PLAIN_BYTES + 2 && self.is_plain(plain)) {
            Some(plain) => {
                let (first, last) = self.plain.unwrap_or((*plain, *plain));
                self.plain = Some((first.min(*plain), last.max(*plain)));
                true
            }
            None => {
                time.as_str().and_then(|text| parsed(text.as_bytes())).map(|time| self.extend(time)).is_some()
            }
        }
    }

    /// True for a time in the usual form. Many events are of one minute, which is read once.
    fn is_plain(&mut self, time: &Plain) -> bool {
        let (minute, rest) = time.split_at(MINUTE_BYTES);
        let is_digits = |digits: &[u8]| digits.iter().all(u8::is_ascii_digit);
        let has_form = rest[0] < b'6'
            && rest[2] == b'.'
            && rest[9] == b'Z'
            && is_digits(&rest[..2])
            && is_digits(&rest[3..9]);
        if !has_form || minute == self.minute {
            return has_form;
        }
        let is_known = minute[10] == b'T' && parsed(time).is_some();
        if is_known {
            self.minute.copy_from_slice(minute);
        }
        is_known
    }

    fn extend(&mut self, time: DateTime<Utc>) {
        let (first, last) = self.read.unwrap_or((time, time));
        self.read = Some((first.min(time), last.max(time)));
    }
}

fn parsed(text: &[u8]) -> Option<DateTime<Utc>> {
    let text = std::str::from_utf8(text).ok()?;
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_time_count_in_whatever_form() {
        let mut period = Period::default();
        for time in [
            "2026-01-02T03:04:05.678901Z",
            "2026-01-02T03:04:04.000000Z",
            "2026-01-02T04:04:06+01:00",
            "2026-01-02T03:05:00.000001Z",
            "2026-13-02T03:05:00.000001Z",
            "9999-99-99T99:99:99.999999Z",
            "2026-01-02T03:04:61.000000Z",
            "2026-01-02T03:09:0x.000000Z",
            "2026-01-02 03:09:00.000000Z",
            "2026-01-02T03:09:00,000000Z",
            "2026-01-02T03:09:00.000000z",
            "long ago",
        ] {
            let event = format!(r#"{{"verb":"get","requestReceivedTimestamp":"{time}"}}"#);
            period.add(&Event::parse(event.as_bytes()).unwrap());
        }
        let mut slow = Period::default();
        for time in ["2026-01-02T03:04:04Z", "2026-01-02T03:09:00Z"] {
            slow.extend(parsed(time.as_bytes()).unwrap());
        }
        assert_eq!(period.bounds(), slow.bounds());
    }

    #[test]
    fn where_no_request_was_received_the_stage_counts() {
        let mut period = Period::default();
        let event = br#"{"requestReceivedTimestamp":"x","stageTimestamp":"2026-01-02T03:04:05.678901Z"}"#;
        period.add(&Event::parse(event).unwrap());
        let (first, last) = period.bounds().unwrap();
        assert_eq!((first, first.timestamp()), (last, 1_767_323_045));
    }
}
