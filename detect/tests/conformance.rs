//! Every published conformance vector holds.
//!
//! The vectors lie in `tests/conformance`, whose README explains their form. Nothing in
//! them belongs to this engine: other engines run the same files.

#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use detect::field::Settings;
use detect::sigma::{Parsed, Rule, Severity, link, parse};
use detect::{Engine, Event};
use saphyr_parser::{Event as Yaml, Parser, ScalarStyle, StrInput};
use serde::Deserialize;
use serde_json::value::RawValue;

/// How many vectors there are at least: one that is lost must not go unnoticed.
const VECTORS_MIN: usize = 700;

/// A rule, events, and which of the events it matches.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    clause: String,
    /// One or more documents as a user writes them.
    rule: Option<String>,
    /// What stands below `detection` in a rule that has nothing else of interest.
    detection: Option<String>,
    #[serde(default)]
    events: Vec<Box<RawValue>>,
    #[serde(rename = "match")]
    expected: Option<Expected>,
    /// True when the rule must be refused.
    #[serde(default)]
    error: bool,
    /// Whether the specification leaves open what the vector says; comparisons ask.
    #[serde(default, rename = "silent")]
    _silent: bool,
    /// Tools that do otherwise, and why the vector does not follow them.
    #[serde(default)]
    differs: BTreeMap<String, String>,
}

/// The events that match, counted from 0.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Expected {
    /// For the only rule.
    One(BTreeSet<usize>),
    /// For each rule by its `name`, or its title where it has none.
    Each(BTreeMap<String, BTreeSet<usize>>),
}

#[test]
fn every_vector_holds() {
    let (mut failures, mut count) = (String::new(), 0);
    for (path, vectors) in all_vectors() {
        for vector in vectors {
            count += 1;
            if let Err(reason) = check(&vector) {
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                let _ = writeln!(failures, "{file}: {}\n  {reason}", vector.name);
            }
        }
    }
    assert!(count >= VECTORS_MIN, "only {count} vectors");
    assert!(failures.is_empty(), "{} of {count} vectors:\n{failures}", failures.lines().count() / 2);
}

#[test]
fn vectors_are_complete_and_named_once() {
    for (path, vectors) in all_vectors() {
        let mut names = BTreeSet::new();
        for vector in &vectors {
            let place = format!("{}: {}", path.display(), vector.name);
            assert!(names.insert(&vector.name), "{place}: the name is used twice");
            assert!(vector.clause.contains(": "), "{place}: the clause names no document and heading");
            assert!(vector.rule.is_some() != vector.detection.is_some(), "{place}: `rule` or `detection`");
            assert!(vector.error == vector.expected.is_none(), "{place}: `match` or `error`");
            assert!(vector.error == vector.events.is_empty(), "{place}: events without use or missing");
            assert!(vector.differs.values().all(|reason| !reason.is_empty()), "{place}: a reason is empty");
        }
    }
}

fn check(vector: &Vector) -> Result<(), String> {
    let Parsed { mut rules, filters, problems, .. } = parse(Path::new("vector.yml"), &text_of(vector));
    let linked = link(&mut rules, &filters);
    let errors: Vec<String> = problems
        .iter()
        .chain(&linked.problems)
        .filter(|problem| problem.severity() == Severity::Error)
        .map(|problem| problem.kind.to_string())
        .collect();
    match &vector.expected {
        None if errors.is_empty() => Err("is not refused".to_owned()),
        None => Ok(()),
        Some(_) if !errors.is_empty() => Err(format!("is refused: {}", errors.join("; "))),
        Some(expected) => compare(expected, &matches(rules, &vector.events)),
    }
}

fn compare(expected: &Expected, found: &BTreeMap<String, BTreeSet<usize>>) -> Result<(), String> {
    let is_right = match expected {
        Expected::One(events) => found.len() == 1 && found.values().all(|found| found == events),
        Expected::Each(rules) => found == rules,
    };
    if is_right { Ok(()) } else { Err(format!("expected {expected:?}, found {found:?}")) }
}

