//! `masthead rules`: the rules at hand, what they cover, or the fields that rules can use.

use std::io::{self, BufWriter, Write};

use comfy_table::presets::{ASCII_MARKDOWN, NOTHING};
use comfy_table::{ContentArrangement, Table};
use detect::derived;
use detect::sigma::{Level, Rule, Severity, correlation};
use detect::summary::counted;
use serde::Serialize;
use sinks::clean;
use sinks::palette::level_name;

mod coverage;
mod index;

use super::Ending;
use crate::args::{ListFormat, Rules};
use crate::coverage::tags::{minimum_level, techniques};
use crate::files;
use crate::loading::{self, UsedFilter};
use crate::report;
use crate::terminal::{Stream, Terminal};

/// On terminals narrower than this a rule's file name stands below its title.
const WIDTH_OF_ALL_COLUMNS: usize = 130;

/// A rule as a line of JSON.
#[derive(Serialize)]
struct RuleLine<'r> {
    id: &'r str,
    title: &'r str,
    level: Level,
    status: Option<&'r str>,
    tags: &'r [String],
    attack: Vec<String>,
    minimum_level: Option<&'r str>,
    /// The type of a correlation.
    correlation: Option<&'static str>,
    /// Whether it gives no alerts of its own.
    is_silent: bool,
    path: String,
}

/// A field as a line of JSON.
#[derive(Serialize)]
struct FieldLine {
    name: &'static str,
    minimum_level: &'static str,
    meaning: &'static str,
    /// The only values there are, where they are few.
    values: Option<&'static [&'static str]>,
}

/// Lists the rules or the fields.
pub(crate) fn run(args: &Rules, terminal: &Terminal) -> anyhow::Result<Ending> {
    let mut out = BufWriter::new(io::stdout().lock());
    let format = terminal.stdout.list_format(args.format);
    if args.fields {
        write_fields(&mut out, terminal.stdout, format)?;
        out.flush()?;
        return Ok(Ending::Fine);
    }
    let loaded = loading::load(files::chosen(&args.choice)?);
    let has_errors = loaded.count(Severity::Error) > 0;
    let _ = report::write_short(&mut io::stderr().lock(), &loaded, Severity::Error);
    if args.coverage {
        coverage::write(&mut out, terminal.stdout, format, &loaded)?;
        out.flush()?;
        return Ok(ending(has_errors));
    }
    let rules: Vec<Rule> = loaded.rules.iter().map(|(_, rule)| rule.clone()).collect();
    let mut rules: Vec<(&Rule, bool)> = rules.iter().zip(correlation::silent(&rules)).collect();
    rules.sort_by(|(left, _), (right, _)| {
        right.level.cmp(&left.level).then_with(|| left.title.cmp(&right.title))
    });
    match format {
        ListFormat::Markdown => index::write(&mut out, &loaded, &rules)?,
        format => write_rules(&mut out, terminal.stdout, format, &rules)?,
    }
    if matches!(format, ListFormat::Text | ListFormat::Markdown) && !loaded.filters.is_empty() {
        writeln!(out)?;
        write_filters(&mut out, terminal.stdout, format, &loaded.filters)?;
        writeln!(out, "\n{}", loaded.contents())?;
    }
    out.flush()?;
    Ok(ending(has_errors))
}

fn ending(has_errors: bool) -> Ending {
    if has_errors { Ending::Unusable } else { Ending::Fine }
}

fn write_rules(
    out: &mut impl Write,
    stream: Stream,
    format: ListFormat,
    rules: &[(&Rule, bool)],
) -> anyhow::Result<()> {
    if matches!(format, ListFormat::Json | ListFormat::Jsonl) {
        return write_json(
            out,
            format,
            rules.iter().map(|(rule, is_silent)| RuleLine::new(rule, *is_silent)),
        );
    }
    let is_narrow = stream.width.is_some_and(|width| width < WIDTH_OF_ALL_COLUMNS);
    let header = ["LEVEL", "RULE", "ATT&CK", "AUDIT LEVEL", "FILE"];
    let mut table = table(stream, format, &header[..if is_narrow { 4 } else { 5 }]);
    for (rule, is_silent) in rules {
        let (style, faint) = (stream.palette.level(rule.level), stream.palette.faint());
        let silent =
            if *is_silent { format!(" {faint}(only for correlations){faint:#}") } else { String::new() };
        let title = format!("{}{silent}", clean(&rule.title));
        let stem = rule.path.file_stem().unwrap_or_default().to_string_lossy();
        let stem = clean(&stem);
        let mut row = vec![
            format!("{style}{}{style:#}", level_name(rule.level)),
            if is_narrow { format!("{title}\n{faint}{stem}{faint:#}") } else { title },
            clean(&techniques(rule).join(" ")).replace(' ', if is_narrow { "\n" } else { " " }),
            clean(minimum_level(rule).unwrap_or("")).into_owned(),
        ];
        row.extend((!is_narrow).then(|| stem.into_owned()));
        table.add_row(row);
    }
    write_table(out, &table)
}

