//! Lets go of what is old or too much, a little at a time.
//!
//! Alerts go from the oldest on, so that what is kept is one piece of the chain; where it
//! begins is signed. What a sink has yet to get stays, unless the disk would fill up.
//!
//! Matches have room of their own: however many windows want them, they push out no alert, and those of
//! one cluster push out none of another that has less.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use super::checkpoint::{self, Kind};
use super::note::Signer;
use super::{Chain, Store, StoreError, copier, entry};

mod matches;

pub(super) use matches::drop_some_of as drop_matches_of;

/// The most rows of a kind that one transaction deletes: writers wait for it.
const STEP_ROWS_MAX: usize = 500;
/// The most pages that are given back to the file system in one transaction.
const STEP_PAGES_MAX: u32 = 1_000;
/// The most transactions of one call: what is left is for the next.
const STEPS_MAX: usize = 1_000;
/// What sinks have yet to get may take as many times the room that there is for alerts.
const PENDING_FACTOR: u64 = 2;

/// What is to be kept.
#[derive(Clone, Debug)]
pub struct Retention {
    /// For how long alerts are kept. An event that is read again later gives its alert again.
    pub age: Duration,
    /// How large the database may be, quarantine and matches apart. Twice that with what sinks
    /// have yet to get; beyond, dead letters go, then pending alerts. Matches may take half of it
    /// in addition; beyond, those of the cluster that has most go, first what its windows would have
    /// forgotten first.
    pub bytes_max: u64,
    /// By cluster: its matches go whose `until_us` is before this, in its own time, microseconds since
    /// 1970. Of a cluster that is not named all are kept while there is room.
    pub matches_before_us: BTreeMap<String, i64>,
}

/// What was let go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Alerts.
    pub alerts: u64,
    /// Those of them that a sink had yet to get.
    pub alerts_lost: u64,
    /// Dead letters, for lack of room.
    pub dead_letters: u64,
    /// Matches.
    pub matches: u64,
    /// By cluster: those of them that windows still wanted, for lack of room.
    pub matches_lost: BTreeMap<String, u64>,
}

impl Store {
    /// Lets go of what need not be kept at `now_us` (microseconds since 1970) and gives the room
    /// back, in many small transactions between which others write.
    pub async fn prune(&self, now_us: i64, keep: Retention) -> Result<Pruned, StoreError> {
        let mut total = Pruned::default();
        let keep = Arc::new(keep);
        for _ in 0..STEPS_MAX {
            let (signer, keep) = (Arc::clone(&self.inner.signer), Arc::clone(&keep));
            let step = self.commit(1, move |connection| step(connection, &signer, now_us, &keep)).await?;
            if step == Pruned::default() {
                break;
            }
            // What a sink is given is what it would read.
            if step.alerts > 0 {
                self.inner.recent.clear();
            }
            total.alerts += step.alerts;
            total.alerts_lost += step.alerts_lost;
            total.dead_letters += step.dead_letters;
            total.matches += step.matches;
            for (cluster, lost) in step.matches_lost {
                *total.matches_lost.entry(cluster).or_default() += lost;
            }
        }
        for _ in 0..STEPS_MAX {
            if self.commit(1, give_back).await? == 0 {
                break;
            }
        }
        self.checkpoint_wal().await?;
        Ok(total)
    }

    /// Copies the write-ahead log into the database, as far as nobody is in the way. One that has become
    /// long gives its room back.
    pub async fn checkpoint_wal(&self) -> Result<(), StoreError> {
        let path = self.inner.folder.database();
        let copied = tokio::task::spawn_blocking(move || copier::copy_and_shorten(&path));
        copied.await.unwrap_or(Err(StoreError::Closed))
    }
}

fn step(
    connection: &Connection,
    signer: &Signer,
    now_us: i64,
    keep: &Retention,
) -> Result<Pruned, StoreError> {
    let excess = excess(connection, keep.bytes_max)?;
    let is_urgent = excess > keep.bytes_max.saturating_mul(PENDING_FACTOR - 1);
    let mut pruned = Pruned { matches: matches::drop_unwanted(connection, keep)?, ..Pruned::default() };
    if pruned.matches == 0 {
        pruned.matches_lost = matches::drop_excess(connection, keep)?;
        pruned.matches = pruned.matches_lost.values().sum();
    }
    if is_urgent {
        pruned.dead_letters = drop_dead_letters(connection)?;
    }
    let age_us = i64::try_from(keep.age.as_micros()).unwrap_or(i64::MAX);
    let limits = Limits {
        stored_before_us: now_us.saturating_sub(age_us),
        excess,
        done: done_by_all(connection)?,
        takes_pending: is_urgent && pruned.dead_letters == 0,
    };
    let kept_after: i64 = connection.query_row("SELECT kept_after FROM store", [], |row| row.get(0))?;
    let last = last_to_go(connection, kept_after, &limits)?;
    if last > kept_after {
        drop_alerts(connection, signer, now_us, kept_after, last)?;
        pruned.alerts = (last - kept_after).cast_unsigned();
        pruned.alerts_lost = (last - limits.done.max(kept_after)).max(0).cast_unsigned();
    }
    Ok(pruned)
}

