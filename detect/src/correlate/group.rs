//! The window of one group, and all windows of one correlation.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use super::episode::{Episode, Open, Phase};
use super::measure::Measure;
use super::memory::Table;
use super::observation::{Amount, Observation, Request};
use super::plan::Plan;
use super::standing::{Begun, Known};
use super::values::{GroupKey, GroupValues};
use crate::sigma::correlation::Relation;

/// A match in the window of a group.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) time: i64,
    pub(super) request: Request,
    pub(super) position: u8,
    /// False when another rule matched the same request.
    pub(super) is_new: bool,
}

/// What has been seen of one group.
#[derive(Debug)]
pub(super) struct Group {
    values: GroupValues,
    /// Matches of the window, the oldest first: the latest `members_max` of them.
    members: VecDeque<Member>,
    /// What members take besides themselves.
    members_text_bytes: usize,
    measure: Measure,
    /// How many of the latest members no episode has taken.
    fresh: usize,
    /// Members that made room before an episode took them.
    crowded_out: u64,
    /// When the window began; only of windows that are judged at their end.
    opened_at: Option<i64>,
    last_at: i64,
    episode: Option<Box<Open>>,
    /// When an episode started that went on before a restart, and when it last held.
    resumed: Option<(i64, i64)>,
    /// When the timer is set.
    timer: i64,
}

/// The groups of one correlation.
#[derive(Debug)]
pub(super) struct Groups {
    by_key: Table<GroupKey, Box<Group>>,
    timers: BinaryHeap<Reverse<(i64, GroupKey)>>,
    /// What the groups take, without the collections that hold them.
    bytes: usize,
    /// Until when a first-seen rule learns.
    learning_until: Option<i64>,
    /// What went on before a restart, by group.
    resumed: HashMap<GroupKey, Begun>,
    /// Windows that ended before have been judged.
    judged_until: i64,
}

/// What one step of a correlation gives.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// What is to be told.
    pub(super) episodes: Vec<Episode>,
    /// The relation held: for correlations of this one.
    pub(super) held: Option<Held>,
}

/// A relation that held for a group.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) time: i64,
    pub(super) episode: u128,
    pub(super) values: GroupValues,
    /// The last request that made it.
    pub(super) request: Request,
}

impl Group {
    fn new(plan: &Plan, values: &GroupValues, resumed: Option<(i64, i64)>) -> Self {
        Self {
            values: values.clone(),
            members: VecDeque::with_capacity(1),
            members_text_bytes: 0,
            measure: Measure::new(plan),
            fresh: 0,
            crowded_out: 0,
            opened_at: None,
            last_at: i64::MIN,
            episode: None,
            resumed,
            timer: i64::MAX,
        }
    }

    pub(super) fn members(&self) -> &VecDeque<Member> {
        &self.members
    }

    pub(super) fn measure(&self) -> &Measure {
        &self.measure
    }

    pub(super) fn values(&self) -> &GroupValues {
        &self.values
    }

    pub(super) fn is_episode_open(&self) -> bool {
        self.episode.is_some()
    }

    /// Adds a match to the window.
    fn add(&mut self, plan: &Plan, seen: &Observation) {
        if seen.is_derived {
            // An episode that goes on is one match that moves, not one more match.
            self.remove(&seen.request, seen.position, &seen.amount);
        }
        // One rule is given a request once.
        let is_new = plan.rules.len() == 1 || !self.has_at(seen.time, &seen.request);
        self.measure.add(plan, seen, is_new);
        self.last_at = seen.time;
        if !is_new && matches!(plan.relation, Relation::EventCount(_)) {
            return;
        }
        let request = seen.request.clone();
        self.members_text_bytes += request.audit_id.bytes();
        self.members.push_back(Member { time: seen.time, request, position: seen.position, is_new });
        self.fresh += 1;
        if self.members.len() > plan.members_max {
            let forgotten = self.drop_oldest();
            if plan.is_sliding {
                self.measure.forget(i64::MIN, forgotten);
            }
            // Before an episode, what has left the window by number may have left it by time.
            if self.fresh > self.members.len() && (!plan.is_sliding || self.episode.is_some()) {
                self.crowded_out += forgotten;
            }
            self.fresh = self.fresh.min(self.members.len());
        }
    }

