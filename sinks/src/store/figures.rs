//! Numbers about the store, cheap enough to ask for at every scrape.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, Row};

use super::{Store, StoreError};

/// What a store holds and has held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// The alerts ever stored: the number of the latest.
    pub alerts_total: u64,
    /// The alerts that are still kept.
    pub alerts_kept: u64,
    /// The matches that are kept.
    pub matches: u64,
    /// About what matches take, in bytes.
    pub match_bytes: u64,
    /// Matches that had to go for lack of room though windows still wanted them.
    pub matches_dropped: u64,
    /// What ever went into quarantine, repetitions included.
    pub quarantined_total: u64,
    /// The different items in quarantine.
    pub quarantined_kept: u64,
    /// Dead letters that had to go for lack of room.
    pub dead_dropped: u64,
    /// By sink, in order of name.
    pub sinks: Vec<SinkFigures>,
    /// The size of the database with its write-ahead log.
    pub bytes: u64,
}

/// What became of the alerts for a sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkFigures {
    /// The sink's name.
    pub sink: String,
    /// The number of the last alert before those that are for this sink.
    pub began: u64,
    /// The number of the last alert that it is done with.
    pub number: u64,
    /// How many it has delivered at the first go.
    pub delivered: u64,
    /// How many it ever refused for good.
    pub dead: u64,
    /// How many routes kept from it.
    pub unrouted: u64,
    /// How many were pruned before it got them, for lack of room.
    pub lost: u64,
    /// How many dead letters it has delivered after all.
    pub replayed: u64,
    /// How many dead letters there are.
    pub dead_kept: u64,
    /// How many alerts it has still to get.
    pub pending: u64,
}

impl Figures {
    /// By how much the accounts of all sinks differ from the alerts there were for them:
    /// 0, or something was lost or delivered without being counted.
    pub fn imbalance(&self) -> u64 {
        self.sinks.iter().map(|sink| sink.imbalance(self.alerts_total)).sum()
    }
}

impl SinkFigures {
    fn imbalance(&self, alerts_total: u64) -> u64 {
        let parts = [self.began, self.delivered, self.dead, self.unrouted, self.lost, self.pending];
        parts.into_iter().fold(0, u64::saturating_add).abs_diff(alerts_total)
    }
}

impl Store {
    /// Counts what there is.
    pub async fn figures(&self) -> Result<Figures, StoreError> {
        let files = self.inner.folder.database_files().map(|(_, path)| path);
        self.read(move |connection| {
            let mut figures = figures(connection)?;
            figures.bytes = files.iter().map(|path| bytes_of(path)).sum();
            Ok(figures)
        })
        .await
    }

    /// Forgets a sink that is not configured any more, with its dead letters: what it has not
    /// got does not keep alerts from being pruned any longer. Gives whether it was known.
    pub async fn forget_sink(&self, sink: &str) -> Result<bool, StoreError> {
        let sink = sink.to_owned();
        self.commit(sink.len(), move |connection| {
            connection.execute("DELETE FROM dead_letters WHERE sink = ?1", [&sink])?;
            Ok(connection.execute("DELETE FROM cursors WHERE sink = ?1", [&sink])? > 0)
        })
        .await
    }
}

/// Only asks for the size: opening the file would give up the locks that `SQLite` has on it.
fn bytes_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// All figures but the size, as of one moment.
pub(super) fn figures(connection: &Connection) -> Result<Figures, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    let mut statement = transaction.prepare_cached(
        "SELECT number, number - kept_after, matches, quarantined, quarantined_kept, dead_dropped, kept_after,
                match_bytes, matches_dropped
         FROM store",
    )?;
    let (mut figures, kept_after) = statement.query_row([], |row| {
        let figures = Figures {
            alerts_total: count(row, 0)?,
            alerts_kept: count(row, 1)?,
            matches: count(row, 2)?,
            quarantined_total: count(row, 3)?,
            quarantined_kept: count(row, 4)?,
            dead_dropped: count(row, 5)?,
            match_bytes: count(row, 7)?,
            matches_dropped: count(row, 8)?,
            ..Figures::default()
        };
        Ok((figures, count(row, 6)?))
    })?;
    let mut statement = transaction.prepare_cached(
        "SELECT sink, began, number, delivered, dead, unrouted, lost, replayed,
                (SELECT count(*) FROM dead_letters WHERE dead_letters.sink = cursors.sink)
         FROM cursors ORDER BY sink",
    )?;
    figures.sinks = statement
        .query_map([], |row| sink(row, figures.alerts_total, kept_after))?
        .collect::<Result<_, _>>()?;
    Ok(figures)
}

fn sink(row: &Row<'_>, alerts_total: u64, kept_after: u64) -> Result<SinkFigures, rusqlite::Error> {
    let number = count(row, 2)?;
    // What was pruned is lost as soon as it is gone, though the sink has yet to notice.
    let reached = number.max(kept_after);
    Ok(SinkFigures {
        sink: row.get(0)?,
        began: count(row, 1)?,
        number,
        delivered: count(row, 3)?,
        dead: count(row, 4)?,
        unrouted: count(row, 5)?,
        lost: count(row, 6)? + (reached - number),
        replayed: count(row, 7)?,
        dead_kept: count(row, 8)?,
        pending: alerts_total.saturating_sub(reached),
    })
}

fn count(row: &Row<'_>, column: usize) -> Result<u64, rusqlite::Error> {
    Ok(row.get::<_, i64>(column)?.cast_unsigned())
}
