//! The state folder: who may use it, and what its files are called.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Damaged, StoreError};

/// What `SQLite` adds to a database's name for the files beside it, after the database itself.
pub(super) const DATABASE_SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// A state folder.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// A folder that may not exist yet.
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder, for its owner alone.
    pub(super) fn create(&self) -> Result<(), StoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .map_err(|error| StoreError::file(&self.path, error))
    }

    /// The database.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join("masthead.db")
    }

    /// What `SQLite` keeps beside the database, with the database itself.
    pub(super) fn database_files(&self) -> [(&'static str, PathBuf); 3] {
        DATABASE_SUFFIXES.map(|suffix| (suffix, with_suffix(&self.database(), suffix)))
    }

    /// Takes the folder for this process until the file is closed.
    pub(super) fn lock(&self) -> Result<File, StoreError> {
        let path = self.path.join("masthead.lock");
        let file = private().create(true).open(&path).map_err(|error| StoreError::file(&path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { folder: self.path.clone() }),
            Err(TryLockError::Error(error)) => Err(StoreError::file(&path, error)),
        }
    }

    /// Makes a database's file before `SQLite` does, so that nobody else may read it.
    pub(super) fn create_private(&self, path: &Path) -> Result<(), StoreError> {
        private().create(true).open(path).map_err(|error| StoreError::file(path, error))?;
        self.sync()
    }

    /// Makes the names of new files durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        File::open(&self.path)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| StoreError::file(&self.path, error))
    }

    /// The database that is to replace a damaged one.
    pub(super) fn draft(&self) -> PathBuf {
        self.path.join("masthead.db.new")
    }

    /// True if there is a draft, whole or not.
    pub(super) fn has_draft(&self) -> Result<bool, StoreError> {
        let path = self.draft();
        path.try_exists().map_err(|error| StoreError::file(path, error))
    }

    /// Removes a draft and what `SQLite` keeps beside it, if there are such files.
    pub(super) fn remove_draft(&self) -> Result<(), StoreError> {
        DATABASE_SUFFIXES.into_iter().try_for_each(|suffix| remove(&with_suffix(&self.draft(), suffix)))
    }

    /// Makes the draft the database.
    pub(super) fn accept_draft(&self) -> Result<(), StoreError> {
        let path = self.draft();
        fs::rename(&path, self.database()).map_err(|error| StoreError::file(path, error))?;
        self.sync()
    }

    /// Where a database that is damaged is to lie.
    pub(super) fn path_aside(&self, time: &str) -> PathBuf {
        unused(self.path.join(format!("masthead.db.damaged-{time}")))
    }

    /// Renames the file of the database with a suffix to `aside` with it, if it is still there.
    /// Overwrites nothing.
    pub(super) fn set_aside(&self, suffix: &str, aside: &Path) -> Result<(), StoreError> {
        let path = with_suffix(&self.database(), suffix);
        match fs::rename(&path, unused(with_suffix(aside, suffix))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::file(path, error)),
            _ => Ok(()),
        }
    }

    fn damage_report_path(&self) -> PathBuf {
        self.path.join("masthead.db.damaged.json")
    }

    /// The damage that was written down, if any.
    pub(super) fn damage_report(&self) -> Result<Option<Damaged>, StoreError> {
        /// A report has two numbers and the names of a file and of a few tables.
        const REPORT_BYTES_MAX: u64 = 4096;
        let path = self.damage_report_path();
        let mut text = String::new();
        match File::open(&path).and_then(|file| file.take(REPORT_BYTES_MAX).read_to_string(&mut text)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| StoreError::file(&path, error))?,
        };
        let damaged: Damaged =
            serde_json::from_str(&text).map_err(|error| StoreError::file(&path, error.into()))?;
        Ok(Some(Damaged { path: self.path.join(damaged.path), ..damaged }))
    }

    /// Writes damage down, with a name for the path, for the folder may be moved.
    pub(super) fn write_damage_report(&self, damaged: &Damaged) -> Result<(), StoreError> {
        let path = self.damage_report_path();
        let name = damaged.path.file_name().unwrap_or_default().into();
        let text = serde_json::to_string(&Damaged { path: name, ..damaged.clone() })
            .map_err(|error| StoreError::file(&path, error.into()))?;
        self.write_whole(&path, &text)
    }

    /// Forgets what was written down.
    pub(super) fn remove_damage_report(&self) -> Result<(), StoreError> {
        remove(&self.damage_report_path())?;
        self.sync()
    }

    /// Writes under another name first, so that a crash leaves no half file.
    fn write_whole(&self, path: &Path, line: &str) -> Result<(), StoreError> {
        let draft = with_suffix(path, ".new");
        private()
            .create(true)
            .truncate(true)
            .open(&draft)
            .and_then(|mut file| {
                writeln!(file, "{line}")?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&draft, path))
            .map_err(|error| StoreError::file(path, error))?;
        self.sync()
    }

    fn key_path(&self) -> PathBuf {
        self.path.join("signing.key")
    }

    /// True if there is a signing key, which the first store of a folder makes.
    pub(super) fn has_secret(&self) -> Result<bool, StoreError> {
        let path = self.key_path();
        path.try_exists().map_err(|error| StoreError::file(path, error))
    }

    /// The secret of the signing key, made if there is none; and whether it was made.
    pub(super) fn secret(&self) -> Result<([u8; 32], bool), StoreError> {
        match self.existing_secret() {
            Err(StoreError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok((self.new_secret()?, true))
            }
            other => Ok((other?, false)),
        }
    }

    /// The secret of the signing key, which must exist.
    pub(super) fn existing_secret(&self) -> Result<[u8; 32], StoreError> {
        /// A key has 44 characters and a line break.
        const KEY_FILE_BYTES_MAX: u64 = 100;
        let path = self.key_path();
        let mut text = String::new();
        File::open(&path)
            .and_then(|file| file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text))
            .map_err(|error| StoreError::file(&path, error))?;
        let secret = STANDARD.decode(text.trim_end()).ok().and_then(|bytes| bytes.try_into().ok());
        secret.ok_or(StoreError::Key { path })
    }

    fn new_secret(&self) -> Result<[u8; 32], StoreError> {
        let path = self.key_path();
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| StoreError::file(&path, io::Error::other(error)))?;
        self.write_whole(&path, &STANDARD.encode(secret))?;
        Ok(secret)
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The path, or one like it if there is such a file.
fn unused(mut path: PathBuf) -> PathBuf {
    while path.exists() {
        path.as_mut_os_string().push("+");
    }
    path
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::file(path, error)),
        _ => Ok(()),
    }
}

/// How files that only the owner may read are opened.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}
