//! What is counted of each cluster, by its name.
//!
//! Names of clusters may be made up, so they are forgotten with their clusters, which the
//! counters of the whole process could not. What is forgotten is still in the sums: it is
//! counted for [`OTHERS`].

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ingest::webhook::Judged;

use super::catalog::{self, Metric};

/// The cluster that stands for those that are forgotten, and for names that no event came by.
pub(crate) const OTHERS: &str = "";

/// Counts by cluster.
#[derive(Default)]
pub(crate) struct Tallies {
    by_cluster: Mutex<BTreeMap<String, Tally>>,
}

/// What was counted of a cluster.
#[derive(Clone, Debug, Default)]
struct Tally {
    /// By source.
    received: BTreeMap<String, u64>,
    evaluated: u64,
    quarantined: u64,
}

impl Tallies {
    /// Counts what a source gave. A name that no event comes by is none.
    pub(crate) fn add(&self, source: &str, cluster: &str, received: u64, judged: Judged) {
        let mut tallies = self.lock();
        let is_cluster = judged.event_count > 0 || tallies.contains_key(cluster);
        let name = if is_cluster { cluster } else { OTHERS };
        if !tallies.contains_key(name) {
            tallies.insert(name.to_owned(), Tally::default());
        }
        let Some(tally) = tallies.get_mut(name) else { return };
        tally.evaluated += judged.event_count;
        tally.quarantined += judged.quarantined_count;
        match tally.received.get_mut(source) {
            Some(count) => *count += received,
            None => _ = tally.received.insert(source.to_owned(), received),
        }
    }

    /// Forgets a cluster.
    pub(crate) fn forget(&self, cluster: &str) {
        let mut tallies = self.lock();
        let Some(forgotten) = tallies.remove(cluster) else { return };
        let others = tallies.entry(OTHERS.to_owned()).or_default();
        others.evaluated += forgotten.evaluated;
        others.quarantined += forgotten.quarantined;
        for (source, count) in forgotten.received {
            *others.received.entry(source).or_default() += count;
        }
    }

    /// Everything, as Prometheus reads it.
    pub(crate) fn render(&self) -> String {
        let tallies = self.lock();
        let mut text = Series::default();
        text.begin("masthead_events_received_total");
        for (cluster, tally) in &*tallies {
            for (source, count) in &tally.received {
                text.add(&[("source", source), ("cluster", cluster)], *count);
            }
        }
        text.begin("masthead_events_evaluated_total");
        for (cluster, tally) in &*tallies {
            text.add(&[("cluster", cluster)], tally.evaluated);
        }
        text.begin("masthead_events_quarantined_total");
        for (cluster, tally) in &*tallies {
            text.add(&[("cluster", cluster)], tally.quarantined);
        }
        text.text
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Tally>> {
        self.by_cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Numbers as Prometheus reads them.
#[derive(Default)]
pub(crate) struct Series {
    pub(crate) text: String,
    name: &'static str,
}

impl Series {
    /// What is added from now on has this name.
    pub(crate) fn begin(&mut self, name: &'static str) {
        self.name = name;
        if let Some(Metric { kind, help, .. }) = catalog::of(name) {
            // Writing to memory cannot fail.
            let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
        }
    }

    /// Adds a number with its labels.
    pub(crate) fn add(&mut self, labels: &[(&str, &str)], number: impl Display) {
        self.text.push_str(self.name);
        for (index, (label, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"{}\"", Escaped(value));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {number}");
    }
}

/// A text as the value of a label.
struct Escaped<'t>(&'t str);

impl Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '\\' => formatter.write_str("\\\\"),
            '"' => formatter.write_str("\\\""),
            '\n' => formatter.write_str("\\n"),
            other => formatter.write_char(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(event_count: u64, quarantined_count: u64) -> Judged {
        Judged { event_count, quarantined_count }
    }

    #[test]
    fn names_that_are_made_up_are_not_remembered_but_counted() {
        let tallies = Tallies::default();
        for number in 0..1000 {
            tallies.add("webhook", &format!("rubbish-{number}"), 1, judged(0, 1));
        }
        tallies.add("webhook", "lab", 3, judged(2, 1));
        tallies.add("a \"file\"", "lab", 1, judged(1, 0));
        let text = tallies.render();
        assert!(text.contains("masthead_events_quarantined_total{cluster=\"\"} 1000\n"), "{text}");
        assert!(text.contains("masthead_events_evaluated_total{cluster=\"lab\"} 3\n"), "{text}");
        let quoted = "masthead_events_received_total{source=\"a \\\"file\\\"\",cluster=\"lab\"} 1\n";
        assert!(text.contains(quoted), "{text}");
        tallies.forget("lab");
        let text = tallies.render();
        assert!(!text.contains("lab"), "{text}");
        assert!(text.contains("masthead_events_evaluated_total{cluster=\"\"} 3\n"), "{text}");
        assert!(text.contains("masthead_events_quarantined_total{cluster=\"\"} 1001\n"), "{text}");
        assert!(text.contains("{source=\"webhook\",cluster=\"\"} 1003\n"), "{text}");
    }
}
