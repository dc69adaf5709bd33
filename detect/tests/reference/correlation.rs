//! The obvious correlator: it keeps every match and recounts each window from scratch.
//!
//! Nothing is kept up to date, forgotten, bounded or put in order as it comes; the real
//! correlator shares nothing with it but the types of rules and episodes.

use std::collections::{BTreeMap, BTreeSet};

use detect::Episode;
use detect::correlate::Phase;
use detect::sigma::Rule;
use detect::sigma::correlation::{Bound, Correlation, Metric, Needed, Range, Relation, RuleExpr};

use super::cases::{CLUSTER, Seen, audit_id, event_time, json_time, timestamp};

/// What one match is in one role and group.
#[derive(Clone, Debug)]
struct Match {
    time: i64,
    position: usize,
    identity: u64,
    audit_id: String,
    is_derived: bool,
    group: Vec<Option<String>>,
    values: Vec<String>,
    numbers: Vec<f64>,
}

/// Every episode of every correlation, of what is known after the fact. A correlation must
/// be in the list after those that it relates.
pub(crate) fn episodes(rules: &[Rule], correlations: &[usize], events: &[Seen]) -> Vec<Episode> {
    let mut derived: BTreeMap<usize, Vec<Derived>> = BTreeMap::new();
    let mut all = Vec::new();
    for &number in correlations {
        let correlation = rules[number].correlation().unwrap();
        let mut groups: BTreeMap<Vec<Option<String>>, Vec<Match>> = BTreeMap::new();
        for (position, reference) in correlation.rules.iter().enumerate() {
            let fed = rules.iter().position(|rule| rule.id == reference.text).unwrap();
            let mut found = Vec::new();
            for event in events.iter().filter(|event| event.rules.contains(&fed)) {
                let read = |field: &str| event.texts(field);
                let (time, identity) = (event_time(event), identity_of(event));
                found.extend(matches(correlation, fed, rules, (time, identity, audit_id(event)), read));
            }
            for held in derived.get(&fed).into_iter().flatten() {
                let read = |field: &str| held.group.get(field).cloned().flatten().into_iter().collect();
                let what = (held.time, held.identity, held.audit_id.clone());
                let found_here = matches(correlation, fed, rules, what, read);
                found.extend(found_here.into_iter().map(|seen| Match { is_derived: true, ..seen }));
            }
            for seen in found {
                groups.entry(seen.group.clone()).or_default().push(Match { position, ..seen });
            }
        }
        let learning_until = groups.values().flatten().map(|seen| seen.time).min().unwrap_or_default();
        let mut told = Vec::new();
        for (group, mut seen) in groups {
            seen.sort_by_key(|seen| (seen.time, seen.position, seen.identity));
            let mut judge = Judge::new(rules, number, group);
            match &correlation.relation {
                Relation::FirstSeen { learning } => {
                    judge.first_seen(&seen, learning_until + i64::try_from(learning.as_micros()).unwrap());
                }
                relation if relation.is_monotone() => judge.at_every_match(&seen),
                _ => judge.at_ends(&seen),
            }
            judge.close();
            told.extend(judge.derived.into_values());
            all.extend(judge.episodes);
        }
        derived.insert(number, told);
    }
    all
}

/// A correlation that held.
#[derive(Clone, Debug)]
struct Derived {
    time: i64,
    identity: u64,
    audit_id: String,
    group: BTreeMap<String, Option<String>>,
}

fn matches(
    correlation: &Correlation,
    fed: usize,
    rules: &[Rule],
    (time, identity, audit_id): (i64, u64, String),
    read: impl Fn(&str) -> Vec<String>,
) -> Vec<Match> {
    let texts = |name: &String| {
        let alias = correlation.aliases.iter().find(|alias| alias.name == *name);
        let field = alias.and_then(|alias| alias.fields.iter().find(|(rule, _)| rule.text == rules[fed].id));
        read(field.map_or(name.as_str(), |(_, field)| field))
    };
    let mut groups: Vec<Vec<Option<String>>> = vec![Vec::new()];
    for name in &correlation.group_by {
        let mut values: Vec<Option<String>> = texts(name).into_iter().map(Some).collect();
        if values.is_empty() {
            values.push(None);
        }
        groups = product(&groups, &values);
    }
    let (mut values, mut numbers) = (Vec::new(), Vec::new());
    match &correlation.relation {
        Relation::ValueCount(fields, _) => {
            let tuples =
                fields.iter().fold(vec![Vec::new()], |tuples, field| product(&tuples, &texts(field)));
            if tuples.is_empty() {
                return Vec::new();
            }
            let is_single = fields.len() == 1;
            let text = |tuple: Vec<String>| {
                if is_single { tuple[0].clone() } else { serde_json::json!(tuple).to_string() }
            };
            values = tuples.into_iter().map(text).collect();
        }
        Relation::Metric(_, field, _) => {
            numbers = texts(field).iter().filter_map(|text| text.parse().ok()).collect();
            if numbers.is_empty() {
                return Vec::new();
            }
        }
        _ => {}
    }
    let of_group = |group| Match {
        time,
        position: 0,
        identity,
        audit_id: audit_id.clone(),
        is_derived: false,
        group,
        values: values.clone(),
        numbers: numbers.clone(),
    };
    groups.into_iter().map(of_group).collect()
}

