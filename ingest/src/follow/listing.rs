//! Finds the files of a log: the one that is written, and those that were rotated away.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::inputs::rotation::{Age, is_time, without_compression};

/// How many rotated files of one log are looked at; the newest, since they may be news.
pub(super) const ROTATED_FILES_MAX: usize = 128;

/// How many names of one folder are kept while it is looked at.
const FOLDER_NAMES_MAX: usize = 65_536;

/// What the system calls a file: device and inode.
pub(super) type Identity = (u64, u64);

/// A file of a log, as it was found.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) path: Arc<Path>,
    pub(super) identity: Identity,
    /// Its size as it is stored.
    pub(super) bytes: u64,
    pub(super) modified: Option<SystemTime>,
    pub(super) is_compressed: bool,
    /// True for the file that bears the name of the log.
    pub(super) is_current: bool,
    /// True for a file with another name than a file of the log has: it has an inode that was
    /// looked for, and is of no interest unless it is that file.
    pub(super) is_stranger: bool,
}

/// The rotated files of a log.
#[derive(Debug, Default)]
pub(super) struct Rotated {
    /// Oldest first.
    pub(super) entries: Vec<Entry>,
    /// How many older ones there are.
    pub(super) unseen_count: u64,
    /// Inodes and names of those that were gone when they were looked at.
    pub(super) gone: Vec<(u64, PathBuf)>,
    /// Those that cannot be looked at.
    pub(super) failed: Vec<(PathBuf, io::Error)>,
}

impl Entry {
    fn new(path: &Path, found: &Metadata) -> Self {
        Self {
            path: path.into(),
            identity: (found.dev(), found.ino()),
            bytes: found.len(),
            modified: found.modified().ok(),
            is_compressed: without_compression(path).is_some(),
            is_current: false,
            is_stranger: false,
        }
    }
}

/// The file that bears the name of the log now.
pub(super) fn current(path: &Path) -> io::Result<Option<Entry>> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if found.is_dir() {
        return Err(io::Error::other("a folder; name the files in it, such as with `*.log`"));
    }
    if !found.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(Some(Entry { is_current: true, is_compressed: false, ..Entry::new(path, &found) }))
}

/// What folders hold, each read once a scan however many logs are in it.
#[derive(Debug, Default)]
pub(super) struct Folders {
    read: HashMap<PathBuf, Vec<(OsString, u64)>>,
}

impl Folders {
    /// The names in a folder and their inodes; none if there is no such folder.
    fn names(&mut self, folder: &Path) -> io::Result<&[(OsString, u64)]> {
        if !self.read.contains_key(folder) {
            self.read.insert(folder.to_path_buf(), names(folder)?);
        }
        Ok(self.read.get(folder).map_or(&[], Vec::as_slice))
    }
}

fn names(folder: &Path) -> io::Result<Vec<(OsString, u64)>> {
    let listed = match fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in listed {
        if names.len() == FOLDER_NAMES_MAX {
            return Err(io::Error::other("too many files in one folder to look for rotated ones"));
        }
        let entry = entry?;
        names.push((entry.file_name(), entry.ino()));
    }
    Ok(names)
}

