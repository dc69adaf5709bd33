//! What instances tell each other of the lanes that they read.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{LANES_MAX, Lane, Lanes, Pace, SPOKEN_MAX, UNSPOKEN_MAX};

/// How far an instance is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LaneMarks {
    /// The lanes that it reads.
    pub(crate) lanes: Vec<LaneMark>,
    /// Lanes that are read by somebody.
    pub(crate) expected: Vec<(String, String, i32)>,
    /// Which clusters it heard of through which sources that have lanes.
    pub(crate) spoken: Vec<(String, String)>,
}

/// How far a lane is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LaneMark {
    source: String,
    topic: String,
    partition: i32,
    /// Everything before it has been published, in microseconds since 1970.
    heard_us: Option<i64>,
    /// For how long it has been at its end.
    ended_for_ms: Option<u64>,
}

impl Lanes {
    /// How far everything is that is read here. What was published before this was asked comes before it.
    pub(crate) fn marks(&self) -> LaneMarks {
        let now = Instant::now();
        let state = self.state();
        let millis =
            |at: Instant| u64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX);
        let mark = |(lane, pace): (&Lane, &Pace)| {
            let (source, topic, partition) = lane.parts();
            let ended_for_ms = pace.ended_at.map(millis);
            LaneMark { source, topic, partition, heard_us: pace.heard_us, ended_for_ms }
        };
        LaneMarks {
            lanes: state.lanes.iter().map(mark).collect(),
            expected: state.expected.iter().map(Lane::parts).collect(),
            spoken: state
                .spoken
                .iter()
                .map(|(source, cluster)| (source.to_string(), cluster.clone()))
                .collect(),
        }
    }

    /// Says that correlations are taken over: they wait until somebody has said how far lanes are, and the
    /// others have had `spoken_within` to say so as well; not for long if nobody does.
    pub(crate) fn await_marks(&self, spoken_within: Duration) {
        let mut state = self.state();
        state.opens_at = Some(Instant::now() + UNSPOKEN_MAX);
        state.spoken_within = Some(spoken_within);
    }

    /// Takes what an instance said at `said_at`: how far its lanes are, and which others there are.
    pub(crate) fn take(&self, marks: LaneMarks, said_at: Instant) {
        let mut state = self.state();
        if let Some(within) = state.spoken_within.take() {
            let opens_at = Instant::now() + within;
            state.opens_at = state.opens_at.map(|at| at.min(opens_at));
        }
        for (source, topic, partition) in marks.expected.into_iter().take(LANES_MAX) {
            let lane = Lane { source: source.into(), topic: topic.into(), partition };
            state.insert(lane, Pace { said_at: Some(said_at), ..Pace::unheard(said_at) });
        }
        for mark in marks.lanes.into_iter().take(LANES_MAX) {
            let LaneMark { source, topic, partition, heard_us, ended_for_ms } = mark;
            let lane = Lane { source: source.into(), topic: topic.into(), partition };
            if let Some(pace) = state.insert(lane, Pace::unheard(said_at)) {
                pace.said(heard_us, ended_for_ms.map(Duration::from_millis), said_at);
            }
        }
        for (source, cluster) in marks.spoken.into_iter().take(SPOKEN_MAX) {
            state.speak(&source, &cluster);
        }
    }
}

impl Lane {
    fn parts(&self) -> (String, String, i32) {
        (self.source.to_string(), self.topic.to_string(), self.partition)
    }
}

impl Pace {
    fn said(&mut self, heard_us: Option<i64>, ended_for: Option<Duration>, said_at: Instant) {
        let is_first = self.said_at.replace(said_at).is_none();
        let ended_at = ended_for.map(|ended_for| said_at.checked_sub(ended_for).unwrap_or(said_at));
        if is_first || heard_us > self.heard_us || ended_at.is_some() || self.ended_at.is_some() {
            self.moves(said_at);
        }
        // Who reads a lane after another begins some way back, but what the other had said has come.
        self.heard_us = self.heard_us.max(heard_us);
        self.ended_at = ended_at;
    }
}
