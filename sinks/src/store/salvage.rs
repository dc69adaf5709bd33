//! Takes over what can still be read of a damaged database.
//!
//! Each table is read in order; where reading fails, it goes on behind the gap. What is taken
//! over keeps its number and its chain, so that verifying still says what is missing.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, Statement, params_from_iter};

use super::opening::Damaged;
use super::{StoreError, schema};

/// How many rows behind one that cannot be read are each asked for: what a page that is damaged names, with the
/// pages under it. Behind that, steps double.
const ASKED_FOR: i64 = 10_000;
/// How many are in a whole table: whoever forges one may leave a gap before each row.
const ASKED_FOR_IN_ALL: u64 = 1_000_000;

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
        let (copied, is_whole) = copy(&source, &transaction, table)?;
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

/// Copies the rows that can be read; how many, and whether that is all of them.
fn copy(source: &Connection, target: &Connection, table: &str) -> Result<(u64, bool), StoreError> {
    let select = format!("SELECT rowid, * FROM {table} WHERE rowid >= ?1 ORDER BY rowid");
    let Ok(select) = source.prepare(&select) else { return Ok((0, false)) };
    let places = vec!["?"; select.column_count() - 1].join(", ");
    let insert = target.prepare(&format!("INSERT INTO {table} VALUES ({places})"))?;
    let mut copying = Copying { select, insert, copied: 0, is_whole: true, asked_for: 0 };
    let mut next = Some(i64::MIN);
    while let Some(from) = next {
        let last = copying.copy_from(from)?;
        next = last.and_then(|last| copying.behind_gap(last));
    }
    Ok((copying.copied, copying.is_whole))
}

/// A table that is being copied.
struct Copying<'a> {
    select: Statement<'a>,
    insert: Statement<'a>,
    copied: u64,
    is_whole: bool,
    /// How many rows behind gaps were asked for.
    asked_for: u64,
}

impl Copying<'_> {
    /// Copies rows from one on; gives the last before one that cannot be read, nothing at the end.
    fn copy_from(&mut self, from: i64) -> Result<Option<i64>, StoreError> {
        let columns = 1..self.select.column_count();
        // The first row that the store writes is 1.
        let mut last = from.max(0);
        let mut rows = self.select.query([from])?;
        loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(None),
                Err(_) => {
                    self.is_whole = false;
                    return Ok(Some(last));
                }
            };
            last = row.get(0).map_or(last, |rowid| last.max(rowid));
            let values: Result<Vec<Value>, _> = columns.clone().map(|column| row.get(column)).collect();
            let inserted = values.map(|values| self.insert.execute(params_from_iter(values)));
            match inserted {
                Ok(Ok(count)) => self.copied += count as u64,
                Ok(Err(error)) if !is_of_the_row(&error) => return Err(error.into()),
                // What has another form than the store writes, such as a number where a text belongs.
                Ok(Err(_)) | Err(_) => self.is_whole = false,
            }
        }
    }

    /// The first row behind a gap, which begins behind `last`; behind a long one, as far as steps that double
    /// find it.
    fn behind_gap(&mut self, last: i64) -> Option<i64> {
        let mut unreadable = last;
        let mut readable = loop {
            let gap = unreadable - last;
            let is_asked_for = gap < ASKED_FOR && self.asked_for < ASKED_FOR_IN_ALL;
            self.asked_for += 1;
            let probe =
                last.checked_add(if is_asked_for { gap + 1 } else { gap.max(1).checked_mul(2)? })?;
            if self.can_read_from(probe) {
                break probe;
            }
            unreadable = probe;
        };
        while readable - unreadable > 1 {
            let middle = unreadable + (readable - unreadable) / 2;
            *if self.can_read_from(middle) { &mut readable } else { &mut unreadable } = middle;
        }
        Some(readable)
    }

    fn can_read_from(&mut self, from: i64) -> bool {
        let first = self.select.query([from]).and_then(|mut rows| match rows.next()? {
            Some(row) => row.get(0),
            None => Ok(i64::MAX),
        });
        // In a damaged order, what was asked for may be followed by what was before.
        first.is_ok_and(|first: i64| first >= from)
    }
}

fn is_of_the_row(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{ConstraintViolation, TypeMismatch};
    matches!(error.sqlite_error_code(), Some(ConstraintViolation | TypeMismatch))
}