fn product<T: Clone>(prefixes: &[Vec<T>], values: &[T]) -> Vec<Vec<T>> {
    let longer = |prefix: &Vec<T>| {
        let prefix = prefix.clone();
        values.iter().map(move |value| [prefix.as_slice(), std::slice::from_ref(value)].concat())
    };
    prefixes.iter().flat_map(longer).collect()
}

/// Judges one group of one correlation.
struct Judge<'r> {
    rules: &'r [Rule],
    number: usize,
    correlation: &'r Correlation,
    timespan: i64,
    group: Vec<Option<String>>,
    open: Option<Episode>,
    held_at: i64,
    told_count: u64,
    taken: BTreeSet<usize>,
    episodes: Vec<Episode>,
    derived: BTreeMap<i64, Derived>,
}

impl<'r> Judge<'r> {
    fn new(rules: &'r [Rule], number: usize, group: Vec<Option<String>>) -> Self {
        let correlation = rules[number].correlation().unwrap();
        Self {
            rules,
            number,
            correlation,
            timespan: i64::try_from(correlation.timespan.as_micros()).unwrap(),
            group,
            open: None,
            held_at: 0,
            told_count: 0,
            taken: BTreeSet::new(),
            episodes: Vec::new(),
            derived: BTreeMap::new(),
        }
    }

    /// At every match, over everything that is no further away than the time span.
    fn at_every_match(&mut self, seen: &[Match]) {
        for (last, now) in seen.iter().enumerate().map(|(last, seen)| (last, seen.time)) {
            self.close_if(|held_at, timespan| held_at + timespan < now);
            let window: Vec<usize> = (0..=last).filter(|at| seen[*at].time >= now - self.timespan).collect();
            if self.holds(seen, &window) {
                self.hold(seen, &window, now);
            }
        }
    }

    /// A time span after a match that no such window has.
    fn at_ends(&mut self, seen: &[Match]) {
        let mut next = 0;
        while let Some(first) = seen.get(next) {
            let end = first.time + self.timespan;
            let window: Vec<usize> = (next..seen.len()).filter(|at| seen[*at].time <= end).collect();
            next += window.len();
            self.close_if(|held_at, timespan| held_at + 2 * timespan < end);
            if self.holds(seen, &window) {
                self.hold(seen, &window, end);
            }
        }
    }

    fn first_seen(&mut self, seen: &[Match], learning_until: i64) {
        for (at, now) in seen.iter().enumerate().map(|(at, seen)| (at, seen.time)) {
            let is_known = (0..at).any(|before| seen[before].time + self.timespan >= now);
            if !is_known && now >= learning_until {
                self.hold(seen, &[at], now);
                self.close();
            }
        }
    }

    /// The matches that count: one for each request, and the last of those that a
    /// correlation made in one episode.
    fn members(&self, seen: &[Match], window: &[usize]) -> Vec<usize> {
        let is_moved = |at: usize| {
            let moved = |later: &usize| {
                *later > at
                    && seen[*later].identity == seen[at].identity
                    && seen[*later].position == seen[at].position
            };
            seen[at].is_derived && window.iter().any(moved)
        };
        let counts_requests = matches!(self.correlation.relation, Relation::EventCount(_));
        let is_member = |at: &usize| !(is_moved(*at) || counts_requests && is_repeated(seen, window, *at));
        window.iter().copied().filter(is_member).collect()
    }

