//! `masthead explain`: what a rule looks for, and what of it one event shows.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, bail};
use detect::explain::{self, Explanation, Kind};
use detect::sigma::Rule;
use detect::{Event, Truth};
use sinks::palette::level_name;
use sinks::{Palette, clean};

mod correlation;

use super::Ending;
use crate::args::{Explain, RuleChoice};
use crate::files;
use crate::loading::{self, Loaded};
use crate::relation;
use crate::terminal::{Stream, Terminal};

/// How long the one event may be.
const EVENT_BYTES_MAX: u64 = 256 << 20;
/// Where a description is wrapped when the width is not known, in columns.
const WIDTH_DEFAULT: usize = 100;
/// How many columns a part stands further to the right than what it is a part of.
const INDENT: usize = 2;
/// How many reasons the verdict names.
const REASONS_MAX: usize = 3;
/// How many similar rules are suggested.
const SUGGESTIONS_MAX: usize = 5;
/// How similar the name of a suggested rule must be, from 0 to 1.
const SIMILARITY_MIN: f64 = 0.85;

/// Explains a rule.
pub(crate) fn run(args: &Explain, terminal: &Terminal) -> anyhow::Result<Ending> {
    let (rule, loaded) = find(&args.rule, &args.choice)?;
    let mut out = BufWriter::new(io::stdout().lock());
    header(&mut out, terminal.stdout, &rule)?;
    let Some(condition) = rule.condition() else {
        let mut rules = vec![rule.clone()];
        loaded.add_related(&mut rules);
        correlation::explain(&mut out, terminal.stdout, rules, loaded.settings(&args.proxies), args)?;
        advice(&mut out, terminal.stdout, &rule)?;
        out.flush()?;
        return Ok(Ending::Fine);
    };
    match &args.event {
        None => {
            writeln!(out, "looks for events in which")?;
            draw(&mut out, terminal.stdout, &explain::describe(condition), 1)?;
            advice(&mut out, terminal.stdout, &rule)?;
        }
        Some(path) => {
            let bytes = read_event(path)?;
            let event = Event::parse(&bytes)
                .with_context(|| format!("`{}` does not hold exactly one event", path.display()))?;
            if let Some(complaint) = event.complaint() {
                bail!("`{}`: {complaint}", path.display());
            }
            let settings = loaded.settings(&args.proxies);
            let explanation = explain::explain(condition, &event, &settings);
            draw(&mut out, terminal.stdout, &explanation, 1)?;
            writeln!(out, "\n{}", verdict(&explanation))?;
        }
    }
    out.flush()?;
    Ok(Ending::Fine)
}

/// The rule of this id, name, title, file name or path; of several in a file what it is about.
fn find(name: &str, choice: &RuleChoice) -> anyhow::Result<(Rule, Loaded)> {
    let path = Path::new(name);
    let is_path = path.is_file();
    let loaded = if is_path {
        loading::load_beside_embedded(files_with(path, choice)?)
    } else {
        loading::load(files::chosen(choice)?)
    };
    let rules: Vec<Rule> = loaded.rules.iter().map(|(_, rule)| rule.clone()).collect();
    let wanted = name.to_lowercase();
    let called = rules.iter().find(|rule| !is_path && own_names(rule).contains(&wanted));
    let is_of_file =
        |rule: &&Rule| if is_path { rule.path == path } else { file_names(rule).contains(&wanted) };
    if let Some(rule) = called.or_else(|| relation::main(rules.iter().filter(is_of_file))) {
        return Ok((rule.clone(), loaded));
    }
    if is_path {
        bail!("`{name}` holds no rule that can be used; see `masthead check {name}`");
    }
    match similar(&wanted, &rules).as_slice() {
        [] => bail!("no rule has the id, name, title or file name `{name}`; see `masthead rules`"),
        titles => bail!(
            "no rule has the id, name, title or file name `{name}`; did you mean {}?",
            titles.join(", ")
        ),
    }
}

/// One rule file, with the filters and lists that the user has besides.
fn files_with(path: &Path, choice: &RuleChoice) -> Result<Vec<files::RuleFile>, files::LoadError> {
    let paths = [path.to_owned()].into_iter().chain(choice.paths.iter().cloned()).collect();
    files::chosen(&RuleChoice { paths, no_default_rules: true, setup: choice.setup.clone() })
}

