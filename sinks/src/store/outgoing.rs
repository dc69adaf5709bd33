//! What sinks are given: alerts behind a cursor, and how far each sink is.

use rusqlite::{Connection, OptionalExtension, Row, Rows};

use super::{Store, StoreError, clock, entry};
use crate::outbox::{Cursor, DeadLetter, Outbox, Outgoing, Route};

/// The most alerts that one question is answered with.
const PENDING_MAX: usize = 10_000;

impl Outbox for Store {
    async fn pending(
        &self,
        after: u64,
        count_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Outgoing>, StoreError> {
        let count_max = count_max.min(PENDING_MAX);
        // A sink that keeps up asks for what was committed just now.
        if let Some(alerts) = self.inner.recent.behind(after, count_max, bytes_max) {
            return Ok(alerts);
        }
        // Behind it there is nothing but what somebody has put there.
        let latest = *self.inner.latest.borrow();
        self.read(move |connection| pending(connection, after, latest, count_max, bytes_max)).await
    }

    async fn cursor(&self, sink: &str) -> Result<Cursor, StoreError> {
        let name = sink.to_owned();
        if let Some(cursor) = self.read(move |connection| cursor(connection, &name)).await? {
            return Ok(cursor);
        }
        // Noted at once: what a sink has not seen must not be pruned.
        let name = sink.to_owned();
        self.commit(name.len(), move |connection| begin(connection, &name)).await
    }

    async fn advance(&self, sink: &str, cursor: &Cursor, dead: Vec<DeadLetter>) -> Result<(), StoreError> {
        let (sink, cursor, now_us) = (sink.to_owned(), cursor.clone(), clock::now_us());
        let bytes = dead.iter().map(|letter| letter.reason.len()).sum();
        self.commit(bytes, move |connection| advance(connection, &sink, &cursor, &dead, now_us)).await
    }

    fn latest(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.latest.clone()
    }
}

/// The alerts behind one up to another, within limits, at least one.
pub(super) fn pending(
    connection: &Connection,
    after: u64,
    to: u64,
    count_max: usize,
    bytes_max: usize,
) -> Result<Vec<Outgoing>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, id, route, json FROM alerts WHERE number > ?1 AND number <= ?2 ORDER BY number",
    )?;
    page(statement.query([after, to].map(u64::cast_signed))?, count_max, bytes_max, outgoing)
}

/// What is read of rows whose fourth column is the JSON form of an alert, within limits, at least one.
pub(super) fn page<T>(
    mut rows: Rows<'_>,
    count_max: usize,
    bytes_max: usize,
    read: impl Fn(&Row<'_>) -> Result<T, rusqlite::Error>,
) -> Result<Vec<T>, StoreError> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    while found.len() < count_max
        && let Some(row) = rows.next()?
    {
        // Looked at before it is copied, so that one large alert is not read in vain.
        bytes += row.get_ref(3)?.as_bytes().map_or(0, <[u8]>::len);
        if !found.is_empty() && bytes > bytes_max {
            break;
        }
        found.push(read(row)?);
    }
    Ok(found)
}

/// An alert from `number, id, route, json`.
pub(super) fn outgoing(row: &Row<'_>) -> Result<Outgoing, rusqlite::Error> {
    let number = row.get::<_, i64>(0)?.cast_unsigned();
    Ok(Outgoing {
        number,
        id: u128::from_be_bytes(row.get(1)?),
        route: route(number, row.get_ref(2)?.as_str()?),
        json: row.get(3)?,
    })
}

/// An alert whose route was tampered with still goes where everything goes.
fn route(number: u64, json: &str) -> Route {
    serde_json::from_str(json).unwrap_or_else(|error| {
        tracing::error!(number, %error, "the route of a stored alert cannot be read");
        Route::default()
    })
}

fn cursor(connection: &Connection, sink: &str) -> Result<Option<Cursor>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT number, delivered, dead, unrouted, memo FROM cursors WHERE sink = ?1")?;
    let cursor = statement.query_row([sink], |row| {
        Ok(Cursor {
            number: row.get::<_, i64>(0)?.cast_unsigned(),
            delivered: row.get::<_, i64>(1)?.cast_unsigned(),
            dead: row.get::<_, i64>(2)?.cast_unsigned(),
            unrouted: row.get::<_, i64>(3)?.cast_unsigned(),
            memo: row.get(4)?,
        })
    });
    Ok(cursor.optional()?)
}

/// The cursor of a sink, new if it has none.
fn begin(connection: &Connection, sink: &str) -> Result<Cursor, StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO cursors (sink, began, number) SELECT ?1, kept_after, kept_after FROM store
             WHERE true ON CONFLICT (sink) DO NOTHING",
        )?
        .execute([sink])?;
    cursor(connection, sink)?.ok_or(StoreError::NotKept)
}

fn advance(
    connection: &Connection,
    sink: &str,
    cursor: &Cursor,
    dead: &[DeadLetter],
    now_us: i64,
) -> Result<(), StoreError> {
    let before = begin(connection, sink)?;
    let lost = lost_between(connection, &before, cursor)?;
    connection
        .prepare_cached(
            "UPDATE cursors SET number = ?2, delivered = ?3, dead = ?4, unrouted = ?5, memo = ?6,
                                lost = lost + ?7 WHERE sink = ?1",
        )?
        .execute((
            sink,
            cursor.number.cast_signed(),
            cursor.delivered.cast_signed(),
            cursor.dead.cast_signed(),
            cursor.unrouted.cast_signed(),
            &cursor.memo,
            lost.cast_signed(),
        ))?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO dead_letters (sink, number, reason, died_us) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (sink, number) DO UPDATE SET reason = excluded.reason",
    )?;
    for letter in dead {
        entry::stored(insert.execute((sink, letter.number.cast_signed(), &letter.reason, now_us))?)?;
    }
    Ok(())
}

/// How many of the alerts that a cursor passed were pruned before the sink got them.
fn lost_between(connection: &Connection, before: &Cursor, now: &Cursor) -> Result<u64, StoreError> {
    let accounted =
        |cursor: &Cursor| cursor.delivered.saturating_add(cursor.dead).saturating_add(cursor.unrouted);
    let passed = now.number.saturating_sub(before.number);
    let unaccounted = passed.saturating_sub(accounted(now).saturating_sub(accounted(before)));
    let kept_after: i64 =
        connection.prepare_cached("SELECT kept_after FROM store")?.query_row([], |row| row.get(0))?;
    Ok(unaccounted.min(kept_after.cast_unsigned().saturating_sub(before.number)))
}