/// Which alerts may go.
struct Limits {
    stored_before_us: i64,
    /// The bytes that are too many.
    excess: u64,
    /// The last alert that every sink is done with.
    done: i64,
    takes_pending: bool,
}

/// By how many bytes the database is too large. What is in quarantine has a limit of its own, and
/// so have matches: else whoever sends rubbish, or much that windows want, could push alerts out.
fn excess(connection: &Connection, bytes_max: u64) -> Result<u64, StoreError> {
    let pages = |pragma| connection.pragma_query_value::<i64, _>(None, pragma, |row| row.get(0));
    let used = (pages("page_count")? - pages("freelist_count")?) * pages("page_size")?;
    let apart = "SELECT quarantined_bytes + match_bytes FROM store";
    let apart: i64 = connection.query_row(apart, [], |row| row.get(0))?;
    Ok((used - apart).max(0).cast_unsigned().saturating_sub(bytes_max))
}

fn done_by_all(connection: &Connection) -> Result<i64, StoreError> {
    let done = "SELECT coalesce((SELECT min(number) FROM cursors), number) FROM store";
    Ok(connection.query_row(done, [], |row| row.get(0))?)
}

/// The last of the oldest alerts that go in this step.
fn last_to_go(connection: &Connection, kept_after: i64, limits: &Limits) -> Result<i64, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, stored_us, length(json) + length(route) FROM alerts WHERE number > ?1 ORDER BY number",
    )?;
    let mut rows = statement.query([kept_after])?;
    let (mut last, mut freed) = (kept_after, 0_u64);
    for _ in 0..STEP_ROWS_MAX {
        let Some(row) = rows.next()? else { break };
        let (number, stored_us, bytes): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let is_done = number <= limits.done;
        let is_too_much = freed < limits.excess && (is_done || limits.takes_pending);
        let is_old = is_done && stored_us < limits.stored_before_us;
        if !is_too_much && !is_old {
            break;
        }
        last = number;
        freed += bytes.max(0).cast_unsigned();
    }
    Ok(last)
}

/// Deletes alerts and signs where those begin that are kept. Dead letters take theirs over.
fn drop_alerts(
    connection: &Connection,
    signer: &Signer,
    now_us: i64,
    kept_after: i64,
    last: i64,
) -> Result<(), StoreError> {
    let chain: Chain =
        connection.query_row("SELECT chain FROM alerts WHERE number = ?1", [last], |row| row.get(0))?;
    connection.execute(
        "UPDATE dead_letters SET (id, route, json) =
             (SELECT alerts.id, alerts.route, alerts.json FROM alerts WHERE alerts.number = dead_letters.number)
         WHERE number > ?1 AND number <= ?2",
        [kept_after, last],
    )?;
    connection.execute("DELETE FROM alerts WHERE number <= ?1", [last])?;
    let last_number = last.cast_unsigned();
    let note = checkpoint::sign(signer, last_number, chain, now_us, Kind::KeptFrom(last_number + 1));
    connection.execute(
        "UPDATE store SET kept_after = ?1, kept_chain = ?2, kept_note = ?3",
        (last, chain, note.to_string()),
    )?;
    Ok(())
}

/// Drops the oldest dead letters that hold an alert of their own.
fn drop_dead_letters(connection: &Connection) -> Result<u64, StoreError> {
    let dropped = connection.execute(
        "DELETE FROM dead_letters WHERE rowid IN
             (SELECT rowid FROM dead_letters WHERE json IS NOT NULL ORDER BY number LIMIT ?1)",
        [i64::try_from(STEP_ROWS_MAX).unwrap_or(i64::MAX)],
    )?;
    entry::add(connection, "UPDATE store SET dead_dropped = dead_dropped + ?1", dropped)?;
    Ok(dropped as u64)
}

/// Gives free pages back to the file system; says how many.
fn give_back(connection: &Connection) -> Result<u64, StoreError> {
    let free = || connection.pragma_query_value::<i64, _>(None, "freelist_count", |row| row.get(0));
    let before = free()?;
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({STEP_PAGES_MAX})"))?;
    let mut rows = statement.query([])?;
    // One step of the statement gives back one page.
    while rows.next()?.is_some() {}
    Ok(before.saturating_sub(free()?).max(0).cast_unsigned())
}
