//! What happens to events, wherever they come from: evaluated, made durable, related.

use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
#[cfg(feature = "kafka")]
use detect::Observed;
#[cfg(feature = "kafka")]
use detect::correlate::Relations;
use detect::redact::Redactor;
use detect::{Alert, Scratch};
use ingest::webhook::{Body, BodyError, Content, EVENT_BYTES_MAX, Judge, Judged, Refusal, Whole};
use ingest::{Frame, Frames, MalformedKind};
use sinks::outbox::{Entry, NewAlert, Quarantined, Receipt};
use sinks::store::Store;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};

use super::Current;
use super::batch::Batch;
use super::clusters::{Clusters, count_from_the_future};
use super::evaluators::Evaluators;
use super::exchange::Exchange;
use super::figures::Figures;
#[cfg(feature = "kafka")]
use super::lanes::Lanes;
use super::part::{Given, PART_BYTES_MAX, Part, new_alert};
use super::prefix::Prefix;
use super::rehearsal::rehearse;
use super::untold::Untold;
use crate::period::Period;

/// Takes what sources give.
pub(crate) struct Lookout {
    pub(super) current: ArcSwap<Current>,
    pub(crate) clusters: Clusters,
    pub(crate) store: Store,
    pub(crate) figures: Arc<Figures>,
    /// Where matches go, if several instances correlate together.
    pub(super) exchange: Option<Arc<dyn Exchange>>,
    /// What takes secrets out of alerts, whatever the rules are.
    pub(crate) redactor: Redactor,
    evaluators: Evaluators,
    /// Held by who judges an event that fills a part: what is made of it takes several times its length.
    large: Mutex<()>,
    /// Whatever waits for the disk waits here.
    pub(super) runtime: Handle,
    /// Held by those who give matches to correlators, and alone by whoever makes these anew.
    pub(super) relating: tokio::sync::RwLock<()>,
    /// Alerts that nobody waits for and that are not durable yet.
    untold: Mutex<Untold>,
    /// Told when an episode gave alerts of that kind.
    has_untold: Notify,
    /// Held by whoever makes these durable.
    pub(super) flushing: tokio::sync::Mutex<()>,
    /// Why nothing could be stored when that was last tried.
    store_error: Mutex<Option<String>>,
}

/// Where events come from.
pub(crate) struct Origin<'o> {
    /// The name of the source.
    pub(crate) source: &'o str,
    /// Whose events they are.
    pub(crate) cluster: &'o str,
    /// Where in the source they begin, for people.
    pub(crate) place: Option<String>,
    /// How far the source is once all of it is durable, and under which name it asks for that.
    pub(crate) position: Option<(String, Vec<u8>)>,
    /// When they began to come.
    pub(crate) received_at: Instant,
}

impl Lookout {
    /// Begins with the rules of `current` and what the store remembers.
    ///
    /// # Errors
    /// Fails if the store cannot be read or no thread can be had.
    pub(crate) fn new(
        current: Current,
        store: Store,
        figures: Arc<Figures>,
        redactor: Redactor,
        runtime: Handle,
        exchange: Option<Arc<dyn Exchange>>,
    ) -> anyhow::Result<Self> {
        figures.expect(&current.detection);
        let lookout = Self {
            current: ArcSwap::from_pointee(current),
            clusters: Clusters::default(),
            store,
            figures,
            exchange,
            redactor,
            evaluators: Evaluators::start()?,
            large: Mutex::default(),
            runtime,
            relating: tokio::sync::RwLock::default(),
            untold: Mutex::default(),
            has_untold: Notify::new(),
            flushing: tokio::sync::Mutex::default(),
            store_error: Mutex::default(),
        };
        // What is related together is known when it is known what of it is related here.
        if lookout.exchange.is_none() {
            lookout.remember()?;
        }
        Ok(lookout)
    }

    /// Has those who evaluate see some events, so that the first batch finds them warm. Blocks.
    pub(crate) fn rehearse(&self) {
        rehearse(&self.evaluators, &self.current());
    }

    /// The rules in force.
    pub(crate) fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// Why other instances cannot be told what correlations count; nothing if they can, or there are none.
    pub(crate) fn fleet_error(&self) -> Option<String> {
        self.exchange.as_ref()?.trouble()
    }

    /// Whether nobody else relates what is evaluated here.
    #[cfg(feature = "kafka")]
    pub(super) fn is_alone(&self) -> bool {
        self.exchange.is_none()
    }

