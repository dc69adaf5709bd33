//! How much memory collections take, so that what is bounded is what is really taken.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use foldhash::fast::RandomState;

/// What a node of a tree holds at most, and a little less than on average when it grew at
/// one end and shrank at the other.
const NODE_ENTRIES: usize = 11;
const NODE_ENTRIES_USED: usize = 5;
/// Fewer buckets are not worth giving back.
const BUCKETS_MIN: usize = 64;

/// A map that knows the memory it takes, and gives it back.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    entries: HashMap<K, V, RandomState>,
    /// The most it could hold since memory was last given back: a map tells less when
    /// removed entries left gaps.
    capacity: usize,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::default(), capacity: 0 }
    }
}

impl<K: Eq + Hash, V> Table<K, V> {
    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key)
    }

    pub(super) fn get_mut<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.entries.get_mut(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        self.entries.insert(key, value);
        self.capacity = self.capacity.max(self.entries.capacity());
    }

    pub(super) fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let removed = self.entries.remove(key);
        if self.capacity > BUCKETS_MIN && self.entries.len() < self.capacity / 8 {
            self.entries.shrink_to(self.entries.len() * 2);
            self.capacity = self.entries.capacity();
        }
        removed
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entries, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter()
    }

    /// The values, in no order.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values()
    }

    /// The memory it takes, without what its entries point to.
    pub(super) fn bytes(&self) -> usize {
        // An eighth of the buckets stays empty, and each has a byte of its own.
        let buckets = match self.capacity {
            0 => return 0,
            capacity => (capacity * 8 / 7).next_power_of_two(),
        };
        buckets * (size_of::<(K, V)>() + 1) + 16
    }
}

/// Roughly the memory of a tree of so many entries.
pub(super) fn tree_bytes<K, V>(count: usize) -> usize {
    let node = NODE_ENTRIES * size_of::<(K, V)>() + 16;
    if count <= NODE_ENTRIES {
        return if count == 0 { 0 } else { node };
    }
    // A node above others also points to them.
    let above = node + (NODE_ENTRIES + 1) * size_of::<usize>();
    let leaves = count.div_ceil(NODE_ENTRIES_USED + 1);
    leaves * node + leaves.div_ceil(NODE_ENTRIES_USED) * above
}
