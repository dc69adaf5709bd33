//! What the client calls back for: rebalances, commits, figures, complaints, tokens.

use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::desk::Desk;
use super::link::Link;
use super::{Judge, News, Partition};

/// How long what is in flight is waited for when a partition goes to somebody else. Whatever takes
/// longer is read there again; nobody else of the group reads meanwhile.
const REVOKE_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long the same complaint is not repeated in the log.
const SAID_FOR: Duration = Duration::from_secs(30);
/// How many complaints are told apart.
const SAID_MAX: usize = 256;
/// How much of a complaint is shown, in characters: brokers have a part in it.
const COMPLAINT_CHARS_MAX: usize = 300;

/// What the client calls back for.
pub(super) struct Context {
    pub(super) source: Arc<str>,
    pub(super) desk: Arc<Desk>,
    pub(super) judge: Arc<dyn Judge>,
    link: Link,
    pub(super) rebalanced: AtomicBool,
    /// Nobody waits for this client any more, and another may have its partitions.
    pub(super) is_left: AtomicBool,
    /// How many commits brokers have not answered.
    committing: AtomicUsize,
    /// Nothing comes, and another client may do better.
    pub(super) is_stuck: AtomicBool,
    /// The figures that came last and nobody has looked at.
    figures: Mutex<Option<Box<Statistics>>>,
    has_figures: AtomicBool,
    /// What was complained of, and when.
    said: Mutex<HashMap<String, Instant>>,
    /// All partitions of the topics, as they were last told.
    known: Mutex<Vec<Partition>>,
}

impl Context {
    pub(super) fn new(source: Arc<str>, desk: Arc<Desk>, judge: Arc<dyn Judge>, link: Link) -> Self {
        Self {
            source,
            desk,
            judge,
            link,
            rebalanced: AtomicBool::new(false),
            is_left: AtomicBool::new(false),
            committing: AtomicUsize::new(0),
            is_stuck: AtomicBool::new(false),
            figures: Mutex::default(),
            has_figures: AtomicBool::new(false),
            said: Mutex::default(),
            known: Mutex::default(),
        }
    }

    /// Commits what is done of some partitions, or of all.
    pub(super) fn commit(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: Option<&[Partition]>,
        mode: CommitMode,
    ) {
        let done = self.desk.take_done(partitions);
        if done.is_empty() {
            return;
        }
        if matches!(mode, CommitMode::Async) {
            self.committing.fetch_add(1, Ordering::Relaxed);
        }
        if let Err(error) = list_of(&done).and_then(|list| consumer.commit(&list, mode)) {
            if matches!(mode, CommitMode::Async) {
                self.answered();
            }
            for (partition, _) in &done {
                self.desk.not_committed(partition);
            }
            self.complain(&error, "offsets are not committed");
        }
    }

