//! The pod spec that a request writes, wherever it lives.

use std::borrow::Cow;

use super::written::{Tree, Written};
use super::{Derived, container};
use crate::event::{Event, Key};
use crate::field::{Sight, Value, View, is_write};
use crate::json::Json;

type Path = &'static [&'static str];

const POD: Path = &["spec"];
const POD_TEMPLATE: Path = &["template", "spec"];
const WORKLOAD: Path = &["spec", "template", "spec"];
const CRON_JOB: Path = &["spec", "jobTemplate", "spec", "template", "spec"];

/// The lists of containers in a pod spec.
pub(super) const CONTAINER_LISTS: &[&str] = &["containers", "initContainers", "ephemeralContainers"];

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
pub(crate) fn may_write(event: &Event<'_>) -> bool {
    is_write(event) && !Target::of(event).pod_specs().is_empty()
}

/// What a request writes that may hold a pod spec.
pub(super) struct Pods<'a> {
    target: Target<'a>,
    written: Written<'a>,
}

impl<'a> Pods<'a> {
    /// Those of the event; nothing where it writes to what holds none.
    pub(super) fn of(event: &Event<'a>) -> Self {
        let target = Target::of(event);
        let has_none = target.pod_specs().is_empty();
        Self { written: if has_none { Written::nothing() } else { Written::by(event) }, target }
    }

    /// Shows each pod spec to `visit`.
    pub(super) fn each_spec<'t>(&'t self, mut visit: impl FnMut(Tree<'a, 't>) -> Sight) -> Sight {
        let places = self.target.pod_specs();
        if places.is_empty() {
            return Sight::Clear;
        }
        let is_workload = self.target.is_workload();
        let mut sight = if is_workload { self.written.sight } else { Sight::Clear };
        for tree in self.written.trees() {
            for spec in places.iter().filter_map(|place| tree.at(place)) {
                if is_workload || CONTAINER_LISTS.iter().any(|list| spec.get(list).is_some()) {
                    sight = sight.and(visit(spec));
                }
            }
        }
        sight
    }

    /// Shows each list of containers to `visit`, with its number in [`CONTAINER_LISTS`].
    pub(super) fn each_container_list<'t>(
        &'t self,
        mut visit: impl FnMut(usize, Tree<'a, 't>) -> Sight,
    ) -> Sight {
        let mut visit_list =
            |number, list: Option<Tree<'a, 't>>| list.map_or(Sight::Clear, |list| visit(number, list));
        if self.target.resource == "pods" && self.target.subresource == "ephemeralcontainers" {
            return self.written.trees().fold(self.written.sight, |sight, tree| {
                // API servers before 1.22 take the list without a pod around it.
                let sight = sight.and(visit_list(2, tree.get("ephemeralContainers")));
                sight.and(visit_list(2, tree.at(&["spec", "ephemeralContainers"])))
            });
        }
        self.each_spec(|spec| {
            let lists = CONTAINER_LISTS.iter().enumerate();
            lists.fold(spec.sight(), |sight, (number, list)| sight.and(visit_list(number, spec.get(list))))
        })
    }
}

/// Shows each container that the request writes to `visit`.
pub(super) fn each_container<'a>(event: &Event<'a>, mut visit: impl FnMut(Tree<'a, '_>) -> Sight) -> Sight {
    Pods::of(event).each_container_list(|_, list| {
        list.elements().fold(list.sight(), |sight, container| sight.and(visit(container)))
    })
}

/// Appends what stands at a dotted path of each pod spec.
pub(super) fn read<'a>(path: &str, view: View<'a>, values: &mut Vec<Value<'a>>) -> Sight {
    Pods::of(view.event).each_spec(|spec| spec.follow(path, values))
}

/// What the event shows of several fields of the pods and containers that it writes: of each the
/// same as when it is read alone. The pods are looked for once.
pub(crate) fn read_of_pods<'a, const COUNT: usize>(
    fields: [(Derived, &str); COUNT],
    view: View<'a>,
) -> [Vec<Value<'a>>; COUNT] {
    let pods = Pods::of(view.event);
    let mut found = [const { Vec::new() }; COUNT];
    let _ = pods.each_container_list(|_, list| {
        for container in list.elements() {
            for ((field, path), values) in fields.iter().zip(&mut found) {
                let _ = match field {
                    Derived::Pod | Derived::PodHostpath => Sight::Clear,
                    Derived::Container => container.follow(path, values),
                    _ => container::of_one(*field, container, values),
                };
            }
        }
        Sight::Clear
    });
    let _ = pods.each_spec(|spec| {
        for ((field, path), values) in fields.iter().zip(&mut found) {
            let _ = match field {
                Derived::Pod => spec.follow(path, values),
                Derived::PodHostpath => host_paths_of(spec, values),
                _ => Sight::Clear,
            };
        }
        Sight::Clear
    });
    found
}

/// Appends the host paths that the pods mount, each in its shortest form.
pub(super) fn host_paths<'a>(view: View<'a>, values: &mut Vec<Value<'a>>) -> Sight {
    Pods::of(view.event).each_spec(|spec| host_paths_of(spec, values))
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
