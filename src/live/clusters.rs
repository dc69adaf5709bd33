//! What is remembered of each cluster: the windows of its correlations, and when it was last heard of.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use detect::correlate::{Counts, DISORDER, Standing};
use detect::{Alert, Correlator, Episode, Observed};
use metrics::counter;

use super::Current;
use crate::period::Period;

/// How many clusters may have a say: a name in a path costs nothing to make up.
const CLUSTERS_MAX: usize = 1_000;
/// A cluster that was not heard of for so long makes room for another.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// How much memory the windows of one cluster take, in bytes.
const WINDOWS_BYTES_MAX: usize = 64 << 20;
/// How far the clock of an API server may be ahead of ours. One event from further ahead would make
/// all others late.
const AHEAD_MAX: TimeDelta = TimeDelta::minutes(5);

/// All clusters that were heard of.
#[derive(Default)]
pub(crate) struct Clusters {
    by_name: RwLock<BTreeMap<String, Arc<Cluster>>>,
}

impl Clusters {
    /// A cluster by its name; nothing if it is one too many. Matches must not be related meanwhile by
    /// other rules than `current`.
    pub(crate) fn get(&self, name: &str, current: &Current) -> Option<Arc<Cluster>> {
        if let Some(cluster) = self.by_name.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Some(Arc::clone(cluster));
        }
        let mut clusters = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        if clusters.len() >= CLUSTERS_MAX && !clusters.contains_key(name) {
            let silent = clusters.values().map(|cluster| (cluster.heard().at, &cluster.name)).min();
            let (at, silent) = silent.filter(|(at, _)| at.elapsed() >= FORGOTTEN_AFTER)?;
            let silent = silent.clone();
            tracing::warn!(cluster = silent, silent_for = ?at.elapsed(), "forgotten to make room for another cluster");
            clusters.remove(&silent);
        }
        let cluster =
            clusters.entry(name.to_owned()).or_insert_with(|| Arc::new(Cluster::new(name, current)));
        Some(Arc::clone(cluster))
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Cluster>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// One cluster.
pub(crate) struct Cluster {
    pub(crate) name: String,
    related: Mutex<Related>,
    heard: Mutex<Heard>,
}

/// What correlations know.
pub(crate) struct Related {
    correlator: Correlator,
    /// What came about and has not been asked for.
    episodes: Vec<Episode>,
}

/// When something was last heard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    /// When something came.
    pub(crate) at: Instant,
    /// The latest event, as the API server says, and when it came.
    pub(crate) latest: Option<(DateTime<Utc>, Instant)>,
    /// Whether people have been told that it is silent.
    pub(crate) is_told: bool,
}

impl Cluster {
    fn new(name: &str, current: &Current) -> Self {
        let heard = Heard { at: Instant::now(), latest: None, is_told: false };
        let related = Mutex::new(Related::new(name, current));
        Self { name: name.to_owned(), related, heard: Mutex::new(heard) }
    }

    /// Takes matches that are durable; gives the alerts of episodes.
    pub(crate) fn relate(&self, current: &Current, matches: impl Iterator<Item = Observed>) -> Vec<Alert> {
        let mut related = self.related();
        matches.for_each(|observed| related.take(observed));
        self.alerts(current, &related.episodes())
    }

    /// Correlations that go on where others were, and are to be given all matches again.
    pub(crate) fn fresh(&self, current: &Current, standing: &Standing) -> Related {
        let mut related = Related::new(&self.name, current);
        related.correlator.resume(standing);
        related
    }

    /// Goes on at the time at which the process before stopped.
    pub(crate) fn resume_at(&self, time_us: i64) {
        let time = DateTime::from_timestamp_micros(time_us).filter(|_| time_us > 0);
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.latest = time.map(|time| (time.min(Utc::now() + AHEAD_MAX), Instant::now()));
    }

