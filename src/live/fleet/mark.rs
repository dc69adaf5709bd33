//! How far an instance is, for whoever relates what it publishes.

use std::collections::BTreeMap;
use std::time::Instant;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::live::clusters::CLUSTERS_MAX;
use crate::live::lanes::LaneMarks;

/// What an instance says in its marks.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// By cluster: the latest event, and when something came.
    clocks: BTreeMap<String, (Option<DateTime<Utc>>, Instant)>,
    /// By partition: the last offset that was published.
    published: BTreeMap<i32, i64>,
}

impl Said {
    /// Notes where a match was published.
    pub(super) fn published(&mut self, partition: i32, offset: i64) {
        let last = self.published.entry(partition).or_insert(offset);
        *last = offset.max(*last);
    }

    /// Notes that events of a cluster came, whose matches were published. False if it is one too many.
    pub(super) fn hear(&mut self, cluster: &str, latest: Option<DateTime<Utc>>) -> bool {
        if self.clocks.len() >= CLUSTERS_MAX && !self.clocks.contains_key(cluster) {
            return false;
        }
        let now = Instant::now();
        let clock = self.clocks.entry(cluster.to_owned()).or_insert((None, now));
        *clock = (clock.0.max(latest), now);
        true
    }

    /// All of it; `lanes` was asked for before.
    pub(super) fn mark(&self, instance: &str, lanes: LaneMarks) -> Mark {
        let clock = |(cluster, (latest, at)): (&String, &(Option<DateTime<Utc>>, Instant))| Clock {
            cluster: cluster.clone(),
            latest_us: latest.map(|latest| latest.timestamp_micros()),
            ago_ms: u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        Mark {
            instance: instance.to_owned(),
            published: self.published.iter().map(|(partition, offset)| (*partition, *offset)).collect(),
            lanes,
            clocks: self.clocks.iter().map(clock).collect(),
        }
    }
}

/// How far an instance is: everything that it says has been published, at the offsets given here or before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Mark {
    /// Which instance: a number made up when it started.
    pub(super) instance: String,
    /// By partition of the topic of matches: the last offset that it published.
    pub(super) published: Vec<(i32, i64)>,
    /// Its lanes.
    pub(super) lanes: LaneMarks,
    /// The clusters that it heard of.
    pub(super) clocks: Vec<Clock>,
}

/// When a cluster was heard of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Clock {
    pub(super) cluster: String,
    /// The latest event, in microseconds since 1970.
    pub(super) latest_us: Option<i64>,
    /// How long ago something came.
    pub(super) ago_ms: u64,
}

/// A mark that has come.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) mark: Mark,
    pub(super) at: Instant,
}

impl Heard {
    /// The offset in a partition up to which everything has to be read before the mark holds.
    pub(super) fn published(&self, partition: i32) -> Option<i64> {
        self.mark.published.iter().find(|(of, _)| *of == partition).map(|(_, offset)| *offset)
    }
}
