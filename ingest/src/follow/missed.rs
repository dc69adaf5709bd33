//! Files that were found and were gone before they could be opened.
//!
//! Nearly all come back at the next look: under another name, or compressed. The others may never
//! have been read, which is counted and said.

use std::path::{Path, PathBuf};

use super::counts::FollowCounts;
use super::listing::Entry;

/// What the last look missed: at most the files of one log that are looked at.
#[derive(Debug, Default)]
pub(super) struct Missed {
    /// By inode, which a new name does not change.
    files: Vec<(u64, PathBuf)>,
}

impl Missed {
    /// Notes a file that is gone.
    pub(super) fn note(&mut self, inode: u64, path: &Path) {
        self.files.push((inode, path.to_path_buf()));
    }

    /// Forgets the files of these inodes.
    pub(super) fn forget(&mut self, is_known: impl Fn(u64) -> bool) {
        self.files.retain(|(inode, _)| !is_known(*inode));
    }

    /// Takes what has been missed until now.
    pub(super) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Counts what the next look has not found either. Compressed files that were not known may be
    /// what was missed: nothing but their content, which nobody has seen, tells.
    pub(super) fn count(mut self, found: &[Entry], new_compressed_count: usize, counts: &mut FollowCounts) {
        // A file that was rotated does not become the log again: that one got its inode.
        let is_same = |entry: &Entry, inode: u64, path: &Path| {
            entry.identity.1 == inode && (!entry.is_current || *entry.path == *path)
        };
        self.files.retain(|(inode, path)| !found.iter().any(|entry| is_same(entry, *inode, path)));
        let lost_count = self.files.len().saturating_sub(new_compressed_count);
        counts.vanished_files += lost_count as u64;
        for (_, path) in self.files.iter().rev().take(lost_count) {
            tracing::warn!(
                file = %path.display(),
                "a file of the audit log was gone before it could be read; it may have been read under another name"
            );
        }
    }
}
