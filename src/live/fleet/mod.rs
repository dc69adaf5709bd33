//! Several instances that correlate together, through Kafka.
//!
//! Every instance evaluates what its sources give it. What correlations count goes to a topic, keyed by
//! cluster, before the source is answered; whoever is assigned a partition of that topic relates the
//! clusters in it. So correlations, which never cross clusters, see what one instance would see, whoever
//! received it.
//!
//! | topic | key | what |
//! |---|---|---|
//! | `PREFIX-matches` | cluster | matches, kept for longer than the longest window |
//! | `PREFIX-standings` | cluster | how far correlations are, compacted; the same partitions |
//! | `PREFIX-marks` | instance | how far each instance is, every half second; one partition, kept for an hour |
//!
//! **Invariant:** whoever takes over a partition knows what the one before knew. Windows come back from
//! the matches, which are read from the beginning, and from the standings, which are published after
//! everything told until then is durable. What is told twice has the same id.

mod client;
mod consumer;
mod mark;
mod publisher;
mod record;
mod shares;
mod standings;
mod topics;
mod watch;

use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use detect::correlate::Relations;
use tokio_util::sync::CancellationToken;

use super::Lookout;
use crate::config;
use client::Connecting;
pub(crate) use publisher::Publisher;
use topics::Topics;

/// This instance's part in a fleet.
pub(crate) struct Fleet {
    marking: tokio::task::JoinHandle<()>,
    relating: JoinHandle<()>,
    stop: CancellationToken,
}

/// What has to be there before anything is received.
pub(crate) fn publisher(config: &config::Fleet) -> anyhow::Result<Arc<Publisher>> {
    let connecting = Connecting::new(config.connection());
    let topics = Topics::new(config.topic_prefix.as_str());
    Publisher::new(connecting, topics).map(Arc::new).context("cannot reach the fleet")
}

impl Fleet {
    /// Takes part: creates the topics if they are not there, and relates what it is assigned.
    pub(crate) fn start(
        config: &config::Fleet,
        publisher: Arc<Publisher>,
        lookout: &Arc<Lookout>,
    ) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let relations: Relations = lookout.current().detection.relations.clone();
        let marking = tokio::spawn(Arc::clone(&publisher).run(
            Arc::clone(&lookout.clusters.lanes),
            relations.wanted_for(),
            config.partitions,
            stop.clone(),
        ));
        let relating = consumer::start(config, publisher, Arc::clone(lookout), stop.clone());
        Ok(Self { marking, relating: relating.context("cannot start a thread")?, stop })
    }

    /// Hands over what it relates.
    pub(crate) async fn stopped(self) {
        self.stop.cancel();
        let relating = self.relating;
        if let Err(error) = tokio::task::spawn_blocking(move || relating.join()).await {
            tracing::error!(%error, "what was being related was not handed over");
        }
        let _ = self.marking.await;
    }
}
