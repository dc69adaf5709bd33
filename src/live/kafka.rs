//! Topics of Kafka as a source: what the client tells, and who is told.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use ingest::kafka::{Again, Batch, DeadLetters, Judge, Lag, Link, News, Partition, Settings, Token, Topics};
use metrics::{Label, counter, gauge};
use tokio_util::sync::CancellationToken;

use super::Lookout;
use super::lanes::Lane;
use super::notice::{PARTITION_STALLED, notice};
use crate::config::{Connection, KafkaSource, StartAt, bearer_token};

mod complaints;
mod grouping;
mod judging;
mod naming;
mod settling;
mod turns;

use complaints::Complaints;
use judging::Judging;
use naming::Naming;
use turns::Turns;

/// How many partitions have figures of their own: each is a few time series for whoever collects them.
const SHOWN_MAX: usize = 2_000;
/// How many batches are evaluated at once where the system does not say how many processors there are.
const WORKERS_OTHERWISE: usize = 2;
/// How many batches are judged for each that is evaluated: the others wait for the disk, which takes about as long.
const JUDGED_PER_EVALUATED: usize = 2;

/// Topics that are read.
pub(crate) struct Consuming {
    name: String,
    source: ingest::kafka::Source,
}

impl Consuming {
    /// Reads topics until told to stop, from where the group was when it last said so.
    pub(crate) fn start(
        name: &str,
        kafka: &KafkaSource,
        lookout: &Arc<Lookout>,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let start = || -> anyhow::Result<_> {
            let evaluated_count = evaluated_count(kafka);
            let settings = settings(kafka, evaluated_count * JUDGED_PER_EVALUATED)?;
            let letters = kafka.dead_letter_topic.as_ref();
            let letters =
                letters.map(|topic| DeadLetters::new(&settings.link, topic.as_str())).transpose()?;
            let source: Arc<str> = name.into();
            let judging = Judging {
                source: Arc::clone(&source),
                lookout: Arc::clone(lookout),
                naming: Naming::new(Arc::clone(&source), kafka.cluster.as_ref(), kafka.cluster_from.clone()),
                turns: Turns::new(evaluated_count),
                letters,
                complaints: Complaints::default(),
            };
            let hearing = Hearing { judging, source, shown: Mutex::default(), stalled: Mutex::default() };
            Ok(ingest::kafka::Source::start(name, settings, Arc::new(hearing), stop)?)
        };
        let source = start().with_context(|| format!("cannot start the source `{name}`"))?;
        tracing::info!(source = name, topics = ?kafka.topics, group = kafka.group, "reading");
        Ok(Self { name: name.to_owned(), source })
    }

    /// Waits until what was read is durable and committed, as far as that is possible in time.
    pub(crate) async fn stopped(self) {
        let Self { name, source } = self;
        if !matches!(tokio::task::spawn_blocking(|| source.stopped()).await, Ok(true)) {
            tracing::error!(source = name, "a source failed");
        }
    }
}

/// How many batches are evaluated at once.
fn evaluated_count(kafka: &KafkaSource) -> usize {
    let asked = kafka.limits.workers.and_then(|count| usize::try_from(count).ok());
    asked.unwrap_or_else(|| thread::available_parallelism().map_or(WORKERS_OTHERWISE, usize::from)).max(1)
}

fn settings(kafka: &KafkaSource, worker_count: usize) -> anyhow::Result<Settings> {
    Ok(Settings {
        link: link(kafka.connection()),
        topics: Topics::new(&kafka.topics)?,
        group: kafka.group.clone(),
        instance_id: kafka.instance_id.as_ref().map(ToString::to_string),
        from_beginning: kafka.start_at == StartAt::Beginning,
        session_timeout: kafka.session_timeout.0,
        header: kafka.cluster_from.as_ref().and_then(|from| from.header.clone()),
        worker_count,
        in_flight_bytes_max: usize::try_from(kafka.limits.memory.0).unwrap_or(usize::MAX),
    })
}

fn link(connection: Connection) -> Link {
    let token_file = connection.token_file();
    let link = Link::new(move || Ok(connection.properties()?));
    let Some(path) = token_file else { return link };
    link.with_tokens(move || {
        let token = bearer_token(&path, Utc::now().timestamp())?;
        let text = token.text.expose().to_owned();
        Ok(Token { text, principal: token.principal, ends_ms: token.ends_ms })
    })
}

/// Counts what happens, and tells those who must know.
struct Hearing {
    judging: Judging,
    source: Arc<str>,
    /// Partitions that have figures of their own.
    shown: Mutex<BTreeSet<Partition>>,
    /// Partitions that do not move.
    stalled: Mutex<BTreeSet<Partition>>,
}

