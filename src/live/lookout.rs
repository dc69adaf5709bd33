//! What happens to events, wherever they come from: evaluated, made durable, related.

use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use detect::Alert;
use detect::redact::Redactor;
use ingest::webhook::{Body, BodyError, EVENT_BYTES_MAX, Judge, Judged, Refusal};
use ingest::{Frame, Frames, MalformedKind};
use sinks::outbox::{Entry, NewAlert, Quarantined, Receipt};
use sinks::store::Store;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::Current;
use super::clusters::Clusters;
use super::figures::Figures;
use super::part::{Part, new_alert};
use super::prefix::Prefix;

/// Takes what sources give.
pub(crate) struct Lookout {
    pub(super) current: ArcSwap<Current>,
    pub(crate) clusters: Clusters,
    pub(crate) store: Store,
    pub(crate) figures: Arc<Figures>,
    /// What takes secrets out of alerts, whatever the rules are.
    pub(crate) redactor: Redactor,
    /// Whatever waits for the disk waits here.
    pub(super) runtime: Handle,
    /// Held by those who give matches to correlators, and alone by whoever makes these anew.
    pub(super) relating: RwLock<()>,
    /// Alerts that nobody waits for and that are not durable yet.
    untold: Mutex<Vec<NewAlert>>,
    /// Held by whoever makes these durable.
    pub(super) flushing: Mutex<()>,
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
}