    fn holds(&self, seen: &[Match], window: &[usize]) -> bool {
        let number = self.number(seen, window);
        match &self.correlation.relation {
            Relation::EventCount(range) | Relation::ValueCount(_, range) | Relation::Metric(_, _, range) => {
                within(range, number)
            }
            Relation::Temporal(needed) => {
                let matched = positions(seen, window);
                suffices(needed, &matched, &matched)
            }
            Relation::TemporalOrdered(needed) => {
                let matched = positions(seen, window);
                chains(seen, window).iter().any(|chain| suffices(needed, chain, &matched))
            }
            Relation::FirstSeen { .. } => true,
        }
    }

    #[allow(clippy::cast_precision_loss)]
    fn number(&self, seen: &[Match], window: &[usize]) -> f64 {
        let members = self.members(seen, window);
        let numbers: Vec<f64> = members.iter().flat_map(|at| seen[*at].numbers.clone()).collect();
        match &self.correlation.relation {
            Relation::EventCount(_) => members.len() as f64,
            Relation::ValueCount(..) => self.values(seen, window).len() as f64,
            Relation::Metric(Metric::Sum, ..) => numbers.iter().sum(),
            Relation::Metric(Metric::Average, ..) => numbers.iter().sum::<f64>() / numbers.len() as f64,
            Relation::Metric(Metric::Percentile(percentile), ..) => between(numbers, *percentile),
            Relation::Temporal(_) | Relation::TemporalOrdered(_) => positions(seen, window).len() as f64,
            Relation::FirstSeen { .. } => 1.0,
        }
    }

    /// Distinct values, those last that were seen last; more than decide are of no interest.
    fn values(&self, seen: &[Match], window: &[usize]) -> Vec<String> {
        let Relation::ValueCount(_, range) = &self.correlation.relation else { return Vec::new() };
        let mut values: Vec<&String> = Vec::new();
        for value in window.iter().flat_map(|at| &seen[*at].values) {
            values.retain(|known| *known != value);
            values.push(value);
        }
        let decides = |count: &u8| range.0.iter().all(|(_, limit)| f64::from(*count) >= limit.ceil() + 1.0);
        let more = values.len().saturating_sub((1..=100).find(decides).unwrap().into());
        values.split_off(more).into_iter().cloned().collect()
    }

    fn hold(&mut self, seen: &[Match], window: &[usize], now: i64) {
        let members = self.members(seen, window);
        let is_begin = self.open.is_none();
        let mut episode = self.open.take().unwrap_or_else(|| self.begin(seen[members[0]].time));
        for &at in &members {
            if !self.taken.insert(at) {
                continue;
            }
            episode.ended_at = episode.ended_at.max(json_time(seen[at].time));
            let rule = self.position_rule(seen[at].position);
            if !episode.rules.contains(&rule) {
                episode.rules.push(rule);
            }
            if !is_repeated(seen, window, at) {
                episode.request_count += 1;
                episode.audit_ids.push(seen[at].audit_id.clone());
            }
        }
        let values = self.values(seen, window);
        for value in values {
            if !episode.values.contains(&value) {
                episode.values.push(value);
            }
        }
        episode.number = episode.number.max(self.number(seen, window));
        self.held_at = now;
        let group = self.correlation.group_by.iter().cloned().zip(self.group.clone()).rev().collect();
        let audit_id = seen[*members.last().unwrap()].audit_id.clone();
        self.derived.insert(now, Derived { time: now, identity: half(episode.id), audit_id, group });
        let has_doubled = episode.request_count >= 2 * self.told_count;
        self.open = Some(episode);
        if is_begin || has_doubled {
            self.tell(if is_begin { Phase::Begun } else { Phase::Grown });
        }
    }

    /// The number of the rule that the correlation has at a position.
    fn position_rule(&self, position: usize) -> usize {
        let text = &self.correlation.rules[position].text;
        self.rules.iter().position(|rule| rule.id == *text).unwrap()
    }

