//! The correlator and the obvious one agree on every random set of correlations and stream of
//! matches that the bytes decide, and disorder of what arrives changes nothing.

#![no_main]

#[path = "../../tests/reference"]
mod reference {
    pub(crate) mod cases;
    pub(crate) mod correlation;
}

use core::time::Duration;

use detect::correlate::{Counts, DISORDER};
use reference::cases::{Feeding, case, told};
use reference::correlation::episodes;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let case = case(bytes);
    let in_order = told(&case.rules, Duration::ZERO, Feeding::Plain, case.events.iter());
    assert_eq!(in_order.1, Counts::default());
    let mut arriving: Vec<_> = case.events.iter().rev().collect();
    arriving.sort_by_key(|seen| seen.arrival());
    let disordered = told(&case.rules, DISORDER, Feeding::Plain, arriving.into_iter());
    assert_eq!(disordered, in_order, "{case:#?}");
    let mut found = in_order.0;
    let mut expected = episodes(&case.rules, &case.correlations, &case.events);
    for list in [&mut found, &mut expected] {
        list.sort_by_key(|episode| (episode.rule, episode.id, episode.request_count, episode.phase as u8));
    }
    assert_eq!(found, expected, "{case:#?}");
});
