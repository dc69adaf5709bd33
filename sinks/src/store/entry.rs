//! Writes entries: alerts with their numbers and chain, matches, quarantine, positions.

use std::collections::BTreeMap;

use rusqlite::{CachedStatement, Connection};

use super::chain::Link;
use super::recent::Recent;
use super::{Chain, StoreError};
use crate::outbox::{Entry, NewAlert, NewMatch, QUARANTINED_BYTES_MAX, Quarantined, Receipt};

/// The most items in quarantine: more than anybody will look at.
pub const QUARANTINE_MAX: i64 = 10_000;
/// The most bytes in quarantine, so that whoever sends rubbish does not fill the disk.
pub const QUARANTINE_BYTES_MAX: i64 = 256 * 1024 * 1024;
/// The longest text that is kept beside the bytes in quarantine.
const QUARANTINE_TEXT_BYTES_MAX: usize = 4 * 1024;

/// What a match takes beside its body, with its indexes; the migration to schema 2 counts with the same.
pub(super) const MATCH_ROW_BYTES: usize = 250;

/// Writes an entry within a transaction; its new alerts are staged in `recent`.
pub(super) fn write(
    connection: &Connection,
    entry: &Entry,
    now_us: i64,
    recent: &Recent,
) -> Result<Receipt, StoreError> {
    let receipt = Receipt {
        new_alerts: write_alerts(connection, &entry.alerts, now_us, recent)?,
        new_matches: write_matches(connection, &entry.matches)?,
    };
    write_quarantine(connection, &entry.quarantined, now_us)?;
    for (name, position) in &entry.positions {
        let mut replace =
            connection.prepare_cached("INSERT OR REPLACE INTO positions (name, value) VALUES (?1, ?2)")?;
        stored(replace.execute((name, position))?)?;
    }
    Ok(receipt)
}

/// The number of the latest alert and the chain up to it.
pub(super) fn head(connection: &Connection) -> Result<(u64, Chain), StoreError> {
    let mut statement = connection.prepare_cached("SELECT number, chain FROM store")?;
    let (number, chain): (i64, Chain) = statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((number.cast_unsigned(), chain))
}

fn write_alerts(
    connection: &Connection,
    alerts: &[NewAlert],
    now_us: i64,
    recent: &Recent,
) -> Result<Vec<bool>, StoreError> {
    if alerts.is_empty() {
        return Ok(Vec::new());
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO alerts (number, id, stored_us, route, json, chain) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (id) DO NOTHING",
    )?;
    let mut known = connection.prepare_cached("SELECT 1 FROM alerts WHERE id = ?1")?;
    let (before, mut chain) = head(connection)?;
    // What is beyond it the database takes for negative, and no sink is given it.
    if before.saturating_add(alerts.len() as u64) > i64::MAX.cast_unsigned() {
        return Err(StoreError::NotKept);
    }
    let mut number = before;
    let mut are_new = Vec::with_capacity(alerts.len());
    for alert in alerts {
        let route = serde_json::to_string(&alert.route)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        let id = alert.id.to_be_bytes();
        let link = Link { number: number + 1, id, stored_us: now_us, route: &route, json: &alert.json };
        let next = chain.with(&link);
        let rows = insert.execute((link.number.cast_signed(), id, now_us, link.route, link.json, next))?;
        let is_new = is_new(rows, || known.exists([id]))?;
        if is_new {
            (number, chain) = (link.number, next);
            recent.stage(number, alert);
        }
        are_new.push(is_new);
    }
    if number > before {
        connection
            .prepare_cached("UPDATE store SET number = ?1, chain = ?2")?
            .execute((number.cast_signed(), chain))?;
    }
    Ok(are_new)
}

fn write_matches(connection: &Connection, matches: &[NewMatch]) -> Result<Vec<bool>, StoreError> {
    if matches.is_empty() {
        return Ok(Vec::new());
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO matches (id, cluster, time_us, until_us, body) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (id) DO NOTHING",
    )?;
    let mut known = connection.prepare_cached("SELECT 1 FROM matches WHERE id = ?1")?;
    let are_new = matches
        .iter()
        .map(|found| is_new(insert_match(&mut insert, found)?, || known.exists([found.id.to_be_bytes()])))
        .collect::<Result<Vec<bool>, StoreError>>()?;
    let new = matches.iter().zip(&are_new).filter(|(_, is_new)| **is_new).map(|(found, _)| found);
    count_matches(connection, new)?;
    Ok(are_new)
}

