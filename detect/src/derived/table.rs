//! The one list of computed fields: resolution, suggestions and documentation come from it.

use std::fmt::Write as _;

use super::{actor, outcome, source};
use crate::field::Field;

/// What the values of a field look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// Any text.
    Text,
    /// One of these words and nothing else.
    OneOf(&'static [&'static str]),
    /// Whatever stands at the path below the field.
    Any,
}

/// What is known about a computed field or an alias.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name in rules; `.*` at its end stands for any path below.
    pub name: &'static str,
    /// What it stands for.
    pub meaning: Meaning,
    /// What its values look like.
    pub value: ValueType,
    /// The lowest audit level at which it can be known.
    pub level: &'static str,
    /// What it is, for people.
    pub doc: &'static str,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A computed field.
    Computed(Derived),
    /// Another name of this field.
    Alias(&'static str),
}

macro_rules! fields {
    ($($variant:ident $name:literal $level:literal $value:expr, $doc:literal;)*
     @aliases { $($alias:literal = $target:literal $alias_level:literal;)* }) => {
        /// A computed field.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum Derived { $($variant),* }

        /// Every computed field, then every alias.
        pub const TABLE: &[Entry] = &[
            $(Entry {
                name: $name,
                meaning: Meaning::Computed(Derived::$variant),
                value: $value,
                level: $level,
                doc: $doc,
            },)*
            $(Entry {
                name: $alias,
                meaning: Meaning::Alias($target),
                value: Any,
                level: $alias_level,
                doc: concat!("short for `", $target, "`"),
            },)*
        ];
    };
}

use ValueType::{Any, OneOf, Text};

/// Both values of a switch.
const SWITCH: ValueType = OneOf(&["true", "false"]);

fields! {
    Outcome "outcome" "Metadata" OneOf(outcome::OUTCOMES),
        "how the request ended: `succeeded`, `denied` (by authentication or authorisation), `rejected` (allowed, then refused by admission or validation), `failed` (any other error), `pending` (no response yet)";
    DryRun "dry_run" "Metadata" SWITCH,
        "whether the request asked to change nothing; of deletions whose body is not logged, always `false`";
    Creates "creates" "Metadata" SWITCH,
        "whether the request makes the object that it names: `create`, or a patch (such as server-side apply) or `update` that is answered with 201";
    ActorName "actor.name" "Metadata" Text,
        "the effective user: the impersonated one if impersonation was used";
    ActorKind "actor.kind" "Metadata" OneOf(actor::KINDS),
        "what the effective user is: `human` stands for everyone who is none of the others";
    ActorGroups "actor.groups" "Metadata" Text,
        "each group of the effective user";
    ActorNamespace "actor.namespace" "Metadata" Text,
        "the namespace of a service account; absent for others";
    ActorOriginal "actor.original" "Metadata" Text,
        "the authenticated user behind an impersonation; absent without one";
    SourceIp "source.ip" "Metadata" Text,
        "the last of `sourceIPs` that is not a configured proxy: the one a client cannot choose";
    SourceScope "source.scope" "Metadata" OneOf(source::SCOPES),
        "where `source.ip` lies";
    AnnotationName "annotation.name" "Metadata" Text,
        "the name of each annotation of the event: admission webhooks put numbers of their own into theirs";
    ClientFamily "client.family" "Metadata" Text,
        "the user agent up to the first `/` or space";
    ExecCommand "exec.command" "Metadata" Text,
        "what is run in a container: every `command` parameter, decoded and joined by spaces; through `nodes/proxy` too";
    ExecContainer "exec.container" "Metadata" Text,
        "the container that is entered, if the request names one";
    ExecTty "exec.tty" "Metadata" SWITCH,
        "whether a terminal is asked for";
    ExecStdin "exec.stdin" "Metadata" SWITCH,
        "whether input is sent";
    ObjectName "object.name" "Metadata" Text,
        "the name in `objectRef`, else in the response, else in the request, else its `generateName`";
    PodHostpath "pod.hostpath" "Request" Text,
        "each host path of the volumes, without `//`, `/./`, `..` and a slash at its end";
    Pod "pod.*" "Request" Any,
        "any path of the pod spec that is written, wherever it lives: `pod.hostNetwork`, `pod.volumes.name`";
    ContainerCommandLine "container.command_line" "Request" Text,
        "command and args of each container joined by spaces, as written and with `$(NAME)` replaced from its `env`; the commands of its hooks and probes are values of their own";
    ContainerImageRegistry "container.image.registry" "Request" Text,
        "host and port of each image, lower case; `docker.io` where implied";
    ContainerImageRepository "container.image.repository" "Request" Text,
        "path of each image in its registry, lower case; `library/` where implied";
    ContainerImageName "container.image.name" "Request" Text,
        "registry and repository of each image with a slash between them: `docker.io/library/nginx`";
    ContainerImageTag "container.image.tag" "Request" Text,
        "tag of each image; `latest` where neither tag nor digest is given";
    ContainerImageDigest "container.image.digest" "Request" Text,
        "digest of each image, if given";
    ContainerCapabilitiesAdd "container.capabilities.add" "Request" Text,
        "each added capability, upper case, without `CAP_`";
    Container "container.*" "Request" Any,
        "any path of each container, init container and ephemeral container that is written: `container.env.value`";
    RbacRoleKind "rbac.role_kind" "Request" Text,
        "`Role` or `ClusterRole`: what a binding that is written gives";
    RbacRole "rbac.role" "Request" Text,
        "the role that a binding that is written gives; where a patch does not say, from the response (`RequestResponse`)";
    RbacSubjectKind "rbac.subject.kind" "Request" Text,
        "kind of each subject that a binding that is written names";
    RbacSubjectName "rbac.subject.name" "Request" Text,
        "name of each such subject";
    RbacSubjectNamespace "rbac.subject.namespace" "Request" Text,
        "namespace of each such subject";
    RbacRule "rbac.rule.*" "Request" Any,
        "any path of each rule of a role that is written: `rbac.rule.verbs`, `rbac.rule.resources`";
    CsrCommonName "csr.common_name" "Request" Text,
        "the user name that a certificate signing request asks for";
    CsrOrganization "csr.organization" "Request" Text,
        "each group that a certificate signing request asks for";
    Written "written.*" "Request" Any,
        "any path of the object that is written, also by a JSON Patch: `written.spec.type`";
    Removed "removed.*" "Request" SWITCH,
        "whether a patch takes away what stands at the path, or something that holds it: `removed.metadata.labels.team`; of an update only what is still there is known";
    @aliases {
        "apiGroup" = "objectRef.apiGroup" "Metadata";
        "resource" = "objectRef.resource" "Metadata";
        "subresource" = "objectRef.subresource" "Metadata";
        "namespace" = "objectRef.namespace" "Metadata";
        "username" = "user.username" "Metadata";
        "hostPath" = "pod.hostpath" "Request";
        "capabilities" = "container.securityContext.capabilities" "Request";
    }
}

