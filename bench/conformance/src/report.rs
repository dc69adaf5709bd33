//! Counts what the engines say and writes it down as Markdown.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::engines::{Answer, Configuration, Engine};
use crate::vectors::{Expected, Group, Standing, Vector};

const BEGIN: &str = "<!-- results:begin -->";
const END: &str = "<!-- results:end -->";
const LOCK: &str = include_str!("../Cargo.lock");
/// How much of a message of an engine is repeated.
const MESSAGE_CHARACTERS_MAX: usize = 200;

/// How an engine did in its best configuration.
pub struct Result {
    name: &'static str,
    version: String,
    configuration: &'static str,
    /// By group and vector, what went wrong; nothing where the vector passed.
    faults: Vec<Vec<Option<String>>>,
}

impl Result {
    fn passed_count(&self) -> usize {
        self.faults.iter().flatten().filter(|fault| fault.is_none()).count()
    }
}

/// Asks an engine about every vector, in each of its configurations.
pub fn result(engine: &Engine, groups: &[Group]) -> Result {
    let run = |configuration: &Configuration| Result {
        name: engine.name,
        version: version(engine.package),
        configuration: configuration.words,
        faults: groups
            .iter()
            .map(|group| group.vectors.iter().map(|vector| fault(configuration, vector)).collect())
            .collect(),
    };
    let results: Vec<Result> = engine.configurations.iter().map(run).collect();
    // Of equals, the first: `max_by_key` would take the last.
    // Invariant: every engine has a configuration.
    results.into_iter().rev().max_by_key(Result::passed_count).expect("a configuration")
}

/// The version of a package that was built in.
fn version(package: &str) -> String {
    let name = format!("name = \"{package}\"\nversion = \"");
    let found = LOCK.split_once(&name).and_then(|(_, rest)| rest.split_once('"'));
    found.map_or_else(|| "?".to_owned(), |(version, _)| version.to_owned())
}

fn fault(configuration: &Configuration, vector: &Vector) -> Option<String> {
    let expected = vector.expected();
    match configuration.answer(vector.question()) {
        Answer::Refused(_) if expected == Expected::Refusal => None,
        Answer::Refused(message) => Some(format!("refused: {}", brief(&message))),
        Answer::Broken(message) => Some(brief(&message)),
        Answer::Loaded { complaint: Some(_), .. } if expected == Expected::Refusal => None,
        Answer::Loaded { .. } if expected == Expected::Refusal => {
            Some("loaded, but must be refused".to_owned())
        }
        Answer::Loaded { matches, complaint } => {
            let found = vector.told(&matches);
            let because =
                complaint.map_or_else(String::new, |text| format!("; complained: {}", brief(&text)));
            (found != expected)
                .then(|| format!("expected {}, found {}{because}", shown(&expected), shown(&found)))
        }
    }
}

/// One line, not too long, that Markdown leaves as it is.
fn brief(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ").replace('`', "'");
    let cut: String = line.chars().take(MESSAGE_CHARACTERS_MAX).collect();
    if cut.is_empty() { "no reason given".to_owned() } else { format!("`{cut}`") }
}

fn shown(expected: &Expected) -> String {
    let Expected::Matches(matches) = expected else { return "a refusal".to_owned() };
    let rules = matches.iter().map(|(rule, numbers)| {
        let numbers = numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
        let numbers = if numbers.is_empty() { "none".to_owned() } else { numbers };
        if rule.is_empty() { numbers } else { format!("{rule}: {numbers}") }
    });
    rules.collect::<Vec<_>>().join(", ")
}

/// The whole result.
pub fn markdown(groups: &[Group], results: &[Result]) -> String {
    let mut text = String::new();
    introduce(&mut text, groups, results);
    let parts = [
        (Standing::Meaning, "What rules mean", "Vectors passed, of those whose rules are sound."),
        (
            Standing::Mistake,
            "Rules that must be refused",
            "Mistakes found. An engine that loads such a rule leaves its author in the belief that it works.",
        ),
        (
            Standing::Open,
            "What the specification leaves open",
            "What an engine does here is its own choice; the vectors say what Masthead chose.",
        ),
    ];
    for (standing, title, meaning) in parts {
        if groups.iter().flat_map(|group| &group.vectors).any(|vector| vector.standing() == standing) {
            let _ = write!(text, "### {title}\n\n{meaning}\n\n");
            table(&mut text, groups, results, standing);
            text.push('\n');
        }
    }
    for result in results {
        let _ = write!(text, "### What {} does otherwise\n\n", result.name);
        failures(&mut text, groups, result);
        text.push('\n');
    }
    text
}

fn introduce(text: &mut String, groups: &[Group], results: &[Result]) {
    let total: usize = groups.iter().map(|group| group.vectors.len()).sum();
    let date = chrono::Utc::now().format("%Y-%m-%d");
    let _ = writeln!(text, "Made on {date} from {total} vectors in {} groups.\n", groups.len());
    text.push_str("| engine | version | configuration |\n| --- | --- | --- |\n");
    for result in results {
        let _ = writeln!(text, "| {} | {} | {} |", result.name, result.version, result.configuration);
    }
    text.push('\n');
}

/// One row a group: how many vectors there are, and how many of them each engine passes.
fn table(text: &mut String, groups: &[Group], results: &[Result], standing: Standing) {
    let names: Vec<&str> = results.iter().map(|result| result.name).collect();
    let _ = writeln!(text, "| group | vectors | {} |", names.join(" | "));
    let _ = writeln!(text, "| --- | ---: |{}", " ---: |".repeat(results.len()));
    let mut sums = vec![0; results.len() + 1];
    for (number, group) in groups.iter().enumerate() {
        let counted: Vec<usize> =
            (0..group.vectors.len()).filter(|vector| group.vectors[*vector].standing() == standing).collect();
        if counted.is_empty() {
            continue;
        }
        let passed = |result: &Result| {
            counted.iter().filter(|vector| result.faults[number][**vector].is_none()).count()
        };
        let mut counts = vec![counted.len()];
        counts.extend(results.iter().map(passed));
        row(text, &format!("`{}`", group.name), &counts);
        sums.iter_mut().zip(&counts).for_each(|(sum, count)| *sum += count);
    }
    row(text, "**all**", &sums);
}

fn row(text: &mut String, name: &str, counts: &[usize]) {
    let cells: Vec<String> = counts.iter().map(usize::to_string).collect();
    let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
}

fn failures(text: &mut String, groups: &[Group], result: &Result) {
    let mut is_any = false;
    for (group, faults) in groups.iter().zip(&result.faults) {
        for (vector, fault) in group.vectors.iter().zip(faults) {
            let Some(fault) = fault else { continue };
            is_any = true;
            let open = if vector.standing() == Standing::Open { " (open)" } else { "" };
            let _ = writeln!(text, "- `{}`{open}: {} — {fault}", group.name, vector.name);
        }
    }
    if !is_any {
        text.push_str("Nothing.\n");
    }
}

/// Replaces what stands between the marks of the document.
pub fn write(path: &Path, results: &str) -> std::result::Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
    let (before, rest) = text.split_once(BEGIN).ok_or_else(|| failed(&"no mark where results begin"))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| failed(&"no mark where results end"))?;
    let text = format!("{before}{BEGIN}\n{}\n{END}{after}", results.trim());
    fs::write(path, text).map_err(|error| failed(&error))
}
