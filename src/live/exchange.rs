//! Where matches go whose cluster another instance may relate.

use std::future::Future;
use std::pin::Pin;

use chrono::{DateTime, Utc};
use sinks::outbox::NewMatch;

/// What can be waited for until matches are published.
pub(crate) type Publishing = Pin<Box<dyn Future<Output = Result<(), Unpublished>> + Send>>;

/// Matches may not be published, so their source must give them again.
#[derive(Debug, thiserror::Error)]
#[error("cannot publish matches: {0}")]
pub(crate) struct Unpublished(pub(crate) String);

/// Takes matches to whoever relates those of their cluster.
pub(crate) trait Exchange: Send + Sync {
    /// Publishes matches; once that is done, no crash loses them.
    fn publish(&self, matches: Vec<NewMatch>) -> Publishing;

    /// Why no match can be published; nothing if they can.
    fn trouble(&self) -> Option<String>;

    /// Says that events of a cluster came from a source, everything of which is published, up to this
    /// time. False if it is one cluster too many.
    fn hear(&self, source: &str, cluster: &str, latest: Option<DateTime<Utc>>) -> bool;
}
