//! Documents: the keys of a rule besides what `detection` holds.

use super::action::Shared;
use super::context::Context;
use super::correlation;
use super::detection::{self, Rest};
use super::error::RuleErrorKind as Kind;
use super::event_object;
use super::filter::{self, Filter};
use super::lint;
use super::logsource::Subject;
use super::nearest::{may_be_near, nearest};
use super::pipeline;
use super::yaml::{self, Content, Document, FILE_BYTES_MAX, Node};
use super::{Level, Logic, Logsource, Place, Rule};

/// The keys that Sigma defines for rules.
const KEYS: [&str; 22] = [
    "title",
    "id",
    "name",
    "related",
    "taxonomy",
    "status",
    "description",
    "license",
    "author",
    "references",
    "date",
    "modified",
    "logsource",
    "detection",
    "correlation",
    "filter",
    "fields",
    "falsepositives",
    "level",
    "tags",
    "scope",
    "action",
];
const REQUIRED: [&str; 3] = ["title", "logsource", "detection"];
const STATUSES: [&str; 5] = ["stable", "test", "experimental", "deprecated", "unsupported"];
pub(super) const LEVELS: [(&str, Level); 5] = [
    ("informational", Level::Informational),
    ("low", Level::Low),
    ("medium", Level::Medium),
    ("high", Level::High),
    ("critical", Level::Critical),
];
const RELATIONS: [&str; 6] = ["correlation", "derived", "merged", "obsolete", "renamed", "similar"];
/// How many characters a title may have, as in pySigma.
const TITLE_CHARACTERS_MAX: usize = 256;

/// Reads every rule and every filter of the file.
pub(super) fn read(context: &mut Context<'_>, bytes: usize) -> (Vec<Rule>, Vec<Filter>) {
    let (mut rules, mut filters) = (Vec::new(), Vec::new());
    let start = Place { line: 1, column: 1, width: 1 };
    if bytes > FILE_BYTES_MAX {
        context.report(start, Kind::Limit { what: "the number of bytes of the file", max: FILE_BYTES_MAX });
        return (rules, filters);
    }
    let documents = yaml::read(context);
    let mut shared = Shared::of(&documents);
    for document in documents {
        let Some(document) = shared.complete(document, context) else { continue };
        if document.root.get("filter").is_some() {
            ignore(&["correlation", "detection"], &document.root, context);
            filters.extend(sound(&document, context, exception));
        } else {
            rules.extend(sound(&document, context, rule));
        }
    }
    // Parts that rules share are none.
    if rules.is_empty() && filters.is_empty() && context.error_count() == 0 {
        context.report(start, Kind::NoRule);
    }
    (rules, filters)
}

/// Warns of keys that say what the document is, where another key has said so.
fn ignore(keys: &[&str], document: &Node, context: &mut Context<'_>) {
    for (key, _) in document.entries() {
        if let Some(name) = key.scalar_text().filter(|name| keys.contains(name)) {
            context.report(key.place, Kind::IgnoredKey { key: name.to_owned(), closest: None });
        }
    }
}

