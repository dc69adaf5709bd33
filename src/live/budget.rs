//! The memory that the correlations of all clusters share.
//!
//! As with everything else, nobody may take more than is left for the others: a client that
//! makes up clusters takes no memory from those that are there, and each has some in any case.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ingest::webhook::Party;

/// How much memory correlations of all clusters take together, in bytes. A cluster in which much
/// is related takes some MiB.
pub(crate) const BUDGET_BYTES_MAX: usize = 1 << 30;
/// What a cluster may take whatever others take: a few hundred matches.
const FLOOR_BYTES: usize = 256 << 10;

/// The memory, and who has how much of it.
#[derive(Default)]
pub(crate) struct Budget {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used_bytes: usize,
    by_party: HashMap<Party, usize>,
}

/// What one cluster has of it; given back when dropped.
pub(crate) struct Held {
    budget: Arc<Budget>,
    pub(crate) party: Party,
    bytes: usize,
}

impl Budget {
    /// Nothing yet, for a cluster that `party` answers for.
    pub(crate) fn nothing(self: &Arc<Self>, party: &Party) -> Held {
        Held { budget: Arc::clone(self), party: party.clone(), bytes: 0 }
    }

    /// How much all clusters take, in bytes.
    pub(crate) fn used_bytes(&self) -> usize {
        self.lock().used_bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// How much more there is for this cluster, in bytes.
    pub(crate) fn left_bytes(&self) -> usize {
        let state = self.budget.lock();
        let free = BUDGET_BYTES_MAX.saturating_sub(state.used_bytes);
        let of_party = state.by_party.get(&self.party).copied().unwrap_or(0);
        // Half of the difference: then the party has as much as is left.
        let share = free.saturating_sub(of_party) / 2;
        share.max(FLOOR_BYTES.saturating_sub(self.bytes))
    }

    /// Nothing yet, for what takes the place of this one, which counts for nothing until it is set again.
    pub(crate) fn handed_over(&mut self) -> Self {
        self.set(0);
        self.budget.nothing(&self.party)
    }

    /// Notes how much it takes now, in bytes.
    pub(crate) fn set(&mut self, bytes: usize) {
        let mut state = self.budget.lock();
        state.used_bytes = (state.used_bytes + bytes).saturating_sub(self.bytes);
        let of_party = state.by_party.entry(self.party.clone()).or_default();
        *of_party = (*of_party + bytes).saturating_sub(self.bytes);
        if *of_party == 0 {
            state.by_party.remove(&self.party);
        }
        self.bytes = bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(name: &str) -> Party {
        Party::Cluster(name.into())
    }

    #[test]
    fn who_makes_up_clusters_leaves_half_of_the_memory() {
        let budget = Arc::new(Budget::default());
        let mut made_up: Vec<Held> = (0..1000).map(|_| budget.nothing(&party("greedy"))).collect();
        for held in &mut made_up {
            held.set(held.left_bytes().min(64 << 20));
        }
        let floors = made_up.len() * FLOOR_BYTES;
        assert!(budget.used_bytes() <= BUDGET_BYTES_MAX / 2 + floors, "{}", budget.used_bytes());
        let mut honest = budget.nothing(&party("honest"));
        honest.set(honest.left_bytes());
        assert!(honest.bytes > BUDGET_BYTES_MAX / 16, "{}", honest.bytes);
        drop((made_up, honest));
        assert_eq!(budget.used_bytes(), 0);
        assert!(budget.lock().by_party.is_empty());
    }

    #[test]
    fn everybody_has_something() {
        let budget = Arc::new(Budget::default());
        let mut all = budget.nothing(&party("all"));
        all.set(2 * BUDGET_BYTES_MAX);
        let mut other = budget.nothing(&party("other"));
        assert_eq!(other.left_bytes(), FLOOR_BYTES);
        other.set(FLOOR_BYTES);
        assert_eq!(other.left_bytes(), 0);
    }
}