    /// Takes all events of a body of `source`; when this returns, everything they gave is durable.
    ///
    /// # Errors
    /// Says why the source must give them again.
    pub(crate) async fn take_whole(
        &self,
        source: Arc<str>,
        cluster: Arc<str>,
        body: Whole,
        received_at: Instant,
    ) -> Result<Judged, Refusal> {
        let current = self.current();
        let (rules, redactor) = (Arc::clone(&current), self.redactor.clone());
        let names = (Arc::clone(&source), Arc::clone(&cluster));
        let frames = body.into_frames(EVENT_BYTES_MAX);
        let mut batch = Box::new(Batch::new(frames, current, redactor, names.0, names.1));
        let mut judged = Judged::default();
        loop {
            let evaluated = self.evaluators.run(move || {
                let (given, is_all) = batch.next();
                (batch, given, is_all)
            });
            // A panic would have been an error of ours: the batch is asked for again.
            let (next, mut given, is_all) = evaluated.await.ok_or(Refusal::Busy)?;
            let counts = next.counts();
            // What the body lies in is for others while this one waits for the disk.
            let rest = if is_all {
                Whole::finish(next.into_frames());
                None
            } else {
                Some(next)
            };
            let mut blind_counts = std::mem::take(&mut given.blind_counts);
            judged += self.settle(&source, &cluster, given, received_at).await?;
            Figures::blind(rules.detection.rules(), &mut blind_counts);
            let Some(next) = rest else {
                Figures::unwrapped(&source, &counts);
                self.figures.answered(&source, &cluster, counts.events + counts.malformed_total(), judged);
                return Ok(judged);
            };
            batch = next;
        }
    }

    /// Takes all events of a stream; when this returns, everything they gave is durable. Blocks.
    ///
    /// # Errors
    /// Says why the source must give them again.
    pub(crate) fn take(&self, origin: Origin<'_>, stream: impl Read) -> Result<Judged, Refusal> {
        let current = self.current();
        current.with_scratch(|scratch| self.take_with(&current, scratch, origin, stream))
    }

    fn take_with(
        &self,
        current: &Current,
        scratch: &mut Scratch,
        origin: Origin<'_>,
        stream: impl Read,
    ) -> Result<Judged, Refusal> {
        let Origin { source, cluster, place, position, received_at } = origin;
        let mut frames = Frames::with_event_bytes_max(Prefix::new(stream), EVENT_BYTES_MAX).shedding();
        let mut part = Part::new(current, cluster, source, place.as_deref());
        let mut judged = Judged::default();
        while let Some(frame) = frames.next() {
            // Kept until what it gave is durable, and gone from memory.
            let mut _turn = None;
            match frame {
                Frame::Event { event, .. } => {
                    if event.raw().len() >= PART_BYTES_MAX {
                        _turn = Some(self.large.lock().unwrap_or_else(PoisonError::into_inner));
                    }
                    part.add(&event, scratch);
                }
                Frame::Malformed(malformed) => {
                    if let MalformedKind::Unreadable(error) = &malformed.kind
                        // What cannot be unpacked is no better when it is sent again.
                        && BodyError::of(error).is_some_and(BodyError::is_incomplete)
                    {
                        return Err(Refusal::Incomplete);
                    }
                    part.quarantine(&malformed, || {
                        self.redactor.fragment(frames.source().at(malformed.offset, malformed.bytes))
                    });
                }
            }
            if part.is_full() {
                let empty = Part::new(current, cluster, source, place.as_deref());
                judged += self.commit(std::mem::replace(&mut part, empty), received_at)?;
            }
        }
        part.reach(position);
        Figures::blind(current.detection.rules(), &mut scratch.blind_counts);
        judged += self.commit(part, received_at)?;
        let counts = frames.counts();
        Figures::unwrapped(source, &counts);
        self.figures.answered(source, cluster, counts.events + counts.malformed_total(), judged);
        Ok(judged)
    }

    /// Sets aside an item of `length` bytes that nobody could read whole. Blocks.
    ///
    /// # Errors
    /// Says why the source must give it again.
    pub(crate) fn set_aside(
        &self,
        origin: Origin<'_>,
        length: u64,
        beginning: &[u8],
    ) -> Result<Judged, Refusal> {
        let Origin { source, cluster, place, position, .. } = origin;
        let item = Quarantined {
            cluster: cluster.to_owned(),
            source: source.to_owned(),
            place: place.unwrap_or_default(),
            reason: format!("an item of {length} bytes, too long to be read"),
            bytes: self.redactor.fragment(beginning),
        };
        let positions = position.into_iter().collect();
        self.write(Entry { quarantined: vec![item], positions, ..Entry::default() })?;
        let judged = Judged { event_count: 0, quarantined_count: 1 };
        self.figures.answered(source, cluster, 1, judged);
        Ok(judged)
    }

