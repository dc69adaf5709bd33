//! What correlations want of one match, worked out once: by whichever thread saw the event,
//! for a correlator that takes it now or after a restart.

use super::DISORDER;
use super::observation::{Amount, Observation, Request};
use super::plan::Feed;
use super::relations::Relations;
use super::values::{Keyed, Membership};

/// What correlations want of a match of one rule.
#[derive(Clone, Debug)]
pub struct Observed {
    relations: Relations,
    /// Microseconds since 1970; nothing if the event has no time.
    time: Option<i64>,
    request: Request,
    roles: Vec<Role>,
    is_hidden: bool,
    is_crowded: bool,
}

/// A match in one role.
#[derive(Clone, Debug)]
pub(super) struct Role {
    /// The name of the role.
    pub(super) name: u128,
    plan: usize,
    position: u8,
    /// The groups it is in.
    pub(super) membership: Membership,
    pub(super) amount: Amount,
}

impl Role {
    pub(super) fn new(feed: &Feed, membership: Membership, amount: Amount) -> Self {
        Self { name: feed.name, plan: feed.plan, position: feed.position, membership, amount }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.membership.bytes() + self.amount.bytes()
    }
}

impl Observed {
    pub(super) fn new(relations: Relations, time: Option<i64>, request: Request) -> Self {
        Self::with_capacity(0, relations, time, request)
    }

    /// The same with room for so many roles.
    pub(super) fn with_capacity(
        role_count: usize,
        relations: Relations,
        time: Option<i64>,
        request: Request,
    ) -> Self {
        let roles = Vec::with_capacity(role_count);
        Self { relations, time, request, roles, is_hidden: false, is_crowded: false }
    }

    /// Adds a role; `is_cut` if it has more groups or values than count.
    pub(super) fn add(&mut self, role: Role, is_cut: bool) {
        self.is_crowded |= is_cut;
        self.roles.push(role);
    }

    /// Notes that there are more groups or values than count.
    pub(super) fn crowd(&mut self, is_crowded: bool) {
        self.is_crowded |= is_crowded;
    }

    /// Notes that the event hides a field that groups or is counted.
    pub(super) fn hide(&mut self) {
        self.is_hidden = true;
    }

    /// When the request was received: microseconds since 1970; nothing if the event does not
    /// say.
    pub fn time_us(&self) -> Option<i64> {
        self.time
    }

    /// Until when, in the time of events, a correlation may want it: microseconds since 1970.
    /// Nothing if none ever does, as the event has no time, or not the fields.
    pub fn until_us(&self) -> Option<i64> {
        let wanted_for = self.roles.iter().map(|role| self.relations.plan(role.plan).wanted_for).max()?;
        let disorder = i64::try_from(DISORDER.as_micros()).unwrap_or(i64::MAX);
        Some(self.time?.saturating_add(wanted_for).saturating_add(disorder))
    }

    /// Roughly the memory it takes; what it shares with others counts for each of them.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.request.audit_id.bytes() + self.roles.iter().map(Role::bytes).sum::<usize>()
    }

    pub(super) fn request(&self) -> &Request {
        &self.request
    }

    pub(super) fn roles(&self) -> &[Role] {
        &self.roles
    }

    pub(super) fn is_hidden(&self) -> bool {
        self.is_hidden
    }

    pub(super) fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    /// The same for these correlations, if it was observed for others: rules may have been
    /// read again in between. Nothing if they want none of it.
    pub(super) fn among(self, relations: &Relations) -> Option<Self> {
        if self.relations.is(relations) {
            return Some(self);
        }
        Self::from_bytes(&self.to_bytes(), relations)
    }

    /// What it is to each correlation and in each group, at this time.
    pub(super) fn into_observations(self, time: i64) -> impl Iterator<Item = Observation> {
        let Self { request, roles, .. } = self;
        roles.into_iter().flat_map(move |role| {
            let Role { plan, position, membership, amount, .. } = role;
            let request = request.clone();
            (0..membership.groups().len()).filter_map(move |at| {
                let Keyed { key: group, values } = membership.groups().get(at)?.clone();
                let (is_derived, request, amount) = (false, request.clone(), amount.clone());
                Some(Observation { time, plan, position, is_derived, request, group, values, amount })
            })
        })
    }
}
