//! The tables, how a database is opened, and how an older one becomes the current one.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior};

use super::{Chain, StoreError};

/// What turns schema n into schema n + 1. Only ever add to it.
const MIGRATIONS: &[&str] =
    &[include_str!("schema/1.sql"), include_str!("schema/2.sql"), include_str!("schema/3.sql")];

/// How long a statement waits for a lock that another process has, such as a reader that
/// recovers the write-ahead log.
const BUSY_MAX: Duration = Duration::from_secs(5);
/// Pages of the write-ahead log after which a commit copies them into the database itself: the
/// copier does so earlier, but can only begin the log anew when nobody writes meanwhile.
const WAL_PAGES_MAX: u32 = 16_000;
/// How long the file of the write-ahead log stays once all of it is copied, in bytes: about what the pages above
/// take. Somebody who reads for long makes it longer, since nothing that he may want is overwritten.
pub(super) const WAL_BYTES_MAX: u32 = 64 * 1024 * 1024;
/// How much of the database a connection keeps in memory, in KiB: more than one transaction changes, or pages
/// would be written before it ends, read again and written again. Ids are spread over all of their index.
const CACHE_KIB_MAX: i64 = 32 * 1024;

/// Opens a database for reading and writing; every commit is durable when it returns.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY_MAX)?;
    // Takes effect in an empty database only, and writes to any other, which may not be possible.
    if connection.pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0))? == 0 {
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES_MAX)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_MAX)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB_MAX)?;
    be_careful(&connection)?;
    Ok(connection)
}

/// Opens a database for reading alone.
pub(super) fn open_for_reading(path: &Path) -> Result<Connection, StoreError> {
    match open_read_only(path, path) {
        // `SQLite` wants to make files beside it. On a medium that cannot be written to, one that
        // was closed properly can do without.
        Err(error) if is_beyond_opening(&error) && !with_suffix(path, "-wal").exists() => {
            open_read_only(path, &immutable(path))
        }
        other => other,
    }
    .map_err(StoreError::from)
}

/// Opens `name`, which stands for `path`.
fn open_read_only(path: &Path, name: &Path) -> Result<Connection, rusqlite::Error> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    flags.set(OpenFlags::SQLITE_OPEN_URI, path != name);
    let connection = Connection::open_with_flags(name, flags)?;
    connection.busy_timeout(BUSY_MAX)?;
    be_careful(&connection)?;
    // The file is not touched before the first question.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

