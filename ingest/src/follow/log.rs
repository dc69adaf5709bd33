//! One log and all its files, through rotation.
//!
//! **Invariants:** a file that a log has not known is read from its beginning, unless it was
//! there when the log was first followed. Only proof that it holds what was read already (its
//! inode while it is open, else its content before the place read to) makes it a known one.
//! What was found and is gone before it could be opened comes back or is counted.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::complaints::Complaints;
use super::compressed::Compressed;
use super::counts::FollowCounts;
use super::file::{LogFile, Reader};
use super::lines::Step;
use super::listing::{self, Entry, Folders, Identity};
use super::mark::{FINGERPRINT_BYTES_MAX, Mark, read_at};
use super::missed::Missed;
use super::plain::Plain;
use super::position::{Form, SavedLog};
use super::{FollowOptions, StartAt};
use crate::inputs::rotation;

/// How many files are known at once: half of what a process may open by default.
pub const FILES_MAX: usize = 512;

/// How long a file that is gone is remembered: its compressed form, or its copy, may appear.
const GONE_KEPT: Duration = Duration::from_secs(600);

/// How many files of a log that are gone are remembered.
const GONE_FILES_MAX: usize = 64;

/// How often it is tried at the first look to open the file that is written before it is rotated
/// away: opening takes microseconds, and who rotates more often than that is not caught up with.
const FIRST_TRIES_MAX: usize = 8;

/// What all logs share.
pub(super) struct Shared {
    pub(super) options: FollowOptions,
    pub(super) counts: FollowCounts,
    pub(super) complaints: Complaints,
    /// How many files are known.
    pub(super) file_count: usize,
    pub(super) next_number: u64,
    /// True if more is known than was given to be saved.
    pub(super) is_changed: bool,
}

impl Shared {
    fn take_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}

/// A log.
pub(super) struct Log {
    /// As it was named, or found.
    pub(super) path: Arc<Path>,
    /// Where symbolic links lead.
    pub(super) target: PathBuf,
    /// Oldest first.
    pub(super) files: Vec<LogFile>,
    /// True until its files have been listed, if none were known before.
    is_first: bool,
    /// What the last look found and could not open any more.
    missed: Missed,
}

/// Whether an entry is a file that is known by its inode.
enum Known {
    /// It is the file of this index.
    Same(usize),
    /// It cannot be read now; its inode is that of the file of this index.
    Unreadable(usize),
    No,
}

/// What an unknown entry turned out to be.
enum Recognised {
    /// The file of this index, at its mark.
    As(usize, Reader),
    /// What that is cannot be told yet.
    Later,
    New,
}

impl Log {
    /// A log that is new, and whether it was there before anybody looked.
    pub(super) fn new(path: &Path, is_first: bool) -> Self {
        Self {
            path: path.into(),
            target: path.to_path_buf(),
            files: Vec::new(),
            is_first,
            missed: Missed::default(),
        }
    }

    /// A log that was known before a restart.
    pub(super) fn restored(saved: SavedLog, shared: &mut Shared) -> Self {
        let mut log = Self::new(Path::new(&saved.path), false);
        shared.file_count += saved.files.len();
        log.files.extend(saved.files.into_iter().map(|file| LogFile::restored(shared.take_number(), file)));
        log
    }

    /// Looks which files there are. `others` are the logs that are followed on their own.
    pub(super) fn scan(&mut self, others: &HashSet<PathBuf>, folders: &mut Folders, shared: &mut Shared) {
        self.target = self.path.canonicalize().unwrap_or_else(|_| self.path.to_path_buf());
        let missed = self.missed.take();
        match self.begin(shared).and_then(|()| self.entries(others, folders, shared)) {
            Some(entries) => self.take_stock(&entries, missed, shared),
            None => self.missed = missed,
        }
        self.files.iter_mut().for_each(|file| file.is_due = true);
    }

