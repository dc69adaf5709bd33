//! `masthead test`: each rule against the example events beside it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;
use detect::explain::{self, Explanation};
use detect::field::Settings;
use detect::sigma::{Rule, Severity};
use detect::summary::counted;
use detect::{Engine, Event};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use sinks::clean;

use super::{Ending, explain as drawing};
use crate::args::Test;
use crate::examples::{self, Example, Shown};
use crate::files::{self, Origin};
use crate::loading::{self, Loaded};
use crate::relation;
use crate::report;
use crate::terminal::{Stream, Terminal};
use crate::timeline::Timeline;

/// What became of one example, or of the lack of examples.
struct Outcome {
    /// The rule that is meant.
    title: String,
    name: String,
    /// Where the example is; nothing where there is none, as the name then says.
    place: Option<String>,
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
    let (rules, own_count) = loaded.rules_for(number);
    let Some(main) = relation::main(rules.iter().take(own_count)) else { return Ok(None) };
    let title = main.title.clone();
    let (events_path, events) = examples::beside(file)?;
    let place = events_path.display().to_string();
    let bench = Bench { engine: Engine::new(rules, Settings::default()), own_count };
    let lines = (1..).zip(events.lines()).filter(|(_, line)| !line.trim().is_empty());
    let mut outcomes: Vec<Outcome> =
        lines.map(|(line, text)| test_example(&bench, &title, text, &format!("{place}:{line}"))).collect();
    if outcomes.is_empty() {
        let is_warning = file.origin == Origin::Disk;
        let failure = Failure { message: "no example events".to_owned(), explanation: None, is_warning };
        let name = format!("has no example events: `{place}` is missing or empty");
        outcomes.push(Outcome { title, name, place: None, failure: Some(failure) });
    }
    Ok(Some(Tested { path: file.path.clone(), outcomes }))
}

/// The rules of one file, and after them those that they relate.
struct Bench {
    engine: Engine,
    own_count: usize,
}

/// Tests the example of a line; `title` is that of the rule that the file is about.
fn test_example(bench: &Bench, title: &str, text: &str, place: &str) -> Outcome {
    let failed = |name: String, place: Option<String>, message: String| Outcome {
        title: title.to_owned(),
        name,
        place,
        failure: Some(Failure { message, explanation: None, is_warning: false }),
    };
    let example = match Example::parse(text) {
        Ok(example) => example,
        Err((message, column)) => {
            return failed(format!("{place}:{column} is no example: {message}"), None, message);
        }
    };
    let failure = match example.shown().and_then(|shown| bench.judge(&example, &shown)) {
        Ok(failure) => failure,
        Err(message) => return failed(example.why.clone(), Some(place.to_owned()), message),
    };
    let title = bench.named(&example).map_or(title, |number| &bench.engine.rules()[number].title);
    Outcome { title: title.to_owned(), name: example.why, place: Some(place.to_owned()), failure }
}

impl Bench {
    /// Nothing if a rule that is meant matches just when one should.
    fn judge(&self, example: &Example<'_>, shown: &Shown<'_>) -> Result<Option<Failure>, String> {
        let meant = self.meant(example)?;
        match shown {
            Shown::One(event) => self.judge_event(&meant, event, example.r#match),
            Shown::Several(events) => self.judge_events(&meant, events, example.r#match),
        }
    }

    /// The rules of the file, or the one that the example names.
    fn meant(&self, example: &Example<'_>) -> Result<Vec<usize>, String> {
        match (&example.rule, self.named(example)) {
            (None, _) => Ok((0..self.own_count).collect()),
            (Some(_), Some(number)) => Ok(vec![number]),
            (Some(name), None) => Err(format!("the file has no rule `{name}`")),
        }
    }

    /// The number of the rule that the example names, if it names one of the file.
    fn named(&self, example: &Example<'_>) -> Option<usize> {
        let name = example.rule.as_ref()?;
        let is_named =
            |rule: &Rule| rule.id == *name || rule.title == *name || rule.name.as_ref() == Some(name);
        self.engine.rules().iter().take(self.own_count).position(is_named)
    }

    fn judge_event(&self, meant: &[usize], event: &str, expected: bool) -> Result<Option<Failure>, String> {
        let event = parse(event)?;
        let mut matched = None;
        self.engine.evaluate(&event, &mut self.engine.scratch(), |found| {
            matched = matched.or(Some(found.rule).filter(|rule| meant.contains(rule)));
        });
        if matched.is_some() == expected {
            return Ok(None);
        }
        let first = meant.iter().copied().find(|rule| self.engine.rules()[*rule].condition().is_some());
        let rule = matched.or(first).and_then(|rule| self.engine.rules()[rule].condition());
        let condition = rule.ok_or("a correlation needs `events`, not one `event`")?;
        let explanation = explain::explain(condition, &event, self.engine.settings());
        let message = format!("{}, but {}", wanted(expected), drawing::verdict(&explanation));
        Ok(Some(Failure { message, explanation: Some(explanation), is_warning: false }))
    }

    fn judge_events(
        &self,
        meant: &[usize],
        events: &[String],
        expected: bool,
    ) -> Result<Option<Failure>, String> {
        let is_correlation = |rule: &usize| self.engine.rules()[*rule].correlation().is_some();
        let correlations: Vec<usize> = meant.iter().copied().filter(is_correlation).collect();
        if correlations.is_empty() {
            return Err("`events` are for correlations; the file has none that is meant".to_owned());
        }
        let mut timeline = Timeline::new(&self.engine);
        for event in events {
            timeline.take(&parse(event)?);
        }
        let windows = correlations.first().map(|rule| timeline.state(*rule));
        let episodes = timeline.finish();
        let found = episodes.iter().find(|episode| correlations.contains(&episode.rule));
        if found.is_some() == expected {
            return Ok(None);
        }
        let but = match found {
            Some(episode) => format!("{} requests made one", episode.request_count),
            None => windows.unwrap_or_default(),
        };
        let message = format!("{}, but {but}", wanted(expected));
        Ok(Some(Failure { message, explanation: None, is_warning: false }))
    }
}

fn wanted(expected: bool) -> &'static str {
    if expected { "a match was expected" } else { "no match was expected" }
}

fn parse(text: &str) -> Result<Event<'_>, String> {
    let event = Event::parse(text.as_bytes()).map_err(|error| error.to_string())?;
    match event.complaint() {
        None => Ok(event),
        Some(complaint) => Err(complaint.to_string()),
    }
}

fn write_file(out: &mut dyn Write, stream: Stream, file: &Tested) -> io::Result<()> {
    for outcome in &file.outcomes {
        let Some(failure) = &outcome.failure else { continue };
        let palette = stream.palette;
        let (style, word) =
            if failure.is_warning { (palette.doubtful(), "warning") } else { (palette.bad(), "failed") };
        writeln!(out, "{style}{word}{style:#}: {}: {}", clean(&outcome.title), clean(&outcome.name))?;
        if let Some(place) = &outcome.place {
            writeln!(out, "  at {}", clean(place))?;
            writeln!(out, "  {}", clean(&failure.message))?;
        }
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
        suite.add_test_cases(file.outcomes.iter().map(test_case));
        report.add_test_suite(suite);
    }
    report.to_string().map_err(io::Error::other)
}

fn test_case(outcome: &Outcome) -> TestCase {
    let status = match &outcome.failure {
        Some(failure) if !failure.is_warning => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(failure.message.as_str());
            if let Some(place) = &outcome.place {
                status.set_description(place.as_str());
            }
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
    case.set_classname(outcome.title.as_str());
    case
}
