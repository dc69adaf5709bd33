//! Alerts on disk: one `SQLite` file in a state folder.
//!
//! One thread writes, and everyone who waits for it shares a transaction and an fsync; a few
//! connections read beside it. Alerts are numbered densely and chained, and checkpoints of the
//! chain are signed, so that [`verify()`] finds what was changed behind the program's back.
//!
//! **Invariant:** what [`Store::write`] has answered for survives a loss of power; what it has
//! refused is not there, and can be written again.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::outbox::{Entry, Receipt};

mod chain;
mod checkpoint;
mod clock;
mod copier;
mod dead;
mod entry;
mod error;
mod figures;
mod folder;
mod foreign;
mod note;
mod opening;
mod outgoing;
mod prune;
mod reading;
mod recent;
mod renewal;
mod salvage;
mod schema;
mod verify;
mod windows;
mod writer;

#[cfg(test)]
mod tests;

pub use entry::{QUARANTINE_BYTES_MAX, QUARANTINE_MAX};
pub use error::StoreError;
pub use figures::{Figures, SinkFigures};
pub use note::{NOTE_BYTES_MAX, NOTE_SIGNATURES_MAX, NoteError, SignedNote, VerificationKey};
pub use opening::{Damaged, Opening};
pub use prune::{Pruned, Retention};
pub use reading::{Alerts, Filter, QuarantinedItem, Reading, Refused};
pub use verify::{Checked, Finding, Unproven, Verified, verify};

use chain::Chain;
use copier::Copier;
use folder::Folder;
use note::Signer;
use recent::Recent;
use writer::{FileIdentity, Order, Work, Writer};

/// The most tasks that wait for the writer; who comes later waits to be let in.
const QUEUE_TASKS_MAX: usize = 1024;
/// About the most bytes that wait for the writer: what memory the queue may take.
const QUEUE_BYTES_MAX: u32 = 64 * 1024 * 1024;
/// The most questions that are answered at a time, each with a connection of its own.
const READERS_MAX: usize = 4;

/// Called after every commit with how long it took and how many tasks shared it.
pub type OnCommit = Arc<dyn Fn(Duration, usize) + Send + Sync>;

/// How a store is to behave.
#[derive(Clone, Default)]
pub struct Options {
    /// Called by the writer's thread after every commit; should be quick.
    pub on_commit: Option<OnCommit>,
}

/// The store. Clones are handles of the same store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    folder: Folder,
    signer: Arc<Signer>,
    orders: mpsc::Sender<Order>,
    room: Arc<Semaphore>,
    latest: watch::Receiver<u64>,
    recent: Arc<Recent>,
    failures: Arc<AtomicU64>,
    reading: Arc<Semaphore>,
    /// Connections that nobody reads from just now, and which file each has open.
    readers: Mutex<Vec<(FileIdentity, Connection)>>,
}

