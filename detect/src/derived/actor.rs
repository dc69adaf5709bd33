//! Who did it, from where, with what client.

use std::borrow::Cow;

use core::net::IpAddr;

use crate::event::{Event, Key};
use crate::field::View;
use crate::json::Json;
use crate::sigma::parse_address;

/// Identities of the control plane, by their exact names: a certificate can be made out
/// to any name, so nothing is trusted by a prefix alone.
const CONTROL_PLANE: &[&str] = &[
    "system:apiserver",
    "system:kube-controller-manager",
    "system:kube-scheduler",
    "system:cloud-controller-manager",
    "system:kube-aggregator",
    "system:kube-proxy",
];

/// The user whose rights the request had: the impersonated one if there is one.
fn effective<'a>(event: &Event<'a>) -> Option<Json<'a>> {
    event.get(Key::ImpersonatedUser).or_else(|| event.get(Key::User))
}

/// The effective user name.
pub(super) fn name<'a>(event: &Event<'a>) -> Option<Cow<'a, str>> {
    effective(event)?.str_at("username")
}

/// The authenticated user behind an impersonation.
pub(super) fn original<'a>(event: &Event<'a>) -> Option<Cow<'a, str>> {
    event.get(Key::ImpersonatedUser)?;
    event.str_at(Key::User, "username")
}

/// Gives each effective group to `each`.
pub(super) fn groups<'a>(event: &Event<'a>, each: impl FnMut(Cow<'a, str>)) {
    let groups = effective(event).and_then(|user| user.get("groups"));
    groups.into_iter().flat_map(Json::elements).filter_map(Json::as_str).for_each(each);
}

fn is_in_group(event: &Event<'_>, group: &str) -> bool {
    let mut found = false;
    groups(event, |name| found |= name == group);
    found
}

/// What kind of identity acted.
pub(super) fn kind(event: &Event<'_>) -> Option<&'static str> {
    effective(event)?;
    let name = name(event).unwrap_or_default();
    let is_anonymous =
        name.is_empty() || name == "system:anonymous" || is_in_group(event, "system:unauthenticated");
    Some(if is_anonymous {
        "anonymous"
    } else if service_account(&name).is_some() {
        "serviceaccount"
    } else if is_node(event, &name) {
        "node"
    } else if CONTROL_PLANE.contains(&name.as_ref()) {
        "controlplane"
    } else {
        "human"
    })
}

/// A node's name says so only together with the nodes' group, where groups are shown.
fn is_node(event: &Event<'_>, name: &str) -> bool {
    let has_groups = effective(event).and_then(|user| user.get("groups")).is_some();
    name.strip_prefix("system:node:").is_some_and(|node| !node.is_empty())
        && (!has_groups || is_in_group(event, "system:nodes"))
}

/// Namespace and name of the service account that a user name stands for.
pub(crate) fn service_account(name: &str) -> Option<(&str, &str)> {
    let (namespace, account) = name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (!namespace.is_empty() && !account.is_empty() && !account.contains(':')).then_some((namespace, account))
}

/// The namespace of an acting service account.
pub(super) fn namespace<'a>(event: &Event<'a>) -> Option<Cow<'a, str>> {
    let name = name(event)?;
    let (namespace, _) = service_account(&name)?;
    Some(Cow::Owned(namespace.to_owned()))
}

/// The last address that is not a configured proxy; the first if all are.
pub(super) fn source_ip<'a>(view: View<'a>) -> Option<Cow<'a, str>> {
    let addresses: Vec<Cow<'a, str>> =
        view.event.get(Key::SourceIps)?.elements().filter_map(Json::as_str).collect();
    let is_proxy = |address: &Cow<'_, str>| {
        parse_address(address)
            .is_some_and(|ip| view.settings.proxies.iter().any(|net| net.contains(&ip.to_canonical())))
    };
    let trusted = addresses.iter().rposition(|address| !is_proxy(address)).unwrap_or(0);
    addresses.into_iter().nth(trusted)
}

/// Where the trusted address lies.
pub(super) fn source_scope(view: View<'_>) -> Option<&'static str> {
    Some(scope(parse_address(&source_ip(view)?)?.to_canonical()))
}

fn scope(address: IpAddr) -> &'static str {
    let (is_loopback, is_private) = match address {
        IpAddr::V4(v4) => {
            let is_shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            (v4.is_loopback(), v4.is_private() || v4.is_link_local() || is_shared)
        }
        IpAddr::V6(v6) => (v6.is_loopback(), v6.is_unique_local() || v6.is_unicast_link_local()),
    };
    match (is_loopback, is_private) {
        (true, _) => "loopback",
        (_, true) => "private",
        _ => "public",
    }
}

/// The user agent without version and platform.
pub(super) fn client_family<'a>(event: &Event<'a>) -> Option<Cow<'a, str>> {
    let agent = event.str(Key::UserAgent)?;
    let end = agent.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(agent.len());
    Some(match agent {
        Cow::Borrowed(agent) => Cow::Borrowed(&agent[..end]),
        Cow::Owned(agent) => Cow::Owned(agent[..end].to_owned()),
    })
}
