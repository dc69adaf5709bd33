//! Several instances that correlate together.

use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;

use super::kafka::{BrokerAddress, Connection, KafkaTls, Sasl, Topic};

/// How many partitions matches are put in: as many instances can correlate.
const PARTITIONS: u32 = 12;

/// Several instances that correlate together: each publishes what correlations count to Kafka, and
/// correlates some of the clusters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fleet {
    /// Brokers that are asked first; they tell of the others.
    pub(crate) brokers: Vec<BrokerAddress>,
    /// Certificates; without, everything can be read on its way.
    #[serde(default)]
    pub(crate) tls: Option<KafkaTls>,
    /// How Masthead says to brokers who it is.
    #[serde(default)]
    pub(crate) sasl: Option<Sasl>,
    /// Allows what can be read on its way to brokers that are not on this machine.
    #[serde(default)]
    pub(crate) insecure: bool,
    /// What the names of the topics begin with: `-matches`, `-standings` and `-marks` follow. They are
    /// created if they are not there.
    #[serde(default = "prefix")]
    pub(crate) topic_prefix: Topic,
    /// What the name of the consumer group begins with: the same for all instances of a fleet.
    #[serde(default = "prefix")]
    pub(crate) group: Topic,
    /// How many partitions the topics get if they are created: how many instances can correlate at once.
    #[serde(default = "partitions")]
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) partitions: u32,
}

impl Fleet {
    /// The files that it names.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
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

fn prefix() -> Topic {
    Topic::known("masthead")
}

fn partitions() -> u32 {
    PARTITIONS
}
