//! Lets go of matches: of those that no window wants, and of some of whoever has most.
//!
//! **Invariant:** what one cluster has pushes out no match of another that has less and is related here.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::super::StoreError;
use super::super::entry::{self, MATCH_ROW_BYTES};
use super::{Retention, STEP_ROWS_MAX};

/// Matches may take such a part of the room that there is for alerts, beside that.
const DIVISOR: u64 = 2;

/// Drops matches whose windows are over by the clock of their cluster; how many.
pub(super) fn drop_unwanted(connection: &Connection, keep: &Retention) -> Result<u64, StoreError> {
    let mut dropped = 0;
    for (cluster, before_us) in &keep.matches_before_us {
        dropped += drop_of(connection, cluster, before_us.saturating_sub(1), STEP_ROWS_MAX - dropped)?;
        if dropped == STEP_ROWS_MAX {
            break;
        }
    }
    Ok(dropped as u64)
}

/// Drops, while matches take too much, some of the cluster that has most: those that its windows
/// would forget first. Clusters that nobody here relates come before the others. Says whose, and how many.
pub(super) fn drop_excess(
    connection: &Connection,
    keep: &Retention,
) -> Result<BTreeMap<String, u64>, StoreError> {
    let total: i64 = connection.query_row("SELECT match_bytes FROM store", [], |row| row.get(0))?;
    let excess = unsigned(total).saturating_sub(keep.bytes_max / DIVISOR);
    if excess == 0 {
        return Ok(BTreeMap::new());
    }
    let totals = "SELECT cluster, matches, bytes FROM match_totals ORDER BY bytes DESC";
    let mut totals = connection.prepare_cached(totals)?;
    let totals: Vec<(String, i64, i64)> =
        totals.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect::<Result<_, _>>()?;
    let is_unrelated = |(cluster, ..): &&(String, i64, i64)| !keep.matches_before_us.contains_key(cluster);
    let Some((cluster, count, bytes)) = totals.iter().find(is_unrelated).or(totals.first()) else {
        return Ok(BTreeMap::new());
    };
    let (count, bytes) = (*count, *bytes);
    let count = unsigned(count).max(1);
    // Half of what it has at a time: then another may have more.
    let rows = excess.div_ceil((unsigned(bytes) / count).max(1)).min(count.div_ceil(2));
    let rows = usize::try_from(rows).unwrap_or(STEP_ROWS_MAX).min(STEP_ROWS_MAX);
    let dropped = drop_of(connection, cluster, i64::MAX, rows)?;
    entry::add(connection, "UPDATE store SET matches_dropped = matches_dropped + ?1", dropped)?;
    Ok((dropped > 0).then(|| (cluster.clone(), dropped as u64)).into_iter().collect())
}

/// Drops some matches of a cluster that no window wants after `last_us`; gives whether there may be more.
pub(in super::super) fn drop_some_of(
    connection: &Connection,
    cluster: &str,
    last_us: i64,
) -> Result<bool, StoreError> {
    Ok(drop_of(connection, cluster, last_us, STEP_ROWS_MAX)? > 0)
}

/// Drops up to `rows` matches of a cluster that no window wants after `last_us`, those that windows
/// forget first; how many.
fn drop_of(connection: &Connection, cluster: &str, last_us: i64, rows: usize) -> Result<usize, StoreError> {
    let mut delete = connection.prepare_cached(
        "DELETE FROM matches WHERE rowid IN
             (SELECT rowid FROM matches WHERE cluster = ?1 AND until_us <= ?2 ORDER BY until_us LIMIT ?3)
         RETURNING length(body)",
    )?;
    let (mut dropped, mut bytes) = (0, 0);
    let mut deleted = delete.query((cluster, last_us, i64::try_from(rows).unwrap_or(i64::MAX)))?;
    while let Some(row) = deleted.next()? {
        dropped += 1;
        bytes += usize::try_from(row.get::<_, i64>(0)?).unwrap_or(0) + MATCH_ROW_BYTES;
    }
    if dropped > 0 {
        note_dropped(connection, cluster, dropped, bytes)?;
    }
    Ok(dropped)
}

/// Takes what was dropped off the totals.
fn note_dropped(
    connection: &Connection,
    cluster: &str,
    dropped: usize,
    bytes: usize,
) -> Result<(), StoreError> {
    let [dropped, bytes] = [dropped, bytes].map(|count| i64::try_from(count).unwrap_or(i64::MAX));
    connection
        .prepare_cached("UPDATE store SET matches = matches - ?1, match_bytes = match_bytes - ?2")?
        .execute((dropped, bytes))?;
    connection
        .prepare_cached(
            "UPDATE match_totals SET matches = matches - ?2, bytes = bytes - ?3 WHERE cluster = ?1",
        )?
        .execute((cluster, dropped, bytes))?;
    connection
        .prepare_cached("DELETE FROM match_totals WHERE cluster = ?1 AND matches <= 0")?
        .execute([cluster])?;
    Ok(())
}

fn unsigned(count: i64) -> u64 {
    count.max(0).cast_unsigned()
}
