//! Events put to an engine and its correlations, to see how far these get.

use core::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use detect::alert::{id_of, time_of};
use detect::correlate::{Phase, Window};
use detect::field::View;
use detect::summary::counted;
use detect::{Correlator, Engine, Episode, Event, Scratch, Seen};

use crate::relation;

/// Whose events they are: nobody is told.
const CLUSTER: &str = "default";

/// A few events and what came of them.
pub(crate) struct Timeline<'e> {
    engine: &'e Engine,
    scratch: Scratch,
    seen: Seen,
    correlator: Correlator,
    episodes: Vec<Episode>,
    last: Option<DateTime<Utc>>,
}

impl<'e> Timeline<'e> {
    pub(crate) fn new(engine: &'e Engine) -> Self {
        Self {
            engine,
            scratch: engine.scratch(),
            seen: Seen::default(),
            correlator: Correlator::new(engine.rules(), CLUSTER, Duration::MAX),
            episodes: Vec::new(),
            last: None,
        }
    }

    /// Takes an event; gives the numbers of the rules that it is the first to match of its
    /// request.
    pub(crate) fn take(&mut self, event: &Event<'_>) -> Vec<usize> {
        let Self { engine, scratch, seen, correlator, episodes, last } = self;
        *last = (*last).max(time_of(event));
        let mut matched = Vec::new();
        engine.evaluate(event, scratch, |found| {
            if seen.insert(id_of(&engine.rules()[found.rule], CLUSTER, event)) {
                matched.push(found.rule);
            }
        });
        let view = View { event, settings: engine.settings() };
        for rule in &matched {
            correlator.observe(*rule, view, &mut |episode| episodes.push(episode));
        }
        matched
    }

    /// The windows of a correlation just after the last event, the fullest first.
    pub(crate) fn windows(&mut self, rule: usize) -> Vec<Window> {
        if let Some(last) = self.last {
            let now = last + TimeDelta::microseconds(1);
            self.correlator.advance(now, &mut |episode| self.episodes.push(episode));
        }
        self.correlator.windows(rule)
    }

    /// How far the fullest window of a correlation is, in a sentence.
    pub(crate) fn state(&mut self, rule: usize) -> String {
        let fullest = self.windows(rule).into_iter().next();
        let rules = self.engine.rules();
        match (fullest, rules.get(rule).and_then(|rule| rule.correlation())) {
            (Some(window), Some(correlation)) => {
                format!("the fullest window has {}", relation::progress(correlation, &window))
            }
            _ if self.left_out_count() > 0 => {
                format!(
                    "{} had no time, or a field that the event hides",
                    counted(self.left_out_count(), "match")
                )
            }
            _ => "no rule that it relates has matched".to_owned(),
        }
    }

    /// How many matches correlations could not take into account: they have no time, or
    /// hide a field.
    pub(crate) fn left_out_count(&self) -> u64 {
        let counts = self.correlator.counts();
        counts.timeless + counts.hidden
    }

    /// Every episode, once: nothing comes any more.
    pub(crate) fn finish(mut self) -> Vec<Episode> {
        self.correlator.finish(&mut |episode| self.episodes.push(episode));
        self.episodes.retain(|episode| episode.phase == Phase::Over);
        self.episodes
    }
}