    /// Opens the file that is written at the first look, before the others are listed: rotated
    /// meanwhile, it would look like one of those that were there before. Nothing if it cannot be
    /// told yet which file that is.
    fn begin(&mut self, shared: &mut Shared) -> Option<()> {
        if !self.is_first || !self.files.is_empty() || shared.file_count >= FILES_MAX {
            return Some(());
        }
        for _ in 0..FIRST_TRIES_MAX {
            // What is wrong with it is said when the files are listed.
            let Ok(Some(entry)) = listing::current(&self.target) else { return Some(()) };
            match self.add(&entry, None, shared) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                _ => return Some(()),
            }
        }
        None
    }

    /// Notes which of the files that were listed are known, which are new and which are gone.
    fn take_stock(&mut self, entries: &[Entry], missed: Missed, shared: &mut Shared) {
        let before = self.current();
        self.notice_rewriting(shared);
        let known_count = self.files.len();
        let is_present = self.assign(entries, shared);
        let new = self.files.iter().skip(known_count);
        let new_compressed_count = new.filter(|file| file.form.is_compressed()).count();
        missed.count(entries, new_compressed_count, &mut shared.counts);
        for (file, _) in self.files.iter_mut().zip(is_present).filter(|(_, is_present)| !is_present) {
            file.not_found();
        }
        if before.is_some() && before != self.current() {
            shared.counts.rotations += 1;
            tracing::info!(log = %self.path.display(), "the audit log was rotated");
        }
        self.sort(entries);
        self.forget(shared);
        self.is_first = false;
    }

    fn current(&self) -> Option<u64> {
        self.files.iter().find(|file| file.is_current).map(|file| file.number)
    }

    /// Asked before copies are looked at: what a copy holds is then no longer what the log holds.
    fn notice_rewriting(&mut self, shared: &mut Shared) {
        let Some(index) = self.files.iter().position(|file| file.is_current) else { return };
        let file = &mut self.files[index];
        let Some(Reader::Plain(plain)) = &mut file.reader else { return };
        // A file that cannot be read is noticed when it is read on.
        if plain.is_rewritten(&file.mark).unwrap_or(false) {
            self.begin_anew(index, shared);
        }
    }

    fn entries(
        &mut self,
        others: &HashSet<PathBuf>,
        folders: &mut Folders,
        shared: &mut Shared,
    ) -> Option<Vec<Entry>> {
        let current = match listing::current(&self.target) {
            Ok(current) => current,
            Err(error) => {
                shared.complaints.say(&self.path, &error);
                return None;
            }
        };
        let is_wanted = |file: &&LogFile| file.reader.is_none() && !file.is_read();
        let wanted: Vec<u64> =
            self.files.iter().filter(is_wanted).filter_map(|file| Some(file.identity?.1)).collect();
        let folder = self.target.parent().unwrap_or(&self.target);
        let mut entries = match listing::rotated(&self.target, &wanted, folders) {
            Ok(rotated) => {
                shared.counts.unseen_files += rotated.unseen_count;
                for (path, error) in &rotated.failed {
                    shared.complaints.say(path, error);
                }
                for (inode, path) in &rotated.gone {
                    self.missed.note(*inode, path);
                }
                rotated.entries
            }
            Err(error) => {
                shared.complaints.say(folder, &error);
                Vec::new()
            }
        };
        let is_of_another = |entry: &Entry| {
            others.contains(&*entry.path)
                || (entry.is_stranger && others.contains(&rotation::log_of(&entry.path)))
        };
        entries.retain(|entry| !is_of_another(entry));
        entries.extend(current);
        Some(entries)
    }

    /// Tells which entry is which file, and adds the files that are new. By file, whether it is there.
    fn assign(&mut self, entries: &[Entry], shared: &mut Shared) -> Vec<bool> {
        let mut is_present = vec![false; self.files.len()];
        let mut unknown = Vec::new();
        // The current file first: of two names of one file, that of the log counts.
        for entry in entries.iter().rev() {
            match self.known(entry, shared) {
                Known::Same(index) if !is_present[index] => {
                    is_present[index] = true;
                    shared.is_changed |= self.files[index].found_as(entry);
                }
                Known::Same(index) | Known::Unreadable(index) => is_present[index] = true,
                Known::No if entry.is_stranger => {}
                Known::No => unknown.push(entry),
            }
        }
        // The current file first again, so that what is a copy of it is known to be one.
        unknown.reverse();
        unknown.sort_by_key(|entry| !entry.is_current);
        let newest = self.newest_at_first(entries);
        for entry in unknown {
            let recognised = self.recognise(entry, &is_present).and_then(|recognised| {
                match recognised {
                    Recognised::As(index, reader) => {
                        is_present[index] = true;
                        self.files[index].moved_to(entry, reader);
                        shared.is_changed = true;
                    }
                    Recognised::Later => {}
                    Recognised::New => {
                        self.add(entry, newest, shared)?;
                        is_present.resize(self.files.len(), true);
                    }
                }
                Ok(())
            });
            if let Err(error) = recognised {
                if error.kind() == io::ErrorKind::NotFound {
                    self.missed.note(entry.identity.1, &entry.path);
                }
                shared.complaints.say(&entry.path, &error);
            }
        }
        // It may have been found under its other name, or long ago.
        let is_known =
            |inode| self.files.iter().any(|file| file.identity.is_some_and(|known| known.1 == inode));
        self.missed.forget(is_known);
        is_present
    }

    /// The file that was rotated last, if no file bears the name of the log at the first look: it
    /// may be rotated just now.
    fn newest_at_first(&self, entries: &[Entry]) -> Option<Identity> {
        if !self.is_first || !self.files.is_empty() || entries.iter().any(|entry| entry.is_current) {
            return None;
        }
        Some(entries.iter().rfind(|entry| !entry.is_stranger)?.identity)
    }

    /// The file that the entry is by its inode, opened if there is something to read. An inode
    /// that has become another file's is taken from the one that had it.
    fn known(&mut self, entry: &Entry, shared: &mut Shared) -> Known {
        let Some(index) = self.files.iter().position(|file| file.identity == Some(entry.identity)) else {
            return Known::No;
        };
        let file = &mut self.files[index];
        if file.reader.is_some() || file.is_unchanged(entry) {
            return Known::Same(index);
        }
        match file.open_at_mark(entry) {
            Ok(Some(reader)) if file.form.is_compressed() == entry.is_compressed => {
                file.reopened(entry, reader);
                Known::Same(index)
            }
            Ok(_) => {
                file.identity = None;
                shared.is_changed = true;
                Known::No
            }
            Err(error) => {
                shared.complaints.say(&entry.path, &error);
                Known::Unreadable(index)
            }
        }
    }

    /// Which file an entry is by its content, if any that is not found otherwise.
    fn recognise(&self, entry: &Entry, is_present: &[bool]) -> io::Result<Recognised> {
        if entry.bytes == 0 && !entry.is_current {
            return Ok(Recognised::Later);
        }
        let opening = if entry.is_compressed {
            Compressed::opening(&entry.path, entry.identity)?
        } else {
            read_at(Plain::open(&entry.path, entry.identity)?.file(), FINGERPRINT_BYTES_MAX, 0)?
        };
        let is_similar = |index: &usize| self.files[*index].begins_like(&opening);
        let (present, missing): (Vec<usize>, Vec<usize>) =
            (0..self.files.len()).filter(is_similar).partition(|index| is_present[*index]);
        for index in missing {
            let file = &self.files[index];
            if file.reader.is_some() && !file.is_read() {
                return Ok(Recognised::Later);
            }
            if let Some(reader) = file.open_at_mark(entry)? {
                return Ok(Recognised::As(index, reader));
            }
        }
        // What bears the name of the log is about to grow, whatever it is a copy of.
        if !entry.is_compressed && !entry.is_current {
            for file in present.into_iter().map(|index| &self.files[index]) {
                if let (true, Some(Reader::Plain(plain))) = (file.is_current, &file.reader)
                    && is_copy(entry, plain.file())?
                {
                    return Ok(Recognised::Later);
                }
            }
        }
        Ok(Recognised::New)
    }

    /// Adds a file that was not known; `newest` is the one that takes the place of the file that is
    /// written.
    fn add(&mut self, entry: &Entry, newest: Option<Identity>, shared: &mut Shared) -> io::Result<()> {
        if shared.file_count >= FILES_MAX {
            shared.counts.crowded_files += 1;
            return Ok(());
        }
        let is_written = entry.is_current || newest == Some(entry.identity);
        // The one that was written at the first look may have been rotated before the others were listed.
        let is_newer = entry.is_current && !self.files.is_empty();
        let start_at = match shared.options.start_at {
            _ if !self.is_first || is_newer => Some(StartAt::Oldest),
            start_at => Some(start_at).filter(|start_at| is_written || *start_at == StartAt::Oldest),
        };
        let file = begin(entry, start_at, shared.take_number())?;
        if start_at.is_some() {
            tracing::info!(
                log = %self.path.display(),
                file = %entry.path.display(),
                offset = file.mark.offset,
                "found a file of the audit log"
            );
        } else {
            shared.counts.passed_files += 1;
            tracing::info!(
                log = %self.path.display(),
                file = %entry.path.display(),
                "passing over a rotated file that was there before the log was followed"
            );
        }
        self.files.push(file);
        shared.file_count += 1;
        shared.is_changed = true;
        Ok(())
    }

    /// The oldest files first, those that are not found before all others.
    fn sort(&mut self, entries: &[Entry]) {
        let place = |file: &LogFile| {
            let position = entries.iter().rposition(|entry| file.identity == Some(entry.identity));
            position.map_or(0, |position| position + 1)
        };
        self.files.sort_by_key(place);
    }

    /// Forgets files that have been gone for long, and says so if they may not have been read.
    fn forget(&mut self, shared: &mut Shared) {
        let gone_count = self.files.iter().filter(|file| file.gone_since.is_some()).count();
        let mut surplus = gone_count.saturating_sub(GONE_FILES_MAX);
        let log = &self.path;
        self.files.retain(|file| {
            let Some(since) = file.gone_since else { return true };
            if surplus == 0 && since.elapsed() < GONE_KEPT {
                return true;
            }
            surplus = surplus.saturating_sub(1);
            shared.file_count = shared.file_count.saturating_sub(1);
            shared.is_changed = true;
            if !file.is_read() {
                shared.counts.vanished_files += 1;
                tracing::warn!(
                    log = %log.display(),
                    file = %file.path.display(),
                    offset = file.mark.offset,
                    "a file of the audit log is gone that may not have been read to its end"
                );
            }
            false
        });
    }

    /// What comes next, and from which file.
    pub(super) fn step(&mut self, shared: &mut Shared) -> Option<(usize, Step)> {
        let (limits, rotated_wait) = (shared.options.limits(), shared.options.rotated_wait);
        for index in 0..self.files.len() {
            let file = &mut self.files[index];
            while file.is_due {
                match file.step(limits, rotated_wait) {
                    Ok(Step::Wait) => file.is_due = false,
                    Ok(Step::Finished) => {
                        file.is_due = false;
                        file.finish();
                        shared.is_changed = true;
                    }
                    Ok(Step::Damaged(error)) => {
                        shared.counts.damaged_files += 1;
                        tracing::warn!(file = %file.path.display(), %error, "the rest of the audit log cannot be read");
                        file.finish();
                        shared.is_changed = true;
                    }
                    Ok(Step::Rewritten) => return Some((self.begin_anew(index, shared), Step::More)),
                    Ok(step) => {
                        file.quiet_since = Instant::now();
                        return Some((index, step));
                    }
                    Err(error) => {
                        shared.complaints.say(&file.path, &error);
                        file.reader = None;
                        file.modified = None;
                        file.is_due = false;
                    }
                }
            }
        }
        None
    }

    fn begin_anew(&mut self, index: usize, shared: &mut Shared) -> usize {
        let file = &mut self.files[index];
        tracing::warn!(
            file = %file.path.display(),
            offset = file.mark.offset,
            "the audit log was cut or written anew; reading it from its beginning"
        );
        let before = file.begin_anew(shared.take_number());
        self.files.insert(index, before);
        shared.file_count += 1;
        shared.counts.rewritten_files += 1;
        shared.is_changed = true;
        index + 1
    }
}

