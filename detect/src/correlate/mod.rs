//! Relates matches in time: counts, distinct values, sequences, first sights.
//!
//! Matches are put in order of event time first, then every window is moved along match by
//! match. So what arrives out of order by less than the tolerated disorder gives the very
//! same episodes, ids included, as if it had arrived in order.
//!
//! **Invariant:** memory is bounded, whatever the events are; what is given up is counted.
//! Windows take [`WINDOWS_BYTES_MAX`], matches that wait [`PENDING_BYTES_MAX`], to which comes
//! what one event adds before room is made, and a table while it is being moved into a
//! larger one.

mod episode;
mod group;
mod measure;
mod memory;
mod observation;
mod pending;
mod plan;
mod window;

#[cfg(test)]
mod tests;

use core::time::Duration;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

pub use episode::{Episode, LISTED_MAX, Phase};
pub use pending::PENDING_BYTES_MAX;
pub use window::Window;

use crate::alert;
use crate::field::View;
use crate::sigma::Rule;
use crate::sigma::correlation::Relation;
use group::{Groups, Held, Step};
use observation::{AuditId, Observation, Request, Shown};
use pending::Pending;
use plan::{Feed, Plan};

/// How much later than others an event may arrive: several API servers batch on their own,
/// and a batch that failed is sent again for some minutes.
pub const DISORDER: Duration = Duration::from_secs(300);
/// How much memory the windows of all correlations take together. Beyond it the correlation
/// that takes most gives up the groups that it would have forgotten first.
pub const WINDOWS_BYTES_MAX: usize = 512 << 20;

/// Relates the matches of the rules of one cluster.
#[derive(Debug)]
pub struct Correlator {
    plans: Vec<Plan>,
    /// By rule: the roles that it plays.
    feeds: Vec<Vec<Feed>>,
    groups: Vec<Groups>,
    pending: Pending,
    /// By episode: what held at the moment, to be told to the correlations that relate it.
    held: BTreeMap<u128, Held>,
    cluster: String,
    windows_bytes_max: usize,
    counts: Counts,
}

/// What a correlator could not take into account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Matches that arrived more than the tolerated disorder after others.
    pub late: u64,
    /// Matches that were ordered among fewer than would have been right, since too many waited.
    pub hurried: u64,
    /// Matches without a time.
    pub timeless: u64,
    /// Matches whose event hides a field that groups or is counted.
    pub hidden: u64,
    /// Matches with so many groups or values that not all of them count.
    pub crowded: u64,
    /// Groups that were forgotten to bound memory.
    pub evicted_groups: u64,
}

impl Correlator {
    /// Correlations among `rules`, which have been linked; `disorder` is how much later than
    /// others an event may arrive.
    pub fn new(rules: &[Rule], cluster: &str, disorder: Duration) -> Self {
        let (plans, feeds) = plan::plans(rules);
        Self {
            groups: plans.iter().map(|_| Groups::default()).collect(),
            plans,
            feeds,
            pending: Pending::new(i64::try_from(disorder.as_micros()).unwrap_or(i64::MAX)),
            held: BTreeMap::new(),
            cluster: cluster.to_owned(),
            windows_bytes_max: WINDOWS_BYTES_MAX,
            counts: Counts::default(),
        }
    }

    /// The same with another bound on the memory of windows.
    #[must_use]
    pub fn with_windows_bytes_max(self, windows_bytes_max: usize) -> Self {
        Self { windows_bytes_max, ..self }
    }

    /// Whether any correlation wants the matches of this rule.
    pub fn wants(&self, rule: usize) -> bool {
        self.feeds.get(rule).is_some_and(|feeds| !feeds.is_empty())
    }

    /// Takes a match of a rule. A request must be given once for each rule, however many of
    /// its stages match.
    pub fn observe(&mut self, rule: usize, view: View<'_>, on_episode: &mut impl FnMut(Episode)) {
        let Some(time) = alert::time_of(view.event) else {
            self.counts.timeless += 1;
            return;
        };
        let request = observation::request_of(&self.cluster, view.event);
        let time = time.timestamp_micros();
        // However many correlations and groups want it, it is one match.
        let (mut is_late, mut is_hidden, mut is_crowded) = (false, false, false);
        for feed in self.feeds.get(rule).map_or(&[][..], Vec::as_slice) {
            let is_metric = matches!(self.plans[feed.plan].relation, Relation::Metric(..));
            let shown =
                observation::shown_of(feed, is_metric, |(_, field)| observation::texts_of(field, view));
            match shown {
                Shown::Groups { groups, amount, is_cut } => {
                    is_crowded |= is_cut;
                    for (group, values) in groups {
                        let (plan, position) = (feed.plan, feed.position);
                        let (request, amount) = (request.clone(), amount.clone());
                        is_late |= !self.pending.push(Observation {
                            time,
                            plan,
                            position,
                            is_derived: false,
                            request,
                            group,
                            values,
                            amount,
                        });
                    }
                }
                Shown::Hidden => is_hidden = true,
                Shown::Nothing => {}
            }
        }
        self.counts.late += u64::from(is_late);
        self.counts.hidden += u64::from(is_hidden);
        self.counts.crowded += u64::from(is_crowded);
        self.release(on_episode);
    }

    /// Says that no event from before `time` will come, so that windows end without one.
    pub fn advance(&mut self, time: DateTime<Utc>, on_episode: &mut impl FnMut(Episode)) {
        self.pending.advance(time.timestamp_micros());
        self.release(on_episode);
    }

    /// Ends every window and every episode: nothing will come any more.
    pub fn finish(&mut self, on_episode: &mut impl FnMut(Episode)) {
        self.pending.advance(i64::MAX);
        self.release(on_episode);
    }

