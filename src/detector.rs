//! Takes in order what events gave: relates it, and remembers what has been alerted about.

use core::time::Duration;

use chrono::{DateTime, Utc};
use detect::correlate::{Counts, Phase};
use detect::sigma::Rule;
use detect::{Alert, Correlator, Episode, Seen};

use crate::examiner::{Detection, Sighting};

/// What one stream of events needs beyond the events themselves.
pub(crate) struct Detector<'d> {
    detection: &'d Detection,
    seen: Seen,
    correlator: Correlator,
}

impl<'d> Detector<'d> {
    /// A detector for the events of one cluster, of which some may come so much later than
    /// others as `disorder` says.
    pub(crate) fn new(detection: &'d Detection, disorder: Duration) -> Self {
        let correlator = Correlator::of(&detection.relations, &detection.cluster, disorder);
        Self { detection, seen: Seen::default(), correlator }
    }

    /// The alerts that an event gives, and those of episodes that are known to be over.
    pub(crate) fn alerts(&mut self, sightings: Vec<Sighting>) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for sighting in sightings {
            self.take(sighting, &mut alerts);
        }
        alerts
    }

    /// The alerts of episodes that were not over: nothing comes any more.
    pub(crate) fn finish(&mut self) -> Vec<Alert> {
        let mut alerts = Vec::new();
        let detection = self.detection;
        self.correlator.finish(&mut |episode| alerts.extend(of_episode(detection, &episode)));
        alerts
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
    pub(crate) fn learning(&self, last: DateTime<Utc>) -> Vec<(&'d Rule, DateTime<Utc>)> {
        let rules = self.detection.rules().iter().enumerate();
        rules
            .filter_map(|(number, rule)| Some((rule, self.correlator.learning_until(number)?)))
            .filter(|(_, until)| *until > last)
            .collect()
    }

    /// Counts a match once for each request: stages of one request are one match.
    fn take(&mut self, sighting: Sighting, alerts: &mut Vec<Alert>) {
        if !self.seen.insert(sighting.id) {
            return;
        }
        alerts.extend(sighting.alert.map(|alert| *alert));
        if let Some(observed) = sighting.observed {
            let detection = self.detection;
            let mut tell = |episode| alerts.extend(of_episode(detection, &episode));
            self.correlator.take(*observed, &mut tell);
        }
    }
}

/// Logs are read to their end, so an episode is told once: when it is over. Those of
/// correlations that only serve others are not told.
fn of_episode(detection: &Detection, episode: &Episode) -> Option<Alert> {
    (episode.phase == Phase::Over).then(|| detection.alert_of(episode, &detection.cluster)).flatten()
}
