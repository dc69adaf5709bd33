//! What is remembered of each cluster: the windows of its correlations, and when it was last heard of.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use detect::correlate::{Counts, DISORDER, Standing};
use detect::{Alert, Correlator, Episode, Observed};
use ingest::webhook::{Party, Refusal};
use metrics::counter;

use super::Current;
use super::budget::{Budget, Held};
use super::lanes::{AHEAD_MAX, Lanes};
use crate::period::Period;

/// How many clusters may have a say: a name in a path costs nothing to make up.
pub(crate) const CLUSTERS_MAX: usize = 1_000;
/// How long the name of a cluster counts as taken by whoever has named it, though no event came.
const NAMED_FOR: Duration = Duration::from_secs(60);
/// A cluster that was not heard of for so long makes room for another.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// How exactly it is measured when something came, over and over.
const SAME_MOMENT: Duration = Duration::from_millis(100);
/// How much memory the windows of one cluster take at the most, in bytes; less if all clusters
/// together take too much.
const WINDOWS_BYTES_MAX: usize = 64 << 20;
/// The same for its matches that wait for their order.
const PENDING_BYTES_MAX: usize = 64 << 20;

/// All clusters that were heard of.
#[derive(Default)]
pub(crate) struct Clusters {
    by_name: RwLock<BTreeMap<String, Arc<Cluster>>>,
    /// The partitions that are read here: correlations wait for those that are behind.
    pub(crate) lanes: Arc<Lanes>,
    /// Names that are no clusters yet: who has named them, and when.
    named: Mutex<HashMap<String, (Party, Instant)>>,
    /// Those that the store still knows.
    forgotten: Mutex<BTreeSet<String>>,
    /// Those whose matches are being stored for correlations that have not begun.
    awaited: Mutex<BTreeSet<String>>,
    pub(crate) budget: Arc<Budget>,
}

impl Clusters {
    /// A cluster by its name; nothing if it is one too many. Matches must not be related meanwhile by
    /// other rules than `current`.
    pub(crate) fn get(&self, name: &str, current: &Current) -> Option<Arc<Cluster>> {
        self.get_among(name, current, &self.lanes)
    }

    /// The same, of which something has come that is not durable yet: it is not forgotten before it is.
    pub(crate) fn get_heard(&self, name: &str, current: &Current) -> Option<Arc<Cluster>> {
        let clusters = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(cluster) = clusters.get(name) {
            // Nobody is forgotten while this is read.
            cluster.hear_of(None, Instant::now());
            return Some(Arc::clone(cluster));
        }
        drop(clusters);
        // Whoever is new was heard of just now.
        self.get(name, current)
    }

