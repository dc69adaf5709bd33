//! Tells a database of somebody else's from one of ours that is damaged.
//!
//! **Invariant:** what is not ours is neither changed nor renamed; it is not even opened for writing.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::folder::Folder;
use super::salvage::TABLES;
use super::{StoreError, schema};

/// What a database of `SQLite` begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Refuses a folder in which something else has the name of the database.
pub(super) fn refuse(folder: &Folder) -> Result<(), StoreError> {
    let path = folder.database();
    if is_foreign(&path, folder.has_secret()?)? { Err(StoreError::Foreign { path }) } else { Ok(()) }
}

/// True for what was never ours. A folder in which there has been a store has a key; without one,
/// what is no database cannot be a damaged one.
pub(super) fn is_foreign(path: &Path, has_key: bool) -> Result<bool, StoreError> {
    let mut beginning = Vec::new();
    let file = File::open(path).and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut beginning));
    match file {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other.map_err(|error| StoreError::file(path, error))?,
    };
    if beginning.is_empty() {
        return Ok(false);
    }
    if beginning != MAGIC {
        return Ok(!has_key);
    }
    // What cannot be listed is damaged, and judged by the key as well.
    let Ok(names) = schema::names(path) else { return Ok(!has_key) };
    Ok(!names.is_empty() && !names.iter().any(|name| TABLES.contains(&name.as_str())))
}
