//! One file of a log: what is known of it, and how far it was read.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::compressed::Compressed;
use super::lines::{Limits, Step};
use super::listing::{Entry, Identity};
use super::mark::{Mark, read_at};
use super::plain::Plain;
use super::position::{Form, SavedFile};

/// How long a deleted file is kept open for lines that still come: it takes space on the disk
/// that somebody wanted back.
const DELETED_WAIT_MAX: Duration = Duration::from_secs(5);

/// A file of a log.
pub(super) struct LogFile {
    /// Never used for another.
    pub(super) number: u64,
    pub(super) path: Arc<Path>,
    /// Nothing once the inode is another file's.
    pub(super) identity: Option<Identity>,
    pub(super) mark: Mark,
    /// Its size and age as last looked at, as it is stored.
    pub(super) bytes: u64,
    pub(super) modified: Option<SystemTime>,
    pub(super) form: Form,
    /// True while it bears the name of the log.
    pub(super) is_current: bool,
    pub(super) reader: Option<Reader>,
    /// True until it has been looked at since the last scan.
    pub(super) is_due: bool,
    /// Since when nothing has come.
    pub(super) quiet_since: Instant,
    /// Since when it is not to be found.
    pub(super) gone_since: Option<Instant>,
}

/// What a file is read with.
pub(super) enum Reader {
    Plain(Plain),
    Compressed(Box<Compressed>),
}

impl LogFile {
    /// A file that was just found.
    pub(super) fn new(number: u64, entry: &Entry, mark: Mark) -> Self {
        Self {
            number,
            path: Arc::clone(&entry.path),
            identity: Some(entry.identity),
            mark,
            bytes: entry.bytes,
            modified: entry.modified,
            form: form(entry),
            is_current: entry.is_current,
            reader: None,
            is_due: true,
            quiet_since: Instant::now(),
            gone_since: None,
        }
    }

    /// A file that was known before a restart.
    pub(super) fn restored(number: u64, saved: SavedFile) -> Self {
        Self {
            number,
            path: Path::new(&saved.path).into(),
            identity: saved.identity,
            mark: saved.mark,
            bytes: saved.bytes,
            modified: None,
            form: saved.form,
            is_current: false,
            reader: None,
            is_due: true,
            quiet_since: Instant::now(),
            gone_since: None,
        }
    }

    /// What is saved of it, with another mark in place of its own.
    pub(super) fn saved(&self, mark: &Mark) -> SavedFile {
        SavedFile {
            path: self.path.to_string_lossy().into_owned(),
            identity: self.identity,
            mark: mark.clone(),
            bytes: self.bytes,
            form: self.form,
        }
    }

    /// Takes over how the file was found. True if a restart should know of it.
    pub(super) fn found_as(&mut self, entry: &Entry) -> bool {
        let is_news = self.identity != Some(entry.identity) || self.path != entry.path;
        if self.is_current && !entry.is_current {
            self.quiet_since = Instant::now();
        }
        self.path = Arc::clone(&entry.path);
        self.identity = Some(entry.identity);
        self.bytes = entry.bytes;
        self.modified = entry.modified;
        self.is_current = entry.is_current;
        self.gone_since = None;
        is_news
    }

    /// Takes over the name and the inode that the file has now, and how to read on.
    pub(super) fn moved_to(&mut self, entry: &Entry, reader: Reader) {
        self.found_as(entry);
        self.form = form(entry);
        self.reader = Some(reader);
    }

    /// Reads on in what was found at the mark.
    pub(super) fn reopened(&mut self, entry: &Entry, reader: Reader) {
        let is_read = !entry.is_compressed && entry.bytes == self.mark.offset && !entry.is_current;
        self.form = form(entry);
        self.reader = (!is_read).then_some(reader);
    }

    /// True if a closed file need not be opened: it was read, or is to be opened when its turn
    /// comes, and nobody has touched it.
    pub(super) fn is_unchanged(&self, entry: &Entry) -> bool {
        let is_same = self.form.is_compressed() == entry.is_compressed && self.bytes == entry.bytes;
        if self.form.is_compressed() {
            return is_same && (self.form == Form::Finished || self.mark.offset == 0);
        }
        let is_same_age = self.modified.is_some() && self.modified == entry.modified;
        is_same && is_same_age && self.is_read() && !entry.is_current
    }

