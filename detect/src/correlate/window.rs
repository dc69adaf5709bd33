//! What a correlation remembers of a group, for people who ask why it did not hold yet.

use super::group::Group;
use super::plan::Plan;

/// The state of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// What the requests share: fields and values, nothing where the field is absent.
    pub group: Vec<(String, Option<String>)>,
    /// How far the group is: a count, a sum, a mean, how many rules.
    pub number: f64,
    /// The distinct values that are counted, the most recent first; bounded.
    pub values: Vec<String>,
    /// For each rule that is related, whether it matched.
    pub rules: Vec<bool>,
    /// The audit ids of the matches in the window, the oldest first; bounded.
    pub audit_ids: Vec<String>,
    /// Whether an episode is going on.
    pub is_episode_open: bool,
}

impl Window {
    pub(super) fn of(plan: &Plan, group: &Group) -> Self {
        let matched =
            |position: usize| group.members().iter().any(|member| usize::from(member.position) == position);
        let ids = group.members().iter().filter(|member| member.is_new).take(super::LISTED_MAX);
        let shared = group.values().iter().map(|value| value.map(str::to_owned));
        Self {
            group: plan.group_by.iter().cloned().zip(shared).collect(),
            number: group.measure().number(plan),
            values: group
                .measure()
                .values()
                .rev()
                .take(super::LISTED_MAX)
                .map(|value| value.as_ref().to_owned())
                .collect(),
            rules: (0..plan.rules.len()).map(matched).collect(),
            audit_ids: ids.map(|member| member.request.audit_id.text()).collect(),
            is_episode_open: group.is_episode_open(),
        }
    }
}
