//! Every published conformance vector holds.
//!
//! The vectors lie in `tests/conformance`, whose README explains their form. Nothing in
//! them belongs to this engine: other engines run the same files.

#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use detect::correlate::{DISORDER, Phase};
use detect::event::Key;
use detect::field::{Settings, View};
use detect::sigma::{Lists, Parsed, Rule, Setup, Severity, correlation, link, parse_with};
use detect::{Correlator, Engine, Episode, Event, Seen, alert};
use saphyr_parser::{Event as Yaml, Parser, ScalarStyle, StrInput};
use serde::Deserialize;
use serde_json::value::RawValue;

/// How many vectors there are at least: one that is lost must not go unnoticed.
const VECTORS_MIN: usize = 1142;

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
    /// What stands below `correlation` in a rule that relates rules for single verbs.
    correlation: Option<String>,
    /// What placeholders stand for.
    #[serde(default)]
    lists: BTreeMap<String, Vec<String>>,
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

/// The numbers of the events that each rule matches.
type Found = BTreeMap<String, BTreeSet<usize>>;

/// The events that match, counted from 0.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Expected {
    /// For the only rule, or the only correlation.
    One(BTreeSet<usize>),
    /// For each rule by its `name`, or its title where it has none.
    Each(Found),
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
            let texts = [&vector.rule, &vector.detection, &vector.correlation];
            let count = texts.into_iter().flatten().count();
            assert!(count == 1, "{place}: `rule`, `detection` or `correlation`");
            assert!(vector.error == vector.expected.is_none(), "{place}: `match` or `error`");
            assert!(vector.error == vector.events.is_empty(), "{place}: events without use or missing");
            assert!(vector.differs.values().all(|reason| !reason.is_empty()), "{place}: a reason is empty");
        }
    }
}

fn check(vector: &Vector) -> Result<(), String> {
    let setup = Setup { lists: lists_of(vector), ..Setup::default() };
    let Parsed { mut rules, filters, problems, .. } =
        parse_with(Path::new("vector.yml"), &text_of(vector), &setup);
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
        Some(expected) => compare(vector, expected, &matches(rules, &vector.events)),
    }
}

fn compare(vector: &Vector, expected: &Expected, found: &Found) -> Result<(), String> {
    let is_right = match expected {
        Expected::One(events) if vector.correlation.is_some() => found.get("Vector") == Some(events),
        Expected::One(events) => found.len() == 1 && found.values().all(|found| found == events),
        // Rules that are kept silent may be left out.
        Expected::Each(rules) => {
            let names = rules.keys().chain(found.keys());
            names.into_iter().all(|name| {
                let of = |matches: &Found| matches.get(name).cloned().unwrap_or_default();
                of(rules) == of(found)
            })
        }
    };
    if is_right { Ok(()) } else { Err(format!("expected {expected:?}, found {found:?}")) }
}

fn lists_of(vector: &Vector) -> Lists {
    let mut lists = Lists::default();
    for (name, values) in &vector.lists {
        let problems = lists.add(name, Path::new("vector.txt"), &values.join("\n"));
        assert!(problems.is_empty(), "{}: {problems:?}", vector.name);
    }
    lists
}

const LOGSOURCE: &str = "logsource:\n  product: kubernetes\n  service: audit\n";
const ID: &str = "00000000-0000-4000-8000-00000000000";

/// The rules as a user would write them.
fn text_of(vector: &Vector) -> String {
    if let Some(rule) = &vector.rule {
        return rule.clone();
    }
    let mut text = String::new();
    if vector.correlation.is_some() {
        for (number, verb) in ["get", "create", "delete"].iter().enumerate() {
            let head = format!("title: {verb}\nid: {ID}{}\nname: {verb}\n{LOGSOURCE}", number + 1);
            let _ = writeln!(
                text,
                "{head}detection:\n  selection:\n    verb: {verb}\n  condition: selection\n---"
            );
        }
    }
    let _ = writeln!(text, "title: Vector\nid: {ID}0\nlevel: low");
    text.push_str(if vector.correlation.is_some() { "correlation:\n" } else { LOGSOURCE });
    text.push_str(if vector.correlation.is_some() { "" } else { "detection:\n" });
    for line in vector.correlation.iter().chain(&vector.detection).flat_map(|body| body.lines()) {
        let _ = writeln!(text, "  {line}");
    }
    text
}

/// Which events each rule matches, save those that only serve correlations.
fn matches(rules: Vec<Rule>, events: &[Box<RawValue>]) -> Found {
    let engine = Engine::new(rules, Settings::default());
    let name_of = |rule: &Rule| rule.name.clone().unwrap_or_else(|| rule.title.clone());
    let is_silent = correlation::silent(engine.rules());
    let told = engine.rules().iter().zip(&is_silent).filter(|(_, is_silent)| !**is_silent);
    let mut found: Found = told.map(|(rule, _)| (name_of(rule), BTreeSet::new())).collect();
    let mut note = |rule: usize, number: usize| {
        if let Some(numbers) = found.get_mut(&name_of(&engine.rules()[rule])) {
            numbers.insert(number);
        }
    };
    let mut correlator = Correlator::new(engine.rules(), "", DISORDER);
    let mut begun: Vec<Episode> = Vec::new();
    let mut keep =
        |episode: Episode| begun.extend(Some(episode).filter(|episode| episode.phase == Phase::Begun));
    let (mut scratch, mut seen) = (engine.scratch(), Seen::default());
    // The event that stands for a request is the first of its stages that matches.
    let mut requests: BTreeMap<String, usize> = BTreeMap::new();
    for (number, event) in events.iter().enumerate() {
        let event = Event::parse(event.get().as_bytes()).expect("an event is an object");
        let view = View { event: &event, settings: engine.settings() };
        engine.evaluate(&event, &mut scratch, |matched| {
            note(matched.rule, number);
            let rule = &engine.rules()[matched.rule];
            if correlator.wants(matched.rule) && seen.insert(alert::id_of(rule, "", &event)) {
                let audit_id = event.str(Key::AuditId).expect("an event has an `auditID`");
                requests.entry(audit_id.into_owned()).or_insert(number);
                correlator.observe(matched.rule, view, &mut keep);
            }
        });
    }
    correlator.finish(&mut keep);
    for episode in &begun {
        note(episode.rule, requests[episode.audit_ids.last().expect("a request that completes")]);
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
