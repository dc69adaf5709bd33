//! What a replay saw, and how it is summed up for people.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{self, Write};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use detect::sigma::{Level, Rule};
use detect::summary::counted;
use detect::{Alert, correlate};
use indicatif::{HumanBytes, HumanCount};
use ingest::Counts;
use sinks::clean::clean_short;
use sinks::palette::level_name;

use crate::examiner::EventTally;
use crate::period::Period;
use crate::terminal::Stream;

/// How many different rules, actors and addresses are counted one by one. Names come from
/// clients, who can invent as many as they like; the rest is counted together.
const TALLY_MAX: usize = 100_000;
/// How many entries a list of the summary has.
const TOP_MAX: usize = 5;
/// How much of a name the summary shows, in characters.
const NAME_CHARACTERS_MAX: usize = 60;
/// What is between two columns of a list.
const GAP: &str = "  ";
/// The width of the first column.
const LABEL_WIDTH: usize = 12;
/// The kinds of malformed items that say that a log could not be read, or not to its end.
const UNREADABLE: [&str; 3] = ["compressed", "unreadable", "utf16"];
const LEVELS: [Level; 5] = [Level::Critical, Level::High, Level::Medium, Level::Low, Level::Informational];

/// Whether something was read in which there is no event, and which is not empty either.
pub(crate) fn is_no_log(counts: &Counts) -> bool {
    counts.events == 0 && counts.malformed_total() > 0
}

/// What a replay saw.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Events that were evaluated.
    pub(crate) event_count: u64,
    /// Inputs that could not be read, or not to their end.
    pub(crate) unreadable_count: u64,
    /// Alerts that earlier ones may have repeated, since their ids had to be forgotten.
    pub(crate) forgotten_count: u64,
    /// What correlations could not take into account.
    pub(crate) correlation_counts: correlate::Counts,
    /// Whether the replay was interrupted.
    pub(crate) is_interrupted: bool,
    log_count: u64,
    counts: Counts,
    malformed_count: u64,
    levels: HashMap<Level, u64>,
    /// Alerts that were not urgent enough to be shown.
    unshown_count: u64,
    /// Alerts that leave a large event to another alert of the same request.
    without_event_count: u64,
    rules: Tally,
    actors: Tally,
    addresses: Tally,
    period: Period,
    /// For each rule, how many events hid what it reads.
    blind_counts: Vec<u64>,
}

impl Totals {
    /// Counts events.
    pub(crate) fn add(&mut self, tally: &EventTally) {
        self.event_count += tally.counts.events;
        self.period.merge(&tally.period);
        self.blind_counts.resize(self.blind_counts.len().max(tally.blind_counts.len()), 0);
        let counts = self.blind_counts.iter_mut().zip(&tally.blind_counts);
        counts.for_each(|(sum, count)| *sum += count);
    }

    /// Counts an alert.
    pub(crate) fn alert(&mut self, alert: &Alert, is_shown: bool) {
        *self.levels.entry(alert.rule.level).or_default() += 1;
        self.unshown_count += u64::from(!is_shown);
        self.without_event_count += u64::from(alert.event_in.is_some());
        let level = Some(alert.rule.level);
        self.rules.add(&alert.rule.title, level, 1);
        match alert.request() {
            Some(request) => {
                self.actors.add(&request.actor.name, level, 1);
                self.addresses.add(request.source.ip.as_deref().unwrap_or("none"), level, 1);
            }
            None => self.shared(alert),
        }
    }

    /// Counts an alert of a correlation by actor and address, if its requests share them.
    fn shared(&mut self, alert: &Alert) {
        for shared in &alert.matched {
            let tally = match shared.field.as_str() {
                "actor.name" => &mut self.actors,
                "source.ip" => &mut self.addresses,
                _ => continue,
            };
            tally.add(&shared.value, Some(alert.rule.level), 1);
        }
    }

    /// Counts an item that is not an event, and says how many there were.
    pub(crate) fn malformed(&mut self) -> u64 {
        self.malformed_count += 1;
        self.malformed_count
    }

    /// Adds what one log was.
    pub(crate) fn log(&mut self, counts: &Counts) {
        self.log_count += 1;
        let is_cut = UNREADABLE.iter().any(|kind| counts.malformed.contains_key(kind));
        self.unreadable_count += u64::from(is_cut && !is_no_log(counts));
        self.counts += counts;
    }

    /// Whether no log was read, not even in part.
    pub(crate) fn is_nothing(&self) -> bool {
        self.log_count == 0
    }

