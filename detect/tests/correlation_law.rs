//! Disorder does not matter, and what the correlator tells is what the obvious one tells that
//! keeps everything and recounts each window from scratch.

// The functions around the tests are tests as well.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod reference {
    pub(crate) mod cases;
    pub(crate) mod correlation;
}

use core::time::Duration;

use detect::correlate::{Counts, DISORDER};
use proptest::prelude::*;
use reference::cases::{Feeding, case, told};
use reference::correlation::episodes;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        max_shrink_iters: 100_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn what_arrives_five_minutes_late_tells_the_same(bytes in prop::collection::vec(any::<u8>(), 0..900)) {
        let case = case(&bytes);
        let in_order = told(&case.rules, DISORDER, Feeding::Plain, case.events.iter());
        let mut arriving: Vec<_> = case.events.iter().rev().collect();
        arriving.sort_by_key(|seen| seen.arrival());
        let disordered = told(&case.rules, DISORDER, Feeding::Plain, arriving.into_iter());
        prop_assert_eq!(&disordered, &in_order, "{:#?}", case);
        // Nor does it matter how soon what is in order is believed to be.
        let at_once = told(&case.rules, Duration::ZERO, Feeding::WithClock, case.events.iter());
        prop_assert_eq!(&at_once, &in_order, "{:#?}", case);
        prop_assert_eq!(in_order.1, Counts::default());
    }
}

proptest! {
    #![proptest_config(config(4000))]

    #[test]
    fn the_correlator_agrees_with_the_reference(bytes in prop::collection::vec(any::<u8>(), 0..900)) {
        let case = case(&bytes);
        let (mut found, _) = told(&case.rules, Duration::ZERO, Feeding::Plain, case.events.iter());
        let mut expected = episodes(&case.rules, &case.correlations, &case.events);
        for list in [&mut found, &mut expected] {
            list.sort_by_key(|episode| (episode.rule, episode.id, episode.request_count, episode.phase as u8));
        }
        let differs = |at: &usize| found.get(*at) != expected.get(*at);
        if let Some(at) = (0..found.len().max(expected.len())).find(differs) {
            prop_assert_eq!(found.get(at), expected.get(at), "{:#?}", case);
        }
    }
}
