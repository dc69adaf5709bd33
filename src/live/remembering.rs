//! What correlations know, over restarts and over changes of the rules.
//!
//! Matches are in the store; how far a correlator is (what it has told, since when an episode goes on) is
//! saved now and then.
//!
//! **Invariant:** how far a correlator is gets saved only with or after every alert that it has given,
//! so that nothing counts as told that is not durable.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use detect::Observed;
use detect::correlate::{DISORDER, Standing};
use sinks::outbox::{Entry, NewMatch};
use sinks::store::StoreError;

#[cfg(feature = "kafka")]
use super::clusters::CLUSTERS_MAX;
use super::clusters::Cluster;
use super::lookout::composed;
use super::{Current, Lookout};

/// How much longer than its windows a match is kept, by the clock here, that nobody here relates: whoever
/// is to relate it has not begun, or is somewhere else.
const UNRELATED_KEPT: TimeDelta = TimeDelta::days(1);
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
        let known = |cluster: &Cluster| standings.get(cluster.name.as_str()).and_then(believed);
        self.begin_anew(&self.clusters.all(), &current, |cluster| known(cluster).unwrap_or_default())?;
        self.flush();
        Ok(())
    }

    /// Goes on where another instance stopped, with clusters whose matches are in the store: those that it
    /// knew how far they were, and those that are here. They wait for these lanes. Blocks.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    #[cfg(feature = "kafka")]
    pub(super) fn take_over(
        &self,
        standings: &HashMap<String, Standing>,
        lanes: &Arc<super::lanes::Lanes>,
        is_here: impl Fn(&str) -> bool,
    ) -> Result<(), StoreError> {
        // So that nobody saves how far a correlator is that has not begun.
        let relating = self.relating.blocking_read();
        let current = self.current();
        let positions = self.runtime.block_on(self.store.positions())?;
        // This instance may have related them before, also on its own.
        let own = |name: &str| {
            positions.get(&format!("{NAME}{name}")).and_then(|bytes| Standing::from_bytes(bytes))
        };
        let with_matches = self.runtime.block_on(self.store.clusters())?;
        let names = with_matches.iter().chain(standings.keys()).filter(|name| is_here(name));
        let clusters: BTreeMap<&String, Arc<Cluster>> = names
            .filter_map(|name| {
                let place = self.clusters.get_among(name, &current, lanes);
                if place.is_none() {
                    tracing::warn!(
                        cluster = name,
                        "not correlated here: there is no room for one more cluster"
                    );
                }
                Some((name, place?))
            })
            .collect();
        let known = |cluster: &Cluster| {
            let published = standings.get(&cluster.name).and_then(believed);
            let own = own(&cluster.name).as_ref().and_then(believed);
            published.into_iter().chain(own).max_by_key(Standing::told_until_us).unwrap_or_default()
        };
        let clusters: Vec<_> = clusters.into_values().collect();
        self.begin_anew(&clusters, &current, known)?;
        self.clusters.awaited().retain(|name| !is_here(name));
        drop(relating);
        self.flush();
        Ok(())
    }

    /// Says that matches of these clusters are about to be stored, for correlations that are yet to
    /// begin: until these do, nothing of them is let go. Blocks.
    #[cfg(feature = "kafka")]
    pub(super) fn await_clusters<'n>(&self, names: impl Iterator<Item = &'n str>) {
        // Not while the store lets go of clusters that nobody awaits.
        let _relating = self.relating.blocking_read();
        let mut awaited = self.clusters.awaited();
        for name in names {
            // More than these could not be related.
            if awaited.len() < CLUSTERS_MAX && !awaited.contains(name) {
                awaited.insert(name.to_owned());
            }
        }
    }

    /// Puts other rules in force. Correlations count what they would have counted so far: where they are
    /// the same as before they just go on, for events wait while matches are read back. Blocks.
    ///
    /// # Errors
    /// Fails if the store cannot be read; then nothing has changed.
    pub(crate) fn reload(&self, mut current: Current) -> Result<(), StoreError> {
        let relating = self.relating.blocking_write();
        let known = self.current().detection.relations.clone();
        if current.detection.relations.is_like(&known) {
            current.detection.relations = known;
        } else {
            self.begin_anew(&self.clusters.all(), &current, Cluster::standing)?;
        }
        self.figures.expect(&current.detection);
        self.current.store(Arc::new(current));
        drop(relating);
        self.flush();
        Ok(())
    }

    /// Gives clusters a correlator for the rules of `current` that knows what is stored.
    fn begin_anew(
        &self,
        clusters: &[Arc<Cluster>],
        current: &Current,
        standing: impl Fn(&Cluster) -> Standing,
    ) -> Result<(), StoreError> {
        let mut restored = Vec::new();
        for cluster in clusters {
            let standing = standing(cluster);
            let told_until_us = standing.told_until_us();
            let mut last_us = told_until_us;
            let mut related = cluster.fresh(current, &standing);
            self.read_back(cluster, told_until_us, |found| {
                last_us = last_us.max(found.time_us);
                let observed = Observed::from_bytes(&found.body, &current.detection.relations);
                if let Some(observed) = observed {
                    related.take(observed);
                }
                // They come in order. What is later than has been told waits for what is still to come.
                related.advance_to(found.time_us.min(told_until_us));
            })?;
            related.advance_to(told_until_us);
            // It is as late as it was when that was saved: what is later may have come by a partition that
            // is ahead of others.
            let resumed_us =
                if told_until_us > 0 { told_until_us.saturating_add(disorder_us()) } else { last_us };
            restored.push((cluster, related, resumed_us));
        }
        for (cluster, mut related, resumed_us) in restored {
            if cluster.clock().is_none() {
                cluster.resume_at(resumed_us);
            }
            let alerts = composed(cluster.alerts(current, &related.episodes()));
            self.untold().extend(alerts);
            cluster.replace(related);
        }
        Ok(())
    }

    /// Lets the store forget the clusters that are forgotten here. Blocks.
    pub(crate) fn forget(&self) {
        loop {
            let Some(name) = self.clusters.forgotten().first().cloned() else { return };
            // Alone, so that no match of a cluster that is back comes between.
            let relating = self.relating.blocking_write();
            let position = format!("{NAME}{name}");
            let is_left = !self.clusters.is_known(&name)
                && match self.runtime.block_on(self.store.forget_cluster(&name, &position)) {
                    Ok(is_left) => is_left,
                    Err(error) => {
                        tracing::warn!(error = %anyhow::Error::from(error), "a cluster is not forgotten yet");
                        return;
                    }
                };
            if !is_left {
                self.clusters.forgotten().remove(&name);
                self.figures.forget(&name);
            }
            drop(relating);
        }
    }

    /// Saves how far correlations are. Gives, by cluster, the time before which no window wants its matches,
    /// in microseconds since 1970 by its own clock, which is not ahead of `now_us`; nothing of a cluster
    /// while it is not saved, and no such time for one whose correlations have yet to begin. Blocks.
    pub(crate) fn told_until_us(&self, now_us: i64) -> BTreeMap<String, i64> {
        let awaited: Vec<_> = self.clusters.awaited().iter().map(|name| (name.clone(), i64::MIN)).collect();
        let saved = self.save().unwrap_or_default().into_iter();
        let saved = saved.map(|(cluster, standing)| (cluster, standing.told_until_us().min(now_us)));
        saved.chain(awaited).collect()
    }

    /// Lets the store forget matches of clusters that nobody here relates, once they are old. Blocks.
    pub(crate) fn forget_unrelated(&self) -> Result<(), StoreError> {
        let before_us = (Utc::now() - UNRELATED_KEPT).timestamp_micros();
        for name in self.runtime.block_on(self.store.clusters())? {
            let mut is_left = !self.clusters.is_known(&name);
            while is_left {
                // Alone, so that none comes between that is to be related.
                let relating = self.relating.blocking_write();
                is_left = !self.clusters.is_known(&name)
                    && !self.clusters.awaited().contains(&name)
                    && self.runtime.block_on(self.store.forget_matches(&name, before_us))?;
                drop(relating);
            }
        }
        Ok(())
    }

    /// Gives every match of a cluster that is wanted at this time or later, in order of time.
    fn read_back(
        &self,
        cluster: &Cluster,
        wanted_at_us: i64,
        mut give: impl FnMut(&NewMatch),
    ) -> Result<(), StoreError> {
        let over_us = wanted_at_us.saturating_sub(1);
        let mut last: Option<NewMatch> = None;
        loop {
            let page = self.runtime.block_on(self.store.matches(&cluster.name, over_us, last.as_ref()))?;
            page.iter().for_each(&mut give);
            last = page.into_iter().next_back();
            if last.is_none() {
                return Ok(());
            }
        }
    }

    /// Saves how far correlations are, with all alerts that they have given. Blocks. Gives, by cluster, how
    /// far that is; nothing if it could not be saved.
    pub(crate) fn save(&self) -> Option<Vec<(String, Standing)>> {
        let relating = self.relating.blocking_write();
        let standings: Vec<_> =
            self.clusters.all().iter().map(|cluster| (cluster.name.clone(), cluster.standing())).collect();
        let _flushing = self.flushing.blocking_lock();
        drop(relating);
        let alerts = self.untold().all();
        let count = alerts.len();
        let positions =
            standings.iter().map(|(name, standing)| (format!("{NAME}{name}"), standing.to_bytes()));
        self.write(Entry { alerts, positions: positions.collect(), ..Entry::default() }).ok()?;
        self.untold().settle(count);
        Some(standings)
    }
}

/// A standing, unless something was told in the future: it would keep silent for as long.
pub(super) fn believed(standing: &Standing) -> Option<Standing> {
    let horizon_us = Utc::now().timestamp_micros().saturating_add(disorder_us());
    (standing.told_until_us() <= horizon_us).then(|| standing.clone())
}

fn disorder_us() -> i64 {
    i64::try_from(DISORDER.as_micros()).unwrap_or(i64::MAX)
}