    fn begin(&self, started_at: i64) -> Episode {
        let mut hasher = blake3::Hasher::new_derive_key("masthead episode v1");
        for text in [self.rules[self.number].id.as_str(), CLUSTER] {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        hasher.update(&key(&self.group).to_le_bytes()).update(&started_at.to_le_bytes());
        Episode {
            rule: self.number,
            id: first_half(&hasher),
            group: self.correlation.group_by.iter().cloned().zip(self.group.clone()).collect(),
            started_at: json_time(started_at),
            ended_at: json_time(started_at),
            request_count: 0,
            audit_ids: vec![],
            number: f64::NEG_INFINITY,
            values: vec![],
            rules: vec![],
            phase: Phase::Begun,
        }
    }

    fn tell(&mut self, phase: Phase) {
        let mut told = self.open.clone().unwrap();
        self.told_count = told.request_count;
        let order =
            |rule: &usize| (0..self.correlation.rules.len()).find(|at| self.position_rule(*at) == *rule);
        told.rules.sort_by_key(order);
        told.audit_ids.truncate(detect::correlate::LISTED_MAX);
        told.values.truncate(detect::correlate::LISTED_MAX);
        self.episodes.push(Episode { phase, ..told });
    }

    fn close_if(&mut self, is_over: impl Fn(i64, i64) -> bool) {
        if self.open.is_some() && is_over(self.held_at, self.timespan) {
            self.close();
        }
    }

    fn close(&mut self) {
        if self.open.is_some() {
            self.tell(Phase::Over);
            self.open = None;
        }
    }
}

/// Whether the request of a match has one before it in the window.
fn is_repeated(seen: &[Match], window: &[usize], at: usize) -> bool {
    let is_same = |before: &usize| *before < at && seen[*before].identity == seen[at].identity;
    !seen[at].is_derived && window.iter().any(is_same)
}

fn positions(seen: &[Match], window: &[usize]) -> BTreeSet<usize> {
    window.iter().map(|at| seen[*at].position).collect()
}

/// Every set of positions that matched in the order of the list, each another request than
/// the one before it.
fn chains(seen: &[Match], window: &[usize]) -> BTreeSet<BTreeSet<usize>> {
    let mut ending_at: Vec<(usize, BTreeSet<BTreeSet<usize>>)> = Vec::new();
    for &at in window {
        let mut here = BTreeSet::from([BTreeSet::from([seen[at].position])]);
        for (before, chains) in &ending_at {
            let may_follow =
                seen[*before].position < seen[at].position && seen[*before].identity != seen[at].identity;
            for chain in chains.iter().filter(|_| may_follow) {
                here.insert(chain.iter().copied().chain([seen[at].position]).collect());
            }
        }
        ending_at.push((at, here));
    }
    ending_at.into_iter().flat_map(|(_, chains)| chains).collect()
}

#[allow(clippy::cast_precision_loss)]
fn suffices(needed: &Needed, matched: &BTreeSet<usize>, seen: &BTreeSet<usize>) -> bool {
    match needed {
        Needed::Count(range) => within(range, matched.len() as f64),
        Needed::Expression(expr) => is_true(expr, matched, seen, false),
    }
}

/// Below an odd number of `not`, what must not be is looked for among all that was seen.
fn is_true(expr: &RuleExpr, matched: &BTreeSet<usize>, seen: &BTreeSet<usize>, is_negated: bool) -> bool {
    match expr {
        RuleExpr::Rule(rule) => if is_negated { seen } else { matched }.contains(rule),
        RuleExpr::All(parts) => parts.iter().all(|part| is_true(part, matched, seen, is_negated)),
        RuleExpr::Any(parts) => parts.iter().any(|part| is_true(part, matched, seen, is_negated)),
        RuleExpr::Not(part) => !is_true(part, matched, seen, !is_negated),
    }
}

#[allow(clippy::float_cmp)]
fn within(range: &Range, number: f64) -> bool {
    range.0.iter().all(|(bound, limit)| match bound {
        Bound::Less => number < *limit,
        Bound::LessOrEqual => number <= *limit,
        Bound::Greater => number > *limit,
        Bound::GreaterOrEqual => number >= *limit,
        Bound::Equal => number == *limit,
        Bound::NotEqual => number != *limit,
    })
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn between(mut numbers: Vec<f64>, percentile: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let rank = percentile / 100.0 * (numbers.len() - 1) as f64;
    let (low, high) = (numbers[rank.floor() as usize], numbers[rank.ceil() as usize]);
    low + (high - low) * (rank - rank.floor())
}

fn key(group: &[Option<String>]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    for value in group {
        let text = value.as_deref().unwrap_or_default();
        hasher.update(&[u8::from(value.is_some())]).update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    first_half(&hasher)
}

fn identity_of(event: &Seen) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for text in ["", CLUSTER, &audit_id(event), &timestamp(event), "", "", ""] {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    half(first_half(&hasher))
}

fn first_half(hasher: &blake3::Hasher) -> u128 {
    u128::from_be_bytes(*hasher.finalize().as_bytes().first_chunk().unwrap())
}

#[allow(clippy::cast_possible_truncation)]
fn half(hash: u128) -> u64 {
    hash as u64
}
