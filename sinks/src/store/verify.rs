//! Finds what was changed in a store behind the program's back.
//!
//! Every alert is hashed again together with the one before, and signed heads are compared
//! with what comes out. [`verify()`] says what that proves and what it does not.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::path::Path;

use rusqlite::Connection;

use super::checkpoint::{Kind, Statement};
use super::{Chain, NoteError, Reading, SignedNote, StoreError, VerificationKey, schema};

mod notes;
mod walk;

use notes::Heads;

/// The most findings that are listed; the others are counted.
const FINDINGS_MAX: usize = 1_000;

/// What is wrong with a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// What alerts say, or their places, have changed. If a hash was made to fit as well, the
    /// first alert that does not fit is the one behind.
    #[error("{} changed after it was stored", alerts(.0))]
    Altered(RangeInclusive<u64>),
    /// Alerts are gone.
    #[error("{} missing", alerts(.0))]
    Missing(RangeInclusive<u64>),
    /// There is an alert where the store has never put one.
    #[error("alert {0} was inserted")]
    Inserted(u64),
    /// The alerts behind this one cannot be read.
    #[error("what is stored behind alert {after} cannot be read")]
    Unreadable {
        /// The last that could be.
        after: u64,
    },
    /// The database has other tables than it was given, or something that acts on them.
    #[error("the tables, indexes and triggers are not those that masthead makes")]
    Schema,
    /// The store's own note of its latest alert does not fit the alerts.
    #[error("the store's note of its latest alert, {0}, does not fit the alerts")]
    Head(u64),
    /// A sink is said to have passed more alerts than there are.
    #[error(
        "the cursor of a sink is at alert {cursor}, and the latest is {latest}: it gets none of those between"
    )]
    Ahead {
        /// The last alert that the sink is said to be done with.
        cursor: u64,
        /// The number of the latest alert.
        latest: u64,
    },
    /// What says where the kept alerts begin is absent or not signed.
    #[error("nothing signed says that alerts before {0} were pruned")]
    Beginning(u64),
    /// Alerts that fit each other, and not what was signed.
    #[error("{} not those that {} was signed over", alerts(.range), checkpoint)]
    Rewritten {
        /// Some of these were changed, inserted or removed.
        range: RangeInclusive<u64>,
        /// What they contradict.
        checkpoint: Checked,
    },
    /// A checkpoint counts more alerts than there are.
    #[error("{checkpoint} was signed when there were {alert_number} alerts: the latest are missing")]
    Truncated {
        /// Which.
        checkpoint: Checked,
        /// The number of the latest alert then.
        alert_number: u64,
    },
    /// A checkpoint cannot be believed.
    #[error("{checkpoint} cannot be believed: {reason}")]
    Unbelievable {
        /// Which.
        checkpoint: Checked,
        /// Why.
        reason: NoteError,
    },
    /// Checkpoints are gone.
    #[error("checkpoints {} to {} are missing", .0.start(), .0.end())]
    CheckpointsMissing(RangeInclusive<u64>),
}

fn alerts(range: &RangeInclusive<u64>) -> String {
    let (start, end) = (range.start(), range.end());
    if start == end { format!("alert {start} is") } else { format!("alerts {start} to {end} are") }
}

/// A checkpoint among those that were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The store's own, by number.
    Own(u64),
    /// One that was kept elsewhere: its place among those given, from 0.
    Given(usize),
}

impl Display for Checked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(number) => write!(formatter, "checkpoint {number}"),
            Self::Given(index) => write!(formatter, "checkpoint {} of those given", index + 1),
        }
    }
}

/// What was not proven, although nothing was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unproven {
    /// No checkpoint has been signed since these alerts.
    #[error("{} not under a checkpoint yet: whoever can write to the store can change them unseen", alerts(.0))]
    Tail(RangeInclusive<u64>),
    /// No checkpoint from elsewhere was looked at.
    #[error(
        "no checkpoint that was kept elsewhere was compared: whoever has the signing key can write another \
         history, and whoever can write to the store can cut off the latest alerts together with their checkpoints"
    )]
    NoCopies,
    /// A checkpoint from elsewhere is about alerts that were pruned.
    #[error("{0} is about alerts that were pruned since")]
    Pruned(Checked),
    /// What the chain does not cover.
    #[error("matches, quarantine, cursors and dead letters are not chained")]
    NotChained,
}