impl Judge for Hearing {
    fn judge(&self, batch: &Batch) -> Result<Vec<Option<i64>>, Again> {
        self.judging.judge(batch)
    }

    fn hear(&self, news: News<'_>) {
        let source = || self.source.to_string();
        let lanes = &self.judging.lookout.clusters.lanes;
        match news {
            News::Assigned(partitions) => {
                counter!("masthead_kafka_rebalances_total", "source" => source()).increment(1);
                gauge!("masthead_kafka_partitions", "source" => source()).increment(count(partitions.len()));
                lanes.assigned(partitions.iter().map(|partition| self.lane(partition)));
            }
            News::Revoked(partitions) => {
                counter!("masthead_kafka_rebalances_total", "source" => source()).increment(1);
                gauge!("masthead_kafka_partitions", "source" => source()).decrement(count(partitions.len()));
                let gone = partitions.iter().map(|partition| self.lane(partition));
                if self.judging.lookout.is_alone() {
                    lanes.lost(gone);
                } else {
                    lanes.revoked(gone);
                }
                // What is behind is so at whoever has it now.
                for partition in partitions {
                    self.show(partition, Lag::default());
                }
                self.note_stalled(|stalled| stalled.retain(|partition| !partitions.contains(partition)));
            }
            News::AtEnd(partition) => lanes.at_end(&self.lane(partition)),
            News::Done(partition, latest_us) => {
                let latest = latest_us.and_then(DateTime::from_timestamp_micros);
                lanes.heard(&self.lane(partition), latest);
            }
            News::Partitions(all) => {
                lanes.expected(&self.source, all.iter().map(|partition| self.lane(partition)));
            }
            News::Lag(partition, lag) => self.show(partition, lag),
            News::Paused(partitions) => {
                gauge!("masthead_kafka_paused", "source" => source()).set(count(partitions));
            }
            News::Error(reason) => {
                let reason = reason.to_owned();
                counter!("masthead_kafka_errors_total", "source" => source(), "reason" => reason)
                    .increment(1);
            }
            News::Stalled(partition, stands_for) => self.tell_stalled(partition, stands_for),
            News::Moving(partition) => {
                self.note_stalled(|stalled| stalled.retain(|other| other != partition));
                tracing::info!(source = source(), %partition, "a partition moves again");
            }
            _ => {}
        }
    }
}

impl Hearing {
    fn lane(&self, partition: &Partition) -> Lane {
        let Partition { topic, number } = partition;
        Lane { source: Arc::clone(&self.source), topic: Arc::clone(topic), partition: *number }
    }

    /// Shows how far behind a partition is, unless it is one too many.
    fn show(&self, partition: &Partition, lag: Lag) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if !shown.contains(partition) {
            if shown.len() >= SHOWN_MAX {
                return;
            }
            shown.insert(partition.clone());
        }
        drop(shown);
        let labels = [
            Label::new("source", self.source.to_string()),
            Label::new("topic", partition.topic.to_string()),
            Label::new("partition", partition.number.to_string()),
        ];
        gauge!("masthead_kafka_lag_offsets", labels.iter()).set(super::figures::precise(lag.offsets));
        gauge!("masthead_kafka_lag_seconds", labels.iter()).set(lag.age.as_secs_f64());
    }

    /// Changes which partitions do not move, and shows how many.
    fn note_stalled(&self, change: impl FnOnce(&mut BTreeSet<Partition>)) {
        let mut stalled = self.stalled.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut stalled);
        gauge!("masthead_kafka_stalled", "source" => self.source.to_string()).set(count(stalled.len()));
    }

    fn tell_stalled(&self, partition: &Partition, stands_for: Duration) {
        let source = self.source.to_string();
        self.note_stalled(|stalled| {
            stalled.insert(partition.clone());
        });
        tracing::error!(source, %partition, ?stands_for, "a partition has messages and does not move");
        let summary = format!(
            "Partition {partition} of source {source} has had messages for {} s of which none was dealt with",
            stands_for.as_secs()
        );
        let subject = format!("{source}/{partition}");
        let new = notice(PARTITION_STALLED, &subject, summary, None, Utc::now());
        let lookout = Arc::clone(&self.judging.lookout);
        // Whoever tells this polls, and must not wait for the disk.
        drop(self.judging.lookout.runtime.spawn_blocking(move || lookout.tell(vec![new])));
    }
}

fn count(partitions: usize) -> f64 {
    super::figures::precise(partitions as u64)
}
