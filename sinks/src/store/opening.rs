//! Opens the database of a folder, and begins a new one where the old one is beyond use.

use std::path::PathBuf;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::folder::Folder;
use super::{StoreError, entry, foreign, renewal, schema};

/// What happened when a store was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// There was no store before.
    pub is_fresh: bool,
    /// The signing key was made: there was none.
    pub is_key_new: bool,
    /// The schema that the store had, if it was an older one.
    pub migrated_from: Option<i64>,
    /// A database that was damaged, and what became of it. Told at every opening until
    /// [`Store::acknowledge_damage`](super::Store::acknowledge_damage).
    pub damaged: Option<Damaged>,
}

/// A database that could not be used any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damaged {
    /// Where it lies now.
    pub path: PathBuf,
    /// How many alerts could be taken over into the new one.
    pub alerts_salvaged: u64,
    /// How many rows of other kinds could be.
    pub others_salvaged: u64,
    /// The tables of which not everything could be.
    pub tables_cut: Vec<String>,
}

/// Opens the database, which then has the current schema and an id.
pub(super) fn open(folder: &Folder) -> Result<(Connection, Opening), StoreError> {
    foreign::refuse(folder)?;
    let damaged = renewal::resume(folder)?;
    let mut opening = Opening { is_fresh: !folder.database().exists(), damaged, ..Opening::default() };
    if opening.is_fresh {
        folder.create_private(&folder.database())?;
    }
    let connection = match usable(folder, &mut opening) {
        Err(error) if is_damage(&error) => {
            if let Some(earlier) = &opening.damaged {
                tracing::error!(earlier = %earlier.path.display(), "the store is damaged again");
            }
            opening.damaged = Some(renewal::replace_damaged(folder, &mut |_| {})?);
            schema::open(&folder.database())?
        }
        other => other?,
    };
    Ok((connection, opening))
}

fn usable(folder: &Folder, opening: &mut Opening) -> Result<Connection, StoreError> {
    let mut connection = schema::open(&folder.database())?;
    schema::check_version(&connection)?;
    if !schema::is_sound(&connection)? {
        return Err(damage());
    }
    let found = schema::migrate(&mut connection)?;
    if found == 0 {
        opening.is_fresh = true;
    } else if found < schema::current_version() {
        opening.migrated_from = Some(found);
    }
    if !schema::is_as_migrated(&connection)? {
        return Err(damage());
    }
    schema::settle_head(&connection)?;
    entry::head(&connection)?;
    Ok(connection)
}

/// How `SQLite` itself says that a file is damaged.
fn damage() -> StoreError {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), None).into()
}

/// True unless something around the file is at fault: what `SQLite` makes of a damaged schema or
/// of values of the wrong type has many names.
fn is_damage(error: &StoreError) -> bool {
    use rusqlite::ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, FileLockingProtocolFailed, OutOfMemory,
        PermissionDenied, ReadOnly, SystemIoFailure,
    };
    match error {
        StoreError::Database(error) => !matches!(
            error.sqlite_error_code(),
            Some(
                CannotOpen
                    | DatabaseBusy
                    | DatabaseLocked
                    | DiskFull
                    | FileLockingProtocolFailed
                    | OutOfMemory
                    | PermissionDenied
                    | ReadOnly
                    | SystemIoFailure
            )
        ),
        _ => false,
    }
}
