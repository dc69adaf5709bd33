//! Turns what a person named into the inputs to read, in the order to read them.
//!
//! Files, folders (walked), globs and `-`. What cannot be read is an error of its own beside
//! the inputs that can. **Invariant:** no file is read twice, and the rotated files of one
//! log come oldest first, whatever order they were named in.

pub(crate) mod rotation;

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use walkdir::WalkDir;

use crate::decode::Decoded;

/// Something to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// A file, under the name it was found by.
    File(Arc<Path>),
}

/// Something that was named and cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {kind}", path.display())]
pub struct InputError {
    /// As it was named, or found.
    pub path: PathBuf,
    /// Why it cannot be read.
    #[source]
    pub kind: InputErrorKind,
}

/// Why an input cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputErrorKind {
    /// There is no such file.
    #[error("no such file or folder")]
    Missing,
    /// A glob, or a folder, that holds no log.
    #[error(
        "no file with the name of a log in it (`.log`, `.json`, `.jsonl`, `.ndjson`, also rotated, `.gz` or `.zst`)"
    )]
    Empty,
    /// A glob that no file matches.
    #[error("no file matches")]
    NoMatch,
    /// A pipe or a device that was not named itself; reading it might never end.
    #[error("neither a file nor a folder; name it to read it")]
    NotAFile,
    /// A file of another packer than gzip and zstd.
    #[error(
        "compressed by {}; only gzip and zstd are unpacked: `{command} FILE | masthead replay -`",
        packer(command)
    )]
    Packed {
        /// What unpacks it to standard output. The file is not named: what its name holds must not be pasted into a shell.
        command: &'static str,
    },
    /// A glob that cannot be read as one.
    #[error("no such file, and not a pattern either: {0}")]
    Pattern(&'static str),
    /// The system refuses.
    #[error("{0}")]
    Unreadable(Arc<io::Error>),
}

/// What was named, resolved.
#[derive(Debug, Default)]
pub struct Inputs {
    /// What to read, in order.
    pub found: Vec<Input>,
    /// What cannot be read.
    pub errors: Vec<InputError>,
}

impl Input {
    /// Opens the input for reading from its beginning.
    pub fn open(&self) -> Result<Box<dyn Read + Send>, InputError> {
        match self {
            Self::Stdin => Ok(Box::new(io::stdin())),
            Self::File(path) => match File::open(path) {
                Ok(file) => Ok(Box::new(file)),
                Err(error) => Err(self.unreadable(error)),
            },
        }
    }

    /// Opens the input and recognises how it is compressed.
    pub fn open_decoded(&self) -> Result<Decoded<Box<dyn Read + Send>>, InputError> {
        let decoded = Decoded::new(self.open()?).map_err(|error| self.unreadable(error))?;
        match decoded.unpacked_by() {
            Some(command) => Err(self.failed(InputErrorKind::Packed { command })),
            None => Ok(decoded),
        }
    }

    /// The size of the file as it is stored; nothing for what has no size.
    pub fn stored_bytes(&self) -> Option<u64> {
        match self {
            Self::Stdin => None,
            Self::File(path) => {
                path.metadata().ok().filter(std::fs::Metadata::is_file).map(|file| file.len())
            }
        }
    }

    fn unreadable(&self, error: io::Error) -> InputError {
        self.failed(kind_of(error))
    }

    fn failed(&self, kind: InputErrorKind) -> InputError {
        let path = match self {
            Self::Stdin => PathBuf::from("-"),
            Self::File(path) => path.to_path_buf(),
        };
        InputError { path, kind }
    }
}

/// The packer whose files a command unpacks.
fn packer(command: &str) -> &str {
    match command.split(' ').next().unwrap_or_default() {
        "unzip" => "zip",
        name => name,
    }
}

impl fmt::Display for Input {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => formatter.write_str("<stdin>"),
            Self::File(path) => path.display().fmt(formatter),
        }
    }
}

/// Resolves `arguments`: paths of files and folders, globs, and `-` for standard input.
pub fn resolve(arguments: &[PathBuf]) -> Inputs {
    let mut search = Search::default();
    for argument in arguments {
        search.add(argument);
    }
    let mut inputs = Inputs { found: rotation::oldest_first(search.files), errors: search.errors };
    if search.has_stdin {
        inputs.found.push(Input::Stdin);
    }
    inputs
}

