//! What is run inside a container, and how: `exec`, `attach`, and the kubelet's own doors
//! behind `nodes/proxy`.

use super::query;
use crate::event::{Event, Key};
use crate::json::Json;

/// The ways into a container.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Exec,
    Attach,
    KubeletRun,
    KubeletExec,
    KubeletAttach,
}

fn way(event: &Event<'_>) -> Option<Way> {
    let part = |name| event.str_at(Key::ObjectRef, name).unwrap_or_default();
    match (part("resource").as_ref(), part("subresource").as_ref()) {
        (_, "exec") => Some(Way::Exec),
        (_, "attach") => Some(Way::Attach),
        ("nodes", "proxy") => match kubelet_path(event)?.split('/').next()? {
            "run" => Some(Way::KubeletRun),
            "exec" => Some(Way::KubeletExec),
            "attach" => Some(Way::KubeletAttach),
            _ => None,
        },
        _ => None,
    }
}

/// The path on the kubelet that a `nodes/proxy` request asks for, without leading slash.
pub(crate) fn kubelet_path(event: &Event<'_>) -> Option<String> {
    let path = query::path(event);
    let (_, path) = path.split_once("/proxy/")?;
    Some(path.trim_start_matches('/').to_owned())
}

/// The command with its arguments, joined by spaces.
///
/// A raw semicolon in the query is read in two ways, depending on the age of the API server;
/// then there are two values. Nobody needs one there, so both say that there was one: neither
/// may pass for a plain, harmless command.
pub(crate) fn commands(event: &Event<'_>) -> Vec<String> {
    let name = match way(event) {
        Some(Way::Exec | Way::KubeletExec) => "command",
        Some(Way::KubeletRun) => "cmd",
        Some(Way::Attach | Way::KubeletAttach) | None => return Vec::new(),
    };
    let words = query::parameters(event, name);
    let words_before = query::parameters_before_1_23(event, name);
    if words != words_before {
        let readings = [words, words_before].into_iter().filter(|words| !words.is_empty());
        return readings.map(|words| format!("; {}", words.join(" "))).collect();
    }
    if !words.is_empty() {
        return vec![words.join(" ")];
    }
    let words: Vec<_> =
        option(event, "command").into_iter().flat_map(Json::elements).filter_map(Json::text).collect();
    if words.is_empty() { Vec::new() } else { vec![words.join(" ")] }
}

/// The container that is entered, if the request names one.
pub(crate) fn container(event: &Event<'_>) -> Option<String> {
    match way(event)? {
        Way::Exec | Way::Attach => query::parameters(event, "container")
            .into_iter()
            .next()
            .or_else(|| Some(option(event, "container")?.as_str()?.into_owned())),
        // `run/NAMESPACE/POD/CONTAINER`, with the pod's uid before the container or not.
        Way::KubeletRun | Way::KubeletExec | Way::KubeletAttach => {
            kubelet_path(event)?.split('/').skip(3).take(2).last().map(str::to_owned)
        }
    }
}

/// Whether a switch such as `tty` is on: any value but `0` and `false` sets it.
pub(super) fn switch(event: &Event<'_>, name: &str) -> Option<&'static str> {
    way(event)?;
    let is_on = match query::parameters(event, name).first() {
        Some(value) => value != "0" && !value.eq_ignore_ascii_case("false"),
        None => option(event, name).and_then(Json::text).as_deref() == Some("true"),
    };
    Some(if is_on { "true" } else { "false" })
}

/// An option in the body; API servers log one where a proxy rebuilt the request.
fn option<'a>(event: &Event<'a>, name: &str) -> Option<Json<'a>> {
    event.at(Key::RequestObject, &[name])
}
