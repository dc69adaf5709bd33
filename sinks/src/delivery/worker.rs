//! What a worker needs, and its pace.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::run::Run;
use super::{Destination, Figures, Notice, Replay};
use crate::outbox::{Cursor, Outbox, Route};
use crate::store::StoreError;

/// How often things are tried and told.
#[derive(Clone, Debug)]
pub struct Pace {
    /// The bound of the first wait after a failure.
    pub backoff_first: Duration,
    /// The bound of every wait after a failure.
    pub backoff_max: Duration,
    /// How long a sink may ask to be left alone: an alert that waits longer is as good as lost.
    pub retry_after_max: Duration,
    /// How long the cursor may be behind what was delivered.
    pub save_after: Duration,
    /// How often an alert is tried that the sink does not want.
    pub refusals_max: u32,
    /// How long a sink may fail before others learn of it.
    pub failing_after: Duration,
    /// After what time the same news is told again.
    pub notice_again_after: Duration,
    /// How long deliveries go on after the end was asked for.
    pub drain: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(5 * 60),
            retry_after_max: Duration::from_secs(15 * 60),
            save_after: Duration::from_secs(1),
            refusals_max: 3,
            failing_after: Duration::from_secs(60),
            notice_again_after: Duration::from_secs(30 * 60),
            drain: Duration::from_secs(10),
        }
    }
}

/// The bound of waits for a store that cannot be read or written: it is local and heals soon.
pub(super) const STORE_BACKOFF_MAX: Duration = Duration::from_secs(10);

/// One sink and all that its worker needs.
#[derive(Debug)]
pub struct Worker<O, D, R> {
    /// Where alerts come from.
    pub outbox: O,
    /// The sink's name.
    pub sink: String,
    /// The sink itself.
    pub destination: D,
    /// Whether an alert is for this sink.
    pub routing: R,
    /// What others see of it.
    pub figures: Arc<Figures>,
    /// Who learns that it fails.
    pub notices: mpsc::Sender<Notice>,
    /// Who may ask for dead letters to be tried again.
    pub replays: mpsc::Receiver<Replay>,
    /// How often things are tried and told.
    pub pace: Pace,
}

impl<O: Outbox, D: Destination, R: Fn(&Route) -> bool + Send> Worker<O, D, R> {
    /// Delivers until `shutdown` is cancelled, then what can still be delivered soon, and saves
    /// the cursor.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let Some(cursor) = self.first_cursor(&shutdown).await else { return };
        self.figures.moved(&cursor);
        Run::new(self, cursor, shutdown).run().await;
    }

    async fn first_cursor(&mut self, shutdown: &CancellationToken) -> Option<Cursor> {
        let mut backoff = Backoff::new(self.pace.backoff_first, STORE_BACKOFF_MAX);
        loop {
            match self.outbox.cursor(&self.sink).await {
                Ok(cursor) => return Some(cursor),
                Err(error) => self.store_failed("the cursor cannot be read", &error),
            }
            tokio::select! {
                () = sleep(backoff.next()) => {}
                () = shutdown.cancelled() => return None,
            }
        }
    }

    pub(super) fn store_failed(&self, what: &str, error: &StoreError) {
        let error: &dyn std::error::Error = error;
        tracing::warn!(sink = self.sink, error, "{what}");
    }
}
