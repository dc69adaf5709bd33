//! Other names for fields, and for the lists of blocks.
//!
//! Names within a block stand in full while pipelines run. One that gets no other name
//! stays in its list when that is renamed; one that leaves its list refuses the rule.

use super::super::super::draft::{Draft, DraftBlock, DraftItem, DraftValue};
use super::super::super::modifier::Value;
use super::super::super::{Place, error::RuleErrorKind};
use super::super::Step;
use super::super::subject::{Kind, Names, Subject};
use super::super::transformations::Rename;
use super::{Refused, Run, open_keywords};

/// What the list of a block was called, and is; of no block, nothing.
#[derive(Default)]
struct Moved {
    from: String,
    to: String,
}

impl Moved {
    /// The name of a field that stays in the list; nothing when it keeps its name.
    fn follow(&self, field: &str) -> Option<String> {
        let rest = field.strip_prefix(&self.from).filter(|_| self.from != self.to)?;
        (rest.is_empty() || rest.starts_with('.')).then(|| format!("{}{rest}", self.to))
    }
}

impl<'p> Run<'_, 'p, '_> {
    pub(super) fn rename(
        &mut self,
        step: &'p Step,
        rename: &Rename,
        subject: &mut Subject<'_>,
    ) -> Result<(), Refused> {
        subject.fields = self.rename_all(step, rename, &subject.fields, subject.document.place)?;
        if let Kind::Correlation { names, .. } = &mut subject.kind {
            return self.rename_names(step, rename, names, subject.document.place);
        }
        let Kind::Rule { selections, .. } = &mut subject.kind else { return Ok(()) };
        let mut drafts = selections.iter_mut().filter_map(|selection| selection.draft.as_mut());
        drafts.try_for_each(|draft| self.rename_draft(step, rename, draft, &Moved::default()))
    }

    fn rename_draft(
        &mut self,
        step: &'p Step,
        rename: &Rename,
        draft: &mut Draft,
        moved: &Moved,
    ) -> Result<(), Refused> {
        match draft {
            Draft::Item(item) => {
                if let Some(replacement) = self.rename_fields(step, rename, item, moved)? {
                    *draft = replacement;
                }
                Ok(())
            }
            Draft::Block(block) => {
                let moved = self.rename_list(step, rename, block, moved)?;
                self.rename_draft(step, rename, &mut block.body, &moved)
            }
            other => {
                let mut parts = other.parts_mut().into_iter();
                parts.try_for_each(|part| self.rename_draft(step, rename, part, moved))
            }
        }
    }

    /// Renames the list of a block as if it were a field; says how it was called.
    fn rename_list(
        &mut self,
        step: &'p Step,
        rename: &Rename,
        block: &mut DraftBlock,
        moved: &Moved,
    ) -> Result<Moved, Refused> {
        let list = &block.list;
        // A list has no values that conditions about items could look at.
        let is_meant = step.item.conditions.is_empty() && self.is_meant(step, list);
        let new = match rename.names(Some(list)).filter(|_| is_meant) {
            None => moved.follow(list),
            Some(names) => {
                let [name] = names.as_slice() else {
                    let message = format!("`{list}` would become several fields, where only one can stand");
                    return self.fail(block.place, RuleErrorKind::PipelineFailed { message });
                };
                self.applied.rename(list, &names, step.id.as_deref());
                Some(name.clone())
            }
        };
        let Some(new) = new else { return Ok(Moved::default()) };
        self.spend(block.place, new.len())?;
        Ok(Moved { from: std::mem::replace(&mut block.list, new.clone()), to: new })
    }

    fn rename_fields(
        &mut self,
        step: &'p Step,
        rename: &Rename,
        item: &mut DraftItem,
        moved: &Moved,
    ) -> Result<Option<Draft>, Refused> {
        let is_meant = step.item.holds(|condition| condition.holds(item, &self.applied))
            && step.field.holds(|condition| condition.holds(item, &self.applied));
        let is_referring = is_meant && self.has_references(step, item);
        self.rename_references(step, rename, item, moved, is_meant)?;
        let names = rename.names(item.field.as_deref()).filter(|_| {
            is_meant && step.field.holds(|condition| condition.is_about(item.field.as_deref(), &self.applied))
        });
        if let Some(names) = names {
            if item.field.is_none() {
                open_keywords(item);
            }
            return self.rename_item(step, item, &names);
        }
        item.applied.extend(step.id.clone().filter(|_| is_referring));
        if let Some(name) = item.field.as_deref().and_then(|field| moved.follow(field)) {
            self.spend(item.place, name.len())?;
            item.field = Some(name);
        }
        Ok(None)
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

    fn has_references(&self, step: &Step, item: &DraftItem) -> bool {
        let is_meant =
            |value: &Value| matches!(value, Value::FieldRef(field, _) if self.is_meant(step, field));
        item.values.iter().any(|found| is_meant(&found.value))
    }

    /// Renames the fields that values refer to; those that are not meant stay with their list.
    fn rename_references(
        &mut self,
        step: &'p Step,
        rename: &Rename,
        item: &mut DraftItem,
        moved: &Moved,
        is_meant: bool,
    ) -> Result<(), Refused> {
        let mut values = Vec::new();
        for DraftValue { value, place } in std::mem::take(&mut item.values) {
            let Value::FieldRef(field, edges) = value else {
                values.push(DraftValue { value, place });
                continue;
            };
            let is_renamed = is_meant && self.is_meant(step, &field) && rename.names(Some(&field)).is_some();
            let names = if is_renamed {
                self.names(step, rename, &field, step.id.as_deref())
            } else if let Some(name) = moved.follow(&field) {
                vec![name]
            } else {
                values.push(DraftValue { value: Value::FieldRef(field, edges), place });
                continue;
            };
            self.spend(place, names.iter().map(String::len).sum())?;
            let refer = |name| DraftValue { value: Value::FieldRef(name, edges), place };
            values.extend(names.into_iter().map(refer));
        }
        item.values = values;
        Ok(())
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
}
