//! Publishes what an instance found, and how far it is.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use metrics::counter;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer};
use rdkafka::util::AsyncRuntime;
use sinks::outbox::NewMatch;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::client::{ClientError, Connecting, Trust, Voice};
use super::mark::Said;
use super::record::{match_bytes, partition_of};
use super::topics::Topics;
use super::watch::Watch;
use crate::live::exchange::{Exchange, Publishing, Unpublished};
use crate::live::lanes::Lanes;

/// How often an instance says how far it is: half of what people notice.
const MARK_EVERY: Duration = Duration::from_millis(500);
/// How long it may take until a message is durable: an API server waits for 30 seconds.
const DELIVERED_IN: &str = "20000";
/// How much waits for brokers, in KiB; beyond it, sources are asked to send again.
const QUEUE_KIB_MAX: &str = "65536";
/// How long it takes until brokers that could not be reached are tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// A producer, and whether it is believed.
struct Sender {
    producer: FutureProducer<Voice, Tokio>,
    trust: Arc<Trust>,
}

/// Publishes for this instance.
pub(crate) struct Publisher {
    connecting: Connecting,
    pub(super) topics: Topics,
    /// Which instance this is: no two starts have the same.
    pub(super) instance: String,
    sender: ArcSwap<Sender>,
    /// How many partitions matches are in; none until the topics are known.
    partitions: AtomicI32,
    /// Why no match can be published; nothing if they can.
    closed: Mutex<Option<String>>,
    said: Mutex<Said>,
}

impl Publisher {
    pub(super) fn new(connecting: Connecting, topics: Topics) -> Result<Self, ClientError> {
        let sender = ArcSwap::from_pointee(Sender::new(&connecting)?);
        let instance = format!("{:016x}", RandomState::new().build_hasher().finish());
        let closed = Mutex::new(Some("the topics are not known yet".to_owned()));
        let (partitions, said) = (AtomicI32::new(0), Mutex::default());
        Ok(Self { connecting, topics, instance, sender, partitions, closed, said })
    }

    /// Makes the topics, then says how far this instance is, again and again, until told to stop.
    pub(super) async fn run(
        self: Arc<Self>,
        lanes: Arc<Lanes>,
        wanted_for: Duration,
        partitions: u32,
        stop: CancellationToken,
    ) {
        let prepared = async {
            loop {
                match self.topics.prepare(&self.connecting, wanted_for, partitions).await {
                    Ok(count) => return count,
                    Err(error) => {
                        tracing::error!(error = %format!("{:#}", anyhow::Error::from(error)), "the fleet's topics cannot be used");
                    }
                }
                sleep(AGAIN_AFTER).await;
            }
        };
        let count = tokio::select! {
            count = prepared => count,
            () = stop.cancelled() => return,
        };
        self.open(count);
        let watch = Watch::new(Arc::clone(&self), wanted_for, count);
        let watching = tokio::spawn(watch.run(stop.clone()));
        self.mark_until(&lanes, stop).await;
        if let Err(error) = watching.await {
            tracing::error!(%error, "it was not looked after the fleet's topics");
        }
    }