    /// Bytes read from the logs that were added, as they are stored.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.counts.stored_bytes
    }

    /// The time of the last event.
    pub(crate) fn last(&self) -> Option<DateTime<Utc>> {
        self.period.bounds().map(|(_, last)| last)
    }

    /// The level of the most urgent alert.
    pub(crate) fn highest(&self) -> Option<Level> {
        self.levels.keys().max().copied()
    }

    /// Writes the summary. `learning` says which rules only noted what is usual, and until when they
    /// would have.
    pub(crate) fn write(
        &self,
        out: &mut dyn Write,
        stream: Stream,
        elapsed: Duration,
        rules: &[Rule],
        learning: &[(&Rule, DateTime<Utc>)],
    ) -> io::Result<()> {
        let mut page = Page { out, stream };
        writeln!(page.out)?;
        page.line("read", &self.read(elapsed))?;
        page.line("events", &self.events(elapsed))?;
        self.write_wrapped(&mut page)?;
        if let Some((first, last)) = self.period.bounds() {
            page.line("time", &format!("{} to {}", seconds(first), seconds(last)))?;
        }
        self.write_alerts(&mut page)?;
        page.top("by rule", &self.rules, None)?;
        page.top("by actor", &self.actors, None)?;
        page.top("by address", &self.addresses, None)?;
        let mut malformed = Tally::default();
        self.counts
            .malformed
            .iter()
            .for_each(|(kind, count)| malformed.add(&kind.replace('_', " "), None, *count));
        page.top("malformed", &malformed, None)?;
        let mut blind = Tally::default();
        rules.iter().zip(&self.blind_counts).for_each(|(rule, count)| blind.add(&rule.title, None, *count));
        page.top("blind rules", &blind, Some("event"))?;
        if blind.total() > 0 {
            page.line("", "hid the body that the rule reads (audit level, truncation, early end)")?;
        }
        self.write_correlation(&mut page)?;
        if let Some((rule, until)) = learning.iter().min_by_key(|(_, until)| *until) {
            let (rules, from) = (counted(learning.len() as u64, "rule"), seconds(*until));
            let title = clean_short(&rule.title, NAME_CHARACTERS_MAX);
            page.line(
                "learning",
                &format!(
                    "{rules} had too little log to say what is new; the first can from {from} on: {title}"
                ),
            )?;
        }
        if self.forgotten_count > 0 {
            let count = HumanCount(self.forgotten_count);
            page.line(
                "forgotten",
                &format!("{count} alert ids, to bound memory: repeats of them would show"),
            )?;
        }
        if self.is_interrupted {
            page.line("interrupted", "the rest was not read")?;
        }
        Ok(())
    }

    fn read(&self, elapsed: Duration) -> String {
        let logs = counted(self.log_count, "log");
        let size = HumanBytes(self.counts.decoded_bytes);
        let speed = HumanBytes(per_second(self.counts.decoded_bytes, elapsed));
        format!("{logs}, {size} in {:.2} s ({speed}/s)", elapsed.as_secs_f64())
    }

    fn events(&self, elapsed: Duration) -> String {
        if self.event_count == 0 {
            return "none".to_owned();
        }
        let speed = HumanCount(per_second(self.event_count, elapsed));
        format!("{} ({speed}/s)", HumanCount(self.event_count))
    }

    /// What shippers and clouds had wrapped.
    fn write_wrapped(&self, page: &mut Page<'_>) -> io::Result<()> {
        let Counts { unwrapped, skipped, .. } = self.counts;
        if unwrapped > 0 {
            page.line("unwrapped", &format!("{} of them, from shippers or a cloud", HumanCount(unwrapped)))?;
        }
        if skipped > 0 {
            page.line("skipped", &format!("{} of other logs, as a cloud says", counted(skipped, "record")))?;
        }
        Ok(())
    }

    /// Matches and groups that correlations had to do without.
    fn write_correlation(&self, page: &mut Page<'_>) -> io::Result<()> {
        let correlate::Counts { late, hurried, timeless, hidden, crowded, evicted_groups } =
            self.correlation_counts;
        let lacks = [
            (late, "match", "out of order by more than 5 min; give the log of each API server as a file"),
            (hurried, "match", "ordered among too few, since too many came at once"),
            (timeless, "match", "without a time"),
            (hidden, "match", "of events that hide a field by which they are grouped or counted"),
            (crowded, "match", "with more than 64 groups or values, of which 64 count"),
            (evicted_groups, "group", "forgotten to bound memory"),
        ];
        let mut label = "uncorrelated";
        for (count, noun, reason) in lacks.into_iter().filter(|(count, ..)| *count > 0) {
            page.line(label, &format!("{} {reason}", counted(count, noun)))?;
            label = "";
        }
        Ok(())
    }

    fn write_alerts(&self, page: &mut Page<'_>) -> io::Result<()> {
        let palette = page.stream.palette;
        let counts: Vec<String> = LEVELS
            .iter()
            .filter_map(|level| {
                let (count, style) = (self.levels.get(level)?, palette.level(*level));
                Some(format!("{} {style}{}{style:#}", HumanCount(*count), level_name(*level)))
            })
            .collect();
        let unshown = match self.unshown_count {
            0 => String::new(),
            count => format!(" ({} not shown: below `--min-level`)", HumanCount(count)),
        };
        let counts = if counts.is_empty() { "none".to_owned() } else { counts.join(", ") };
        page.line("alerts", &format!("{counts}{unshown}"))?;
        if self.without_event_count > 0 {
            let count = counted(self.without_event_count, "alert");
            page.line(
                "",
                &format!("{count} without the event, which is large: `event_in` names the one that has it"),
            )?;
        }
        Ok(())
    }
}

