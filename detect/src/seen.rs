//! Remembers which alerts were given, so that a request alerts once per rule however many
//! of its stages match.

use std::collections::HashSet;

use foldhash::fast::RandomState;

/// How many ids a [`Seen`] remembers at least: an exec is logged again when its session
/// ends, hours later. Two generations of 16-byte ids, about 64 MiB when full.
pub const SEEN_MAX: usize = 1 << 20;

/// The ids of the latest alerts: two generations, of which the older one is forgotten
/// when the younger is full.
#[derive(Debug)]
pub struct Seen {
    young: HashSet<u128, RandomState>,
    old: HashSet<u128, RandomState>,
    generation_max: usize,
    forgotten_count: u64,
}

impl Default for Seen {
    fn default() -> Self {
        Self::with_capacity(SEEN_MAX)
    }
}

impl Seen {
    /// Remembers at least the last `generation_max` ids.
    pub fn with_capacity(generation_max: usize) -> Self {
        Self { young: HashSet::default(), old: HashSet::default(), generation_max, forgotten_count: 0 }
    }

    /// Notes an id; true when it is new.
    pub fn insert(&mut self, id: u128) -> bool {
        if self.old.contains(&id) {
            return false;
        }
        if self.young.len() >= self.generation_max && !self.young.contains(&id) {
            self.forgotten_count += self.old.len() as u64;
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id)
    }

    /// How many ids were forgotten to bound memory: their requests could alert again.
    pub fn forgotten_count(&self) -> u64 {
        self.forgotten_count
    }
}

#[cfg(test)]
mod tests {
    use super::Seen;

    #[test]
    fn an_id_is_new_once() {
        let mut seen = Seen::default();
        assert!(seen.insert(7));
        assert!(!seen.insert(7));
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_is_counted() {
        let mut seen = Seen::with_capacity(10);
        (0..100).for_each(|id| assert!(seen.insert(id)));
        assert_eq!(seen.forgotten_count(), 80);
        assert!(!seen.insert(90), "the latest are remembered");
        assert!(seen.insert(3), "the oldest are not");
    }
}
