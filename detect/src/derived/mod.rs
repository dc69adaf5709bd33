//! Fields computed from an event, so that a rule covers every shape of the same act.
//!
//! [`TABLE`] says all there is to know about them for people; [`read`] computes them, and
//! only when a rule asks.

mod actor;
mod container;
mod csr;
mod element;
mod exec;
mod expansion;
mod image;
mod known;
mod object;
mod outcome;
mod pod;
mod query;
mod rbac;
mod removed;
mod source;
mod table;
mod written;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub(crate) use csr::subject_of;
pub use element::{Element, ElementKind, Elements, List, Part};
pub(crate) use exec::kubelet_path;
pub(crate) use known::Known;
pub use outcome::outcome;
pub(crate) use outcome::{code, is_dry_run};
pub(crate) use pod::{may_write as may_write_pods, read_of_pods};
pub(crate) use query::{decode as decoded, parameters, path as request_path};
pub(crate) use rbac::{each_rule, each_subject};
pub use table::{Derived, Entry, Meaning, TABLE, ValueType, find, markdown_table, names};

use crate::field::{Sight, Value, View};

/// Appends the values of a computed field to `values`; `path` is what the rule names below
/// a field such as `pod.*`.
pub fn read<'a>(derived: Derived, path: &str, view: View<'a>, values: &mut Vec<Value<'a>>) -> Sight {
    read_known(derived, path, &Known::new(view), values)
}

/// The same of an event of which something may be known already.
pub(crate) fn read_known<'a>(
    derived: Derived,
    path: &str,
    known: &Known<'a>,
    values: &mut Vec<Value<'a>>,
) -> Sight {
    use Derived as D;
    let (view, event) = (known.view(), known.event());
    match derived {
        D::Outcome => clear(Some(outcome(event)), values),
        D::DryRun => clear(Some(if is_dry_run(event) { "true" } else { "false" }), values),
        D::Creates => clear(Some(if outcome::is_creation(event) { "true" } else { "false" }), values),
        D::ActorName => clear(actor::name(event), values),
        D::ActorKind => clear(Some(actor::kind(event)), values),
        D::ActorGroups => {
            actor::groups(event, values);
            Sight::Clear
        }
        D::ActorNamespace => clear(actor::namespace(event), values),
        D::ActorOriginal => clear(actor::original(event), values),
        D::SourceIp => clear(source::ip(view), values),
        D::SourceScope => clear(source::scope(view), values),
        D::AnnotationName => {
            values.extend(event.annotation_names().map(Value::Text));
            Sight::Clear
        }
        D::ClientFamily => clear(source::client_family(event), values),
        D::ExecCommand => {
            values.extend(exec::commands(event).into_iter().map(|command| Value::Text(command.into())));
            Sight::Clear
        }
        D::ExecContainer => clear(exec::container(event), values),
        D::ExecTty => clear(exec::switch(event, "tty"), values),
        D::ExecStdin => clear(exec::switch(event, "stdin"), values),
        D::ObjectName => object::name(event, values),
        D::Pod => pod::read(path, known, values),
        D::PodHostpath => pod::host_paths(known, values),
        D::Container => container::read(path, known, values),
        D::ContainerCommandLine
        | D::ContainerImageRegistry
        | D::ContainerImageRepository
        | D::ContainerImageName
        | D::ContainerImageTag
        | D::ContainerImageDigest
        | D::ContainerCapabilitiesAdd => container::read_computed(derived, known, values),
        D::RbacRole => rbac::role("name", known, values),
        D::RbacRoleKind => rbac::role("kind", known, values),
        D::RbacSubjectKind => rbac::subjects("kind", known, values),
        D::RbacSubjectName => rbac::subjects("name", known, values),
        D::RbacSubjectNamespace => rbac::subjects("namespace", known, values),
        D::RbacRule => rbac::rules(path, known, values),
        D::CsrCommonName => csr::read(csr::Attribute::CommonName, known, values),
        D::CsrOrganization => csr::read(csr::Attribute::Organization, known, values),
        D::Written => written::read(path, known, values),
        D::Removed => removed::read(path, known, values),
    }
}

/// Appends what every event shows.
fn clear<'a>(value: Option<impl Into<Cow<'a, str>>>, values: &mut Vec<Value<'a>>) -> Sight {
    values.extend(value.map(|value| Value::Text(value.into())));
    Sight::Clear
}
