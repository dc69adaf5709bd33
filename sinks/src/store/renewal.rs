//! Puts a new database in the place of a damaged one; a stop at any moment loses nothing.
//!
//! What can be read is taken over into a draft. Once that is durable, a report says so; only
//! then is the damaged database set aside and the draft given its name. So the folder itself
//! says how far this came:
//!
//! - no report: the database is what it was, and a draft is half done and worth nothing;
//! - a report and a draft: the database is being replaced, which can be gone on with;
//! - a report alone: the database is the new one, and the damage may not be known to anybody.

use std::fs::File;

use rusqlite::Connection;

use super::folder::{DATABASE_SUFFIXES, Folder};
use super::opening::Damaged;
use super::{StoreError, clock, salvage, schema};

/// Goes on with what a stop has interrupted; gives the damage that nobody has acknowledged.
pub(super) fn resume(folder: &Folder) -> Result<Option<Damaged>, StoreError> {
    let damaged = folder.damage_report()?;
    match &damaged {
        Some(damaged) => replace(folder, damaged, &mut |_| {})?,
        None => folder.remove_draft()?,
    }
    Ok(damaged)
}

/// Replaces a damaged database, which nobody has open. `reached` is told after each step.
pub(super) fn replace_damaged(folder: &Folder, reached: &mut dyn FnMut(&str)) -> Result<Damaged, StoreError> {
    // A report of earlier damage would vouch for a draft that is half done.
    folder.remove_damage_report()?;
    folder.remove_draft()?;
    reached("cleared");
    let path = folder.path_aside(&clock::rfc3339(clock::now_us()).replace(':', ""));
    let damaged = Damaged { path, ..write_draft(folder, reached)? };
    folder.write_damage_report(&damaged)?;
    reached("reported");
    replace(folder, &damaged, reached)?;
    Ok(damaged)
}

/// Makes a durable database of what can be read of the damaged one.
fn write_draft(folder: &Folder, reached: &mut dyn FnMut(&str)) -> Result<Damaged, StoreError> {
    let draft = folder.draft();
    folder.create_private(&draft)?;
    reached("draft made");
    let mut connection = schema::open(&draft)?;
    schema::migrate(&mut connection)?;
    reached("draft migrated");
    let damaged = salvage::salvage(&folder.database(), &mut connection)?;
    reached("draft filled");
    schema::settle_head(&connection)?;
    reached("draft settled");
    close(connection)?;
    File::open(&draft).and_then(|file| file.sync_all()).map_err(|error| StoreError::file(draft, error))?;
    reached("draft durable");
    Ok(damaged)
}

/// Closes a database so that nothing of it is in the write-ahead log, which is not renamed.
fn close(connection: Connection) -> Result<(), StoreError> {
    let is_busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if is_busy {
        let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        return Err(rusqlite::Error::SqliteFailure(busy, None).into());
    }
    Ok(connection.close().map_err(|(_, error)| error)?)
}

/// Sets the damaged files aside and gives the draft its name, from whatever step on is needed.
fn replace(folder: &Folder, damaged: &Damaged, reached: &mut dyn FnMut(&str)) -> Result<(), StoreError> {
    if !folder.has_draft()? {
        return Ok(());
    }
    // The database first: what nobody can open any more gets no new files beside it.
    for suffix in DATABASE_SUFFIXES {
        folder.set_aside(suffix, &damaged.path)?;
        reached(&format!("set aside{suffix}"));
    }
    // A log of the damaged database must not be found beside the new one, in whatever order
    // the names become durable.
    folder.sync()?;
    folder.accept_draft()?;
    reached("replaced");
    Ok(())
}
