//! How much was read and what became of it.

use std::collections::BTreeMap;
use std::ops::AddAssign;

/// Totals of one input, or of many added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes taken from the file, as they are stored.
    pub stored_bytes: u64,
    /// Bytes after decompression.
    pub decoded_bytes: u64,
    /// Audit events found.
    pub events: u64,
    /// How many of them were taken out of what shippers and clouds wrap around them.
    pub unwrapped: u64,
    /// Records of clouds that say themselves that they are of other logs; no items of this one.
    pub skipped: u64,
    /// Malformed items by [`crate::MalformedKind::name`].
    pub malformed: BTreeMap<&'static str, u64>,
}

impl Counts {
    /// Malformed items of every kind.
    pub fn malformed_total(&self) -> u64 {
        self.malformed.values().sum()
    }
}

impl AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, other: &Counts) {
        self.stored_bytes += other.stored_bytes;
        self.decoded_bytes += other.decoded_bytes;
        self.events += other.events;
        self.unwrapped += other.unwrapped;
        self.skipped += other.skipped;
        for (name, count) in &other.malformed {
            *self.malformed.entry(name).or_default() += count;
        }
    }
}
