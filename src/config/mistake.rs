//! What can be wrong with a configuration, where it is, and what to do about it.

use std::error::Error;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use detect::sigma::{Place, Severity};

use super::secret::SecretError;
use super::source::TokenError;

/// How many mistakes of a file are told; more are seldom read.
pub(super) const MISTAKES_MAX: usize = 100;
/// How many known names are listed where none is near.
const LISTED_MAX: usize = 16;

/// Something wrong in a configuration.
#[derive(Debug)]
pub(crate) struct Mistake {
    /// Where it is.
    pub(crate) place: Place,
    /// What is wrong.
    pub(crate) kind: MistakeKind,
}

/// What can be wrong with a configuration. No message holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // The messages say it.
pub(crate) enum MistakeKind {
    #[error("{message}")]
    Yaml { message: String },
    #[error("key `{key}` is given twice")]
    DuplicateKey { key: String },
    #[error("unknown key `{name}`")]
    UnknownKey { name: String, known: Vec<&'static str> },
    #[error("unknown value `{value}`")]
    UnknownValue { value: String, known: Vec<&'static str> },
    #[error("key `{name}` is missing")]
    MissingKey { name: &'static str },
    #[error("expected {expected}, found {found}")]
    WrongType { expected: String, found: &'static str },
    #[error("{message}")]
    Invalid { message: String },
    #[error("`{name}` holds a secret, which does not belong into this file")]
    LiteralSecret { name: String, advice: String },
    #[error("there is no {what} `{name}`")]
    NoSuch { what: &'static str, name: String, known: Vec<String> },
    #[error("cannot read `{path}`", path = path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("`{path}` {complaint}", path = path.display())]
    File { path: PathBuf, complaint: String, advice: Option<String> },
    #[error(transparent)]
    Secret(SecretError),
    #[error(transparent)]
    Token(TokenError),
    #[error("{message}")]
    Doubtful { message: String },
    #[error("{message}")]
    Contradiction { message: String, advice: String },
}

impl Mistake {
    /// A mistake at a place.
    pub(super) fn new(place: Place, kind: MistakeKind) -> Self {
        Self { place, kind }
    }

    /// Whether it can be run with all the same.
    pub(crate) fn severity(&self) -> Severity {
        match self.kind {
            MistakeKind::Doubtful { .. } => Severity::Warning,
            _ => Severity::Error,
        }
    }

    /// A stable name for this sort of mistake.
    pub(crate) fn code(&self) -> &'static str {
        match self.kind {
            MistakeKind::Yaml { .. } => "MH701",
            MistakeKind::DuplicateKey { .. } => "MH702",
            MistakeKind::UnknownKey { .. } => "MH703",
            MistakeKind::UnknownValue { .. } => "MH704",
            MistakeKind::MissingKey { .. } => "MH705",
            MistakeKind::WrongType { .. } => "MH706",
            MistakeKind::Invalid { .. } => "MH707",
            MistakeKind::LiteralSecret { .. } => "MH708",
            MistakeKind::NoSuch { .. } => "MH709",
            MistakeKind::Unreadable { .. } => "MH710",
            MistakeKind::File { .. } => "MH711",
            MistakeKind::Secret(_) => "MH714",
            MistakeKind::Token(_) => "MH715",
            MistakeKind::Doubtful { .. } => "MH712",
            MistakeKind::Contradiction { .. } => "MH713",
        }
    }

    /// What is wrong, with what the system says about it.
    pub(crate) fn message(&self) -> String {
        told(&self.kind)
    }

    /// What to do about it.
    pub(crate) fn help(&self) -> Option<String> {
        match &self.kind {
            MistakeKind::UnknownKey { name, known } => suggestion(name, known),
            MistakeKind::UnknownValue { value, .. } if value == "kafka" => {
                Some("this program was built without its feature `kafka`".to_owned())
            }
            MistakeKind::UnknownValue { value, known } => suggestion(value, known),
            MistakeKind::NoSuch { name, known, .. } => suggestion(name, known),
            MistakeKind::LiteralSecret { advice, .. } | MistakeKind::Contradiction { advice, .. } => {
                Some(advice.clone())
            }
            MistakeKind::File { advice, .. } => advice.clone(),
            MistakeKind::Secret(error) => error.help(),
            _ => None,
        }
    }
}

/// An error with those behind it.
pub(super) fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

fn suggestion<S: AsRef<str>>(name: &str, known: &[S]) -> Option<String> {
    if let Some(near) = nearest(name, known) {
        return Some(format!("did you mean `{near}`?"));
    }
    let mut names: Vec<String> = known.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    if names.is_empty() {
        return None;
    }
    if names.len() > LISTED_MAX {
        names.truncate(LISTED_MAX);
        names.push("…".to_owned());
    }
    Some(format!("known here: {}", names.join(", ")))
}

/// The name that was most likely meant: one mistake for every three characters.
pub(super) fn nearest<'k, S: AsRef<str>>(name: &str, known: &'k [S]) -> Option<&'k str> {
    let distance_max = (name.chars().count() / 3).clamp(1, 4);
    known
        .iter()
        .map(|known| {
            (strsim::osa_distance(&name.to_lowercase(), &known.as_ref().to_lowercase()), known.as_ref())
        })
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Everything that is wrong with a configuration, and its text to draw it in.
#[derive(Debug)]
pub(crate) struct Mistakes {
    /// The file.
    pub(crate) path: PathBuf,
    /// What is in it, secrets blotted out.
    pub(crate) text: String,
    /// What is wrong, in the order of the file.
    pub(crate) list: Vec<Mistake>,
    /// Where secrets are in the text, as bytes.
    pub(super) blotted: Vec<Range<usize>>,
}

impl Mistakes {
    /// No mistake yet in a file.
    pub(super) fn new(path: &Path, text: String) -> Self {
        Self { path: path.to_path_buf(), text, list: Vec::new(), blotted: Vec::new() }
    }

    /// Covers the secrets in the text with as many stars as they have characters.
    pub(super) fn blot(&mut self) {
        let blotted = std::mem::take(&mut self.blotted);
        let cover = |(at, character): (usize, char)| {
            let is_secret = !character.is_whitespace() && blotted.iter().any(|range| range.contains(&at));
            if is_secret { '*' } else { character }
        };
        if !blotted.is_empty() {
            self.text = self.text.char_indices().map(cover).collect();
        }
    }

    /// How many there are of a severity.
    pub(crate) fn count(&self, severity: Severity) -> u64 {
        self.list.iter().filter(|mistake| mistake.severity() == severity).count() as u64
    }
}

impl Error for Mistakes {}

/// One mistake a line.
impl fmt::Display for Mistakes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, mistake) in self.list.iter().enumerate() {
            let line_break = if number == 0 { "" } else { "\n" };
            let (path, Place { line, column, .. }) = (self.path.display(), mistake.place);
            write!(formatter, "{line_break}{path}:{line}:{column}: {}", mistake.message())?;
        }
        Ok(())
    }
}
