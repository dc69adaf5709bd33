//! Alerts to a topic of Kafka: a message each, in order of their keys.
//!
//! librdkafka sends, repeats and reports from threads of its own; this waits for the reports.
//!
//! **Invariant:** an alert counts as delivered once all in-sync replicas have it, as the broker
//! reported. What is on its way when a call ends is remembered and not sent a second time by the
//! same producer, which is idempotent: an outage gives no duplicates. A new producer may.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tokio::time::timeout;

mod context;
mod failure;
mod flights;
mod link;
mod producer;

#[cfg(test)]
mod tests;

pub use link::{Link, Token};

use crate::delivery::{BATCH_COUNT_MAX, Delivery, Destination, Trouble};
use crate::outbox::Outgoing;
use failure::Failure;
use flights::{Flights, State};
use producer::Producer;

/// How long one call waits for the next report while the brokers say what is wrong.
const TROUBLED_MAX: Duration = Duration::from_secs(5);

/// How long one call waits for the next report while nobody says anything.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How many alerts go one by one after one was not wanted: as many as may have come with it.
const ALONE_COUNT: usize = BATCH_COUNT_MAX;

/// Where messages go and what they look like.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the brokers are reached.
    pub link: Link,
    /// The topic.
    pub topic: String,
    /// What is the same of alerts that stay in order.
    pub key: Key,
    /// How messages are compressed.
    pub compression: Compression,
    /// The largest message, in bytes before compression.
    pub message_bytes_max: usize,
}

/// What the key of a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Key {
    /// The id of the alert.
    #[default]
    Id,
    /// The cluster.
    Cluster,
    /// The id of the rule.
    Rule,
    /// The effective user.
    Actor,
}

/// How messages are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// By LZ4: fast.
    Lz4,
    /// By Zstandard: small.
    #[default]
    Zstd,
}

/// The sink `kafka`.
pub struct Kafka {
    options: Arc<Options>,
    producer: Option<Producer>,
    flights: Flights,
    /// How many alerts go one by one, since one among several was not wanted.
    alone_count: usize,
}

impl Kafka {
    /// A sink; connects to nothing yet.
    pub fn new(options: Options) -> Self {
        Self { options: Arc::new(options), producer: None, flights: Flights::default(), alone_count: 0 }
    }

    /// The producer, made anew if there is none that works.
    async fn ready(&mut self) -> Result<&mut Producer, Trouble> {
        if self.flights.is_full() || self.producer.as_ref().is_some_and(Producer::is_dead) {
            self.begin_anew();
        }
        let producer = if let Some(producer) = self.producer.take() {
            producer
        } else {
            let options = Arc::clone(&self.options);
            let made = spawn_blocking(move || Producer::new(&options)).await;
            made.map_err(|error| Trouble::of(&error))??
        };
        Ok(self.producer.insert(producer))
    }

    /// Forgets the producer and what it has under way: all of that is sent again.
    fn begin_anew(&mut self) {
        self.producer = None;
        self.flights = Flights::default();
    }

    /// Hands over those that are not under way; returns how many, from the first on, now are, and
    /// why not the next.
    async fn send(&mut self, alerts: &[Arc<Outgoing>]) -> Result<(usize, Option<Trouble>), Trouble> {
        self.ready().await?;
        let Self { producer: Some(producer), flights, options, .. } = self else { return Ok((0, None)) };
        flights.forget_failed();
        for (index, alert) in alerts.iter().enumerate() {
            if flights.state(alert.number).is_some() {
                continue;
            }
            match producer.send(options, alert) {
                Ok(()) => flights.begin(alert.number),
                // Room comes with the reports of those before.
                Err(failure) if failure.is_full() && index > 0 => return Ok((index, None)),
                Err(failure) => return Ok((index, Some(self.judge(&failure, alert)))),
            }
        }
        Ok((alerts.len(), None))
    }

    /// Waits until reports have come for alerts that are under way, up to the first that failed.
    async fn settle(&mut self, alerts: &[Arc<Outgoing>]) -> Delivery {
        let mut delivered_count = 0;
        let mut heard_at = Instant::now();
        while let Some(alert) = alerts.get(delivered_count) {
            let failure = match self.flights.state(alert.number) {
                Some(State::Landed) => {
                    self.flights.end(alert.number);
                    delivered_count += 1;
                    continue;
                }
                Some(State::Failed(failure)) => failure.clone(),
                Some(State::UnderWay) => match self.hear(&mut heard_at).await {
                    Ok(()) => continue,
                    Err(failure) => failure,
                },
                None => Failure::silence(),
            };
            return Delivery::until(delivered_count, self.judge(&failure, alert));
        }
        Delivery::of(delivered_count)
    }

    /// Waits for one report; fails if none comes and something is wrong.
    async fn hear(&mut self, heard_at: &mut Instant) -> Result<(), Failure> {
        let Some(producer) = &mut self.producer else { return Err(Failure::silence()) };
        loop {
            match timeout(TROUBLED_MAX, producer.next_report()).await {
                Ok(Some(report)) => {
                    *heard_at = Instant::now();
                    self.flights.report(report);
                    return Ok(());
                }
                Ok(None) => return Err(Failure::silence()),
                Err(_) => match producer.complaint(*heard_at) {
                    Some(failure) => return Err(failure),
                    None if heard_at.elapsed() >= SILENCE_MAX => return Err(Failure::silence()),
                    None => {}
                },
            }
        }
    }

    /// What a failure means for an alert; of some, only a new producer recovers.
    fn judge(&mut self, failure: &Failure, alert: &Outgoing) -> Trouble {
        if failure.needs_new_producer() {
            self.begin_anew();
        }
        let trouble = failure.trouble(&self.options, alert);
        if matches!(trouble, Trouble::Refused { .. }) {
            // The broker refuses messages that came together all at once: which of them it does not
            // want, they will tell one by one.
            self.alone_count = ALONE_COUNT;
        }
        trouble
    }
}

impl Destination for Kafka {
    async fn open(&mut self, _memo: Option<&str>) -> Result<(), Trouble> {
        self.ready().await.map(drop)
    }

    async fn deliver(&mut self, alerts: &[Arc<Outgoing>]) -> Delivery {
        let is_alone = self.alone_count > 0;
        let alerts = if is_alone { alerts.get(..1).unwrap_or_default() } else { alerts };
        let (sent_count, unsent) = match self.send(alerts).await {
            Ok(sent) => sent,
            Err(trouble) => return Delivery::until(0, trouble),
        };
        let delivery = self.settle(alerts.get(..sent_count).unwrap_or_default()).await;
        self.alone_count = self.alone_count.saturating_sub(delivery.delivered_count);
        match unsent {
            Some(trouble) if delivery.trouble.is_none() => Delivery::until(delivery.delivered_count, trouble),
            _ => delivery,
        }
    }
}
