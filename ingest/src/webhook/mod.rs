//! Receives what kube-apiservers post.
//!
//! [`Receiver`] binds a port and serves it: `connection` gives each connection its limits,
//! `request` decides who may post what and what is answered, `body` brings the bytes
//! to the [`Judge`]. What decides is apart: `access` knows credentials, `room` how much there
//! is to do, `rejection` what each refusal is called in HTTP.
//!
//! **Invariant:** 200 is answered only after [`Judge::judge`] has said that everything a body
//! gave is durable; whatever stands in the way of that is answered so that the API server
//! sends the batch again.

use std::future::Future;
use std::io::Read;
use std::ops::AddAssign;

mod access;
mod addresses;
mod body;
mod connection;
mod decoding;
mod observer;
mod peer;
mod pulse;
mod rejection;
mod request;
mod room;
mod server;
mod settings;
mod tls;

pub use access::{AccessError, Token};
pub use body::BodyError;
pub use observer::{Observer, Refused};
pub use server::{BindError, Receiver, Reloader};
pub use settings::{Limits, Settings};
pub use tls::{Tls, TlsError};

/// The longest event of a posted body that is judged whole: the API server takes requests of
/// 3 MiB, and what it answers is seldom longer. A longer one is for
/// [`Frames::shedding`](crate::Frames::shedding).
pub const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A body that was received, decoded.
pub struct Body {
    /// The bytes, decoded; an error means that the rest never came, see [`BodyError::of`].
    pub reader: Box<dyn Read + Send>,
    /// Which credential or path it came by.
    pub cluster: String,
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
    /// It is about to stop.
    #[error("stopping")]
    Stopping,
}

/// Whoever evaluates events and makes durable what they give.
pub trait Judge: Send + Sync + 'static {
    /// Takes all of a body. Returns once everything it gave is durable. The reader is read on a
    /// thread that may block, not on the caller's.
    ///
    /// The future is driven to its end even if whoever posted the body goes away.
    fn judge(&self, body: Body) -> impl Future<Output = Result<Judged, Refusal>> + Send;
}
