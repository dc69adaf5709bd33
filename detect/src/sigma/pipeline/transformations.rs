//! Transformations: what a step does to names and values.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::super::Logsource;
use super::super::error::RuleErrorKind as Kind;
use super::super::modifier::Value;
use super::super::placeholder::as_regexes;
use super::super::text::{Piece, Text};
use super::super::yaml::Node;
use super::Step;
use super::replacement::Replacement;

/// What a step does.
#[derive(Clone, Debug)]
pub(super) enum Transformation {
    Rename(Rename),
    Values(ValueChange),
    DropItem,
    AddCondition(AddCondition),
    ChangeLogsource(Logsource),
    SetCustomAttribute {
        name: String,
        value: serde_json::Value,
    },
    SetState {
        key: String,
        value: serde_json::Value,
    },
    /// These three concern the fields that a rule lists, which only conditions look at.
    AddFields(Vec<String>),
    RemoveFields(Vec<String>),
    SetFields(Vec<String>),
    FailRule(String),
    FailItem(String),
    Nest(Vec<Step>),
}

/// How fields get other names; a field may get several.
#[derive(Clone, Debug)]
pub(super) enum Rename {
    /// No name is that of keywords.
    Map(BTreeMap<Option<String>, Vec<String>>),
    /// In the order as written: the first prefix that fits counts.
    PrefixMap(Vec<(String, Vec<String>)>),
    Prefix(String),
    Suffix(String),
}

/// How values get other values.
#[derive(Clone, Debug)]
pub(super) enum ValueChange {
    Replace(Replacement),
    Map(BTreeMap<String, Vec<Text>>),
    Set(Value),
    /// Placeholders become the values of the pipeline.
    Fill(Scope),
    /// Placeholders become `*`.
    Wildcard(Scope),
}

/// Which placeholders are meant.
#[derive(Clone, Debug)]
pub(super) enum Scope {
    All,
    Only(Vec<String>),
    Except(Vec<String>),
}

/// A selection that must hold besides the condition.
#[derive(Clone, Debug)]
pub(super) struct AddCondition {
    pub(super) selection: Node,
    pub(super) name: Option<String>,
    pub(super) is_template: bool,
    pub(super) is_negated: bool,
}

impl Rename {
    /// The new names of a field, if it gets any; nothing is the field of keywords.
    pub(super) fn names(&self, field: Option<&str>) -> Option<Vec<String>> {
        match (self, field) {
            (Self::Map(map), field) => map.get(&field.map(str::to_owned)).cloned(),
            (_, None) => None,
            (Self::PrefixMap(map), Some(field)) => map.iter().find_map(|(prefix, prefixes)| {
                let rest = field.strip_prefix(prefix.as_str())?;
                Some(prefixes.iter().map(|prefix| format!("{prefix}{rest}")).collect())
            }),
            (Self::Prefix(prefix), Some(field)) => Some(vec![format!("{prefix}{field}")]),
            (Self::Suffix(suffix), Some(field)) => Some(vec![format!("{field}{suffix}")]),
        }
    }
}

impl Scope {
    fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|known| known == name),
            Self::Except(names) => !names.iter().any(|known| known == name),
        }
    }
}

/// What placeholders stand for in pipelines.
pub(super) type Variables<'p> = BTreeMap<&'p str, &'p [Text]>;

impl ValueChange {
    /// The values that take the place of a value; nothing when it stays as it is.
    pub(super) fn apply(&self, value: &Value, vars: &Variables<'_>) -> Result<Option<Vec<Value>>, Kind> {
        match (self, value) {
            (Self::Set(new), _) => Ok(Some(vec![new.clone()])),
            (Self::Replace(replacement), Value::Text(text)) => {
                Ok(Some(vec![Value::Text(replacement.apply(text)?)]))
            }
            (Self::Replace(replacement), Value::Number(number)) => {
                Ok(Some(vec![Value::Text(replacement.apply(&Text::parse(number))?)]))
            }
            (Self::Map(map), Value::Text(text)) => Ok(map.get(&text.to_plain()).map(|texts| {
                let cased = |new: &Text| Text { is_cased: text.is_cased, ..new.clone() };
                texts.iter().map(|new| Value::Text(cased(new))).collect()
            })),
            (Self::Fill(scope), value) => {
                fill(value, &|name| vars.get(name).filter(|_| scope.has(name)).map(|texts| Cow::from(*texts)))
            }
            (Self::Wildcard(scope), value) => {
                let star = || Text { pieces: vec![Piece::Many], ..Text::default() };
                fill(value, &|name| scope.has(name).then(|| vec![star()].into()))
            }
            (Self::Replace(_) | Self::Map(_), _) => Ok(None),
        }
    }
}

/// Replaces the placeholders that `values` knows.
fn fill<'v>(
    value: &Value,
    values: &dyn Fn(&str) -> Option<Cow<'v, [Text]>>,
) -> Result<Option<Vec<Value>>, Kind> {
    let knows_any = |text: &Text| {
        let mut names = text.pieces.iter().filter_map(|piece| match piece {
            Piece::Placeholder(placeholder) => Some(&placeholder.name),
            _ => None,
        });
        names.any(|name| values(name).is_some())
    };
    Ok(match value {
        Value::Text(text) if knows_any(text) => {
            Some(text.substitute(values)?.into_iter().map(Value::Text).collect())
        }
        Value::Regex(regex) if knows_any(&regex.text) => {
            let texts = regex.text.substitute(|name| values(name).map(|texts| as_regexes(&texts).into()))?;
            Some(texts.into_iter().map(|text| Value::Regex(regex.with_text(text))).collect())
        }
        Value::Forms(forms) if value.placeholder().is_some() => {
            let mut filled = Vec::new();
            for form in forms {
                filled.extend(fill(form, values)?.unwrap_or_else(|| vec![form.clone()]));
            }
            Some(vec![Value::Forms(filled)])
        }
        _ => None,
    })
}
