//! `masthead rules --coverage`: the techniques of both matrices, and what there is against them.

use std::io::Write;

use detect::summary::counted;
use serde::Serialize;
use sinks::clean;
use sinks::palette::level_name;

use super::{table, write_document, write_head, write_json, write_row, write_table};
use crate::args::ListFormat;
use crate::coverage::catalog::{Catalog, TACTICS, Technique, tactic_name};
use crate::coverage::layer::Layer;
use crate::coverage::{Coverage, Covered, State};
use crate::loading::Loaded;
use crate::terminal::Stream;

const ATTACK: &str = "MITRE ATT&CK";
const THREAT_MATRIX: &str = "Threat Matrix for Kubernetes";

/// A technique as a line of JSON.
#[derive(Serialize)]
struct Line<'c> {
    matrix: &'static str,
    id: &'c str,
    name: &'c str,
    tactics: &'c [&'c str],
    state: &'static str,
    rules: Vec<&'c str>,
    unseen: Option<&'c str>,
}

/// Writes what the rules cover.
pub(super) fn write(
    out: &mut impl Write,
    stream: Stream,
    format: ListFormat,
    loaded: &Loaded,
) -> anyhow::Result<()> {
    let coverage = Coverage::new(loaded)?;
    let catalog = Catalog::new();
    match format {
        ListFormat::Json => write_document(out, &Layer::new(&coverage, &catalog)),
        ListFormat::Jsonl => write_json(out, format, lines(&coverage, &catalog)),
        ListFormat::Markdown => write_markdown(out, &coverage, &catalog),
        ListFormat::Auto | ListFormat::Text => write_text(out, stream, format, &coverage, &catalog),
    }
}

fn lines<'c>(coverage: &'c Coverage, catalog: &'c Catalog) -> impl Iterator<Item = Line<'c>> {
    let matrices = [(ATTACK, &catalog.attack), (THREAT_MATRIX, &catalog.threat_matrix)];
    matrices.into_iter().flat_map(|(matrix, techniques)| {
        coverage.of(techniques).into_iter().map(move |covered| Line {
            matrix,
            id: covered.technique.id,
            name: covered.technique.name,
            tactics: &covered.technique.tactics,
            state: covered.state().name(),
            unseen: covered.technique.unseen,
            rules: covered.rules.iter().map(|rule| rule.title.as_str()).collect(),
        })
    })
}

fn write_markdown(out: &mut impl Write, coverage: &Coverage, catalog: &Catalog) -> anyhow::Result<()> {
    for (matrix, techniques) in [(ATTACK, &catalog.attack), (THREAT_MATRIX, &catalog.threat_matrix)] {
        let covered = coverage.of(techniques);
        let space = if matrix == ATTACK { "" } else { "\n" };
        writeln!(out, "{space}### {matrix}\n\n{}\n", totals(&covered))?;
        write_head(out, &["tactic", "technique", "state", "rules"])?;
        for (tactic, of_tactic) in by_tactic(&covered) {
            let mut tactic = tactic_name(tactic);
            for covered in of_tactic {
                let name = named(covered.technique);
                write_row(out, &[tactic, name, covered.state().name().to_owned(), rules(covered)])?;
                tactic = String::new();
            }
        }
    }
    write_others(out, coverage, catalog)
}

fn write_text(
    out: &mut impl Write,
    stream: Stream,
    format: ListFormat,
    coverage: &Coverage,
    catalog: &Catalog,
) -> anyhow::Result<()> {
    for (matrix, techniques) in [(ATTACK, &catalog.attack), (THREAT_MATRIX, &catalog.threat_matrix)] {
        let covered = coverage.of(techniques);
        let strong = stream.palette.strong();
        let space = if matrix == ATTACK { "" } else { "\n" };
        writeln!(out, "{space}{strong}{matrix}{strong:#}: {}\n", totals(&covered))?;
        let mut table = table(stream, format, &["TACTIC", "TECHNIQUE", "STATE", "RULES"]);
        for (tactic, of_tactic) in by_tactic(&covered) {
            let mut tactic = tactic_name(tactic);
            for covered in of_tactic {
                let style = match covered.state() {
                    State::NoRule => stream.palette.faint(),
                    State::Rule => stream.palette.doubtful(),
                    State::Proven => stream.palette.good(),
                };
                let state = format!("{style}{}{style:#}", covered.state().name());
                table.add_row([tactic, named(covered.technique), state, rules(covered)]);
                tactic = String::new();
            }
        }
        write_table(out, &table)?;
    }
    write_others(out, coverage, catalog)
}

/// Each tactic that a matrix has, with its techniques: a technique shows below each of its own.
fn by_tactic<'c>(covered: &'c [Covered<'c>]) -> impl Iterator<Item = (&'static str, Vec<&'c Covered<'c>>)> {
    let of = |tactic| covered.iter().filter(move |covered| covered.technique.tactics.contains(&tactic));
    let all = TACTICS.into_iter().map(move |tactic| (tactic, of(tactic).collect::<Vec<_>>()));
    all.filter(|(_, covered)| !covered.is_empty())
}

fn named(technique: &Technique) -> String {
    format!("{} {}", technique.id, technique.name)
}

/// `12, up to critical`, or why there is none.
fn rules(covered: &Covered<'_>) -> String {
    match covered.rules.iter().map(|rule| rule.level).max() {
        None => covered.technique.unseen.unwrap_or_default().to_owned(),
        Some(level) => format!("{}, up to {}", covered.rules.len(), level_name(level)),
    }
}

/// `40 techniques: 30 with rules that events prove, 1 with rules alone, 9 without`.
fn totals(covered: &[Covered<'_>]) -> String {
    let count = |state| covered.iter().filter(|covered| covered.state() == state).count();
    format!(
        "{}: {} with rules that events prove, {} with rules alone, {} without a rule",
        counted(covered.len() as u64, "technique"),
        count(State::Proven),
        count(State::Rule),
        count(State::NoRule),
    )
}

/// Names what rules say and neither matrix has: a slip, or a technique that is not of clusters.
fn write_others(out: &mut impl Write, coverage: &Coverage, catalog: &Catalog) -> anyhow::Result<()> {
    let others = coverage.others(catalog);
    if !others.is_empty() {
        writeln!(out)?;
    }
    for (id, rules) in others {
        let titles: Vec<&str> = rules.iter().map(|rule| rule.title.as_str()).collect();
        writeln!(out, "In neither: {}, named by {}", clean(id), clean(&titles.join(", ")))?;
    }
    Ok(())
}
