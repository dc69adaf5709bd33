//! The pod spec that a request writes, wherever it lives.

use std::borrow::Cow;

use super::written::Tree;
use super::{Derived, Known};
use crate::event::{Event, Key};
use crate::field::{Sight, Value, View, is_write};
use crate::json::Json;

type Path = &'static [&'static str];

const POD: Path = &["spec"];
const POD_TEMPLATE: Path = &["template", "spec"];
const WORKLOAD: Path = &["spec", "template", "spec"];
const CRON_JOB: Path = &["spec", "jobTemplate", "spec", "template", "spec"];

/// The lists of containers in a pod spec.
pub(super) const CONTAINER_LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Resources of Kubernetes that are written all day and hold no pod spec.
const WITHOUT_PODS: &[&str] = &[
    "bindings",
    "configmaps",
    "csinodes",
    "csistoragecapacities",
    "endpoints",
    "endpointslices",
    "events",
    "leases",
    "localsubjectaccessreviews",
    "namespaces",
    "nodes",
    "persistentvolumeclaims",
    "persistentvolumes",
    "secrets",
    "selfsubjectaccessreviews",
    "selfsubjectrulesreviews",
    "serviceaccounts",
    "services",
    "subjectaccessreviews",
    "tokenreviews",
    "volumeattachments",
];

/// The API groups that those are in; names in other groups are anybody's.
const GROUPS_WITHOUT_PODS: &[&str] = &[
    "",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "storage.k8s.io",
];

/// What an event writes to, named as in a request path.
pub(super) struct Target<'a> {
    pub(super) resource: Cow<'a, str>,
    pub(super) subresource: Cow<'a, str>,
    /// Whether it is in one of [`GROUPS_WITHOUT_PODS`].
    is_built_in: bool,
}

impl<'a> Target<'a> {
    /// From `objectRef`; without one, from the kind of the body.
    pub(super) fn of(event: &Event<'a>) -> Self {
        let parts = event.entries(Key::ObjectRef, ["resource", "subresource", "apiGroup"]);
        let [resource, subresource, group] = parts.map(|part| part.and_then(Json::as_str));
        let kind = || event.at(Key::RequestObject, &["kind"]).and_then(Json::as_str);
        let resource = resource.or_else(|| Some(Cow::Owned(kind()?.to_ascii_lowercase() + "s")));
        let group = group.unwrap_or_default();
        Self {
            resource: resource.unwrap_or_default(),
            subresource: subresource.unwrap_or_default(),
            is_built_in: GROUPS_WITHOUT_PODS.contains(&group.as_ref()),
        }
    }

    /// Where pod specs live in the resource; nothing for subresources that write none.
    fn pod_specs(&self) -> &'static [Path] {
        match (self.resource.as_ref(), self.subresource.as_ref()) {
            ("pods", "" | "resize" | "ephemeralcontainers") => &[POD],
            ("podtemplates", "") => &[POD_TEMPLATE],
            ("cronjobs", "") => &[CRON_JOB],
            (_, "") if self.is_workload() => &[WORKLOAD],
            ("pods", _) => &[],
            (resource, _) if WITHOUT_PODS.contains(&resource) && self.is_built_in => &[],
            // Custom resources embed pod templates in the same places.
            (_, "") => &[WORKLOAD, CRON_JOB, POD_TEMPLATE],
            _ => &[],
        }
    }

    /// True for the resources that always hold a pod spec.
    fn is_workload(&self) -> bool {
        matches!(
            self.resource.as_ref(),
            "pods"
                | "podtemplates"
                | "deployments"
                | "daemonsets"
                | "statefulsets"
                | "replicasets"
                | "replicationcontrollers"
                | "jobs"
                | "cronjobs"
        )
    }
}

/// Whether the request may write a pod spec; without one, fields of pods and containers are
/// absent for sure.
pub(crate) fn may_write(known: &Known<'_>) -> bool {
    is_write(known.event()) && !known.target().pod_specs().is_empty()
}

