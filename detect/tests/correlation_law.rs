//! Disorder does not matter, and what the correlator tells is what the obvious one tells that
//! keeps everything and recounts each window from scratch.

// The functions around the tests are tests as well.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod reference {
    pub(crate) mod cases;
    pub(crate) mod correlation;
}

use core::time::Duration;
use std::collections::BTreeSet;

use detect::Episode;
use detect::correlate::{Counts, DISORDER, Phase};
use proptest::prelude::*;
use reference::cases::{Case, Feeding, case, told, told_around_restart};
use reference::correlation::episodes;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        max_shrink_iters: 100_000,
        failure_persistence: None,
        max_global_rejects: 10 * cases,
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
        // Nor who observed it, and that it was stored in between.
        let mut arriving: Vec<_> = case.events.iter().collect();
        arriving.sort_by_key(|seen| seen.arrival());
        let stored = told(&case.rules, DISORDER, Feeding::Stored, arriving.into_iter());
        prop_assert_eq!(&stored, &in_order, "{:#?}", case);
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

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn a_restart_neither_loses_nor_repeats_an_episode(
        bytes in prop::collection::vec(any::<u8>(), 0..900),
        at in any::<prop::sample::Index>(),
    ) {
        let case = case(&bytes);
        // What such a correlation held for is known at the end of its windows alone.
        prop_assume!(!relates_windows(&case));
        let mut arriving: Vec<_> = case.events.iter().collect();
        arriving.sort_by_key(|seen| seen.arrival());
        let (all, _) = told(&case.rules, DISORDER, Feeding::Stored, arriving.iter().copied());
        let at = at.index(arriving.len() + 1);
        let [before, after] = told_around_restart(&case.rules, &arriving, at);
        let (before, after) = (begun(&before), begun(&after));
        let both: BTreeSet<u128> = before.union(&after).copied().collect();
        prop_assert_eq!(&both, &begun(&all), "restarted at {} of {:#?}", at, case);
        let windowed = |id: &&u128| !is_of_windows(&case, &all, **id);
        prop_assert_eq!(before.intersection(&after).find(windowed), None, "restarted at {} of {:#?}", at, case);
    }
}

/// The ids of what has begun.
fn begun(episodes: &[Episode]) -> BTreeSet<u128> {
    let begun = episodes.iter().filter(|episode| episode.phase == Phase::Begun);
    begun.map(|episode| episode.id).collect()
}

/// Whether a correlation is related by others that is judged at the end of its windows.
fn relates_windows(case: &Case) -> bool {
    let related: BTreeSet<&str> = case
        .rules
        .iter()
        .filter_map(|rule| rule.correlation())
        .flat_map(|correlation| &correlation.rules)
        .map(|rule| rule.text.as_str())
        .collect();
    case.rules.iter().any(|rule| {
        let is_windowed = rule.correlation().is_some_and(|correlation| !correlation.relation.is_monotone());
        is_windowed && related.contains(rule.id.as_str())
    })
}

/// Whether an episode is of a correlation that is judged at the end of its windows: there
/// it may be told again that it has begun.
fn is_of_windows(case: &Case, episodes: &[Episode], id: u128) -> bool {
    let episode = episodes.iter().find(|episode| episode.id == id);
    let rule = episode.and_then(|episode| case.rules[episode.rule].correlation());
    rule.is_some_and(|correlation| !correlation.relation.is_monotone())
}
