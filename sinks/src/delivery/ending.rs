//! The end of a worker: asked for, then bounded in time.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Knows whether the end was asked for, and since when.
#[derive(Debug)]
pub(super) struct Ending {
    shutdown: CancellationToken,
    drain: Duration,
    since: Option<Instant>,
}

impl Ending {
    pub(super) fn new(shutdown: CancellationToken, drain: Duration) -> Self {
        Self { shutdown, drain, since: None }
    }

    /// Whether the end was asked for.
    pub(super) fn has_begun(&self) -> bool {
        self.shutdown.is_cancelled()
    }

    /// Resolves when the end is asked for.
    pub(super) async fn begun(&self) {
        self.shutdown.cancelled().await;
    }

    /// Resolves when the end was asked for and the time to finish is over.
    pub(super) async fn overdue(&mut self) {
        self.shutdown.cancelled().await;
        let since = *self.since.get_or_insert_with(Instant::now);
        sleep_until(since + self.drain).await;
    }

    /// Whether the time to finish is over.
    pub(super) fn is_overdue(&mut self) -> bool {
        self.has_begun() && self.since.get_or_insert_with(Instant::now).elapsed() >= self.drain
    }
}