/// The rule as a user would write it.
fn text_of(vector: &Vector) -> String {
    if let Some(rule) = &vector.rule {
        return rule.clone();
    }
    let mut text = "title: Vector\nid: 00000000-0000-4000-8000-000000000000\nlevel: low\n\
                    logsource:\n  product: kubernetes\n  service: audit\ndetection:\n"
        .to_owned();
    for line in vector.detection.iter().flat_map(|detection| detection.lines()) {
        let _ = writeln!(text, "  {line}");
    }
    text
}

/// Which events each rule matches.
fn matches(rules: Vec<Rule>, events: &[Box<RawValue>]) -> BTreeMap<String, BTreeSet<usize>> {
    let engine = Engine::new(rules, Settings::default());
    let name_of = |rule: &Rule| rule.name.clone().unwrap_or_else(|| rule.title.clone());
    let mut found: BTreeMap<_, _> =
        engine.rules().iter().map(|rule| (name_of(rule), BTreeSet::new())).collect();
    let mut scratch = engine.scratch();
    for (number, event) in events.iter().enumerate() {
        let event = Event::parse(event.get().as_bytes()).expect("an event is an object");
        engine.evaluate(&event, &mut scratch, |matched| {
            found.entry(name_of(&engine.rules()[matched.rule])).or_default().insert(number);
        });
    }
    found
}

fn all_vectors() -> Vec<(PathBuf, Vec<Vector>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance");
    let entries = std::fs::read_dir(&folder).expect("the vectors");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yml"));
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

fn read(path: &Path) -> Vec<Vector> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut json = Json { parser: Parser::new_from_str(&text), path, text: String::new() };
    json.document();
    serde_json::from_str(&json.text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Rewrites the only document of a YAML file as JSON; numbers stay as they are written.
struct Json<'t> {
    parser: Parser<'t, StrInput<'t>>,
    path: &'t Path,
    text: String,
}

impl<'t> Json<'t> {
    fn next(&mut self) -> Yaml<'t> {
        match self.parser.next_event() {
            Some(Ok((event, _))) => event,
            Some(Err(error)) => panic!("{}: {error}", self.path.display()),
            None => panic!("{}: unexpected end", self.path.display()),
        }
    }

    fn document(&mut self) {
        let mut event = self.next();
        while matches!(event, Yaml::StreamStart | Yaml::DocumentStart(_)) {
            event = self.next();
        }
        self.value(event);
    }

    fn value(&mut self, event: Yaml<'t>) {
        match event {
            Yaml::Scalar(text, ScalarStyle::Plain, ..) if is_json(&text) => self.text.push_str(&text),
            Yaml::Scalar(text, ..) => self.text.push_str(&serde_json::to_string(&text).unwrap()),
            Yaml::SequenceStart(..) => self.entries('[', ']', &Yaml::SequenceEnd, Self::value),
            Yaml::MappingStart(..) => self.entries('{', '}', &Yaml::MappingEnd, Self::entry),
            other => panic!("{}: unexpected {other:?}", self.path.display()),
        }
    }

    fn entries(&mut self, open: char, close: char, end: &Yaml<'t>, write: fn(&mut Self, Yaml<'t>)) {
        self.text.push(open);
        let mut is_first = true;
        loop {
            let event = self.next();
            if event == *end {
                break;
            }
            if !is_first {
                self.text.push(',');
            }
            is_first = false;
            write(self, event);
        }
        self.text.push(close);
    }

    fn entry(&mut self, key: Yaml<'t>) {
        let Yaml::Scalar(key, ..) = key else { panic!("{}: a key is no text", self.path.display()) };
        let _ = write!(self.text, "{}:", serde_json::to_string(&key).unwrap());
        let value = self.next();
        self.value(value);
    }
}

/// True for what is the same value in JSON and in every version of YAML.
fn is_json(text: &str) -> bool {
    matches!(text, "true" | "false" | "null")
        || (text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
            && serde_json::from_str::<serde_json::Number>(text).is_ok())
}
