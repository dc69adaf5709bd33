//! Takes over what can still be read of a damaged database.
//!
//! Each table is read from its beginning and from its end up to where reading fails. What is
//! taken over keeps its number and its chain, so that verifying still says what is missing.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::opening::Damaged;
use super::{StoreError, schema};

/// The tables, those first that the others can be judged by.
pub(super) const TABLES: [&str; 8] =
    ["store", "cursors", "checkpoints", "positions", "alerts", "dead_letters", "matches", "quarantine"];

/// Counts anew what is cheaper counted than asked for.
const RECOUNT: &str = "UPDATE store SET
    matches = (SELECT count(*) FROM matches),
    match_bytes = (SELECT coalesce(sum(length(body) + 250), 0) FROM matches),
    quarantined_kept = (SELECT count(*) FROM quarantine),
    quarantined_bytes = (SELECT coalesce(sum(length(bytes)), 0) FROM quarantine);
    INSERT INTO match_totals (cluster, matches, bytes)
        SELECT cluster, count(*), sum(length(body) + 250) FROM matches GROUP BY cluster;";

/// Copies what can be read at `path` into a new database. Where the damaged one is to lie is
/// left open.
pub(super) fn salvage(path: &Path, target: &mut Connection) -> Result<Damaged, StoreError> {
    let mut damaged = Damaged::default();
    let source = schema::open(path).and_then(|mut source| schema::migrate(&mut source).map(|_| source));
    let Ok(source) = source else {
        damaged.tables_cut = TABLES.map(str::to_owned).to_vec();
        return Ok(damaged);
    };
    let transaction = target.transaction()?;
    for table in TABLES {
        let mut copied = 0;
        let is_whole = copy(&source, &transaction, table, "ASC", &mut copied)?
            || copy(&source, &transaction, table, "DESC", &mut copied)?;
        if !is_whole {
            damaged.tables_cut.push(table.to_owned());
        }
        match table {
            "alerts" => damaged.alerts_salvaged = copied,
            _ => damaged.others_salvaged += copied,
        }
    }
    // Counts of what is not there any more.
    transaction.execute_batch(RECOUNT)?;
    transaction.commit()?;
    Ok(damaged)
}

/// Copies rows until one cannot be read, which gives `false`, or all are there.
fn copy(
    source: &Connection,
    target: &Connection,
    table: &str,
    direction: &str,
    copied: &mut u64,
) -> Result<bool, StoreError> {
    let Ok(mut select) = source.prepare(&format!("SELECT * FROM {table} ORDER BY rowid {direction}")) else {
        return Ok(false);
    };
    let column_count = select.column_count();
    let places = vec!["?"; column_count].join(", ");
    let mut insert = target.prepare(&format!("INSERT OR IGNORE INTO {table} VALUES ({places})"))?;
    let Ok(mut rows) = select.query([]) else { return Ok(false) };
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(true),
            Err(_) => return Ok(false),
        };
        let values: Result<Vec<Value>, _> = (0..column_count).map(|column| row.get(column)).collect();
        let Ok(values) = values else { return Ok(false) };
        // From the end, the first row that is known already is where reading failed before.
        match insert.execute(params_from_iter(values)) {
            Ok(0) if direction == "DESC" => return Ok(false),
            Ok(count) => *copied += count as u64,
            // What the new table does not take, such as a number where a text belongs.
            Err(error) if is_of_the_row(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_of_the_row(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{ConstraintViolation, TypeMismatch};
    matches!(error.sqlite_error_code(), Some(ConstraintViolation | TypeMismatch))
}