/// What a rule calls itself, in lower case.
fn own_names(rule: &Rule) -> Vec<String> {
    [Some(&rule.id), Some(&rule.title), rule.name.as_ref()]
        .into_iter()
        .flatten()
        .map(|name| name.to_lowercase())
        .collect()
}

/// What the file of a rule is called, in lower case.
fn file_names(rule: &Rule) -> Vec<String> {
    let parts = [rule.path.file_stem(), rule.path.file_name()];
    parts.into_iter().flatten().map(|part| part.to_string_lossy().to_lowercase()).collect()
}

/// The file names of the rules whose names come nearest, quoted, best first.
fn similar(wanted: &str, rules: &[Rule]) -> Vec<String> {
    let similarity = |name: &String| {
        if name.contains(wanted) { 1.0 } else { strsim::jaro_winkler(name, wanted) }
    };
    let mut scored: Vec<(f64, &Rule)> = rules
        .iter()
        .map(|rule| {
            let names = own_names(rule).into_iter().chain(file_names(rule));
            (names.map(|name| similarity(&name)).fold(0.0, f64::max), rule)
        })
        .filter(|(score, _)| *score >= SIMILARITY_MIN)
        .collect();
    scored.sort_by(|left, right| right.0.total_cmp(&left.0));
    let stem = |rule: &Rule| rule.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut stems: Vec<String> = Vec::new();
    for (_, rule) in scored {
        let stem = format!("`{}`", stem(rule));
        if !stems.contains(&stem) {
            stems.push(stem);
        }
    }
    stems.truncate(SUGGESTIONS_MAX);
    stems
}

fn read_event(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let reader: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(
            File::open(path)
                .map_err(files::plain)
                .with_context(|| format!("cannot read `{}`", path.display()))?,
        )
    };
    let read = reader.take(EVENT_BYTES_MAX).read_to_end(&mut bytes);
    read.with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(bytes)
}

fn header(out: &mut impl Write, stream: Stream, rule: &Rule) -> io::Result<()> {
    let palette = stream.palette;
    let (strong, level, faint) = (palette.strong(), palette.level(rule.level), palette.faint());
    let name = level_name(rule.level);
    writeln!(out, "{strong}{}{strong:#}  {level}{name}{level:#}", clean(&rule.title))?;
    let path = rule.path.display().to_string();
    writeln!(out, "{faint}{}  {}{faint:#}", clean(&rule.id), clean(&path))?;
    let width = stream.width.unwrap_or(WIDTH_DEFAULT);
    let description = clean(rule.description.trim()).replace("\\n", " ");
    if !description.is_empty() {
        writeln!(out, "{}", textwrap::fill(&description, width))?;
    }
    writeln!(out)
}

/// What the rule's author says about its alerts.
fn advice(out: &mut impl Write, stream: Stream, rule: &Rule) -> io::Result<()> {
    let runbook = rule.custom.iter().filter(|(key, _)| key == "runbook");
    let lists = [
        ("known innocent causes", rule.falsepositives.clone()),
        ("what to do", runbook.flat_map(|(_, value)| texts(value)).collect()),
    ];
    for (heading, items) in lists.iter().filter(|(_, items)| !items.is_empty()) {
        writeln!(out, "\n{heading}")?;
        for item in items {
            let options = wrapping(stream).initial_indent("  - ").subsequent_indent("    ");
            writeln!(out, "{}", textwrap::fill(&clean(item.trim()).replace("\\n", " "), options))?;
        }
    }
    Ok(())
}

/// The texts of a value that is a text or a list of texts.
fn texts(value: &serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::String(text) => vec![text.clone()],
        serde_json::Value::Array(items) => items.iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// Lines as wide as the terminal, words whole.
fn wrapping(stream: Stream) -> textwrap::Options<'static> {
    textwrap::Options::new(stream.width.unwrap_or(usize::MAX))
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
}

