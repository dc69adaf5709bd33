//! What correlations know, over restarts and over changes of the rules.
//!
//! Matches are in the store; how far a correlator is (what it has told, since when an episode goes on) is
//! saved now and then.
//!
//! **Invariant:** how far a correlator is gets saved only with or after every alert that it has given,
//! so that nothing counts as told that is not durable.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use chrono::{TimeDelta, Utc};
use detect::Observed;
use detect::correlate::{DISORDER, Standing};
use sinks::outbox::{Entry, NewMatch};
use sinks::store::StoreError;

use super::clusters::Cluster;
use super::lookout::composed;
use super::{Current, Lookout};

/// What the names begin with under which it is kept how far correlations are; the cluster follows.
const NAME: &str = "correlations/";

impl Lookout {
    /// Goes on where the process before stopped. Blocks.
    pub(super) fn remember(&self) -> Result<(), StoreError> {
        let current = self.current();
        let positions = self.runtime.block_on(self.store.positions())?;
        let kept = positions.iter().filter_map(|(name, bytes)| Some((name.strip_prefix(NAME)?, bytes)));
        let standings: HashMap<&str, Standing> =
            kept.filter_map(|(name, bytes)| Some((name, Standing::from_bytes(bytes)?))).collect();
        let with_matches = self.runtime.block_on(self.store.clusters())?;
        for name in with_matches.iter().map(String::as_str).chain(standings.keys().copied()) {
            self.clusters.get(name, &current);
        }
        let horizon = Utc::now() + TimeDelta::from_std(DISORDER).unwrap_or_default();
        let known = |cluster: &Cluster| {
            let standing = standings.get(cluster.name.as_str());
            // What was told in the future would keep silent for as long.
            standing.filter(|standing| standing.told_until_us() <= horizon.timestamp_micros()).cloned()
        };
        self.begin_anew(&current, |cluster| known(cluster).unwrap_or_default())?;
        self.flush();
        Ok(())
    }

    /// Puts other rules in force. Correlations count what they would have counted so far. Blocks.
    ///
    /// # Errors
    /// Fails if the store cannot be read; then nothing has changed.
    pub(crate) fn reload(&self, current: Current) -> Result<(), StoreError> {
        let current = Arc::new(current);
        let relating = self.relating.write().unwrap_or_else(PoisonError::into_inner);
        self.begin_anew(&current, Cluster::standing)?;
        self.current.store(current);
        drop(relating);
        self.flush();
        Ok(())
    }

    /// Gives every cluster a correlator for the rules of `current` that knows what is stored.
    fn begin_anew(
        &self,
        current: &Current,
        standing: impl Fn(&Cluster) -> Standing,
    ) -> Result<(), StoreError> {
        let mut restored = Vec::new();
        for cluster in self.clusters.all() {
            let standing = standing(&cluster);
            let mut last_us = standing.told_until_us();
            let mut related = cluster.fresh(current, &standing);
            self.read_back(&cluster, |found| {
                last_us = last_us.max(found.time_us);
                let observed = Observed::from_bytes(&found.body, &current.detection.relations);
                if let Some(observed) = observed {
                    related.take(observed);
                }
            })?;
            restored.push((cluster, related, last_us));
        }
        for (cluster, mut related, last_us) in restored {
            if cluster.clock().is_none() {
                cluster.resume_at(last_us);
            }
            self.untold().extend(composed(cluster.alerts(current, &related.episodes())));
            cluster.replace(related);
        }
        Ok(())
    }

    /// Gives every match of a cluster that is kept, in order of time.
    fn read_back(&self, cluster: &Cluster, mut give: impl FnMut(&NewMatch)) -> Result<(), StoreError> {
        let mut last: Option<NewMatch> = None;
        loop {
            let page = self.runtime.block_on(self.store.matches(&cluster.name, i64::MIN, last.as_ref()))?;
            page.iter().for_each(&mut give);
            last = page.into_iter().next_back();
            if last.is_none() {
                return Ok(());
            }
        }
    }

    /// Saves how far correlations are, with all alerts that they have given. Blocks. Gives the
    /// time, in microseconds since 1970, before which no cluster has anything left to tell; nothing
    /// if it could not be saved.
    pub(crate) fn save(&self) -> Option<i64> {
        let relating = self.relating.write().unwrap_or_else(PoisonError::into_inner);
        let standings: Vec<_> =
            self.clusters.all().iter().map(|cluster| (cluster.name.clone(), cluster.standing())).collect();
        let _flushing = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        drop(relating);
        let alerts = self.untold().clone();
        let count = alerts.len();
        let positions =
            standings.iter().map(|(name, standing)| (format!("{NAME}{name}"), standing.to_bytes()));
        self.write(Entry { alerts, positions: positions.collect(), ..Entry::default() }).ok()?;
        self.untold().drain(..count);
        Some(standings.iter().map(|(_, standing)| standing.told_until_us()).min().unwrap_or(i64::MIN))
    }
}
