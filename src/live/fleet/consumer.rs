//! Reads matches and marks: the thread of what is related here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use metrics::counter;
use rdkafka::Message;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};
use sinks::outbox::NewMatch;
use sinks::store::StoreError;
use tokio_util::sync::CancellationToken;

use super::client::{ClientError, Voice};
use super::mark::Mark;
use super::record::read_match;
use super::shares::Shares;
use super::{Publisher, standings};
use crate::config;
use crate::live::Lookout;

/// How many matches are stored at once, and how long it is waited for more.
const BATCH_MATCHES_MAX: usize = 1_000;
const BATCH_WAIT: Duration = Duration::from_millis(50);
/// How often it is published how far correlations are: so much is told again by who takes over.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// How long it takes until something that failed is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// After how long without a word an instance is dead, and others relate what it did.
const SESSION_MS: &str = "10000";
/// How long the last standings may take on their way when partitions are handed over.
const HAND_OVER_MAX: Duration = Duration::from_secs(10);
/// How soon it is noticed that the topic of matches was made anew, in milliseconds.
const REFRESH_MS: &str = "5000";

/// Everything of the thread.
struct Relating {
    publisher: Arc<Publisher>,
    lookout: Arc<Lookout>,
    shares: Arc<Shares>,
    group: String,
    readers: Readers,
    stop: CancellationToken,
    /// By partition: matches that are not stored yet, and the offset of the last.
    gathered: BTreeMap<i32, (Vec<NewMatch>, i64)>,
    saved_at: Instant,
}

/// What reads; made anew when brokers do not believe it any more.
struct Readers {
    matches: BaseConsumer<Context>,
    marks: BaseConsumer<Voice>,
}

/// Starts the thread.
pub(super) fn start(
    config: &config::Fleet,
    publisher: Arc<Publisher>,
    lookout: Arc<Lookout>,
    stop: CancellationToken,
) -> std::io::Result<JoinHandle<()>> {
    let group = format!("{}-correlations", config.group.as_str());
    std::thread::Builder::new().name("fleet".to_owned()).spawn(move || {
        let Some(count) = wait_for(&stop, || publisher.partitions()) else { return };
        let shares = Arc::new(Shares::new(Arc::clone(&lookout), count));
        let made = Readers::patiently(&stop, &publisher, &lookout, &shares, &group);
        let Some(readers) = made else { return };
        let (gathered, saved_at) = (BTreeMap::new(), Instant::now());
        Relating { publisher, lookout, shares, group, readers, stop, gathered, saved_at }.run();
    })
}

/// Asks again and again until there is an answer; nothing if it was told to stop.
fn wait_for<T>(stop: &CancellationToken, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    while !stop.is_cancelled() {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        std::thread::sleep(AGAIN_AFTER);
    }
    None
}

impl Readers {
    /// Makes them; tries until that is done. Nothing if it was told to stop.
    fn patiently(
        stop: &CancellationToken,
        publisher: &Arc<Publisher>,
        lookout: &Arc<Lookout>,
        shares: &Arc<Shares>,
        group: &str,
    ) -> Option<Self> {
        wait_for(stop, || {
            let context = Context {
                voice: publisher.connecting().voice(),
                publisher: Arc::clone(publisher),
                lookout: Arc::clone(lookout),
                shares: Arc::clone(shares),
                is_left: AtomicBool::new(false),
            };
            let told = |error: ClientError| {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::error!(error, "cannot read what the fleet publishes");
            };
            Self::new(publisher, context, group).map_err(told).ok()
        })
    }

    fn new(publisher: &Publisher, context: Context, group: &str) -> Result<Self, ClientError> {
        let connecting = publisher.connecting();
        // Whoever is assigned a partition reads all of it, so no offset is kept.
        let settings = [
            ("group.id", group),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "earliest"),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("session.timeout.ms", SESSION_MS),
            ("enable.partition.eof", "true"),
            ("topic.metadata.refresh.interval.ms", REFRESH_MS),
        ];
        let matches: BaseConsumer<Context> = connecting.client(&settings, context)?;
        matches.subscribe(&[&publisher.topics.matches])?;
        let settings = [
            ("group.id", group),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "latest"),
            ("topic.metadata.refresh.interval.ms", REFRESH_MS),
        ];
        let marks: BaseConsumer<Voice> = connecting.client(&settings, connecting.voice())?;
        let mut place = TopicPartitionList::new();
        place.add_partition_offset(&publisher.topics.marks, 0, Offset::End)?;
        marks.assign(&place)?;
        Ok(Self { matches, marks })
    }

    /// True if brokers do not believe them any more.
    fn need_others(&self) -> bool {
        self.matches.context().voice.trust.needs_another() || self.marks.context().trust.needs_another()
    }

    /// Hands over what is assigned, if brokers agree, and ends them: on a thread that nobody waits for, as that
    /// may take long while brokers are down.
    fn leave(self) {
        // Leaving the group revokes what is assigned, which is handed over then.
        self.matches.unsubscribe();
        let begun = Instant::now();
        while self.matches.assignment().is_ok_and(|assigned| assigned.count() > 0)
            && begun.elapsed() < HAND_OVER_MAX
        {
            let _ = self.matches.poll(Duration::from_millis(50));
        }
        self.matches.context().is_left.store(true, Ordering::Relaxed);
        let ending = std::thread::Builder::new().name("fleet ends".to_owned()).spawn(|| drop(self));
        match ending {
            Ok(ending) => {
                let begun = Instant::now();
                while !ending.is_finished() && begun.elapsed() < HAND_OVER_MAX {
                    std::thread::sleep(BATCH_WAIT);
                }
            }
            Err(error) => tracing::error!(%error, "cannot start a thread"),
        }
    }
}