impl Store {
    /// Opens the store of a state folder, or makes one; the folder belongs to it until it is
    /// closed. Reads the whole file to see whether it is sound.
    pub fn open(folder: &Path, options: Options) -> Result<(Self, Opening), StoreError> {
        let folder = Folder::new(folder);
        folder.create()?;
        let lock = folder.lock()?;
        let (connection, mut opening) = opening::open(&folder)?;
        let (secret, is_key_new) = folder.secret()?;
        opening.is_key_new = is_key_new;
        let signer = Signer::new(format!("masthead/{}", schema::store_id(&connection)?), &secret);
        let (head, _) = entry::head(&connection)?;
        let (orders, receiver) = mpsc::channel(QUEUE_TASKS_MAX);
        let (sender, latest) = watch::channel(head);
        let failures = Arc::new(AtomicU64::new(0));
        let recent = Arc::<Recent>::default();
        let writer = Writer {
            orders: receiver,
            folder: folder.clone(),
            connection: Some((writer::identity(&folder.database())?, connection)),
            copier: Copier::start(folder.database())?,
            latest: sender,
            recent: Arc::clone(&recent),
            failures: Arc::clone(&failures),
            on_commit: options.on_commit,
            _lock: lock,
        };
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(|| writer.run())
            .map_err(|error| StoreError::file(folder.path(), error))?;
        let inner = Inner {
            folder,
            signer: Arc::new(signer),
            orders,
            room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX as usize)),
            latest,
            recent,
            failures,
            reading: Arc::new(Semaphore::new(READERS_MAX)),
            readers: Mutex::default(),
        };
        Ok((Self { inner: Arc::new(inner) }, opening))
    }

    /// Makes an entry durable and says what of it was new. After an error nothing of it is
    /// stored, and it can be written again. An empty entry is not waited for.
    pub async fn write(&self, entry: Entry) -> Result<Receipt, StoreError> {
        if entry.is_empty() {
            return Ok(Receipt::default());
        }
        let (now_us, recent) = (clock::now_us(), Arc::clone(&self.inner.recent));
        self.commit(bytes_of(&entry), move |connection| entry::write(connection, &entry, now_us, &recent))
            .await
    }

    /// What the store's checkpoints are checked with, to be kept elsewhere.
    pub fn verification_key(&self) -> VerificationKey {
        self.inner.signer.public().clone()
    }

    /// A key for another purpose, made of the signing key: the same as long as that is.
    pub fn derived_key(&self, purpose: &str) -> Result<[u8; 32], StoreError> {
        Ok(blake3::derive_key(purpose, &self.inner.folder.existing_secret()?))
    }

    /// Says that the damage found at the opening is known where it must be, durably: later
    /// openings do not tell it again.
    pub fn acknowledge_damage(&self) -> Result<(), StoreError> {
        self.inner.folder.remove_damage_report()
    }

    /// How often nothing could be stored, since the store was opened.
    pub fn failures(&self) -> u64 {
        self.inner.failures.load(Ordering::Relaxed)
    }

    /// Does what was asked before, then closes the store for all handles. The folder is free
    /// when this returns.
    pub async fn close(self) {
        let (sender, closed) = oneshot::channel();
        self.inner.reading.close();
        self.idle_readers().clear();
        if self.inner.orders.send(Order::Close(sender)).await.is_ok() {
            let _ = closed.await;
        }
    }

    /// Does something within a transaction; `bytes` is about what it writes.
    async fn commit<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let wanted = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, QUEUE_BYTES_MAX);
        let room = Arc::clone(&self.inner.room).acquire_many_owned(wanted).await;
        let room = room.map_err(|_| StoreError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let task = Work { perform: work, bytes, result: None, answer, _room: room };
        self.inner.orders.send(Order::Task(Box::new(task))).await.map_err(|_| StoreError::Closed)?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Asks something of a connection that only reads.
    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = Arc::clone(&self.inner.reading).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let store = self.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let database = store.inner.folder.database();
            let file = writer::identity(&database)?;
            let connection = match store.idle_reader(file) {
                Some(connection) => connection,
                None => schema::open_for_reading(&database)?,
            };
            let answer = question(&connection)?;
            // Not kept after an error: it may be the connection's own.
            store.idle_readers().push((file, connection));
            drop(turn);
            Ok(answer)
        });
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// One of those to a file. Lets go of those to others, which this one has replaced.
    fn idle_reader(&self, file: FileIdentity) -> Option<Connection> {
        let mut idle = self.idle_readers();
        idle.retain(|(open, _)| *open == file);
        idle.pop().map(|(_, connection)| connection)
    }

    fn idle_readers(&self) -> MutexGuard<'_, Vec<(FileIdentity, Connection)>> {
        self.inner.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// About how many bytes an entry takes.
fn bytes_of(entry: &Entry) -> usize {
    /// What a row takes beside its largest column.
    const ROW_BYTES: usize = 200;
    let alerts = entry.alerts.iter().map(|alert| alert.json.len());
    let matches = entry.matches.iter().map(|found| found.body.len());
    let quarantined = entry.quarantined.iter().map(|item| item.bytes.len());
    let positions = entry.positions.iter().map(|(name, position)| name.len() + position.len());
    alerts.chain(matches).chain(quarantined).chain(positions).map(|bytes| bytes + ROW_BYTES).sum()
}
