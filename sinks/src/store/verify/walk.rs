//! Walks over the alerts and hashes each together with the one before.

use rusqlite::{Connection, Row};

use super::notes::Heads;
use super::{Base, Finding, Verified};
use crate::store::chain::Link;
use crate::store::{Chain, StoreError};

/// Where the walk is.
struct Walk {
    /// The number that the next alert should have.
    expected: u64,
    /// What the next alert may be chained to: what the last row says, and what it should say
    /// if that differs. Nothing is known behind a gap.
    chains: Vec<Chain>,
    /// Changed alerts that have not been reported, because the next may belong to them.
    altered: Option<(u64, u64)>,
}

/// Looks at every alert; reports what does not fit.
pub(super) fn walk(
    connection: &Connection,
    base: &Base,
    heads: &mut Heads,
    verified: &mut Verified,
) -> Result<(), StoreError> {
    heads.begin(base.kept_after, base.kept_chain, verified);
    let mut walk = Walk { expected: base.kept_after + 1, chains: vec![base.kept_chain], altered: None };
    let mut statement =
        connection.prepare("SELECT number, id, stored_us, route, json, chain FROM alerts ORDER BY number")?;
    let mut rows = statement.query([])?;
    loop {
        match rows.next() {
            Ok(Some(row)) => {
                let number = row.get::<_, i64>(0)?;
                verified.alert_count += 1;
                match u64::try_from(number) {
                    Ok(number) if number > base.kept_after && number <= base.number => {
                        walk.step(number, row, verified);
                        heads.compare(number, &walk.chains, verified);
                        heads.look_for_checkpoint(number, row.get_ref(4)?.as_str().unwrap_or_default());
                    }
                    _ => verified.find(Finding::Inserted(number.cast_unsigned())),
                }
            }
            Ok(None) => break,
            Err(error) => {
                tracing::debug!(%error, "alerts cannot be read");
                walk.report(verified);
                verified.find(Finding::Unreadable { after: walk.expected - 1 });
                return Ok(());
            }
        }
    }
    walk.report(verified);
    walk.end(base, verified);
    Ok(())
}

impl Walk {
    fn step(&mut self, number: u64, row: &Row<'_>, verified: &mut Verified) {
        if number > self.expected {
            self.report(verified);
            verified.find(Finding::Missing(self.expected..=number - 1));
            self.chains.clear();
        }
        self.expected = number + 1;
        // An error is something of the wrong type: the store does not write that.
        let (stored, computed) = hashed(number, row, &self.chains).unwrap_or_default();
        let is_known = !self.chains.is_empty();
        let fits = stored.is_some_and(|stored| !is_known || computed.contains(&stored));
        if fits {
            self.chains = stored.into_iter().collect();
            self.report(verified);
        } else {
            // The last computed one follows from what was sound before.
            self.chains = stored.into_iter().chain(computed.last().copied()).collect();
            self.altered = Some((self.altered.map_or(number, |(first, _)| first), number));
        }
    }

    fn report(&mut self, verified: &mut Verified) {
        if let Some((first, last)) = self.altered.take() {
            verified.find(Finding::Altered(first..=last));
        }
    }

    /// Compares where the walk has ended with what the store says is its latest alert.
    fn end(self, base: &Base, verified: &mut Verified) {
        if self.expected <= base.number {
            verified.find(Finding::Missing(self.expected..=base.number));
        } else if !self.chains.is_empty() && !self.chains.contains(&base.chain) {
            verified.find(Finding::Head(base.number));
        }
    }
}

/// What a row says its chain is, and what it should be behind each of `chains`.
fn hashed(
    number: u64,
    row: &Row<'_>,
    chains: &[Chain],
) -> Result<(Option<Chain>, Vec<Chain>), rusqlite::Error> {
    let link = Link {
        number,
        id: row.get(1)?,
        stored_us: row.get(2)?,
        route: row.get_ref(3)?.as_str()?,
        json: row.get_ref(4)?.as_str()?,
    };
    let computed: Vec<Chain> = chains.iter().map(|chain| chain.with(&link)).collect();
    Ok((row.get(5).ok(), computed))
}