/// Reads one document; nothing when something is wrong with it.
fn sound<T>(
    Document { root: document, is_sound }: &Document,
    context: &mut Context<'_>,
    read: fn(&Node, &mut Context<'_>) -> Option<T>,
) -> Option<T> {
    if !matches!(document.content, Content::Map(_)) {
        context.report(document.place, Kind::NotARule { found: document.found() });
        return None;
    }
    context.begin_rule();
    read(document, context).filter(|_| *is_sound)
}

/// A filter: an exception for many rules.
fn exception(document: &Node, context: &mut Context<'_>) -> Option<Filter> {
    let section = document.get("filter")?;
    let before = context.error_count();
    let mut keys = Keys { document, context };
    let title = keys.title();
    let id = keys.get("id").is_some().then(|| keys.id(title));
    let title = title.unwrap_or_default().to_owned();
    let mut logsource = keys.logsource();
    let mut custom = keys.custom();
    keys.check_the_rest();
    let rest = Rest { logsource: &mut logsource, custom: &mut custom, tags: &[] };
    let section = filter::read(document, section, rest, context);
    if context.error_count() > before {
        report_unknown_fields(&logsource, context);
        return None;
    }
    let filter::Section { rules, condition, place, bytes } = section?;
    let path = context.path().to_owned();
    Some(Filter { path, id, title, logsource, rules, condition, place, bytes })
}

/// A rule of either kind.
fn rule(document: &Node, context: &mut Context<'_>) -> Option<Rule> {
    match document.get("correlation") {
        Some(correlation) => {
            ignore(&["detection"], document, context);
            related(document, correlation, context)
        }
        None => plain(document, context),
    }
}

/// A rule about the matches of other rules.
fn related(document: &Node, correlation: &Node, context: &mut Context<'_>) -> Option<Rule> {
    let before = context.error_count();
    let mut header = Keys { document, context }.header();
    let mut correlation = correlation::read(correlation, context)?;
    let is_sound =
        context.error_count() == before && process(document, &mut header, &mut correlation, context);
    is_sound.then_some(Rule { logic: Logic::Correlation(correlation), ..header })
}

/// Has pipelines rename the fields of a correlation; false when one refused it.
fn process(
    document: &Node,
    header: &mut Rule,
    correlation: &mut correlation::Correlation,
    context: &mut Context<'_>,
) -> bool {
    let names = pipeline::Names {
        group_by: std::mem::take(&mut correlation.group_by),
        aliases: correlation.aliases.iter().map(|alias| alias.name.clone()).collect(),
        singles: correlation.single_fields_mut().map(|field| field.clone()).collect(),
    };
    // Whatever rules it relates, those about other logs are left out, and it with them.
    let audit = Logsource {
        product: Some("kubernetes".to_owned()),
        service: Some("audit".to_owned()),
        ..Logsource::default()
    };
    let mut subject = pipeline::Subject {
        document,
        logsource: Logsource::default(),
        custom: std::mem::take(&mut header.custom),
        tags: header.tags.clone(),
        fields: pipeline::texts(document, "fields").map(str::to_owned).collect(),
        kind: pipeline::Kind::Correlation { names, logsources: vec![audit] },
    };
    let is_sound = pipeline::apply(&mut subject, context);
    header.custom = subject.custom;
    if let pipeline::Kind::Correlation { names, .. } = subject.kind {
        correlation.group_by = names.group_by;
        correlation.single_fields_mut().zip(names.singles).for_each(|(field, renamed)| *field = renamed);
    }
    is_sound
}

/// A rule about single events.
fn plain(document: &Node, context: &mut Context<'_>) -> Option<Rule> {
    let before = context.error_count();
    let mut keys = Keys { document, context };
    let header = keys.header();
    let mut rule = Rule { logsource: keys.logsource(), ..header };
    let condition = keys.condition(&mut rule);
    if context.error_count() > before {
        report_unknown_fields(&rule.logsource, context);
        return None;
    }
    let condition = match rule.logsource.subject() {
        Some(Subject::EventObjects) => event_object::narrow(condition?),
        _ => condition?,
    };
    Some(Rule { logic: Logic::Event(condition), ..rule })
}

/// Lints see sound rules only; misspelled fields are told together with the errors.
fn report_unknown_fields(logsource: &Logsource, context: &mut Context<'_>) {
    let Some(subject) = logsource.subject() else { return };
    for (place, field) in std::mem::take(&mut context.fields) {
        if let Some(kind) = lint::unknown_field(&field, subject) {
            context.report(place, kind);
        }
    }
}

/// The keys of one rule.
struct Keys<'k, 't> {
    document: &'k Node,
    context: &'k mut Context<'t>,
}

impl<'k> Keys<'k, '_> {
    /// Everything that rules of all kinds have; what they are about is left open.
    fn header(&mut self) -> Rule {
        let title = self.title();
        let id = self.id(title);
        let level = self.level();
        let status = self.known("status", &STATUSES);
        let rule = Rule {
            path: self.context.path().to_owned(),
            id,
            name: self.text("name").map(str::to_owned),
            title: title.unwrap_or_default().to_owned(),
            level,
            status: status.map(str::to_owned),
            description: self.text("description").unwrap_or_default().trim().to_owned(),
            tags: self.tags(),
            falsepositives: self.texts("falsepositives"),
            references: self.texts("references"),
            logsource: Logsource::default(),
            custom: self.custom(),
            logic: Logic::Event(super::Expr::All(Vec::new())),
        };
        self.check_the_rest();
        rule
    }

    fn get(&self, key: &str) -> Option<&'k Node> {
        let document = self.document;
        document.get(key).filter(|node| !node.is_null())
    }

    fn required(&mut self, key: &'static str) -> Option<&'k Node> {
        let node = self.get(key);
        if node.is_none() {
            let slip = self.slip(key);
            let place = self.document.get(key).map_or(self.document.place, |node| node.place);
            let place = slip.map_or(place, |node| node.place);
            let slip = slip.and_then(Node::scalar_text).map(str::to_owned);
            self.context.report(place, Kind::MissingKey { key, slip });
        }
        node
    }

    /// The key that probably was meant to be this one, which is missing.
    fn slip(&self, key: &str) -> Option<&'k Node> {
        let document = self.document;
        let keys = document.entries().iter().map(|(name, _)| name);
        keys.into_iter().find(|name| name.scalar_text().and_then(slip_of) == Some(key))
    }

    fn wrong(&mut self, key: &str, node: &Node, expected: &'static str) {
        let kind = Kind::WrongType { key: key.to_owned(), expected, found: node.found() };
        self.context.report(node.place, kind);
    }

    /// A text; numbers and booleans count as the texts that they are written as.
    fn text(&mut self, key: &str) -> Option<&'k str> {
        let node = self.get(key)?;
        if node.scalar_text().is_none() {
            self.wrong(key, node, "a text");
        }
        node.scalar_text()
    }

    /// A list of texts, or one text.
    fn texts(&mut self, key: &str) -> Vec<String> {
        let Some(node) = self.get(key) else { return Vec::new() };
        let nodes = match &node.content {
            Content::List(nodes) => nodes.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let mut texts = Vec::new();
        for node in nodes {
            match node.scalar_text() {
                Some(text) => texts.push(text.to_owned()),
                None => self.wrong(key, node, "a list of texts"),
            }
        }
        texts
    }

    fn title(&mut self) -> Option<&'k str> {
        let node = self.required("title")?;
        let title = self.text("title")?;
        let got = title.chars().count();
        if title.trim().is_empty() {
            self.context.report(node.place, Kind::EmptyText { key: "title" });
        } else if got > TITLE_CHARACTERS_MAX {
            let kind = Kind::TextTooLong { key: "title", got, max: TITLE_CHARACTERS_MAX };
            self.context.report(node.place, kind);
        }
        Some(title)
    }

    fn id(&mut self, title: Option<&str>) -> String {
        let Some(node) = self.get("id") else {
            let derived = derived_id(title.unwrap_or_default());
            if title.is_some() && self.slip("id").is_none() {
                let place = self.document.place;
                self.context.report(place, Kind::MissingId { derived: derived.clone() });
            }
            return derived;
        };
        match self.text("id") {
            Some(id) if is_uuid(id) => id.to_ascii_lowercase(),
            Some(id) => {
                self.context.report(node.place, Kind::InvalidId { id: id.to_owned() });
                String::new()
            }
            None => String::new(),
        }
    }

    fn level(&mut self) -> Level {
        if self.get("level").is_none() {
            if self.slip("level").is_none() {
                self.context.report(self.document.place, Kind::MissingLevel);
            }
            return Level::Medium;
        }
        let names = LEVELS.map(|(name, _)| name);
        let name = self.known("level", &names);
        LEVELS.iter().find(|(known, _)| Some(*known) == name).map_or(Level::Medium, |(_, level)| *level)
    }

    /// A value that must be one of a few, whatever its case.
    fn known<'n>(&mut self, key: &'static str, names: &[&'n str]) -> Option<&'n str>
    where
        'n: 'static,
    {
        let node = self.get(key)?;
        let text = self.text(key)?;
        let known = names.iter().copied().find(|name| name.eq_ignore_ascii_case(text));
        if known.is_none() {
            self.unknown_value(key, node, text, names);
        }
        known
    }

    fn unknown_value(&mut self, key: &'static str, node: &Node, text: &str, names: &[&'static str]) {
        let closest = nearest(text, names.iter().copied());
        let kind = Kind::UnknownValue { key, value: text.to_owned(), closest, known: names.join(", ") };
        self.context.report(node.place, kind);
    }

    fn tags(&mut self) -> Vec<String> {
        let Some(node) = self.get("tags") else { return Vec::new() };
        let Content::List(nodes) = &node.content else {
            self.wrong("tags", node, "a list of texts");
            return Vec::new();
        };
        for node in nodes {
            let is_tag = |tag: &str| {
                tag.split_once('.').is_some_and(|(left, right)| !left.is_empty() && !right.is_empty())
            };
            if let Some(tag) = node.scalar_text().filter(|tag| !is_tag(tag)) {
                self.context.report(node.place, Kind::InvalidTag { tag: tag.to_owned() });
            }
        }
        self.texts("tags")
    }

    fn logsource(&mut self) -> Logsource {
        let Some(node) = self.required("logsource") else { return Logsource::default() };
        let Content::Map(entries) = &node.content else {
            self.wrong("logsource", node, "a mapping");
            return Logsource::default();
        };
        let mut logsource = Logsource::default();
        for (key, value) in entries.iter().filter(|(_, value)| !value.is_null()) {
            let target = match key.scalar_text() {
                Some("product") => &mut logsource.product,
                Some("service") => &mut logsource.service,
                Some("category") => &mut logsource.category,
                _ => continue,
            };
            match value.scalar_text() {
                Some(text) => *target = Some(text.to_owned()),
                None => self.wrong(key.scalar_text().unwrap_or_default(), value, "a text"),
            }
        }
        if logsource == Logsource::default() {
            self.context.report(node.place, Kind::EmptyText { key: "logsource" });
        }
        logsource
    }

    /// The condition, after pipelines have changed it and the rule.
    fn condition(&mut self, rule: &mut Rule) -> Option<super::Expr> {
        let before = self.context.error_count();
        let node = self.required("detection")?;
        let mut detection = detection::read(node, "detection", &["condition"], self.context)?;
        // Mistakes are told as they are written, so pipelines see sound rules only.
        let Rule { logsource, custom, tags, .. } = rule;
        if self.context.error_count() == before
            && !detection.process(self.document, node.place, Rest { logsource, custom, tags }, self.context)
        {
            return None;
        }
        detection.finish(self.context)
    }

    /// Keys that Sigma leaves to others; a warning for those that look like slips.
    fn custom(&mut self) -> Vec<(String, serde_json::Value)> {
        let mut custom = Vec::new();
        for (key, value) in self.document.entries() {
            let Some(name) = key.scalar_text().filter(|name| !KEYS.contains(name)) else { continue };
            // A slip for a required key has been reported as that key missing.
            let is_told = |key: &str| REQUIRED.contains(&key) && self.get(key).is_none();
            if let Some(closest) = slip_of(name).filter(|key| !is_told(key)) {
                self.context.report(key.place, Kind::UnknownKey { key: name.to_owned(), closest });
            }
            custom.push((name.to_owned(), value.to_json()));
        }
        custom
    }

    /// Checks the keys that mean nothing to the engine but have a form.
    fn check_the_rest(&mut self) {
        for key in ["author", "license", "taxonomy"] {
            self.text(key);
        }
        for key in ["fields", "scope"] {
            self.texts(key);
        }
        for key in ["date", "modified"] {
            let (Some(node), Some(value)) = (self.get(key), self.text(key)) else { continue };
            if !is_date(value) {
                self.context.report(node.place, Kind::InvalidDate { key, value: value.to_owned() });
            }
        }
        self.check_related();
    }

    fn check_related(&mut self) {
        let Some(node) = self.get("related") else { return };
        let Content::List(nodes) = &node.content else {
            return self.wrong("related", node, "a list of mappings");
        };
        for node in nodes {
            if !matches!(node.content, Content::Map(_)) {
                self.wrong("related", node, "a list of mappings");
                continue;
            }
            match node.get("id").map(|id| (id, id.scalar_text().unwrap_or_default())) {
                Some((_, id)) if is_uuid(id) => {}
                Some((node, id)) => self.context.report(node.place, Kind::InvalidId { id: id.to_owned() }),
                None => self.context.report(node.place, Kind::MissingKey { key: "id", slip: None }),
            }
            match node.get("type").map(|relation| (relation, relation.scalar_text().unwrap_or_default())) {
                Some((_, relation)) if RELATIONS.iter().any(|known| known.eq_ignore_ascii_case(relation)) => {
                }
                Some((node, relation)) => self.unknown_value("type", node, relation, &RELATIONS),
                None => self.context.report(node.place, Kind::MissingKey { key: "type", slip: None }),
            }
        }
    }
}

