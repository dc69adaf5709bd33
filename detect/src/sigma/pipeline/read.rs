//! Reads pipelines: their steps, and what the transformations need.

use std::collections::BTreeMap;

use regex::Regex;

use super::super::block::Around;
use super::super::context::Context;
use super::super::detection;
use super::super::error::RuleErrorKind as Kind;
use super::super::expression;
use super::super::modifier::Value;
use super::super::nearest::nearest;
use super::super::text::Text;
use super::super::yaml::{self, Content, FILE_BYTES_MAX, Node, Resolved};
use super::super::{Logsource, Place};
use super::read_conditions;
use super::replacement::{Replacement, Template};
use super::transformations::{AddCondition, Rename, Scope, Transformation, ValueChange};
use super::{Pipeline, Step};

/// How many steps a pipeline may have, nested ones included; those of backends have less
/// than a hundred.
const STEPS_MAX: usize = 1000;
/// How deep steps may nest.
const NESTING_MAX: usize = 8;

/// Transformations that pySigma has besides.
const UNSUPPORTED: [&str; 13] = [
    "case",
    "command_placeholders",
    "convert_type",
    "extract_fields",
    "field_name_transform",
    "file_placeholders",
    "hashes_fields",
    "http_placeholders",
    "query_expression_placeholders",
    "regex",
    "strict_field_mapping_failure",
    "template",
    "embed",
];
const SUPPORTED: [&str; 20] = [
    "add_condition",
    "add_field",
    "change_logsource",
    "detection_item_failure",
    "drop_detection_item",
    "field_name_mapping",
    "field_name_prefix",
    "field_name_prefix_mapping",
    "field_name_suffix",
    "map_string",
    "nest",
    "remove_field",
    "replace_string",
    "rule_failure",
    "set_custom_attribute",
    "set_field",
    "set_state",
    "set_value",
    "value_placeholders",
    "wildcard_placeholders",
];

/// Reads the one document of a file; nothing where it is none.
pub(super) fn pipeline(context: &mut Context<'_>, bytes: usize) -> Option<Pipeline> {
    let start = Place { line: 1, column: 1, width: 1 };
    if bytes > FILE_BYTES_MAX {
        context.report(start, Kind::Limit { what: "the number of bytes of the file", max: FILE_BYTES_MAX });
        return None;
    }
    let documents = yaml::read(context);
    let [document] = documents.as_slice() else {
        if context.error_count() == 0 {
            let message = "a file must hold one pipeline".to_owned();
            let place = documents.get(1).map_or(start, |document| document.root.place);
            context.report(place, Kind::Yaml { message });
        }
        return None;
    };
    let root = &document.root;
    if !matches!(root.content, Content::Map(_)) {
        let kind =
            Kind::WrongType { key: "the pipeline".to_owned(), expected: "a mapping", found: root.found() };
        context.report(root.place, kind);
        return None;
    }
    let mut reader = Parameters::new("a pipeline", root, context);
    let name = reader.optional_text("name");
    let priority = reader.number("priority");
    let vars = reader.vars();
    // Which backends may use it means nothing here.
    reader.get("allowed_backends");
    for section in ["postprocessing", "finalizers"] {
        if let Some(node) = reader.get(section).filter(|node| !is_empty(node)) {
            let name = section.to_owned();
            reader.report(node.place, Kind::UnsupportedStep { what: "the section", name });
        }
    }
    let nodes = reader.get("transformations");
    reader.finish();
    let mut left = STEPS_MAX;
    let steps = nodes.map_or_else(Vec::new, |node| steps(node, 0, &mut left, context));
    Some(Pipeline { name, priority, vars, steps })
}

fn is_empty(node: &Node) -> bool {
    node.is_null() || matches!(&node.content, Content::List(nodes) if nodes.is_empty())
}

