//! Applies pipelines to a rule or a correlation, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::super::context::Context;
use super::super::draft::{Draft, DraftItem, DraftSelection, DraftValue};
use super::super::error::{RuleErrorKind, Severity};
use super::super::modifier::Value;
use super::super::yaml::{Content, Node, Resolved};
use super::super::{Logsource, Place, detection};
use super::subject::{Kind, Names, Subject};
use super::transformations::{AddCondition, Rename, Transformation, ValueChange, Variables};
use super::{Merged, Step};

/// Applies the pipelines of the setup; false when one refused the document, which has been
/// reported.
pub(in super::super) fn apply(subject: &mut Subject<'_>, context: &mut Context<'_>) -> bool {
    let setup = context.setup;
    if setup.pipelines.is_empty() {
        return true;
    }
    let Merged { steps, vars } = Merged::new(&setup.pipelines);
    let mut run = Run { vars, applied: Applied::default(), context };
    let is_sound = steps.into_iter().try_for_each(|step| run.step(step, subject)).is_ok();
    if let Kind::Rule { selections, .. } = &mut subject.kind {
        selections.iter_mut().filter_map(|selection| selection.draft.as_mut()).for_each(fill_empty);
    }
    is_sound
}

/// As in pySigma, no value left is the value `null`.
fn fill_empty(draft: &mut Draft) {
    draft.visit_items(&mut |item| {
        if item.values.is_empty() {
            item.values.push(DraftValue { value: Value::Null, place: item.place });
        }
    });
}

/// Which steps have been applied to what, and what they noted.
#[derive(Default)]
pub(super) struct Applied<'p> {
    rule: BTreeSet<&'p str>,
    fields: BTreeMap<String, BTreeSet<&'p str>>,
    state: BTreeMap<&'p str, &'p serde_json::Value>,
}

impl<'p> Applied<'p> {
    pub(super) fn to_rule(&self, id: &str) -> bool {
        self.rule.contains(id)
    }

    pub(super) fn to_field(&self, field: &str, id: &str) -> bool {
        self.fields.get(field).is_some_and(|ids| ids.contains(id))
    }

    pub(super) fn state(&self, key: &str) -> Option<&serde_json::Value> {
        self.state.get(key).copied()
    }

    /// Remembers that a field got other names, which inherit what was applied to it.
    fn rename(&mut self, field: &str, names: &[String], id: Option<&'p str>) {
        if names == [field] {
            return;
        }
        let mut ids = self.fields.remove(field).unwrap_or_default();
        ids.extend(id);
        for name in names {
            self.fields.insert(name.clone(), ids.clone());
        }
    }
}

/// The document is refused; the reason has been reported.
struct Refused;

struct Run<'r, 'p, 't> {
    vars: Variables<'p>,
    applied: Applied<'p>,
    context: &'r mut Context<'t>,
}

impl<'p> Run<'_, 'p, '_> {
    fn step(&mut self, step: &'p Step, subject: &mut Subject<'_>) -> Result<(), Refused> {
        // Of the three sorts, only these conditions hold when there are none.
        let holds = step.rule.conditions.is_empty()
            || step.rule.holds(|condition| condition.holds(subject, &self.applied));
        if !holds {
            return Ok(());
        }
        match &step.transformation {
            Transformation::Rename(rename) => self.rename(step, rename, subject)?,
            Transformation::Values(change) => self.change_values(step, change, subject)?,
            Transformation::DropItem => {
                self.each_item(step, subject, &mut |_, _| Ok(Some(Draft::All(Vec::new()))))?;
            }
            Transformation::AddCondition(added) => match &subject.kind {
                Kind::Rule { .. } => self.add_condition(step, added, subject)?,
                Kind::Correlation { .. } => return Ok(()),
            },
            Transformation::ChangeLogsource(logsource) => {
                if matches!(subject.kind, Kind::Rule { .. }) {
                    subject.logsource = logsource.clone();
                }
            }
            Transformation::SetCustomAttribute { name, value } => subject.set_custom(name, value),
            Transformation::SetState { key, value } => {
                self.applied.state.insert(key, value);
            }
            Transformation::AddFields(fields) => {
                self.spend(subject.document.place, fields.iter().map(String::len).sum())?;
                subject.fields.extend(fields.iter().cloned());
            }
            Transformation::RemoveFields(fields) => {
                for field in fields {
                    let found = subject.fields.iter().position(|known| known == field);
                    found.map(|index| subject.fields.remove(index));
                }
            }
            Transformation::SetFields(fields) => subject.fields.clone_from(fields),
            Transformation::FailRule(message) => {
                return self.refuse(subject.document.place, message);
            }
            Transformation::FailItem(message) => {
                self.each_item(step, subject, &mut |run, item| run.refuse(item.place, message))?;
            }
            Transformation::Nest(steps) => {
                self.applied.rule.extend(step.id.as_deref());
                return steps.iter().try_for_each(|step| self.step(step, subject));
            }
        }
        self.applied.rule.extend(step.id.as_deref());
        Ok(())
    }

