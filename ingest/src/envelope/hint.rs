//! What envelopes say about the cluster that their events come from.
//!
//! **Invariant:** a hint is a short line of printable text; whoever can write to a source can
//! choose it, so it is no proof of anything.

use detect::json::Json;

use super::parts::Parts;

/// How long the name of a cluster may be, in bytes: longer ones are nowhere allowed.
const HINT_BYTES_MAX: usize = 253;

/// The names of an envelope, each kept once as long as they do not alternate.
#[derive(Debug, Default)]
pub(super) struct Hints(Vec<String>);

impl Hints {
    /// The number of what a wrapper says, if it says anything.
    pub(super) fn of(&mut self, parts: &Parts<'_>) -> Option<u32> {
        let hint = hint_of(parts)?;
        if self.0.last() != Some(&hint) {
            self.0.push(hint);
        }
        u32::try_from(self.0.len() - 1).ok()
    }

    /// What was said under a number.
    pub(super) fn get(&self, number: u32) -> Option<&str> {
        self.0.get(usize::try_from(number).ok()?).map(String::as_str)
    }

    pub(super) fn clear(&mut self) {
        super::shrink(&mut self.0);
    }
}

/// In this order: Azure names a resource by its path, in capitals; AWS a group of logs; Cloud Logging
/// and Elastic have a place for it, shippers are told to add one.
fn hint_of(parts: &Parts<'_>) -> Option<String> {
    let of_azure = || Some(last_of(&parts.text("resourceId")?).to_lowercase());
    let of_aws = || Some(parts.text("logGroup")?.strip_prefix("/aws/eks/")?.split('/').next()?.to_owned());
    let below =
        |part: &str, keys: &[&str]| parts.get(part)?.at(keys).and_then(Json::as_str).map(String::from);
    let named = |part: &str| parts.text(part).map(String::from);
    let hint = of_azure()
        .or_else(of_aws)
        .or_else(|| below("resource", &["labels", "cluster_name"]))
        .or_else(|| below("orchestrator", &["cluster", "name"]))
        .or_else(|| named("cluster_name"))
        .or_else(|| named("cluster"))?;
    let is_fit = !hint.is_empty() && hint.len() <= HINT_BYTES_MAX && !hint.chars().any(char::is_control);
    is_fit.then_some(hint)
}

fn last_of(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}