/// A file that was not known, opened where reading begins; one that is to be passed over is not
/// kept open.
fn begin(entry: &Entry, start_at: Option<StartAt>, number: u64) -> io::Result<LogFile> {
    if entry.is_compressed {
        let mut file = LogFile::new(number, entry, Mark::default());
        if matches!(start_at, None | Some(StartAt::End)) {
            file.form = Form::Finished;
        }
        return Ok(file);
    }
    let opened = Plain::open(&entry.path, entry.identity)?;
    let mark = match start_at {
        None => Mark::at(opened.file(), entry.bytes)?,
        Some(StartAt::End) => Mark::at_last_line(opened.file())?,
        Some(StartAt::Beginning | StartAt::Oldest) => Mark::beginning(opened.file())?,
    };
    let mut file = LogFile::new(number, entry, mark);
    file.reader = start_at.map(|_| Reader::Plain(opened));
    Ok(file)
}

/// True if the entry ends as the file goes on at that place: it is a copy, or is becoming one.
fn is_copy(entry: &Entry, file: &File) -> io::Result<bool> {
    let copy = Plain::open(&entry.path, entry.identity)?;
    let bytes = usize::try_from(entry.bytes).unwrap_or(usize::MAX).min(FINGERPRINT_BYTES_MAX);
    let offset = entry.bytes - bytes as u64;
    Ok(read_at(copy.file(), bytes, offset)? == read_at(file, bytes, offset)?)
}