    fn refuse<T>(&mut self, place: Place, message: &str) -> Result<T, Refused> {
        self.context.report(place, RuleErrorKind::RefusedByPipeline { message: message.to_owned() });
        Err(Refused)
    }

    fn fail<T>(&mut self, place: Place, kind: RuleErrorKind) -> Result<T, Refused> {
        self.context.report(place, kind);
        Err(Refused)
    }

    /// Takes from what the rule may hold: steps multiply.
    fn spend(&mut self, place: Place, bytes: usize) -> Result<(), Refused> {
        if self.context.spend(place, bytes) { Ok(()) } else { Err(Refused) }
    }

    /// Changes every item that the conditions of the step are about.
    fn each_item(
        &mut self,
        step: &Step,
        subject: &mut Subject<'_>,
        change: &mut impl FnMut(&mut Self, &mut DraftItem) -> Result<Option<Draft>, Refused>,
    ) -> Result<(), Refused> {
        let Kind::Rule { selections, .. } = &mut subject.kind else { return Ok(()) };
        for draft in selections.iter_mut().filter_map(|selection| selection.draft.as_mut()) {
            draft.change_items(&mut |item| {
                let is_meant = step.item.holds(|condition| condition.holds(item, &self.applied))
                    && step.field.holds(|condition| condition.holds(item, &self.applied));
                if is_meant { change(self, item) } else { Ok(None) }
            })?;
        }
        Ok(())
    }

    fn change_values(
        &mut self,
        step: &Step,
        change: &ValueChange,
        subject: &mut Subject<'_>,
    ) -> Result<(), Refused> {
        self.each_item(step, subject, &mut |run, item| {
            let mut values = Vec::new();
            let mut is_changed = false;
            for found in &item.values {
                let new = match change.apply(&found.value, &run.vars) {
                    Ok(new) => new,
                    Err(kind) => return run.fail(found.place, kind),
                };
                let Some(new) = new else {
                    values.push(found.clone());
                    continue;
                };
                is_changed = true;
                run.spend(found.place, new.iter().map(Value::bytes).sum())?;
                values.extend(new.into_iter().map(|value| DraftValue { value, place: found.place }));
            }
            if is_changed {
                item.values = values;
                item.applied.extend(step.id.clone());
            }
            Ok(None)
        })
    }

    fn rename(&mut self, step: &'p Step, rename: &Rename, subject: &mut Subject<'_>) -> Result<(), Refused> {
        let id = step.id.as_deref();
        subject.fields = self.rename_all(step, rename, &subject.fields, subject.document.place)?;
        if let Kind::Correlation { names, .. } = &mut subject.kind {
            return self.rename_names(step, rename, names, subject.document.place);
        }
        self.each_item(step, subject, &mut |run, item| {
            let is_referring = run.rename_references(step, rename, item, id);
            let names = rename.names(item.field.as_deref()).filter(|_| {
                step.field.holds(|condition| condition.is_about(item.field.as_deref(), &run.applied))
            });
            let Some(names) = names else {
                item.applied.extend(step.id.clone().filter(|_| is_referring));
                return Ok(None);
            };
            if item.field.is_none() {
                open_keywords(item);
            }
            run.rename_item(step, item, &names)
        })
    }