/// Draws the tree, a part a line, indented by its depth.
pub(crate) fn draw(out: &mut dyn Write, stream: Stream, part: &Explanation, depth: usize) -> io::Result<()> {
    let (heading, last) = chain(part);
    let mark = part.truth.map_or_else(String::new, |truth| mark(stream.palette, truth));
    if !last.parts.is_empty() {
        writeln!(out, "{:width$}{mark}{heading}:", "", width = depth * INDENT)?;
        return last.parts.iter().try_for_each(|inner| draw(out, stream, inner, depth + 1));
    }
    let faint = stream.palette.faint();
    let sight = sight(last).map_or_else(String::new, |sight| format!("  {faint}{sight}{faint:#}"));
    let line = format!("{mark}{heading}{}{sight}", clean(&last.label));
    let (first, rest) = (" ".repeat(depth * INDENT), " ".repeat((depth + 2) * INDENT));
    let options = wrapping(stream).initial_indent(&first).subsequent_indent(&rest);
    writeln!(out, "{}", textwrap::fill(&line, options))
}

fn mark(palette: Palette, truth: Truth) -> String {
    let (style, mark) = match truth {
        Truth::True => (palette.good(), "✓"),
        Truth::False => (palette.bad(), "✗"),
        Truth::Unknown => (palette.doubtful(), "?"),
    };
    format!("{style}{mark}{style:#} ")
}

/// Puts a part and what alone is below it, and below that, under one heading: `not by_the_cluster, any of`.
/// Gives the heading and the part whose parts come next.
fn chain(part: &Explanation) -> (String, &Explanation) {
    let mut heading = String::new();
    let mut part = part;
    loop {
        let is_chained = matches!(part.parts.as_slice(), [_]);
        let label = clean(&part.label);
        let word = match part.kind {
            Kind::Test => break,
            Kind::Elements if part.parts.is_empty() => break,
            Kind::Not => "not ",
            // Of one part, all and any are the same.
            Kind::All | Kind::Any if is_chained => "",
            Kind::Selection | Kind::All | Kind::Any | Kind::Elements => &label,
        };
        let comma = if word.is_empty() || heading.is_empty() || heading.ends_with(' ') { "" } else { ", " };
        heading.push_str(comma);
        heading.push_str(word);
        match part.parts.as_slice() {
            [only]
                if part.kind != Kind::Elements
                    && (only.kind != Kind::Test || part.kind != Kind::Selection) =>
            {
                part = only;
            }
            _ => break,
        }
    }
    (heading, part)
}

/// What the event shows for a test.
fn sight(part: &Explanation) -> Option<String> {
    part.truth?;
    if let Some(hidden) = part.hidden {
        return Some(format!("hidden: {hidden}"));
    }
    let values: Vec<String> = part.values.iter().map(|value| format!("`{}`", clean(value))).collect();
    Some(match part.value_count.saturating_sub(values.len()) {
        _ if values.is_empty() => "saw nothing".to_owned(),
        0 => format!("saw {}", values.join(", ")),
        more => format!("saw {} and {more} more", values.join(", ")),
    })
}

/// One sentence: whether the rule matched, and what decided it.
pub(crate) fn verdict(explanation: &Explanation) -> String {
    let outcome = match explanation.truth {
        None | Some(Truth::True) => return "the rule matches this event".to_owned(),
        Some(Truth::False) => "the rule does not match this event",
        Some(Truth::Unknown) => "it cannot be decided whether the rule matches this event",
    };
    let reasons = explanation.reasons();
    let mut named: Vec<String> = reasons.iter().take(REASONS_MAX).map(|part| reason(part)).collect();
    if let more @ 1.. = reasons.len().saturating_sub(REASONS_MAX) {
        named.push(format!("and {more} more"));
    }
    if named.is_empty() { outcome.to_owned() } else { format!("{outcome}: {}", named.join("; ")) }
}

fn reason(part: &Explanation) -> String {
    let label = clean(&part.label);
    match (part.truth, part.hidden, sight(part)) {
        (Some(Truth::True), ..) => format!("it excludes events in which {label}"),
        (_, Some(hidden), _) => format!("whether {label} cannot be seen, since {hidden}"),
        (_, None, Some(sight)) => format!("it wants that {label}, but {sight}"),
        (_, None, None) => label.into_owned(),
    }
}
