//! The chain of alerts: each row is hashed together with the one before.
//!
//! **Invariant:** the hash covers everything a row says, each part with its length, and begins
//! with the store's own id, so that no two different histories have one head.

use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlResult, ToSqlOutput, ValueRef};

/// Keeps these hashes apart from all others.
const CONTEXT: &str = "masthead 2026-11-21 chain of alerts";
/// The same for the beginning of a chain.
const CONTEXT_OF_BEGINNING: &str = "masthead 2026-11-21 beginning of a chain of alerts";

/// The hash of an alert and of all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain(pub(super) [u8; 32]);

/// What of an alert is hashed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link<'a> {
    pub(super) number: u64,
    pub(super) id: [u8; 16],
    pub(super) stored_us: i64,
    pub(super) route: &'a str,
    pub(super) json: &'a str,
}

impl Chain {
    /// The chain of a store without alerts.
    pub(super) fn beginning(store_id: &str) -> Self {
        Self(blake3::derive_key(CONTEXT_OF_BEGINNING, store_id.as_bytes()))
    }

    /// The chain with one more alert.
    pub(super) fn with(&self, link: &Link<'_>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(&self.0);
        hasher.update(&link.number.to_le_bytes());
        hasher.update(&link.id);
        hasher.update(&link.stored_us.to_le_bytes());
        for text in [link.route, link.json] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        Self(*hasher.finalize().as_bytes())
    }
}

impl ToSql for Chain {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(&self.0)))
    }
}

impl FromSql for Chain {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        <[u8; 32]>::column_result(value).map(Self)
    }
}