fn write_filters(
    out: &mut impl Write,
    stream: Stream,
    format: ListFormat,
    filters: &[UsedFilter],
) -> anyhow::Result<()> {
    let mut table = table(stream, format, &["FILTER", "ADDED TO", "FILE"]);
    for UsedFilter { filter, rule_count } in filters {
        let stem = filter.path.file_stem().unwrap_or_default().to_string_lossy();
        let rules = counted(*rule_count as u64, "rule");
        table.add_row([clean(&filter.title).as_ref(), &rules, &clean(&stem)]);
    }
    write_table(out, &table)
}

fn write_fields(out: &mut impl Write, stream: Stream, format: ListFormat) -> anyhow::Result<()> {
    match format {
        ListFormat::Json | ListFormat::Jsonl => {
            write_json(out, format, derived::TABLE.iter().map(FieldLine::new))
        }
        ListFormat::Markdown => Ok(write!(out, "{}", derived::markdown_table())?),
        ListFormat::Auto | ListFormat::Text => {
            let mut table = table(stream, format, &["FIELD", "FROM LEVEL", "MEANING"]);
            for field in derived::TABLE.iter().map(FieldLine::new) {
                let values = match field.values {
                    Some(words) => format!("; one of {}", words.join(", ")),
                    None => String::new(),
                };
                table.add_row([field.name, field.minimum_level, &format!("{}{values}", field.meaning)]);
            }
            write_table(out, &table)
        }
    }
}

/// Writes one object a line, or for `json` all of them as one array.
fn write_json(
    out: &mut impl Write,
    format: ListFormat,
    objects: impl Iterator<Item = impl Serialize>,
) -> anyhow::Result<()> {
    if format == ListFormat::Json {
        return write_document(out, &objects.collect::<Vec<_>>());
    }
    for object in objects {
        writeln!(out, "{}", serde_json::to_string(&object)?)?;
    }
    Ok(())
}

fn write_document(out: &mut impl Write, document: &impl Serialize) -> anyhow::Result<()> {
    writeln!(out, "{}", serde_json::to_string_pretty(document)?)?;
    Ok(())
}

impl<'r> RuleLine<'r> {
    fn new(rule: &'r Rule, is_silent: bool) -> Self {
        Self {
            id: &rule.id,
            title: &rule.title,
            level: rule.level,
            status: rule.status.as_deref(),
            tags: &rule.tags,
            attack: techniques(rule),
            minimum_level: minimum_level(rule),
            correlation: rule.correlation().map(|correlation| correlation.relation.name()),
            is_silent,
            path: rule.path.display().to_string(),
        }
    }
}

impl FieldLine {
    fn new(entry: &derived::Entry) -> Self {
        let values = match entry.value {
            derived::ValueType::OneOf(words) => Some(words),
            derived::ValueType::Text | derived::ValueType::Any => None,
        };
        Self { name: entry.name, minimum_level: entry.level, meaning: entry.doc, values }
    }
}

/// A table as wide as the terminal; in a document it has lines.
fn table(stream: Stream, format: ListFormat, header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(if format == ListFormat::Markdown { ASCII_MARKDOWN } else { NOTHING })
        .set_header(header);
    if let Some(width) = stream.width.filter(|_| format == ListFormat::Text) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    }
    table
}

/// Writes a table without the blanks that fill up its last column.
fn write_table(out: &mut impl Write, table: &Table) -> anyhow::Result<()> {
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Writes a row of a Markdown table; without padding, so that a change touches one line.
fn write_row(out: &mut impl Write, cells: &[String]) -> anyhow::Result<()> {
    let cells: Vec<String> = cells.iter().map(|cell| clean(cell).replace('|', "\\|")).collect();
    writeln!(out, "| {} |", cells.join(" | "))?;
    Ok(())
}

/// Writes the head of a Markdown table.
fn write_head(out: &mut impl Write, columns: &[&str]) -> anyhow::Result<()> {
    writeln!(out, "| {} |\n|{}", columns.join(" | "), " --- |".repeat(columns.len()))?;
    Ok(())
}
