//! Counts connections by the address they come from.
//!
//! **Invariant:** an address is remembered only as long as it has a connection, so there are
//! never more of them than connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many connections each address has.
pub(super) struct Addresses {
    counts: Mutex<HashMap<IpAddr, usize>>,
    each_max: usize,
}

/// The connection of an address; counted until dropped.
pub(super) struct Counted {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    pub(super) fn new(each_max: usize) -> Self {
        Self { counts: Mutex::default(), each_max }
    }

    /// Counts one connection more, if there may be one.
    pub(super) fn count(self: &Arc<Self>, address: IpAddr) -> Option<Counted> {
        let address = address.to_canonical();
        let mut counts = self.lock();
        let count = counts.get(&address).copied().unwrap_or(0);
        if count >= self.each_max {
            return None;
        }
        counts.insert(address, count + 1);
        Some(Counted { addresses: Arc::clone(self), address })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.addresses.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_count_and_is_forgotten_with_its_last_connection() {
        let addresses = Arc::new(Addresses::new(2));
        let count = |address: &str| addresses.count(address.parse().unwrap());
        let held = [count("10.0.0.1"), count("::ffff:10.0.0.1"), count("10.0.0.2")];
        assert!(held.iter().all(Option::is_some));
        assert!(count("10.0.0.1").is_none());
        assert!(count("10.0.0.2").is_some());
        drop(held);
        assert!(addresses.lock().is_empty());
    }
}
