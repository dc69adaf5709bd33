//! Example events beside rules: one example a line, saying what should match and why.
//!
//! An example is one `event`, or for a correlation several `events`, each some time `after`
//! the one before it, and `times` over if need be.

use std::borrow::Cow;
use std::path::PathBuf;

use chrono::{DateTime, Datelike, SecondsFormat, TimeDelta, Utc};
use detect::sigma::correlation::parse_timespan;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::files::{self, Origin, RuleFile};

/// How many events one example may stand for.
const EVENTS_MAX: usize = 100_000;
/// When the first event of an example happens unless it says so itself.
const START_S: i64 = 1_767_225_600;
/// The last year that RFC 3339 can name.
const YEAR_MAX: i32 = 9999;
/// How much later an event is than the one before unless it says `after`.
const STEP_S: i64 = 1;

/// One line of a file of examples.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Example<'e> {
    /// Whether something is to match.
    pub(crate) r#match: bool,
    /// What the example shows.
    pub(crate) why: String,
    /// The id, name or title of the rule that is meant, where a file holds several.
    pub(crate) rule: Option<String>,
    #[serde(borrow)]
    event: Option<&'e RawValue>,
    events: Option<Vec<Step>>,
}

/// One event of several, or the same event several times.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    event: Map<String, Value>,
    after: Option<String>,
    #[serde(default = "once")]
    times: usize,
}

/// What an example shows to rules.
pub(crate) enum Shown<'e> {
    /// One event.
    One(&'e str),
    /// Several, each with a time.
    Several(Vec<String>),
}

/// The path and the text of the example events of a rule file; empty if there are none.
pub(crate) fn beside(file: &RuleFile) -> anyhow::Result<(PathBuf, Cow<'static, str>)> {
    let path = file.path.with_extension("events.jsonl");
    let text = match file.origin {
        Origin::Embedded(events) => Cow::Borrowed(events.unwrap_or("")),
        Origin::Disk if path.is_file() => Cow::Owned(files::read_text(&path)?),
        Origin::Disk => Cow::Borrowed(""),
    };
    Ok((path, text))
}

fn once() -> usize {
    1
}

impl<'e> Example<'e> {
    /// Reads a line; gives the message and the column of what is wrong with it.
    pub(crate) fn parse(line: &'e str) -> Result<Self, (String, usize)> {
        serde_json::from_str(line).map_err(|error| {
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or(&message);
            (message.to_owned(), error.column())
        })
    }

    /// The events.
    pub(crate) fn shown(&self) -> Result<Shown<'e>, String> {
        match (self.event, &self.events) {
            (Some(event), None) => Ok(Shown::One(event.get())),
            (None, Some(steps)) => spread(steps).map(Shown::Several),
            _ => Err("an example has either `event` or `events`".to_owned()),
        }
    }
}

/// Every event with its time. In repeated ones `{n}` stands for the number of the repetition.
fn spread(steps: &[Step]) -> Result<Vec<String>, String> {
    let count = steps.iter().fold(0_usize, |count, step| count.saturating_add(step.times));
    if !(1..=EVENTS_MAX).contains(&count) {
        return Err(format!("an example has 1 to {EVENTS_MAX} events, found {count}"));
    }
    let (mut events, mut time) = (Vec::with_capacity(count), None);
    for step in steps {
        let after = match &step.after {
            None => TimeDelta::seconds(STEP_S),
            Some(text) => parse_timespan(text)
                .and_then(|after| TimeDelta::from_std(after).ok())
                .ok_or_else(|| format!("`after` must be a number and a unit, found `{text}`"))?,
        };
        for number in 1..=step.times {
            let now: DateTime<Utc> = match time {
                None => DateTime::from_timestamp(START_S, 0).unwrap_or_default(),
                Some(before) => later(before, after)?,
            };
            time = Some(now);
            events.push(at(&step.event, now, events.len(), number)?);
        }
    }
    Ok(events)
}

/// A time that can still be written as one.
fn later(before: DateTime<Utc>, after: TimeDelta) -> Result<DateTime<Utc>, String> {
    let now = before.checked_add_signed(after).filter(|now| now.year() <= YEAR_MAX);
    now.ok_or_else(|| format!("the events go on beyond the year {YEAR_MAX}"))
}

fn at(
    event: &Map<String, Value>,
    time: DateTime<Utc>,
    index: usize,
    number: usize,
) -> Result<String, String> {
    let mut event = event.clone();
    let time = time.to_rfc3339_opts(SecondsFormat::Micros, true);
    event.entry("requestReceivedTimestamp").or_insert_with(|| time.into());
    event.entry("auditID").or_insert_with(|| format!("00000000-0000-4000-8000-{index:012}").into());
    let text = serde_json::to_string(&event).map_err(|error| error.to_string())?;
    Ok(text.replace("{n}", &number.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn several(line: &str) -> Result<Vec<Value>, String> {
        let line = format!(r#"{{"match":true,"why":"w","events":{line}}}"#);
        match Example::parse(&line).map_err(|(message, _)| message)?.shown()? {
            Shown::Several(events) => {
                Ok(events.iter().map(|event| serde_json::from_str(event).unwrap()).collect())
            }
            Shown::One(_) => panic!("{line}"),
        }
    }

    #[test]
    fn repeated_events_are_numbered_and_timed() {
        let events =
            several(r#"[{"event":{"verb":"a"}},{"event":{"n":"x{n}"},"after":"1m","times":2}]"#).unwrap();
        let of = |key: &str| {
            events.iter().map(|event| event[key].as_str().unwrap_or("-").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(of("n"), ["-", "x1", "x2"]);
        let minutes =
            of("requestReceivedTimestamp").iter().map(|time| time[14..16].to_owned()).collect::<Vec<_>>();
        assert_eq!(minutes, ["00", "01", "02"]);
        assert_eq!(of("auditID").iter().collect::<std::collections::HashSet<_>>().len(), 3);
    }

    #[test]
    fn mistakes_are_said() {
        assert!(several("[]").unwrap_err().contains("1 to"));
        assert!(several(r#"[{"event":{},"after":"soon"}]"#).unwrap_err().contains("`soon`"));
        assert!(several(r#"[{"event":{},"times":99999999999}]"#).unwrap_err().contains("found"));
        assert!(several(r#"[{"event":{},"after":"100y","times":50000}]"#).unwrap_err().contains("9999"));
        assert!(several(r#"[{"event":{},"often":2}]"#).unwrap_err().contains("often"));
        let neither = Example::parse(r#"{"match":true,"why":"w"}"#).unwrap();
        assert!(neither.shown().is_err());
    }
}