    /// What could not be taken into account so far.
    pub fn counts(&self) -> Counts {
        Counts { hurried: self.pending.hurried_count, ..self.counts }
    }

    /// The windows of one correlation, the fullest first; `rule` is its number.
    pub fn windows(&self, rule: usize) -> Vec<Window> {
        let of_rule = self.plans.iter().zip(&self.groups).filter(|(plan, _)| plan.rule == rule);
        let mut windows: Vec<Window> =
            of_rule.flat_map(|(plan, groups)| groups.iter().map(|group| Window::of(plan, group))).collect();
        windows.sort_by(|left, right| {
            right.number.total_cmp(&left.number).then_with(|| left.group.cmp(&right.group))
        });
        windows
    }

    /// Until when a first-seen correlation only notes what is there; nothing before its
    /// first match. `rule` is its number.
    pub fn learning_until(&self, rule: usize) -> Option<DateTime<Utc>> {
        let plan = self.plans.iter().position(|plan| plan.rule == rule)?;
        DateTime::from_timestamp_micros(self.groups[plan].learning_until()?)
    }

    /// How many groups are remembered, and roughly how much memory they and the matches that
    /// wait take.
    pub fn size(&self) -> (usize, usize) {
        let groups = self.groups.iter().map(Groups::len).sum();
        (groups, self.windows_bytes() + self.pending.bytes())
    }

    fn windows_bytes(&self) -> usize {
        self.groups.iter().map(Groups::bytes).sum()
    }

    /// Processes what waits no longer, in order, and what time has brought about in between.
    fn release(&mut self, on_episode: &mut impl FnMut(Episode)) {
        loop {
            let timer = self.next_timer();
            let due = self.pending.due();
            // A window ends, and an episode is over, after what is of the same time; both
            // before the turn of the correlations that relate this one.
            let is_match_first = due.is_some_and(|due| timer.is_none_or(|timer| due <= timer));
            if is_match_first && let Some(seen) = self.pending.pop() {
                self.process(&seen, on_episode);
            } else if let Some((_, plan)) = timer.filter(|(timer, _)| *timer < self.pending.watermark()) {
                let step = self.groups[plan].expire(&self.plans[plan], &self.cluster);
                self.tell(plan, step, on_episode);
                self.feed_held(plan);
            } else {
                return;
            }
        }
    }

    /// The next timer of all correlations, and whose it is.
    fn next_timer(&self) -> Option<(i64, usize)> {
        let timers = self.groups.iter().enumerate();
        timers.filter_map(|(plan, groups)| Some((groups.next_timer()?, plan))).min()
    }

    fn process(&mut self, seen: &Observation, on_episode: &mut impl FnMut(Episode)) {
        let plan = seen.plan;
        let step = self.groups[plan].add(&self.plans[plan], &self.cluster, seen);
        self.tell(plan, step, on_episode);
        let is_last =
            self.pending.first().is_none_or(|next| (next.time, next.plan) != (seen.time, seen.plan));
        if is_last {
            self.feed_held(plan);
        }
        self.make_room(on_episode);
    }

    fn tell(&mut self, plan: usize, step: Step, on_episode: &mut impl FnMut(Episode)) {
        step.episodes.into_iter().for_each(&mut *on_episode);
        let is_related = !self.feeds[self.plans[plan].rule].is_empty();
        if let Some(held) = step.held.filter(|_| is_related) {
            // However often it holds in one moment, it is one match.
            self.held.insert(held.episode, held);
        }
    }

    /// Feeds what held at the moment to the correlations that relate this one. They come
    /// after it, so their turn at this moment is still to come.
    fn feed_held(&mut self, plan: usize) {
        for held in std::mem::take(&mut self.held).into_values() {
            self.derived(plan, &held).into_iter().for_each(|seen| self.pending.put(seen));
        }
    }

    /// What a correlation that holds is to those that relate it: a match with the fields
    /// of its group.
    fn derived(&self, plan: usize, held: &Held) -> Vec<Observation> {
        let from = &self.plans[plan];
        let text_of = |name: &str| {
            let at = from.group_by.iter().position(|field| field == name)?;
            held.values.get(at)?.as_deref().map(str::to_owned)
        };
        let mut seen = Vec::new();
        for feed in &self.feeds[from.rule] {
            let is_metric = matches!(self.plans[feed.plan].relation, Relation::Metric(..));
            let read =
                |(name, _): &(String, _)| (text_of(name).into_iter().collect(), crate::field::Sight::Clear);
            let Shown::Groups { groups, amount, .. } = observation::shown_of(feed, is_metric, read) else {
                continue;
            };
            // The last request stands for all of them; the identity is that of the episode.
            #[allow(clippy::cast_possible_truncation)]
            let identity = held.episode as u64;
            let request = Request { identity, audit_id: AuditId::clone(&held.request.audit_id) };
            seen.extend(groups.into_iter().map(|(group, values)| Observation {
                time: held.time,
                plan: feed.plan,
                position: feed.position,
                is_derived: true,
                request: request.clone(),
                group,
                values,
                amount: amount.clone(),
            }));
        }
        seen
    }

    fn make_room(&mut self, on_episode: &mut impl FnMut(Episode)) {
        while self.windows_bytes() > self.windows_bytes_max {
            let largest = (0..self.groups.len()).max_by_key(|plan| self.groups[*plan].bytes());
            let Some(plan) = largest else { return };
            let Some(step) = self.groups[plan].evict(&self.plans[plan]) else { return };
            self.counts.evicted_groups += 1;
            step.episodes.into_iter().for_each(&mut *on_episode);
        }
    }
}
