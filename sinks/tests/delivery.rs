//! Store, workers and sinks together, stopped at any moment.

// Helpers of tests may fail.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sinks::delivery::{Destination, Figures, Pace, Worker};
use sinks::file::{File, Options, Rotation};
use sinks::outbox::{Entry, NewAlert, Outbox, Route};
use sinks::store::{self, Store};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

fn entry(ids: impl Iterator<Item = u128>) -> Entry {
    let alert = |id| NewAlert {
        id,
        route: Route::default(),
        json: format!(r#"{{"schema":"masthead.alert/v1","id":"{id:032x}","text":"{}"}}"#, "x".repeat(1500)),
    };
    Entry { alerts: ids.map(alert).collect(), ..Entry::default() }
}

fn start(
    store: &Store,
    destination: impl Destination + 'static,
) -> (JoinHandle<()>, CancellationToken, Arc<Figures>) {
    let shutdown = CancellationToken::new();
    let figures = Arc::new(Figures::new(store.latest()));
    let worker = Worker {
        outbox: store.clone(),
        sink: "disk".to_owned(),
        destination,
        routing: |_: &Route| true,
        figures: Arc::clone(&figures),
        notices: mpsc::channel(16).0,
        replays: mpsc::channel(1).1,
        pace: Pace::default(),
    };
    (tokio::spawn(worker.run(shutdown.clone())), shutdown, figures)
}

fn sink(folder: &Path) -> File {
    let rotation = Rotation { bytes_max: Some(1 << 20), ..Rotation::default() };
    File::new(Options { path: folder.join("alerts.jsonl"), rotation })
}

fn ids(folder: &Path) -> BTreeMap<u128, u32> {
    let mut ids = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        for line in fs::read_to_string(path).unwrap().lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            *ids.entry(u128::from_str_radix(value["id"].as_str().unwrap(), 16).unwrap()).or_default() += 1;
        }
    }
    ids
}

async fn reaches(figures: &Figures, number: u64) {
    while figures.status().number < number {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aborted_workers_leave_each_alert_once() {
    let folder = tempfile::tempdir().unwrap();
    let (state, files) = (folder.path().join("state"), folder.path().join("files"));
    fs::create_dir_all(&files).unwrap();
    let mut last = 0;
    for _ in 0..20 {
        let (store, _) = Store::open(&state, store::Options::default()).unwrap();
        let (task, ..) = start(&store, sink(&files));
        let wait = Duration::from_millis(fastrand::u64(5..100));
        let until = Instant::now() + wait;
        while Instant::now() < until {
            let count = fastrand::u128(1..50);
            store.write(entry(last + 1..=last + count)).await.unwrap();
            last += count;
        }
        task.abort();
        let _ = task.await;
        store.close().await;
    }
    let (store, _) = Store::open(&state, store::Options::default()).unwrap();
    let (task, shutdown, figures) = start(&store, sink(&files));
    reaches(&figures, u64::try_from(last).unwrap()).await;
    shutdown.cancel();
    task.await.unwrap();
    let expected: BTreeMap<u128, u32> = (1..=last).map(|id| (id, 1)).collect();
    assert_eq!(ids(&files), expected);
    assert_eq!(store.figures().await.unwrap().imbalance(), 0);
}
