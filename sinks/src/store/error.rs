//! What can go wrong with the store, as data.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::note::NoteError;

/// Why the store could not do what it was asked.
///
/// It can be cloned, because one failed commit answers everyone who waited for it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database said no. No source: that of its error says the same once more.
    #[error("the store cannot be written or read: {0}")]
    Database(Arc<rusqlite::Error>),
    /// The database took a row and does not have it: somebody has changed its tables.
    #[error("the store does not keep what is written to it: its tables were changed")]
    NotKept,
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
    /// Another process has the folder.
    #[error("`{}` is in use by another process", folder.display())]
    InUse {
        /// The state folder.
        folder: PathBuf,
    },
    /// There is no store to read.
    #[error("`{}` holds no store", folder.display())]
    Absent {
        /// The state folder.
        folder: PathBuf,
    },
    /// What lies where the store should be is somebody else's.
    #[error("`{}` is no database of masthead; it is left as it is", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer program has written the store.
    #[error("the store has schema {found}, and this version of masthead knows {known}")]
    Newer {
        /// The schema of the store.
        found: i64,
        /// The latest schema that is known.
        known: i64,
    },
    /// A file or the folder cannot be used.
    #[error("cannot use `{}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// The file of the signing key holds something else.
    #[error("`{}` holds no signing key", path.display())]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// A signed note cannot be understood.
    #[error("a signed note cannot be understood")]
    Note(#[from] NoteError),
}

impl StoreError {
    /// An error of a file.
    pub(super) fn file(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File { path: path.into(), source: Arc::new(source) }
    }

    /// True if this user may not read or write what is there.
    pub fn is_denied(&self) -> bool {
        use rusqlite::ErrorCode::{CannotOpen, PermissionDenied, ReadOnly};
        match self {
            Self::File { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            Self::Database(error) => {
                matches!(error.sqlite_error_code(), Some(CannotOpen | PermissionDenied | ReadOnly))
            }
            _ => false,
        }
    }

    /// True if the place failed, not what was to be written: the same write may succeed later.
    pub(super) fn is_of_the_place(&self) -> bool {
        use rusqlite::ErrorCode::{ConstraintViolation, TooBig, TypeMismatch};
        match self {
            Self::Database(error) => {
                !matches!(error.sqlite_error_code(), Some(ConstraintViolation | TooBig | TypeMismatch))
            }
            Self::NotKept => false,
            _ => true,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}
