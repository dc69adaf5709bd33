//! The steps that change what is on disk, each of which may be the last one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Only the owner may read alerts.
const MODE: u32 = 0o600;

/// The file system; in tests one that can fail or stop at any step.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    #[cfg(test)]
    pub(super) fuse: super::tests::Fuse,
}

impl Disk {
    /// Opens a file to read and append, and makes it if it is not there.
    pub(super) fn open(&self, path: &Path) -> io::Result<File> {
        self.step()?;
        OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)
    }

    pub(super) fn write(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        let (bytes, outcome) = self.torn(bytes);
        file.write_all(bytes).and(outcome)
    }

    pub(super) fn cut(&self, file: &File, length_bytes: u64) -> io::Result<()> {
        self.step()?;
        file.set_len(length_bytes)
    }

    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        self.step()?;
        file.sync_data()
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        fs::rename(from, to)
    }

    /// Makes names durable: of files that were made, renamed or removed.
    pub(super) fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.step()?;
        File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
impl Disk {
    fn step(&self) -> io::Result<()> {
        self.fuse.step()
    }

    fn torn<'a>(&self, bytes: &'a [u8]) -> (&'a [u8], io::Result<()>) {
        self.fuse.torn(bytes)
    }
}

#[cfg(not(test))]
#[allow(clippy::unused_self, clippy::unnecessary_wraps)]
impl Disk {
    fn step(&self) -> io::Result<()> {
        Ok(())
    }

    fn torn<'a>(&self, bytes: &'a [u8]) -> (&'a [u8], io::Result<()>) {
        (bytes, Ok(()))
    }
}