impl Lookout {
    /// Begins with the rules of `current` and what the store remembers.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    pub(crate) fn new(
        current: Current,
        store: Store,
        figures: Arc<Figures>,
        redactor: Redactor,
        runtime: Handle,
    ) -> anyhow::Result<Self> {
        let lookout = Self {
            current: ArcSwap::from_pointee(current),
            clusters: Clusters::default(),
            store,
            figures,
            redactor,
            runtime,
            relating: RwLock::default(),
            untold: Mutex::default(),
            flushing: Mutex::default(),
            store_error: Mutex::default(),
        };
        lookout.remember()?;
        Ok(lookout)
    }

    /// The rules in force.
    pub(crate) fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// Takes all events of a stream; when this returns, everything they gave is durable. Blocks.
    ///
    /// # Errors
    /// Says why the source must give them again.
    pub(crate) fn take(&self, origin: Origin<'_>, stream: impl Read) -> Result<Judged, Refusal> {
        let received_at = Instant::now();
        let Origin { source, cluster: name, place, position } = origin;
        let current = self.current();
        let mut scratch = current.scratch();
        let mut frames = Frames::with_event_bytes_max(Prefix::new(stream), EVENT_BYTES_MAX).shedding();
        let mut part = Part::new(&current, name, source, place.as_deref());
        let mut judged = Judged::default();
        while let Some(frame) = frames.next() {
            match frame {
                Frame::Event { event, .. } => {
                    part.add(&event, &mut scratch);
                }
                Frame::Malformed(malformed) => {
                    if let MalformedKind::Unreadable(error) = &malformed.kind
                        && BodyError::of(error).is_none_or(BodyError::is_incomplete)
                    {
                        return Err(Refusal::Incomplete);
                    }
                    part.quarantine(&malformed, || {
                        self.redactor.fragment(frames.source().at(malformed.offset, malformed.bytes))
                    });
                }
            }
            if part.is_full() {
                let full = std::mem::replace(&mut part, Part::new(&current, name, source, place.as_deref()));
                judged += self.commit(full, received_at)?;
            }
        }
        part.entry.positions.extend(position);
        Figures::blind(current.detection.rules(), &mut scratch.blind_counts);
        current.give_back(scratch);
        judged += self.commit(part, received_at)?;
        let counts = frames.counts();
        self.figures.answered(source, name, counts.events + counts.malformed_total(), judged);
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
        let Origin { source, cluster, place, position } = origin;
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

    /// Makes a part durable, then gives its matches to the correlator of the cluster.
    fn commit(&self, mut part: Part<'_>, received_at: Instant) -> Result<Judged, Refusal> {
        part.close();
        let Part { cluster: name, entry, observed, event_count, quarantined_count, period, .. } = part;
        let judged = Judged { event_count, quarantined_count };
        let relating = self.relating.read().unwrap_or_else(PoisonError::into_inner);
        let current = self.current();
        // Who sends no event is no cluster.
        let cluster = match event_count {
            0 => None,
            _ => Some(self.clusters.get(name, &current).ok_or(Refusal::Busy)?),
        };
        let receipt = self.write(entry)?;
        self.figures.durable(received_at.elapsed(), event_count);
        let Some(cluster) = cluster else { return Ok(judged) };
        cluster.hear(&period);
        let given = observed.into_iter().zip(receipt.new_matches);
        let fresh = given.filter_map(|(observed, is_new)| is_new.then_some(observed));
        let alerts = composed(cluster.relate(&current, fresh));
        let is_quiet = alerts.is_empty();
        self.untold().extend(alerts);
        drop(relating);
        // Their matches are durable, so nobody has to wait for somebody else who stores alerts.
        if !is_quiet && let Ok(flushing) = self.flushing.try_lock() {
            self.flush_with(&flushing);
        }
        Ok(judged)
    }

    /// Waits until something is durable.
    pub(super) fn write(&self, entry: Entry) -> Result<Receipt, Refusal> {
        if entry.is_empty() {
            return Ok(Receipt::default());
        }
        let routes: Vec<_> = entry.alerts.iter().map(|alert| alert.route.clone()).collect();
        let written = self.runtime.block_on(self.store.write(entry));
        let written = written.map_err(|error| format!("{:#}", anyhow::Error::from(error)));
        *self.store_error.lock().unwrap_or_else(PoisonError::into_inner) = written.as_ref().err().cloned();
        let receipt = written.map_err(|error| {
            tracing::error!(error, "cannot make alerts durable; sources are asked to send again");
            Refusal::Store
        })?;
        let fresh = routes.iter().zip(&receipt.new_alerts).filter(|(_, is_new)| **is_new);
        fresh.for_each(|(route, _)| Figures::alerted(&route.rule, &route.level));
        Ok(receipt)
    }

    /// Why nothing could be stored when that was last tried; nothing if it could.
    pub(crate) fn store_error(&self) -> Option<String> {
        self.store_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stores alerts that nobody waits for: those of episodes, whose matches are durable, and notices. Blocks.
    pub(crate) fn tell(&self, alerts: Vec<NewAlert>) {
        self.untold().extend(alerts);
        self.flush();
    }

    /// Stores what nobody waits for, or tries again next time.
    pub(super) fn flush(&self) {
        self.flush_with(&self.flushing.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// One at a time, so that whatever is not durable is in the list while nobody holds the lock.
    fn flush_with(&self, _: &MutexGuard<'_, ()>) {
        let alerts = self.untold().clone();
        let count = alerts.len();
        if count > 0 && self.write(Entry { alerts, ..Entry::default() }).is_ok() {
            self.untold().drain(..count);
        }
    }

    /// Alerts that are not durable yet and that nobody waits for.
    pub(super) fn untold(&self) -> MutexGuard<'_, Vec<NewAlert>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time pass for correlations, and stores what could not be stored before. Blocks.
    pub(crate) fn tick(&self) {
        let relating = self.relating.read().unwrap_or_else(PoisonError::into_inner);
        let current = self.current();
        let is_stuck = self.store_error().is_some();
        for cluster in self.clusters.all() {
            if is_stuck {
                cluster.hold();
            } else {
                self.untold().extend(composed(cluster.pass_time(&current)));
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
        let Body { reader, cluster } = body;
        let _turn = self.reading.acquire().await.map_err(|_| Refusal::Stopping)?;
        let taken = tokio::task::spawn_blocking(move || {
            let origin = Origin { source: &source, cluster: &cluster, place: None, position: None };
            lookout.take(origin, reader)
        });
        // A panic would have been an error of ours: the batch is asked for again.
        taken.await.unwrap_or(Err(Refusal::Busy))
    }
}
