//! The pod spec and its containers, wherever a write puts them.

use std::borrow::Cow;

use super::body::{Node, written};
use super::image::ImageReference;
use crate::event::{Event, Key};
use crate::field::{Sight, Value};

/// Where workloads keep their pod spec.
const WORKLOADS: &[(&str, &str, &[&str])] = &[
    ("pods", "Pod", &["spec"]),
    ("deployments", "Deployment", TEMPLATE),
    ("daemonsets", "DaemonSet", TEMPLATE),
    ("statefulsets", "StatefulSet", TEMPLATE),
    ("replicasets", "ReplicaSet", TEMPLATE),
    ("replicationcontrollers", "ReplicationController", TEMPLATE),
    ("jobs", "Job", TEMPLATE),
    ("cronjobs", "CronJob", CRON_TEMPLATE),
    ("podtemplates", "PodTemplate", &["template", "spec"]),
];
const TEMPLATE: &[&str] = &["spec", "template", "spec"];
const CRON_TEMPLATE: &[&str] = &["spec", "jobTemplate", "spec", "template", "spec"];

/// Where resources of other kinds (operators' own) are looked into.
const ELSEWHERE: &[&[&str]] = &[TEMPLATE, CRON_TEMPLATE, &["template", "spec"]];

/// Subresources through which a pod spec can be changed.
const SUBRESOURCES: &[&str] = &["", "ephemeralcontainers", "resize"];

/// The lists of containers in a pod spec.
const LISTS: &[&str] = &["initContainers", "containers", "ephemeralContainers"];

/// The kind of workload that a resource name stands for.
pub(crate) fn workload_kind(resource: &str) -> Option<&'static str> {
    WORKLOADS.iter().find(|(name, ..)| *name == resource).map(|(_, kind, _)| *kind)
}

/// The pod specs that the request writes, in part or whole.
pub(crate) fn pod_specs<'a>(event: &Event<'a>) -> (Vec<Node<'a>>, Sight) {
    let of_object = |name| event.str_at(Key::ObjectRef, name).unwrap_or_default();
    if !SUBRESOURCES.contains(&of_object("subresource").as_ref()) {
        return (Vec::new(), Sight::Clear);
    }
    let resource = of_object("resource");
    let (nodes, sight) = written(event);
    let kind = event.at(Key::RequestObject, &["kind"]).and_then(|kind| kind.as_str()).unwrap_or_default();
    let known = WORKLOADS
        .iter()
        .find(|(name, workload, _)| if resource.is_empty() { *workload == kind } else { *name == resource });
    let mut specs = Vec::new();
    for node in &nodes {
        match known {
            Some((.., path)) => specs.extend(node.at(path)),
            None => specs.extend(ELSEWHERE.iter().filter_map(|path| node.at(path))),
        }
        // Before 1.22 ephemeral containers had a kind of their own, without a spec.
        if of_object("subresource") == "ephemeralcontainers" && node.child("ephemeralContainers").is_some() {
            specs.push(node.clone());
        }
    }
    (specs, if known.is_some() { sight } else { Sight::Clear })
}

/// The containers of a pod spec that are written.
pub(crate) fn containers<'a>(spec: &Node<'a>) -> Vec<Node<'a>> {
    LISTS.iter().filter_map(|list| spec.child(list)).flat_map(|list| list.elements()).collect()
}

/// Calls `each` for every container that the request writes.
fn each_container<'a>(event: &Event<'a>, each: impl FnMut(Node<'a>)) -> Sight {
    let (specs, sight) = pod_specs(event);
    specs.iter().flat_map(containers).for_each(each);
    sight
}

pub(super) fn read_pod<'a>(event: &Event<'a>, path: &str, values: &mut Vec<Value<'a>>) -> Sight {
    let (specs, sight) = pod_specs(event);
    specs.iter().for_each(|spec| spec.follow(path, values));
    sight
}

pub(super) fn read_containers<'a>(event: &Event<'a>, path: &str, values: &mut Vec<Value<'a>>) -> Sight {
    each_container(event, |container| container.follow(path, values))
}

pub(super) fn read_host_paths<'a>(event: &Event<'a>, values: &mut Vec<Value<'a>>) -> Sight {
    let (specs, sight) = pod_specs(event);
    let volumes = specs.iter().filter_map(|spec| spec.child("volumes")).flat_map(|list| list.elements());
    let paths = volumes.filter_map(|volume| volume.at(&["hostPath", "path"])?.text());
    values.extend(paths.map(|path| Value::Text(normalised(&path).into())));
    sight
}

/// A path without empty and dot segments; `..` goes up and stops at the root.
fn normalised(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    format!("/{}", segments.join("/"))
}

pub(super) fn read_capabilities<'a>(event: &Event<'a>, values: &mut Vec<Value<'a>>) -> Sight {
    each_container(event, |container| {
        let added = container.at(&["securityContext", "capabilities", "add"]);
        values.extend(added.iter().flat_map(Node::texts).map(|name| {
            let name = name.trim().to_uppercase();
            Value::Text(name.strip_prefix("CAP_").unwrap_or(&name).to_owned().into())
        }));
    })
}

pub(super) fn read_images<'a>(
    event: &Event<'a>,
    values: &mut Vec<Value<'a>>,
    part: impl Fn(ImageReference) -> Option<String>,
) -> Sight {
    each_container(event, |container| {
        let image = container.child("image").and_then(|image| image.text());
        let text = image.and_then(|image| part(ImageReference::parse(&image)));
        values.extend(text.map(|text| Value::Text(text.into())));
    })
}

/// Where a container names commands besides its own.
const HOOKS: &[&[&str]] = &[
    &["lifecycle", "postStart", "exec", "command"],
    &["lifecycle", "preStop", "exec", "command"],
    &["startupProbe", "exec", "command"],
    &["livenessProbe", "exec", "command"],
    &["readinessProbe", "exec", "command"],
];

pub(super) fn read_command_lines<'a>(event: &Event<'a>, values: &mut Vec<Value<'a>>) -> Sight {
    each_container(event, |container| {
        let own: Vec<Node<'a>> =
            [container.child("command"), container.child("args")].into_iter().flatten().collect();
        push_line(own.iter().flat_map(Node::texts), values);
        for hook in HOOKS {
            push_line(container.at(hook).iter().flat_map(Node::texts), values);
        }
    })
}

fn push_line<'a>(words: impl Iterator<Item = Cow<'a, str>>, values: &mut Vec<Value<'a>>) {
    let words: Vec<Cow<'_, str>> = words.collect();
    if !words.is_empty() {
        values.push(Value::Text(words.join(" ").into()));
    }
}
