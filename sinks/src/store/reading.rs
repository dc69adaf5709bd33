//! Looks into a store without writing, whether a process is writing to it or not.

use std::collections::VecDeque;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::figures::{self, Figures};
use super::folder::Folder;
use super::note::Signer;
use super::{SignedNote, StoreError, VerificationKey, foreign, outgoing, schema};
use crate::outbox::{DeadLetter, Outgoing, Quarantined};

/// Alerts that are read at once.
const PAGE_ALERTS: usize = 500;
/// About as many bytes of alerts are read at once.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// No number is higher.
pub(super) const ALL: u64 = i64::MAX.cast_unsigned();

/// A store that is only looked at.
pub struct Reading {
    folder: Folder,
    pub(super) connection: Connection,
}

/// Which alerts are wanted; an empty list wants all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Those with a higher number.
    pub after: u64,
    /// Those of these levels.
    pub levels: Vec<String>,
    /// Those of rules with these ids.
    pub rules: Vec<String>,
    /// Those of these clusters.
    pub clusters: Vec<String>,
}

/// An item in quarantine.
#[derive(Clone, Debug)]
pub struct QuarantinedItem {
    /// Its place among all items: to read on from.
    pub number: u64,
    /// What it is.
    pub item: Quarantined,
    /// When it came first: microseconds since 1970.
    pub first_us: i64,
    /// When it came last: microseconds since 1970.
    pub last_us: i64,
    /// How often it came.
    pub seen: u64,
}

/// An alert that a sink refused for good, and which it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// By whom, and why.
    pub letter: DeadLetter,
    /// When: microseconds since 1970.
    pub died_us: i64,
    /// The alert, unless it is kept no more.
    pub alert: Option<Outgoing>,
}

impl Filter {
    fn wants(&self, alert: &Outgoing) -> bool {
        let is_in = |wanted: &[String], value: &String| wanted.is_empty() || wanted.contains(value);
        is_in(&self.levels, &alert.route.level)
            && is_in(&self.rules, &alert.route.rule)
            && is_in(&self.clusters, &alert.route.cluster)
    }
}

impl Reading {
    /// Opens the store of a state folder for reading.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let folder = Folder::new(folder);
        let path = folder.database();
        if !path.try_exists().map_err(|error| StoreError::file(&path, error))? {
            return Err(StoreError::Absent { folder: folder.path().to_owned() });
        }
        foreign::refuse(&folder)?;
        let connection = schema::open_for_reading(&folder.database())?;
        match schema::check_version(&connection)? {
            0 => Err(StoreError::Absent { folder: folder.path().to_owned() }),
            _ => Ok(Self { folder, connection }),
        }
    }

    /// The alerts that are wanted, oldest first, with those that are stored meanwhile.
    pub fn alerts(&self, filter: Filter) -> Alerts<'_> {
        Alerts { connection: &self.connection, after: filter.after, filter, page: VecDeque::new() }
    }

    /// At most `count_max` alerts whose id begins with these hexadecimal digits.
    pub fn by_id(&self, prefix: &str, count_max: usize) -> Result<Vec<Outgoing>, StoreError> {
        let bound = |digit: &str| {
            let padded = format!("{}{}", prefix, digit.repeat(32_usize.saturating_sub(prefix.len())));
            u128::from_str_radix(&padded, 16).ok().map(u128::to_be_bytes)
        };
        let is_prefix = prefix.len() <= 32 && prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (true, Some(from), Some(to)) = (is_prefix, bound("0"), bound("f")) else { return Ok(Vec::new()) };
        let mut statement = self.connection.prepare_cached(
            "SELECT number, id, route, json FROM alerts WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
        )?;
        let alerts = statement.query_map((from, to), outgoing::outgoing)?;
        Ok(alerts.take(count_max).collect::<Result<_, _>>()?)
    }

    /// The dead letters of a sink behind the one with the number `after`: at most `count_max`, as many as fit into
    /// some MiB, and at least one.
    pub fn dead_letters(&self, sink: &str, after: u64, count_max: usize) -> Result<Vec<Refused>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT letter.number, coalesce(alert.id, letter.id), coalesce(alert.route, letter.route),
                    coalesce(alert.json, letter.json), letter.sink, letter.reason, letter.died_us
             FROM dead_letters AS letter LEFT JOIN alerts AS alert ON alert.number = letter.number
             WHERE letter.sink = ?1 AND letter.number > ?2 ORDER BY letter.number",
        )?;
        outgoing::page(statement.query((sink, after.cast_signed()))?, count_max, PAGE_BYTES, refused)
    }

    /// At most `count_max` items in quarantine behind the one with the number `after`.
    pub fn quarantine(&self, after: u64, count_max: usize) -> Result<Vec<QuarantinedItem>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT number, cluster, source, place, reason, bytes, first_us, last_us, seen
             FROM quarantine WHERE number > ?1 ORDER BY number",
        )?;
        let items = statement.query_map([after.cast_signed()], quarantined)?;
        Ok(items.take(count_max).collect::<Result<_, _>>()?)
    }

    /// The checkpoints, oldest first.
    pub fn checkpoints(&self) -> Result<Vec<SignedNote>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT note FROM checkpoints ORDER BY number")?;
        let mut rows = statement.query([])?;
        let mut notes = Vec::new();
        while let Some(row) = rows.next()? {
            notes.push(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?.parse()?);
        }
        Ok(notes)
    }

    /// Counts what there is, and where each sink is.
    pub fn figures(&self) -> Result<Figures, StoreError> {
        figures::figures(&self.connection)
    }

    /// What the store's checkpoints are checked with, made from the signing key beside it.
    pub fn verification_key(&self) -> Result<VerificationKey, StoreError> {
        let name = format!("masthead/{}", schema::store_id(&self.connection)?);
        Ok(Signer::new(name, &self.folder.existing_secret()?).public().clone())
    }
}

fn refused(row: &Row<'_>) -> Result<Refused, rusqlite::Error> {
    let number = row.get::<_, i64>(0)?.cast_unsigned();
    let is_kept = row.get_ref(3)? != ValueRef::Null;
    Ok(Refused {
        letter: DeadLetter { sink: row.get(4)?, number, reason: row.get(5)? },
        died_us: row.get(6)?,
        alert: is_kept.then(|| outgoing::outgoing(row)).transpose()?,
    })
}

fn quarantined(row: &Row<'_>) -> Result<QuarantinedItem, rusqlite::Error> {
    let item = Quarantined {
        cluster: row.get(1)?,
        source: row.get(2)?,
        place: row.get(3)?,
        reason: row.get(4)?,
        bytes: row.get(5)?,
    };
    Ok(QuarantinedItem {
        number: row.get::<_, i64>(0)?.cast_unsigned(),
        item,
        first_us: row.get(6)?,
        last_us: row.get(7)?,
        seen: row.get::<_, i64>(8)?.cast_unsigned(),
    })
}

/// Alerts of a store, a page at a time: whoever reads slowly does not hold up who writes.
pub struct Alerts<'a> {
    connection: &'a Connection,
    filter: Filter,
    after: u64,
    page: VecDeque<Outgoing>,
}

impl Iterator for Alerts<'_> {
    type Item = Result<Outgoing, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(alert) = self.page.pop_front() {
                return Some(Ok(alert));
            }
            match outgoing::pending(self.connection, self.after, ALL, PAGE_ALERTS, PAGE_BYTES) {
                Err(error) => return Some(Err(error)),
                Ok(page) => {
                    self.after = page.last()?.number;
                    self.page.extend(page.into_iter().filter(|alert| self.filter.wants(alert)));
                }
            }
        }
    }
}