/// The key that a custom key most likely was meant to be: a slip in one character, in two
/// for long keys, or only in case.
fn slip_of(name: &str) -> Option<&'static str> {
    let (length, lower) = (name.chars().count(), name.to_lowercase());
    KEYS.into_iter().find(|key| {
        let distance_max = match key.len().min(length) {
            0..4 => 0,
            4..6 => 1,
            _ => 2,
        };
        length.abs_diff(key.len()) <= distance_max
            && may_be_near(&lower, key, distance_max)
            && strsim::osa_distance(&lower, key) <= distance_max
    })
}

/// A stable id for a rule without one.
fn derived_id(title: &str) -> String {
    let hex = blake3::hash(title.trim().as_bytes()).to_hex();
    hex.chars().take(32).collect()
}

/// True for 32 hexadecimal digits, alone or with the usual dashes.
fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    matches!(lengths.as_slice(), [32] | [8, 4, 4, 4, 12])
        && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// True for YYYY-MM-DD and YYYY/M/D.
fn is_date(text: &str) -> bool {
    let format = if text.contains('/') { "%Y/%m/%d" } else { "%Y-%m-%d" };
    let is_padded = text.contains('/') || text.len() == "YYYY-MM-DD".len();
    is_padded && chrono::NaiveDate::parse_from_str(text, format).is_ok()
}
