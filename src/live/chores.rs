//! What has to be done again and again: time passes, clusters fall silent, old alerts go.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use sinks::store::{Pruned, Retention};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Lookout;
use super::notice::{CHECKPOINT, CLUSTER_SILENT, notice};

/// How often time passes for correlations: half of what people notice.
const TICK: Duration = Duration::from_millis(500);
/// How often it is looked whether clusters fell silent.
const SILENCE_EVERY: Duration = Duration::from_secs(5);
/// How often old alerts are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(60);

/// How often what is done.
#[derive(Clone, Debug)]
pub(crate) struct Chores {
    /// After how long without an event a cluster counts as silent; zero for never.
    pub(crate) silent_after: Duration,
    /// How often the state of the store is signed.
    pub(crate) checkpoint_every: Duration,
    /// For how long alerts are kept.
    pub(crate) keep_for: Duration,
    /// How large the store may become, in bytes.
    pub(crate) store_bytes_max: u64,
}

impl Chores {
    /// Does everything in its time until told to stop; signs a last checkpoint then.
    pub(crate) async fn run(self, lookout: Arc<Lookout>, stop: CancellationToken) {
        let storing = async {
            tokio::select! {
                () = lookout.store_untold() => {}
                () = stop.cancelled() => {}
            }
        };
        tokio::join!(storing, self.run_in_turns(&lookout, &stop));
    }

    async fn run_in_turns(&self, lookout: &Arc<Lookout>, stop: &CancellationToken) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let begun = Instant::now();
        let (mut silence_at, mut prune_at) = (begun, begun + PRUNE_EVERY);
        let mut checkpoint_at = begun + self.checkpoint_every;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => break,
            }
            let now = Instant::now();
            blocking(lookout, Lookout::tick).await;
            blocking(lookout, Lookout::forget).await;
            if now >= silence_at {
                silence_at = now + SILENCE_EVERY;
                self.notice_silence(lookout).await;
            }
            if now >= prune_at {
                prune_at = now + PRUNE_EVERY;
                tokio::select! {
                    () = self.prune(lookout) => {}
                    // What is left is for the next process.
                    () = stop.cancelled() => break,
                }
            }
            if now >= checkpoint_at {
                checkpoint_at = now + self.checkpoint_every;
                sign(lookout).await;
            }
        }
        blocking(lookout, Lookout::save).await;
        sign(lookout).await;
    }

    /// Saves how far correlations are, and lets go of what is old. A match goes when its windows are over
    /// in the time of its cluster, however far behind that is.
    async fn prune(&self, lookout: &Arc<Lookout>) {
        let now_us = Utc::now().timestamp_micros();
        let told_until_us = blocking(lookout, move |lookout| lookout.told_until_us(now_us)).await;
        let keep = Retention {
            age: self.keep_for,
            bytes_max: self.store_bytes_max,
            matches_before_us: told_until_us.unwrap_or_default(),
        };
        match lookout.store.prune(now_us, keep).await {
            Ok(Pruned { alerts_lost: 0, matches_lost, .. }) => {
                for (cluster, lost) in matches_lost {
                    tracing::error!(
                        cluster,
                        lost,
                        "matches were deleted before correlations were done with them: there were too many, \
                         most of them of this cluster"
                    );
                }
            }
            Ok(pruned) => {
                tracing::error!(
                    ?pruned,
                    "alerts were deleted, as the store was full, before every sink had them"
                );
            }
            Err(error) => tracing::error!(error = %anyhow::Error::from(error), "cannot delete old alerts"),
        }
        if let Some(Err(error)) = blocking(lookout, Lookout::forget_unrelated).await {
            tracing::warn!(error = %anyhow::Error::from(error), "matches that nobody relates are still there");
        }
    }

    async fn notice_silence(&self, lookout: &Arc<Lookout>) {
        if self.silent_after.is_zero() {
            return;
        }
        let silent =
            lookout.clusters.all().into_iter().filter(|cluster| cluster.falls_silent(self.silent_after));
        let minutes = self.silent_after.as_secs() / 60;
        for cluster in silent {
            let name = &cluster.name;
            let summary = format!(
                "No audit event has come from cluster {name} for {minutes} minutes: its API servers are down, \
                 cannot reach Masthead, or have stopped logging"
            );
            let new = notice(CLUSTER_SILENT, name, summary, None, Utc::now());
            blocking(lookout, move |lookout| lookout.tell(vec![new])).await;
        }
    }
}

/// Signs the state of the store, and lets the sinks have the signature: only what is kept elsewhere proves
/// that nobody who holds the key has rewritten the store.
async fn sign(lookout: &Arc<Lookout>) {
    match lookout.store.checkpoint(Utc::now().timestamp_micros()).await {
        Ok(note) => {
            let summary =
                "The alerts stored so far, signed: keep this to prove that none was changed".to_owned();
            let new = notice(CHECKPOINT, "alerts", summary, Some(note.to_string()), Utc::now());
            blocking(lookout, move |lookout| lookout.tell(vec![new])).await;
        }
        Err(error) => tracing::error!(error = %anyhow::Error::from(error), "cannot sign a checkpoint"),
    }
}

/// Does what waits for the disk where waiting holds up nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    lookout: &Arc<Lookout>,
    work: impl FnOnce(&Lookout) -> T + Send + 'static,
) -> Option<T> {
    let lookout = Arc::clone(lookout);
    tokio::task::spawn_blocking(move || work(&lookout)).await.ok()
}