    /// Makes durable what a part gave, then gives its matches to the correlator of the cluster. Blocks.
    pub(super) fn commit(&self, part: Part<'_>, received_at: Instant) -> Result<Judged, Refusal> {
        let (source, cluster) = (part.source, part.cluster);
        self.runtime.block_on(self.settle(source, cluster, part.close(), received_at))
    }

    /// Makes durable what events of a cluster gave, then gives their matches to its correlator.
    pub(super) async fn settle(
        &self,
        source: &str,
        name: &str,
        given: Given,
        received_at: Instant,
    ) -> Result<Judged, Refusal> {
        let Given { entry, observed, event_count, quarantined_count, future_count, period, .. } = given;
        count_from_the_future(name, future_count);
        let judged = Judged { event_count, quarantined_count };
        if self.untold().is_full() {
            self.flush_with(&self.flushing.lock().await).await;
        }
        let relating = self.relating.read().await;
        let current = self.current();
        if let Some(exchange) = &self.exchange {
            drop(relating);
            self.share(&**exchange, name, source, entry, event_count, &period).await?;
            self.figures.durable(received_at.elapsed(), event_count);
            return Ok(judged);
        }
        // Who sends no event is no cluster.
        let cluster = match event_count {
            0 => None,
            _ => Some(self.clusters.get_heard(name, &current).ok_or(Refusal::Clusters)?),
        };
        if self.untold().is_full() {
            return Err(Refusal::Store);
        }
        let receipt = self.make_durable(entry).await?;
        self.figures.durable(received_at.elapsed(), event_count);
        let Some(cluster) = cluster else { return Ok(judged) };
        self.clusters.lanes.spoken(source, name);
        cluster.hear(&period);
        let given = observed.into_iter().zip(receipt.new_matches);
        let fresh = given.filter_map(|(observed, is_new)| is_new.then_some(observed));
        let alerts = composed(cluster.relate(&current, fresh));
        if !alerts.is_empty() {
            self.untold().extend(alerts);
            // Their matches are durable, so whoever gave these need not wait for alerts as well.
            self.has_untold.notify_one();
        }
        Ok(judged)
    }

    /// Makes what some events gave durable where several instances correlate together: matches where others
    /// find them, everything else here.
    async fn share(
        &self,
        exchange: &dyn Exchange,
        cluster: &str,
        source: &str,
        mut entry: Entry,
        event_count: u64,
        period: &Period,
    ) -> Result<(), Refusal> {
        let matches = std::mem::take(&mut entry.matches);
        let publishing = (!matches.is_empty()).then(|| exchange.publish(matches));
        // A source is not further than what others can find.
        let positions = std::mem::take(&mut entry.positions);
        self.make_durable(entry).await?;
        if let Some(publishing) = publishing {
            publishing.await.map_err(|error| {
                tracing::error!(%error, "sources are asked to send again");
                Refusal::Store
            })?;
        }
        self.make_durable(Entry { positions, ..Entry::default() }).await?;
        // Who sends no event is no cluster.
        if event_count > 0 {
            self.clusters.lanes.spoken(source, cluster);
            let latest = period.bounds().map(|(_, latest)| latest);
            return exchange.hear(source, cluster, latest).then_some(()).ok_or(Refusal::Clusters);
        }
        Ok(())
    }

    /// Gives matches of a cluster that are durable and new to its correlator, which waits for these lanes.
    /// False if there are too many clusters. Blocks.
    #[cfg(feature = "kafka")]
    pub(super) fn relate(
        &self,
        cluster: &str,
        lanes: &Arc<Lanes>,
        matches: impl FnOnce(&Relations) -> Vec<Observed>,
    ) -> bool {
        let relating = self.relating.blocking_read();
        let current = self.current();
        let Some(cluster) = self.clusters.get_among(cluster, &current, lanes) else { return false };
        let matches = matches(&current.detection.relations);
        let alerts = composed(cluster.relate(&current, matches.into_iter()));
        self.untold().extend(alerts);
        drop(relating);
        self.flush();
        true
    }

    /// Waits until something is durable. Blocks.
    pub(super) fn write(&self, entry: Entry) -> Result<Receipt, Refusal> {
        self.runtime.block_on(self.make_durable(entry))
    }

