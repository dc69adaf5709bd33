//! Follows audit log files that are written while they are read.
//!
//! A log goes through rotation by rename, copying and cutting, compression of the rotated file,
//! deletion while it is open, and restarts of this process at any moment. Files hold one event
//! a line, as an API server writes them. They are looked at again and again rather than waited
//! for, which works on every file system.
//!
//! **Invariant:** what a batch gave is passed only by a position that was saved with what the
//! batch led to; whatever was not acknowledged is given again. At most one batch is underway,
//! so memory is bounded by one batch and one line.

mod complaints;
mod compressed;
mod counts;
mod file;
mod lines;
mod listing;
mod log;
mod mark;
mod missed;
mod paths;
mod plain;
mod position;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::frames::EVENT_BYTES_MAX;
use complaints::Complaints;
pub use counts::FollowCounts;
use lines::{Limits, SkippedLine, Step};
pub use log::FILES_MAX;
use log::{Log, Shared};
use mark::Mark;
use paths::Pattern;
use position::{Position, SavedLog};

/// How many paths and globs may be named: they are all looked at several times a second.
pub const PATTERNS_MAX: usize = 64;

/// How many times as long as looking for files takes it is not looked again, so that slow
/// folders cost a tenth of the time at most.
const SCAN_PAUSE_FACTOR: u32 = 9;

/// How many times the usual interval a slow folder may delay the next look: 10 s by default.
const INTERVALS_MAX: u32 = 40;

/// The longest wait, which no clock refuses.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How a follower reads.
#[derive(Clone, Copy, Debug)]
pub struct FollowOptions {
    /// Where the files begin that are there at the first start.
    pub start_at: StartAt,
    /// How often is looked whether there is something new.
    pub poll_interval: Duration,
    /// How long a rotated file stays open once nothing comes any more; then the rest of a line
    /// is given as it is.
    pub rotated_wait: Duration,
    /// How many bytes are given at once, unless one line is longer.
    pub batch_bytes_max: usize,
    /// The longest line that is given, at most [`EVENT_BYTES_MAX`]; longer ones are skipped.
    pub line_bytes_max: usize,
}

impl Default for FollowOptions {
    fn default() -> Self {
        Self {
            start_at: StartAt::Beginning,
            poll_interval: Duration::from_millis(250),
            rotated_wait: Duration::from_secs(30),
            batch_bytes_max: 1024 * 1024,
            line_bytes_max: EVENT_BYTES_MAX,
        }
    }
}

impl FollowOptions {
    fn limits(self) -> Limits {
        let line_bytes_max = self.line_bytes_max.clamp(1, EVENT_BYTES_MAX);
        Limits { batch_bytes_max: self.batch_bytes_max.clamp(1, line_bytes_max), line_bytes_max }
    }
}

/// Where logs begin that are there when they are followed for the first time. Whatever comes
/// later is read from its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartAt {
    /// With what is written from now on.
    End,
    /// With the first line of the file that is written now; while there is none, of the one that
    /// was rotated last.
    #[default]
    Beginning,
    /// With the first line of the oldest rotated file.
    Oldest,
}

/// Why files cannot be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// Nothing was named.
    #[error("no file is named")]
    NoPath,
    /// More paths were named than [`PATTERNS_MAX`].
    #[error("{0} paths are named, at most {PATTERNS_MAX} can be followed")]
    TooManyPaths(usize),
    /// A glob that cannot be read as one.
    #[error("{}: not a pattern", path.display())]
    Pattern {
        /// As it was named.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: glob::PatternError,
    },
}

/// Bytes of a file that have not been acknowledged.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The log, as it was named or found.
    pub log: Arc<Path>,
    /// The file, under the name it has now.
    pub file: Arc<Path>,
    /// Where in the file the batch begins: bytes, decoded.
    pub offset: u64,
    /// Whole lines, or the rest of a file. Empty if a line was skipped, or if only the position
    /// is news.
    pub bytes: Bytes,
    /// A line that begins here and is too long to be given.
    pub skipped: Option<Skipped>,
    /// How far all files are once this batch is acknowledged; to be saved in one transaction
    /// with what the batch led to.
    pub position: Vec<u8>,
    number: u64,
}