    /// Says how far this instance is, again and again.
    async fn mark_until(&self, lanes: &Lanes, stop: CancellationToken) {
        let mut ticks = interval(MARK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    self.renew();
                    self.mark(lanes);
                }
                () = stop.cancelled() => return,
            }
        }
    }

    /// Lets matches be published to so many partitions.
    pub(super) fn open(&self, count: i32) {
        self.partitions.store(count, Ordering::Relaxed);
        *self.closed() = None;
    }

    /// Lets no match be published, for some reason.
    pub(super) fn close(&self, reason: String) {
        *self.closed() = Some(reason);
    }

    /// The last offsets that were published, by partition.
    pub(super) fn published(&self) -> BTreeMap<i32, i64> {
        self.said().offsets()
    }

    /// Takes back that something was published at `from`: the partition ends with `to`.
    pub(super) fn set_back(&self, partition: i32, from: i64, to: i64) {
        self.said().set_back(partition, from, to);
    }

    /// How many partitions matches are in, once that is known.
    pub(super) fn partitions(&self) -> Option<i32> {
        Some(self.partitions.load(Ordering::Relaxed)).filter(|count| *count > 0)
    }

    /// How brokers are reached.
    pub(super) fn connecting(&self) -> &Connecting {
        &self.connecting
    }

    /// Publishes how far the correlations of clusters are; durable when this is done.
    pub(super) fn standings(
        &self,
        standings: &[(i32, String, Vec<u8>)],
    ) -> impl Future<Output = Result<(), Unpublished>> + Send + use<> {
        let records = standings.iter().map(|(partition, cluster, bytes)| {
            FutureRecord::to(&self.topics.standings).partition(*partition).key(cluster).payload(bytes)
        });
        let sent: Result<Vec<_>, _> = records.map(|record| self.send(record)).collect();
        async move {
            for delivery in sent? {
                delivered(delivery).await?;
            }
            Ok(())
        }
    }

    fn mark(&self, lanes: &Lanes) {
        // Lanes first: what was published of them by now has its offset noted.
        let lanes = lanes.marks();
        let mark = self.said().mark(&self.instance, lanes);
        let Ok(bytes) = serde_json::to_vec(&mark) else { return };
        let record = FutureRecord::to(&self.topics.marks).partition(0).key(&self.instance).payload(&bytes);
        // The next one says all of it.
        let _ = self.send(record);
    }

    fn send(&self, record: FutureRecord<'_, String, Vec<u8>>) -> Result<DeliveryFuture, Unpublished> {
        let sender = self.sender.load();
        if let Some((_, reason)) = sender.producer.client().fatal_error() {
            sender.trust.note(&KafkaError::MessageProduction(RDKafkaErrorCode::Fatal));
            return Err(Unpublished(reason));
        }
        sender.producer.send_result(record).map_err(|(error, _)| Unpublished(error.to_string()))
    }

    /// Makes another producer if brokers do not believe the one there is, or it has failed for good. What
    /// that had under way is asked for again.
    fn renew(&self) {
        if !self.sender.load().trust.needs_another() {
            return;
        }
        match Sender::new(&self.connecting) {
            Ok(fresh) => {
                tracing::warn!("the fleet's brokers refuse a producer, or it has failed: it is made anew");
                let old = self.sender.swap(Arc::new(fresh));
                // It waits for its threads.
                drop(tokio::task::spawn_blocking(move || drop(old)));
            }
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::error!(error, "a producer cannot be made anew");
            }
        }
    }

    fn closed(&self) -> MutexGuard<'_, Option<String>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What [`Exchange`] is to sources.
impl Exchange for Arc<Publisher> {
    fn publish(&self, matches: Vec<NewMatch>) -> Publishing {
        if let Some(reason) = self.trouble() {
            return Box::pin(async { Err(Unpublished(reason)) });
        }
        let count = self.partitions.load(Ordering::Relaxed);
        let sent: Result<Vec<_>, _> = matches
            .iter()
            .map(|found| {
                let bytes = match_bytes(found);
                let partition = partition_of(&found.cluster, count);
                let record = FutureRecord::to(&self.topics.matches)
                    .partition(partition)
                    .key(&found.cluster)
                    .payload(&bytes);
                self.send(record)
            })
            .collect();
        let publisher = Self::clone(self);
        Box::pin(async move {
            for delivery in sent? {
                let (partition, offset) = delivered(delivery).await?;
                publisher.said().published(partition, offset);
            }
            counter!("masthead_fleet_matches_published_total").increment(matches.len() as u64);
            Ok(())
        })
    }

    fn trouble(&self) -> Option<String> {
        self.closed().clone()
    }

    fn hear(&self, _: &str, cluster: &str, latest: Option<DateTime<Utc>>) -> bool {
        self.said().hear(cluster, latest)
    }
}

/// Waits until a message is durable; gives where.
async fn delivered(delivery: DeliveryFuture) -> Result<(i32, i64), Unpublished> {
    match delivery.await {
        Ok(Ok(delivery)) => Ok((delivery.partition, delivery.offset)),
        Ok(Err((error, _))) => Err(Unpublished(error.to_string())),
        Err(_) => Err(Unpublished("the producer was made anew".to_owned())),
    }
}

impl Sender {
    fn new(connecting: &Connecting) -> Result<Self, ClientError> {
        let settings = [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("message.timeout.ms", DELIVERED_IN),
            ("queue.buffering.max.kbytes", QUEUE_KIB_MAX),
            ("linger.ms", "2"),
            ("compression.type", "lz4"),
        ];
        let voice = connecting.voice();
        let trust = Arc::clone(&voice.trust);
        Ok(Self { producer: connecting.client(&settings, voice)?, trust })
    }
}

/// The runtime of the producer, which only waits in it.
struct Tokio;

impl AsyncRuntime for Tokio {
    type Delay = tokio::time::Sleep;

    fn spawn<T: Future<Output = ()> + Send + 'static>(task: T) {
        tokio::spawn(task);
    }

    fn delay_for(duration: Duration) -> Self::Delay {
        sleep(duration)
    }
}
