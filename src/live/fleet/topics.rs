//! The topics of a fleet: their names, and how they are made.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::client::{ClientError, Connecting, MESSAGE_BYTES_MAX, Voice};

/// How long brokers may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// For how long a match is kept beyond the longest window: brokers were down, a partition was read late.
const SPARE: Duration = Duration::from_secs(24 * 3600);
/// For how long marks are kept: only the latest count.
const MARKS_KEPT: Duration = Duration::from_secs(3600);

/// The names of topics.
#[derive(Clone, Debug)]
pub(super) struct Topics {
    pub(super) matches: String,
    pub(super) standings: String,
    pub(super) marks: String,
}

/// Why the topics cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub(super) enum TopicsError {
    #[error("no client")]
    Client(#[from] ClientError),
    #[error("brokers cannot be asked")]
    Kafka(#[from] KafkaError),
    #[error("cannot create the topic `{topic}`: {code}")]
    Create { topic: String, code: RDKafkaErrorCode },
    #[error("the topic `{0}` is not there")]
    Missing(String),
    #[error("the topic `{topic}` has {got} partitions instead of {expected}")]
    Partitions { topic: String, got: usize, expected: usize },
}

impl Topics {
    pub(super) fn new(prefix: &str) -> Self {
        let name = |what| format!("{prefix}-{what}");
        Self { matches: name("matches"), standings: name("standings"), marks: name("marks") }
    }

    /// Makes those that are not there; gives how many partitions matches are in. `wanted_for` is the
    /// longest time that a match is wanted.
    pub(super) async fn prepare(
        &self,
        connecting: &Connecting,
        wanted_for: Duration,
        partitions: u32,
    ) -> Result<i32, TopicsError> {
        let admin: AdminClient<Voice> = connecting.client(&[], connecting.voice())?;
        let matches_ms = (wanted_for + SPARE).as_millis().to_string();
        let marks_ms = MARKS_KEPT.as_millis().to_string();
        let bytes_max = MESSAGE_BYTES_MAX.to_string();
        let topic = |name, count| {
            NewTopic::new(name, count, TopicReplication::Fixed(-1)).set("max.message.bytes", &bytes_max)
        };
        let count = i32::try_from(partitions).unwrap_or(i32::MAX);
        let new = [
            topic(&self.matches, count).set("retention.ms", &matches_ms).set("cleanup.policy", "delete"),
            // What is compacted has to be in a segment that is closed, so these are small.
            topic(&self.standings, count)
                .set("cleanup.policy", "compact")
                .set("segment.bytes", "16777216")
                .set("segment.ms", "600000"),
            topic(&self.marks, 1).set("retention.ms", &marks_ms).set("segment.ms", "600000"),
        ];
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
        for created in admin.create_topics(&new, &options).await? {
            match created {
                Ok(topic) => tracing::info!(topic, "created a topic of the fleet"),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                // Who may not create topics may find them.
                Err((topic, code)) if self.count(&admin, &topic).await.is_err() => {
                    return Err(TopicsError::Create { topic, code });
                }
                Err(_) => {}
            }
        }
        self.count_all(&admin).await
    }

    /// Makes sure that there are so many partitions of matches, and of standings.
    pub(super) async fn expect(&self, admin: &AdminClient<Voice>, count: i32) -> Result<(), TopicsError> {
        let expected = usize::try_from(count).unwrap_or_default();
        for topic in [&self.matches, &self.standings] {
            let got = self.count(admin, topic).await?;
            if got != expected {
                return Err(TopicsError::Partitions { topic: topic.clone(), got, expected });
            }
        }
        self.count(admin, &self.marks).await.map(drop)
    }

    async fn count_all(&self, admin: &AdminClient<Voice>) -> Result<i32, TopicsError> {
        let expected = self.count(admin, &self.matches).await?;
        let got = self.count(admin, &self.standings).await?;
        if got != expected {
            return Err(TopicsError::Partitions { topic: self.standings.clone(), got, expected });
        }
        self.count(admin, &self.marks).await?;
        Ok(i32::try_from(expected).unwrap_or(i32::MAX))
    }

    /// How many partitions a topic has.
    async fn count(&self, admin: &AdminClient<Voice>, topic: &str) -> Result<usize, TopicsError> {
        // What was just created is not known everywhere at once.
        for _ in 0..20 {
            let metadata =
                tokio::task::block_in_place(|| admin.inner().fetch_metadata(Some(topic), TIMEOUT))?;
            let count = metadata
                .topics()
                .iter()
                .find(|found| found.name() == topic)
                .map_or(0, |found| found.partitions().len());
            if count > 0 {
                return Ok(count);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(TopicsError::Missing(topic.to_owned()))
    }
}
