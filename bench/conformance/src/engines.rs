//! The engines, each behind the same question, each set up as well as it can be.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use detect::correlate::{Correlator, DISORDER, Episode, Phase};
use detect::event::Key;
use detect::field::{Settings, View};
use detect::sigma::{self, Setup, Severity};
use detect::{Seen, alert};
use rsigma_eval::{CorrelationAction, CorrelationConfig, CorrelationEngine, JsonEvent};
use rsigma_parser::lint::{self, lint_yaml_str};
use serde_json::{Value, json};

use crate::vectors::documents;

/// How long an engine may think about one vector.
const PATIENCE: Duration = Duration::from_secs(10);

/// An engine and the ways to set it up.
pub struct Engine {
    pub name: &'static str,
    /// Its package in the lock file.
    pub package: &'static str,
    /// The configurations; the one that passes most vectors is reported.
    pub configurations: Vec<Configuration>,
}

/// A way to set an engine up, in words and in code.
pub struct Configuration {
    pub words: &'static str,
    ask: fn(&Question) -> Answer,
}

/// What an engine is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The text of the rules.
    pub rules: String,
    /// What placeholders stand for.
    pub lists: BTreeMap<String, Vec<String>>,
    /// The events, in the order in which they come.
    pub events: Vec<Value>,
}

/// What an engine says about the rules and events of a vector.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Some rule was not loaded.
    Refused(String),
    /// The engine panicked, or did not come back.
    Broken(String),
    Loaded {
        /// What it found wrong with a rule that it loaded all the same.
        complaint: Option<String>,
        /// For each event, the titles of the rules that match it.
        matches: Vec<Vec<String>>,
    },
}

impl Configuration {
    /// Asks the engine in a thread of its own, so that it may panic or never return.
    pub fn answer(&self, question: Question) -> Answer {
        let ask = self.ask;
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let answer = catch_unwind(AssertUnwindSafe(|| ask(&question)));
            let _ = sender
                .send(answer.unwrap_or_else(|panic| Answer::Broken(format!("panic: {}", words(&panic)))));
        });
        let late = || Answer::Broken(format!("no answer within {} s", PATIENCE.as_secs()));
        receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| late())
    }
}

