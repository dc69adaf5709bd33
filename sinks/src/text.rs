//! Alerts for people: one block each, as they happen.
//!
//! ```text
//! HIGH      2026-03-01 12:00:00Z  Command run in a pod
//!           mallory ran `id` in pod dev/web-0
//!           from 203.0.113.9, succeeded, audit 5f2c…
//! ```
//!
//! An alert that is stored also has the beginning of its id, by which it can be asked for.

use std::io::{self, Write};

use detect::Alert;
use detect::sigma::Level;
use serde::Deserialize;

use crate::clean::clean_short;
use crate::palette::{Palette, level_name, level_named};
use crate::{Sink, clean};

/// How much of a name or an address one block shows, in characters.
const NAME_CHARACTERS_MAX: usize = 120;
/// The left margin: as wide as the longest level that is common, and a gap.
const MARGIN: &str = "          ";
/// How much of the id of a stored alert is shown, in characters: enough to be the only one.
const ID_CHARACTERS: usize = 8;
/// The narrowest terminal that lines are wrapped for, in columns.
const WIDTH_MIN: usize = 40;
/// The cluster whose name says nothing.
const CLUSTER_DEFAULT: &str = "default";

/// Writes alerts as blocks of text.
#[derive(Debug)]
pub struct Text<W> {
    writer: W,
    palette: Palette,
    width: Option<usize>,
}

impl<W: Write> Text<W> {
    /// Writes to `writer`; lines are wrapped to `width` columns, if it is known.
    pub fn new(writer: W, palette: Palette, width: Option<usize>) -> Self {
        Self { writer, palette, width }
    }

    /// Takes one alert as JSON.
    pub fn deliver_json(&mut self, json: &str) -> io::Result<()> {
        let stored: Stored = serde_json::from_str(json)?;
        self.show(&stored.shown())
    }

    fn show(&mut self, shown: &Shown<'_>) -> io::Result<()> {
        let (level, strong) = (self.palette.level(shown.level), self.palette.strong());
        let name = heading(level_name(shown.level));
        let gap = " ".repeat(MARGIN.len().saturating_sub(name.len()).max(1));
        let time = shown.time.map_or_else(|| "no time".to_owned(), short_time);
        let title = clean(shown.title);
        writeln!(self.writer, "{level}{name}{level:#}{gap}{time}  {strong}{title}{strong:#}")?;
        if !shown.summary.is_empty() {
            self.wrapped(&clean(shown.summary))?;
        }
        let (faint, circumstances) = (self.palette.faint(), circumstances(shown));
        if !circumstances.is_empty() {
            write!(self.writer, "{faint}")?;
            self.wrapped(&circumstances)?;
            write!(self.writer, "{faint:#}")?;
        }
        writeln!(self.writer)
    }

    fn wrapped(&mut self, text: &str) -> io::Result<()> {
        let options = textwrap::Options::new(self.width.map_or(usize::MAX, |width| width.max(WIDTH_MIN)))
            .initial_indent(MARGIN)
            .subsequent_indent(MARGIN)
            .word_splitter(textwrap::WordSplitter::NoHyphenation);
        writeln!(self.writer, "{}", textwrap::fill(text, options))
    }
}

