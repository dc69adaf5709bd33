//! The threads that evaluate what lies in memory: one for each processor, so that they stay warm and none
//! waits for a client or a disk.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use anyhow::Context;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::oneshot;

/// A thread for each processor.
pub(crate) struct Evaluators {
    pool: ThreadPool,
}

impl Evaluators {
    /// Starts the threads.
    ///
    /// # Errors
    /// Fails if the system has none to give.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(available_parallelism().map_or(1, NonZeroUsize::get))
            .thread_name(|number| format!("evaluate {number}"))
            // Said by the panic itself already; whoever waits for the work learns that it has no result.
            .panic_handler(|_| tracing::error!("evaluating events failed"))
            .build()
            .context("cannot start threads")?;
        Ok(Self { pool })
    }

    /// Does the same on every thread. Blocks until all have done it.
    pub(crate) fn on_all(&self, work: impl Fn() + Sync) {
        self.pool.broadcast(|_| work());
    }

    /// Does something on one of the threads, the others helping where it says so. Gives nothing if that
    /// panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, done) = oneshot::channel();
        // Whoever came first is done first. Nobody may be waiting any more when it is done.
        self.pool.spawn_fifo(move || drop(sender.send(work())));
        done.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_costs_only_itself() {
        let evaluators = Evaluators::start().unwrap();
        for _ in 0..=evaluators.pool.current_num_threads() {
            assert_eq!(evaluators.run(|| -> u32 { panic!("on purpose") }).await, None);
        }
        assert_eq!(evaluators.run(|| 7).await, Some(7));
    }
}
