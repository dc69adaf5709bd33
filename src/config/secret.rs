//! Secrets: where they are, and how to hold them so that they are not shown.
//!
//! A file with a secret must be closed to everybody but its owner. Reading by the group is
//! allowed where the owner is root: that is how Kubernetes mounts a Secret for a process that
//! is not root (`defaultMode: 0400` with an `fsGroup` gives 0440).

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::units::FilePath;

/// The longest file of a secret or of certificates, in bytes: all authorities that systems trust
/// take a quarter of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Words in names of what is secret.
const SECRET_WORDS: [&str; 8] =
    ["authorization", "token", "secret", "password", "cookie", "api-key", "apikey", "hmac"];

/// Whether what is behind a key, or in a header, is secret by its name.
pub(super) fn is_secret_name(name: &str) -> bool {
    let name = name.to_lowercase();
    let is_source = name.ends_with("_file") || name.ends_with("_env");
    !is_source && SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// The text itself, for whoever must send or compare it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// Where a secret is read from. It is read anew each time, so that it can be changed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SecretSource {
    /// A file that nobody else can read.
    File(FilePath),
    /// An environment variable.
    Env(String),
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub(crate) enum SecretError {
    #[error("cannot read `{path}`", path = path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{path}` can be read by others (mode {mode:04o})", path = path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("`{path}` is empty", path = path.display())]
    EmptyFile { path: PathBuf },
    #[error("the environment variable `{name}` is not set")]
    Unset { name: String },
    #[error("the environment variable `{name}` is empty")]
    EmptyVariable { name: String },
}

impl SecretError {
    /// What to do about it.
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            SecretError::Open { path, .. } => Some(format!(
                "`chmod 600 {}`; in Kubernetes mount the Secret with `defaultMode: 0400`",
                path.display()
            )),
            _ => None,
        }
    }
}

impl SecretSource {
    /// The source that one of two keys names.
    pub(super) fn of(file: Option<&FilePath>, variable: Option<&String>) -> Option<Self> {
        file.cloned().map(SecretSource::File).or_else(|| variable.cloned().map(SecretSource::Env))
    }

    /// The file, if it is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            SecretSource::File(path) => Some(path),
            SecretSource::Env(_) => None,
        }
    }

    /// Reads the secret, without the line break at its end.
    pub(crate) fn read(&self) -> Result<Secret, SecretError> {
        match self {
            SecretSource::File(path) => read_file(path),
            SecretSource::Env(name) => match std::env::var(name) {
                Ok(text) if text.is_empty() => Err(SecretError::EmptyVariable { name: name.clone() }),
                Ok(text) => Ok(Secret(text)),
                Err(_) => Err(SecretError::Unset { name: name.clone() }),
            },
        }
    }
}

/// Reads a file that only its owner may read, without the line break at its end.
pub(crate) fn read_file(path: &Path) -> Result<Secret, SecretError> {
    let fail = |source| SecretError::Unreadable { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    if is_open(&metadata) {
        return Err(SecretError::Open { path: path.to_path_buf(), mode: metadata.mode() & 0o7777 });
    }
    let mut text = String::from_utf8(read_bounded(file).map_err(fail)?)
        .map_err(|_| fail(io::ErrorKind::InvalidData.into()))?;
    let length = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(length);
    if text.is_empty() {
        return Err(SecretError::EmptyFile { path: path.to_path_buf() });
    }
    Ok(Secret(text))
}

/// Reads the rest of a file that is not longer than any secret or certificate is.
pub(super) fn read_bounded(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// True if others than the owner can get at a file; see the head of this module.
fn is_open(metadata: &Metadata) -> bool {
    let for_others = metadata.mode() & 0o077;
    let is_mounted_secret = metadata.uid() == 0 && for_others == 0o040;
    for_others != 0 && !is_mounted_secret
}