impl<W: Write> Sink for Text<W> {
    fn deliver(&mut self, alert: &Alert) -> io::Result<()> {
        let request = alert.request();
        self.show(&Shown {
            level: alert.rule.level,
            time: alert.time.as_deref(),
            title: &alert.rule.title,
            summary: &alert.summary,
            ip: request.and_then(|request| request.source.ip.as_deref()),
            outcome: request.map(|request| request.outcome),
            cluster: &alert.cluster,
            audit_id: alert.audit_ids.first().map(String::as_str),
            stored_id: None,
            request_count: alert.correlated().map_or(1, |correlated| correlated.request_count),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// What a block shows of an alert.
struct Shown<'a> {
    level: Level,
    time: Option<&'a str>,
    title: &'a str,
    summary: &'a str,
    ip: Option<&'a str>,
    outcome: Option<&'a str>,
    cluster: &'a str,
    audit_id: Option<&'a str>,
    /// The id of the alert, if it is stored.
    stored_id: Option<&'a str>,
    request_count: u64,
}

/// What is read of an alert in its JSON form.
#[derive(Deserialize)]
struct Stored {
    id: Option<String>,
    rule: StoredRule,
    time: Option<String>,
    summary: String,
    source: Option<StoredSource>,
    outcome: Option<String>,
    cluster: String,
    #[serde(default)]
    audit_ids: Vec<String>,
    correlation: Option<StoredCorrelation>,
}

#[derive(Deserialize)]
struct StoredRule {
    level: String,
    title: String,
}

#[derive(Deserialize)]
struct StoredSource {
    ip: Option<String>,
}

#[derive(Deserialize)]
struct StoredCorrelation {
    request_count: u64,
}

impl Stored {
    fn shown(&self) -> Shown<'_> {
        Shown {
            level: level_named(&self.rule.level).unwrap_or(Level::Medium),
            time: self.time.as_deref(),
            title: &self.rule.title,
            summary: &self.summary,
            ip: self.source.as_ref().and_then(|source| source.ip.as_deref()),
            outcome: self.outcome.as_deref(),
            cluster: &self.cluster,
            audit_id: self.audit_ids.first().map(String::as_str),
            stored_id: self.id.as_deref(),
            request_count: self.correlation.as_ref().map_or(1, |correlation| correlation.request_count),
        }
    }
}

/// The level in capitals, short enough for the margin.
fn heading(level: &str) -> String {
    if level == "informational" { "INFO".to_owned() } else { level.to_ascii_uppercase() }
}

/// `2026-03-01T12:00:00.123456Z` as people write it; sub-seconds are in the JSON form.
fn short_time(time: &str) -> String {
    match (time.get(..10), time.get(11..19)) {
        (Some(date), Some(clock)) => format!("{date} {clock}Z"),
        _ => clean(time).into_owned(),
    }
}

/// Where from, how it ended, and how to find the event again.
fn circumstances(shown: &Shown<'_>) -> String {
    let mut parts = Vec::new();
    parts.extend(shown.ip.map(|ip| format!("from {}", clean_short(ip, NAME_CHARACTERS_MAX))));
    parts.extend(shown.outcome.map(|outcome| clean_short(outcome, NAME_CHARACTERS_MAX)));
    if !shown.cluster.is_empty() && shown.cluster != CLUSTER_DEFAULT {
        parts.push(format!("cluster {}", clean_short(shown.cluster, NAME_CHARACTERS_MAX)));
    }
    if let Some(id) = shown.audit_id {
        let others_count = shown.request_count.saturating_sub(1);
        let others = if others_count == 0 { String::new() } else { format!(" and {others_count} more") };
        parts.push(format!("audit {}{others}", clean_short(id, NAME_CHARACTERS_MAX)));
    }
    if let Some(id) = shown.stored_id {
        parts.push(format!("alert {}", clean(&id.chars().take(ID_CHARACTERS).collect::<String>())));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use detect::alert::{
        Actor, Alert, Correlated, Evidence, Request, RuleRef, SCHEMA, Source, Subject, Target,
    };

    use super::*;

    fn alert(subject: Subject) -> Alert {
        Alert {
            schema: SCHEMA,
            id: "0123456789abcdef".to_owned(),
            rule: RuleRef {
                id: "r".to_owned(),
                title: "Title \u{202e}".to_owned(),
                level: Level::Critical,
                tags: Vec::new(),
                attack: Vec::new(),
            },
            cluster: "prod".to_owned(),
            time: Some("2026-03-01T12:00:00.123456Z".to_owned()),
            detected_at: String::new(),
            summary: "mallory ran `id`\n".to_owned(),
            subject,
            audit_ids: vec!["a".to_owned(), "b".to_owned()],
            matched: vec![Evidence { field: "f".to_owned(), value: "v".to_owned() }],
            falsepositives: Vec::new(),
            event: None,
            event_in: None,
        }
    }

    #[test]
    fn a_stored_alert_looks_like_a_fresh_one_and_says_how_to_ask_for_it() {
        let actor = Actor { name: String::new(), kind: String::new(), groups: Vec::new(), original: None };
        let target = Target {
            verb: None,
            api_group: None,
            resource: None,
            subresource: None,
            namespace: None,
            name: None,
        };
        let ip = Some("203.0.113.9".to_owned());
        let source = Source { ip, scope: None, ips: Vec::new(), user_agent: None };
        let request = Request { outcome: "denied", dry_run: false, actor, source, target };
        let correlated = Correlated {
            r#type: "event_count",
            timespan_s: 60,
            started_at: String::new(),
            ended_at: String::new(),
            request_count: 7,
            number: 7.0,
            values: Vec::new(),
            group: Vec::new(),
            rules: Vec::new(),
            is_over: false,
        };
        let subjects = [
            (Subject::Request(Box::new(request)), "from 203.0.113.9, denied, cluster prod, audit a"),
            (Subject::Correlation { correlation: Box::new(correlated) }, "cluster prod, audit a and 6 more"),
        ];
        for (subject, last) in subjects {
            let alert = alert(subject);
            let (mut fresh, mut stored) = (Vec::new(), Vec::new());
            Text::new(&mut fresh, Palette::Colored, None).deliver(&alert).unwrap();
            let json = serde_json::to_string(&alert).unwrap();
            Text::new(&mut stored, Palette::Colored, None).deliver_json(&json).unwrap();
            let (fresh, stored) = (String::from_utf8(fresh).unwrap(), String::from_utf8(stored).unwrap());
            assert!(fresh.contains(last), "{fresh}");
            assert_eq!(stored, fresh.replace(last, &format!("{last}, alert 01234567")));
        }
    }

    #[test]
    fn a_notice_has_no_empty_line_of_its_own() {
        let json = r#"{"id":"89abcdef01","rule":{"level":"low","title":"T"},"time":null,"summary":"s","cluster":""}"#;
        let mut stored = Vec::new();
        Text::new(&mut stored, Palette::Plain, None).deliver_json(json).unwrap();
        let json = json.replace(r#""id":"89abcdef01","#, "");
        Text::new(&mut stored, Palette::Colored, None).deliver_json(&json).unwrap();
        let stored = String::from_utf8(stored).unwrap();
        assert!(
            stored.starts_with("LOW       no time  T\n          s\n          alert 89abcdef\n\n"),
            "{stored}"
        );
        assert!(stored.ends_with("          s\n\n"), "{stored:?}");
    }
}