#[derive(Default)]
struct Search {
    files: Vec<Arc<Path>>,
    seen: HashSet<FileIdentity>,
    errors: Vec<InputError>,
    has_stdin: bool,
}

#[derive(PartialEq, Eq, Hash)]
enum FileIdentity {
    #[cfg(unix)]
    Inode(u64, u64),
    Path(PathBuf),
}

impl Search {
    fn add(&mut self, argument: &Path) {
        if argument.as_os_str() == "-" {
            self.has_stdin = true;
            return;
        }
        match argument.metadata() {
            Ok(found) if found.is_dir() => self.add_folder(argument),
            Ok(_) => self.add_file(argument),
            Err(error) => match argument.to_str().filter(|text| text.contains(['*', '?', '['])) {
                Some(_) if error.kind() == io::ErrorKind::NotFound => self.add_glob(argument),
                _ => self.fail(argument, kind_of(error)),
            },
        }
    }

    fn add_glob(&mut self, argument: &Path) {
        let paths = match glob::glob(&pattern(argument)) {
            Ok(paths) => paths,
            Err(error) => return self.fail(argument, InputErrorKind::Pattern(error.msg)),
        };
        let mut matches = Vec::new();
        for path in paths {
            match path {
                Ok(path) => matches.push(path),
                Err(error) => self.fail(error.path(), kind_of(io::Error::from(error.error().kind()))),
            }
        }
        if matches.is_empty() {
            return self.fail(argument, InputErrorKind::NoMatch);
        }
        matches.sort_by_cached_key(|path| rotation::natural(path));
        for path in matches {
            match path.metadata() {
                Ok(found) if found.is_dir() => self.add_folder(&path),
                Ok(found) if found.is_file() => self.add_file(&path),
                Ok(_) => self.fail(&path, InputErrorKind::NotAFile),
                Err(error) => self.fail(&path, kind_of(error)),
            }
        }
    }

    fn add_folder(&mut self, folder: &Path) {
        let mut files = Vec::new();
        let errors_before = self.errors.len();
        for entry in WalkDir::new(folder).follow_links(true) {
            match entry {
                Ok(entry) if entry.file_type().is_file() && rotation::is_log(entry.path()) => {
                    files.push(entry.into_path());
                }
                Ok(_) => {}
                Err(error) => {
                    let path = error.path().unwrap_or(folder).to_path_buf();
                    self.fail(&path, kind_of(error.into()));
                }
            }
        }
        if files.is_empty() && self.errors.len() == errors_before {
            self.fail(folder, InputErrorKind::Empty);
        }
        files.sort_by_cached_key(|path| rotation::natural(path));
        for file in files {
            self.add_file(&file);
        }
    }

    fn add_file(&mut self, path: &Path) {
        if self.seen.insert(identity(path)) {
            self.files.push(path.into());
        }
    }

    fn fail(&mut self, path: &Path, kind: InputErrorKind) {
        self.errors.push(InputError { path: path.to_path_buf(), kind });
    }
}

/// The glob that `argument` means: folders in it that exist are names, whatever their letters.
pub(crate) fn pattern(argument: &Path) -> String {
    let folder = argument.ancestors().find(|folder| folder.is_dir());
    let folder = folder.unwrap_or(Path::new(""));
    let rest = argument.strip_prefix(folder).unwrap_or(argument);
    let folder = glob::Pattern::escape(&folder.to_string_lossy());
    Path::new(&folder).join(rest).to_string_lossy().into_owned()
}

/// What two names of one file have in common, hard links and symbolic links included.
#[cfg(unix)]
fn identity(path: &Path) -> FileIdentity {
    use std::os::unix::fs::MetadataExt;
    match path.metadata() {
        Ok(file) => FileIdentity::Inode(file.dev(), file.ino()),
        Err(_) => FileIdentity::Path(path.to_path_buf()),
    }
}

#[cfg(not(unix))]
fn identity(path: &Path) -> FileIdentity {
    FileIdentity::Path(path.canonicalize().unwrap_or_else(|_| path.to_path_buf()))
}

fn kind_of(error: io::Error) -> InputErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound => InputErrorKind::Missing,
        _ => InputErrorKind::Unreadable(Arc::new(error)),
    }
}