/// Shows each pod spec that the request writes to `visit`.
pub(super) fn each_spec<'a, 't>(known: &'t Known<'a>, mut visit: impl FnMut(Tree<'a, 't>) -> Sight) -> Sight {
    let places = known.target().pod_specs();
    if places.is_empty() {
        return Sight::Clear;
    }
    let is_workload = known.target().is_workload();
    let written = known.written();
    let mut sight = if is_workload { written.sight } else { Sight::Clear };
    for tree in written.trees() {
        for spec in places.iter().filter_map(|place| tree.at(place)) {
            if is_workload || CONTAINER_LISTS.iter().any(|list| spec.get(list).is_some()) {
                sight = sight.and(visit(spec));
            }
        }
    }
    sight
}

/// Shows each list of containers to `visit`, with its number in [`CONTAINER_LISTS`].
pub(super) fn each_container_list<'a, 't>(
    known: &'t Known<'a>,
    mut visit: impl FnMut(usize, Tree<'a, 't>) -> Sight,
) -> Sight {
    let mut visit_list =
        |number, list: Option<Tree<'a, 't>>| list.map_or(Sight::Clear, |list| visit(number, list));
    let target = known.target();
    if target.resource == "pods" && target.subresource == "ephemeralcontainers" {
        let written = known.written();
        return written.trees().fold(written.sight, |sight, tree| {
            // API servers before 1.22 take the list without a pod around it.
            let sight = sight.and(visit_list(2, tree.get("ephemeralContainers")));
            sight.and(visit_list(2, tree.at(&["spec", "ephemeralContainers"])))
        });
    }
    each_spec(known, |spec| {
        let lists = spec.get_all(CONTAINER_LISTS).into_iter().enumerate();
        lists.fold(spec.sight(), |sight, (number, list)| sight.and(visit_list(number, list)))
    })
}

/// Shows each container that the request writes to `visit`.
pub(super) fn each_container<'a, 't>(
    known: &'t Known<'a>,
    mut visit: impl FnMut(Tree<'a, 't>) -> Sight,
) -> Sight {
    each_container_list(known, |_, list| {
        list.elements().fold(list.sight(), |sight, container| sight.and(visit(container)))
    })
}

/// Appends what stands at a dotted path of each pod spec.
pub(super) fn read<'a>(path: &str, known: &Known<'a>, values: &mut Vec<Value<'a>>) -> Sight {
    each_spec(known, |spec| spec.follow(path, values))
}

/// What the event shows of several fields of the pods and containers that it writes: of each the
/// same as when it is read alone. What is written is worked out once.
pub(crate) fn read_of_pods<'a, const COUNT: usize>(
    fields: [(Derived, &str); COUNT],
    view: View<'a>,
) -> [Vec<Value<'a>>; COUNT] {
    let known = Known::new(view);
    fields.map(|(field, path)| {
        let mut values = Vec::new();
        let _ = super::read_known(field, path, &known, &mut values);
        values
    })
}

/// Appends the host paths that the pods mount, each in its shortest form.
pub(super) fn host_paths<'a>(known: &Known<'a>, values: &mut Vec<Value<'a>>) -> Sight {
    each_spec(known, |spec| host_paths_of(spec, values))
}

fn host_paths_of<'a>(spec: Tree<'a, '_>, values: &mut Vec<Value<'a>>) -> Sight {
    let start = values.len();
    let sight = spec.follow("volumes.hostPath.path", values);
    for value in values.iter_mut().skip(start) {
        if let Some(path) = value.text() {
            *value = Value::Text(normal(path));
        }
    }
    sight
}

/// A path without empty parts, `.`, `..` and a slash at its end.
fn normal(path: Cow<'_, str>) -> Cow<'_, str> {
    let is_normal = path == "/"
        || path
            .strip_prefix('/')
            .is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")));
    if is_normal {
        return path;
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Cow::Owned(format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    #[test]
    fn host_paths_are_told_in_their_shortest_form() {
        for (path, expected) in [
            ("/", "/"),
            ("", "/"),
            ("//", "/"),
            ("/var/run/docker.sock", "/var/run/docker.sock"),
            ("/var//run/./docker.sock/", "/var/run/docker.sock"),
            ("/var/lib/../../etc", "/etc"),
            ("/../..", "/"),
            ("etc", "/etc"),
        ] {
            assert_eq!(super::normal(path.into()), expected, "{path}");
        }
    }
}
