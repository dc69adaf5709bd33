//! Alerts for people: one block each, as they happen.
//!
//! ```text
//! HIGH      2026-03-01 12:00:00Z  Command run in a pod
//!           mallory ran `id` in pod dev/web-0
//!           from 203.0.113.9, succeeded, audit 5f2c…
//! ```

use std::io::{self, Write};

use detect::Alert;

use crate::clean::clean_short;
use crate::palette::{Palette, level_name};
use crate::{Sink, clean};

/// How much of a name or an address one block shows, in characters.
const NAME_CHARACTERS_MAX: usize = 120;
/// The left margin: as wide as the longest level that is common, and a gap.
const MARGIN: &str = "          ";
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
        let (level, strong) = (self.palette.level(alert.rule.level), self.palette.strong());
        let name = heading(level_name(alert.rule.level));
        let gap = " ".repeat(MARGIN.len().saturating_sub(name.len()).max(1));
        let time = alert.time.as_deref().map_or_else(|| "no time".to_owned(), short_time);
        let title = clean(&alert.rule.title);
        writeln!(self.writer, "{level}{name}{level:#}{gap}{time}  {strong}{title}{strong:#}")?;
        if !alert.summary.is_empty() {
            self.wrapped(&clean(&alert.summary))?;
        }
        let faint = self.palette.faint();
        write!(self.writer, "{faint}")?;
        self.wrapped(&circumstances(alert))?;
        writeln!(self.writer, "{faint:#}")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
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
fn circumstances(alert: &Alert) -> String {
    let mut parts = Vec::new();
    if let Some(request) = alert.request() {
        if let Some(ip) = &request.source.ip {
            parts.push(format!("from {}", clean_short(ip, NAME_CHARACTERS_MAX)));
        }
        parts.push(request.outcome.to_owned());
    }
    if alert.cluster != CLUSTER_DEFAULT {
        parts.push(format!("cluster {}", clean_short(&alert.cluster, NAME_CHARACTERS_MAX)));
    }
    if let Some(id) = alert.audit_ids.first() {
        let others = alert.correlated().map_or(0, |correlated| correlated.request_count.saturating_sub(1));
        let others = if others == 0 { String::new() } else { format!(" and {others} more") };
        parts.push(format!("audit {}{others}", clean_short(id, NAME_CHARACTERS_MAX)));
    }
    parts.join(", ")
}
