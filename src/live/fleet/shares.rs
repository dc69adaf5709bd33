//! The partitions of matches that this instance relates.
//!
//! A partition that is new here is read from its beginning: its matches go into the store, and once none is
//! left to read, correlators go on from those and from the standings. From then on every match that is new
//! to the store is related.
//!
//! **Invariant:** no mark is believed before everything that was published before it has been read here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::DateTime;
use detect::Observed;
use detect::correlate::Standing;
use ingest::webhook::Refusal;
use metrics::{counter, gauge};
use sinks::outbox::{Entry, NewMatch};
use sinks::store::StoreError;

use super::mark::{Clock, Heard, Mark};
use super::record::partition_of;
use crate::live::Lookout;
use crate::live::clusters::{count_from_the_future, is_from_the_future};
use crate::live::lanes::Lanes;
use crate::live::remembering::believed;

/// How many instances are told apart: marks of further ones are not taken.
const INSTANCES_MAX: usize = 256;
/// How long a mark waits for what was published before it. It never comes if the topic was made anew.
const MARK_WAITS_MAX: Duration = Duration::from_secs(60);
/// How long instances have, once one has spoken, to say how far their lanes are before correlations that are
/// taken over go on: each says so twice a second.
const SPOKEN_WITHIN: Duration = Duration::from_secs(2);
/// After how long without a word an instance is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// What this instance relates.
pub(super) struct Shares {
    lookout: Arc<Lookout>,
    /// How many partitions there are.
    count: i32,
    /// How long instances have to speak.
    spoken_within: Duration,
    held: Mutex<BTreeMap<i32, Share>>,
}

/// A partition.
#[derive(Default)]
struct Share {
    stage: Stage,
    lanes: Arc<Lanes>,
    /// How far correlations were before.
    standings: HashMap<String, Standing>,
    /// The offset of the last message that was taken.
    last_offset: Option<i64>,
    /// Whether it was said that messages are wrong.
    is_told: bool,
    /// By instance: marks that wait for messages.
    marks: HashMap<String, Waiting>,
}

/// How far a partition is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// The standings are not known.
    #[default]
    New,
    /// What was published before is being read.
    Restoring,
    /// Matches are related as they come.
    Related,
}

/// Marks of one instance: the earliest that waits, so that time passes, and the latest, which says all.
struct Waiting {
    heard_at: Instant,
    first: Option<Heard>,
    latest: Option<Heard>,
}

impl Shares {
    pub(super) fn new(lookout: Arc<Lookout>, count: i32) -> Self {
        Self { lookout, count, spoken_within: SPOKEN_WITHIN, held: Mutex::default() }
    }

    /// Takes over partitions.
    pub(super) fn assigned(&self, partitions: impl IntoIterator<Item = i32>) {
        let mut held = self.held();
        // No cluster is in partitions that were added.
        for partition in partitions.into_iter().filter(|partition| (0..self.count).contains(partition)) {
            tracing::info!(partition, "matches of this partition are related here now");
            held.insert(partition, Share::default());
        }
        show(&held);
    }

    /// Hands partitions over.
    pub(super) fn revoked(&self, partitions: impl IntoIterator<Item = i32>) {
        let mut held = self.held();
        let gone: BTreeSet<i32> =
            partitions.into_iter().filter(|partition| held.remove(partition).is_some()).collect();
        show(&held);
        self.lookout.clusters.give_away(|cluster| gone.contains(&partition_of(cluster, self.count)));
        if !gone.is_empty() {
            tracing::info!(partitions = ?gone, "matches of these partitions are related elsewhere now");
        }
    }

    /// Hands all of them over.
    pub(super) fn leave(&self) {
        let all: Vec<i32> = self.held().keys().copied().collect();
        self.revoked(all);
    }

    /// Counts a message of a partition that should not be there, and says so the first time.
    pub(super) fn check(&self, partition: i32, offset: i64, found: Option<&NewMatch>) {
        let is_here = |found: &NewMatch| partition_of(&found.cluster, self.count) == partition;
        let reason = match found {
            None => "it is no match",
            Some(found) if !is_here(found) => {
                "its cluster is related elsewhere: the number of partitions has changed"
            }
            Some(_) => return,
        };
        let kind = if found.is_none() { "unreadable" } else { "misplaced" };
        counter!("masthead_fleet_messages_wrong_total", "kind" => kind).increment(1);
        let mut held = self.held();
        let is_told =
            held.get_mut(&partition).is_some_and(|share| std::mem::replace(&mut share.is_told, true));
        if !is_told {
            tracing::error!(partition, offset, reason, "a message among matches is wrong");
        }
    }

