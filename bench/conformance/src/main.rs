//! Runs the conformance vectors through several Sigma engines and prints who passes which.
//!
//! `--write` puts the result into `docs/CONFORMANCE.md`; other arguments name files of
//! vectors to run instead of the published ones.

mod engines;
mod report;
mod vectors;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use report::Result;

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_writing = arguments.iter().any(|argument| argument == "--write");
    let files: Vec<PathBuf> =
        arguments.iter().filter(|argument| !argument.starts_with('-')).map(PathBuf::from).collect();
    match run(files, is_writing) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(files: Vec<PathBuf>, is_writing: bool) -> std::result::Result<(), String> {
    let files = if files.is_empty() { vectors::published(&root())? } else { files };
    let mut groups = Vec::new();
    for file in &files {
        groups.push(vectors::read(file)?);
    }
    // A panic of an engine is an answer like any other; it needs no trace.
    std::panic::set_hook(Box::new(|_| {}));
    let results: Vec<Result> = engines::all().iter().map(|engine| report::result(engine, &groups)).collect();
    let text = report::markdown(&groups, &results);
    if is_writing {
        return report::write(&root().join("docs/CONFORMANCE.md"), &text);
    }
    println!("{text}");
    Ok(())
}
