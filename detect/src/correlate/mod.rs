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
mod observed;
mod pending;
mod plan;
mod relations;
mod standing;
mod stored;
mod values;
mod window;

#[cfg(test)]
mod tests;

use core::time::Duration;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

pub use episode::{Episode, LISTED_MAX, Phase};
pub use observed::Observed;
pub use pending::PENDING_BYTES_MAX;
pub use relations::{Observer, Relations};
pub use standing::{STANDING_GROUPS_MAX, Standing};
pub use window::Window;

use crate::field::{Field, View};
use crate::sigma::Rule;
use group::{Groups, Held, Step};
use observation::{AuditId, Grouped, Observation, Request, Shown};
use pending::Pending;
use plan::Plan;
use standing::Known;
use values::Ways;

/// How much later than others an event may arrive: several API servers batch on their own,
/// and a batch that failed is sent again for some minutes.
pub const DISORDER: Duration = Duration::from_secs(300);
/// How much memory the windows of all correlations take together. Beyond it the correlation
/// that takes most gives up the groups that it would have forgotten first.
pub const WINDOWS_BYTES_MAX: usize = 512 << 20;

/// The time of a timer that is not set.
const NEVER: i64 = i64::MAX;

/// Relates the matches of the rules of one cluster.
#[derive(Debug)]
pub struct Correlator {
    relations: Relations,
    /// By correlation.
    groups: Vec<Groups>,
    /// By correlation: when its next timer goes off; never, if there is none.
    next_timers: Vec<i64>,
    /// The first of them, and whose it is.
    next_timer: (i64, usize),
    /// What all windows take.
    windows_bytes: usize,
    pending: Pending,
    /// By episode: what held at the moment, to be told to the correlations that relate it.
    held: BTreeMap<u128, Held>,
    cluster: String,
    windows_bytes_max: usize,
    /// What is of earlier than this was told before a restart.
    told_until: i64,
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
        Self::of(&Relations::new(rules), cluster, disorder)
    }

    /// The same for correlations that have been made ready, with those who observe for it.
    pub fn of(relations: &Relations, cluster: &str, disorder: Duration) -> Self {
        Self {
            groups: relations.plans().iter().map(|_| Groups::default()).collect(),
            next_timers: vec![NEVER; relations.plans().len()],
            next_timer: (NEVER, 0),
            windows_bytes: 0,
            relations: relations.clone(),
            pending: Pending::new(i64::try_from(disorder.as_micros()).unwrap_or(i64::MAX)),
            held: BTreeMap::new(),
            cluster: cluster.to_owned(),
            windows_bytes_max: WINDOWS_BYTES_MAX,
            told_until: i64::MIN,
            counts: Counts::default(),
        }
    }

    /// The same with another bound on the memory of windows.
    #[must_use]
    pub fn with_windows_bytes_max(self, windows_bytes_max: usize) -> Self {
        Self { windows_bytes_max, ..self }
    }

    /// Bounds the memory of windows and that of matches that wait anew, in bytes; what is beyond
    /// goes with the next match.
    pub fn bound(&mut self, windows_bytes_max: usize, pending_bytes_max: usize) {
        self.windows_bytes_max = windows_bytes_max;
        self.pending.bytes_max = pending_bytes_max.min(PENDING_BYTES_MAX);
    }

    /// Roughly how much memory windows take, and matches that wait, in bytes.
    pub fn bytes(&self) -> (usize, usize) {
        (self.windows_bytes, self.pending.bytes())
    }

    /// How far it is. With it a fresh correlator that is given the stored matches again goes
    /// on as this one would, once all that has been told is stored.
    pub fn standing(&self) -> Standing {
        let mut groups_left = STANDING_GROUPS_MAX;
        let told_until = self.told_until.max(self.pending.watermark());
        let each = self.relations.plans().iter().zip(&self.groups).map(|(plan, groups)| {
            let known = groups.known(plan, told_until, groups_left);
            groups_left -= known.groups.len();
            (plan.name, known)
        });
        Standing { told_until, correlations: each.collect() }
    }

    /// Goes on where another correlator was. This one has to be fresh, and is to be given the
    /// matches that are wanted at [`Standing::told_until_us`] or later, ordered by time, before
    /// any others: what they made of what is earlier is not told again.
    pub fn resume(&mut self, standing: &Standing) {
        self.told_until = standing.told_until;
        self.groups.iter_mut().for_each(|groups| groups.resume(&Known::default(), standing.told_until));
        for (plan, known) in standing.of(&self.relations) {
            self.groups[plan].resume(known, standing.told_until);
        }
    }

    /// Whether any correlation wants the matches of this rule.
    pub fn wants(&self, rule: usize) -> bool {
        self.relations.wants(rule)
    }

    /// Observes a match of a rule and takes it. A request must be given once for each rule,
    /// however many of its stages match.
    pub fn observe(&mut self, rule: usize, view: View<'_>, on_episode: &mut impl FnMut(Episode)) {
        if let Some(observed) = self.relations.observed(rule, view, &self.cluster) {
            self.take(observed, on_episode);
        }
    }

    /// Takes what was observed of a match, in this process or another. A request must be
    /// given once for each rule, however many of its stages match.
    pub fn take(&mut self, observed: Observed, on_episode: &mut impl FnMut(Episode)) {
        let Some(observed) = observed.among(&self.relations) else { return };
        let Some(time) = observed.time_us() else {
            self.counts.timeless += 1;
            return;
        };
        // However many correlations and groups want it, it is one match.
        self.counts.hidden += u64::from(observed.is_hidden());
        self.counts.crowded += u64::from(observed.is_crowded());
        let mut is_late = false;
        for observation in observed.into_observations(time) {
            is_late |= !self.pending.push(observation);
        }
        self.counts.late += u64::from(is_late);
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
        let of_rule = self.relations.plans().iter().zip(&self.groups).filter(|(plan, _)| plan.rule == rule);
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
        let plan = self.relations.plans().iter().position(|plan| plan.rule == rule)?;
        DateTime::from_timestamp_micros(self.groups[plan].learning_until()?)
    }

    /// How many groups are remembered, and roughly how much memory they and the matches that
    /// wait take.
    pub fn size(&self) -> (usize, usize) {
        let groups = self.groups.iter().map(Groups::len).sum();
        (groups, self.windows_bytes + self.pending.bytes())
    }

    /// Changes the groups of a correlation, and notes what depends on them.
    fn change<T>(&mut self, plan: usize, change: impl FnOnce(&mut Groups, &Plan, &str) -> T) -> T {
        let groups = &mut self.groups[plan];
        let bytes_before = groups.bytes();
        let result = change(groups, self.relations.plan(plan), &self.cluster);
        self.windows_bytes = (self.windows_bytes + groups.bytes()).saturating_sub(bytes_before);
        let timer = groups.next_timer().unwrap_or(NEVER);
        self.set_timer(timer, plan);
        result
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
            } else if let Some((now, plan)) = timer.filter(|(timer, _)| *timer < self.pending.watermark()) {
                let step = self.change(plan, Groups::expire);
                self.tell(plan, now, step, on_episode);
                self.feed_held(plan);
            } else {
                return;
            }
        }
    }

    /// The next timer of all correlations, and whose it is.
    fn next_timer(&self) -> Option<(i64, usize)> {
        Some(self.next_timer).filter(|(time, _)| *time != NEVER)
    }

    fn set_timer(&mut self, time: i64, plan: usize) {
        self.next_timers[plan] = time;
        if self.next_timer.1 == plan && time > self.next_timer.0 {
            let timers = self.next_timers.iter().copied().zip(0..);
            self.next_timer = timers.min().unwrap_or((NEVER, 0));
        } else {
            self.next_timer = self.next_timer.min((time, plan));
        }
    }

    fn process(&mut self, seen: &Observation, on_episode: &mut impl FnMut(Episode)) {
        let plan = seen.plan;
        let step = self.change(plan, |groups, plan, cluster| groups.add(plan, cluster, seen));
        self.tell(plan, seen.time, step, on_episode);
        let is_last =
            self.pending.first().is_none_or(|next| (next.time, next.plan) != (seen.time, seen.plan));
        if is_last {
            self.feed_held(plan);
        }
        self.make_room(seen.time, on_episode);
    }

    fn tell(&mut self, plan: usize, now: i64, step: Step, on_episode: &mut impl FnMut(Episode)) {
        if now >= self.told_until {
            step.episodes.into_iter().for_each(&mut *on_episode);
        }
        let is_related = self.relations.wants(self.relations.plan(plan).rule);
        if let Some(held) = step.held.filter(|_| is_related) {
            // However often it holds in one moment, it is one match.
            self.held.insert(held.episode, held);
        }
    }

    /// Feeds what held at the moment to the correlations that relate this one. They come
    /// after it, so their turn at this moment is still to come.
    fn feed_held(&mut self, plan: usize) {
        if self.held.is_empty() {
            return;
        }
        for held in std::mem::take(&mut self.held).into_values() {
            self.derived(plan, &held).into_iter().for_each(|seen| self.pending.put(seen));
        }
    }

    /// What a correlation that holds is to those that relate it: a match with the fields
    /// of its group.
    fn derived(&self, plan: usize, held: &Held) -> Vec<Observation> {
        let from = self.relations.plan(plan);
        let texts_of = |(name, _): &(String, Field)| {
            let at = from.group_by.iter().position(|field| field == name);
            let value = at.and_then(|at| held.values.iter().nth(at)?);
            value.map_or_else(Vec::new, |value| vec![value])
        };
        let mut seen = Vec::new();
        for feed in self.relations.feeds(from.rule) {
            let mut ways = Ways::new();
            feed.group.iter().for_each(|field| ways.follow(&texts_of(field)));
            let amounts: Vec<Vec<&str>> = feed.amounts.iter().map(texts_of).collect();
            if amounts.iter().any(Vec::is_empty) {
                continue;
            }
            let amounts: Vec<&[&str]> = amounts.iter().map(Vec::as_slice).collect();
            let Shown::Role { membership, amount, .. } =
                observation::shown(feed, Grouped::by(&ways), &amounts)
            else {
                continue;
            };
            // The last request stands for all of them; the identity is that of the episode.
            #[allow(clippy::cast_possible_truncation)]
            let identity = held.episode as u64;
            let request = Request { identity, audit_id: AuditId::clone(&held.request.audit_id) };
            seen.extend(membership.groups().iter().map(|group| Observation {
                time: held.time,
                plan: feed.plan,
                position: feed.position,
                is_derived: true,
                request: request.clone(),
                group: group.key,
                values: group.values.clone(),
                amount: amount.clone(),
            }));
        }
        seen
    }

    fn make_room(&mut self, now: i64, on_episode: &mut impl FnMut(Episode)) {
        while self.windows_bytes > self.windows_bytes_max {
            let largest = (0..self.groups.len()).max_by_key(|plan| self.groups[*plan].bytes());
            let Some(plan) = largest else { return };
            let Some(step) = self.change(plan, |groups, plan, _| groups.evict(plan)) else { return };
            self.counts.evicted_groups += 1;
            if now >= self.told_until {
                step.episodes.into_iter().for_each(&mut *on_episode);
            }
        }
    }
}