    /// Partitions whose standings are to be read before anything is taken of them.
    pub(super) fn unread(&self) -> Vec<i32> {
        let held = self.held();
        held.iter().filter(|(_, share)| share.stage == Stage::New).map(|(partition, _)| *partition).collect()
    }

    /// Begins with what the standings say.
    pub(super) fn begin(&self, partition: i32, standings: HashMap<String, Standing>) {
        if let Some(share) = self.held().get_mut(&partition) {
            share.standings = standings;
            // What was told in the future would keep what comes from being counted.
            share.standings.retain(|_, standing| believed(standing).is_some());
            share.stage = Stage::Restoring;
        }
    }

    /// Takes matches of a partition, which end at this offset: stores them, and relates those that are new.
    /// Blocks.
    ///
    /// # Errors
    /// Fails if they cannot be stored; then nothing has happened.
    pub(super) fn take(
        &self,
        partition: i32,
        mut matches: Vec<NewMatch>,
        last_offset: i64,
    ) -> Result<(), Refusal> {
        let mut held = self.held();
        let Some(share) = held.get_mut(&partition) else { return Ok(()) };
        let given_count = matches.len();
        matches.retain(|found| !is_from_the_future(found.time_us));
        count_from_the_future("", (given_count - matches.len()) as u64);
        matches.retain(|found| {
            let standing = share.standings.get(&found.cluster);
            standing.is_none_or(|standing| found.until_us >= standing.told_until_us())
        });
        let count = matches.len() as u64;
        if share.stage != Stage::Related {
            self.lookout.await_clusters(matches.iter().map(|found| &*found.cluster));
        }
        let receipt = self.lookout.write(Entry { matches: matches.clone(), ..Entry::default() })?;
        if share.stage == Stage::Related {
            let fresh = matches.into_iter().zip(receipt.new_matches).filter(|(_, is_new)| *is_new);
            self.relate(&share.lanes, fresh.map(|(found, _)| found));
        }
        share.last_offset = Some(last_offset);
        counter!("masthead_fleet_matches_taken_total").increment(count);
        Ok(())
    }

    fn relate(&self, lanes: &Arc<Lanes>, matches: impl Iterator<Item = NewMatch>) {
        let mut by_cluster: BTreeMap<String, Vec<NewMatch>> = BTreeMap::new();
        for found in matches {
            by_cluster.entry(found.cluster.clone()).or_default().push(found);
        }
        for (cluster, matches) in by_cluster {
            let count = matches.len() as u64;
            let is_related = self.lookout.relate(&cluster, lanes, |relations| {
                matches.iter().filter_map(|found| Observed::from_bytes(&found.body, relations)).collect()
            });
            if !is_related {
                counter!("masthead_fleet_matches_crowded_out_total").increment(count);
                tracing::error!(cluster, count, "matches are not related, as there are too many clusters");
            }
        }
    }

    /// Says that nothing is left to read of a partition for now. Blocks.
    ///
    /// # Errors
    /// Fails if the store cannot be read; to be said again then.
    pub(super) fn ended(&self, partition: i32) -> Result<(), StoreError> {
        let mut held = self.held();
        let Some(share) = held.get_mut(&partition).filter(|share| share.stage == Stage::Restoring) else {
            return Ok(());
        };
        let is_here = |cluster: &str| partition_of(cluster, self.count) == partition;
        share.lanes.await_marks(self.spoken_within);
        self.lookout.take_over(&share.standings, &share.lanes, is_here)?;
        share.stage = Stage::Related;
        share.lanes.prove();
        tracing::info!(partition, clusters = share.standings.len(), "correlations go on here");
        Ok(())
    }

    /// Takes a mark.
    pub(super) fn hear(&self, mark: &Mark) {
        let now = Instant::now();
        for (partition, share) in self.held().iter_mut() {
            share.hear(*partition, mark, now);
        }
    }

