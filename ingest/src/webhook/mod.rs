//! Receives what kube-apiservers post.
//!
//! [`Receiver`] binds a port and serves it: `connection` gives each connection its limits,
//! `request` decides who may post what and what is answered, `body` brings the bytes
//! to the [`Judge`], in `buffers` that stay. What decides is apart: `access` knows credentials, `room` how much there
//! is to do, `rejection` what each refusal is called in HTTP.
//!
//! **Invariant:** 200 is answered only after [`Judge::judge`] has said that everything a body
//! gave is durable; whatever stands in the way of that is answered so that the API server
//! sends the batch again.

use std::future::Future;
use std::io::Read;
use std::ops::AddAssign;
use std::time::Instant;

mod access;
mod addresses;
mod blocks;
mod body;
mod buffers;
mod connection;
mod decoding;
mod observer;
mod party;
mod peer;
mod pulse;
mod rate;
mod rejection;
mod request;
mod room;
mod server;
mod settings;
mod tls;

pub use access::{AccessError, Token};
pub use body::{BodyError, Whole};
pub use decoding::Packed;
pub use observer::{Observer, Refused};
pub use party::Party;
pub use server::{BindError, Prepared, Receiver, Reloader};
pub use settings::{Limits, Settings};
pub use tls::{Tls, TlsError};

/// The longest event of a posted body that is judged whole: the API server takes requests of 3 MiB, keeps
/// objects of 1.5 MiB, and logs six bytes for each `<`, `>` and `&` of both, so whoever writes may stretch
/// what he hides to 27 MiB. A longer one is for [`Frames::shedding`](crate::Frames::shedding).
pub const EVENT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A body that was received, decoded.
pub struct Body {
    /// What it holds.
    pub content: Content,
    /// Which credential or path it came by.
    pub cluster: String,
    /// Who answers for it.
    pub party: Party,
    /// When the head of its request had come: what the client takes for the body counts from then on.
    pub received_at: Instant,
}

/// What a body holds.
pub enum Content {
    /// All of it, in memory: reading it waits for nobody.
    Whole(Whole),
    /// All of it, compressed.
    Packed(Box<Packed>),
    /// The bytes, decoded as they are read, which may wait for the client; an error means that the rest
    /// never came, see [`BodyError::of`].
    Stream(Box<dyn Read + Send>),
}

impl Content {
    /// The bytes, decoded.
    pub fn into_reader(self) -> Box<dyn Read + Send> {
        match self {
            Self::Whole(whole) => Box::new(whole),
            Self::Packed(packed) => packed.into_reader(),
            Self::Stream(reader) => reader,
        }
    }
}

/// What became of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// How many events were evaluated.
    pub event_count: u64,
    /// How many items were no events and are quarantined.
    pub quarantined_count: u64,
}

impl AddAssign for Judged {
    fn add_assign(&mut self, other: Self) {
        self.event_count += other.event_count;
        self.quarantined_count += other.quarantined_count;
    }
}

/// Why a body is to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// What it gave could not be made durable.
    #[error("the store cannot write")]
    Store,
    /// The rest of the body never came.
    #[error("the body ended early")]
    Incomplete,
    /// There is too much to do.
    #[error("too much to do")]
    Busy,
    /// There is no more of something.
    #[error("there is no room for more {0}")]
    Full(Scarce),
    /// Whoever posts has taken as much of something as leaves enough for the others.
    #[error("what is left of {0} is for others")]
    Share(Scarce),
    /// There are too many clusters, or too many that one client has named.
    #[error("there is no room for more clusters")]
    Clusters,
    /// It is about to stop.
    #[error("stopping")]
    Stopping,
}

impl Refusal {
    /// A short stable name, for counting.
    pub fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Incomplete => "incomplete",
            Self::Busy => "busy",
            Self::Full(Scarce::Memory) => "memory",
            Self::Full(Scarce::Requests) => "requests",
            Self::Full(Scarce::Streams) => "streams",
            Self::Share(Scarce::Memory) => "memory_share",
            Self::Share(Scarce::Requests) => "requests_share",
            Self::Share(Scarce::Streams) => "streams_share",
            Self::Clusters => "clusters",
            Self::Stopping => "stopping",
        }
    }
}

/// What there is only so much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scarce {
    /// Memory for bodies.
    Memory,
    /// Bodies that are judged.
    Requests,
    /// Bodies that are judged as they arrive.
    Streams,
}

impl std::fmt::Display for Scarce {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Memory => "memory",
            Self::Requests => "bodies",
            Self::Streams => "long bodies",
        })
    }
}

/// Whoever evaluates events and makes durable what they give.
pub trait Judge: Send + Sync + 'static {
    /// Takes all of a body. Returns once everything it gave is durable. What is
    /// read is read on a thread of its own, not on the caller's; a stream on one that may block.
    ///
    /// The future is driven to its end even if whoever posted the body goes away.
    fn judge(&self, body: Body) -> impl Future<Output = Result<Judged, Refusal>> + Send;
}
