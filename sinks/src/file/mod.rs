//! Alerts in a file of JSON Lines that is rotated by size and time.
//!
//! **Invariant:** the file, together with what was rotated, holds each alert once, whenever the
//! process is killed. Lines are on disk before the cursor moves; the cursor remembers how long the
//! file was then; what is behind that place when the file is opened again is known by its ids and
//! not written twice, and half a line at the end is cut off.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

mod disk;
mod journal;
mod known;
mod rotated;
mod tidy;

#[cfg(test)]
mod tests;

use crate::delivery::{Delivery, Destination, Trouble};
use crate::outbox::Outgoing;
use disk::Disk;
use journal::Journal;
use rotated::Names;

/// A file of alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The file; what is rotated lies beside it, such as `alerts-2026-11-21T22-00-00Z.jsonl`
    /// beside `alerts.jsonl`.
    pub path: PathBuf,
    /// When a new file is begun.
    pub rotation: Rotation,
}

/// When a new file is begun, and what becomes of the old ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Before the file would be longer than this, in bytes; a single longer alert has its own file.
    pub bytes_max: Option<u64>,
    /// With the first alert of a new period; periods begin at 1970-01-01T00:00:00Z, so those of
    /// 24 hours begin at midnight UTC.
    pub period: Option<Duration>,
    /// How many old files are kept; without it, all.
    pub keep_count: Option<usize>,
    /// Whether old files are compressed with gzip.
    pub compression: Compression,
}

/// Whether old files are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// They stay as they are.
    #[default]
    None,
    /// They become `….jsonl.gz`.
    Gzip,
}

/// The sink `file`.
#[derive(Debug)]
pub struct File {
    names: Names,
    rotation: Rotation,
    disk: Disk,
    journal: Option<Arc<Mutex<Journal>>>,
    memo: Option<String>,
    is_tidy: bool,
    is_tidying: Arc<AtomicBool>,
}

impl File {
    /// Names the file; it is opened when the first alert may come.
    pub fn new(options: Options) -> Self {
        Self::on(Disk::default(), options)
    }

    fn on(disk: Disk, options: Options) -> Self {
        Self {
            names: Names::of(options.path),
            rotation: options.rotation,
            disk,
            journal: None,
            memo: None,
            is_tidy: false,
            is_tidying: Arc::default(),
        }
    }
}

impl Destination for File {
    async fn open(&mut self, memo: Option<&str>) -> Result<(), Trouble> {
        // The lock on the file goes with the journal that was open before.
        self.journal = None;
        self.memo = memo.map(str::to_owned);
        let (disk, names, rotation) = (self.disk.clone(), self.names.clone(), self.rotation.clone());
        let memo = self.memo.clone();
        let opened = blocking(move || Journal::open(disk, names, rotation, memo.as_deref())).await?;
        let path = self.names.current().display();
        let journal =
            opened.map_err(|error| Trouble::temporary(&format!("`{path}` cannot be opened: {error}")))?;
        self.is_tidy = false;
        self.journal = Some(Arc::new(Mutex::new(journal)));
        Ok(())
    }

    async fn deliver(&mut self, alerts: &[Arc<Outgoing>]) -> Delivery {
        let Some(journal) = self.journal.clone() else {
            return Delivery::until(0, Trouble::temporary("the file is not open"));
        };
        let alerts = alerts.to_vec();
        let write = move || journal.lock().unwrap_or_else(PoisonError::into_inner).append(&alerts);
        match blocking(write).await {
            Ok(written) => {
                // Only what the worker learns of may be remembered: it may have stopped listening.
                self.memo = written.memo.or(self.memo.take());
                self.is_tidy &= !written.has_rotated;
                written.delivery
            }
            Err(trouble) => Delivery::until(0, trouble),
        }
    }

    fn memo(&self) -> Option<String> {
        self.memo.clone()
    }

    /// Only now nothing will be looked up in the old files.
    fn saved(&mut self) {
        let keeps_all = self.rotation.keep_count.is_none() && self.rotation.compression == Compression::None;
        if self.is_tidy || keeps_all || self.is_tidying.swap(true, Ordering::AcqRel) {
            return;
        }
        self.is_tidy = true;
        let is_tidying = Arc::clone(&self.is_tidying);
        let (names, rotation) = (self.names.clone(), self.rotation.clone());
        let memo = self.memo.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = tidy::tidy(&names, &rotation, memo.as_deref()) {
                let path = names.current().display();
                tracing::warn!(%path, error = &error as &dyn std::error::Error, "old files cannot be put away");
            }
            is_tidying.store(false, Ordering::Release);
        });
    }
}

/// Does what may wait for a disk on a thread that may wait.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Trouble> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Trouble::of(&error))
}