    fn rename_item(
        &mut self,
        step: &Step,
        item: &mut DraftItem,
        names: &[String],
    ) -> Result<Option<Draft>, Refused> {
        if let [name] = names {
            self.spend(item.place, name.len())?;
            item.field = Some(name.clone());
            item.applied.extend(step.id.clone());
            return Ok(None);
        }
        let bytes: usize = item.values.iter().map(|value| value.value.bytes()).sum();
        let mut items = Vec::new();
        for name in names {
            self.spend(item.place, bytes + name.len() + size_of::<DraftItem>())?;
            // As in pySigma, each of several fields starts anew.
            let applied = step.id.iter().cloned().collect();
            items.push(Draft::Item(DraftItem { field: Some(name.clone()), applied, ..item.clone() }));
        }
        Ok(Some(Draft::Any(items)))
    }

    /// Renames the fields that values refer to; says whether there is any.
    fn rename_references(
        &mut self,
        step: &Step,
        rename: &Rename,
        item: &mut DraftItem,
        id: Option<&'p str>,
    ) -> bool {
        let mut is_referring = false;
        let mut values = Vec::new();
        for found in &item.values {
            let place = found.place;
            match &found.value {
                Value::FieldRef(field, edges) if self.is_meant(step, field) => {
                    is_referring = true;
                    let names = self.names(step, rename, field, id);
                    let refer = |name| DraftValue { value: Value::FieldRef(name, *edges), place };
                    values.extend(names.into_iter().map(refer));
                }
                _ => values.push(found.clone()),
            }
        }
        if is_referring {
            item.values = values;
        }
        is_referring
    }

    fn is_meant(&self, step: &Step, field: &str) -> bool {
        step.field.holds(|condition| condition.is_about(Some(field), &self.applied))
    }

    /// The names of a field that stands outside of items: its own where it gets no other.
    fn names(&mut self, step: &Step, rename: &Rename, field: &str, id: Option<&'p str>) -> Vec<String> {
        match rename.names(Some(field)).filter(|_| self.is_meant(step, field)) {
            Some(names) => {
                self.applied.rename(field, &names, id);
                names
            }
            None => vec![field.to_owned()],
        }
    }

    fn rename_all(
        &mut self,
        step: &'p Step,
        rename: &Rename,
        fields: &[String],
        place: Place,
    ) -> Result<Vec<String>, Refused> {
        let mut renamed = Vec::new();
        for field in fields {
            let names = self.names(step, rename, field, step.id.as_deref());
            self.spend(place, names.iter().map(|name| name.len() + size_of::<String>()).sum())?;
            renamed.extend(names);
        }
        Ok(renamed)
    }

    fn rename_names(
        &mut self,
        step: &'p Step,
        rename: &Rename,
        names: &mut Names,
        place: Place,
    ) -> Result<(), Refused> {
        let id = step.id.as_deref();
        for single in &mut names.singles {
            let mut renamed = self.names(step, rename, single, id);
            let Some(name) = renamed.pop().filter(|_| renamed.is_empty()) else {
                let message = format!("`{single}` would become several fields, where only one can stand");
                return self.fail(place, RuleErrorKind::PipelineFailed { message });
            };
            *single = name;
        }
        let mut group_by = Vec::new();
        for field in &names.group_by {
            let is_alias = names.aliases.contains(field);
            let field = std::slice::from_ref(field);
            let renamed =
                if is_alias { field.to_vec() } else { self.rename_all(step, rename, field, place)? };
            group_by.extend(renamed);
        }
        names.group_by = group_by;
        self.applied.rule.extend(id);
        Ok(())
    }

