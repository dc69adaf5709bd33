//! Processing pipelines: the part of pySigma's that changes rules.
//!
//! Pipelines see a rule after its modifiers have been applied and before it is understood,
//! so field names, values and the log source are still drafts.
//!
//! **Invariant:** no placeholder outlives this: a rule that still has one is refused.

mod conditions;
mod formula;
mod read;
mod read_conditions;
mod replacement;
mod run;
mod subject;
mod transformations;

use std::collections::BTreeMap;
use std::path::Path;

use super::Setup;
use super::context::Context;
use super::error::{RuleError, Severity};
use super::text::Text;
use conditions::{FieldCondition, Gate, ItemCondition, RuleCondition};
pub(super) use run::apply;
pub(super) use subject::{Kind, Names, Subject, texts};
use transformations::Transformation;

/// Steps that change rules before they are understood.
#[derive(Clone, Debug, Default)]
pub struct Pipeline {
    /// What it calls itself.
    pub name: Option<String>,
    /// Pipelines with lower numbers come first; those with equal ones as they are given.
    pub priority: i64,
    /// What placeholders stand for under `value_placeholders`.
    vars: BTreeMap<String, Vec<Text>>,
    steps: Vec<Step>,
}

impl Pipeline {
    /// Reads a pipeline. `path` is only named in problems, nothing is read from it.
    ///
    /// # Errors
    ///
    /// Every mistake of the file, in its order.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Vec<RuleError>> {
        let setup = Setup::default();
        let mut context = Context::new(path, text, &setup);
        let pipeline = read::pipeline(&mut context, text.len());
        let mut problems = context.problems;
        problems.retain(|problem| problem.severity() == Severity::Error);
        problems.sort_by_key(|problem| problem.place);
        match pipeline {
            Some(pipeline) if problems.is_empty() => Ok(pipeline),
            _ => Err(problems),
        }
    }
}

/// A transformation, and when it is applied.
#[derive(Clone, Debug)]
struct Step {
    /// By which conditions of later steps know it.
    id: Option<String>,
    rule: Gate<RuleCondition>,
    item: Gate<ItemCondition>,
    field: Gate<FieldCondition>,
    transformation: Transformation,
}

/// A pipeline as the steps and values of all of them, in their order.
struct Merged<'p> {
    steps: Vec<&'p Step>,
    vars: BTreeMap<&'p str, &'p [Text]>,
}

impl<'p> Merged<'p> {
    /// Later values of the same name replace earlier ones.
    fn new(pipelines: &'p [Pipeline]) -> Self {
        let mut sorted: Vec<&Pipeline> = pipelines.iter().collect();
        sorted.sort_by_key(|pipeline| pipeline.priority);
        let vars = sorted.iter().flat_map(|pipeline| &pipeline.vars);
        Self {
            steps: sorted.iter().flat_map(|pipeline| &pipeline.steps).collect(),
            vars: vars.map(|(name, values)| (name.as_str(), values.as_slice())).collect(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::super::{Logsource, yaml};
    use super::subject::Names;
    use super::*;

    #[test]
    fn fields_of_correlations_get_other_names() {
        let names = renamed("{type: field_name_mapping, mapping: {a: [x, y], alias: never, b: z}}").unwrap();
        assert_eq!((names.group_by.join(" "), names.singles.join(" ")), ("x y alias".into(), "z c".into()));
        let errors = renamed("{type: field_name_mapping, mapping: {b: [x, y]}}").unwrap_err();
        assert!(errors[0].to_string().contains("`b` would become several fields"), "{errors:?}");
        let errors = renamed("{type: rule_failure, message: none}").unwrap_err();
        assert!(errors[0].to_string().ends_with("a pipeline refuses the rule: none"), "{errors:?}");
    }

    #[test]
    fn steps_know_correlations_and_the_log_sources_of_their_rules() {
        let conditions = "[{type: is_sigma_correlation_rule}, {type: logsource, product: linux}]";
        let step = format!("{{type: field_name_prefix, prefix: p., rule_conditions: {conditions}}}");
        assert_eq!(renamed(&step).unwrap().singles, ["p.b", "p.c"]);
        let step = step.replace("linux", "windows");
        assert_eq!(renamed(&step).unwrap().singles, ["b", "c"]);
        let step = "{type: set_value, value: 1}, {type: drop_detection_item}, {type: add_condition, conditions: {a: b}}";
        assert_eq!(renamed(step).unwrap().group_by, ["a", "alias"]);
    }

    /// What becomes of the names of a correlation.
    fn renamed(steps: &str) -> Result<Names, Vec<RuleError>> {
        let pipeline = Pipeline::parse(Path::new("p"), &format!("transformations: [{steps}]"))?;
        let setup = Setup { pipelines: vec![pipeline], ..Setup::default() };
        let mut context = Context::new(Path::new("c"), "title: t", &setup);
        let documents = yaml::read(&mut context);
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let names =
            Names { group_by: list(&["a", "alias"]), aliases: list(&["alias"]), singles: list(&["b", "c"]) };
        let product = |name: &str| Logsource { product: Some(name.to_owned()), ..Logsource::default() };
        let mut subject = Subject {
            document: &documents[0].root,
            logsource: Logsource::default(),
            custom: Vec::new(),
            tags: Vec::new(),
            fields: Vec::new(),
            kind: Kind::Correlation { names, logsources: vec![product("macos"), product("linux")] },
        };
        let is_sound = apply(&mut subject, &mut context);
        match subject.kind {
            Kind::Correlation { names, .. } if is_sound => Ok(names),
            _ => Err(context.problems),
        }
    }
}
