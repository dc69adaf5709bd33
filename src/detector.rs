//! Asks the engine about events, relates what matched, and remembers what has been alerted
//! about.

use core::time::Duration;

use chrono::Utc;
use detect::alert::{RawEvent, id_of};
use detect::correlate::{Counts, Phase};
use detect::field::View;
use detect::sigma::{Rule, correlation};
use detect::{Alert, Correlator, Engine, Episode, Event, Match, Scratch, Seen};

/// The engine with what one stream of events needs around it.
#[derive(Debug)]
pub(crate) struct Detector<'a> {
    engine: &'a Engine,
    scratch: Scratch,
    seen: Seen,
    correlator: Correlator,
    /// By rule: whether it only serves correlations.
    silent: Vec<bool>,
    cluster: &'a str,
    raw: RawEvent,
}

impl<'a> Detector<'a> {
    /// A detector for the events of one cluster, of which some may come so much later than
    /// others as `disorder` says.
    pub(crate) fn new(engine: &'a Engine, cluster: &'a str, raw: RawEvent, disorder: Duration) -> Self {
        Self {
            engine,
            scratch: engine.scratch(),
            seen: Seen::default(),
            correlator: Correlator::new(engine.rules(), cluster, disorder),
            silent: correlation::silent(engine.rules()),
            cluster,
            raw,
        }
    }

    /// The alerts that the event gives, and those of episodes that are known to be over.
    pub(crate) fn alerts(&mut self, event: &Event<'_>) -> Vec<Alert> {
        let mut matches = Vec::new();
        self.engine.evaluate(event, &mut self.scratch, |found| matches.push(found));
        let mut alerts = Vec::new();
        for found in &matches {
            self.take(found, event, &mut alerts);
        }
        alerts
    }

    /// The alerts of episodes that were not over: nothing comes any more.
    pub(crate) fn finish(&mut self) -> Vec<Alert> {
        let mut alerts = Vec::new();
        let (rules, silent, cluster) = (self.engine.rules(), &self.silent, self.cluster);
        self.correlator.finish(&mut |episode| alerts.extend(of_episode(rules, silent, &episode, cluster)));
        alerts
    }

    /// For each rule, how many events hid what it reads.
    pub(crate) fn blind_counts(&self) -> &[u64] {
        &self.scratch.blind_counts
    }

    /// How many alerts had to be forgotten to bound memory.
    pub(crate) fn forgotten_count(&self) -> u64 {
        self.seen.forgotten_count()
    }

    /// What correlations could not take into account.
    pub(crate) fn correlation_counts(&self) -> Counts {
        self.correlator.counts()
    }

    /// The first-seen rules that were learning to the end, and until when they would have.
    pub(crate) fn learning(&self, last: chrono::DateTime<Utc>) -> Vec<(&'a Rule, chrono::DateTime<Utc>)> {
        let rules = self.engine.rules().iter().enumerate();
        rules
            .filter_map(|(number, rule)| Some((rule, self.correlator.learning_until(number)?)))
            .filter(|(_, until)| *until > last)
            .collect()
    }

    /// Counts a match once for each request: stages of one request are one match.
    fn take(&mut self, found: &Match<'_>, event: &Event<'_>, alerts: &mut Vec<Alert>) {
        let (rules, cluster) = (self.engine.rules(), self.cluster);
        if !self.seen.insert(id_of(&rules[found.rule], cluster, event)) {
            return;
        }
        if !self.silent[found.rule] {
            alerts.push(Alert::new(self.engine, found, event, cluster, Utc::now(), self.raw));
        }
        if self.correlator.wants(found.rule) {
            let view = View { event, settings: self.engine.settings() };
            let silent = &self.silent;
            let mut tell = |episode| alerts.extend(of_episode(rules, silent, &episode, cluster));
            self.correlator.observe(found.rule, view, &mut tell);
        }
    }
}

/// Logs are read to their end, so an episode is told once: when it is over. Those of
/// correlations that only serve others are not told.
fn of_episode(rules: &[Rule], silent: &[bool], episode: &Episode, cluster: &str) -> Option<Alert> {
    let is_told = episode.phase == Phase::Over && !silent[episode.rule];
    is_told.then(|| Alert::of_episode(rules, episode, cluster, Utc::now())).flatten()
}
