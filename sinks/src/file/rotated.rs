//! The names of files that are rotated: they tell when, and in which order.

use std::ffi::OsString;
use std::os::unix::fs::DirEntryExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fs, io};

use chrono::{DateTime, NaiveDateTime, Utc};

/// When a file was rotated, as its name says it.
const TIME_FORMAT: &str = "%Y-%m-%dT%H-%M-%SZ";

/// What a compressed file's name ends with.
pub(super) const GZIP: &str = ".gz";

/// The name of the file that is written, and of those that were.
#[derive(Clone, Debug)]
pub(super) struct Names {
    current: PathBuf,
    folder: PathBuf,
    stem: String,
    extension: String,
}

/// A file that was rotated. The order is that of rotation, also if the clock was set back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rotated {
    pub(super) time: NaiveDateTime,
    /// Which of those of the same second, from 1.
    pub(super) turn: u32,
    pub(super) is_compressed: bool,
    pub(super) path: PathBuf,
}

impl Names {
    pub(super) fn of(current: PathBuf) -> Self {
        let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let extension = current.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
        let folder = match current.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        Self { folder, stem: text(current.file_stem()), extension: extension.unwrap_or_default(), current }
    }

    pub(super) fn current(&self) -> &Path {
        &self.current
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The files that were rotated, oldest first.
    pub(super) fn rotated(&self) -> io::Result<Vec<Rotated>> {
        let mut rotated = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            rotated.extend(self.parse(&name));
        }
        rotated.sort();
        Ok(rotated)
    }

    /// The file in the folder that has an inode.
    pub(super) fn find(&self, inode: u64) -> io::Result<Option<PathBuf>> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.ino() == inode && entry.file_type()?.is_file() {
                return Ok(Some(entry.path()));
            }
        }
        Ok(None)
    }

    /// The name for the file that is rotated now: behind all others.
    pub(super) fn next(&self, now: SystemTime) -> io::Result<PathBuf> {
        let now = DateTime::<Utc>::from(now).naive_utc();
        let (time, turn) = match self.rotated()?.last() {
            // Compared as written: in whole seconds.
            Some(last)
                if last.time >= now || last.time.and_utc().timestamp() == now.and_utc().timestamp() =>
            {
                (last.time, last.turn.saturating_add(1))
            }
            _ => (now, 1),
        };
        let turn = if turn == 1 { String::new() } else { format!("-{turn}") };
        let time = time.format(TIME_FORMAT);
        Ok(self.folder.join(format!("{}-{time}{turn}{}", self.stem, self.extension)))
    }

    fn parse(&self, name: &OsString) -> Option<Rotated> {
        let text = name.to_str()?;
        let (plain, is_compressed) = match text.strip_suffix(GZIP) {
            Some(plain) => (plain, true),
            None => (text, false),
        };
        let middle = plain.strip_prefix(&self.stem)?.strip_prefix('-')?.strip_suffix(&self.extension)?;
        let (time, turn) = match middle.split_once("Z-") {
            Some((_, turn)) => (middle.strip_suffix(turn)?.strip_suffix('-')?, turn.parse().ok()?),
            None => (middle, 1),
        };
        let time = NaiveDateTime::parse_from_str(time, TIME_FORMAT).ok()?;
        Some(Rotated { time, turn, is_compressed, path: self.folder.join(name) })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_are_in_the_order_of_rotation_whatever_the_clock_does() {
        let folder = tempfile::tempdir().unwrap();
        let names = Names::of(folder.path().join("alerts.jsonl"));
        let start = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_298_400_700);
        let clock = [0, 0, 100, 5000, 1000, 0, 6000, 86_400_000, 3000].map(Duration::from_millis);
        let mut given = Vec::new();
        for passed in clock {
            let path = names.next(start + passed).unwrap();
            fs::write(&path, "").unwrap();
            given.push(path);
        }
        let listed: Vec<_> = names.rotated().unwrap().into_iter().map(|rotated| rotated.path).collect();
        assert_eq!(listed, given);
        let text = |index: usize| given[index].file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(text(0), "alerts-2026-11-21T22-00-00Z.jsonl");
        assert_eq!(text(1), "alerts-2026-11-21T22-00-00Z-2.jsonl");
    }

    #[test]
    fn other_files_are_not_taken_for_rotated_ones() {
        let names = Names::of(PathBuf::from("/x/alerts.jsonl"));
        let parse = |name: &str| {
            names.parse(&OsString::from(name)).map(|rotated| (rotated.turn, rotated.is_compressed))
        };
        assert_eq!(parse("alerts-2026-11-21T22-00-00Z.jsonl"), Some((1, false)));
        assert_eq!(parse("alerts-2026-11-21T22-00-00Z-12.jsonl.gz"), Some((12, true)));
        for other in [
            "alerts.jsonl",
            "alerts-old.jsonl",
            "alerts-2026-11-21T22-00-00Z.json",
            "alerts-2026-13-21T22-00-00Z.jsonl",
            "alerts-2026-11-21T22-00-00Z-x.jsonl",
            "other-2026-11-21T22-00-00Z.jsonl",
            "alerts-2026-11-21T22-00-00Z.jsonl.gz.partial",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