fn steps(node: &Node, depth: usize, left: &mut usize, context: &mut Context<'_>) -> Vec<Step> {
    let Content::List(nodes) = &node.content else {
        if !node.is_null() {
            let kind = Kind::WrongType {
                key: "transformations".to_owned(),
                expected: "a list of mappings",
                found: node.found(),
            };
            context.report(node.place, kind);
        }
        return Vec::new();
    };
    let mut steps = Vec::new();
    for node in nodes {
        if *left == 0 || depth > NESTING_MAX {
            let (what, max) = match *left {
                0 => ("the number of steps", STEPS_MAX),
                _ => ("the nesting of steps", NESTING_MAX),
            };
            context.report(node.place, Kind::Limit { what, max });
            return steps;
        }
        *left -= 1;
        steps.extend(step(node, depth, left, context));
    }
    steps
}

fn step(node: &Node, depth: usize, left: &mut usize, context: &mut Context<'_>) -> Option<Step> {
    if !matches!(node.content, Content::Map(_)) {
        let kind = Kind::WrongType { key: "a step".to_owned(), expected: "a mapping", found: node.found() };
        context.report(node.place, kind);
        return None;
    }
    let rule = read_conditions::gate("rule", node, context, read_conditions::rule);
    let item = read_conditions::gate("detection_item", node, context, read_conditions::item);
    let field = read_conditions::gate("field_name", node, context, read_conditions::field);
    let mut reader = Parameters::new("a step", node, context);
    let name = reader.text("type")?;
    let mut reader = Parameters::new(&name, node, context);
    reader.allow(&["type", "id"]);
    reader.allow(&read_conditions::KEYS);
    let id = reader.optional_text("id").filter(|id| !id.is_empty());
    let transformation = if name == "nest" {
        let nodes = reader.required("items");
        reader.finish();
        Some(Transformation::Nest(nodes.map_or_else(Vec::new, |node| steps(node, depth + 1, left, context))))
    } else {
        let transformation = transformation(&name, &mut reader);
        if transformation.is_some() {
            reader.finish();
        }
        transformation
    };
    Some(Step { id, rule: rule?, item: item?, field: field?, transformation: transformation? })
}

fn transformation(name: &str, reader: &mut Parameters<'_, '_, '_>) -> Option<Transformation> {
    Some(match name {
        "field_name_mapping" => Transformation::Rename(Rename::Map(reader.names()?.into_iter().collect())),
        "field_name_prefix_mapping" => Transformation::Rename(Rename::PrefixMap(reader.prefixes()?)),
        "field_name_prefix" => Transformation::Rename(Rename::Prefix(reader.text("prefix")?)),
        "field_name_suffix" => Transformation::Rename(Rename::Suffix(reader.text("suffix")?)),
        "drop_detection_item" => Transformation::DropItem,
        "add_condition" => Transformation::AddCondition(reader.added_condition()?),
        "change_logsource" => Transformation::ChangeLogsource(reader.logsource()?),
        "replace_string" => Transformation::Values(ValueChange::Replace(reader.replacement()?)),
        "map_string" => Transformation::Values(ValueChange::Map(reader.texts_by_text()?)),
        "value_placeholders" => Transformation::Values(ValueChange::Fill(reader.scope()?)),
        "wildcard_placeholders" => Transformation::Values(ValueChange::Wildcard(reader.scope()?)),
        "set_value" => Transformation::Values(ValueChange::Set(reader.value()?)),
        "set_custom_attribute" => {
            let name = reader.text("attribute");
            let value = reader.required("value")?.to_json();
            Transformation::SetCustomAttribute { name: name?, value }
        }
        "set_state" => {
            let key = reader.text("key");
            let value = reader.required("val")?.to_json();
            Transformation::SetState { key: key?, value }
        }
        "rule_failure" => Transformation::FailRule(reader.text("message")?),
        "detection_item_failure" => Transformation::FailItem(reader.text("message")?),
        "add_field" => Transformation::AddFields(reader.texts("field")?),
        "remove_field" => Transformation::RemoveFields(reader.texts("field")?),
        "set_field" => Transformation::SetFields(reader.texts("fields")?),
        other => {
            reader.unsupported("type", other, "transformation", &SUPPORTED, &UNSUPPORTED);
            return None;
        }
    })
}