    fn has_at(&self, time: i64, request: &Request) -> bool {
        let same_time = self.members.iter().rev().take_while(|member| member.time == time);
        same_time.map(|member| &member.request).any(|known| known == request)
    }

    fn remove(&mut self, request: &Request, position: u8, amount: &Amount) {
        let is_same =
            |member: &Member| member.position == position && member.request.identity == request.identity;
        if let Some(at) = self.members.iter().position(is_same) {
            let from_end = self.members.len() - at;
            let Some(removed) = self.members.remove(at) else { return };
            self.members_text_bytes -= removed.request.audit_id.bytes();
            self.fresh -= usize::from(from_end <= self.fresh);
            self.measure.remove(removed.time, amount);
        }
    }

    fn drop_oldest(&mut self) -> u64 {
        let Some(dropped) = self.members.pop_front() else { return 0 };
        self.members_text_bytes -= dropped.request.audit_id.bytes();
        u64::from(dropped.is_new)
    }

    /// Forgets what is older than the window.
    fn forget(&mut self, since: i64) {
        let mut forgotten = 0;
        while self.members.front().is_some_and(|member| member.time < since) {
            forgotten += self.drop_oldest();
        }
        self.fresh = self.fresh.min(self.members.len());
        if self.members.is_empty() {
            self.crowded_out = 0;
        }
        self.measure.forget(since, forgotten);
    }

    /// The relation holds now: an episode begins or grows.
    fn hold(&mut self, plan: &Plan, cluster: &str, key: GroupKey, now: i64, step: &mut Step) {
        let first_at = self.members.front().map_or(now, |member| member.time);
        let started_at = self.resumed_at(plan, now).unwrap_or(first_at);
        let is_begin = self.episode.is_none();
        let mut episode =
            self.episode.take().unwrap_or_else(|| Box::new(Open::new(plan, cluster, key, started_at)));
        episode.grow(plan, self, self.fresh, self.crowded_out, now);
        (self.fresh, self.crowded_out) = (0, 0);
        let phase = if is_begin { Some(Phase::Begun) } else { episode.has_doubled().then_some(Phase::Grown) };
        step.episodes.extend(phase.map(|phase| episode.tell(plan, &self.values, phase)));
        step.held = self.members.back().map(|last| Held {
            time: now,
            episode: episode.id(),
            values: self.values.clone(),
            request: last.request.clone(),
        });
        self.episode = Some(episode);
    }

    /// When the episode that goes on now started before a restart, if one does.
    fn resumed_at(&self, plan: &Plan, now: i64) -> Option<i64> {
        let (started_at, held_at) = self.resumed?;
        (started_at..=held_at.saturating_add(plan.quiet())).contains(&now).then_some(started_at)
    }

    /// What has begun and is not over.
    fn begun(&self, plan: &Plan, now: i64) -> Option<Begun> {
        let resumed = self.resumed.filter(|episode| may_go_on(plan, *episode, now));
        let episode = self.episode.as_ref().map(|episode| episode.times()).or(resumed);
        (episode.is_some() || self.opened_at.is_some())
            .then_some(Begun { opened_at: self.opened_at, episode })
    }

    /// When something happens by itself: a window ends, an episode is over, or nothing is
    /// left to remember.
    fn deadline(&self, plan: &Plan) -> i64 {
        let over = self.episode.as_ref().map(|episode| episode.held_at.saturating_add(plan.quiet()));
        let judged = self.opened_at.map(|opened| opened.saturating_add(plan.timespan));
        let forgotten = self.last_at.saturating_add(plan.timespan);
        over.into_iter().chain(judged).min().unwrap_or(forgotten)
    }