/// The summary while it is written.
struct Page<'w> {
    out: &'w mut dyn Write,
    stream: Stream,
}

impl Page<'_> {
    fn line(&mut self, label: &str, text: &str) -> io::Result<()> {
        let faint = self.stream.palette.faint();
        writeln!(self.out, "{faint}{label:>LABEL_WIDTH$}{faint:#}  {text}")
    }

    /// The entries to look at first, one a line, under one label; `noun` is what was counted of each.
    fn top(&mut self, label: &str, tally: &Tally, noun: Option<&str>) -> io::Result<()> {
        let top = tally.top();
        let shown = |count| noun.map_or_else(|| HumanCount(count).to_string(), |noun| counted(count, noun));
        let count_width = top.iter().map(|(_, entry)| shown(entry.count).len()).max().unwrap_or(0);
        let level_width =
            top.iter().filter_map(|(_, entry)| entry.level).map(|level| level_name(level).len());
        let level_width = level_width.max().map_or(0, |width| width + GAP.len());
        for (index, (name, entry)) in top.iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            let level = self.level(entry.level, level_width);
            let count = shown(entry.count);
            let name = clean_short(name, NAME_CHARACTERS_MAX);
            self.line(label, &format!("{level}{count:>count_width$}{GAP}{name}"))?;
        }
        match tally.different_count().saturating_sub(top.len() as u64) {
            0 => Ok(()),
            rest => {
                let indent = level_width + count_width;
                self.line("", &format!("{:indent$}{GAP}and {} more", "", HumanCount(rest)))
            }
        }
    }

    /// The name of a level in its colour, filled up to `width` columns.
    fn level(&self, level: Option<Level>, width: usize) -> String {
        let Some(level) = level else { return " ".repeat(width) };
        let (style, name) = (self.stream.palette.level(level), level_name(level));
        format!("{style}{name}{style:#}{}", " ".repeat(width.saturating_sub(name.len())))
    }
}

/// What was counted under one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entry {
    /// The highest level of what was counted; nothing if it has no levels.
    level: Option<Level>,
    count: u64,
}

/// Counts by name.
#[derive(Debug, Default)]
struct Tally {
    entries: HashMap<String, Entry>,
    /// What was counted under names that found no room.
    other_count: u64,
}

impl Tally {
    fn add(&mut self, name: &str, level: Option<Level>, count: u64) {
        if count == 0 {
            return;
        }
        if let Some(known) = self.entries.get_mut(name) {
            known.level = known.level.max(level);
            known.count += count;
        } else if self.entries.len() < TALLY_MAX {
            self.entries.insert(name.to_owned(), Entry { level, count });
        } else {
            self.other_count += count;
        }
    }

    fn total(&self) -> u64 {
        self.entries.values().map(|entry| entry.count).sum::<u64>() + self.other_count
    }

    /// How many names there are; those without room count as one.
    fn different_count(&self) -> u64 {
        self.entries.len() as u64 + u64::from(self.other_count > 0)
    }

    /// The most urgent entries, and of those the most frequent: noise is frequent and low.
    fn top(&self) -> Vec<(&str, Entry)> {
        let mut all: Vec<_> = self.entries.iter().map(|(name, entry)| (name.as_str(), *entry)).collect();
        all.sort_by_key(|(name, entry)| (Reverse(entry.level), Reverse(entry.count), *name));
        all.truncate(TOP_MAX);
        all
    }
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn per_second(count: u64, elapsed: Duration) -> u64 {
    (count as f64 / elapsed.as_secs_f64().max(1e-6)) as u64
}

fn seconds(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true).replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_come_first_and_ties_by_name() {
        let mut tally = Tally::default();
        for name in ["b", "a", "c", "c"] {
            tally.add(name, None, 1);
        }
        let top: Vec<_> = tally.top().iter().map(|(name, entry)| (*name, entry.count)).collect();
        assert_eq!(top, [("c", 2), ("a", 1), ("b", 1)]);
    }

    #[test]
    fn one_urgent_alert_comes_before_any_number_of_others() {
        let mut tally = Tally::default();
        tally.add("noise", Some(Level::Low), 1_000);
        tally.add("both", Some(Level::Low), 2);
        tally.add("both", Some(Level::High), 1);
        let top: Vec<_> = tally.top().iter().map(|(name, entry)| (*name, entry.level, entry.count)).collect();
        assert_eq!(top, [("both", Some(Level::High), 3), ("noise", Some(Level::Low), 1_000)]);
    }

    #[test]
    fn invented_names_do_not_fill_the_memory() {
        let mut tally = Tally::default();
        (0..TALLY_MAX + 10).for_each(|number| tally.add(&number.to_string(), None, 1));
        assert_eq!((tally.entries.len(), tally.other_count), (TALLY_MAX, 10));
        assert_eq!(tally.total(), (TALLY_MAX + 10) as u64);
    }
}
