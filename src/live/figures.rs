//! What is counted, for Prometheus.
//!
//! **Invariant:** what was received is what was evaluated and what is quarantined, and what a sink is done
//! with is what it delivered, refused or was kept from; [`Figures::render`] shows by how much
//! this is not so.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use detect::sigma::Rule;
use hdrhistogram::Histogram;
use ingest::Counts;
use ingest::webhook::Judged;
use metrics::{Counter, counter, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use sinks::palette::level_name;

use super::tallies::Tallies;
use super::{catalog, notice};
use crate::examiner::Detection;

/// The longest time that is told apart, in microseconds: an hour.
const TIME_US_MAX: u64 = 3_600_000_000;
/// Which parts of all times are told.
const QUANTILES: [(f64, &str); 4] = [(0.5, "0.5"), (0.99, "0.99"), (0.999, "0.999"), (1.0, "1")];

/// Everything that is counted.
pub(crate) struct Figures {
    prometheus: PrometheusHandle,
    ledger: Mutex<Ledger>,
    tallies: Tallies,
    /// What rules are called, by their ids: of those in force and of those before.
    titles: Mutex<BTreeMap<String, String>>,
    durable: Times,
    commits: Times,
}

/// What became of everything that sources gave and were answered for.
#[derive(Clone, Copy, Debug, Default)]
struct Ledger {
    received: u64,
    evaluated: u64,
    quarantined: u64,
}

/// How long something took, each time.
struct Times(Mutex<Histogram<u64>>);

impl Figures {
    /// Begins to count, for the whole process.
    ///
    /// # Errors
    /// Fails if somebody else counts already.
    pub(crate) fn install() -> anyhow::Result<Self> {
        let recorder = PrometheusBuilder::new().build_recorder();
        let prometheus = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|_| anyhow::anyhow!("metrics are counted already"))?;
        catalog::describe();
        gauge!("masthead_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Ok(Self {
            prometheus,
            ledger: Mutex::default(),
            tallies: Tallies::default(),
            titles: Mutex::default(),
            durable: Times::new()?,
            commits: Times::new()?,
        })
    }

    /// Shows at 0 what rules may give from now on. Of a counter that begins to exist with the first alert,
    /// Prometheus cannot tell that it has increased.
    pub(crate) fn expect(&self, detection: &Detection) {
        let mut titles = self.titles.lock().unwrap_or_else(PoisonError::into_inner);
        let mut expect = |id: &str, title: &str, level| {
            alerts(id, title, level_name(level)).increment(0);
            titles.insert(id.to_owned(), title.to_owned());
        };
        for kind in notice::KINDS {
            expect(&kind.rule(), kind.title, kind.level);
        }
        for (number, rule) in detection.rules().iter().enumerate() {
            if !detection.is_silent(number) {
                expect(&rule.id, &rule.title, rule.level);
            }
            if rule.condition().is_some() {
                blind_events(rule).increment(0);
            }
        }
    }

    /// Notes that everything a source gave is durable. `received` is what it was read as.
    pub(crate) fn answered(&self, source: &str, cluster: &str, received: u64, judged: Judged) {
        self.tallies.add(source, cluster, received, judged);
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.received += received;
        ledger.evaluated += judged.event_count;
        ledger.quarantined += judged.quarantined_count;
    }

    /// Forgets a cluster: its name may have been made up.
    pub(crate) fn forget(&self, cluster: &str) {
        self.tallies.forget(cluster);
    }

    /// Counts what a source had wrapped, and what of that is of other logs than the audit log.
    pub(crate) fn unwrapped(source: &str, counts: &Counts) {
        let of_source = [metrics::Label::new("source", source.to_owned())];
        if counts.unwrapped > 0 {
            counter!("masthead_events_unwrapped_total", of_source.iter()).increment(counts.unwrapped);
        }
        if counts.skipped > 0 {
            counter!("masthead_records_skipped_total", of_source.iter()).increment(counts.skipped);
        }
    }

    /// Notes how long it took until what `event_count` events gave was durable.
    pub(crate) fn durable(&self, after: Duration, event_count: u64) {
        self.durable.add(after, event_count);
    }

    /// Notes how long the store took to make something durable.
    pub(crate) fn committed(&self, after: Duration) {
        self.commits.add(after, 1);
    }

    /// Counts an alert that is durable now and was not before.
    pub(crate) fn alerted(&self, rule: &str, level: &str) {
        let titles = self.titles.lock().unwrap_or_else(PoisonError::into_inner);
        alerts(rule, titles.get(rule).map_or("", String::as_str), level).increment(1);
    }

    /// Counts events that hid from rules what they read; `counts` are by rule.
    pub(crate) fn blind(rules: &[Rule], counts: &mut [u64]) {
        for (rule, count) in rules.iter().zip(counts).filter(|(_, count)| **count > 0) {
            blind_events(rule).increment(std::mem::take(count));
        }
    }

    /// Everything, as Prometheus reads it; `sinks_imbalance` is by how much the sinks miscount.
    pub(crate) fn render(&self, sinks_imbalance: u64) -> String {
        let ledger = *self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let events_imbalance = ledger.received.abs_diff(ledger.evaluated + ledger.quarantined);
        gauge!("masthead_ledger_imbalance").set(precise(events_imbalance + sinks_imbalance));
        self.durable.show("masthead_received_to_durable_seconds");
        self.commits.show("masthead_store_commit_seconds");
        self.prometheus.render() + &self.tallies.render()
    }
}

impl Times {
    fn new() -> anyhow::Result<Self> {
        Ok(Self(Mutex::new(Histogram::new_with_bounds(1, TIME_US_MAX, 3)?)))
    }

    fn add(&self, time: Duration, count: u64) {
        let time_us = u64::try_from(time.as_micros()).unwrap_or(TIME_US_MAX).clamp(1, TIME_US_MAX);
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.saturating_record_n(time_us, count);
    }

    fn show(&self, name: &'static str) {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (quantile, label) in QUANTILES {
            let time_us = times.value_at_quantile(quantile);
            gauge!(name, "quantile" => label).set(precise(time_us) / 1e6);
        }
    }
}

/// The alerts of a rule.
fn alerts(rule: &str, title: &str, level: &str) -> Counter {
    let [rule, title, level] = [rule, title, level].map(str::to_owned);
    counter!("masthead_alerts_total", "rule" => rule, "title" => title, "level" => level)
}

/// The events that hid from a rule what it reads.
fn blind_events(rule: &Rule) -> Counter {
    counter!("masthead_blind_events_total", "rule" => rule.id.clone(), "title" => rule.title.clone())
}

/// A count as Prometheus has it; beyond 2^53 it is rounded.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn precise(count: u64) -> f64 {
    count as f64
}