    fn bytes(&self) -> usize {
        let members = self.members.capacity() * size_of::<Member>() + self.members_text_bytes;
        let episode = self.episode.as_ref().map_or(0, |episode| episode.bytes());
        size_of::<Self>() + self.values.bytes() + members + self.measure.bytes() + episode
    }
}

impl Default for Groups {
    fn default() -> Self {
        Self {
            by_key: Table::default(),
            timers: BinaryHeap::new(),
            bytes: 0,
            learning_until: None,
            resumed: HashMap::new(),
            judged_until: i64::MIN,
        }
    }
}

impl Groups {
    /// Adds a match, and judges its group if that can be done before the window ends.
    pub(super) fn add(&mut self, plan: &Plan, cluster: &str, seen: &Observation) -> Step {
        let mut step = Step::default();
        if !plan.is_sliding && self.is_judged(seen) {
            return step;
        }
        let is_learning = self.is_learning(plan, seen.time);
        let is_first = self.by_key.get(&seen.group).is_none();
        if is_first {
            let resumed = self.resumed.get(&seen.group).and_then(|begun| begun.episode);
            self.by_key.insert(seen.group, Box::new(Group::new(plan, &seen.values, resumed)));
        }
        let Some(group) = self.by_key.get_mut(&seen.group) else { return step };
        let bytes_before = if is_first { 0 } else { group.bytes() };
        if plan.is_sliding {
            group.forget(seen.time.saturating_sub(plan.timespan));
        } else {
            group.opened_at.get_or_insert(seen.time);
        }
        group.add(plan, seen);
        if let Relation::FirstSeen { .. } = plan.relation {
            if is_first && !is_learning {
                group.hold(plan, cluster, seen.group, seen.time, &mut step);
                close(plan, group, &mut step);
            }
        } else if plan.is_sliding && group.measure.holds(plan) {
            group.hold(plan, cluster, seen.group, seen.time, &mut step);
        }
        let (deadline, timer) = (group.deadline(plan), group.timer);
        let is_sooner = deadline < timer;
        if is_sooner {
            group.timer = deadline;
        }
        self.bytes = (self.bytes + group.bytes()).saturating_sub(bytes_before);
        if is_sooner {
            self.timers.push(Reverse((deadline, seen.group)));
        }
        step
    }

    /// What has begun and is not over at this time, of at most so many groups.
    pub(super) fn known(&self, plan: &Plan, now: i64, groups_max: usize) -> Known {
        let begun = self.by_key.iter().filter_map(|(key, group)| Some((*key, group.begun(plan, now)?)));
        // An episode of which nothing has come since one restart goes on over the next.
        let resumed = self.resumed.iter().filter(|(key, _)| self.by_key.get(key).is_none());
        let resumed = resumed.filter_map(|(key, begun)| {
            let episode = begun.episode.filter(|episode| may_go_on(plan, *episode, now))?;
            Some((*key, Begun { opened_at: None, episode: Some(episode) }))
        });
        let groups = begun.chain(resumed).take(groups_max).collect();
        Known { learning_until: self.learning_until, groups }
    }

    /// Goes on where it was before a restart; everything before this time was judged.
    pub(super) fn resume(&mut self, known: &Known, judged_until: i64) {
        self.learning_until = known.learning_until;
        self.resumed.clone_from(&known.groups);
        self.judged_until = judged_until;
    }

    /// Whether a match is of a window that ended before a restart.
    fn is_judged(&self, seen: &Observation) -> bool {
        let opened_at = || self.resumed.get(&seen.group)?.opened_at;
        seen.time < self.judged_until && opened_at().is_none_or(|opened_at| seen.time < opened_at)
    }

