//! Texts, and parts of events, in which no secret was found of late: most come again byte for byte.
//!
//! **Invariant:** one is passed over only if it was looked at in the same way before and stayed as it was.
//! What was found to hold a secret is not kept; what is known as one from elsewhere is asked for before.

use std::cell::RefCell;

use super::NESTED_MAX;
use crate::recent::Recent;

thread_local! {
    /// The ways in which each was looked at, a bit each.
    static CLEAN: RefCell<Recent> = RefCell::default();
}

/// How many levels a text can be at, itself within none up to within [`NESTED_MAX`] others.
const LEVELS: usize = NESTED_MAX + 1;

/// In which way something is looked at: what is a secret to one may be none to another.
#[derive(Clone, Copy)]
pub(super) struct Look(u64);

impl Look {
    /// For what is a credential by its own shape.
    pub(super) const SHAPES: Self = Self(1);

    /// As the address of a request, so deep.
    pub(super) fn address(level: usize) -> Self {
        Self(2 << level.min(NESTED_MAX))
    }

    /// As any text of a request about Secrets, or about something else, so deep.
    pub(super) fn text(is_secret: bool, level: usize) -> Self {
        let way = 1 + usize::from(is_secret);
        Self(2 << (way * LEVELS + level.min(NESTED_MAX)))
    }

    /// As JSON that the API server writes about a request, of whose texts an identity shows more.
    pub(super) fn part(is_identity: bool, is_secret: bool) -> Self {
        let way = 2 * usize::from(is_identity) + usize::from(is_secret);
        Self(2 << (3 * LEVELS + way))
    }
}

/// What `redact` gives for a text or a part, which is asked only if that was not found clean in this way.
pub(super) fn unless_clean<T>(look: Look, part: &[u8], redact: impl FnOnce() -> Option<T>) -> Option<T> {
    let (place, looks) = CLEAN.with_borrow(|clean| {
        let place = clean.place(part);
        let kept = place.and_then(|place| clean.get(place, part));
        (place, kept.map_or(0, |kept| kept.class))
    });
    if looks & look.0 != 0 {
        return None;
    }
    let redacted = redact();
    if let (None, Some(place)) = (&redacted, place) {
        CLEAN.with_borrow_mut(|clean| {
            // Looking may have given the place to what is within the text.
            let looks = clean.get(place, part).map_or(0, |kept| kept.class);
            clean.keep(place, part, &[], looks | look.0);
        });
    }
    redacted
}
