//! Parts of events that came of late, and what was made of them: most come again byte for byte.
//!
//! Each has one place, by a hash that nobody can foresee, and gives it up to the next one there: what
//! never comes again costs a copy, and no memory beyond that of the places.
//!
//! **Invariant:** what is found was made of equal bytes.

use core::hash::BuildHasher;

use foldhash::fast::RandomState;

/// How many parts are remembered, a power of two: the nodes and service accounts of a cluster that are busy.
const PLACES: usize = 1 << 10;

/// How long a part may be to be remembered, in bytes: those of real clients take a few hundred.
const PART_BYTES_MAX: usize = 1 << 10;

/// The parts of one kind.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// Empty before the first is kept.
    places: Vec<Option<Kept>>,
    hasher: RandomState,
}

/// What was made of a part.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    part: Vec<u8>,
    /// What is written of it in a context.
    pub(crate) written: Vec<u8>,
    /// The number of its class.
    pub(crate) class: u64,
}

/// Where a part is kept.
#[derive(Clone, Copy)]
pub(crate) struct Place(usize);

impl Recent {
    /// The place of a part; nothing if it is too long for any.
    pub(crate) fn place(&self, part: &[u8]) -> Option<Place> {
        if part.len() > PART_BYTES_MAX {
            return None;
        }
        let [low, high, ..] = self.hasher.hash_one(part).to_le_bytes();
        Some(Place(usize::from(u16::from_le_bytes([low, high])) % PLACES))
    }

    /// What was made of a part, if it is the one that is kept in its place.
    pub(crate) fn get(&self, place: Place, part: &[u8]) -> Option<&Kept> {
        self.places.get(place.0)?.as_ref().filter(|kept| kept.part == part)
    }

    /// Keeps what was made of a part.
    pub(crate) fn keep(&mut self, place: Place, part: &[u8], written: &[u8], class: u64) {
        if self.places.is_empty() {
            self.places.resize_with(PLACES, || None);
        }
        let kept = self.places[place.0].get_or_insert_default();
        replace(&mut kept.part, part);
        replace(&mut kept.written, written);
        kept.class = class;
    }
}

/// Puts these bytes in the room of others, and takes no more than they need.
fn replace(kept: &mut Vec<u8>, bytes: &[u8]) {
    kept.clear();
    kept.reserve_exact(bytes.len());
    kept.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_was_made_of_equal_bytes_and_memory_is_bounded() {
        let mut recent = Recent::default();
        let part = |number: u64| [&[b'x'; 200][..], &number.to_le_bytes()].concat();
        let numbers = 0..10 * PLACES as u64;
        for number in numbers.clone() {
            let part = part(number);
            let place = recent.place(&part).unwrap();
            assert!(recent.get(place, &part).is_none(), "{number} is new");
            recent.keep(place, &part, &number.to_le_bytes(), number);
        }
        let of = |number| recent.get(recent.place(&part(number)).unwrap(), &part(number));
        let found: Vec<_> = numbers.filter_map(|number| of(number).map(|kept| (number, kept))).collect();
        assert_eq!(found.len(), recent.places.iter().flatten().count());
        assert!(found.len() > PLACES / 2 && found.len() <= PLACES);
        for (number, kept) in found {
            assert_eq!((kept.class, &kept.written[..]), (number, &number.to_le_bytes()[..]));
            assert!(kept.part.capacity() == 208 && kept.written.capacity() <= 8);
        }
    }

    #[test]
    fn what_is_long_has_no_place() {
        let recent = Recent::default();
        assert!(recent.place(&[b'x'; PART_BYTES_MAX]).is_some());
        assert!(recent.place(&[b'x'; PART_BYTES_MAX + 1]).is_none());
    }
}
