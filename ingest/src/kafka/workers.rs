//! Those who have batches judged, one batch each at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::desk::Desk;
use super::{Again, Batch, Judge, News};

/// How long a batch waits before it is judged again, at first and at most.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(10);

/// Starts so many workers.
pub(super) fn start(
    name: &str,
    count: usize,
    desk: &Arc<Desk>,
    judge: &Arc<dyn Judge>,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    (0..count)
        .map(|_| {
            let (desk, judge) = (Arc::clone(desk), Arc::clone(judge));
            thread::Builder::new().name(format!("judge {name}")).spawn(move || work(&desk, &*judge))
        })
        .collect()
}

fn work(desk: &Desk, judge: &dyn Judge) {
    while let Some(batch) = desk.next() {
        let mut again_after = AGAIN_AFTER;
        let latest_us = loop {
            match judged(judge, &batch) {
                Ok(latest_us) => break latest_us,
                Err(again) => tracing::warn!(
                    reason = %again, messages = batch.message_count(), "messages are not durable yet"
                ),
            }
            if !desk.pause(again_after) {
                return;
            }
            again_after = (again_after * 2).min(AGAIN_AFTER_MAX);
        };
        for (partition, latest_us) in desk.finish(&batch, &latest_us) {
            judge.hear(News::Done(&partition, latest_us));
        }
        desk.keep(batch);
    }
}

/// A panic is an error of ours: nothing is committed, and the batch is tried again.
fn judged(judge: &dyn Judge, batch: &Batch) -> Result<Vec<Option<i64>>, Again> {
    catch_unwind(AssertUnwindSafe(|| judge.judge(batch)))
        .unwrap_or_else(|_| Err(Again("judging these messages failed".to_owned())))
}
