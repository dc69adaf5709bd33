//! Makes durable what messages gave: those of all clusters of a batch at once, as they share a write to
//! the disk then.
//!
//! **Invariant:** a cluster that is one too many holds up no partition. Its events are evaluated and their alerts
//! stored; its matches are left out of correlations, and counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use ingest::kafka::Again;
use ingest::webhook::{Judged, Party, Refusal};
use metrics::counter;

use super::judging::Judging;
use super::turns::Turn;
use crate::live::Lookout;
use crate::live::part::{Given, PART_BYTES_MAX, Part};
use crate::live::tallies::OTHERS;

/// What a batch gave, and what became of it.
pub(super) struct Settling<'j> {
    judging: &'j Judging,
    /// What lets it evaluate; nothing while it waits for the disk.
    turn: Option<Turn<'j>>,
    received_at: Instant,
    /// What is not durable yet.
    waiting: Vec<(Arc<str>, Given)>,
    /// How much that is, roughly.
    bytes: usize,
    /// By cluster: what is durable.
    judged: BTreeMap<Arc<str>, Judged>,
    /// By cluster: how many items came. Not by one that is one too many: its name may be made up.
    received: BTreeMap<Arc<str>, u64>,
}

/// What became of what a cluster gave.
struct Settled {
    judged: Judged,
    /// How many matches were left out, if there is no room for the cluster.
    left_out: Option<u64>,
}

impl<'j> Settling<'j> {
    /// Waits for a turn to evaluate.
    pub(super) fn new(judging: &'j Judging, received_at: Instant) -> Self {
        let (judged, received) = (BTreeMap::new(), BTreeMap::new());
        let turn = Some(judging.turns.take());
        Self { judging, turn, received_at, waiting: Vec::new(), bytes: 0, judged, received }
    }

    /// True if what waits is to be made durable with this before there is more.
    pub(super) fn is_full_with(&self, part: &Part<'_>) -> bool {
        self.bytes + part.bytes() >= PART_BYTES_MAX
    }

    /// Adds what events of a cluster gave; once, before what waits is made durable.
    pub(super) fn add(&mut self, cluster: &Arc<str>, part: Part<'_>) {
        self.bytes += part.bytes();
        self.waiting.push((Arc::clone(cluster), part.close()));
    }

    /// Notes how many items of a cluster came.
    pub(super) fn received(&mut self, cluster: &Arc<str>, items: u64) {
        *self.received.entry(Arc::clone(cluster)).or_default() += items;
    }

    /// Makes durable what waits. Blocks, while somebody else has the turn to evaluate.
    pub(super) fn settle(&mut self) -> Result<(), Again> {
        self.turn = None;
        let Judging { lookout, source, naming, complaints, .. } = self.judging;
        self.bytes = 0;
        let received_at = self.received_at;
        let settle = |(cluster, given): (Arc<str>, Given)| async move {
            let party = naming.party(&cluster);
            let settled = lookout.settle_anyway(source, &cluster, &party, given, received_at).await;
            (cluster, settled)
        };
        let waiting = std::mem::take(&mut self.waiting);
        // Each is driven to its end: what is stored must be related, too.
        let settled = lookout.runtime.block_on(join_all(waiting.into_iter().map(settle)));
        for (cluster, settled) in settled {
            let Settled { judged, left_out } = settled.map_err(|refusal| Again(refusal.to_string()))?;
            let mut counted_for = Arc::clone(&cluster);
            if let Some(matches) = left_out {
                complaints.unrelated(source, &cluster, matches);
                counter!("masthead_kafka_matches_unrelated_total", "source" => source.to_string())
                    .increment(matches);
                counted_for = OTHERS.into();
            }
            *self.judged.entry(counted_for).or_default() += judged;
        }
        Ok(())
    }

    /// Waits for a turn to evaluate what is left.
    pub(super) fn go_on(&mut self) {
        self.turn.get_or_insert_with(|| self.judging.turns.take());
    }

    /// Counts what is durable.
    pub(super) fn answer(self) {
        let Judging { lookout, source, .. } = self.judging;
        let Self { mut judged, received, .. } = self;
        let mut of_others = 0;
        for (cluster, items) in received {
            match judged.remove(&cluster) {
                Some(judged) => lookout.figures.answered(source, &cluster, items, judged),
                None => of_others += items,
            }
        }
        if let Some(rest) = judged.remove(OTHERS) {
            lookout.figures.answered(source, OTHERS, of_others, rest);
        }
    }
}

impl Lookout {
    /// Makes durable what events of a cluster gave, also if there is no room for the cluster.
    async fn settle_anyway(
        &self,
        source: &str,
        cluster: &str,
        party: &Party,
        mut given: Given,
        received_at: Instant,
    ) -> Result<Settled, Refusal> {
        let Given { event_count, quarantined_count, .. } = given;
        let judged = Judged { event_count, quarantined_count };
        let match_count = given.entry.matches.len() as u64;
        if event_count == 0 || self.has_room_for(cluster, party).await {
            return match self.settle(source, cluster, given, received_at).await {
                // What is shared was shared, and stored; but nobody waits for a cluster without a clock.
                Err(Refusal::Clusters) if self.exchange.is_some() => {
                    Ok(Settled { judged, left_out: Some(match_count) })
                }
                settled => settled.map(|judged| Settled { judged, left_out: None }),
            };
        }
        given.entry.matches.clear();
        self.make_durable(given.entry).await?;
        self.figures.durable(received_at.elapsed(), event_count);
        Ok(Settled { judged, left_out: Some(match_count) })
    }

    /// Whether correlations have room for a cluster that somebody names; if so, it has its place from now on.
    async fn has_room_for(&self, cluster: &str, party: &Party) -> bool {
        if self.clusters.expect(cluster, party).is_err() {
            return false;
        }
        let _relating = self.relating.read().await;
        self.exchange.is_some() || self.clusters.get(cluster, &self.current()).is_some()
    }
}
