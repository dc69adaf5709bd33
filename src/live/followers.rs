//! Audit log files as a source: a thread each that reads on when something is written.
//!
//! **Invariant:** a fault in what reads or judges a log ends neither the process nor the source: it
//! is said at once, and the log is read again from what was last made durable.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::Utc;
use ingest::follow::{Batch, FollowError, FollowOptions, Follower, StartAt};
use ingest::webhook::Refusal;
use tokio_util::sync::CancellationToken;

use super::Lookout;
use super::followed::Followed;
use super::lookout::Origin;
use super::notice::{SOURCE_FAILED, notice};
use crate::config::{self, FileSource};

/// How long a file is waited for at a time.
const WAIT: Duration = Duration::from_millis(250);
/// How long to wait after what was read could not be made durable.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long to wait after a fault before all is begun anew; twice as long after each that follows.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// No longer than that.
const RESTART_AFTER_MAX: Duration = Duration::from_secs(60);
/// How often it is looked meanwhile whether all is to stop.
const STOP_EVERY: Duration = Duration::from_millis(100);

/// Files that are followed.
pub(crate) struct Following {
    name: String,
    pub(crate) followed: Arc<Followed>,
    thread: JoinHandle<()>,
}

/// A thread that follows files.
struct Reader {
    paths: Vec<PathBuf>,
    options: FollowOptions,
    /// How far everything is durable.
    position: RefCell<Vec<u8>>,
    lookout: Arc<Lookout>,
    source: String,
    cluster: String,
    followed: Arc<Followed>,
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
        let followed = Arc::new(Followed::new(name));
        let reader = Reader {
            paths,
            options,
            position: RefCell::new(follower.position()),
            lookout: Arc::clone(lookout),
            source: name.to_owned(),
            cluster: files.cluster.to_string(),
            followed: Arc::clone(&followed),
            stop,
        };
        let thread = thread::Builder::new().name(format!("follow {name}"));
        let thread = thread.spawn(move || reader.run(follower)).context("cannot start a thread")?;
        Ok(Self { name: name.to_owned(), followed, thread })
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
    /// Follows until told to stop, whatever goes wrong.
    fn run(&self, follower: Follower) {
        let mut first = Some(follower);
        let follow = || {
            let follower = first.take().map_or_else(|| self.begin_anew(), Ok);
            follower
                .map(|follower| self.follow(follower))
                .map_err(|error| format!("{:#}", anyhow::Error::from(error)))
        };
        keep_going(&self.stop, RESTART_AFTER, follow, |failure, rest| self.tell(failure, rest));
    }

    fn follow(&self, mut follower: Follower) {
        while !self.stop.is_cancelled() {
            let batch = follower.next_batch(WAIT);
            self.followed.note(follower.counts());
            let Some(batch) = batch else { continue };
            while let Err(refusal) = self.take(&batch) {
                tracing::warn!(source = self.source, %refusal, "what was read is not durable yet");
                if is_stopped_within(&self.stop, AGAIN_AFTER) {
                    // It is read again after the start.
                    return;
                }
            }
            follower.acknowledge(&batch);
            self.position.replace(batch.position);
        }
    }

    fn begin_anew(&self) -> Result<Follower, FollowError> {
        let follower = Follower::new(&self.paths, self.options, Some(&*self.position.borrow()))?;
        self.followed.restarted();
        Ok(follower)
    }

    /// Says that the source stands still: whoever looks sees it at once, and everybody is told.
    fn tell(&self, failure: &str, rest: Duration) {
        let Self { source, cluster, .. } = self;
        self.followed.failed(failure);
        tracing::error!(source, failure, again_in = ?rest, "a source failed and is begun anew");
        let summary = format!(
            "The source {source} of cluster {cluster} failed ({failure}); it is begun anew in {} seconds",
            rest.as_secs()
        );
        self.lookout.tell(vec![notice(SOURCE_FAILED, source, summary, None, Utc::now())]);
    }

    fn take(&self, batch: &Batch) -> Result<(), Refusal> {
        let origin = Origin {
            source: &self.source,
            cluster: &self.cluster,
            place: Some(format!("{} byte {}", batch.file.display(), batch.offset)),
            position: Some((self.source.clone(), batch.position.clone())),
            received_at: Instant::now(),
        };
        match &batch.skipped {
            None => self.lookout.take(origin, &*batch.bytes),
            Some(skipped) => self.lookout.set_aside(origin, skipped.bytes, &skipped.beginning),
        }
        .map(|_| ())
    }
}

/// Does something until it has come to its end, and begins it anew when it fails or panics, after a
/// while that grows with each failure that soon follows another.
fn keep_going(
    stop: &CancellationToken,
    rest_after: Duration,
    mut attempt: impl FnMut() -> Result<(), String>,
    mut tell: impl FnMut(&str, Duration),
) {
    let mut rest = rest_after;
    loop {
        let begun = Instant::now();
        // What is left half done is thrown away with the attempt.
        let failure = match catch_unwind(AssertUnwindSafe(&mut attempt)) {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => failure,
            Err(_) => "reading broke down".to_owned(),
        };
        if begun.elapsed() > RESTART_AFTER_MAX {
            rest = rest_after;
        }
        tell(&failure, rest);
        if is_stopped_within(stop, rest) {
            return;
        }
        rest = (2 * rest).min(RESTART_AFTER_MAX);
    }
}

/// Waits so long, unless all is to stop.
fn is_stopped_within(stop: &CancellationToken, time: Duration) -> bool {
    let until = Instant::now() + time;
    while !stop.is_cancelled() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        thread::sleep(left.min(STOP_EVERY));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_down_is_told_and_begun_anew() {
        let (mut attempts, mut told) = (0, Vec::new());
        let attempt = || {
            attempts += 1;
            match attempts {
                1 => panic!("on purpose"),
                2 => Err("no folder".to_owned()),
                _ => Ok(()),
            }
        };
        let pace = Duration::from_millis(1);
        keep_going(&CancellationToken::new(), pace, attempt, |failure, rest| {
            told.push((failure.to_owned(), rest));
        });
        assert_eq!(attempts, 3);
        assert_eq!(told, [("reading broke down".to_owned(), pace), ("no folder".to_owned(), 2 * pace)]);
    }

    #[test]
    fn who_stops_does_not_wait_for_another_attempt() {
        let stop = CancellationToken::new();
        let mut attempts = 0;
        let attempt = || {
            attempts += 1;
            Err("always".to_owned())
        };
        keep_going(&stop, Duration::from_secs(3600), attempt, |_, _| stop.cancel());
        assert_eq!(attempts, 1);
    }
}
