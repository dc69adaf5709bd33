//! Dead letters that are to be tried again.

use tokio::sync::oneshot;

use crate::outbox::Outgoing;

/// Asks a worker to try alerts again that its sink once refused: each once, without waiting.
///
/// Whoever asks settles with the store what became of them: the cursor counts how many were ever
/// refused. A crash in between leaves the letters, and they may be delivered again.
#[derive(Debug)]
pub struct Replay {
    /// The alerts, at most [`BATCH_COUNT_MAX`](super::BATCH_COUNT_MAX); more are not tried.
    pub alerts: Vec<Outgoing>,
    /// What became of each, in order.
    pub answer: oneshot::Sender<Vec<Replayed>>,
}

/// What became of a dead letter that was tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The alert's number.
    pub number: u64,
    /// Nothing if the sink has it now; else why not.
    pub refusal: Option<String>,
}
