//! Bindings and roles that a request writes.

use std::borrow::Cow;

use super::Known;
use super::written::{Tree, Written, response};
use crate::event::{Event, Key};
use crate::field::{Sight, Value, follow, sight_of};
use crate::json::Json;

/// Appends `name` or `kind` of the role that a binding gives.
///
/// A patch that changes the subjects alone does not say which role they get; the response
/// does. A patch of neither, such as one of labels, gives nobody anything.
pub(super) fn role<'a>(key: &str, known: &Known<'a>, values: &mut Vec<Value<'a>>) -> Sight {
    if !is_binding(known) {
        return Sight::Clear;
    }
    let (event, written) = (known.event(), known.written());
    let (start, mut sight, mut is_touched) = (values.len(), written.sight, false);
    for tree in written.trees() {
        is_touched |= tree.get("roleRef").or_else(|| tree.get("subjects")).is_some();
        if let Some(value) = tree.at(&["roleRef", key]) {
            sight = sight.and(value.follow("", values));
        }
    }
    if values.len() > start || !is_touched || event.str(Key::Verb).as_deref() != Some("patch") {
        return sight;
    }
    match response(event) {
        Some(binding) => {
            follow(binding, &format!("roleRef.{key}"), values);
            sight
        }
        None => sight.and(sight_of(event, Key::ResponseObject)).and(Sight::Hidden),
    }
}

/// Appends a part of each subject that a binding names.
pub(super) fn subjects<'a>(path: &str, known: &Known<'a>, values: &mut Vec<Value<'a>>) -> Sight {
    if !is_binding(known) {
        return Sight::Clear;
    }
    elements("subjects", path, known, values)
}

/// Shows kind, namespace and name of each subject to `visit`.
pub(crate) fn each_subject<'a>(
    event: &Event<'a>,
    mut visit: impl FnMut(Option<Cow<'a, str>>, Option<Cow<'a, str>>, Option<Cow<'a, str>>),
) {
    let written = Written::by(event);
    for subject in written.trees().filter_map(|tree| tree.get("subjects")).flat_map(Tree::elements) {
        let part = |key| subject.get(key).and_then(Tree::value).and_then(Json::as_str);
        if part("name").is_some() {
            visit(part("kind"), part("namespace"), part("name"));
        }
    }
}

/// Shows what each rule of a role allows to `visit`: its verbs, and the resources and paths
/// they are for.
pub(crate) fn each_rule<'a>(event: &Event<'a>, mut visit: impl FnMut(&[Value<'a>], &[Value<'a>])) {
    let written = Written::by(event);
    for rule in written.trees().filter_map(|tree| tree.get("rules")).flat_map(Tree::elements) {
        let (mut verbs, mut targets) = (Vec::new(), Vec::new());
        let _ = rule.follow("verbs", &mut verbs);
        let _ = rule.follow("resources", &mut targets);
        let _ = rule.follow("nonResourceURLs", &mut targets);
        if !verbs.is_empty() || !targets.is_empty() {
            visit(&verbs, &targets);
        }
    }
}

/// Appends what stands at a dotted path of each rule of a role.
pub(super) fn rules<'a>(path: &str, known: &Known<'a>, values: &mut Vec<Value<'a>>) -> Sight {
    if !is_role(known) {
        return Sight::Clear;
    }
    elements("rules", path, known, values)
}

fn elements<'a>(list: &str, path: &str, known: &Known<'a>, values: &mut Vec<Value<'a>>) -> Sight {
    let written = known.written();
    written.trees().filter_map(|tree| tree.get(list)).fold(written.sight, |sight, list: Tree<'a, '_>| {
        list.elements()
            .fold(sight.and(list.sight()), |sight, element| sight.and(element.follow(path, values)))
    })
}

pub(super) fn is_role(known: &Known<'_>) -> bool {
    let target = known.target();
    target.subresource.is_empty() && matches!(target.resource.as_ref(), "roles" | "clusterroles")
}

pub(super) fn is_binding(known: &Known<'_>) -> bool {
    let target = known.target();
    target.subresource.is_empty()
        && matches!(target.resource.as_ref(), "rolebindings" | "clusterrolebindings")
}