    /// The same; a cluster that is new waits for these lanes.
    pub(crate) fn get_among(
        &self,
        name: &str,
        current: &Current,
        lanes: &Arc<Lanes>,
    ) -> Option<Arc<Cluster>> {
        if let Some(cluster) = self.by_name.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Some(Arc::clone(cluster));
        }
        let mut clusters = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        if clusters.len() >= CLUSTERS_MAX && !clusters.contains_key(name) && !self.forget(&mut clusters, None)
        {
            return None;
        }
        let cluster = clusters.entry(name.to_owned()).or_insert_with(|| {
            let named = self.named().remove(name);
            let party = named.map_or_else(|| Party::Cluster(name.into()), |(party, _)| party);
            Arc::new(Cluster::new(name, current, lanes, self.budget.nothing(&party)))
        });
        Some(Arc::clone(cluster))
    }

    /// Refuses a name that is new if whoever names it has named as many as leaves room for others.
    pub(crate) fn expect(&self, name: &str, party: &Party) -> Result<(), Refusal> {
        if self.is_known(name) {
            return Ok(());
        }
        let mut clusters = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        let mut named = self.named();
        named.retain(|_, (_, at)| at.elapsed() < NAMED_FOR);
        if named.contains_key(name) {
            return Ok(());
        }
        let is_own = |cluster: &&Arc<Cluster>| cluster.party == *party;
        let mut own = clusters.values().filter(is_own).count();
        own += named.values().filter(|(by, _)| by == party).count();
        let free = CLUSTERS_MAX.saturating_sub(clusters.len() + named.len());
        if own > 0 && own >= free && !self.forget(&mut clusters, Some(party)) {
            return Err(Refusal::Clusters);
        }
        named.insert(name.to_owned(), (party.clone(), Instant::now()));
        Ok(())
    }

    /// Forgets the cluster that was silent for longest, among those that a party has named; false
    /// if none was for long enough.
    fn forget(&self, clusters: &mut BTreeMap<String, Arc<Cluster>>, of: Option<&Party>) -> bool {
        let meant = clusters.values().filter(|cluster| of.is_none_or(|party| cluster.party == *party));
        let silent = meant.map(|cluster| (cluster.heard().at, cluster.name.clone())).min();
        let Some((at, silent)) = silent.filter(|(at, _)| at.elapsed() >= FORGOTTEN_AFTER) else {
            return false;
        };
        tracing::warn!(cluster = silent, silent_for = ?at.elapsed(), "forgotten to make room for another cluster");
        clusters.remove(&silent);
        self.forgotten().insert(silent);
        true
    }

    /// True if something was heard of a cluster of this name.
    pub(crate) fn is_known(&self, name: &str) -> bool {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }

    /// The names of clusters that are forgotten here and not yet everywhere.
    pub(crate) fn forgotten(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.forgotten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those whose matches the store must keep, though no correlations of theirs are here yet.
    pub(crate) fn awaited(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn named(&self) -> MutexGuard<'_, HashMap<String, (Party, Instant)>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets those whose matches are related elsewhere from now on.
    #[cfg(feature = "kafka")]
    pub(crate) fn give_away(&self, is_elsewhere: impl Fn(&str) -> bool) {
        let mut clusters = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        clusters.retain(|name, _| !is_elsewhere(name));
        self.awaited().retain(|name| !is_elsewhere(name));
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Cluster>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// One cluster.
pub(crate) struct Cluster {
    pub(crate) name: String,
    /// Who answers for it.
    party: Party,
    related: Mutex<Related>,
    heard: Mutex<Heard>,
    /// What its correlations wait for.
    lanes: Arc<Lanes>,
}

/// What correlations know.
pub(crate) struct Related {
    correlator: Correlator,
    held: Held,
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
    fn new(name: &str, current: &Current, lanes: &Arc<Lanes>, held: Held) -> Self {
        let heard = Heard { at: Instant::now(), latest: None, is_told: false };
        let party = held.party.clone();
        let related = Mutex::new(Related::new(name, current, held));
        Self { name: name.to_owned(), party, related, heard: Mutex::new(heard), lanes: Arc::clone(lanes) }
    }

    /// Takes matches that are durable; gives the alerts of episodes.
    pub(crate) fn relate(&self, current: &Current, matches: impl Iterator<Item = Observed>) -> Vec<Alert> {
        let mut related = self.related();
        matches.for_each(|observed| related.take(observed));
        if let Some(bound) = self.bound() {
            related.advance(bound);
        }
        self.alerts(current, &related.episodes())
    }

    /// Correlations that go on where others were, and are to be given all matches again.
    pub(crate) fn fresh(&self, current: &Current, standing: &Standing) -> Related {
        // Those from before go when these take over, or count again with their next match.
        let held = self.related().held.handed_over();
        let mut related = Related::new(&self.name, current, held);
        related.correlator.resume(standing);
        related
    }

    /// Goes on at the time at which the process before stopped.
    pub(crate) fn resume_at(&self, time_us: i64) {
        let time = DateTime::from_timestamp_micros(time_us).filter(|_| time_us > 0);
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.latest = time.map(|time| (time.min(Utc::now()), Instant::now()));
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
        if !self.lanes.is_live() {
            self.hold();
        }
        let Some(bound) = self.bound() else { return Vec::new() };
        let mut related = self.related();
        related.advance(bound);
        self.alerts(current, &related.episodes())
    }

    /// Before which time no event will come: as far behind the latest as events may be late, and behind
    /// what has been read of every partition.
    fn bound(&self) -> Option<DateTime<Utc>> {
        let clock = self.clock()?;
        let read = self.lanes.bound_us(&self.name);
        // What is behind every time has nothing to say yet.
        let known =
            read.map_or(Some(clock), |us| DateTime::from_timestamp_micros(us).map(|read| read.min(clock)))?;
        known.checked_sub_signed(delta(DISORDER))
    }

    /// What time it is in the cluster: that of its latest event, and what has passed here since.
    pub(crate) fn clock(&self) -> Option<DateTime<Utc>> {
        let (event_at, came_at) = self.heard().latest?;
        event_at.checked_add_signed(delta(came_at.elapsed()))
    }

    /// Notes that events came.
    pub(crate) fn hear(&self, period: &Period) {
        self.hear_of(period.bounds().map(|(_, last)| last), Instant::now());
    }

    /// Notes that events came at some moment, the latest of which is from this time.
    pub(crate) fn hear_of(&self, last: Option<DateTime<Utc>>, at: Instant) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that is ahead of ours must not make late what is only on its way.
        let last = last.map(|last| (last.min(Utc::now()), at));
        // What is late does not turn back the clock.
        let latest = heard.latest.into_iter().chain(last).max_by_key(|(event_at, _)| *event_at);
        // Who says again when something came, measures it again.
        let is_news = at >= heard.at + SAME_MOMENT;
        *heard = Heard { at: at.max(heard.at), latest, is_told: heard.is_told && !is_news };
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
    fn new(cluster: &str, current: &Current, held: Held) -> Self {
        // It is told how far events have come, which it cannot know.
        let correlator = Correlator::of(&current.detection.relations, cluster, Duration::MAX)
            .with_windows_bytes_max(WINDOWS_BYTES_MAX);
        Self { correlator, held, episodes: Vec::new() }
    }

    /// Takes a match, unless it is from the future.
    pub(crate) fn take(&mut self, observed: Observed) {
        if observed.time_us().is_some_and(is_from_the_future) {
            count_from_the_future("", 1);
            return;
        }
        let Self { correlator, held, episodes } = self;
        let (left, (windows, pending)) = (held.left_bytes(), correlator.bytes());
        correlator.bound((windows + left).min(WINDOWS_BYTES_MAX), (pending + left).min(PENDING_BYTES_MAX));
        correlator.take(observed, &mut |episode| episodes.push(episode));
        self.note_size();
    }

    fn note_size(&mut self) {
        let (windows, pending) = self.correlator.bytes();
        self.held.set(windows + pending);
    }

    /// Says that no match from before this time will come: microseconds since 1970.
    pub(crate) fn advance_to(&mut self, time_us: i64) {
        if let Some(time) = DateTime::from_timestamp_micros(time_us) {
            self.advance(time);
        }
    }

    fn advance(&mut self, time: DateTime<Utc>) {
        let Self { correlator, episodes, .. } = self;
        correlator.advance(time, &mut |episode| episodes.push(episode));
        self.note_size();
    }

    /// What has come about since this was last asked.
    pub(crate) fn episodes(&mut self) -> Vec<Episode> {
        std::mem::take(&mut self.episodes)
    }
}

/// True of a time, in microseconds since 1970, that no clock that is a little ahead explains.
pub(super) fn is_from_the_future(time_us: i64) -> bool {
    time_us > (Utc::now() + AHEAD_MAX).timestamp_micros()
}

/// Says that matches are left out because of their time: they would be wanted until that has come.
pub(super) fn count_from_the_future(cluster: &str, count: u64) {
    if count > 0 {
        counter!("masthead_matches_from_the_future_total").increment(count);
        tracing::warn!(
            cluster,
            count,
            "matches are from the future, so correlations leave them out: check the clocks of API servers"
        );
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
        let held = Arc::<Budget>::default().nothing(&Party::Cluster("lab".into()));
        let cluster = Cluster::new("lab", &current, &Arc::default(), held);
        let event = format!(r#"{{"stage":"ResponseComplete","requestReceivedTimestamp":"{time}"}}"#);
        let mut period = Period::default();
        period.add(&Event::parse(event.as_bytes()).unwrap());
        cluster.hear(&period);
        cluster
    }

    #[test]
    fn one_event_from_the_future_does_not_make_all_others_late() {
        let cluster = heard_at("2099-01-01T00:00:00.000000Z");
        // The two clocks of this machine are read one after the other.
        let now = Utc::now() + TimeDelta::seconds(1);
        let clock = cluster.clock().unwrap();
        assert!(clock <= now, "{clock}");
        assert!(cluster.bound().unwrap() <= now - delta(DISORDER), "what is on its way is late");
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
        assert_eq!(*clusters.forgotten(), BTreeSet::from(["0".to_owned()]));
    }

    /// Its matches would be deleted as soon as they are stored.
    #[test]
    fn who_is_heard_of_is_not_forgotten_before_it_is_stored() {
        let current = Current::new(Vec::new(), Settings::default(), Redactor::new([0; 32]));
        let clusters = Clusters::default();
        for number in 0..CLUSTERS_MAX {
            assert!(clusters.get(&number.to_string(), &current).is_some());
        }
        let silent = clusters.get("7", &current).unwrap();
        let long_ago = Instant::now().checked_sub(FORGOTTEN_AFTER).unwrap();
        *silent.heard.lock().unwrap() = Heard { at: long_ago, latest: None, is_told: true };
        clusters.get_heard("7", &current).unwrap();
        assert!(clusters.get("prod", &current).is_none());
        assert!(clusters.is_known("7") && clusters.forgotten().is_empty());
        assert!(!silent.heard().is_told, "it is silent no longer");
        silent.heard.lock().unwrap().at = long_ago;
        assert!(clusters.get("prod", &current).is_some());
        assert_eq!(*clusters.forgotten(), BTreeSet::from(["7".to_owned()]));
    }

    #[test]
    fn one_client_cannot_name_so_many_clusters_that_others_find_no_room() {
        let current = Current::new(Vec::new(), Settings::default(), Redactor::new([0; 32]));
        let clusters = Clusters::default();
        let [greedy, other] = ["192.0.2.1", "192.0.2.2"].map(|text| Party::Address(text.parse().unwrap()));
        let named = (0..2 * CLUSTERS_MAX).filter(|number| {
            let name = number.to_string();
            let is_taken = clusters.expect(&name, &greedy).is_ok();
            // Some names never become clusters, as nothing but rubbish comes by them.
            is_taken && (number % 3 == 0 || clusters.get(&name, &current).is_some())
        });
        assert_eq!(named.count(), CLUSTERS_MAX / 2);
        assert_eq!(clusters.expect("one more", &greedy), Err(Refusal::Clusters));
        assert_eq!(clusters.expect("1", &greedy), Ok(()), "those that are known have a say");
        for name in ["prod", "lab"] {
            assert_eq!(clusters.expect(name, &other), Ok(()));
            assert!(clusters.get(name, &current).is_some());
        }
        // What was silent for long enough makes room for others of the same client.
        let silent = clusters.get("1", &current).unwrap();
        silent.heard.lock().unwrap().at = Instant::now().checked_sub(FORGOTTEN_AFTER).unwrap();
        assert_eq!(clusters.expect("one more", &greedy), Ok(()));
        assert!(!clusters.is_known("1"));
    }
}
