//! What a store signs: how many alerts there were at a time, and the chain up to the latest.
//!
//! The text has the form of a C2SP checkpoint, with two lines more: the time, and either the
//! number of the checkpoint or where the alerts begin that are kept. The hash is the head of
//! a chain, not of a Merkle tree: a reader has to walk the alerts to come to it.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::Connection;

use super::note::Signer;
use super::{Chain, NoteError, SignedNote, Store, StoreError, clock, entry};

/// What a signed note of a store says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// `masthead/` and the id of the store.
    pub(super) origin: String,
    /// The number of the latest alert.
    pub(super) alert_number: u64,
    /// The chain up to it.
    pub(super) chain: Chain,
    /// When it was signed, by the clock of the machine.
    pub(super) time: String,
    pub(super) kind: Kind,
}

/// Why it was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The hour had passed: the checkpoint with this number.
    Checkpoint(u64),
    /// What came before the alert with this number was pruned.
    KeptFrom(u64),
}

impl Statement {
    /// As the text of a note.
    pub(super) fn text(&self) -> String {
        let Self { origin, alert_number, chain, time, kind } = self;
        let (word, number) = match kind {
            Kind::Checkpoint(number) => ("checkpoint", number),
            Kind::KeptFrom(number) => ("kept-from", number),
        };
        format!("{origin}\n{alert_number}\n{}\ntime {time}\n{word} {number}\n", STANDARD.encode(chain.0))
    }
}

impl FromStr for Statement {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        parse(text).filter(|statement| statement.text() == text).ok_or(NoteError::Checkpoint)
    }
}

fn parse(text: &str) -> Option<Statement> {
    let mut lines = text.lines();
    let origin = lines.next()?.to_owned();
    let alert_number = lines.next()?.parse().ok()?;
    let chain = Chain(STANDARD.decode(lines.next()?).ok()?.try_into().ok()?);
    let time = lines.next()?.strip_prefix("time ")?.to_owned();
    let (word, number) = lines.next()?.split_once(' ')?;
    let number = number.parse().ok()?;
    let kind = match word {
        "checkpoint" => Kind::Checkpoint(number),
        "kept-from" => Kind::KeptFrom(number),
        _ => return None,
    };
    Some(Statement { origin, alert_number, chain, time, kind })
}

impl Store {
    /// Signs how many alerts there are and the chain up to the latest, and keeps that, also
    /// if nothing has happened since. `now_us` is the time: microseconds since 1970.
    ///
    /// Only a copy that is kept elsewhere shows that whoever has the signing key, or the whole
    /// state folder, has not written another history.
    pub async fn checkpoint(&self, now_us: i64) -> Result<SignedNote, StoreError> {
        /// A note has a few hundred bytes.
        const NOTE_BYTES: usize = 500;
        let signer = std::sync::Arc::clone(&self.inner.signer);
        self.commit(NOTE_BYTES, move |connection| checkpoint(connection, &signer, now_us)).await
    }
}

fn checkpoint(connection: &Connection, signer: &Signer, now_us: i64) -> Result<SignedNote, StoreError> {
    let last: i64 = connection
        .prepare_cached("SELECT coalesce(max(number), 0) FROM checkpoints")?
        .query_row([], |row| row.get(0))?;
    let number = last + 1;
    let (alert_number, chain) = entry::head(connection)?;
    let note = sign(signer, alert_number, chain, now_us, Kind::Checkpoint(number.cast_unsigned()));
    let mut insert = connection.prepare_cached(
        "INSERT INTO checkpoints (number, alert_number, time_us, note) VALUES (?1, ?2, ?3, ?4)",
    )?;
    entry::stored(insert.execute((number, alert_number.cast_signed(), now_us, note.to_string()))?)?;
    Ok(note)
}

/// Signs a statement about a store with the key of that name.
pub(super) fn sign(signer: &Signer, alert_number: u64, chain: Chain, now_us: i64, kind: Kind) -> SignedNote {
    let origin = signer.public().name().to_owned();
    signer.sign(Statement { origin, alert_number, chain, time: clock::rfc3339(now_us), kind }.text())
}
