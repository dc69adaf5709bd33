//! How far events have been read that come in lanes: partitions of topics, read at unequal pace.
//!
//! While one partition is hours behind another, "five minutes behind the latest event" would call all of
//! its events late. So correlations wait for the lane that is furthest behind, unless it has nothing left
//! to read. Events that come otherwise have no lanes, and wait for none.
//!
//! **Invariant:** nobody waits for ever. A lane of which nothing is heard for [`HOLD_MAX`] holds nothing
//! up; that is counted and told, once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use metrics::counter;

#[cfg(feature = "kafka")]
mod mark;

#[cfg(feature = "kafka")]
pub(crate) use mark::LaneMarks;

/// How far a clock may be ahead of ours. One event from further ahead would make all others late.
pub(super) const AHEAD_MAX: TimeDelta = TimeDelta::minutes(5);
/// For how long a lane is at its end before it holds nothing up: between two messages of a busy one,
/// its end is reached again and again.
const IDLE_AFTER: Duration = Duration::from_secs(10);
/// For how long a lane of which nothing is heard holds up correlations: as long as an event may be late.
/// Leaders of partitions are elected, and consumers replaced, in less.
const HOLD_MAX: Duration = Duration::from_secs(300);
/// For how long it is believed that a lane that is not read here is at its end: each instance says so every
/// second, while it lives.
const BELIEVED_FOR: Duration = Duration::from_secs(30);
/// For how long time passes in clusters although nothing proves that their matches still come here.
const LIVE_FOR: Duration = Duration::from_secs(10);
/// How long it is waited, where correlations are taken over, until somebody says how far lanes are.
#[cfg(feature = "kafka")]
const UNSPOKEN_MAX: Duration = Duration::from_secs(10);
/// How many lanes are told apart; those beyond hold nothing up. All of them fit into one message.
pub(crate) const LANES_MAX: usize = 2_048;
/// How many pairs of a source and a cluster are remembered: as many as there may be clusters.
const SPOKEN_MAX: usize = 1_000;

/// A partition of a topic, as one source reads it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Lane {
    /// The name of the source.
    pub(crate) source: Arc<str>,
    /// The name of the topic.
    pub(crate) topic: Arc<str>,
    /// The number of the partition.
    pub(crate) partition: i32,
}

/// How far each lane has been read.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lanes: BTreeMap<Lane, Pace>,
    /// Lanes that somebody reads, here or elsewhere.
    expected: BTreeSet<Lane>,
    /// Which clusters have been heard of through which sources that have lanes.
    spoken: BTreeSet<(Arc<str>, String)>,
    /// When it was last proven that matches come; nothing if they come from nowhere else.
    proven_at: Option<Instant>,
    /// What others say of their lanes is waited for until then.
    opens_at: Option<Instant>,
    /// How long the others have once one has spoken; nothing if one has.
    spoken_within: Option<Duration>,
}

/// How far one lane is.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// The latest event, in microseconds since 1970; everything before it has been dealt with.
    heard_us: Option<i64>,
    /// Since when nothing is left to read.
    ended_at: Option<Instant>,
    /// When it was last read from, or found at its end.
    moved_at: Instant,
    /// When another instance last spoke of it; nothing if it is read here.
    said_at: Option<Instant>,
    /// Since when it is not read here any more, while it may come back.
    lost_at: Option<Instant>,
    /// Whether it has been told that it does not move.
    is_told: bool,
}

impl Lanes {
    /// Says which lanes a source has, whoever reads them. To be called when it is first known, and
    /// whenever that changes.
    pub(crate) fn expected(&self, source: &str, lanes: impl IntoIterator<Item = Lane>) {
        let mut state = self.state();
        state.expected.retain(|lane| &*lane.source != source);
        let room = LANES_MAX.saturating_sub(state.expected.len());
        state.expected.extend(lanes.into_iter().take(room));
    }

    /// Says that lanes are read here from now on: they hold up correlations until something is known of
    /// them. Those that were read here before go on from there, and may have more by now.
    pub(crate) fn assigned(&self, lanes: impl IntoIterator<Item = Lane>) {
        let mut state = self.state();
        let now = Instant::now();
        for lane in lanes {
            if let Some(pace) = state.insert(lane, Pace::unheard(now)) {
                (pace.lost_at, pace.ended_at) = (None, None);
                pace.moves(now);
            }
        }
    }

    /// Says that lanes are not read here for now, and that nobody will say how far they are elsewhere: most
    /// come back within seconds. Until then they hold up what they held up, for [`HOLD_MAX`] at the most.
    pub(crate) fn lost(&self, lanes: impl IntoIterator<Item = Lane>) {
        let mut state = self.state();
        let now = Instant::now();
        for lane in lanes {
            if let Some(pace) = state.lanes.get_mut(&lane) {
                pace.lost_at = Some(now);
                pace.moves(now);
            }
        }
    }

    /// Says that lanes are not read here any more, but by others, who say how far they are.
    pub(crate) fn revoked(&self, lanes: impl IntoIterator<Item = Lane>) {
        let mut state = self.state();
        for lane in lanes {
            state.lanes.remove(&lane);
        }
    }

