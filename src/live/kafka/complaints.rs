//! What is said of clusters in the log: now and then, however many messages give reason to.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::naming::Nameless;

/// How long the same is not said again.
const SAID_FOR: Duration = Duration::from_secs(30);

/// When what was last said.
#[derive(Default)]
pub(super) struct Complaints {
    nameless: Mutex<Option<Instant>>,
    unrelated: Mutex<Option<Instant>>,
}

impl Complaints {
    /// Says that messages name no cluster.
    pub(super) fn nameless(&self, source: &str, messages: u64, reason: Nameless) {
        if is_due(&self.nameless) {
            tracing::warn!(source, messages, %reason, "messages name no cluster");
        }
    }

    /// Says that there is no room for a cluster.
    pub(super) fn unrelated(&self, source: &str, cluster: &str, matches: u64) {
        if is_due(&self.unrelated) {
            tracing::warn!(
                source,
                cluster,
                matches,
                "there is no room for more clusters: its events are evaluated, and correlations leave them out"
            );
        }
    }
}

/// True if it is time to say something again.
fn is_due(said_at: &Mutex<Option<Instant>>) -> bool {
    let mut said_at = said_at.lock().unwrap_or_else(PoisonError::into_inner);
    let is_due = said_at.is_none_or(|at| at.elapsed() >= SAID_FOR);
    if is_due {
        *said_at = Some(Instant::now());
    }
    is_due
}