/// The keys of a mapping, and which of them have been asked for.
pub(super) struct Parameters<'n, 'c, 't> {
    owner: String,
    node: &'n Node,
    known: Vec<&'static str>,
    context: &'c mut Context<'t>,
}

impl<'n, 'c, 't> Parameters<'n, 'c, 't> {
    pub(super) fn new(owner: &str, node: &'n Node, context: &'c mut Context<'t>) -> Self {
        Self { owner: owner.to_owned(), node, known: Vec::new(), context }
    }

    pub(super) fn allow(&mut self, keys: &[&'static str]) {
        self.known.extend(keys);
    }

    /// Reports keys that nobody asked for.
    pub(super) fn finish(self) {
        for (key, _) in self.node.entries() {
            let Some(name) = key.scalar_text().filter(|name| !self.known.contains(name)) else { continue };
            let closest = nearest(name, self.known.iter().copied());
            let kind = Kind::UnknownParameter { owner: self.owner.clone(), key: name.to_owned(), closest };
            self.context.report(key.place, kind);
        }
    }

    pub(super) fn report(&mut self, place: Place, kind: Kind) {
        self.context.report(place, kind);
    }

    /// A type that is unknown, or known and not supported.
    pub(super) fn unsupported(
        &mut self,
        key: &'static str,
        name: &str,
        what: &'static str,
        supported: &[&'static str],
        unsupported: &[&'static str],
    ) {
        let place = self.node.get(key).map_or(self.node.place, |node| node.place);
        let kind = if unsupported.contains(&name) {
            Kind::UnsupportedStep { what, name: name.to_owned() }
        } else {
            let closest = nearest(name, supported.iter().copied());
            Kind::UnknownValue { key: what, value: name.to_owned(), closest, known: supported.join(", ") }
        };
        self.report(place, kind);
    }

    pub(super) fn get(&mut self, key: &'static str) -> Option<&'n Node> {
        self.known.push(key);
        let node = self.node;
        node.get(key)
    }

    pub(super) fn required(&mut self, key: &'static str) -> Option<&'n Node> {
        let node = self.get(key);
        if node.is_none() {
            self.report(self.node.place, Kind::MissingKey { key, slip: None });
        }
        node
    }

    fn wrong<T>(&mut self, key: &str, node: &Node, expected: &'static str) -> Option<T> {
        let kind = Kind::WrongType { key: key.to_owned(), expected, found: node.found() };
        self.report(node.place, kind);
        None
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        let node = self.required(key)?;
        match node.scalar_text().filter(|_| !node.is_null()) {
            Some(text) => Some(text.to_owned()),
            None => self.wrong(key, node, "a text"),
        }
    }

    pub(super) fn optional_text(&mut self, key: &'static str) -> Option<String> {
        self.get(key).filter(|node| !node.is_null())?;
        self.text(key)
    }

    pub(super) fn flag(&mut self, key: &'static str) -> bool {
        let Some(node) = self.get(key) else { return false };
        let Content::Scalar(scalar) = &node.content else {
            return self.wrong(key, node, "`true` or `false`").unwrap_or_default();
        };
        match scalar.resolved() {
            Resolved::Bool(truth) => truth,
            _ => self.wrong(key, node, "`true` or `false`").unwrap_or_default(),
        }
    }

    fn number(&mut self, key: &'static str) -> i64 {
        let Some(node) = self.get(key).filter(|node| !node.is_null()) else { return 0 };
        match node.to_json().as_i64() {
            Some(number) => number,
            None => self.wrong(key, node, "a whole number").unwrap_or_default(),
        }
    }

    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let node = self.required(key)?;
        self.texts_of(key, node)
    }

    /// A text, or a list of texts.
    fn texts_of(&mut self, key: &str, node: &Node) -> Option<Vec<String>> {
        let nodes = match &node.content {
            Content::List(nodes) => nodes.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let texts: Option<Vec<_>> = nodes
            .iter()
            .map(|node| node.scalar_text().filter(|_| !node.is_null()).map(str::to_owned))
            .collect();
        match texts {
            Some(texts) => Some(texts),
            None => self.wrong(key, node, "a text or a list of texts"),
        }
    }

    /// The entries of a mapping whose values are texts or lists of texts.
    fn mapping(&mut self, key: &'static str) -> Option<Vec<(&'n Node, Vec<String>)>> {
        let node = self.required(key)?;
        if !matches!(node.content, Content::Map(_)) {
            return self.wrong(key, node, "a mapping");
        }
        let mut mapping = Vec::new();
        let mut is_sound = true;
        for (name, value) in node.entries() {
            match self.texts_of(name.scalar_text().unwrap_or_default(), value) {
                Some(texts) => mapping.push((name, texts)),
                None => is_sound = false,
            }
        }
        is_sound.then_some(mapping)
    }

    /// New names of fields, `null` being the field of keywords.
    fn names(&mut self) -> Option<Vec<(Option<String>, Vec<String>)>> {
        let mapping = self.mapping("mapping")?;
        let mut names = Vec::new();
        for (key, fields) in mapping {
            if fields.is_empty() {
                let key_text = key.scalar_text().unwrap_or_default().to_owned();
                let (expected, found) = ("one or more fields", "an empty list");
                self.report(key.place, Kind::WrongType { key: key_text, expected, found });
                return None;
            }
            names.push((key.scalar_text().filter(|_| !key.is_null()).map(str::to_owned), fields));
        }
        Some(names)
    }

    fn prefixes(&mut self) -> Option<Vec<(String, Vec<String>)>> {
        let mut prefixes = Vec::new();
        for (prefix, names) in self.names()? {
            let Some(prefix) = prefix else {
                let node = self.required("mapping")?;
                return self.wrong("a prefix", node, "a text, not `null`");
            };
            prefixes.push((prefix, names));
        }
        Some(prefixes)
    }

    fn texts_by_text(&mut self) -> Option<BTreeMap<String, Vec<Text>>> {
        let mapping = self.mapping("mapping")?;
        let texts = |texts: Vec<String>| texts.iter().map(|text| Text::parse(text)).collect();
        let mapping = mapping.into_iter().filter_map(|(key, values)| Some((key.scalar_text()?, values)));
        Some(mapping.map(|(key, values)| (key.to_owned(), texts(values))).collect())
    }

    fn vars(&mut self) -> BTreeMap<String, Vec<Text>> {
        if self.get("vars").is_none_or(Node::is_null) {
            return BTreeMap::new();
        }
        let mapping = self.mapping("vars").unwrap_or_default();
        let texts = |texts: Vec<String>| texts.iter().map(|text| Text::parse(text)).collect();
        let mapping = mapping.into_iter().filter_map(|(key, values)| Some((key.scalar_text()?, values)));
        mapping.map(|(key, values)| (key.to_owned(), texts(values))).collect()
    }

    fn scope(&mut self) -> Option<Scope> {
        let only = self.get("include").filter(|node| !node.is_null());
        let except = self.get("exclude").filter(|node| !node.is_null());
        match (only, except) {
            (None, None) => Some(Scope::All),
            (Some(node), None) => self.texts_of("include", node).map(Scope::Only),
            (None, Some(node)) => self.texts_of("exclude", node).map(Scope::Except),
            (Some(_), Some(node)) => {
                let message = "`include` and `exclude` exclude each other".to_owned();
                self.report(node.place, Kind::StepConditions { message });
                None
            }
        }
    }

    pub(super) fn logsource(&mut self) -> Option<Logsource> {
        let logsource = Logsource {
            product: self.optional_text("product"),
            service: self.optional_text("service"),
            category: self.optional_text("category"),
        };
        if logsource == Logsource::default() {
            self.report(self.node.place, Kind::EmptyText { key: "logsource" });
            return None;
        }
        Some(logsource)
    }

    /// A regular expression; matches only at the beginning of a text if it is anchored.
    pub(super) fn regex(&mut self, key: &'static str, is_anchored: bool) -> Option<Regex> {
        let node = self.required(key)?;
        let text = self.text(key)?;
        self.compile(node, &text, is_anchored)
    }

    pub(super) fn regexes(&mut self, key: &'static str) -> Option<Vec<Regex>> {
        let node = self.required(key)?;
        let texts = self.texts_of(key, node)?;
        texts.iter().map(|text| self.compile(node, text, true)).collect()
    }

    fn compile(&mut self, node: &Node, text: &str, is_anchored: bool) -> Option<Regex> {
        if let Err(fault) = expression::check(text) {
            let place = match node.scalar_text() {
                Some(_) => self.context.source.place_in(node, fault.from, fault.width),
                None => node.place,
            };
            self.report(place, fault.kind);
            return None;
        }
        let anchored = if is_anchored { format!(r"\A(?:{text})") } else { text.to_owned() };
        match expression::compile(&anchored) {
            Ok(regex) => Some(regex),
            Err(kind) => {
                self.report(node.place, kind);
                None
            }
        }
    }

    fn replacement(&mut self) -> Option<Replacement> {
        let (skips_special, reads_special) = (self.flag("skip_special"), self.flag("interpret_special"));
        let regex = self.regex("regex", false);
        let (node, text) = (self.required("replacement")?, self.text("replacement")?);
        let regex = regex?;
        match Template::parse(&text, &regex) {
            Ok(template) => Some(Replacement { regex, template, skips_special, reads_special }),
            Err(message) => {
                self.report(node.place, Kind::InvalidReplacement { message });
                None
            }
        }
    }

    /// A value, and the type that it is forced to.
    fn value(&mut self) -> Option<Value> {
        let node = self.required("value")?;
        let forced = self.optional_text("force_type");
        let value = self.plain(node)?;
        match (forced.as_deref(), value) {
            (None, value) => Some(value),
            (Some("str"), Value::Text(text)) => Some(Value::Text(text)),
            (Some("str"), Value::Number(text)) => Some(Value::Text(Text::parse(&text))),
            (Some("num"), Value::Number(text)) => Some(Value::Number(text)),
            (Some("num"), Value::Text(text)) => {
                let number = text.plain().filter(|text| text.parse::<f64>().is_ok_and(f64::is_finite));
                match number {
                    Some(number) => Some(Value::Number(number.to_owned())),
                    None => self.wrong("value", node, "a number"),
                }
            }
            (Some("str" | "num"), _) => self.wrong("value", node, "a text or a number"),
            (Some(other), _) => {
                self.unsupported("force_type", other, "force_type", &["str", "num"], &[]);
                None
            }
        }
    }

    /// A value without modifiers.
    pub(super) fn plain(&mut self, node: &Node) -> Option<Value> {
        let Content::Scalar(scalar) = &node.content else {
            return self.wrong("value", node, "one value");
        };
        Some(match scalar.resolved() {
            Resolved::Null => Value::Null,
            Resolved::Bool(truth) => Value::Bool(truth),
            Resolved::Number(value) if value.parse::<f64>().is_ok_and(f64::is_finite) => Value::Number(value),
            Resolved::Number(value) => {
                self.report(node.place, Kind::InfiniteNumber { value });
                return None;
            }
            Resolved::Text(text) => Value::Text(Text::parse(text)),
        })
    }

    fn added_condition(&mut self) -> Option<AddCondition> {
        let (is_template, is_negated) = (self.flag("template"), self.flag("negated"));
        let name = self.optional_text("name");
        let selection = self.required("conditions")?;
        if !matches!(selection.content, Content::Map(_)) {
            return self.wrong("conditions", selection, "a mapping");
        }
        // Read once to find its mistakes; every rule reads it again, with its own log source.
        let read =
            detection::selection("conditions", selection.place, selection, &Around::default(), self.context);
        self.context.fields.clear();
        read.is_sound.then(|| AddCondition { selection: selection.clone(), name, is_template, is_negated })
    }
}