/// A line that was too long to be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its length.
    pub bytes: u64,
    /// What it begins with, at most 64 KiB.
    pub beginning: Vec<u8>,
    /// True if it begins with NUL bytes, as a file system leaves behind after a power loss.
    pub is_nul: bool,
}

/// Follows files.
pub struct Follower {
    patterns: Vec<Pattern>,
    logs: Vec<Log>,
    shared: Shared,
    given: Option<Given>,
    /// The log whose turn it is.
    turn: usize,
    next_scan: Option<Instant>,
}

/// A batch that is not acknowledged, and which file is where once it is.
struct Given {
    batch: Batch,
    moved: Option<(u64, Mark)>,
}

impl Follower {
    /// Follows files and globs from the position that was saved last. A position that cannot be
    /// understood is said and counted, and everything is read again.
    pub fn new(paths: &[PathBuf], options: FollowOptions, saved: Option<&[u8]>) -> Result<Self, FollowError> {
        let position = saved.map(|saved| Position::read(saved).ok_or(()));
        let is_lost = matches!(position, Some(Err(())));
        let position = position.and_then(Result::ok).unwrap_or_default();
        // Without a position that should be there, nothing may be taken for read.
        let start_at = if is_lost { StartAt::Oldest } else { options.start_at };
        let mut shared = Shared {
            options: FollowOptions { start_at, ..options },
            counts: FollowCounts { lost_positions: is_lost.into(), ..FollowCounts::default() },
            complaints: Complaints::default(),
            file_count: 0,
            next_number: 0,
            is_changed: true,
        };
        if is_lost {
            tracing::warn!(
                "the saved position cannot be understood; reading the audit logs from their beginning"
            );
        }
        let patterns = paths::patterns(paths, &position.patterns)?;
        let is_named = |log: &SavedLog| patterns.iter().any(|pattern| pattern.names(Path::new(&log.path)));
        let restored = position.logs.into_iter().filter(is_named);
        let logs = restored.map(|saved| Log::restored(saved, &mut shared)).collect();
        Ok(Self { patterns, logs, shared, given: None, turn: 0, next_scan: None })
    }

    /// The next batch; nothing if none comes within `wait`. A batch that was not acknowledged is
    /// given again.
    pub fn next_batch(&mut self, wait: Duration) -> Option<Batch> {
        let deadline = Instant::now() + wait.min(WAIT_MAX);
        loop {
            if let Some(given) = &self.given {
                return Some(given.batch.clone());
            }
            if self.next_scan.is_none_or(|next| Instant::now() >= next) {
                let start = Instant::now();
                self.scan();
                let interval = self.shared.options.poll_interval;
                let pause = (start.elapsed() * SCAN_PAUSE_FACTOR)
                    .clamp(interval, interval.saturating_mul(INTERVALS_MAX));
                self.next_scan = Some(Instant::now() + pause.min(WAIT_MAX));
            }
            let is_idle = !self.step();
            let now = Instant::now();
            if self.given.is_none() {
                if now >= deadline {
                    return None;
                }
                if is_idle {
                    std::thread::sleep(self.next_scan.map_or(deadline, |next| next.min(deadline)) - now);
                }
            }
        }
    }

    /// Notes that what the batch led to, and its position, are saved.
    pub fn acknowledge(&mut self, batch: &Batch) {
        let Some(given) = self.given.take_if(|given| given.batch.number == batch.number) else { return };
        let Some((number, mark)) = given.moved else { return };
        let mut files = self.logs.iter_mut().flat_map(|log| &mut log.files);
        if let Some(file) = files.find(|file| file.number == number) {
            file.mark = mark;
        }
    }

    /// How far all files are: what was acknowledged.
    pub fn position(&self) -> Vec<u8> {
        self.position_with(None)
    }

    /// How much was followed, and all that was not.
    pub fn counts(&self) -> FollowCounts {
        let files = self.logs.iter().flat_map(|log| &log.files).filter(|file| file.gone_since.is_none());
        FollowCounts {
            unreadable_paths: self.shared.complaints.count(),
            known_files: self.shared.file_count as u64,
            pending_bytes: files.map(file::LogFile::pending_bytes).sum(),
            ..self.shared.counts
        }
    }

