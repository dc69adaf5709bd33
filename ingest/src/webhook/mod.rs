//! Receives what kube-apiservers post.
//!
//! **Invariant:** 200 is answered only after [`Judge::judge`] has said that everything a body
//! gave is durable; whatever stands in the way of that is answered so that the API server
//! sends the batch again.

use std::future::Future;
use std::io::Read;

/// A body that was received, decoded.
pub struct Body {
    /// The bytes, decoded; an error means that the rest never came.
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

/// Why a body is to be sent again.
#[derive(Debug, thiserror::Error)]
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
    fn judge(&self, body: Body) -> impl Future<Output = Result<Judged, Refusal>> + Send;
}
