//! A thread that copies the write-ahead log into the database, so that no commit has to wait
//! for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{StoreError, schema};

/// About how many bytes are written before they are copied.
const COPIED_BYTES_MIN: usize = 4 * 1024 * 1024;

/// How long nobody may write while it is waited for who reads from a log that is to become short.
const SHORTENED_WITHIN: Duration = Duration::from_millis(50);

/// The thread, as the writer sees it.
pub(super) struct Copier {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    written_bytes: usize,
}

impl Copier {
    /// Starts the thread for a database.
    pub(super) fn start(database: PathBuf) -> Result<Self, StoreError> {
        // Room for one: to be woken twice is to be woken.
        let (wake, woken) = mpsc::sync_channel(1);
        let path = database.clone();
        let thread = thread::Builder::new()
            .name("store-copier".to_owned())
            .spawn(move || {
                while woken.recv().is_ok() {
                    if let Err(error) = copy(&database) {
                        // The writer does it when the log has become long.
                        tracing::debug!(error = &error as &dyn std::error::Error, "the log was not copied");
                    }
                }
            })
            .map_err(|error| StoreError::file(path, error))?;
        Ok(Self { wake: Some(wake), thread: Some(thread), written_bytes: 0 })
    }

    /// Notes that so much was committed, and wakes the thread if it is time.
    pub(super) fn note(&mut self, bytes: usize) {
        self.written_bytes = self.written_bytes.saturating_add(bytes);
        if self.written_bytes >= COPIED_BYTES_MIN {
            self.written_bytes = 0;
            self.wake.as_ref().map(|wake| wake.try_send(()));
        }
    }
}

impl Drop for Copier {
    /// Waits for the thread: nobody else may have the folder before.
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Copies what nobody is reading any more.
pub(super) fn copy(database: &Path) -> Result<(), StoreError> {
    let connection = schema::open(database)?;
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    Ok(())
}

/// The same; a log that has become long gives its room back, unless somebody still reads it.
pub(super) fn copy_and_shorten(database: &Path) -> Result<(), StoreError> {
    // What takes long holds up nobody; little is left for what holds up who writes.
    copy(database)?;
    let log = schema::with_suffix(database, "-wal");
    if fs::metadata(log).is_ok_and(|log| log.len() > schema::WAL_BYTES_MAX.into()) {
        let connection = schema::open(database)?;
        connection.busy_timeout(SHORTENED_WITHIN)?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    }
    Ok(())
}
