//! Episodes: what people are told when a correlation holds.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::group::{Group, Member};
use super::observation::{AuditId, text_bytes};
use super::plan::Plan;
use super::values::{GroupKey, GroupValues};

/// How many audit ids, and how many distinct values, an episode lists.
pub const LISTED_MAX: usize = 100;

/// A stretch of time in which a correlation held for one group.
///
/// It begins when the correlation first holds and is over once it has not held for the
/// correlation's time span.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// The number of the correlation among all rules.
    pub rule: usize,
    /// The same for the same correlation, group and start: 128 bits of BLAKE3.
    pub id: u128,
    /// What the requests share: fields and values, nothing where the field is absent.
    pub group: Vec<(String, Option<String>)>,
    /// When the API server received the first request that made it.
    pub started_at: DateTime<Utc>,
    /// When it received the last one.
    pub ended_at: DateTime<Utc>,
    /// How many requests made it.
    pub request_count: u64,
    /// The audit ids of the first [`LISTED_MAX`] of them.
    pub audit_ids: Vec<String>,
    /// The number that was compared, at its highest: a count, a sum, a mean, how many rules.
    pub number: f64,
    /// The distinct values that were counted: the first [`LISTED_MAX`].
    pub values: Vec<String>,
    /// The numbers of the rules that matched.
    pub rules: Vec<usize>,
    /// How far it is.
    pub phase: Phase,
}

/// How far an episode is when it is told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has just begun.
    Begun,
    /// It has at least doubled since it was last told about.
    Grown,
    /// It is over, and this is all of it.
    Over,
}

/// An episode that is not over.
#[derive(Debug)]
pub(super) struct Open {
    id: u128,
    started_at: i64,
    ended_at: i64,
    /// When the correlation last held.
    pub(super) held_at: i64,
    request_count: u64,
    told_count: u64,
    audit_ids: Vec<AuditId>,
    number: f64,
    values: Vec<Arc<str>>,
    /// What audit ids and values take besides themselves.
    text_bytes: usize,
    /// Positions of the rules that matched, a bit each.
    rules: u64,
}

impl Open {
    /// An episode of the group, which holds now.
    pub(super) fn new(plan: &Plan, cluster: &str, key: GroupKey, started_at: i64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("masthead episode v1");
        for text in [plan.id.as_str(), cluster] {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        hasher.update(&key.to_le_bytes()).update(&started_at.to_le_bytes());
        Self {
            id: crate::alert::first_half(&hasher.finalize()),
            started_at,
            ended_at: started_at,
            held_at: started_at,
            request_count: 0,
            told_count: 0,
            audit_ids: Vec::new(),
            number: f64::NEG_INFINITY,
            values: Vec::new(),
            text_bytes: 0,
            rules: 0,
        }
    }

    /// When it started, and when it last held.
    pub(super) fn times(&self) -> (i64, i64) {
        (self.started_at, self.held_at)
    }

    /// The number behind the episode's id.
    pub(super) fn id(&self) -> u128 {
        self.id
    }

    /// Takes what is new in the group's window. `more` requests are not among its members.
    pub(super) fn grow(&mut self, plan: &Plan, group: &Group, fresh: usize, more: u64, now: i64) {
        self.held_at = now;
        let members = group.members();
        for member in members.range(members.len().saturating_sub(fresh)..) {
            self.take(member);
        }
        self.request_count += more;
        self.number = self.number.max(group.measure().number(plan));
        for value in group.measure().values() {
            if self.values.len() == LISTED_MAX {
                break;
            }
            if !self.values.contains(value) {
                self.text_bytes += text_bytes(value);
                self.values.push(value.clone());
            }
        }
    }

    fn take(&mut self, member: &Member) {
        self.ended_at = self.ended_at.max(member.time);
        self.rules |= 1 << member.position;
        if !member.is_new {
            return;
        }
        self.request_count += 1;
        if self.audit_ids.len() < LISTED_MAX {
            self.text_bytes += member.request.audit_id.bytes();
            self.audit_ids.push(member.request.audit_id.clone());
        }
    }

    /// Whether there is so much more than was told that it should be told again.
    pub(super) fn has_doubled(&self) -> bool {
        self.request_count >= self.told_count.saturating_mul(2)
    }

    /// What is to be told now.
    pub(super) fn tell(&mut self, plan: &Plan, values: &GroupValues, phase: Phase) -> Episode {
        self.told_count = self.request_count;
        let shared = values.iter().map(|value| value.map(str::to_owned));
        let rules = plan.rules.iter().enumerate().filter(|(position, _)| self.rules >> position & 1 == 1);
        Episode {
            rule: plan.rule,
            id: self.id,
            group: plan.group_by.iter().cloned().zip(shared).collect(),
            started_at: time_of(self.started_at),
            ended_at: time_of(self.ended_at),
            request_count: self.request_count,
            audit_ids: self.audit_ids.iter().map(AuditId::text).collect(),
            number: self.number,
            values: self.values.iter().map(|value| value.as_ref().to_owned()).collect(),
            rules: rules.map(|(_, rule)| *rule).collect(),
            phase,
        }
    }

    /// Roughly the memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let lists = self.audit_ids.capacity() * size_of::<AuditId>()
            + (self.values.capacity() - self.values.len()) * size_of::<Arc<str>>();
        size_of::<Self>() + lists + self.text_bytes
    }
}

fn time_of(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}
