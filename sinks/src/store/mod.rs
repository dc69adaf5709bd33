//! Alerts on disk: one `SQLite` file.

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database said no.
    #[error("the store cannot be written or read")]
    Database(#[from] rusqlite::Error),
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}
