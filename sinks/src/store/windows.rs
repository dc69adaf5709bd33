//! What is read back after a restart: matches that windows may still want, and positions.

use std::collections::HashMap;

use rusqlite::{Connection, Row};

use super::{Store, StoreError, prune};
use crate::outbox::NewMatch;

/// The most matches of one page.
const PAGE_MATCHES_MAX: usize = 10_000;
/// About how many bytes of matches a page has; at least one match.
const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

impl Store {
    /// The clusters that have matches, by name.
    pub async fn clusters(&self) -> Result<Vec<String>, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT cluster FROM match_totals ORDER BY cluster")?;
            let clusters = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            Ok(clusters)
        })
        .await
    }

    /// A page of a cluster's matches whose `until_us` is past `wanted_at_us`, in order of time:
    /// those behind `after`, which is the last of the page before. Empty behind the last.
    pub async fn matches(
        &self,
        cluster: &str,
        wanted_at_us: i64,
        after: Option<&NewMatch>,
    ) -> Result<Vec<NewMatch>, StoreError> {
        let cluster = cluster.to_owned();
        let (time_us, id) =
            after.map_or((i64::MIN, Vec::new()), |last| (last.time_us, last.id.to_be_bytes().to_vec()));
        self.read(move |connection| page(connection, &cluster, wanted_at_us, time_us, &id)).await
    }

    /// Lets go of a cluster: of the position of this name, and of some of its matches. Gives whether
    /// some are left.
    pub async fn forget_cluster(&self, cluster: &str, position: &str) -> Result<bool, StoreError> {
        let (cluster, position) = (cluster.to_owned(), position.to_owned());
        self.commit(cluster.len(), move |connection| {
            connection.execute("DELETE FROM positions WHERE name = ?1", [&position])?;
            prune::drop_matches_of(connection, &cluster, i64::MAX)
        })
        .await
    }

    /// Lets go of some matches of a cluster whose `until_us` is before this: microseconds since 1970. Gives
    /// whether some may be left.
    pub async fn forget_matches(&self, cluster: &str, before_us: i64) -> Result<bool, StoreError> {
        let (cluster, last_us) = (cluster.to_owned(), before_us.saturating_sub(1));
        self.commit(cluster.len(), move |connection| prune::drop_matches_of(connection, &cluster, last_us))
            .await
    }

    /// How far sources were, by name.
    pub async fn positions(&self) -> Result<HashMap<String, Vec<u8>>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT name, value FROM positions")?;
            let positions =
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
            Ok(positions)
        })
        .await
    }
}

fn page(
    connection: &Connection,
    cluster: &str,
    wanted_at_us: i64,
    time_us: i64,
    id: &[u8],
) -> Result<Vec<NewMatch>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, cluster, time_us, until_us, body FROM matches
         WHERE cluster = ?1 AND (time_us, id) > (?2, ?3) AND until_us > ?4 ORDER BY time_us, id",
    )?;
    let mut rows = statement.query((cluster, time_us, id, wanted_at_us))?;
    let (mut matches, mut bytes) = (Vec::new(), 0);
    while matches.len() < PAGE_MATCHES_MAX
        && bytes < PAGE_BYTES_MAX
        && let Some(row) = rows.next()?
    {
        let found = one_match(row)?;
        bytes += found.body.len();
        matches.push(found);
    }
    Ok(matches)
}

fn one_match(row: &Row<'_>) -> Result<NewMatch, rusqlite::Error> {
    Ok(NewMatch {
        id: u128::from_be_bytes(row.get(0)?),
        cluster: row.get(1)?,
        time_us: row.get(2)?,
        until_us: row.get(3)?,
        body: row.get(4)?,
    })
}