impl Relating {
    fn run(mut self) {
        while !self.stop.is_cancelled() {
            self.gather();
            self.read_standings();
            self.store();
            self.read_marks();
            self.shares.settle();
            if self.saved_at.elapsed() >= SAVE_EVERY {
                self.saved_at = Instant::now();
                hand_over(&self.publisher, &self.lookout, &self.shares);
            }
            if self.readers.need_others() {
                let Some(again) = self.again() else { return };
                self = again;
            }
        }
        self.readers.leave();
    }

    /// Reads on with the secrets of now; nothing if it was told to stop.
    fn again(mut self) -> Option<Self> {
        tracing::warn!("the fleet's brokers refuse a consumer, or it has failed: it is made anew");
        self.readers.leave();
        // What brokers did not take back is read again from its beginning.
        self.shares.leave();
        self.gathered.clear();
        let made = Readers::patiently(&self.stop, &self.publisher, &self.lookout, &self.shares, &self.group);
        made.map(|readers| Self { readers, ..self })
    }

    /// Takes what comes, until there is enough or nothing has come for a moment.
    fn gather(&mut self) {
        let begun = Instant::now();
        let mut count = 0;
        while count < BATCH_MATCHES_MAX {
            let left = BATCH_WAIT.saturating_sub(begun.elapsed());
            match self.readers.matches.poll(left) {
                None => return,
                Some(Ok(message)) => {
                    count += 1;
                    let (partition, offset) = (message.partition(), message.offset());
                    let found = message.payload().and_then(|bytes| read_match(message.key(), bytes));
                    self.shares.check(partition, offset, found.as_ref());
                    let (matches, last) = self.gathered.entry(partition).or_default();
                    matches.extend(found);
                    *last = offset;
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.read_standings();
                    self.store();
                    let restored = wait_for(&self.stop, || {
                        let ended = self.shares.ended(partition);
                        let told = |error: StoreError| {
                            let error = format!("{:#}", anyhow::Error::from(error));
                            tracing::error!(error, "cannot read matches back");
                        };
                        ended.map_err(told).ok()
                    });
                    if restored.is_none() {
                        return;
                    }
                }
                Some(Err(error)) => {
                    self.readers.matches.context().voice.trust.note(&error);
                    tracing::warn!(%error, "matches cannot be read");
                }
            }
        }
    }

    /// Reads how far correlations were in partitions that are new here.
    fn read_standings(&self) {
        for partition in self.shares.unread() {
            let read = wait_for(&self.stop, || {
                let read =
                    standings::read(self.publisher.connecting(), &self.publisher.topics.standings, partition);
                read.map_err(|error| tracing::error!(partition, error = %format!("{:#}", anyhow::Error::from(error)), "cannot read standings")).ok()
            });
            if let Some(standings) = read {
                self.shares.begin(partition, standings);
            }
        }
    }

    /// Stores and relates what was gathered; tries until that is done.
    fn store(&mut self) {
        for (partition, (matches, last_offset)) in std::mem::take(&mut self.gathered) {
            wait_for(&self.stop, || self.shares.take(partition, matches.clone(), last_offset).ok());
        }
    }

    fn read_marks(&self) {
        while let Some(read) = self.readers.marks.poll(Duration::ZERO) {
            match read {
                Ok(message) => {
                    match message.payload().and_then(|bytes| serde_json::from_slice::<Mark>(bytes).ok()) {
                        Some(mark) => self.shares.hear(&mark),
                        None => {
                            counter!("masthead_fleet_messages_wrong_total", "kind" => "mark").increment(1);
                        }
                    }
                }
                Err(error) => return tracing::warn!(%error, "marks cannot be read"),
            }
        }
    }
}

/// Publishes how far correlations are.
fn hand_over(publisher: &Publisher, lookout: &Lookout, shares: &Shares) {
    let Some(standings) = shares.standings() else { return };
    let published = async { tokio::time::timeout(HAND_OVER_MAX, publisher.standings(&standings)).await };
    match lookout.runtime.block_on(published) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "how far correlations are is not published"),
        Err(_) => tracing::warn!("how far correlations are takes long to be published"),
    }
}

/// What happens when partitions come and go.
struct Context {
    voice: Voice,
    publisher: Arc<Publisher>,
    lookout: Arc<Lookout>,
    shares: Arc<Shares>,
    /// Nobody polls any more, and what was assigned may be another client's.
    is_left: AtomicBool,
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.voice.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.voice.error(error, reason);
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.voice.generate_oauth_token(config)
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if self.is_left.load(Ordering::Relaxed) {
            return;
        }
        match rebalance {
            Rebalance::Revoke(gone) if gone.count() > 0 => {
                hand_over(&self.publisher, &self.lookout, &self.shares);
                self.shares.revoked(partitions(gone));
            }
            Rebalance::Assign(new) => self.shares.assigned(partitions(new)),
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => tracing::warn!(%error, "the fleet cannot agree on who relates what"),
        }
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<i32> {
    list.elements().iter().map(TopicPartitionListElem::partition).collect()
}
