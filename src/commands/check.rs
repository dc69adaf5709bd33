//! `masthead check`: every mistake of every rule file, or of a configuration and all that it
//! names, at its place.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use detect::sigma::{Place, Severity};
use detect::summary::counted;
use serde::Serialize;
use sinks::clean;

use super::Ending;
use crate::args::{Check, Format};
use crate::config::{self, Config, Mistakes};
use crate::files::{self, RuleFile};
use crate::loading::{self, Loaded};
use crate::report::{self, severity_name};
use crate::terminal::Terminal;

/// A problem as a line of JSON.
#[derive(Serialize)]
struct ProblemLine<'p> {
    path: String,
    line: u32,
    column: u32,
    width: u32,
    severity: &'static str,
    code: &'static str,
    message: &'p str,
    help: Option<&'p str>,
}

impl<'p> ProblemLine<'p> {
    /// A problem of which nothing is known yet but its place.
    fn at(place: Place, message: &'p str) -> Self {
        let Place { line, column, width } = place;
        Self { path: String::new(), line, column, width, severity: "", code: "", message, help: None }
    }
}

/// What was checked, and what is wrong with it.
struct Checked {
    /// Nothing if no configuration was asked for.
    mistakes: Option<Mistakes>,
    /// Nothing if a configuration is so wrong that its rules are not known.
    loaded: Option<Loaded>,
}

/// Checks rules or a configuration and writes what is wrong with them.
pub(crate) fn run(args: &Check, terminal: &Terminal) -> anyhow::Result<Ending> {
    let mut out = BufWriter::new(io::stdout().lock());
    if args.schema {
        writeln!(out, "{:#}", config::schema())?;
        out.flush()?;
        return Ok(Ending::Fine);
    }
    let checked = match &args.config {
        Some(path) => configuration(path)?,
        None => Checked::rules(files::below_or_embedded(&args.paths, &args.setup)?),
    };
    if args.format == Format::Jsonl {
        checked.write_lines(&mut out)?;
    } else {
        checked.draw(&mut out, terminal)?;
    }
    out.flush()?;
    Ok(if checked.count(Severity::Error) > 0 { Ending::Unusable } else { Ending::Fine })
}

/// A configuration, and the rules that it names as far as it is right.
fn configuration(path: &Path) -> anyhow::Result<Checked> {
    let mut config = match Config::load(path) {
        Ok(config) => config,
        Err(mistakes) => return Ok(Checked { mistakes: Some(mistakes), loaded: None }),
    };
    let loaded = loading::load_beside_embedded(files::chosen(&config.rule_choice())?);
    let mut mistakes = config.doubts.take().and_then(Arc::into_inner);
    if let Some(mistakes) = &mut mistakes {
        mistakes.doubt_rules(&config.routes, loaded.rules.iter().map(|(_, rule)| rule.id.as_str()));
    }
    Ok(Checked { mistakes, loaded: Some(loaded) })
}

impl Checked {
    fn rules(files: Vec<RuleFile>) -> Self {
        Self { mistakes: None, loaded: Some(loading::load_beside_embedded(files)) }
    }

    fn count(&self, severity: Severity) -> u64 {
        let mistakes = self.mistakes.as_ref().map_or(0, |mistakes| mistakes.count(severity));
        mistakes + self.loaded.as_ref().map_or(0, |loaded| loaded.count(severity))
    }

    fn draw(&self, out: &mut impl Write, terminal: &Terminal) -> anyhow::Result<()> {
        if let Some(mistakes) = &self.mistakes {
            report::write_mistakes(out, terminal.stdout, mistakes)?;
        }
        if let Some(loaded) = &self.loaded {
            report::write_all(out, terminal.stdout, loaded)?;
        }
        writeln!(out, "{}", self.verdict())?;
        Ok(())
    }

    fn write_lines(&self, out: &mut impl Write) -> anyhow::Result<()> {
        for mistake in self.mistakes.iter().flat_map(|mistakes| &mistakes.list) {
            let (message, help) = (mistake.message(), mistake.help());
            let line = ProblemLine {
                path: self.mistakes.as_ref().map_or_else(String::new, |all| all.path.display().to_string()),
                code: mistake.code(),
                severity: severity_name(mistake.severity()),
                help: help.as_deref(),
                ..ProblemLine::at(mistake.place, &message)
            };
            writeln!(out, "{}", serde_json::to_string(&line)?)?;
        }
        let Some(loaded) = &self.loaded else { return Ok(()) };
        for problem in &loaded.problems {
            let line = ProblemLine {
                path: loaded.files[problem.file].path.display().to_string(),
                code: problem.code,
                severity: severity_name(problem.severity),
                help: problem.help.as_deref(),
                ..ProblemLine::at(problem.place, &problem.message)
            };
            writeln!(out, "{}", serde_json::to_string(&line)?)?;
        }
        Ok(())
    }

    /// `12 rules and 1 filter in 9 files, 3 errors, 2 warnings`.
    fn verdict(&self) -> String {
        let mut parts = Vec::new();
        if let Some(loaded) = &self.loaded {
            parts.push(format!("{} in {}", loaded.contents(), counted(loaded.files.len() as u64, "file")));
        }
        parts.push(counted(self.count(Severity::Error), "error"));
        parts.push(counted(self.count(Severity::Warning), "warning"));
        let skipped =
            self.loaded.as_ref().map(|loaded| &loaded.skipped).filter(|skipped| !skipped.is_empty());
        parts.extend(skipped.map(|skipped| clean(&skipped.to_string()).into_owned()));
        parts.join(", ")
    }
}
