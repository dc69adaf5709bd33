//! How much was followed, and all that was skipped, lost or cannot be known.

/// Totals since the start, and what holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowCounts {
    /// Bytes given, decoded.
    pub given_bytes: u64,
    /// Batches given, each counted once.
    pub batches: u64,
    /// Files that took the name of a log from another.
    pub rotations: u64,
    /// Files that were cut or written anew; what was written just before may be lost, unless a
    /// copy is found.
    pub rewritten_files: u64,
    /// Files that were there at the first start and are not read, as was wished.
    pub passed_files: u64,
    /// Files that vanished before they were known to be read to their end.
    pub vanished_files: u64,
    /// Lines that were longer than the limit.
    pub long_lines: u64,
    /// Runs of NUL bytes that were longer than the limit of a line.
    pub nul_runs: u64,
    /// All bytes of both.
    pub skipped_bytes: u64,
    /// Ends of files that were given although no line feed came.
    pub unfinished_lines: u64,
    /// Compressed files that are cut or corrupt.
    pub damaged_files: u64,
    /// Saved positions that could not be understood: everything was read again.
    pub lost_positions: u64,
    /// Files that are not followed since there are too many, now.
    pub crowded_files: u64,
    /// Rotated files that are not looked at since there are too many newer ones, now.
    pub unseen_files: u64,
    /// Paths that cannot be read, now.
    pub unreadable_paths: u64,
    /// Files that are known, now.
    pub known_files: u64,
    /// Bytes that lie in files and have not been acknowledged, now; without compressed ones.
    pub pending_bytes: u64,
}
