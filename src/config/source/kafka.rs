//! Kafka as a source: which topics, and whose events are in them.

use std::path::Path;
use std::str::FromStr;

use regex::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::kafka::{BrokerAddress, Connection, KafkaTls, Sasl, Topic};
use super::super::units::{Name, Size, Timespan, from_text};
use super::StartAt;

/// How much memory a pattern may take when compiled, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Reads topics of Kafka, as one of a consumer group.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KafkaSource {
    /// The brokers that are asked first, with their ports; they tell of the others.
    #[schemars(length(min = 1))]
    pub(crate) brokers: Vec<BrokerAddress>,
    /// Certificates; `{}` to believe whom the system believes. Without, events can be read and forged
    /// on their way.
    #[serde(default)]
    pub(crate) tls: Option<KafkaTls>,
    /// How Masthead says who it is.
    #[serde(default)]
    pub(crate) sasl: Option<Sasl>,
    /// Allows to send a password or a token that can be read on its way.
    #[serde(default)]
    pub(crate) insecure: bool,
    /// Topics by name, or by regular expressions, which begin with `^`.
    #[schemars(length(min = 1))]
    pub(crate) topics: Vec<String>,
    /// The consumer group: its members share the partitions.
    #[serde(default = "default_group")]
    pub(crate) group: String,
    /// A name of its own among the members of the group that stays the same when Masthead starts again:
    /// its partitions then wait for it for `session_timeout`.
    #[serde(default)]
    pub(crate) instance_id: Option<Name>,
    /// For how long nothing may be heard of a member before its partitions go to others.
    #[serde(default = "default_session_timeout")]
    pub(crate) session_timeout: Timespan,
    /// Where a group begins that has never read any of these topics. What comes later is read from its
    /// beginning.
    #[serde(default)]
    pub(crate) start_at: StartAt,
    /// Whose events they are; with `cluster_from`, whose they are if that tells no cluster. Unless it is said,
    /// `default`.
    #[serde(default)]
    pub(crate) cluster: Option<Name>,
    /// What of a message says whose event it is.
    #[serde(default)]
    pub(crate) cluster_from: Option<ClusterFrom>,
    /// A topic of the same brokers that gets a copy of each message that is no event.
    #[serde(default)]
    pub(crate) dead_letter_topic: Option<Topic>,
    /// How much is taken at once.
    #[serde(default)]
    pub(crate) limits: KafkaLimits,
}

fn default_group() -> String {
    "masthead".to_owned()
}

fn default_session_timeout() -> Timespan {
    Timespan::seconds(45)
}

impl KafkaSource {
    /// The files that it names.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let tls = self.tls.iter().flat_map(KafkaTls::files);
        tls.chain(self.sasl.iter().flat_map(Sasl::files))
    }

    /// How its brokers are reached.
    pub(crate) fn connection(&self) -> Connection {
        Connection {
            brokers: self.brokers.clone(),
            tls: self.tls.clone(),
            sasl: self.sasl.clone(),
            insecure: self.insecure,
        }
    }
}

/// What of a message says whose event it is; exactly one of these.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClusterFrom {
    /// The first group of this regular expression, which the whole name of the topic must match.
    pub(crate) topic: Option<Capture>,
    /// The last header of this name.
    pub(crate) header: Option<String>,
    /// The key.
    pub(crate) key: bool,
    /// What clouds and shippers wrap around events: the resource of Azure, the log group of AWS, the
    /// `cluster_name` of Cloud Logging, `orchestrator.cluster.name`, `cluster_name` or `cluster`.
    pub(crate) envelope: bool,
}

/// A regular expression that captures something.
#[derive(Clone, Debug)]
pub(crate) struct Capture(Regex);

from_text!(Capture, { "type": "string", "examples": ["k8s-audit-(.+)"] });

impl FromStr for Capture {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pattern = RegexBuilder::new(&format!("^(?:{text})$")).size_limit(PATTERN_BYTES_MAX).build();
        let pattern = pattern.map_err(|_| "not a regular expression that can be used".to_owned())?;
        if pattern.captures_len() < 2 {
            return Err("nothing is captured: put what is the cluster into parentheses".to_owned());
        }
        Ok(Self(pattern))
    }
}

impl Capture {
    /// What is captured of a text, if it matches.
    pub(crate) fn of<'t>(&self, text: &'t str) -> Option<&'t str> {
        Some(self.0.captures(text)?.get(1)?.as_str())
    }
}

impl PartialEq for Capture {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// How much a Kafka source takes at once. Beyond, it reads no further until something is done.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct KafkaLimits {
    /// How many bytes of messages are held in memory at once, besides some 32 MiB that were fetched.
    pub(crate) memory: Size,
    /// How many batches are evaluated at once; by default, as many as there are processors.
    pub(crate) workers: Option<u32>,
}

impl Default for KafkaLimits {
    fn default() -> Self {
        Self { memory: Size::mebibytes(64), workers: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_is_what_is_captured_of_the_whole_topic() {
        let capture: Capture = "k8s-audit-(.+)".parse().unwrap();
        assert_eq!(capture.of("k8s-audit-prod"), Some("prod"));
        assert_eq!(capture.of("old-k8s-audit-prod"), None);
        assert_eq!("a|(b)".parse::<Capture>().unwrap().of("a"), None);
        assert!("k8s-audit-.+".parse::<Capture>().is_err());
        assert!("(".parse::<Capture>().is_err());
    }
}
