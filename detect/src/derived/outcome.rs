//! How a request ended, and whether it was only rehearsed.

use super::query;
use crate::event::{Event, Key};
use crate::json::Json;

/// Every value of `outcome`.
pub(super) const OUTCOMES: &[&str] = &["succeeded", "denied", "rejected", "failed", "pending"];

/// How the request ended: `succeeded`, `denied`, `rejected`, `failed` or `pending`.
pub fn outcome(event: &Event<'_>) -> &'static str {
    let decision = event.at(Key::Annotations, &["authorization.k8s.io/decision"]).and_then(Json::as_str);
    if decision.as_deref() == Some("forbid") {
        return "denied";
    }
    match code(event) {
        None => without_code(event),
        Some(403) if decision.as_deref() == Some("allow") => "rejected",
        Some(401 | 403) => "denied",
        Some(400 | 413 | 422) => "rejected",
        Some(..400) => "succeeded",
        Some(_) => "failed",
    }
}

/// The HTTP status code of the response.
pub(crate) fn code(event: &Event<'_>) -> Option<u32> {
    let code = event.at(Key::ResponseStatus, &["code"])?.text()?;
    code.parse().ok().filter(|code| *code > 0)
}

fn without_code(event: &Event<'_>) -> &'static str {
    let is_failure = event.str_at(Key::ResponseStatus, "status").as_deref() == Some("Failure");
    match event.str(Key::Stage).as_deref() {
        Some("Panic") => "failed",
        _ if is_failure => "failed",
        Some("ResponseComplete" | "ResponseStarted") => "succeeded",
        _ => "pending",
    }
}

/// Whether the request makes the object that it names: a patch or an update makes what was not there, which the
/// code of the response tells.
pub(super) fn is_creation(event: &Event<'_>) -> bool {
    match event.str(Key::Verb).as_deref() {
        Some("create") => true,
        Some("update" | "patch") => code(event) == Some(201),
        _ => false,
    }
}

/// Subresources that open a connection: they do what they do, whatever the query says.
const CONNECTIONS: &[&str] = &["exec", "attach", "portforward", "proxy"];

/// Groups of what is answered and not kept, such as reviews.
const ANSWERED: &[&str] = &["authentication.k8s.io", "authorization.k8s.io"];

/// Whether the query changes nothing: of a connection, or where there is nothing to keep; tokens are made and given.
fn ignores_query(event: &Event<'_>) -> bool {
    let [resource, subresource, group] = ["resource", "subresource", "apiGroup"]
        .map(|key| event.str_at(Key::ObjectRef, key).unwrap_or_default());
    CONNECTIONS.contains(&&*subresource)
        || ANSWERED.contains(&&*group)
        || (&*resource, &*subresource) == ("serviceaccounts", "token")
}

/// Whether the request asked to change nothing. Reads, connections and what is only answered ignore the query.
///
/// The API server ignores the query of a deletion that carries options in its body, so
/// there the query counts only where the log shows that there is no body.
pub(crate) fn is_dry_run(event: &Event<'_>) -> bool {
    let is_in_query = || query::parameters(event, "dryRun").iter().any(|value| value == "All");
    match event.str(Key::Verb).as_deref() {
        Some("delete" | "deletecollection") if !ignores_query(event) => {}
        // Hardly any request has one in its query, and the query is soon read.
        Some("create" | "update" | "patch") => return is_in_query() && !ignores_query(event),
        _ => return false,
    }
    match event.get(Key::RequestObject) {
        Some(options) => {
            let modes = options.get("dryRun").into_iter().flat_map(Json::elements);
            modes.into_iter().any(|mode| mode.as_str().as_deref() == Some("All"))
        }
        None => event.str(Key::Level).as_deref() != Some("Metadata") && is_in_query(),
    }
}
