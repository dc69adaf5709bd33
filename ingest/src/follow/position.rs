//! How far all files are, as it is saved.

use serde::{Deserialize, Serialize};

use super::mark::Mark;

/// What this version writes, and all that it reads.
const VERSION: u32 = 1;

/// How far all files are.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Position {
    version: u32,
    /// The paths and globs that were followed.
    pub(super) patterns: Vec<String>,
    pub(super) logs: Vec<SavedLog>,
}

/// A log and its files, oldest first.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedLog {
    pub(super) path: String,
    pub(super) files: Vec<SavedFile>,
}

/// A file, and how far it was read.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedFile {
    pub(super) path: String,
    /// Device and inode, if it is still there.
    pub(super) identity: Option<(u64, u64)>,
    pub(super) mark: Mark,
    /// Its size, as it was stored.
    pub(super) bytes: u64,
    pub(super) form: Form,
}

/// What is known of a file beside how far it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Form {
    /// It may grow.
    Plain,
    /// It was compressed, and has not been read to its end.
    Compressed,
    /// It was compressed, and has been read to its end.
    Finished,
}

impl Form {
    /// True for both forms of compressed files.
    pub(super) fn is_compressed(self) -> bool {
        matches!(self, Self::Compressed | Self::Finished)
    }
}

impl Position {
    /// A position of this version.
    pub(super) fn new(patterns: Vec<String>, logs: Vec<SavedLog>) -> Self {
        Self { version: VERSION, patterns, logs }
    }

    /// Reads what was saved; nothing if another version wrote it, or nobody.
    pub(super) fn read(saved: &[u8]) -> Option<Self> {
        let position: Self = serde_json::from_slice(saved).ok()?;
        let mut files = position.logs.iter().flat_map(|log| &log.files);
        let is_ours = position.version == VERSION && files.all(|file| file.mark.is_plausible());
        is_ours.then_some(position)
    }

    /// What is to be saved.
    pub(super) fn write(&self) -> Vec<u8> {
        // Invariant: numbers and text can always be written; nothing else is in it.
        serde_json::to_vec(self).unwrap_or_default()
    }
}
