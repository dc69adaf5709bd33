//! `masthead test`: each rule against the example events beside it.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;
use detect::explain::{self, Explanation};
use detect::field::Settings;
use detect::sigma::{Rule, Severity};
use detect::{Engine, Event};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde::Deserialize;
use serde_json::value::RawValue;
use sinks::clean;

use super::{Ending, explain as drawing};
use crate::args::Test;
use crate::files::{self, Origin, RuleFile};
use crate::loading::{self, Loaded};
use crate::report;
use crate::terminal::{Stream, Terminal};
use crate::totals::counted;

/// One line of a file of example events.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Example<'e> {
    /// Whether the rule is to match.
    r#match: bool,
    /// What the example shows.
    why: String,
    #[serde(borrow)]
    event: &'e RawValue,
}

/// What became of one example, or of the lack of examples.
struct Outcome {
    name: String,
    place: String,
    failure: Option<Failure>,
}

struct Failure {
    message: String,
    explanation: Option<Explanation>,
    is_warning: bool,
}

/// What became of the examples of one rule file.
struct Tested {
    path: PathBuf,
    title: String,
    outcomes: Vec<Outcome>,
}

/// Tests the rules.
pub(crate) fn run(args: &Test, terminal: &Terminal) -> anyhow::Result<Ending> {
    let loaded = loading::load_beside_embedded(files::below_or_embedded(&args.paths, &args.setup)?);
    if loaded.count(Severity::Error) > 0 {
        let _ = report::write_all(&mut io::stderr().lock(), terminal.stderr, &loaded);
        return Ok(Ending::Unusable);
    }
    let mut tested = Vec::new();
    for number in 0..loaded.files.len() {
        tested.extend(test_file(&loaded, number)?);
    }
    let mut out = BufWriter::new(io::stdout().lock());
    tested.iter().try_for_each(|file| write_file(&mut out, terminal.stdout, file))?;
    writeln!(out, "{}", verdict(&tested))?;
    out.flush()?;
    if let Some(path) = &args.junit {
        let written = File::create(path).and_then(|mut file| file.write_all(junit(&tested)?.as_bytes()));
        written.with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(if count(&tested, false) > 0 { Ending::Findings } else { Ending::Fine })
}

/// Tests the rules of one file; nothing if it has none about Kubernetes.
fn test_file(loaded: &Loaded, number: usize) -> anyhow::Result<Option<Tested>> {
    let file = &loaded.files[number];
    let rules: Vec<Rule> =
        loaded.rules.iter().filter(|(of, _)| *of == number).map(|(_, rule)| rule.clone()).collect();
    let Some(first) = rules.first() else { return Ok(None) };
    let title = first.title.clone();
    let (events_path, events) = examples(file)?;
    let place = events_path.display().to_string();
    let engine = Engine::new(rules, Settings::default());
    let lines = (1..).zip(events.lines()).filter(|(_, line)| !line.trim().is_empty());
    let mut outcomes: Vec<Outcome> =
        lines.map(|(line, text)| test_example(&engine, text, &format!("{place}:{line}"))).collect();
    if outcomes.is_empty() {
        let is_warning = file.origin == Origin::Disk;
        let failure = Failure { message: "no example events".to_owned(), explanation: None, is_warning };
        outcomes.push(Outcome { name: "has examples".to_owned(), place, failure: Some(failure) });
    }
    Ok(Some(Tested { path: file.path.clone(), title, outcomes }))
}

/// The path and the text of the example events of a rule file; empty if there are none.
fn examples(file: &RuleFile) -> anyhow::Result<(PathBuf, Cow<'static, str>)> {
    let path = file.path.with_extension("events.jsonl");
    let text = match file.origin {
        Origin::Embedded(events) => Cow::Borrowed(events.unwrap_or("")),
        Origin::Disk if path.is_file() => Cow::Owned(files::read_text(&path)?),
        Origin::Disk => Cow::Borrowed(""),
    };
    Ok((path, text))
}

fn test_example(engine: &Engine, text: &str, place: &str) -> Outcome {
    let failed = |name: &str, place: String, message: String| Outcome {
        name: name.to_owned(),
        place,
        failure: Some(Failure { message, explanation: None, is_warning: false }),
    };
    let example: Example<'_> = match serde_json::from_str(text) {
        Ok(example) => example,
        Err(error) => {
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or(&message);
            return failed(
                "the line is an example",
                format!("{place}:{}", error.column()),
                message.to_owned(),
            );
        }
    };
    let event = match Event::parse(example.event.get().as_bytes()) {
        Ok(event) => event,
        Err(error) => return failed(&example.why, place.to_owned(), error.to_string()),
    };
    if let Some(complaint) = event.complaint() {
        return failed(&example.why, place.to_owned(), complaint.to_string());
    }
    let failure = judge(engine, &event, example.r#match);
    Outcome { name: example.why, place: place.to_owned(), failure }
}

/// Nothing if some rule of the file matches just when one should.
fn judge(engine: &Engine, event: &Event<'_>, expected: bool) -> Option<Failure> {
    let mut matched = None;
    engine.evaluate(event, &mut engine.scratch(), |found| matched = matched.or(Some(found.rule)));
    if matched.is_some() == expected {
        return None;
    }
    let rule = engine.rules().get(matched.unwrap_or(0))?;
    let wanted = if expected { "a match was expected" } else { "no match was expected" };
    let explanation = explain::explain(rule.condition()?, event, engine.settings());
    let message = format!("{wanted}, but {}", drawing::verdict(&explanation));
    Some(Failure { message, explanation: Some(explanation), is_warning: false })
}

fn write_file(out: &mut dyn Write, stream: Stream, file: &Tested) -> io::Result<()> {
    for outcome in &file.outcomes {
        let Some(failure) = &outcome.failure else { continue };
        let palette = stream.palette;
        let (style, word) =
            if failure.is_warning { (palette.doubtful(), "warning") } else { (palette.bad(), "failed") };
        writeln!(out, "{style}{word}{style:#}: {}: {}", clean(&file.title), clean(&outcome.name))?;
        writeln!(out, "  at {}", clean(&outcome.place))?;
        writeln!(out, "  {}", clean(&failure.message))?;
        if let Some(explanation) = &failure.explanation {
            drawing::draw(out, stream, explanation, 2)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// `12 rules, 40 examples, 1 failed, 2 warnings`.
fn verdict(tested: &[Tested]) -> String {
    let example_count = tested.iter().flat_map(|file| &file.outcomes).count() as u64;
    let (failed, warnings) = (count(tested, false), count(tested, true));
    let mut parts = vec![
        counted(tested.len() as u64, "rule file"),
        counted(example_count - warnings, "example"),
        format!("{failed} failed"),
    ];
    if warnings > 0 {
        parts.push(format!("{warnings} without examples"));
    }
    parts.join(", ")
}

fn count(tested: &[Tested], is_warning: bool) -> u64 {
    let failures =
        tested.iter().flat_map(|file| &file.outcomes).filter_map(|outcome| outcome.failure.as_ref());
    failures.filter(|failure| failure.is_warning == is_warning).count() as u64
}

/// The results as JUnit XML.
fn junit(tested: &[Tested]) -> io::Result<String> {
    let mut report = Report::new("masthead test");
    for file in tested {
        let mut suite = TestSuite::new(file.path.display().to_string());
        suite.add_test_cases(file.outcomes.iter().map(|outcome| test_case(&file.title, outcome)));
        report.add_test_suite(suite);
    }
    report.to_string().map_err(io::Error::other)
}

fn test_case(title: &str, outcome: &Outcome) -> TestCase {
    let status = match &outcome.failure {
        Some(failure) if !failure.is_warning => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(failure.message.as_str()).set_description(outcome.place.as_str());
            status
        }
        Some(failure) => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(failure.message.as_str());
            status
        }
        None => TestCaseStatus::success(),
    };
    let mut case = TestCase::new(outcome.name.as_str(), status);
    case.set_classname(title);
    case
}