    /// Notes that no name leads to the file.
    pub(super) fn not_found(&mut self) {
        if self.is_current {
            self.is_current = false;
            self.quiet_since = Instant::now();
        }
        if self.reader.is_none() {
            self.gone_since.get_or_insert_with(Instant::now);
        }
    }

    /// How many bytes of a plain file have not been acknowledged, as far as is known.
    pub(super) fn pending_bytes(&self) -> u64 {
        match &self.reader {
            Some(Reader::Plain(plain)) => plain.pending_bytes(&self.mark),
            Some(Reader::Compressed(_)) => 0,
            None if self.form.is_compressed() => 0,
            None => self.bytes.saturating_sub(self.mark.offset),
        }
    }

    /// True if nothing that is known of is left to be read.
    pub(super) fn is_read(&self) -> bool {
        if self.form.is_compressed() { self.form == Form::Finished } else { self.pending_bytes() == 0 }
    }

    /// True if a file that begins with `opening` may be this one, or a copy of it.
    pub(super) fn begins_like(&self, opening: &[u8]) -> bool {
        if self.mark.head_fits(opening) {
            return true;
        }
        // An open file can be asked, even if nothing of it was read, or more than there is of a copy.
        let Some(Reader::Plain(plain)) = &self.reader else { return false };
        let beginning = read_at(plain.file(), opening.len(), 0).unwrap_or_default();
        !beginning.is_empty() && opening.starts_with(&beginning)
    }

    /// Opens what was found at the mark; nothing if it is not this file.
    pub(super) fn open_at_mark(&self, entry: &Entry) -> io::Result<Option<Reader>> {
        if entry.is_compressed {
            let opened = Compressed::open_at(&entry.path, entry.identity, &self.mark)?;
            return Ok(opened.map(|opened| Reader::Compressed(Box::new(opened))));
        }
        let opened = Plain::open(&entry.path, entry.identity)?;
        Ok(self.mark.fits(opened.file())?.then_some(Reader::Plain(opened)))
    }

    /// What comes next in the file.
    pub(super) fn step(&mut self, limits: Limits, rotated_wait: Duration) -> io::Result<Step> {
        // Opened late, so that one compressed file is open at a time.
        if let (None, Some(identity), Form::Compressed) = (&self.reader, self.identity, self.form) {
            let opened = Compressed::open_at(&self.path, identity, &self.mark)?;
            self.reader = opened.map(|opened| Reader::Compressed(Box::new(opened)));
        }
        match &mut self.reader {
            None => Ok(Step::Wait),
            Some(Reader::Compressed(compressed)) => compressed.step(limits),
            Some(Reader::Plain(plain)) => {
                let step = plain.step(&self.mark, limits)?;
                let wait = if plain.is_deleted() { rotated_wait.min(DELETED_WAIT_MAX) } else { rotated_wait };
                let is_over = !self.is_current && self.quiet_since.elapsed() >= wait;
                if !is_over || !matches!(step, Step::Wait) {
                    return Ok(step);
                }
                match plain.rest(&self.mark, limits)? {
                    Step::Wait => Ok(Step::Finished),
                    rest => Ok(rest),
                }
            }
        }
    }

    /// Closes a file that was read to its end.
    pub(super) fn finish(&mut self) {
        if let Some(Reader::Plain(plain)) = &self.reader {
            let found = plain.file().metadata().ok();
            self.bytes = found.as_ref().map_or(self.mark.offset, std::fs::Metadata::len);
            self.modified = found.and_then(|found| found.modified().ok());
        }
        if self.form == Form::Compressed {
            self.form = Form::Finished;
        }
        self.reader = None;
    }

    /// What is known of a file whose content was cut away; the file itself begins anew.
    pub(super) fn begin_anew(&mut self, number: u64) -> Self {
        let before = Self {
            number,
            path: Arc::clone(&self.path),
            identity: None,
            mark: std::mem::take(&mut self.mark),
            bytes: self.bytes,
            modified: None,
            form: Form::Plain,
            is_current: false,
            reader: None,
            is_due: false,
            quiet_since: Instant::now(),
            gone_since: Some(Instant::now()),
        };
        self.bytes = 0;
        before
    }
}

fn form(entry: &Entry) -> Form {
    if entry.is_compressed { Form::Compressed } else { Form::Plain }
}
