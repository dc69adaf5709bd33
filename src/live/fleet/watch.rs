//! Looks, while a fleet runs, whether its topics are still those that were found.
//!
//! A cluster is in the partition that its name and their number say, so with another number everything
//! stands still until they are put right: sources are asked to send again. Topics that are gone are made
//! again. Marks name offsets, which mean nothing in a topic that was made anew: they are taken back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use rdkafka::admin::AdminClient;
use rdkafka::error::KafkaError;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::client::Voice;
use super::publisher::Publisher;
use super::topics::{TIMEOUT, TopicsError};

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Who looks.
pub(super) struct Watch {
    publisher: Arc<Publisher>,
    /// For how long a match is wanted.
    wanted_for: Duration,
    /// How many partitions there were.
    count: i32,
    client: Option<AdminClient<Voice>>,
    /// Partitions that ended before what was published to them when this was last looked at: whoever leads
    /// them now may not know yet where they end.
    suspected: BTreeSet<i32>,
}

impl Watch {
    pub(super) fn new(publisher: Arc<Publisher>, wanted_for: Duration, count: i32) -> Self {
        Self { publisher, wanted_for, count, client: None, suspected: BTreeSet::new() }
    }

    /// Looks again and again until told to stop.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let look = async {
            loop {
                ticks.tick().await;
                self.look().await;
            }
        };
        tokio::select! {
            () = look => {}
            () = stop.cancelled() => {}
        }
    }

    async fn look(&mut self) {
        let looked = self.ask().await;
        let Err(error) = looked else { return self.publisher.open(self.count) };
        // Whoever is asked next time is a client with the secrets of then.
        self.client = None;
        let is_changed = matches!(error, TopicsError::Partitions { .. });
        let is_gone = matches!(error, TopicsError::Missing(_));
        let error = format!("{:#}", anyhow::Error::from(error));
        if is_changed {
            counter!("masthead_fleet_topics_changed_total").increment(1);
            tracing::error!(
                error,
                "the fleet stands still, as clusters are not where they were: see `topic_prefix`"
            );
            self.publisher.close(error);
        } else if is_gone {
            tracing::error!(error, "a topic of the fleet is gone");
            self.make_again().await;
        } else {
            tracing::warn!(error, "it cannot be looked whether the fleet's topics are as they were");
        }
    }

    async fn ask(&mut self) -> Result<(), TopicsError> {
        let client = match self.client.take() {
            Some(client) => client,
            None => self.publisher.connecting().client(&[], self.publisher.connecting().voice())?,
        };
        self.publisher.topics.expect(&client, self.count).await?;
        tokio::task::block_in_place(|| self.compare(&client))?;
        self.client = Some(client);
        Ok(())
    }

    async fn make_again(&self) {
        let count = u32::try_from(self.count).unwrap_or_default();
        let topics = &self.publisher.topics;
        if let Err(error) = topics.prepare(self.publisher.connecting(), self.wanted_for, count).await {
            let error = format!("{:#}", anyhow::Error::from(error));
            tracing::error!(error, "the fleet's topics cannot be made again");
        }
    }

    /// Compares where partitions end with what was published to them. Blocks.
    fn compare(&mut self, client: &AdminClient<Voice>) -> Result<(), KafkaError> {
        let suspected = std::mem::take(&mut self.suspected);
        for (partition, offset) in self.publisher.published() {
            let topic = &self.publisher.topics.matches;
            let (_, end) = client.inner().fetch_watermarks(topic, partition, TIMEOUT)?;
            if end > offset {
                continue;
            }
            if !suspected.contains(&partition) {
                self.suspected.insert(partition);
                continue;
            }
            counter!("masthead_fleet_topics_anew_total").increment(1);
            tracing::error!(
                partition,
                offset,
                end,
                "matches that were published are gone: was the topic made anew?"
            );
            self.publisher.set_back(partition, offset, end - 1);
        }
        Ok(())
    }
}
