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

/// Subresources that open a connection: they do what they do, whatever the query says.
const CONNECTIONS: &[&str] = &["exec", "attach", "portforward", "proxy"];

/// Whether the request asked to change nothing. Reads and connections ignore the query.
///
/// The API server ignores the query of a deletion that carries options in its body, so
/// there the query counts only where the log shows that there is no body.
pub(crate) fn is_dry_run(event: &Event<'_>) -> bool {
    let is_in_query = || query::parameters(event, "dryRun").iter().any(|value| value == "All");
    let opens_connection = || {
        let subresource = event.str_at(Key::ObjectRef, "subresource").unwrap_or_default();
        CONNECTIONS.contains(&subresource.as_ref())
    };
    match event.str(Key::Verb).as_deref() {
        Some("delete" | "deletecollection") if !opens_connection() => {}
        // Hardly any request has one in its query, and the query is soon read.
        Some("create" | "update" | "patch") => return is_in_query() && !opens_connection(),
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