    /// The figures that came since this was last asked.
    pub(super) fn take_figures(&self) -> Option<Box<Statistics>> {
        // Asked for behind each message.
        if !self.has_figures.load(Ordering::Relaxed) {
            return None;
        }
        self.has_figures.store(false, Ordering::Relaxed);
        self.figures.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// True while brokers have not answered all commits.
    pub(super) fn is_committing(&self) -> bool {
        self.committing.load(Ordering::Relaxed) > 0
    }

    fn answered(&self) {
        // Nothing is expected where nothing was asked.
        let _ =
            self.committing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, partitions: &[Partition]) {
        // What was lost is somebody else's already, who would be set back.
        if !consumer.assignment_lost() {
            if !self.desk.wait_for(partitions, REVOKE_WAIT_MAX) {
                let source = &*self.source;
                tracing::warn!(
                    source,
                    "a partition goes to another member with messages in flight: they are read again"
                );
            }
            self.commit(consumer, Some(partitions), CommitMode::Sync);
        }
        // Brokers may have taken so long to answer that another client has them.
        if !self.is_left.load(Ordering::Relaxed) {
            self.desk.revoke(partitions);
            self.judge.hear(News::Revoked(partitions));
        }
    }

    /// Counts a complaint, and says it unless it was said a moment ago.
    pub(super) fn complain(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        if code == Some(RDKafkaErrorCode::Authentication) {
            // Another client has the password that is in the file by then.
            self.is_stuck.store(true, Ordering::Relaxed);
        }
        let name = code.map_or_else(|| "other".to_owned(), |code| format!("{code:?}"));
        self.judge.hear(News::Error(&name));
        if self.is_news(&name) {
            let reason = cleaned(reason);
            tracing::warn!(source = &*self.source, code = name, reason, "the Kafka client complains");
        }
    }

    fn is_news(&self, what: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= SAID_MAX {
            said.retain(|_, at| at.elapsed() < SAID_FOR);
        }
        if said.get(what).is_some_and(|at| at.elapsed() < SAID_FOR) || said.len() >= SAID_MAX {
            return false;
        }
        said.insert(what.to_owned(), Instant::now());
        true
    }

    /// Tells all partitions there are, if these are others than before.
    fn tell_partitions(&self, statistics: &Statistics) {
        let topics = statistics.topics.values();
        let mut partitions: Vec<Partition> = topics
            .flat_map(|topic| {
                let known = topic.partitions.values().filter(|partition| partition.partition >= 0);
                known.map(|partition| Partition::new(&topic.topic, partition.partition))
            })
            .collect();
        partitions.sort_unstable();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != partitions {
            self.judge.hear(News::Partitions(&partitions));
            *known = partitions;
        }
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if self.is_left.load(Ordering::Relaxed) {
            return;
        }
        self.rebalanced.store(true, Ordering::Relaxed);
        match rebalance {
            Rebalance::Assign(list) => {
                let partitions = partitions_of(list);
                tracing::info!(
                    source = &*self.source,
                    partitions = partitions.len(),
                    "partitions are assigned"
                );
                self.desk.assign(&partitions);
                self.judge.hear(News::Assigned(&partitions));
            }
            Rebalance::Revoke(list) => {
                let partitions = partitions_of(list);
                tracing::info!(
                    source = &*self.source,
                    partitions = partitions.len(),
                    "partitions are revoked"
                );
                self.revoke(consumer, &partitions);
            }
            Rebalance::Error(error) => self.complain(error, "the group cannot agree"),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        self.answered();
        let elements = offsets.elements();
        let failed =
            |is_lost: bool| elements.iter().filter(move |element| is_lost || element.error().is_err());
        for element in failed(result.is_err()) {
            self.desk.not_committed(&Partition::new(element.topic(), element.partition()));
        }
        if let Err(error) = result {
            self.complain(&error, "offsets are not committed");
        }
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let source = &*self.source;
        let message = cleaned(message);
        let is_urgent =
            !matches!(level, RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug);
        if is_urgent && self.is_news(facility) {
            tracing::warn!(target: "librdkafka", source, facility, message);
        } else {
            tracing::debug!(target: "librdkafka", source, facility, message);
        }
    }

    fn stats(&self, statistics: Statistics) {
        self.tell_partitions(&statistics);
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(statistics));
        self.has_figures.store(true, Ordering::Relaxed);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complain(&error, reason);
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let token = self.link.token();
        if let Err(error) = &token {
            self.judge.hear(News::Error("Token"));
            if self.is_news("Token") {
                tracing::error!(source = &*self.source, error = &**error as &dyn Error, "there is no token");
            }
        }
        token.map_err(|error| -> Box<dyn Error> { error })
    }
}

/// Partitions with the offsets behind what is done.
fn list_of(done: &[(Partition, i64)]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(done.len());
    for (partition, end) in done {
        list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(*end))?;
    }
    Ok(list)
}

/// The partitions of a list.
pub(super) fn partitions_of(list: &TopicPartitionList) -> Vec<Partition> {
    let elements = list.elements();
    elements.iter().map(|element| Partition::new(element.topic(), element.partition())).collect()
}

/// A text of others as one short line.
fn cleaned(text: &str) -> String {
    let plain = |character: char| if character.is_control() { ' ' } else { character };
    text.chars().take(COMPLAINT_CHARS_MAX).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_brokers_say_is_one_short_line() {
        assert_eq!(cleaned("no\nsuch\u{1b}[31m"), "no such [31m");
        assert_eq!(cleaned(&"a".repeat(1_000)).len(), COMPLAINT_CHARS_MAX);
    }
}
