//! Where rules and what belongs to them come from: the binary, and files and folders of
//! the user's own.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use detect::sigma::{Rule, packed};
use walkdir::WalkDir;

use crate::args::{RuleChoice, SetupChoice};

/// Path, rule text and example events of every rule in the binary.
type Embedded = (&'static str, &'static str, Option<&'static str>);
const EMBEDDED: &[Embedded] = include!(concat!(env!("OUT_DIR"), "/embedded_rules.rs"));

/// Path and text of every list in the binary.
const EMBEDDED_LISTS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/embedded_lists.rs"));

/// What [`EMBEDDED`] says, understood with the lists of [`EMBEDDED_LISTS`].
const EMBEDDED_PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/embedded_rules.bin"));

/// How long a rule file, a list, or a file of example events may be: a rule of the size of
/// a book is somebody's log file.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The folders among rules whose `.txt` files are lists.
const LIST_FOLDER: &str = "lists";

/// A file of rules, or of what rules name.
#[derive(Debug)]
pub(crate) struct RuleFile {
    /// Where it lies; embedded ones as in the source tree.
    pub(crate) path: PathBuf,
    /// What is in it.
    pub(crate) text: Cow<'static, str>,
    /// Where it came from.
    pub(crate) origin: Origin,
    /// What it is.
    pub(crate) contents: Contents,
}

/// Where a rule file came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The binary, with the example events if there are some.
    Embedded(Option<&'static str>),
    /// The file system.
    Disk,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Contents {
    /// Rules and filters.
    Rules,
    /// The values of a list that is called as the file.
    List,
    /// Steps that change rules before they are understood.
    Pipeline,
}

impl RuleFile {
    /// The file name without its extension.
    pub(crate) fn name(&self) -> String {
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// A file that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read `{path}`", path = path.display())]
pub(crate) struct LoadError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl LoadError {
    fn new(path: &Path, source: io::Error) -> Self {
        Self { path: path.to_path_buf(), source: plain(source) }
    }
}

/// The error in the words that are used of logs where nothing is there.
pub(crate) fn plain(error: io::Error) -> io::Error {
    match error.kind() {
        kind @ io::ErrorKind::NotFound => io::Error::new(kind, "no such file or folder"),
        _ => error,
    }
}

/// The files that the user chose: the embedded ones first. Lists that are built in stay
/// without the rules that are, since rules of the user's own may name them.
pub(crate) fn chosen(choice: &RuleChoice) -> Result<Vec<RuleFile>, LoadError> {
    let mut files = embedded();
    files.retain(|file| !choice.no_default_rules || file.contents != Contents::Rules);
    on_disk(&choice.paths, &choice.setup, &mut files)?;
    Ok(files)
}

/// The files below `paths`, or the embedded ones if no path is given, and what rules may
/// name besides.
pub(crate) fn below_or_embedded(paths: &[PathBuf], setup: &SetupChoice) -> Result<Vec<RuleFile>, LoadError> {
    let mut files = if paths.is_empty() { embedded() } else { Vec::new() };
    on_disk(paths, setup, &mut files)?;
    Ok(files)
}

/// The files in the binary.
pub(crate) fn embedded() -> Vec<RuleFile> {
    let file = |path: &str, text, events, contents| RuleFile {
        path: PathBuf::from(path),
        text: Cow::Borrowed(text),
        origin: Origin::Embedded(events),
        contents,
    };
    let rules = EMBEDDED.iter().map(|(path, text, events)| file(path, *text, *events, Contents::Rules));
    rules.chain(EMBEDDED_LISTS.iter().map(|(path, text)| file(path, *text, None, Contents::List))).collect()
}

/// The rules of the embedded files by path, as they are with the embedded lists; those of
/// files that must be read to know what is in them are left out.
pub(crate) fn understood() -> HashMap<&'static str, Vec<Rule>> {
    // Invariant: what was packed when the program was built can be unpacked; a test does so.
    let files = packed::unpack(EMBEDDED_PACKED).unwrap_or_default();
    let rules = EMBEDDED.iter().zip(files).filter_map(|((path, ..), rules)| Some((*path, rules?)));
    rules.collect()
}

/// Adds what the user named, each file once.
fn on_disk(rules: &[PathBuf], setup: &SetupChoice, files: &mut Vec<RuleFile>) -> Result<(), LoadError> {
    let mut found = Vec::new();
    for path in rules {
        found.extend(walk(path, among_rules, "no `.yml` or `.yaml` file in it")?);
    }
    for path in &setup.lists {
        found.extend(walk(path, in_list_folder, "no `.txt` file in it")?);
    }
    // A pipeline is a file: which one comes first is for the user to say.
    found.extend(setup.pipelines.iter().map(|path| (path.clone(), Contents::Pipeline)));
    let mut known = HashSet::new();
    for (path, contents) in found {
        if known.insert((path.clone(), contents)) {
            let text = Cow::Owned(read_text(&path)?);
            files.push(RuleFile { path, text, origin: Origin::Disk, contents });
        }
    }
    Ok(())
}

/// What a file in a folder of rules, or one that is named as rules, holds; nothing if it has
/// nothing to do with them.
fn among_rules(path: &Path, is_named: bool) -> Option<Contents> {
    let is_rule = has_extension(path, "yml") || has_extension(path, "yaml");
    let folder = path.parent().and_then(Path::file_name);
    if is_named || is_rule {
        Some(Contents::Rules)
    } else {
        in_list_folder(path, false).filter(|_| folder.is_some_and(|folder| folder == LIST_FOLDER))
    }
}

/// What a file in a folder of lists, or one that is named as a list, holds.
fn in_list_folder(path: &Path, is_named: bool) -> Option<Contents> {
    (is_named || has_extension(path, "txt")).then_some(Contents::List)
}

fn has_extension(path: &Path, name: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(name))
}

/// A file itself, or every file below a folder by name that `kind` knows. Links are followed,
/// but hidden entries are left out: a mounted ConfigMap shows each file once more in one.
fn walk(
    root: &Path,
    kind: fn(&Path, bool) -> Option<Contents>,
    complaint: &str,
) -> Result<Vec<(PathBuf, Contents)>, LoadError> {
    let is_hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
    let mut found = Vec::new();
    let entries = WalkDir::new(root).follow_links(true).sort_by_file_name();
    for entry in entries.into_iter().filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry.file_name()))
    {
        let entry = entry.map_err(|error| {
            // Without the path, which the outer error names already.
            let source = error.io_error().map(copy_of);
            let source = source.unwrap_or_else(|| io::Error::other("a link to a folder around it"));
            LoadError::new(error.path().unwrap_or(root), source)
        })?;
        if entry.file_type().is_dir() {
            continue;
        }
        if let Some(contents) = kind(entry.path(), entry.depth() == 0) {
            found.push((entry.into_path(), contents));
        }
    }
    if found.is_empty() {
        // Passing a check of nothing would be taken for passing it.
        return Err(LoadError::new(root, io::Error::other(complaint)));
    }
    Ok(found)
}

fn copy_of(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// The text of a file, which must be UTF-8 and not larger than any sane rule.
pub(crate) fn read_text(path: &Path) -> Result<String, LoadError> {
    let fail = |source| LoadError::new(path, source);
    let mut text = String::new();
    let file = File::open(path).map_err(fail)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(fail)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(fail(io::Error::other(format!("longer than {FILE_BYTES_MAX} bytes"))));
    }
    Ok(text)
}
