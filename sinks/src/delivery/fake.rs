//! An outbox in memory that keeps what it was given when workers come and go, and the workers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Destination, Event, Figures, Notice, Pace, Replay, Worker};
use crate::outbox::{Cursor, DeadLetter, Outbox, Outgoing, Route};
use crate::store::StoreError;

/// Long enough for anything that is going to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
pub(crate) struct FakeOutbox {
    kept: Arc<Mutex<Kept>>,
    latest: watch::Sender<u64>,
    /// How many of the next calls fail.
    pub(crate) failures_count: Arc<AtomicU32>,
}

#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) alerts: Vec<Outgoing>,
    pub(crate) cursors: HashMap<String, Cursor>,
    pub(crate) dead: Vec<DeadLetter>,
    pub(crate) saves_count: usize,
}

impl FakeOutbox {
    pub(crate) fn new() -> Self {
        Self { kept: Arc::default(), latest: watch::channel(0).0, failures_count: Arc::default() }
    }

    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }

    /// Adds alerts whose level is `level`.
    pub(crate) fn add(&self, count: u64, level: &str) {
        let mut kept = self.kept();
        for _ in 0..count {
            let number = kept.alerts.len() as u64 + 1;
            kept.alerts.push(alert(number, level));
        }
        self.latest.send_replace(kept.alerts.len() as u64);
    }

    pub(crate) fn cursor_of(&self, sink: &str) -> Cursor {
        self.kept().cursors.get(sink).cloned().unwrap_or_default()
    }

    fn fail(&self) -> Result<(), StoreError> {
        let less = |count: u32| count.checked_sub(1);
        match self.failures_count.fetch_update(Ordering::AcqRel, Ordering::Acquire, less) {
            Ok(_) => Err(StoreError::Closed),
            Err(_) => Ok(()),
        }
    }
}

/// The alert with a number, which is also its id.
pub(crate) fn alert(number: u64, level: &str) -> Outgoing {
    let id = u128::from(number);
    let route = Route { level: level.to_owned(), ..Route::default() };
    let json = format!(r#"{{"schema":"masthead.alert/v1","id":"{id:032x}","rule":{{"level":"{level}"}}}}"#);
    Outgoing { number, id, route, json }
}

impl Outbox for FakeOutbox {
    async fn pending(
        &self,
        after: u64,
        count_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Outgoing>, StoreError> {
        self.fail()?;
        let mut bytes = 0;
        let fits = |alert: &&Outgoing| {
            let is_first = bytes == 0;
            bytes += alert.json.len();
            is_first || bytes <= bytes_max
        };
        let kept = self.kept();
        let behind = kept.alerts.iter().filter(|alert| alert.number > after);
        Ok(behind.take(count_max).take_while(fits).cloned().collect())
    }

    async fn cursor(&self, sink: &str) -> Result<Cursor, StoreError> {
        self.fail()?;
        Ok(self.cursor_of(sink))
    }

    async fn advance(&self, sink: &str, cursor: &Cursor, dead: Vec<DeadLetter>) -> Result<(), StoreError> {
        self.fail()?;
        let mut kept = self.kept();
        kept.cursors.insert(sink.to_owned(), cursor.clone());
        kept.dead.extend(dead);
        kept.saves_count += 1;
        Ok(())
    }

    fn latest(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }
}

/// A worker at work.
pub(crate) struct Running {
    pub(crate) figures: Arc<Figures>,
    notices: mpsc::Receiver<Notice>,
    pub(crate) replays: mpsc::Sender<Replay>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("ends").expect("without panic");
    }

    pub(crate) async fn notice(&mut self) -> Event {
        let notice = tokio::time::timeout(PATIENCE, self.notices.recv()).await.expect("news").expect("open");
        assert_eq!(notice.sink, "s");
        notice.event
    }
}

pub(crate) fn start(outbox: &FakeOutbox, destination: impl Destination + 'static) -> Running {
    start_at(outbox, destination, pace())
}

pub(crate) fn start_at(outbox: &FakeOutbox, destination: impl Destination + 'static, pace: Pace) -> Running {
    let figures = Arc::new(Figures::new(outbox.latest()));
    let (notices, notices_receiver) = mpsc::channel(16);
    let (replays, replays_receiver) = mpsc::channel(1);
    let shutdown = CancellationToken::new();
    let worker = Worker {
        outbox: outbox.clone(),
        sink: "s".to_owned(),
        destination,
        routing: |route: &Route| route.level != "low",
        figures: Arc::clone(&figures),
        notices,
        replays: replays_receiver,
        pace,
    };
    let task = tokio::spawn(worker.run(shutdown.clone()));
    Running { figures, notices: notices_receiver, replays, shutdown, task }
}

pub(crate) fn pace() -> Pace {
    Pace {
        backoff_first: Duration::from_millis(2),
        backoff_max: Duration::from_millis(10),
        save_after: Duration::from_millis(20),
        failing_after: Duration::from_millis(30),
        drain: Duration::from_millis(200),
        ..Pace::default()
    }
}
