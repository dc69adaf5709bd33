//! Secrets that requests are made with: read when they are needed, never shown.

use std::fmt;
use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;

/// A secret that is read again when it may have changed.
#[derive(Clone)]
pub struct Secret {
    read: Arc<dyn Fn() -> io::Result<String> + Send + Sync>,
}

/// Why a secret cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// It cannot be read.
    #[error("a secret cannot be read")]
    Unreadable(#[from] io::Error),
    /// It contains what a header cannot.
    #[error("a secret contains characters that cannot be sent")]
    Unsendable,
}

impl Secret {
    /// A secret that `read` gives, without line break.
    pub fn read_by(read: impl Fn() -> io::Result<String> + Send + Sync + 'static) -> Self {
        Self { read: Arc::new(read) }
    }

    /// A secret that never changes.
    pub fn fixed(secret: String) -> Self {
        Self::read_by(move || Ok(secret.clone()))
    }

    pub(super) fn read(&self) -> Result<String, SecretError> {
        Ok((self.read)()?)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// What says who sends.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// `Authorization: Bearer …`.
    Bearer(Secret),
    /// `Authorization: Basic …`.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
}

impl Credentials {
    pub(super) fn authorization(&self) -> Result<HeaderValue, SecretError> {
        let text = match self {
            Self::Bearer(token) => format!("Bearer {}", token.read()?),
            Self::Basic { user, password } => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.read()?)))
            }
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| SecretError::Unsendable)?;
        value.set_sensitive(true);
        Ok(value)
    }
}