    /// Says that everything in a lane is durable, and related or published, up to here; `latest` is the
    /// latest time of an event of it. To be called in the order of the lane: not for what is behind
    /// something that is not done.
    pub(crate) fn heard(&self, lane: &Lane, latest: Option<DateTime<Utc>>) {
        let latest_us = latest.map(|latest| latest.min(Utc::now()).timestamp_micros());
        if let Some(pace) = self.state().lanes.get_mut(lane) {
            pace.heard_us = pace.heard_us.max(latest_us);
            pace.ended_at = None;
            pace.moves(Instant::now());
        }
    }

    /// Says that nothing is left in a lane behind what was [`Lanes::heard`].
    pub(crate) fn at_end(&self, lane: &Lane) {
        let now = Instant::now();
        if let Some(pace) = self.state().lanes.get_mut(lane) {
            pace.ended_at.get_or_insert(now);
            pace.moves(now);
        }
    }

    /// Notes that events of a cluster came from a source: if it has lanes, the cluster waits for them.
    pub(crate) fn spoken(&self, source: &str, cluster: &str) {
        let mut state = self.state();
        let has_lanes = |lane: &Lane| &*lane.source == source;
        if state.lanes.keys().any(has_lanes) || state.expected.iter().any(has_lanes) {
            state.speak(source, cluster);
        }
    }

    /// Up to which time everything of a cluster has been heard, in microseconds since 1970: what the lanes
    /// that are behind allow. Nothing if there is none to wait for.
    pub(crate) fn bound_us(&self, cluster: &str) -> Option<i64> {
        self.state().bound_us(cluster, Instant::now())
    }

    /// Says that everything that others published up to now has come.
    pub(crate) fn prove(&self) {
        self.state().proven_at = Some(Instant::now());
    }

    /// Whether time may pass: not while matches of others are on their way for unknown long.
    pub(crate) fn is_live(&self) -> bool {
        self.state().proven_at.is_none_or(|at| at.elapsed() < LIVE_FOR)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn bound_us(&mut self, cluster: &str, now: Instant) -> Option<i64> {
        if self.opens_at.is_some_and(|at| now < at) {
            return Some(i64::MIN);
        }
        self.let_go(now);
        let Self { lanes, spoken, .. } = self;
        let sources: BTreeSet<&str> =
            spoken.iter().filter(|(_, spoken)| spoken == cluster).map(|(source, _)| &**source).collect();
        let behind = lanes.iter_mut().filter(|(lane, _)| sources.contains(&*lane.source));
        behind.filter_map(|(lane, pace)| pace.bound_us(lane, now)).min()
    }

    /// Lets go of lanes that have not come back: they are read elsewhere.
    fn let_go(&mut self, now: Instant) {
        self.lanes.retain(|lane, pace| {
            let is_kept = pace.lost_at.is_none_or(|at| now.saturating_duration_since(at) < HOLD_MAX);
            if !is_kept {
                tracing::info!(
                    source = &*lane.source,
                    topic = &*lane.topic,
                    partition = lane.partition,
                    "a partition is read elsewhere: correlations wait for it no longer"
                );
            }
            is_kept
        });
    }

    /// Puts in a lane, in the place of one that is given up if there are too many.
    fn insert(&mut self, lane: Lane, pace: Pace) -> Option<&mut Pace> {
        if self.lanes.len() >= LANES_MAX && !self.lanes.contains_key(&lane) {
            let is_over = |pace: &Pace| pace.is_told || pace.lost_at.is_some();
            let Some(lost) = self.lanes.iter().find(|(_, pace)| is_over(pace)).map(|(lane, _)| lane.clone())
            else {
                tracing::warn!(
                    ?lane,
                    max = LANES_MAX,
                    "too many partitions: correlations do not wait for this one"
                );
                return None;
            };
            self.lanes.remove(&lost);
        }
        Some(self.lanes.entry(lane).or_insert(pace))
    }

    fn speak(&mut self, source: &str, cluster: &str) {
        let is_known = self.spoken.iter().any(|(known, of)| &**known == source && of == cluster);
        if !is_known && self.spoken.len() < SPOKEN_MAX {
            self.spoken.insert((source.into(), cluster.to_owned()));
        }
    }
}

impl Pace {
    fn unheard(now: Instant) -> Self {
        Self { heard_us: None, ended_at: None, moved_at: now, said_at: None, lost_at: None, is_told: false }
    }

    fn moves(&mut self, now: Instant) {
        self.moved_at = now;
        self.is_told = false;
    }

    /// Up to which time it lets others go on; nothing if it does not hold them up.
    fn bound_us(&mut self, lane: &Lane, now: Instant) -> Option<i64> {
        let since = |at: Instant| now.saturating_duration_since(at);
        let is_believed = self.said_at.or(self.lost_at).is_none_or(|at| since(at) < BELIEVED_FOR);
        if is_believed && self.ended_at.is_some_and(|at| since(at) >= IDLE_AFTER) {
            return None;
        }
        if since(self.moved_at) < HOLD_MAX {
            return Some(self.heard_us.unwrap_or(i64::MIN));
        }
        if !std::mem::replace(&mut self.is_told, true) {
            counter!("masthead_lanes_given_up_total").increment(1);
            tracing::warn!(
                source = &*lane.source, topic = &*lane.topic, partition = lane.partition, waited = ?HOLD_MAX,
                "correlations wait no longer for a partition of which nothing is heard"
            );
        }
        None
    }
}

// Only Kafka has lanes.
#[cfg(all(test, feature = "kafka"))]
mod tests;