    pub(super) async fn make_durable(&self, entry: Entry) -> Result<Receipt, Refusal> {
        if entry.is_empty() {
            return Ok(Receipt::default());
        }
        let routes = entry.alerts.iter().map(|alert| &alert.route);
        let told: Vec<_> = routes.map(|route| (route.rule.clone(), route.level.clone())).collect();
        let written = self.store.write(entry).await;
        let written = written.map_err(|error| format!("{:#}", anyhow::Error::from(error)));
        *self.store_error.lock().unwrap_or_else(PoisonError::into_inner) = written.as_ref().err().cloned();
        let receipt = written.map_err(|error| {
            tracing::error!(error, "cannot make alerts durable; sources are asked to send again");
            Refusal::Store
        })?;
        let fresh = told.iter().zip(&receipt.new_alerts).filter(|(_, is_new)| **is_new);
        fresh.for_each(|((rule, level), _)| self.figures.alerted(rule, level));
        Ok(receipt)
    }

    /// Why nothing could be stored when that was last tried; nothing if it could.
    pub(crate) fn store_error(&self) -> Option<String> {
        self.store_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stores notices, which nobody waits for. Blocks.
    pub(crate) fn tell(&self, notices: Vec<NewAlert>) {
        self.untold().note(notices);
        self.flush();
    }

    /// Stores alerts of episodes as they come about, until dropped.
    pub(super) async fn store_untold(&self) {
        loop {
            self.has_untold.notified().await;
            self.flush_with(&self.flushing.lock().await).await;
        }
    }

    /// Stores what nobody waits for, or tries again next time. Blocks.
    pub(super) fn flush(&self) {
        self.runtime.block_on(async { self.flush_with(&self.flushing.lock().await).await });
    }

    /// One at a time, so that whatever is not durable is in the list while nobody holds the lock.
    async fn flush_with(&self, _: &tokio::sync::MutexGuard<'_, ()>) {
        loop {
            let alerts = self.untold().part();
            let count = alerts.len();
            if count == 0 || self.make_durable(Entry { alerts, ..Entry::default() }).await.is_err() {
                return;
            }
            self.untold().settle(count);
        }
    }

    /// Alerts that are not durable yet and that nobody waits for.
    pub(super) fn untold(&self) -> MutexGuard<'_, Untold> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time pass for correlations, and stores what could not be stored before. Blocks.
    pub(crate) fn tick(&self) {
        let relating = self.relating.blocking_read();
        let current = self.current();
        let is_stuck = self.store_error().is_some() || self.untold().is_full();
        for cluster in self.clusters.all() {
            if is_stuck {
                cluster.hold();
            } else {
                // Whoever answers sources asks how many wait, and must not wait for correlations.
                let alerts = composed(cluster.pass_time(&current));
                self.untold().extend(alerts);
            }
        }
        drop(relating);
        self.flush();
    }
}

/// Alerts of episodes as they are stored.
pub(super) fn composed(alerts: Vec<Alert>) -> Vec<NewAlert> {
    let compose = |alert: Alert| {
        // Invariant: ids of alerts are 32 hexadecimal digits.
        let id = u128::from_str_radix(&alert.id, 16).unwrap_or_default();
        new_alert(&alert, id)
    };
    alerts.into_iter().map(compose).collect()
}

/// What kube-apiservers post.
pub(crate) struct Webhook {
    pub(crate) lookout: Arc<Lookout>,
    /// The name of the source.
    pub(crate) source: Arc<str>,
    /// How many bodies may be read at once: each may hold an event of the largest size.
    pub(crate) reading: Semaphore,
}

impl Judge for Webhook {
    async fn judge(&self, body: Body) -> Result<Judged, Refusal> {
        let (lookout, source) = (Arc::clone(&self.lookout), Arc::clone(&self.source));
        let Body { content, cluster, party, received_at } = body;
        lookout.clusters.expect(&cluster, &party)?;
        let _turn = self.reading.acquire().await.map_err(|_| Refusal::Stopping)?;
        let content = match content {
            Content::Packed(packed) => {
                lookout.evaluators.run(|| packed.unpack()).await.ok_or(Refusal::Busy)?
            }
            other => other,
        };
        let reader = match content {
            Content::Whole(body) => {
                return lookout.take_whole(source, cluster.into(), body, received_at).await;
            }
            other => other.into_reader(),
        };
        let taken = tokio::task::spawn_blocking(move || {
            let (source, cluster) = (&*source, &*cluster);
            let origin = Origin { source, cluster, place: None, position: None, received_at };
            lookout.take(origin, reader)
        });
        // A panic would have been an error of ours: the batch is asked for again.
        taken.await.unwrap_or(Err(Refusal::Busy))
    }
}