    /// Believes the marks before which everything has been read.
    pub(super) fn settle(&self) {
        let now = Instant::now();
        let mut held = self.held();
        for (partition, share) in held.iter_mut().filter(|(_, share)| share.stage == Stage::Related) {
            let mut is_behind = false;
            for heard in share.due(*partition, now, &mut is_behind) {
                share.lanes.take(heard.mark.lanes, heard.at);
                let clocks = heard.mark.clocks.into_iter();
                for clock in clocks.filter(|clock| partition_of(&clock.cluster, self.count) == *partition) {
                    self.pass_on(&clock, heard.at, &share.lanes);
                }
                if !is_behind {
                    share.lanes.prove();
                }
            }
        }
    }

    fn pass_on(&self, clock: &Clock, heard_at: Instant, lanes: &Arc<Lanes>) {
        let came_at = heard_at.checked_sub(Duration::from_millis(clock.ago_ms)).unwrap_or(heard_at);
        let latest = clock.latest_us.and_then(DateTime::from_timestamp_micros);
        let current = self.lookout.current();
        if let Some(cluster) = self.lookout.clusters.get_among(&clock.cluster, &current, lanes) {
            cluster.hear_of(latest, came_at);
        }
    }

    /// How far the correlations of all partitions are, with all alerts that they have given durable.
    /// Blocks. Nothing if these could not be stored.
    pub(super) fn standings(&self) -> Option<Vec<(i32, String, Vec<u8>)>> {
        let related: BTreeSet<i32> = {
            let held = self.held();
            let related = held.iter().filter(|(_, share)| share.stage == Stage::Related);
            related.map(|(partition, _)| *partition).collect()
        };
        let saved = self.lookout.save()?.into_iter();
        let placed = saved.map(|(cluster, standing)| (partition_of(&cluster, self.count), cluster, standing));
        let related = placed.filter(|(partition, ..)| related.contains(partition));
        Some(
            related.map(|(partition, cluster, standing)| (partition, cluster, standing.to_bytes())).collect(),
        )
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<i32, Share>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    fn hear(&mut self, partition: i32, mark: &Mark, now: Instant) {
        self.marks.retain(|_, waiting| now.duration_since(waiting.heard_at) < FORGOTTEN_AFTER);
        if self.marks.len() >= INSTANCES_MAX && !self.marks.contains_key(&mark.instance) {
            tracing::warn!(max = INSTANCES_MAX, "a fleet of too many instances: one is not heard");
            return;
        }
        let waiting = self.marks.entry(mark.instance.clone());
        let waiting = waiting.or_insert(Waiting { heard_at: now, first: None, latest: None });
        waiting.heard_at = now;
        let heard = Heard { mark: mark.clone(), at: now };
        // Of a topic that was made anew, offsets are lower: what is said of the one before never comes.
        let is_set_back = |first: &Heard| heard.published(partition) < first.published(partition);
        if waiting.first.as_ref().is_none_or(is_set_back) {
            (waiting.first, waiting.latest) = (Some(heard), None);
        } else {
            waiting.latest = Some(heard);
        }
    }

    /// The marks that wait no longer; `is_behind` is made true if some wait on.
    fn due(&mut self, partition: i32, now: Instant, is_behind: &mut bool) -> Vec<Heard> {
        let last_offset = self.last_offset.unwrap_or(-1);
        let mut due = Vec::new();
        for waiting in self.marks.values_mut() {
            while let Some(first) = &waiting.first {
                let is_read = first.published(partition).is_none_or(|offset| offset <= last_offset);
                let is_over = now.duration_since(first.at) >= MARK_WAITS_MAX;
                if !is_read && !is_over {
                    *is_behind = true;
                    break;
                }
                if !is_read {
                    counter!("masthead_fleet_marks_hurried_total").increment(1);
                    tracing::warn!(partition, "matches that an instance published do not come");
                }
                due.extend(std::mem::replace(&mut waiting.first, waiting.latest.take()));
            }
        }
        due
    }
}

fn show(held: &BTreeMap<i32, Share>) {
    gauge!("masthead_fleet_partitions").set(crate::live::figures::precise(held.len() as u64));
}

#[cfg(test)]
mod tests;
