//! Reads the topics of a Kafka cluster as a member of a consumer group.
//!
//! One thread polls and nothing else: it gathers messages into a [`Batch`] and gives these to a few
//! workers, which ask a [`Judge`]. `desk` stands between them and knows of every partition what is
//! in flight ([`Progress`]); `context` is told of rebalances, errors and figures; `consumer` is the
//! loop, and begins anew if the client can not go on.
//!
//! **Invariant:** an offset is committed only when every message before it was judged, or is a
//! partition's that somebody else has taken over. A crash repeats work; it loses nothing.

mod batch;
mod beginning;
mod consumer;
mod context;
mod dead_letters;
mod desk;
mod gathering;
mod lag;
mod link;
mod progress;
mod settings;
mod workers;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use batch::{Batch, Message};
pub use consumer::{Source, StartError};
pub use dead_letters::{DeadLetters, Undelivered};
pub use link::{Link, LinkError, Token};
pub use progress::{Progress, Ticket};
pub use settings::{Settings, Topics, TopicsError};

/// One partition of one topic: what is read in order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// The topic.
    pub topic: Arc<str>,
    /// The number of the partition in its topic.
    pub number: i32,
}

impl fmt::Display for Partition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.topic, self.number)
    }
}

/// Why messages are to be judged again.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Again(pub String);

/// Whoever evaluates messages and makes durable what they give.
pub trait Judge: Send + Sync + 'static {
    /// Takes all messages of a batch; when this returns, everything they gave is durable. May block.
    /// Gives the latest time of an event, in microseconds since 1970, by partition of the batch.
    ///
    /// # Errors
    /// Says why the batch must be given again.
    fn judge(&self, batch: &Batch) -> Result<Vec<Option<i64>>, Again>;

    /// Is told what happens meanwhile: should be quick.
    fn hear(&self, news: News<'_>);
}

/// What happens while topics are read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum News<'n> {
    /// Partitions are this member's now.
    Assigned(&'n [Partition]),
    /// Partitions are this member's no more.
    Revoked(&'n [Partition]),
    /// Everything up to some message of a partition is done, and the latest time of an event until then,
    /// in microseconds since 1970.
    Done(&'n Partition, Option<i64>),
    /// Everything in a partition is done.
    AtEnd(&'n Partition),
    /// How far behind its end a partition is.
    Lag(&'n Partition, Lag),
    /// All partitions of the topics that are read, whoever reads them.
    Partitions(&'n [Partition]),
    /// How many partitions are not read just now, as too much is in flight.
    Paused(usize),
    /// The client complains; the name is one of a few hundred that are fixed.
    Error(&'n str),
    /// A partition has messages and has not moved for so long.
    Stalled(&'n Partition, Duration),
    /// A partition that was stalled moves again.
    Moving(&'n Partition),
}

/// How far behind its end a partition is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// How many offsets are not done.
    pub offsets: u64,
    /// How old the last message is that is done, if something is left to do.
    pub age: Duration,
}