    fn add_condition(
        &mut self,
        step: &Step,
        condition: &AddCondition,
        subject: &mut Subject<'_>,
    ) -> Result<(), Refused> {
        let logsource = subject.logsource.clone();
        let Kind::Rule { selections, place, added } = &mut subject.kind else { return Ok(()) };
        let name = match &condition.name {
            Some(name) => name.clone(),
            None => (1..=selections.len() + 1)
                .map(|number| format!("_cond_{number}"))
                .find(|name| !selections.iter().any(|selection| selection.name == *name))
                .unwrap_or_default(),
        };
        let mut node = condition.selection.clone();
        if condition.is_template {
            fill_template(&mut node, &logsource);
        }
        let (setup, place) = (self.context.setup, *place);
        let mut scratch = Context::new(Path::new(""), "", setup);
        let mut selection = detection::selection(&name, place, &node, &mut scratch);
        if let Some(problem) =
            scratch.problems.into_iter().find(|problem| problem.severity() == Severity::Error)
        {
            let message = format!("a condition that it adds is wrong: {}", problem.kind);
            return self.fail(place, RuleErrorKind::PipelineFailed { message });
        }
        move_to(&mut selection, place, step.id.as_deref());
        self.spend(place, selection.draft.as_ref().map_or(0, Draft::bytes))?;
        match selections.iter_mut().find(|known| known.name == name) {
            Some(known) => *known = selection,
            None => selections.push(selection),
        }
        added.push((name, condition.is_negated));
        Ok(())
    }
}

impl Draft {
    /// Roughly the memory that it takes.
    fn bytes(&self) -> usize {
        match self {
            Draft::Item(item) => {
                size_of::<Self>() + item.values.iter().map(|value| value.value.bytes()).sum::<usize>()
            }
            Draft::All(parts) | Draft::Any(parts) => parts.iter().map(Draft::bytes).sum(),
        }
    }
}

/// Keywords stand anywhere, so a field that takes their place must contain them.
fn open_keywords(item: &mut DraftItem) {
    for DraftValue { value, .. } in &mut item.values {
        if let Value::Text(text) = value {
            *text = std::mem::take(text).open_start().open_end();
        }
    }
}

/// Gives everything in a selection that a pipeline adds a place in the rule.
fn move_to(selection: &mut DraftSelection, place: Place, id: Option<&str>) {
    let Some(draft) = &mut selection.draft else { return };
    draft.visit_items(&mut |item| {
        item.place = place;
        item.applied.extend(id.map(str::to_owned));
        for value in &mut item.values {
            value.place = place;
            move_placeholders(&mut value.value, place);
        }
    });
}

fn move_placeholders(value: &mut Value, place: Place) {
    match value {
        Value::Text(text) => text.move_placeholders(place),
        Value::Regex(regex) => regex.text.move_placeholders(place),
        Value::Forms(forms) => forms.iter_mut().for_each(|form| move_placeholders(form, place)),
        _ => {}
    }
}

/// Writes the log source in place of `$category`, `$product` and `$service`.
fn fill_template(node: &mut Node, logsource: &Logsource) {
    let Content::Map(entries) = &mut node.content else { return };
    for (_, value) in entries {
        let nodes = match &mut value.content {
            Content::List(nodes) => nodes.as_mut_slice(),
            _ => std::slice::from_mut(value),
        };
        for node in nodes {
            let Content::Scalar(scalar) = &mut node.content else { continue };
            if matches!(scalar.resolved(), Resolved::Text(_)) {
                scalar.text = filled(&scalar.text, logsource);
                scalar.is_text = true;
            }
        }
    }
}

/// `$name` and `${name}` become what they name, `$$` a dollar; everything else stays.
fn filled(template: &str, logsource: &Logsource) -> String {
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        let (name, next) = match after.strip_prefix('{').and_then(|after| after.split_once('}')) {
            Some((name, next)) => (name, next),
            None => after.split_at(after.find(|next| !is_word(next)).unwrap_or(after.len())),
        };
        let value = match name {
            "category" => Some(&logsource.category),
            "product" => Some(&logsource.product),
            "service" => Some(&logsource.service),
            _ => None,
        };
        if let Some(dollar) = after.strip_prefix('$') {
            text.push('$');
            rest = dollar;
        } else if let Some(value) = value {
            text.push_str(value.as_deref().unwrap_or("None"));
            rest = next;
        } else {
            text.push('$');
            rest = after;
        }
    }
    text.push_str(rest);
    text
}