    /// Whether a first-seen rule only notes what is there; it begins to with its first match.
    fn is_learning(&mut self, plan: &Plan, now: i64) -> bool {
        let Relation::FirstSeen { learning } = plan.relation else { return false };
        let learning = i64::try_from(learning.as_micros()).unwrap_or(i64::MAX);
        now < *self.learning_until.get_or_insert(now.saturating_add(learning))
    }

    /// When the next timer goes off.
    pub(super) fn next_timer(&self) -> Option<i64> {
        self.timers.peek().map(|Reverse((time, _))| *time)
    }

    /// Does what is due by the first timer.
    pub(super) fn expire(&mut self, plan: &Plan, cluster: &str) -> Step {
        let mut step = Step::default();
        let Some(Reverse((timer, key))) = self.timers.pop() else { return step };
        let Some(group) = self.by_key.get_mut(&key).filter(|group| group.timer == timer) else { return step };
        let bytes_before = group.bytes();
        if group.deadline(plan) <= timer {
            settle(plan, cluster, key, timer, group, &mut step);
        }
        let is_done = group.episode.is_none()
            && group.opened_at.is_none()
            && group.last_at.saturating_add(plan.timespan) <= timer;
        if is_done {
            self.by_key.remove(&key);
            self.bytes = self.bytes.saturating_sub(bytes_before);
            self.shrink();
            return step;
        }
        group.timer = group.deadline(plan);
        self.timers.push(Reverse((group.timer, key)));
        self.bytes = (self.bytes + group.bytes()).saturating_sub(bytes_before);
        step
    }

    /// Gives up the group that would have been done with first.
    pub(super) fn evict(&mut self, plan: &Plan) -> Option<Step> {
        loop {
            let Reverse((timer, key)) = self.timers.pop()?;
            let Some(group) = self.by_key.get_mut(&key).filter(|group| group.timer == timer) else {
                continue;
            };
            let deadline = group.deadline(plan);
            if deadline > timer {
                group.timer = deadline;
                self.timers.push(Reverse((deadline, key)));
                continue;
            }
            let mut step = Step::default();
            let bytes_before = group.bytes();
            close(plan, group, &mut step);
            self.by_key.remove(&key)?;
            self.bytes = self.bytes.saturating_sub(bytes_before);
            self.shrink();
            return Some(step);
        }
    }

    fn shrink(&mut self) {
        if self.timers.len() < self.timers.capacity() / 8 {
            self.timers.shrink_to(self.timers.len() * 2);
        }
    }

    /// Roughly the memory that all groups take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.by_key.bytes() + self.timers.capacity() * size_of::<Reverse<(i64, GroupKey)>>()
    }

    /// How many groups are remembered.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The groups, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Group> {
        self.by_key.values().map(|group| &**group)
    }

    /// Until when a first-seen rule learns, in microseconds.
    pub(super) fn learning_until(&self) -> Option<i64> {
        self.learning_until
    }
}

/// Whether an episode that started and last held at these times is not over.
fn may_go_on(plan: &Plan, (_, held_at): (i64, i64), now: i64) -> bool {
    now <= held_at.saturating_add(plan.quiet())
}

/// Judges a window that has ended, then an episode that may be over.
fn settle(plan: &Plan, cluster: &str, key: GroupKey, now: i64, group: &mut Group, step: &mut Step) {
    if group.opened_at.is_some_and(|opened| opened.saturating_add(plan.timespan) <= now) {
        if group.measure.holds(plan) {
            group.hold(plan, cluster, key, now, step);
        }
        group.opened_at = None;
        group.members.clear();
        group.members_text_bytes = 0;
        group.fresh = 0;
        group.crowded_out = 0;
        group.measure = Measure::new(plan);
    }
    if group.episode.is_some() && group.deadline(plan) <= now {
        close(plan, group, step);
    }
}

fn close(plan: &Plan, group: &mut Group, step: &mut Step) {
    if let Some(mut episode) = group.episode.take() {
        step.episodes.push(episode.tell(plan, &group.values, Phase::Over));
    }
}