/// The names of the tables that a database has in its file itself. Leaves no trace beside it.
pub(super) fn names(path: &Path) -> Result<Vec<String>, StoreError> {
    let connection = open_read_only(path, &immutable(path))?;
    let mut select = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let names = select.query_map([], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

fn is_beyond_opening(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, ReadOnly};
    matches!(error.sqlite_error_code(), Some(CannotOpen | ReadOnly))
}

/// The URI of a database that nobody can change.
fn immutable(path: &Path) -> PathBuf {
    let escaped = path.as_os_str().as_encoded_bytes().iter().map(|byte| match byte {
        b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => char::from(*byte).to_string(),
        _ => format!("%{byte:02x}"),
    });
    PathBuf::from(format!("file:{}?immutable=1", escaped.collect::<String>()))
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A file may have been made to harm its readers, or be changed while it is open: what somebody adds to
/// its schema must not decide what is kept.
fn be_careful(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // Nothing beside the state folder may be writable.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// True if `SQLite` finds the database's pages in order, and its indexes to fit the tables: the
/// quick check leaves out the latter, and then nothing could be written.
pub(super) fn is_sound(connection: &Connection) -> Result<bool, StoreError> {
    let verdict: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    Ok(verdict == "ok")
}

/// The schema of a database; 0 if it is empty.
pub(super) fn version(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// The schema that this program writes.
pub(super) fn current_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Refuses a database that a newer program has written.
pub(super) fn check_version(connection: &Connection) -> Result<i64, StoreError> {
    let found = version(connection)?;
    let known = current_version();
    if found > known { Err(StoreError::Newer { found, known }) } else { Ok(found) }
}

/// Brings a database to the current schema; gives the one it had.
pub(super) fn migrate(connection: &mut Connection) -> Result<i64, StoreError> {
    let found = check_version(connection)?;
    migrate_by(connection, MIGRATIONS)?;
    Ok(found)
}

/// True if the tables are what the migrations up to its version make: a damaged or foreign schema
/// may be read without complaint and refuse what is written.
pub(super) fn is_as_migrated(connection: &Connection) -> Result<bool, StoreError> {
    let version = usize::try_from(version(connection)?).unwrap_or(0);
    let mut reference = Connection::open_in_memory()?;
    migrate_by(&mut reference, &MIGRATIONS[..version.min(MIGRATIONS.len())])?;
    Ok(statements(connection)? == statements(&reference)?)
}

/// What makes the tables and indexes, by name. What `ANALYZE` notes about them changes nothing.
fn statements(connection: &Connection) -> Result<Vec<(String, String)>, StoreError> {
    let mut select = connection.prepare(
        "SELECT name, coalesce(sql, '') FROM sqlite_schema
         WHERE NOT (type = 'table' AND name IN ('sqlite_stat1', 'sqlite_stat4')) ORDER BY name",
    )?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, bare(row.get_ref(1)?.as_str()?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A statement without comments and the width of spaces, which may be edited.
fn bare(statement: &str) -> String {
    let code = statement.lines().filter_map(|line| line.split("--").next());
    code.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

pub(super) fn migrate_by(connection: &mut Connection, migrations: &[&str]) -> Result<(), StoreError> {
    let found = usize::try_from(version(connection)?).unwrap_or(0);
    for (version, migration) in (1_i64..).zip(migrations).skip(found) {
        let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

/// The highest number that was given to an alert, as far as anything still says, below a bound.
const LAST_USED: &str = "SELECT max(
    coalesce((SELECT max(number) FROM alerts WHERE number < ?1), 0),
    coalesce((SELECT max(number) FROM cursors WHERE number < ?1), 0),
    coalesce((SELECT max(alert_number) FROM checkpoints WHERE alert_number < ?1), 0),
    coalesce((SELECT kept_after FROM store WHERE kept_after < ?1), 0))";
/// No store has given such a number to an alert: whatever says so is damaged, and there must be more.
const NUMBER_MAX: i64 = 1 << 62;
/// What says that such a number was given is not believed. Far below, so that what is believed leaves room.
const WITNESSED_MAX: i64 = NUMBER_MAX / 2;

/// Gives a new store its id, and corrects a head that lags behind what was given, or cannot be: numbers must
/// never be used again, whatever became of the row that says which was the last. A sink gets no
/// alert that is not behind its cursor; one whose cursor cannot be begins anew.
pub(super) fn settle_head(connection: &Connection) -> Result<(), StoreError> {
    let last: i64 = connection.query_row(LAST_USED, [WITNESSED_MAX], |row| row.get(0))?;
    let head = connection.query_row("SELECT number FROM store", [], |row| row.get::<_, i64>(0)).optional()?;
    match head {
        Some(number) if (last..NUMBER_MAX).contains(&number) => return drop_impossible_cursors(connection),
        Some(number) => tracing::error!(number, last, "the store's note of its latest alert is wrong"),
        None => {}
    }
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::file("getrandom", io::Error::other(error)))?;
    let id = format!("{:016x}", u64::from_be_bytes(bytes));
    connection.execute(
        "INSERT INTO store (only, id, number, chain, kept_after, kept_chain)
         SELECT 1, ?1, 0, ?2, coalesce((SELECT min(number) - 1 FROM alerts), 0), ?2
         WHERE true ON CONFLICT (only) DO NOTHING",
        (&id, Chain::beginning(&id)),
    )?;
    connection.execute(
        "UPDATE store SET number = ?1, chain = coalesce(
             (SELECT alerts.chain FROM alerts WHERE alerts.number > store.number AND alerts.number <= ?1
              ORDER BY alerts.number DESC LIMIT 1), chain)
         WHERE number < ?1 OR number >= ?2",
        [last, NUMBER_MAX],
    )?;
    drop_impossible_cursors(connection)
}

/// Forgets how far sinks are that cannot be, and would get none of the next alerts: they get all that are kept.
fn drop_impossible_cursors(connection: &Connection) -> Result<(), StoreError> {
    let mut delete = connection.prepare(
        "DELETE FROM cursors WHERE number NOT BETWEEN 0 AND (SELECT number FROM store)
         RETURNING sink, number",
    )?;
    let mut rows = delete.query([])?;
    while let Some(row) = rows.next()? {
        let (sink, number): (String, i64) = (row.get(0)?, row.get(1)?);
        tracing::error!(sink, number, "the note of how far a sink is cannot be: it begins anew");
    }
    Ok(())
}

/// The id of the store.
pub(super) fn store_id(connection: &Connection) -> Result<String, StoreError> {
    Ok(connection.query_row("SELECT id FROM store", [], |row| row.get(0))?)
}
