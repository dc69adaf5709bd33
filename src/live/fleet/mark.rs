//! How far an instance is, for whoever relates what it publishes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::live::clusters::CLUSTERS_MAX;
use crate::live::lanes::LaneMarks;

/// A cluster that was not heard of for so long makes room for another.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

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

    /// The last offsets that were published, by partition.
    pub(super) fn offsets(&self) -> BTreeMap<i32, i64> {
        self.published.clone()
    }

    /// Takes back that something was published at `from`, if nothing was beyond: the partition ends with `to`.
    pub(super) fn set_back(&mut self, partition: i32, from: i64, to: i64) {
        if self.published.get(&partition) != Some(&from) {
            return;
        }
        self.published.remove(&partition);
        if to >= 0 {
            self.published.insert(partition, to);
        }
    }

    /// Notes that events of a cluster came, whose matches were published. False if it is one too many.
    pub(super) fn hear(&mut self, cluster: &str, latest: Option<DateTime<Utc>>) -> bool {
        self.hear_at(cluster, latest, Instant::now())
    }

    fn hear_at(&mut self, cluster: &str, latest: Option<DateTime<Utc>>, now: Instant) -> bool {
        let is_new = !self.clocks.contains_key(cluster);
        if is_new && self.clocks.len() >= CLUSTERS_MAX && !self.forget(now) {
            return false;
        }
        let clock = self.clocks.entry(cluster.to_owned()).or_insert((None, now));
        *clock = (clock.0.max(latest), now);
        true
    }

    /// Forgets the cluster that was silent for longest; false if none was for long enough.
    fn forget(&mut self, now: Instant) -> bool {
        let silent = self.clocks.iter().min_by_key(|(_, (_, at))| *at);
        let silent = silent.filter(|(_, (_, at))| now.saturating_duration_since(*at) >= FORGOTTEN_AFTER);
        let Some(silent) = silent.map(|(cluster, _)| cluster.clone()) else { return false };
        tracing::warn!(cluster = silent, "forgotten to make room for another cluster");
        self.clocks.remove(&silent).is_some()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_that_was_silent_for_longest_makes_room() {
        let mut said = Said::default();
        let begun = Instant::now();
        for number in 0..CLUSTERS_MAX {
            assert!(said.hear_at(&number.to_string(), None, begun));
        }
        let later = begun + FORGOTTEN_AFTER;
        assert!(!said.hear_at("prod", None, begun + FORGOTTEN_AFTER / 2), "all were heard of");
        assert!((1..CLUSTERS_MAX).all(|number| said.hear_at(&number.to_string(), None, later)));
        assert!(said.hear_at("prod", None, later));
        assert!(!said.clocks.contains_key("0") && said.clocks.len() == CLUSTERS_MAX);
        assert!(!said.hear_at("0", None, later), "nobody else was silent for long enough");
    }

    #[test]
    fn an_offset_of_a_topic_that_is_gone_is_taken_back() {
        let mut said = Said::default();
        said.published(3, 5_000);
        said.set_back(3, 4_000, 7);
        assert_eq!(said.offsets()[&3], 5_000, "something was published since this was looked at");
        said.set_back(3, 5_000, 7);
        said.published(3, 5);
        assert_eq!(said.offsets()[&3], 7);
        said.set_back(3, 7, -1);
        assert!(said.offsets().is_empty());
    }
}