/// Adds new matches to the totals, also to those of their clusters.
fn count_matches<'m>(
    connection: &Connection,
    new: impl Iterator<Item = &'m NewMatch>,
) -> Result<(), StoreError> {
    let mut by_cluster: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for found in new {
        let (count, bytes) = by_cluster.entry(&found.cluster).or_default();
        *count += 1;
        *bytes += i64::try_from(found.body.len() + MATCH_ROW_BYTES).unwrap_or(i64::MAX);
    }
    for (cluster, (count, bytes)) in by_cluster {
        connection
            .prepare_cached("UPDATE store SET matches = matches + ?1, match_bytes = match_bytes + ?2")?
            .execute((count, bytes))?;
        connection
            .prepare_cached(
                "INSERT INTO match_totals (cluster, matches, bytes) VALUES (?1, ?2, ?3) ON CONFLICT (cluster)
                 DO UPDATE SET matches = matches + excluded.matches, bytes = bytes + excluded.bytes",
            )?
            .execute((cluster, count, bytes))?;
    }
    Ok(())
}

fn insert_match(insert: &mut CachedStatement<'_>, found: &NewMatch) -> Result<usize, rusqlite::Error> {
    let id = found.id.to_be_bytes();
    insert.execute((id, &found.cluster, found.time_us, found.until_us, &found.body))
}

/// True if so many inserted rows are a new one. None is an error, unless the row is known.
fn is_new(rows: usize, is_known: impl FnOnce() -> Result<bool, rusqlite::Error>) -> Result<bool, StoreError> {
    if rows == 0 && !is_known()? { Err(StoreError::NotKept) } else { Ok(rows > 0) }
}

/// Fails unless a row was written.
pub(super) fn stored(rows: usize) -> Result<(), StoreError> {
    if rows == 0 { Err(StoreError::NotKept) } else { Ok(()) }
}

/// Adds a count to a total, if it is not zero.
pub(super) fn add(connection: &Connection, statement: &str, count: usize) -> Result<(), StoreError> {
    if count > 0 {
        connection.prepare_cached(statement)?.execute([i64::try_from(count).unwrap_or(i64::MAX)])?;
    }
    Ok(())
}

fn write_quarantine(connection: &Connection, items: &[Quarantined], now_us: i64) -> Result<(), StoreError> {
    if items.is_empty() {
        return Ok(());
    }
    // A statement of its own for each outcome, because only a new item takes room.
    let mut seen_again =
        connection.prepare_cached("UPDATE quarantine SET seen = seen + 1, last_us = ?2 WHERE id = ?1")?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO quarantine (id, cluster, source, place, reason, bytes, first_us, last_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
    )?;
    let (mut kept, mut bytes_kept) = (0, 0);
    for item in items {
        let bytes = &item.bytes[..item.bytes.len().min(QUARANTINED_BYTES_MAX)];
        let texts = [&item.cluster, &item.source, &item.place, &item.reason].map(|text| shortened(text));
        let id = quarantine_id(&texts, bytes);
        if seen_again.execute((id, now_us))? == 0 {
            let [cluster, source, place, reason] = texts;
            stored(insert.execute((id, cluster, source, place, reason, bytes, now_us))?)?;
            kept += 1;
            bytes_kept += bytes.len();
        }
    }
    add(connection, "UPDATE store SET quarantined = quarantined + ?1", items.len())?;
    add(connection, "UPDATE store SET quarantined_kept = quarantined_kept + ?1", kept)?;
    add(connection, "UPDATE store SET quarantined_bytes = quarantined_bytes + ?1", bytes_kept)?;
    make_room_in_quarantine(connection)
}

/// Drops the oldest items while there are too many.
fn make_room_in_quarantine(connection: &Connection) -> Result<(), StoreError> {
    loop {
        let (kept, bytes): (i64, i64) = connection
            .prepare_cached("SELECT quarantined_kept, quarantined_bytes FROM store")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if kept <= QUARANTINE_MAX && bytes <= QUARANTINE_BYTES_MAX {
            return Ok(());
        }
        let mut delete = connection.prepare_cached(
            "DELETE FROM quarantine WHERE number = (SELECT min(number) FROM quarantine)
             RETURNING length(bytes)",
        )?;
        let Some(dropped) = delete.query_map([], |row| row.get::<_, i64>(0))?.next().transpose()? else {
            return Ok(());
        };
        connection
            .prepare_cached(
                "UPDATE store SET quarantined_kept = quarantined_kept - 1,
                                  quarantined_bytes = quarantined_bytes - ?1",
            )?
            .execute([dropped])?;
    }
}

/// The same for the same item.
fn quarantine_id(texts: &[&str; 4], bytes: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("masthead 2026-11-21 item in quarantine");
    for part in texts.iter().map(|text| text.as_bytes()).chain([bytes]) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut id = [0; 16];
    hasher.finalize_xof().fill(&mut id);
    id
}

fn shortened(text: &str) -> &str {
    let mut end = text.len().min(QUARANTINE_TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
