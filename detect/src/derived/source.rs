//! Where a request came from, as far as the client cannot choose it, and with what.

use core::net::IpAddr;
use std::borrow::Cow;

use crate::event::{Event, Key};
use crate::field::View;
use crate::json::Json;
use crate::sigma::parse_address;

/// Every value of `source.scope`.
pub(super) const SCOPES: &[&str] = &["public", "private", "loopback"];

/// The last of `sourceIPs` that is not a configured proxy; the first if all are.
pub(crate) fn ip(view: View<'_>) -> Option<Cow<'_, str>> {
    let ips = view.event.get(Key::SourceIps)?;
    let mut trusted = None;
    for ip in ips.elements().filter_map(Json::as_str) {
        if trusted.is_none() || !is_proxy(view, &ip) {
            trusted = Some(ip);
        }
    }
    trusted
}

fn is_proxy(view: View<'_>, ip: &str) -> bool {
    let Some(address) = parse_address(ip) else { return false };
    view.settings.proxies.iter().any(|proxy| proxy.contains(&address.to_canonical()))
}

/// Whether the trusted address lies outside, inside, or on the API server's own host.
pub(super) fn scope(view: View<'_>) -> Option<&'static str> {
    Some(match parse_address(&ip(view)?)?.to_canonical() {
        address if address.is_loopback() => "loopback",
        IpAddr::V4(address) if is_private_v4(address.octets()) => "private",
        IpAddr::V6(address)
            if address.is_unique_local() || address.is_unicast_link_local() || address.is_unspecified() =>
        {
            "private"
        }
        _ => "public",
    })
}

/// Addresses that are not routed on the internet, shared carrier space included.
fn is_private_v4(octets: [u8; 4]) -> bool {
    matches!(
        octets,
        [0 | 10, ..] | [100, 64..=127, ..] | [169, 254, ..] | [172, 16..=31, ..] | [192, 168, ..]
    )
}

/// The user agent up to its version and platform.
pub(super) fn client_family<'a>(event: &Event<'a>) -> Option<Cow<'a, str>> {
    let length = |agent: &str| agent.find(['/', ' ']).unwrap_or(agent.len());
    Some(match event.str(Key::UserAgent)? {
        Cow::Borrowed(agent) => Cow::Borrowed(&agent[..length(agent)]),
        Cow::Owned(mut agent) => {
            agent.truncate(length(&agent));
            Cow::Owned(agent)
        }
    })
}
