//! The containers that a request writes: what they run, from which image, with what rights.

use super::expansion::{self, Variables};
use super::image::Image;
use super::pod::each_container;
use super::written::Tree;
use super::{Derived, Known};
use crate::field::{Sight, Value};
use crate::json::Json;

/// Appends what stands at a dotted path of each container.
pub(super) fn read<'a>(path: &str, known: &Known<'a>, values: &mut Vec<Value<'a>>) -> Sight {
    each_container(known, |container| container.follow(path, values))
}

/// Appends what a computed field says of each container.
pub(super) fn read_computed<'a>(field: Derived, known: &Known<'a>, values: &mut Vec<Value<'a>>) -> Sight {
    each_container(known, |container| of_one(field, container, values))
}

/// Appends what a computed field says of one container.
pub(super) fn of_one<'a>(field: Derived, container: Tree<'a, '_>, values: &mut Vec<Value<'a>>) -> Sight {
    match field {
        Derived::ContainerCommandLine => command_lines(container, values),
        Derived::ContainerImageRegistry => image(|image| Some(image.registry), container, values),
        Derived::ContainerImageRepository => image(|image| Some(image.repository), container, values),
        Derived::ContainerImageName => image(|image| Some(image.name()), container, values),
        Derived::ContainerImageTag => image(|image| image.tag, container, values),
        Derived::ContainerImageDigest => image(|image| image.digest, container, values),
        Derived::ContainerCapabilitiesAdd => capabilities(container, values),
        _ => Sight::Clear,
    }
}

/// Appends the command line of a container, also as its variables make it, and of each of its hooks and probes.
fn command_lines<'a>(container: Tree<'a, '_>, values: &mut Vec<Value<'a>>) -> Sight {
    let [command, args, lifecycle, liveness, readiness, startup] = container.get_all([
        "command",
        "args",
        "lifecycle",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
    ]);
    let mut line = None;
    let mut sight = append_words(command, &mut line);
    sight = sight.and(append_words(args, &mut line));
    if let Some(line) = line.as_deref().filter(|line| expansion::may_refer(line)) {
        let variables = Variables::of(container);
        let expanded = variables.expanded(line);
        sight = sight.and(if expanded.is_some() { variables.sight() } else { Sight::Hidden });
        push_line(expanded.filter(|expanded| expanded != line), values);
    }
    push_line(line, values);
    let hooks = lifecycle.map_or([None; 2], |lifecycle| lifecycle.get_all(["postStart", "preStop"]));
    for hook in hooks.into_iter().chain([liveness, readiness, startup]).flatten() {
        let mut line = None;
        sight = sight.and(append_words(hook.at(&["exec", "command"]), &mut line));
        push_line(line, values);
    }
    sight
}

/// Appends the words of a list to a line, which there is none of before the first word.
fn append_words(list: Option<Tree<'_, '_>>, line: &mut Option<String>) -> Sight {
    let Some(list) = list else { return Sight::Clear };
    for word in list.elements().filter_map(|word| word.value()?.text()) {
        match line {
            Some(line) => line.extend([" ", &word]),
            None => *line = Some(word.into_owned()),
        }
    }
    list.sight()
}

fn push_line(line: Option<String>, values: &mut Vec<Value<'_>>) {
    values.extend(line.map(|line| Value::Text(line.into())));
}

/// Appends a part of a container's image reference.
fn image<'a>(
    part: impl Fn(Image) -> Option<String>,
    container: Tree<'a, '_>,
    values: &mut Vec<Value<'a>>,
) -> Sight {
    let Some(image) = container.get("image") else { return Sight::Clear };
    let text = image.value().and_then(Json::as_str).filter(|text| !text.is_empty());
    let part = text.and_then(|text| part(Image::parse(&text)));
    values.extend(part.map(|part| Value::Text(part.into())));
    image.sight()
}

/// Appends the capabilities that a container adds, spelled alike.
fn capabilities<'a>(container: Tree<'a, '_>, values: &mut Vec<Value<'a>>) -> Sight {
    let Some(list) = container.at(&["securityContext", "capabilities", "add"]) else {
        return Sight::Clear;
    };
    let names = list.elements().filter_map(|name| name.value()?.as_str());
    values.extend(names.map(|name| {
        let name = name.to_ascii_uppercase();
        Value::Text(name.strip_prefix("CAP_").unwrap_or(&name).to_owned().into())
    }));
    list.sight()
}
