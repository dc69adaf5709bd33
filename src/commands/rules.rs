//! `masthead rules`: the rules at hand, or the fields that rules can use.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use detect::sigma::{Level, Rule};
use serde::Serialize;
use sinks::clean;
use sinks::palette::level_name;

use super::Ending;
use crate::args::Rules;
use crate::loading;
use crate::report;
use crate::terminal::{Stream, Terminal};

/// A rule as a line of JSON.
#[derive(Serialize)]
struct Line<'r> {
    id: &'r str,
    title: &'r str,
    level: Level,
    status: Option<&'r str>,
    tags: &'r [String],
    attack: Vec<String>,
    minimum_level: Option<&'r str>,
    path: String,
}

/// Lists the rules or the fields.
pub(crate) fn run(args: &Rules, terminal: &Terminal) -> anyhow::Result<Ending> {
    let mut out = BufWriter::new(io::stdout().lock());
    let stream = terminal.stdout;
    if args.fields {
        fields(&mut out, stream, stream.wants_jsonl(args.format))?;
        out.flush()?;
        return Ok(Ending::Fine);
    }
    let loaded = loading::load(loading::chosen(&args.rules)?);
    report::write_short(&mut io::stderr().lock(), &loaded, detect::sigma::Severity::Error)?;
    let has_errors = loaded.count(detect::sigma::Severity::Error) > 0;
    let mut rules = loaded.into_rules();
    rules.sort_by(|left, right| right.level.cmp(&left.level).then_with(|| left.title.cmp(&right.title)));
    if stream.wants_jsonl(args.format) {
        for rule in &rules {
            writeln!(out, "{}", serde_json::to_string(&line(rule))?)?;
        }
    } else {
        writeln!(out, "{}", table(stream, &rules))?;
    }
    out.flush()?;
    Ok(if has_errors { Ending::Unusable } else { Ending::Fine })
}

fn line(rule: &Rule) -> Line<'_> {
    Line {
        id: &rule.id,
        title: &rule.title,
        level: rule.level,
        status: rule.status.as_deref(),
        tags: &rule.tags,
        attack: techniques(rule),
        minimum_level: minimum_level(rule),
        path: rule.path.display().to_string(),
    }
}

fn table(stream: Stream, rules: &[Rule]) -> Table {
    let mut table = plain_table(stream, &["LEVEL", "RULE", "ATT&CK", "AUDIT LEVEL", "FILE"]);
    for rule in rules {
        let style = stream.palette.level(rule.level);
        table.add_row([
            format!("{style}{}{style:#}", level_name(rule.level)),
            clean(&rule.title).into_owned(),
            clean(&techniques(rule).join(" ")).into_owned(),
            clean(minimum_level(rule).unwrap_or("")).into_owned(),
            file_name(&rule.path),
        ]);
    }
    table
}

/// A table without lines, as wide as the terminal.
fn plain_table(stream: Stream, header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    if let Some(width) = stream.width {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    }
    table
}

/// The ATT&CK techniques among the tags.
fn techniques(rule: &Rule) -> Vec<String> {
    let technique = |tag: &String| {
        let name = tag.strip_prefix("attack.t")?;
        name.starts_with(|first: char| first.is_ascii_digit()).then(|| format!("T{name}"))
    };
    rule.tags.iter().filter_map(technique).collect()
}

/// The audit level that a rule says it needs.
fn minimum_level(rule: &Rule) -> Option<&str> {
    let (_, level) = rule.custom.iter().find(|(key, _)| key == "minimum_level")?;
    level.as_str()
}

fn file_name(path: &Path) -> String {
    clean(&path.file_name().unwrap_or_default().to_string_lossy()).into_owned()
}

fn fields(_out: &mut impl Write, _stream: Stream, _is_jsonl: bool) -> anyhow::Result<()> {
    Ok(())
}
