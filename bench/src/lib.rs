//! What the benchmarks share: the built-in rules and the events of recorded logs.
//!
//! **Invariant:** everything comes from this checkout and from what the caller names, so a
//! benchmark measures what is built, and nothing that lies elsewhere.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use detect::Engine;
use detect::field::Settings;
use detect::sigma::{self, Rule, Setup};
use ingest::{Frame, Log, inputs};

/// The recorded log that every checkout has.
pub fn demo_log() -> PathBuf {
    root().join("deploy/demo/audit.log")
}

/// The events of the logs, as they were written; the first that is broken is an error.
pub fn recorded(logs: &[PathBuf]) -> io::Result<Vec<Vec<u8>>> {
    let inputs = inputs::resolve(logs);
    if let Some(error) = inputs.errors.into_iter().next() {
        return Err(io::Error::other(error));
    }
    let mut events = Vec::new();
    for input in &inputs.found {
        let mut log = Log::open(input).map_err(io::Error::other)?;
        while let Some(frame) = log.next() {
            match frame {
                Frame::Event { event, .. } => events.push(event.raw().to_vec()),
                Frame::Malformed(bad) => return Err(io::Error::other(log.complaint(bad))),
            }
        }
    }
    Ok(events)
}

/// An engine with all built-in rules.
pub fn engine() -> io::Result<Engine> {
    Ok(Engine::new(built_in_rules()?, Settings::default()))
}

/// The built-in rules, linked; the first that has a mistake is an error.
fn built_in_rules() -> io::Result<Vec<Rule>> {
    let folder = root().join("rules");
    let mut setup = Setup::default();
    for path in files(&folder.join("lists"), "txt")? {
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        fail_on(setup.lists.add(&name, &path, &fs::read_to_string(&path)?))?;
    }
    let mut rules = Vec::new();
    for path in files(&folder, "yml")? {
        let parsed = sigma::parse_with(&path, &fs::read_to_string(&path)?, &setup);
        fail_on(parsed.problems)?;
        rules.extend(parsed.rules);
    }
    sigma::link(&mut rules, &[]);
    Ok(rules)
}

fn fail_on(problems: Vec<sigma::RuleError>) -> io::Result<()> {
    problems.into_iter().next().map_or(Ok(()), |problem| Err(io::Error::other(problem)))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The files below a folder whose names end in `extension`, in the order of their paths.
fn files(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
