//! Dead letters: what a sink refused for good, and may be given once more.

use rusqlite::Connection;

use super::{Store, StoreError, outgoing};
use crate::delivery::BATCH_BYTES_MAX;
use crate::outbox::{DeadLetter, Outgoing};

/// The most dead letters that are given at a time.
const TAKEN_MAX: usize = 1_000;

impl Store {
    /// The alerts among a sink's dead letters whose number is above `after`, in order, at most
    /// `count_max`, as many as fit into [`BATCH_BYTES_MAX`], and at least one. They stay dead letters until
    /// [`Store::settle_dead`] says what became of them.
    pub async fn take_dead(
        &self,
        sink: &str,
        after: u64,
        count_max: usize,
    ) -> Result<Vec<Outgoing>, StoreError> {
        let sink = sink.to_owned();
        self.read(move |connection| take(connection, &sink, after, count_max.min(TAKEN_MAX))).await
    }

    /// Notes what became of dead letters that were given to their sink again: those with the
    /// numbers `delivered` are dead no more, `refused` have a new reason.
    pub async fn settle_dead(
        &self,
        sink: &str,
        delivered: Vec<u64>,
        refused: Vec<DeadLetter>,
    ) -> Result<(), StoreError> {
        let sink = sink.to_owned();
        let bytes = refused.iter().map(|letter| letter.reason.len()).sum();
        self.commit(bytes, move |connection| settle(connection, &sink, &delivered, &refused)).await
    }
}

fn take(
    connection: &Connection,
    sink: &str,
    after: u64,
    count_max: usize,
) -> Result<Vec<Outgoing>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT letter.number, coalesce(alert.id, letter.id), coalesce(alert.route, letter.route),
                coalesce(alert.json, letter.json) AS body
         FROM dead_letters AS letter LEFT JOIN alerts AS alert ON alert.number = letter.number
         WHERE letter.sink = ?1 AND letter.number > ?2 AND body IS NOT NULL
         ORDER BY letter.number",
    )?;
    let rows = statement.query((sink, after.cast_signed()))?;
    outgoing::page(rows, count_max, BATCH_BYTES_MAX, outgoing::outgoing)
}

fn settle(
    connection: &Connection,
    sink: &str,
    delivered: &[u64],
    refused: &[DeadLetter],
) -> Result<(), StoreError> {
    let mut delete = connection.prepare_cached("DELETE FROM dead_letters WHERE sink = ?1 AND number = ?2")?;
    let mut replayed = 0;
    for number in delivered {
        replayed += delete.execute((sink, number.cast_signed()))?;
    }
    connection
        .prepare_cached("UPDATE cursors SET replayed = replayed + ?2 WHERE sink = ?1")?
        .execute((sink, i64::try_from(replayed).unwrap_or(i64::MAX)))?;
    let mut update =
        connection.prepare_cached("UPDATE dead_letters SET reason = ?3 WHERE sink = ?1 AND number = ?2")?;
    for letter in refused {
        update.execute((sink, letter.number.cast_signed(), &letter.reason))?;
    }
    Ok(())
}