    /// Lets time stand still, as nothing that happens now can be stored.
    pub(crate) fn hold(&self) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.latest = heard.latest.map(|(event_at, _)| (event_at, Instant::now()));
    }

    /// How far the correlations are.
    pub(crate) fn standing(&self) -> Standing {
        self.related().correlator.standing()
    }

    /// Lets others take over that know everything.
    pub(crate) fn replace(&self, fresh: Related) {
        *self.related() = fresh;
    }

    /// Lets time pass in the cluster as it does here; gives the alerts of episodes that thereby come about.
    pub(crate) fn pass_time(&self, current: &Current) -> Vec<Alert> {
        let Some(time) = self.clock().and_then(|now| now.checked_sub_signed(delta(DISORDER))) else {
            return Vec::new();
        };
        let mut related = self.related();
        related.advance(time);
        self.alerts(current, &related.episodes())
    }

    /// What time it is in the cluster: that of its latest event, and what has passed here since.
    pub(crate) fn clock(&self) -> Option<DateTime<Utc>> {
        let (event_at, came_at) = self.heard().latest?;
        event_at.checked_add_signed(delta(came_at.elapsed()))
    }

    /// Notes that events came.
    pub(crate) fn hear(&self, period: &Period) {
        let now = Instant::now();
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let last = period.bounds().map(|(_, last)| (last.min(Utc::now() + AHEAD_MAX), now));
        // What is late does not turn back the clock.
        let latest = heard.latest.into_iter().chain(last).max_by_key(|(event_at, _)| *event_at);
        *heard = Heard { at: now, latest, is_told: false };
    }

    /// When something was last heard.
    pub(crate) fn heard(&self) -> Heard {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True the first time that nothing has been heard for so long.
    pub(crate) fn falls_silent(&self, after: Duration) -> bool {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let is_silent = !heard.is_told && heard.at.elapsed() >= after;
        heard.is_told |= is_silent;
        is_silent
    }

    /// What people are told of episodes. One that is told when it has begun is not told again
    /// when it is over: its id is the same.
    pub(crate) fn alerts(&self, current: &Current, episodes: &[Episode]) -> Vec<Alert> {
        episodes.iter().filter_map(|episode| current.detection.alert_of(episode, &self.name)).collect()
    }

    /// What correlations could not take into account, by name.
    pub(crate) fn losses(&self) -> [(&'static str, u64); 6] {
        let Counts { late, hurried, timeless, hidden, crowded, evicted_groups } =
            self.related().correlator.counts();
        [
            ("late", late),
            ("hurried", hurried),
            ("timeless", timeless),
            ("hidden", hidden),
            ("crowded", crowded),
            ("evicted", evicted_groups),
        ]
    }

    fn related(&self) -> MutexGuard<'_, Related> {
        self.related.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Related {
    fn new(cluster: &str, current: &Current) -> Self {
        let correlator = Correlator::of(&current.detection.relations, cluster, DISORDER)
            .with_windows_bytes_max(WINDOWS_BYTES_MAX);
        Self { correlator, episodes: Vec::new() }
    }

    /// Takes a match, unless it is from the future.
    pub(crate) fn take(&mut self, observed: Observed) {
        if observed.time_us().is_some_and(|time_us| time_us > (Utc::now() + AHEAD_MAX).timestamp_micros()) {
            counter!("masthead_matches_from_the_future_total").increment(1);
            tracing::warn!(
                "a match is from the future, so correlations leave it out: check the clocks of API servers"
            );
            return;
        }
        let Self { correlator, episodes, .. } = self;
        correlator.take(observed, &mut |episode| episodes.push(episode));
    }

    fn advance(&mut self, time: DateTime<Utc>) {
        let Self { correlator, episodes, .. } = self;
        correlator.advance(time, &mut |episode| episodes.push(episode));
    }

    /// What has come about since this was last asked.
    pub(crate) fn episodes(&mut self) -> Vec<Episode> {
        std::mem::take(&mut self.episodes)
    }
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    use detect::Event;
    use detect::field::Settings;
    use detect::redact::Redactor;

    use super::*;

    fn heard_at(time: &str) -> Cluster {
        let current = Current::new(Vec::new(), Settings::default(), Redactor::new([0; 32]));
        let cluster = Cluster::new("lab", &current);
        let event = format!(r#"{{"stage":"ResponseComplete","requestReceivedTimestamp":"{time}"}}"#);
        let mut period = Period::default();
        period.add(&Event::parse(event.as_bytes()).unwrap());
        cluster.hear(&period);
        cluster
    }

    #[test]
    fn one_event_from_the_future_does_not_make_all_others_late() {
        let clock = heard_at("2099-01-01T00:00:00.000000Z").clock().unwrap();
        assert!(clock <= Utc::now() + AHEAD_MAX, "{clock}");
    }

    #[test]
    fn time_goes_on_where_the_process_before_stopped() {
        let cluster = heard_at("2026-03-01T12:00:00.000000Z");
        let stopped_at = DateTime::parse_from_rfc3339("2026-03-01T13:00:00Z").unwrap().to_utc();
        cluster.resume_at(stopped_at.timestamp_micros());
        assert!(cluster.clock().unwrap() >= stopped_at);
        cluster.resume_at(i64::MIN);
        assert_eq!(cluster.clock(), None);
    }

    #[test]
    fn who_is_one_too_many_waits_until_another_was_silent() {
        let current = Current::new(Vec::new(), Settings::default(), Redactor::new([0; 32]));
        let clusters = Clusters::default();
        for number in 0..CLUSTERS_MAX {
            assert!(clusters.get(&number.to_string(), &current).is_some());
        }
        assert!(clusters.get("prod", &current).is_none());
        assert!(clusters.get("7", &current).is_some(), "those that are known have a say");
        clusters.all()[0].heard.lock().unwrap().at = Instant::now().checked_sub(FORGOTTEN_AFTER).unwrap();
        assert!(clusters.get("prod", &current).is_some());
    }
}
