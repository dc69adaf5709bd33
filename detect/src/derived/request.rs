//! What was asked and how it ended: outcome, dry run, the query of the URI, the object's name.

use std::borrow::Cow;

use crate::event::{Event, Key};
use crate::json::{Json, Kind};

/// How the request ended; see the table for the words.
pub fn outcome(event: &Event<'_>) -> &'static str {
    let decision = event.at(Key::Annotations, &["authorization.k8s.io/decision"]).and_then(Json::as_str);
    let is_forbidden = decision.as_deref() == Some("forbid");
    match code(event) {
        Some(401) => "denied",
        Some(403) if decision.as_deref() != Some("allow") => "denied",
        Some(100..400) if is_forbidden => "denied",
        Some(100..400) => "succeeded",
        Some(_) if is_forbidden => "denied",
        Some(400 | 403 | 413 | 422) => "rejected",
        Some(_) => "failed",
        None if is_forbidden => "denied",
        None => without_code(event),
    }
}

fn without_code(event: &Event<'_>) -> &'static str {
    let status = event.at(Key::ResponseStatus, &["status"]).and_then(Json::as_str);
    match (status.as_deref(), event.str(Key::Stage).as_deref()) {
        (Some("Failure"), _) | (_, Some("Panic")) => "failed",
        (Some("Success"), _) | (_, Some("ResponseComplete")) => "succeeded",
        _ => "pending",
    }
}

/// The status code of the response, if it has come.
pub(crate) fn code(event: &Event<'_>) -> Option<u16> {
    event.at(Key::ResponseStatus, &["code"])?.text()?.parse().ok().filter(|code| *code > 0)
}

/// Subresources that open a connection: they do what they do, whatever the query says.
const CONNECTIONS: &[&str] = &["exec", "attach", "portforward", "proxy"];

/// Whether a write asked that nothing be changed.
pub(crate) fn is_dry_run(event: &Event<'_>) -> bool {
    let verb = event.str(Key::Verb).unwrap_or_default();
    let subresource = event.str_at(Key::ObjectRef, "subresource").unwrap_or_default();
    let can_be_dry = matches!(verb.as_ref(), "create" | "update" | "patch" | "delete" | "deletecollection")
        && !CONNECTIONS.contains(&subresource.as_ref());
    if !can_be_dry {
        return false;
    }
    let in_body = event.at(Key::RequestObject, &["dryRun"]).filter(|_| verb.starts_with("delete"));
    let mut asked = query_values(event, "dryRun");
    asked.extend(in_body.into_iter().flat_map(Json::elements).filter_map(Json::as_str).map(Cow::into_owned));
    !asked.is_empty() && asked.iter().all(|value| value == "All")
}

/// The decoded values of a query parameter of the request URI, in order.
pub fn query_values(event: &Event<'_>, name: &str) -> Vec<String> {
    let uri = event.str(Key::RequestUri).unwrap_or_default();
    let Some((_, query)) = uri.split_once('?') else { return Vec::new() };
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(|(key, _)| percent_decode(key) == name).map(|(_, value)| percent_decode(value)).collect()
}

/// Decodes `%xx` and `+` as forms do. What is not an escape stays as it is.
pub(crate) fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'%').then(|| after.get(..2).and_then(hex)).flatten();
        match (byte, escaped) {
            (_, Some(decoded)) => {
                bytes.push(decoded);
                rest = &after[2..];
                continue;
            }
            (b'+', None) => bytes.push(b' '),
            (other, None) => bytes.push(other),
        }
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u8::from_str_radix(text, 16).ok()
}

fn is_session(event: &Event<'_>, subresources: &[&str]) -> bool {
    event.str_at(Key::ObjectRef, "subresource").is_some_and(|name| subresources.contains(&name.as_ref()))
}

/// The command of an exec: from the query, where every word is a parameter of its own
/// (`cmd` in one piece on the kubelet's `/run`), or from the options in the body.
pub(super) fn exec_command<'a>(event: &Event<'a>) -> Option<Cow<'a, str>> {
    if !is_session(event, &["exec", "proxy"]) {
        return None;
    }
    let mut words = query_values(event, "command");
    words.extend(query_values(event, "cmd"));
    if words.is_empty() {
        let command = event.at(Key::RequestObject, &["command"])?;
        words = command.elements().filter_map(Json::text).map(Cow::into_owned).collect();
    }
    (!words.is_empty()).then(|| Cow::Owned(words.join(" ")))
}

/// An option of an exec, attach or port-forward.
pub(super) fn session_option<'a>(event: &Event<'a>, name: &str) -> Option<Cow<'a, str>> {
    if !is_session(event, &["exec", "attach", "portforward", "proxy"]) {
        return None;
    }
    match query_values(event, name).pop() {
        Some(value) => Some(Cow::Owned(value)),
        None => event.at(Key::RequestObject, &[name])?.text(),
    }
}

/// The name of the object that the request was about.
pub(super) fn object_name<'a>(event: &Event<'a>) -> Option<Cow<'a, str>> {
    let named = |key: Key, path: &[&str]| {
        event
            .at(key, path)
            .filter(|name| name.kind() == Kind::String)?
            .as_str()
            .filter(|name| !name.is_empty())
    };
    named(Key::ObjectRef, &["name"])
        .or_else(|| named(Key::ResponseObject, &["metadata", "name"]))
        .or_else(|| named(Key::RequestObject, &["metadata", "name"]))
        .or_else(|| named(Key::RequestObject, &["metadata", "generateName"]))
}