fn words(panic: &Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// Every engine that is compared.
pub fn all() -> Vec<Engine> {
    vec![
        Engine {
            name: "Masthead",
            package: "masthead-detect",
            configurations: vec![Configuration { words: "as it is", ask: masthead }],
        },
        Engine {
            name: "rsigma",
            package: "rsigma-eval",
            configurations: vec![
                Configuration {
                    words: "event time from `requestReceivedTimestamp`; a correlation fires at each event at which it holds",
                    ask: |question| rsigma(question, Repeats::Told),
                },
                Configuration {
                    words: "event time from `requestReceivedTimestamp`; a correlation that fired begins anew",
                    ask: |question| rsigma(question, Repeats::Reset),
                },
                Configuration {
                    words: "event time from `requestReceivedTimestamp`; a correlation that fired is suppressed for its time span",
                    ask: |question| rsigma(question, Repeats::Suppressed),
                },
            ],
        },
        Engine {
            name: "sigma-rust",
            package: "sigma-rust",
            configurations: vec![Configuration {
                words: "nested events, each rule by itself",
                ask: sigma_rust,
            }],
        },
    ]
}

fn masthead(question: &Question) -> Answer {
    let mut setup = Setup::default();
    for (name, values) in &question.lists {
        setup.lists.add(name, Path::new("vector.txt"), &values.join("\n"));
    }
    let mut parsed = sigma::parse_with(Path::new("vector.yml"), &question.rules, &setup);
    let linked = sigma::link(&mut parsed.rules, &parsed.filters);
    let problems = parsed.problems.iter().chain(&linked.problems);
    let mistakes = problems.filter(|problem| problem.severity() == Severity::Error);
    let mistakes: Vec<String> = mistakes.map(|problem| problem.kind.to_string()).collect();
    if !mistakes.is_empty() || parsed.rules.is_empty() {
        return Answer::Refused(mistakes.join("; "));
    }
    let engine = detect::Engine::new(parsed.rules, Settings::default());
    let texts: Vec<String> = question.events.iter().map(Value::to_string).collect();
    match texts.iter().map(|text| detect::Event::parse(text.as_bytes())).collect::<Result<Vec<_>, _>>() {
        Ok(events) => Answer::Loaded { complaint: None, matches: masthead_matches(&engine, &events) },
        Err(error) => Answer::Broken(error.to_string()),
    }
}

/// For each event, the titles of the rules that match it or that it completes.
fn masthead_matches(engine: &detect::Engine, events: &[detect::Event<'_>]) -> Vec<Vec<String>> {
    let mut matches = vec![Vec::new(); events.len()];
    let is_silent = sigma::correlation::silent(engine.rules());
    let mut correlator = Correlator::new(engine.rules(), "", DISORDER);
    let mut begun: Vec<Episode> = Vec::new();
    let mut keep =
        |episode: Episode| begun.extend(Some(episode).filter(|episode| episode.phase == Phase::Begun));
    let mut seen = Seen::default();
    // The event that stands for a request is the first of its stages that matches.
    let mut requests: BTreeMap<String, usize> = BTreeMap::new();
    for (number, event) in events.iter().enumerate() {
        let view = View { event, settings: engine.settings() };
        engine.evaluate(event, &mut engine.scratch(), |found| {
            let rule = &engine.rules()[found.rule];
            if !is_silent[found.rule] {
                matches[number].push(rule.title.clone());
            }
            if correlator.wants(found.rule) && seen.insert(alert::id_of(rule, "", event)) {
                let audit_id = event.str(Key::AuditId).unwrap_or_default();
                requests.entry(audit_id.into_owned()).or_insert(number);
                correlator.observe(found.rule, view, &mut keep);
            }
        });
    }
    correlator.finish(&mut keep);
    for episode in begun {
        let rule = &engine.rules()[episode.rule];
        let number = episode.audit_ids.last().and_then(|id| requests.get(id));
        if let Some(&number) = number.filter(|_| !is_silent[episode.rule]) {
            matches[number].push(rule.title.clone());
        }
    }
    matches
}

/// What becomes of a correlation that fired and goes on to hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeats {
    Told,
    Reset,
    Suppressed,
}

fn rsigma(question: &Question, repeats: Repeats) -> Answer {
    let rules = question.rules.as_str();
    let mut collection = match rsigma_parser::parse_sigma_yaml(rules) {
        Ok(collection) => collection,
        Err(error) => return Answer::Refused(error.to_string()),
    };
    // Its linter knows mistakes that loading lets pass.
    let lints = lint_yaml_str(rules).into_iter().filter(|lint| lint.severity == lint::Severity::Error);
    let complaints: Vec<String> =
        collection.errors.iter().cloned().chain(lints.map(|lint| lint.message)).collect();
    let complaint = complaints.join("; ");
    let loaded = collection.rules.len() + collection.correlations.len() + collection.filters.len();
    if loaded < documents(rules).iter().filter(|document| is_rule(document)).count() {
        return Answer::Refused(complaint);
    }
    let mut configuration = CorrelationConfig::default();
    match repeats {
        Repeats::Told => {}
        Repeats::Reset => configuration.action_on_match = CorrelationAction::Reset,
        Repeats::Suppressed => {
            for correlation in &mut collection.correlations {
                let timespan = format!("{}s", correlation.timespan.seconds);
                correlation.custom_attributes.insert("rsigma.suppress".to_owned(), timespan.into());
            }
        }
    }
    configuration.timestamp_fields.insert(0, "requestReceivedTimestamp".to_owned());
    // Rules that only correlations refer to stay silent, as `generate: false` asks.
    configuration.emit_detections = false;
    let mut engine = CorrelationEngine::new(configuration);
    if !question.lists.is_empty() {
        let transformations = json!([{"type": "value_placeholders"}]);
        let pipeline = json!({"name": "lists", "vars": question.lists, "transformations": transformations});
        match rsigma_eval::parse_pipeline(&pipeline.to_string()) {
            Ok(pipeline) => engine.add_pipeline(pipeline),
            Err(error) => return Answer::Broken(error.to_string()),
        }
    }
    if let Err(error) = engine.add_collection(&collection) {
        return Answer::Refused(error.to_string());
    }
    let found = |event: &Value| {
        let results = engine.process_event(&JsonEvent::borrow(event));
        results.into_iter().map(|result| result.header.rule_title).collect()
    };
    let matches = question.events.iter().map(found).collect();
    Answer::Loaded { complaint: Some(complaint).filter(|complaint| !complaint.is_empty()), matches }
}

/// False for documents that only change the ones around them.
fn is_rule(document: &str) -> bool {
    let is_action = |line: &str| line.starts_with("action:") && !line.contains("repeat");
    !document.lines().any(is_action)
}

fn sigma_rust(question: &Question) -> Answer {
    let mut loaded = Vec::new();
    for document in documents(&question.rules) {
        match sigma_rust::rule_from_yaml(&document) {
            Ok(rule) => loaded.push(rule),
            Err(error) => return Answer::Refused(error.to_string()),
        }
    }
    let mut matches = Vec::new();
    for event in &question.events {
        let event = match sigma_rust::event_from_json(&event.to_string()) {
            Ok(event) => event,
            Err(error) => return Answer::Broken(format!("event refused: {error}")),
        };
        let titles = loaded.iter().filter(|rule| rule.is_match(&event)).map(|rule| rule.title.clone());
        matches.push(titles.collect());
    }
    Answer::Loaded { complaint: None, matches }
}
