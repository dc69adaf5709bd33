//! Who acted: the identity that the API server authorised.

use std::borrow::Cow;

use crate::event::{Event, Key};
use crate::field::Value;
use crate::json::Json;

/// Every value of `actor.kind`.
pub(super) const KINDS: &[&str] = &["human", "serviceaccount", "node", "controlplane", "anonymous"];

/// The names under which the parts of a control plane log in.
const CONTROL_PLANE: &[&str] = &[
    "system:apiserver",
    "system:kube-apiserver",
    "system:kube-aggregator",
    "system:kube-controller-manager",
    "system:cloud-controller-manager",
    "system:kube-scheduler",
    "system:kube-proxy",
    "system:konnectivity-server",
];

/// What is said of the effective user: of the impersonated one if impersonation was used.
fn of_user<'a>(event: &Event<'a>, name: &str) -> Option<Json<'a>> {
    let user = if event.has(Key::ImpersonatedUser) { Key::ImpersonatedUser } else { Key::User };
    event.entry(user, name)
}

/// The name of the effective user.
pub(crate) fn name<'a>(event: &Event<'a>) -> Option<Cow<'a, str>> {
    of_user(event, "username")?.as_str()
}

/// The authenticated user behind an impersonation.
pub(crate) fn original<'a>(event: &Event<'a>) -> Option<Cow<'a, str>> {
    event.has(Key::ImpersonatedUser).then(|| event.str_at(Key::User, "username"))?
}

/// What the effective user is.
pub(crate) fn kind(event: &Event<'_>) -> &'static str {
    let name = name(event).unwrap_or_default();
    if matches!(name.as_ref(), "" | "system:anonymous") || is_in(event, "system:unauthenticated") {
        return "anonymous";
    }
    if CONTROL_PLANE.contains(&name.as_ref()) {
        return "controlplane";
    }
    if service_account(&name).is_some() {
        return "serviceaccount";
    }
    let is_node_name = name.strip_prefix("system:node:").is_some_and(|node| !node.is_empty());
    let shows_groups = of_user(event, "groups").is_some();
    if is_node_name && (!shows_groups || is_in(event, "system:nodes")) { "node" } else { "human" }
}

/// Appends the groups of the effective user.
pub(super) fn groups<'a>(event: &Event<'a>, values: &mut Vec<Value<'a>>) {
    let groups = of_user(event, "groups");
    values.extend(groups.into_iter().flat_map(Json::elements).map(Value::Json));
}

/// The namespace of the service account that acted.
pub(super) fn namespace<'a>(event: &Event<'a>) -> Option<Cow<'a, str>> {
    if kind(event) != "serviceaccount" {
        return None;
    }
    match name(event)? {
        Cow::Borrowed(name) => Some(Cow::Borrowed(service_account(name)?.0)),
        Cow::Owned(name) => Some(Cow::Owned(service_account(&name)?.0.to_owned())),
    }
}

/// The namespace and name in `system:serviceaccount:namespace:name`.
pub(crate) fn service_account(name: &str) -> Option<(&str, &str)> {
    let (namespace, name) = name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

fn is_in(event: &Event<'_>, group: &str) -> bool {
    let groups = of_user(event, "groups");
    groups.into_iter().flat_map(Json::elements).any(|name| name.as_str().as_deref() == Some(group))
}