/// The rotated files of a log, oldest first: those with a fitting name, and those with an inode
/// that is `wanted`. Of a file that is just being compressed, only the plain form.
pub(super) fn rotated(log: &Path, wanted: &[u64], folders: &mut Folders) -> io::Result<Rotated> {
    let (Some(folder), Some(log_name)) = (log.parent(), log.file_name()) else {
        return Ok(Rotated::default());
    };
    let log_text = log_name.to_string_lossy();
    let mut found: Vec<(Age, bool, PathBuf, u64)> = Vec::new();
    for (name, inode) in folders.names(folder)? {
        let age = age(&log_text, &name.to_string_lossy());
        let is_stranger = age.is_none();
        if name != log_name && (!is_stranger || wanted.contains(inode)) {
            found.push((age.unwrap_or(Age::Current), is_stranger, folder.join(name), *inode));
        }
    }
    // Of a file that is there twice, the compressed form first.
    found.sort_by_cached_key(|(age, is_stranger, path, _)| {
        (age.clone(), *is_stranger, without_compression(path).is_none(), path.clone())
    });
    let unseen_count = found.len().saturating_sub(ROTATED_FILES_MAX);
    found.drain(..unseen_count);
    let mut rotated = Rotated { unseen_count: unseen_count as u64, ..Rotated::default() };
    for (_, is_stranger, path, inode) in found {
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => {
                rotated.entries.push(Entry { is_stranger, ..Entry::new(&path, &found) });
            }
            Ok(_) => {}
            Err(_) if is_stranger => {}
            // A symbolic link that leads nowhere is no file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if path.symlink_metadata().is_err() {
                    rotated.gone.push((inode, path));
                }
            }
            Err(error) => rotated.failed.push((path, error)),
        }
    }
    // What was compressed since its name was read is there in its new form.
    let is_compressed = |plain: &Path| {
        rotated.entries.iter().any(|entry| without_compression(&entry.path).as_deref() == Some(plain))
    };
    rotated.gone.retain(|(_, path)| !is_compressed(path));
    rotated.entries = without_copies(rotated.entries);
    Ok(rotated)
}

/// Opens what was found. Fails as if it were gone when another file has taken the path since,
/// which the next look tells.
pub(super) fn open(path: &Path, identity: Identity) -> io::Result<File> {
    let file = File::open(path)?;
    let found = file.metadata()?;
    if (found.dev(), found.ino()) != identity {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(file)
}

/// Leaves out compressed files beside which the plain one still lies: they may be half written.
fn without_copies(entries: Vec<Entry>) -> Vec<Entry> {
    let is_copy = |entry: &Entry| {
        let plain = without_compression(&entry.path);
        plain.is_some_and(|plain| entries.iter().any(|other| *other.path == *plain))
    };
    let copies: Vec<bool> = entries.iter().map(is_copy).collect();
    entries.into_iter().zip(copies).filter(|(_, is_copy)| !is_copy).map(|(entry, _)| entry).collect()
}

/// How old a file named `name` is among those of the log named `log`; nothing if it is none of them.
fn age(log: &str, name: &str) -> Option<Age> {
    let plain = without_compression(Path::new(name));
    let plain = plain.as_deref().and_then(Path::to_str).unwrap_or(name);
    if plain == log {
        return (plain != name).then_some(Age::Current);
    }
    if let Some(suffix) = plain.strip_prefix(log) {
        let text = suffix.strip_prefix(['.', '-'])?;
        if is_time(text) {
            return Some(Age::Dated(text.to_owned()));
        }
        return Some(Age::Numbered(std::cmp::Reverse(text.parse().ok()?)));
    }
    let (stem, ending) = log.rsplit_once('.')?;
    let text = plain.strip_prefix(stem)?.strip_prefix('-')?.strip_suffix(ending)?.strip_suffix('.')?;
    is_time(text).then(|| Age::Dated(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(log: &str, name: &str, is_rotated: bool) {
        assert_eq!(age(log, name).is_some(), is_rotated, "{name} of {log}");
    }

    #[test]
    fn rotated_files_are_known_by_their_names() {
        for name in [
            "audit-2026-11-20T10-00-00.000.log",
            "audit-2026-11-20T10-00-00.000.log.gz",
            "audit.log.1",
            "audit.log.12.gz",
            "audit.log-20261120",
            "audit.log-20261120.zst",
            "audit.log.2026-11-20",
            "audit.log.gz",
        ] {
            check("audit.log", name, true);
        }
        check("audit", "audit.1", true);
        check("audit", "audit-20261120.gz", true);
    }

    #[test]
    fn other_files_are_not() {
        for name in
            ["audit.log", "audit-other.log", "audit.log.swp", "other.log.1", "audit-2.log", "audit.logs.1"]
        {
            check("audit.log", name, false);
        }
    }
}