/// What verifying has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// `masthead/` and the id of the store.
    pub store: String,
    /// How many alerts were looked at.
    pub alert_count: u64,
    /// The number of the first alert that should be there: those before were pruned.
    pub from: u64,
    /// The number of the latest alert; less than `from` if none is kept.
    pub to: u64,
    /// How many checkpoints have a good signature and fit, or are about alerts that are pruned.
    pub checkpoint_count: usize,
    /// The number of the latest alert that a fitting checkpoint covers, and when it was signed.
    pub last_checkpoint: Option<(u64, String)>,
    /// What is wrong, at most some thousand.
    pub findings: Vec<Finding>,
    /// How many things are wrong.
    pub finding_count: usize,
    /// What was not proven even if nothing is wrong.
    pub unproven: Vec<Unproven>,
}

impl Verified {
    /// True if nothing was found.
    pub fn is_sound(&self) -> bool {
        self.finding_count == 0
    }

    fn find(&mut self, finding: Finding) {
        self.finding_count += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

/// Looks for changes in the store of a folder, as of one moment, also while it is written to.
///
/// `key` is the key that checkpoints must be signed with, kept elsewhere; without it the one
/// beside the store is believed. `given` are checkpoints that were kept elsewhere.
///
/// Without `given` this proves only that nobody *without the signing key* has changed, removed,
/// inserted or reordered an alert that a checkpoint covers. Whoever has read `signing.key` can
/// write a whole new history and sign it, and whoever can write to the store can take it back
/// to an earlier state, checkpoints and all. Both contradict checkpoints that were sent
/// elsewhere before, and nothing else.
pub fn verify(
    folder: &Path,
    key: Option<&VerificationKey>,
    given: &[SignedNote],
) -> Result<Verified, StoreError> {
    let reading = Reading::open(folder)?;
    // Everything is read as of one moment.
    let transaction = reading.connection.unchecked_transaction()?;
    let own_key = match key {
        Some(key) => key.clone(),
        None => reading.verification_key()?,
    };
    let is_as_migrated = schema::is_as_migrated(&transaction)?;
    let base = Base::read(&transaction)?;
    let mut verified = Verified {
        store: base.origin.clone(),
        alert_count: 0,
        from: base.kept_after + 1,
        to: base.number,
        checkpoint_count: 0,
        last_checkpoint: None,
        findings: Vec::new(),
        finding_count: 0,
        unproven: Vec::new(),
    };
    if !is_as_migrated {
        verified.find(Finding::Schema);
    }
    if !base.is_signed(&own_key) {
        verified.find(Finding::Beginning(verified.from));
    }
    find_cursors_ahead(&transaction, &mut verified)?;
    let mut heads = Heads::read(&transaction, &base.origin, &own_key, given, &mut verified)?;
    walk::walk(&transaction, &base, &mut heads, &mut verified)?;
    heads.finish(&mut verified, given.is_empty());
    verified.unproven.push(Unproven::NotChained);
    Ok(verified)
}

/// Numbers that were given to sinks must not be given again.
fn find_cursors_ahead(connection: &Connection, verified: &mut Verified) -> Result<(), StoreError> {
    let latest = verified.to;
    let mut select = connection.prepare("SELECT number FROM cursors WHERE number > ?1 ORDER BY sink")?;
    let cursors = select.query_map([latest.cast_signed()], |row| row.get::<_, i64>(0))?;
    for cursor in cursors {
        verified.find(Finding::Ahead { cursor: cursor?.cast_unsigned(), latest });
    }
    Ok(())
}

/// What the store says of itself.
struct Base {
    origin: String,
    number: u64,
    chain: Chain,
    kept_after: u64,
    kept_chain: Chain,
    kept_note: Option<String>,
}

impl Base {
    fn read(connection: &Connection) -> Result<Self, StoreError> {
        let statement = "SELECT id, number, chain, kept_after, kept_chain, kept_note FROM store";
        Ok(connection.query_row(statement, [], |row| {
            Ok(Self {
                origin: format!("masthead/{}", row.get::<_, String>(0)?),
                number: row.get::<_, i64>(1)?.cast_unsigned(),
                chain: row.get(2)?,
                kept_after: row.get::<_, i64>(3)?.cast_unsigned(),
                kept_chain: row.get(4)?,
                kept_note: row.get(5)?,
            })
        })?)
    }

    /// True if the alerts begin at the very beginning, or where a signed note says.
    fn is_signed(&self, key: &VerificationKey) -> bool {
        if self.kept_after == 0 {
            let id = self.origin.trim_start_matches("masthead/");
            return self.kept_chain == Chain::beginning(id);
        }
        let note: Option<SignedNote> = self.kept_note.as_ref().and_then(|note| note.parse().ok());
        let statement =
            note.filter(|note| note.verify(key).is_ok()).and_then(|note| note.text().parse().ok());
        statement.is_some_and(|statement: Statement| {
            statement.origin == self.origin
                && statement.kind == Kind::KeptFrom(self.kept_after + 1)
                && (statement.alert_number, statement.chain) == (self.kept_after, self.kept_chain)
        })
    }
}
