//! Applies pipelines to a rule or a correlation, step by step.

mod rename;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::super::block::Around;
use super::super::context::Context;
use super::super::draft::{Draft, DraftItem, DraftValue};
use super::super::error::{RuleErrorKind, Severity};
use super::super::modifier::Value;
use super::super::yaml::{Content, Node, Resolved};
use super::super::{Logsource, Place, detection};
use super::subject::{Kind, Subject};
use super::transformations::{AddCondition, Transformation, ValueChange, Variables};
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
        let mut selection = detection::selection(&name, place, &node, &Around::default(), &mut scratch);
        if let Some(problem) =
            scratch.problems.into_iter().find(|problem| problem.severity() == Severity::Error)
        {
            let message = format!("a condition that it adds is wrong: {}", problem.kind);
            return self.fail(place, RuleErrorKind::PipelineFailed { message });
        }
        if let Some(draft) = &mut selection.draft
            && !move_to(draft, place, step.id.as_deref())
        {
            let message = "a condition that it adds has a block with a condition of its own".to_owned();
            return self.fail(place, RuleErrorKind::PipelineFailed { message });
        }
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
            other => size_of::<Self>() + other.parts().into_iter().map(Draft::bytes).sum::<usize>(),
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

/// Gives everything in a selection that a pipeline adds a place in the rule; false when
/// there is a condition, which has places only in its own file.
fn move_to(draft: &mut Draft, place: Place, id: Option<&str>) -> bool {
    match draft {
        Draft::Item(item) => {
            item.place = place;
            item.applied.extend(id.map(str::to_owned));
            for value in &mut item.values {
                value.place = place;
                move_placeholders(&mut value.value, place);
            }
        }
        Draft::Block(block) => block.place = place,
        Draft::Selections(..) => return false,
        Draft::All(_) | Draft::Any(_) => {}
    }
    draft.parts_mut().into_iter().all(|part| move_to(part, place, id))
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
            let Content::Scalar(scalar) = &mut node.content else {
                fill_template(node, logsource);
                continue;
            };
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
