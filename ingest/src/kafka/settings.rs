//! What a source is told: which topics, as whom, and how much at once.

use std::time::Duration;

use rdkafka::ClientConfig;
use regex::{Regex, RegexBuilder};

use super::link::{Link, LinkError};

/// How much of what was fetched waits in the client, in KiB: some batches, so that workers never
/// wait for the network.
const QUEUED_KIB_MAX: &str = "32768";
/// How long a topic may be new, or gone, before that is noticed, in milliseconds.
const REFRESH_MS: &str = "30000";
/// How often the client tells its figures, in milliseconds.
const FIGURES_EVERY_MS: &str = "1000";
/// How long the client rests from fetching when enough waits in it, in milliseconds. Its own
/// default of a second is longer than what waits lasts.
const FULL_QUEUE_PAUSE_MS: &str = "10";

/// How often the group hears of a member, unless its session is short.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(3);
/// Within which time the client must be polled to remain a member.
const POLLED_WITHIN: Duration = Duration::from_secs(300);

/// What a source is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the cluster is reached.
    pub link: Link,
    /// What is read.
    pub topics: Topics,
    /// The consumer group, whose members share the partitions.
    pub group: String,
    /// A name of its own among the members that survives restarts: its partitions wait for it.
    pub instance_id: Option<String>,
    /// Whether a group that has never read begins with what is there; with what comes otherwise.
    pub from_beginning: bool,
    /// How long a member may be unheard of before its partitions go to others.
    pub session_timeout: Duration,
    /// The header that is kept of each message.
    pub header: Option<String>,
    /// How many batches are judged at once.
    pub worker_count: usize,
    /// How many bytes of messages may be in flight.
    pub in_flight_bytes_max: usize,
}

impl Settings {
    /// What the client is made with.
    pub(super) fn client(&self) -> Result<ClientConfig, LinkError> {
        let mut client = self.link.client()?;
        client
            .set("group.id", &self.group)
            // `latest` would skip what is written to a partition before it is noticed that it is there.
            .set("auto.offset.reset", "earliest")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("isolation.level", "read_committed")
            .set("session.timeout.ms", ms(self.session_timeout))
            .set("heartbeat.interval.ms", ms((self.session_timeout / 3).min(HEARTBEAT_EVERY)))
            .set("max.poll.interval.ms", ms(self.session_timeout.max(POLLED_WITHIN)))
            // Offsets are committed by hand, only of what is durable.
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("allow.auto.create.topics", "false")
            .set("topic.metadata.refresh.interval.ms", REFRESH_MS)
            .set("statistics.interval.ms", FIGURES_EVERY_MS)
            .set("queued.max.messages.kbytes", QUEUED_KIB_MAX)
            .set("fetch.queue.backoff.ms", FULL_QUEUE_PAUSE_MS);
        if let Some(instance_id) = &self.instance_id {
            client.set("group.instance.id", instance_id);
        }
        Ok(client)
    }
}

fn ms(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// Topics, by name or by pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics(Vec<String>);

/// Why topics cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicsError {
    /// None is named.
    #[error("no topic is named")]
    None,
    /// No topic can have this name.
    #[error("`{0}` is no name of a topic: these have at most 249 of letters, digits, `.`, `_` and `-`")]
    Name(String),
    /// Too long, it holds a NUL, or it is no regular expression.
    #[error("`{0}` is no pattern of topics")]
    Pattern(String),
}

/// The longest name that Kafka gives a topic, in bytes.
const TOPIC_BYTES_MAX: usize = 249;
/// The longest pattern of topics: some names of the longest kind.
const PATTERN_BYTES_MAX: usize = 1_000;

/// How much memory a pattern may take when compiled, in bytes.
const PATTERN_MEMORY_MAX: usize = 1 << 20;

impl Topics {
    /// Understands names of topics, and regular expressions, which begin with `^`.
    ///
    /// # Errors
    /// Says which of them is neither.
    pub fn new(topics: &[String]) -> Result<Self, TopicsError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        for topic in topics {
            if topic.starts_with('^') {
                let is_fit = topic.len() <= PATTERN_BYTES_MAX && !topic.contains('\0');
                if !is_fit || pattern(topic).is_none() {
                    return Err(TopicsError::Pattern(topic.clone()));
                }
            } else if topic.is_empty() || topic.len() > TOPIC_BYTES_MAX || !topic.bytes().all(is_plain) {
                return Err(TopicsError::Name(topic.clone()));
            }
        }
        if topics.is_empty() { Err(TopicsError::None) } else { Ok(Self(topics.to_vec())) }
    }

    /// Which topics of those that there are, as the client understands it.
    pub(super) fn matching(&self, topic: &str) -> bool {
        let fits = |name: &String| pattern(name).is_some_and(|pattern| pattern.is_match(topic));
        self.0.iter().any(|name| if name.starts_with('^') { fits(name) } else { name == topic })
    }

    /// As the client takes them.
    pub(super) fn names(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

fn pattern(text: &str) -> Option<Regex> {
    RegexBuilder::new(text).size_limit(PATTERN_MEMORY_MAX).build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_names_or_patterns() {
        let of = |topics: &[&str]| Topics::new(&topics.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert!(of(&["k8s-audit", "^k8s-audit-(.+)$"]).is_ok());
        assert_eq!(of(&[]), Err(TopicsError::None));
        for odd in ["", "a b", "k8s-audit-.*", &"a".repeat(250)] {
            assert_eq!(of(&[odd]), Err(TopicsError::Name(odd.to_owned())));
        }
        for odd in ["^a\0", "^a(", &format!("^{}", "a".repeat(1_000))] {
            assert_eq!(of(&[odd]), Err(TopicsError::Pattern(odd.to_owned())));
        }
        let topics = of(&["audit", "^k8s-audit-(.+)$"]).unwrap();
        let matching =
            ["audit", "audits", "k8s-audit-prod", "old-k8s-audit-prod"].map(|it| topics.matching(it));
        assert_eq!(matching, [true, false, true, false]);
    }
}
