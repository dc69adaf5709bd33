//! The one thread that writes: everybody who waits shares one transaction and one fsync.
//!
//! **Invariant:** a task is answered only after the transaction that holds it is durable. If
//! that fails, nothing of the group is in the database and each of its tasks is told so.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use super::copier::Copier;
use super::folder::Folder;
use super::recent::Recent;
use super::{OnCommit, StoreError, schema};

/// The most tasks of one transaction: what waits longer than this is a matter of its own.
const GROUP_TASKS_MAX: usize = 256;
/// About as many bytes may be written in one transaction before those who wait are answered.
const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the writer is asked to do.
pub(super) enum Order {
    /// Something for a transaction.
    Task(Box<dyn Task>),
    /// Everything before is done, then no more.
    Close(oneshot::Sender<()>),
}

/// A piece of work within a transaction, and somebody who waits for it.
pub(super) trait Task: Send {
    /// About how many bytes it writes.
    fn bytes(&self) -> usize;
    /// Does it, perhaps for the second time after a rollback.
    fn perform(&mut self, connection: &Connection) -> Result<(), StoreError>;
    /// Says how it went.
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// A task from a closure.
pub(super) struct Work<T, F> {
    pub(super) perform: F,
    pub(super) bytes: usize,
    pub(super) result: Option<T>,
    pub(super) answer: oneshot::Sender<Result<T, StoreError>>,
    /// Room in the queue, given back when the task is dropped.
    pub(super) _room: OwnedSemaphorePermit,
}

impl<T: Send, F: FnMut(&Connection) -> Result<T, StoreError> + Send> Task for Work<T, F> {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn perform(&mut self, connection: &Connection) -> Result<(), StoreError> {
        self.result = Some((self.perform)(connection)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let result = self.result.ok_or(StoreError::Closed);
        // Whoever asked may have gone away; it is durable all the same.
        let _ = self.answer.send(outcome.and(result));
    }
}

/// The thread's own state.
pub(super) struct Writer {
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) folder: Folder,
    /// Which file it is, and the connection. None after a failure: opened anew by the next group.
    pub(super) connection: Option<(FileIdentity, Connection)>,
    pub(super) copier: Copier,
    pub(super) latest: watch::Sender<u64>,
    pub(super) recent: Arc<Recent>,
    pub(super) failures: Arc<AtomicU64>,
    pub(super) on_commit: Option<OnCommit>,
    /// Held as long as anything may be written.
    pub(super) _lock: File,
}

impl Writer {
    /// Writes until the store is closed or nobody can ask for anything any more.
    pub(super) fn run(mut self) {
        let mut closing = None;
        while closing.is_none() {
            let Some(first) = self.orders.blocking_recv() else { break };
            let mut group = Vec::new();
            closing = self.gather(first, &mut group);
            self.commit(group);
        }
        self.finish();
        if let Some(closed) = closing {
            let _ = closed.send(());
        }
    }

    /// Leaves one file and a free folder.
    fn finish(self) {
        let Self { connection, copier, recent, _lock, .. } = self;
        drop(copier);
        recent.clear();
        if let Some((_, connection)) = connection {
            // What is in the write-ahead log is as durable; this leaves one file to look at.
            let copied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            if let Err(error) = copied.and_then(|()| connection.close().map_err(|(_, error)| error)) {
                tracing::warn!(%error, "the store was not closed cleanly");
            }
        }
    }

    /// Takes what waits, up to the limits of one transaction.
    fn gather(&mut self, first: Order, group: &mut Vec<Box<dyn Task>>) -> Option<oneshot::Sender<()>> {
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(order) = next {
            match order {
                Order::Close(closed) => return Some(closed),
                Order::Task(task) => {
                    bytes += task.bytes();
                    group.push(task);
                }
            }
            let has_room = group.len() < GROUP_TASKS_MAX && bytes < GROUP_BYTES_MAX;
            next = if has_room { self.orders.try_recv().ok() } else { None };
        }
        None
    }

    fn commit(&mut self, mut group: Vec<Box<dyn Task>>) {
        if group.is_empty() {
            return;
        }
        let outcome = self.attempt(&mut group);
        match &outcome {
            // One of them cannot be written whatever the disk does: the others need not suffer.
            Err(error) if group.len() > 1 && !error.is_of_the_place() => {
                for task in group {
                    let mut alone = vec![task];
                    let outcome = self.attempt(&mut alone);
                    answer(alone, &outcome);
                }
            }
            _ => answer(group, &outcome),
        }
    }

    fn attempt(&mut self, group: &mut [Box<dyn Task>]) -> Result<(), StoreError> {
        let start = Instant::now();
        let outcome = self.transact(group);
        match &outcome {
            Ok(number) => {
                self.latest.send_if_modified(|latest| std::mem::replace(latest, *number) != *number);
                if let Some(on_commit) = &self.on_commit {
                    on_commit(start.elapsed(), group.len());
                }
                self.copier.note(group.iter().map(|task| task.bytes()).sum());
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    error = error as &dyn std::error::Error,
                    tasks = group.len(),
                    "nothing was stored"
                );
                if error.is_of_the_place() {
                    self.connection = None;
                }
            }
        }
        outcome.map(drop)
    }

    /// Performs all tasks in one transaction; gives the number of the latest alert.
    fn transact(&mut self, group: &mut [Box<dyn Task>]) -> Result<u64, StoreError> {
        let database = self.folder.database();
        let file = identity(&database)?;
        let (_, connection) = match &mut self.connection {
            // What is written to a file that was deleted or replaced is gone with it.
            Some(open) if open.0 == file => open,
            other => {
                self.recent.clear();
                other.insert((file, schema::open(&database)?))
            }
        };
        self.recent.begin();
        let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
        for task in group {
            task.perform(&transaction)?;
        }
        let latest: i64 =
            transaction.prepare_cached("SELECT number FROM store")?.query_row([], |row| row.get(0))?;
        transaction.commit()?;
        self.recent.settle();
        Ok(latest.cast_unsigned())
    }
}

/// Tells a file from others of its name.
pub(super) type FileIdentity = (u64, u64);

/// Which file has this name.
pub(super) fn identity(path: &Path) -> Result<FileIdentity, StoreError> {
    let metadata = fs::metadata(path).map_err(|error| StoreError::file(path, error))?;
    Ok((metadata.dev(), metadata.ino()))
}

fn answer(group: Vec<Box<dyn Task>>, outcome: &Result<(), StoreError>) {
    for task in group {
        task.answer(outcome.clone());
    }
}
