//! Publishes what an instance found, and how far it is.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use metrics::counter;
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer};
use rdkafka::util::AsyncRuntime;
use sinks::outbox::NewMatch;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::client::{Connecting, Voice};
use super::mark::Said;
use super::record::{match_bytes, partition_of};
use super::topics::Topics;
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

type Sender = FutureProducer<Voice, Tokio>;

/// Publishes for this instance.
pub(crate) struct Publisher {
    connecting: Connecting,
    pub(super) topics: Topics,
    /// Which instance this is: no two starts have the same.
    pub(super) instance: String,
    sender: ArcSwap<Sender>,
    /// How many partitions matches are in; none until the topics are known.
    partitions: AtomicI32,
    said: Mutex<Said>,
}

impl Publisher {
    pub(super) fn new(connecting: Connecting, topics: Topics) -> anyhow::Result<Self> {
        let sender = ArcSwap::from_pointee(sender(&connecting)?);
        let instance = format!("{:016x}", RandomState::new().build_hasher().finish());
        let (partitions, said) = (AtomicI32::new(0), Mutex::default());
        Ok(Self { connecting, topics, instance, sender, partitions, said })
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
        tokio::select! {
            count = prepared => self.partitions.store(count, Ordering::Relaxed),
            () = stop.cancelled() => return,
        }
        let mut ticks = interval(MARK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.mark(&lanes),
                () = stop.cancelled() => return,
            }
        }
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
        if let Some((_, reason)) = sender.client().fatal_error() {
            tracing::warn!(reason, "a producer has failed for good and is made anew");
            let fresh = self::sender(&self.connecting).map_err(|error| Unpublished(format!("{error:#}")))?;
            self.sender.store(Arc::new(fresh));
            return Err(Unpublished(reason));
        }
        sender.send_result(record).map_err(|(error, _)| Unpublished(error.to_string()))
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What [`Exchange`] is to sources.
impl Exchange for Arc<Publisher> {
    fn publish(&self, matches: Vec<NewMatch>) -> Publishing {
        let Some(count) = self.partitions() else {
            return Box::pin(async { Err(Unpublished("the topics are not known yet".to_owned())) });
        };
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

    fn is_ready(&self) -> bool {
        self.partitions().is_some()
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

fn sender(connecting: &Connecting) -> anyhow::Result<Sender> {
    let mut config = connecting.config()?;
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", DELIVERED_IN)
        .set("queue.buffering.max.kbytes", QUEUE_KIB_MAX)
        .set("linger.ms", "2")
        .set("compression.type", "lz4");
    let made: Result<Sender, KafkaError> = config.create_with_context(connecting.voice());
    made.context("cannot make a producer")
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
