//! `masthead check`: every mistake of every rule file, at its place.

use std::io::{self, BufWriter, Write};

use detect::sigma::Severity;
use detect::summary::counted;
use serde::Serialize;
use sinks::clean;

use super::Ending;
use crate::args::{Check, Format};
use crate::files;
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

/// Checks the rules and writes what is wrong with them.
pub(crate) fn run(args: &Check, terminal: &Terminal) -> anyhow::Result<Ending> {
    let loaded = loading::load_beside_embedded(files::below_or_embedded(&args.paths, &args.setup)?);
    let mut out = BufWriter::new(io::stdout().lock());
    if args.format == Format::Jsonl {
        write_lines(&mut out, &loaded)?;
    } else {
        report::write_all(&mut out, terminal.stdout, &loaded)?;
        writeln!(out, "{}", verdict(&loaded))?;
    }
    out.flush()?;
    Ok(if loaded.count(Severity::Error) > 0 { Ending::Unusable } else { Ending::Fine })
}

fn write_lines(out: &mut impl Write, loaded: &Loaded) -> anyhow::Result<()> {
    for problem in &loaded.problems {
        let line = ProblemLine {
            path: loaded.files[problem.file].path.display().to_string(),
            line: problem.place.line,
            column: problem.place.column,
            width: problem.place.width,
            severity: severity_name(problem.severity),
            code: problem.code,
            message: &problem.message,
            help: problem.help.as_deref(),
        };
        writeln!(out, "{}", serde_json::to_string(&line)?)?;
    }
    Ok(())
}

/// `12 rules and 1 filter in 9 files, 3 errors, 2 warnings`.
fn verdict(loaded: &Loaded) -> String {
    let mut parts = vec![
        format!("{} in {}", loaded.contents(), counted(loaded.files.len() as u64, "file")),
        counted(loaded.count(Severity::Error), "error"),
        counted(loaded.count(Severity::Warning), "warning"),
    ];
    if !loaded.skipped.is_empty() {
        parts.push(clean(&loaded.skipped.to_string()).into_owned());
    }
    parts.join(", ")
}