    fn position_with(&self, moved: Option<&(u64, Mark)>) -> Vec<u8> {
        let mark = |file: &file::LogFile| match moved {
            Some((number, mark)) if *number == file.number => file.saved(mark),
            _ => file.saved(&file.mark),
        };
        let logs = self.logs.iter().map(|log| SavedLog {
            path: log.path.to_string_lossy().into_owned(),
            files: log.files.iter().map(mark).collect(),
        });
        let patterns = self.patterns.iter().map(|pattern| pattern.text.clone()).collect();
        Position::new(patterns, logs.collect()).write()
    }

    /// Looks which logs and which files there are.
    fn scan(&mut self) {
        self.shared.complaints.forget();
        self.shared.counts.unseen_files = 0;
        let was_crowded = std::mem::take(&mut self.shared.counts.crowded_files) > 0;
        paths::find_logs(&mut self.patterns, &mut self.logs, &mut self.shared);
        let targets = self.logs.iter().map(|log| log.target.clone()).collect();
        let mut folders = listing::Folders::default();
        for log in &mut self.logs {
            log.scan(&targets, &mut folders, &mut self.shared);
        }
        if self.shared.counts.crowded_files > 0 && !was_crowded {
            let count = self.shared.counts.crowded_files;
            tracing::warn!(count, "too many files of audit logs; the latest found are not followed");
        }
    }

    /// Takes what comes next of the logs in turn; false if nothing does until the next scan.
    fn step(&mut self) -> bool {
        for _ in 0..self.logs.len() {
            // Invariant: in this loop there is a log, so the turn is that of one.
            self.turn %= self.logs.len();
            match self.logs[self.turn].step(&mut self.shared) {
                Some((index, step)) => {
                    self.give(index, step);
                    return true;
                }
                None => self.turn += 1,
            }
        }
        if self.shared.is_changed {
            self.give_position();
        }
        false
    }

    fn give(&mut self, index: usize, step: Step) {
        // Invariant: the log whose turn it is gave the step, of one of its files.
        let log = &self.logs[self.turn];
        let file = &log.files[index];
        let counts = &mut self.shared.counts;
        let (mark, bytes, skipped) = match step {
            Step::Lines(lines) => {
                counts.given_bytes += lines.len() as u64;
                counts.unfinished_lines += u64::from(!lines.ends_with(b"\n"));
                (file.mark.behind(lines.len() as u64, &lines, &lines), Bytes::from(lines), None)
            }
            Step::Skipped(line) => {
                let mark = file.mark.behind(line.bytes, &line.beginning, &line.end);
                let skipped = Skipped::from(line);
                counts.skipped_bytes += skipped.bytes;
                counts.nul_runs += u64::from(skipped.is_nul);
                counts.long_lines += u64::from(!skipped.is_nul);
                (mark, Bytes::new(), Some(skipped))
            }
            Step::More | Step::Wait | Step::Rewritten | Step::Finished | Step::Damaged(_) => return,
        };
        let moved = Some((file.number, mark));
        let (log, path, offset) = (Arc::clone(&log.path), Arc::clone(&file.path), file.mark.offset);
        // A compressed file is read to its end, so that few are open at once.
        self.turn += usize::from(!file.form.is_compressed());
        self.hand_out(
            Batch { log, file: path, offset, bytes, skipped, position: Vec::new(), number: 0 },
            moved,
        );
    }

    /// Gives a batch of nothing but the position, so that a restart knows what was found.
    fn give_position(&mut self) {
        let path = self.logs.first().map_or_else(|| Path::new("").into(), |log| Arc::clone(&log.path));
        let (log, file) = (Arc::clone(&path), path);
        let (bytes, position) = (Bytes::new(), Vec::new());
        self.hand_out(Batch { log, file, offset: 0, bytes, skipped: None, position, number: 0 }, None);
    }

    fn hand_out(&mut self, mut batch: Batch, moved: Option<(u64, Mark)>) {
        self.shared.counts.batches += 1;
        self.shared.is_changed = false;
        batch.number = self.shared.counts.batches;
        batch.position = self.position_with(moved.as_ref());
        self.given = Some(Given { batch, moved });
    }
}

impl From<SkippedLine> for Skipped {
    fn from(line: SkippedLine) -> Self {
        let is_nul = line.beginning.first() == Some(&0);
        Self { bytes: line.bytes, beginning: line.beginning, is_nul }
    }
}
