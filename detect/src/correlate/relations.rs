//! What correlations want of matches: what any thread can work out, whatever the others do.

use core::time::Duration;
use std::collections::HashMap;
use std::sync::Arc;

use super::observation::{self, Shown};
use super::observed::{Observed, Role};
use super::plan::{self, Feed, Plan};
use crate::alert;
use crate::field::View;
use crate::sigma::Rule;

/// The correlations among some rules, made ready. Clones share them.
#[derive(Clone, Debug)]
pub struct Relations {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    plans: Vec<Plan>,
    /// By rule: the roles that it plays.
    feeds: Vec<Vec<Feed>>,
    /// By the name of a role: the rule that plays it, and its place among those of the rule.
    places: HashMap<u128, (usize, usize)>,
}

impl Relations {
    /// Correlations among `rules`, which have been linked.
    pub fn new(rules: &[Rule]) -> Self {
        let (plans, feeds) = plan::plans(rules);
        let mut places = HashMap::new();
        for (rule, feeds) in feeds.iter().enumerate() {
            places.extend(feeds.iter().enumerate().map(|(at, feed)| (feed.name, (rule, at))));
        }
        Self { shared: Arc::new(Shared { plans, feeds, places }) }
    }

    /// Whether any correlation wants the matches of this rule.
    pub fn wants(&self, rule: usize) -> bool {
        !self.feeds(rule).is_empty()
    }

    /// For how long after it happened a match may be wanted at most: by a window, or as it may come out of
    /// order.
    pub fn wanted_for(&self) -> Duration {
        let wanted_for = self.shared.plans.iter().map(|plan| plan.wanted_for).max().unwrap_or(0);
        Duration::from_micros(u64::try_from(wanted_for).unwrap_or(0)).saturating_add(super::DISORDER)
    }

    /// What correlations want of an event of a cluster that a rule matches; nothing if none
    /// wants the matches of the rule.
    pub fn observed(&self, rule: usize, view: View<'_>, cluster: &str) -> Option<Observed> {
        if !self.wants(rule) {
            return None;
        }
        let time = alert::time_of(view.event).map(|time| time.timestamp_micros());
        let request = observation::request_of(cluster, view.event);
        let mut observed = Observed::new(self.clone(), time, request);
        if time.is_some() {
            for feed in self.feeds(rule) {
                let shown = observation::shown_of(feed, |(_, field)| observation::texts_of(field, view));
                match shown {
                    Shown::Groups { groups, amount, is_cut } => {
                        observed.add(Role::new(feed, groups, amount), is_cut);
                    }
                    Shown::Hidden => observed.hide(),
                    Shown::Nothing => {}
                }
            }
        }
        Some(observed)
    }

    /// Whether these are the very same, not just alike.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    pub(super) fn plans(&self) -> &[Plan] {
        &self.shared.plans
    }

    /// The correlation of a number that these relations gave.
    pub(super) fn plan(&self, number: usize) -> &Plan {
        // Invariant: numbers of plans are given by these relations, and plans stay.
        &self.shared.plans[number]
    }

    /// The roles that a rule plays.
    pub(super) fn feeds(&self, rule: usize) -> &[Feed] {
        self.shared.feeds.get(rule).map_or(&[], Vec::as_slice)
    }

    /// The role of a name, if a rule still plays it.
    pub(super) fn feed(&self, name: u128) -> Option<&Feed> {
        let (rule, at) = self.shared.places.get(&name)?;
        self.feeds(*rule).get(*at)
    }
}