impl Derived {
    /// Whether it is read out of the pod specs that a request writes.
    pub(crate) fn is_of_pods(self) -> bool {
        use Derived as D;
        matches!(
            self,
            D::Pod
                | D::PodHostpath
                | D::Container
                | D::ContainerCommandLine
                | D::ContainerImageRegistry
                | D::ContainerImageRepository
                | D::ContainerImageName
                | D::ContainerImageTag
                | D::ContainerImageDigest
                | D::ContainerCapabilitiesAdd
        )
    }
}

/// The computed field of this name or alias, if there is one.
pub fn find(name: &str) -> Option<Field> {
    let exact = TABLE.iter().find(|entry| entry.name == name).map(|entry| (entry, ""));
    let (entry, path) = exact.or_else(|| TABLE.iter().find_map(|entry| below(entry, name)))?;
    match entry.meaning {
        Meaning::Computed(derived) => Some(Field::Derived(derived, path.replace('"', ""))),
        Meaning::Alias(target) => Some(Field::parse(target)),
    }
}

fn below<'n>(entry: &'static Entry, name: &'n str) -> Option<(&'static Entry, &'n str)> {
    let path = name.strip_prefix(entry.name.strip_suffix('*')?)?;
    (!path.is_empty()).then_some((entry, path))
}

/// Every name that [`find`] knows; one that takes a path ends in `.*`.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|entry| entry.name)
}

/// The table as Markdown.
pub fn markdown_table() -> String {
    let mut table = String::from("| field | values | from level | meaning |\n| --- | --- | --- | --- |\n");
    for entry in TABLE {
        let values = match entry.value {
            Text => "text".to_owned(),
            Any => "any".to_owned(),
            OneOf(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        };
        let _ = writeln!(table, "| `{}` | {values} | {} | {} |", entry.name, entry.level, entry.doc);
    }
    table
}
