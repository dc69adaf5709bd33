//! Turns what was named into logs: paths, whether there is a file or not, and globs.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::log::{Log, Shared};
use super::{FILES_MAX, FollowError, PATTERNS_MAX};
use crate::inputs::{self, rotation};

/// A path or a glob.
pub(super) struct Pattern {
    path: PathBuf,
    /// As it is saved.
    pub(super) text: String,
    glob: Option<glob::Pattern>,
    /// True until it has been looked at, if it was not known before.
    is_first: bool,
}

impl Pattern {
    /// True if the pattern means this log.
    pub(super) fn names(&self, log: &Path) -> bool {
        self.path == log || self.glob.as_ref().is_some_and(|glob| glob.matches_path(log))
    }

    /// The logs that there are. A path is one even if there is no file.
    fn logs(&self, shared: &mut Shared) -> Vec<PathBuf> {
        let is_path = self.glob.is_none() || self.path.symlink_metadata().is_ok();
        let Some(glob) = self.glob.as_ref().filter(|_| !is_path) else { return vec![self.path.clone()] };
        let Ok(found) = glob::glob(glob.as_str()) else { return Vec::new() };
        let mut logs = BTreeSet::new();
        for path in found {
            match path {
                Ok(path) if path.is_dir() => {}
                // A log may be known by its rotated files alone.
                Ok(path) => _ = logs.insert(rotation::log_of(&path)),
                Err(error) => {
                    shared.complaints.say(error.path(), &io::Error::from(error.error().kind()));
                }
            }
        }
        logs.into_iter().filter(|log| glob.matches_path(log)).collect()
    }
}

/// What was named. Those in `known` have been followed before.
pub(super) fn patterns(paths: &[PathBuf], known: &[String]) -> Result<Vec<Pattern>, FollowError> {
    if paths.is_empty() {
        return Err(FollowError::NoPath);
    }
    if paths.len() > PATTERNS_MAX {
        return Err(FollowError::TooManyPaths(paths.len()));
    }
    paths.iter().map(|path| pattern(path, known)).collect()
}

fn pattern(path: &Path, known: &[String]) -> Result<Pattern, FollowError> {
    let text = path.to_string_lossy().into_owned();
    let glob = text.contains(['*', '?', '[']).then(|| glob::Pattern::new(&inputs::pattern(path)));
    let glob = glob.transpose();
    let glob = glob.map_err(|source| FollowError::Pattern { path: path.to_path_buf(), source })?;
    let is_first = !known.contains(&text);
    Ok(Pattern { path: path.to_path_buf(), text, glob, is_first })
}

/// Adds the logs that are there now and were not, and drops those of globs that are gone with
/// all their files.
pub(super) fn find_logs(patterns: &mut [Pattern], logs: &mut Vec<Log>, shared: &mut Shared) {
    let is_literal = |path: &Path| patterns.iter().any(|pattern| pattern.path == path);
    logs.retain(|log| !log.files.is_empty() || is_literal(&log.path));
    for pattern in patterns {
        for path in pattern.logs(shared) {
            let target = path.canonicalize().unwrap_or_else(|_| path.clone());
            let is_known = logs.iter().any(|log| *log.path == *path || log.target == target);
            if is_known {
                continue;
            }
            if logs.len() >= FILES_MAX {
                shared.counts.crowded_files += 1;
                continue;
            }
            let mut log = Log::new(&path, pattern.is_first);
            log.target = target;
            logs.push(log);
        }
        pattern.is_first = false;
    }
}
