//! Knows how logs are named, and which of two files of one log is older.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Input;

const LOG_ENDINGS: &[&str] = &["log", "json", "jsonl", "ndjson"];
const COMPRESSED_ENDINGS: &[&str] = &["gz", "zst"];

/// The age of a file among the files of its log; older ones are less.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Age {
    /// Named after the time of its rotation, as an API server or `dateext` does.
    Dated(String),
    /// Numbered, as logrotate does: the higher the older.
    Numbered(Reverse<u64>),
    /// The file that is written now.
    Current,
}

/// Orders files so that those of one log stand together, oldest first, at the place of the
/// first of them.
pub(super) fn oldest_first(files: Vec<Arc<Path>>) -> Vec<Input> {
    let mut places: HashMap<PathBuf, usize> = HashMap::new();
    let mut keyed: Vec<_> = files
        .into_iter()
        .map(|path| {
            let (log, age) = log_and_age(&path);
            let next = places.len();
            (*places.entry(log).or_insert(next), age, path)
        })
        .collect();
    keyed.sort();
    keyed.into_iter().map(|(_, _, path)| Input::File(path)).collect()
}

/// True when the name is one that logs have.
pub(super) fn is_log(path: &Path) -> bool {
    let (log, _) = log_and_age(path);
    log.to_str().is_some_and(has_log_ending)
}

fn has_log_ending(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    ending.is_some_and(|ending| LOG_ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending)))
}

/// A key under which `b2` comes before `b10`: runs of digits count by their value.
pub(super) fn natural(path: &Path) -> Vec<(u64, String)> {
    let text = path.to_string_lossy();
    let mut key = vec![(0_u64, String::new())];
    for letter in text.chars() {
        let Some((number, word)) = key.last_mut() else { break };
        match letter.to_digit(10) {
            Some(digit) if word.is_empty() => {
                *number = number.saturating_mul(10).saturating_add(digit.into());
            }
            Some(digit) => key.push((digit.into(), String::new())),
            None => word.push(letter),
        }
    }
    key
}

/// The path of the log that a file belongs to, which may be its own.
pub(crate) fn log_of(path: &Path) -> PathBuf {
    log_and_age(path).0
}

/// The path without the ending of compressed files; nothing if it has none.
pub(crate) fn without_compression(path: &Path) -> Option<PathBuf> {
    let ending = path.extension()?.to_str()?;
    let is_known = COMPRESSED_ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending));
    is_known.then(|| path.with_extension(""))
}

/// The path of the log that a file belongs to, and the file's age.
fn log_and_age(path: &Path) -> (PathBuf, Age) {
    let plain = without_compression(path);
    let name = plain.as_deref().unwrap_or(path).file_name();
    let name = name.map(|name| name.to_string_lossy()).unwrap_or_default();
    let name = &*name;
    let (log, age) = numbered(name).or_else(|| dated(name)).unwrap_or((name.to_owned(), Age::Current));
    (path.with_file_name(log), age)
}

/// `audit.log.2`, `audit.log-20261120`, `audit.log.2026-11-20`, `audit.json.1`.
fn numbered(name: &str) -> Option<(String, Age)> {
    let mut separators = name.match_indices(['.', '-']);
    let (log, suffix) = separators.find_map(|(position, _)| {
        has_log_ending(&name[..position]).then(|| (&name[..position], &name[position..]))
    })?;
    let suffix_text = &suffix[1..];
    let age = if is_time(suffix_text) {
        Age::Dated(suffix_text.to_owned())
    } else {
        Age::Numbered(Reverse(suffix.strip_prefix('.')?.parse().ok()?))
    };
    Some((log.to_owned(), age))
}

/// `audit-2026-11-20T10-00-00.000.log`.
fn dated(name: &str) -> Option<(String, Age)> {
    let (stem, ending) = name.rsplit_once('.')?;
    let (position, _) = stem.match_indices('-').find(|(position, _)| is_time(&stem[position + 1..]))?;
    let time = stem[position + 1..].to_owned();
    Some((format!("{}.{ending}", &stem[..position]), Age::Dated(time)))
}

/// True for digits and what stands between them in a time, beginning with a year.
pub(crate) fn is_time(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'T' | b'Z' | b'_');
    text.len() >= 8
        && text.bytes().all(is_part)
        && text.bytes().take(4).all(|byte| byte.is_ascii_digit())
        && text.ends_with(|last: char| last.is_ascii_digit() || last == 'Z')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(named: &[&str], expected: &[&str]) {
        let inputs = oldest_first(named.iter().map(|name| Path::new(name).into()).collect());
        let ordered: Vec<String> = inputs.iter().map(ToString::to_string).collect();
        assert_eq!(ordered, expected);
    }

    #[test]
    fn numbered_files_come_oldest_first() {
        check(
            &["audit.log", "audit.log.1", "audit.log.10.gz", "audit.log.2.gz"],
            &["audit.log.10.gz", "audit.log.2.gz", "audit.log.1", "audit.log"],
        );
    }

    #[test]
    fn dated_files_come_before_the_current_one() {
        check(
            &["audit.log", "audit-2026-11-21T10-00-00.000.log", "audit-2026-11-20T10-00-00.000.log.gz"],
            &["audit-2026-11-20T10-00-00.000.log.gz", "audit-2026-11-21T10-00-00.000.log", "audit.log"],
        );
        check(
            &["a.log", "a.log-20261120", "a.log-20261119.gz"],
            &["a.log-20261119.gz", "a.log-20261120", "a.log"],
        );
        check(
            &["a.log", "a.log.20261120", "a.log.20261119.GZ", "a.log.2026-11-18"],
            &["a.log.2026-11-18", "a.log.20261119.GZ", "a.log.20261120", "a.log"],
        );
    }

    #[test]
    fn logs_are_not_mixed_and_keep_their_place() {
        check(&["b/x.log", "a/x.log", "b/x.log.1"], &["b/x.log.1", "b/x.log", "a/x.log"]);
    }

    #[test]
    fn names_of_logs_are_known() {
        for name in [
            "a.log",
            "a.json.gz",
            "a.jsonl.zst",
            "A.NDJSON",
            "a.log.3",
            "a.log.3.gz",
            "a.log-20261120",
            "a.json.1",
            "a.jsonl.2.GZ",
            "a.log.2026-11-20",
        ] {
            assert!(is_log(Path::new(name)), "{name}");
        }
        for name in ["a.txt", "log", "a.log.swp", "README.md", "a.gz", "labels.tsv"] {
            assert!(!is_log(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn numbers_order_by_value() {
        assert!(natural(Path::new("node2/a.log")) < natural(Path::new("node10/a.log")));
        assert!(natural(Path::new("a.log")) < natural(Path::new("b.log")));
    }
}
