//! Audit log files as a source: a thread each that reads on when something is written.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use ingest::follow::{Batch, FollowOptions, Follower, StartAt};
use ingest::webhook::Refusal;
use tokio_util::sync::CancellationToken;

use super::Lookout;
use super::lookout::Origin;
use crate::config::{self, FileSource};

/// How long a file is waited for at a time.
const WAIT: Duration = Duration::from_millis(250);
/// How long to wait after what was read could not be made durable.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Files that are followed.
pub(crate) struct Following {
    name: String,
    thread: JoinHandle<()>,
}

/// A thread that follows files.
struct Reader {
    follower: Follower,
    lookout: Arc<Lookout>,
    source: String,
    cluster: String,
    stop: CancellationToken,
}

impl Following {
    /// Follows files until told to stop, from where the source was when it last said so.
    pub(crate) fn start(
        name: &str,
        files: &FileSource,
        position: Option<&[u8]>,
        lookout: &Arc<Lookout>,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let start_at = match files.start_at {
            config::StartAt::Beginning => StartAt::Beginning,
            config::StartAt::End => StartAt::End,
        };
        let options = FollowOptions { start_at, ..FollowOptions::default() };
        let paths: Vec<_> = files.paths.iter().map(|path| path.0.clone()).collect();
        let follower = Follower::new(&paths, options, position)
            .with_context(|| format!("cannot start the source `{name}`"))?;
        let reader = Reader {
            follower,
            lookout: Arc::clone(lookout),
            source: name.to_owned(),
            cluster: files.cluster.to_string(),
            stop,
        };
        let thread = thread::Builder::new().name(format!("follow {name}"));
        let thread = thread.spawn(|| reader.run()).context("cannot start a thread")?;
        Ok(Self { name: name.to_owned(), thread })
    }

    /// Waits until what was read is durable.
    pub(crate) async fn stopped(self) {
        let joined = tokio::task::spawn_blocking(|| self.thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!(source = self.name, "a source failed");
        }
    }
}

impl Reader {
    fn run(mut self) {
        while !self.stop.is_cancelled() {
            let Some(batch) = self.follower.next_batch(WAIT) else { continue };
            while let Err(refusal) = self.take(&batch) {
                tracing::warn!(source = self.source, %refusal, "what was read is not durable yet");
                if self.stop.is_cancelled() {
                    // It is read again after the start.
                    return;
                }
                thread::sleep(AGAIN_AFTER);
            }
            self.follower.acknowledge(&batch);
        }
    }

    fn take(&self, batch: &Batch) -> Result<(), Refusal> {
        let origin = Origin {
            source: &self.source,
            cluster: &self.cluster,
            place: Some(format!("{} byte {}", batch.file.display(), batch.offset)),
            position: Some((self.source.clone(), batch.position.clone())),
        };
        match &batch.skipped {
            None => self.lookout.take(origin, &*batch.bytes),
            Some(skipped) => self.lookout.set_aside(origin, skipped.bytes, &skipped.beginning),
        }
        .map(|_| ())
    }
}
