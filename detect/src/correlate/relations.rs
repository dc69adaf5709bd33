//! What correlations want of matches: what any thread can work out, whatever the others do.

use core::time::Duration;
use std::collections::HashMap;
use std::sync::Arc;

use super::observation::{self, Grouped, Request, Shown, Texts};
use super::observed::{Observed, Role};
use super::plan::{self, Feed, Plan};
use super::values::Ways;
use crate::alert::{self, RequestIdentity};
use crate::field::{Sight, View};
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
        self.observer(view).observed(rule, &RequestIdentity::of(cluster, view.event))
    }

    /// Observes the matches of one event.
    pub fn observer<'v>(&'v self, view: View<'v>) -> Observer<'v> {
        Observer { relations: self, view, request: None, texts: Texts::of(view), grouped: Vec::new() }
    }

    /// Whether these are the correlations of others, among rules with the same numbers: then they make the
    /// same of any matches.
    pub fn is_like(&self, other: &Self) -> bool {
        let (own, others) = (&self.shared, &other.shared);
        own.plans == others.plans && own.feeds == others.feeds
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

/// Observes the matches of one event: what several rules want of it is worked out once.
pub struct Observer<'v> {
    relations: &'v Relations,
    view: View<'v>,
    /// The request and its time, in microseconds since 1970.
    request: Option<(Request, Option<i64>)>,
    texts: Texts<'v>,
    /// By the number of the fields of groups: those that the event is in.
    grouped: Vec<(usize, Grouped)>,
}

impl<'v> Observer<'v> {
    /// What correlations want of the event if a rule matches it; nothing if none wants the
    /// matches of the rule. `identity` is that of the event.
    pub fn observed(&mut self, rule: usize, identity: &RequestIdentity) -> Option<Observed> {
        let relations = self.relations;
        if !relations.wants(rule) {
            return None;
        }
        let event = self.view.event;
        let (request, time) = self.request.get_or_insert_with(|| {
            let time = alert::time_of(event).map(|time| time.timestamp_micros());
            (observation::request_of(identity, event), time)
        });
        let feeds = relations.feeds(rule);
        let (time, request) = (*time, request.clone());
        let mut observed = Observed::with_capacity(feeds.len(), relations.clone(), time, request);
        if time.is_some() {
            for feed in feeds {
                match self.shown(feed) {
                    Shown::Role { membership, amount, is_cut } => {
                        observed.add(Role::new(feed, membership, amount), is_cut);
                    }
                    Shown::Hidden => observed.hide(),
                    Shown::Nothing => {}
                }
            }
        }
        Some(observed)
    }

    /// What the event shows of the fields of a role.
    fn shown(&mut self, feed: &'v Feed) -> Shown {
        let grouped = self.grouped(feed);
        if matches!(grouped, Grouped::Hidden) {
            return Shown::Hidden;
        }
        let mut ranges = Vec::with_capacity(feed.amounts.len());
        for (_, field) in &feed.amounts {
            let (range, sight) = self.texts.read(field);
            match (range.is_empty(), sight) {
                (true, Sight::Hidden) => return Shown::Hidden,
                (true, Sight::Clear) => return Shown::Nothing,
                (false, _) => ranges.push(range),
            }
        }
        let amounts: Vec<_> = ranges.into_iter().map(|range| self.texts.at(range)).collect();
        observation::shown(feed, grouped, &amounts)
    }

    fn grouped(&mut self, feed: &'v Feed) -> Grouped {
        if let Some((_, known)) = self.grouped.iter().find(|(number, _)| *number == feed.grouping) {
            return known.clone();
        }
        let grouped = self.group(feed);
        self.grouped.push((feed.grouping, grouped.clone()));
        grouped
    }

    fn group(&mut self, feed: &'v Feed) -> Grouped {
        let mut ways = Ways::new();
        for (_, field) in &feed.group {
            let (range, sight) = self.texts.read(field);
            if range.is_empty() && sight == Sight::Hidden {
                return Grouped::Hidden;
            }
            ways.follow(self.texts.at(range));
        }
        Grouped::by(&ways)
    }
}
