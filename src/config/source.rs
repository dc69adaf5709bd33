//! Where events come from.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::secret::{self, SecretSource};
use super::units::{Address, FilePath, Hash, Name, Size, Timespan};

#[cfg(feature = "kafka")]
mod kafka;

#[cfg(feature = "kafka")]
pub(crate) use kafka::{ClusterFrom, KafkaSource};

/// Where the webhook listens unless told otherwise: on this machine only.
pub(crate) const WEBHOOK_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9880);

/// A source of events, told by its `type`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(tag = "type")]
pub(crate) enum Source {
    /// Receives what kube-apiservers post.
    Webhook(Webhook),
    /// Follows audit log files.
    File(FileSource),
    /// Reads topics of Kafka.
    #[cfg(feature = "kafka")]
    Kafka(Box<KafkaSource>),
}

/// Receives what kube-apiservers post.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Webhook {
    /// The address and port to listen on.
    pub(crate) listen: Address,
    /// Certificates; without, what is sent can be read and forged on the way.
    pub(crate) tls: Option<Tls>,
    /// Who may send, by bearer token, and which cluster that is.
    pub(crate) tokens: Vec<Token>,
    /// Allows anybody who can reach the address to send, if it is not on this machine alone.
    pub(crate) insecure: bool,
    /// How much is taken at once.
    pub(crate) limits: Limits,
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            listen: Address(WEBHOOK_LISTEN),
            tls: None,
            tokens: Vec::new(),
            insecure: false,
            limits: Limits::default(),
        }
    }
}

impl Webhook {
    /// The files that it names.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let tls = self.tls.iter().flat_map(|tls| {
            [Some(&tls.certificate_file), Some(&tls.key_file), tls.client_ca_file.as_ref()]
                .into_iter()
                .flatten()
        });
        let tokens = self.tokens.iter().filter_map(|token| token.sha256_file.as_ref());
        tls.chain(tokens).map(|path| &**path)
    }
}

/// Certificates of a webhook. They are read again when they change.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// The certificate of this server, and those between it and the root, as PEM.
    pub(crate) certificate_file: FilePath,
    /// The key of the certificate as PEM; nobody else may be able to read it.
    pub(crate) key_file: FilePath,
    /// Who signs the certificates of clients, as PEM; the common name of a client is its cluster
    /// unless `client_clusters` says otherwise.
    #[serde(default)]
    pub(crate) client_ca_file: Option<FilePath>,
    /// The cluster of a client certificate by its common name, or a DNS name or URI among its
    /// alternative names. If there are some here, no other certificate may send.
    #[serde(default)]
    pub(crate) client_clusters: BTreeMap<String, Name>,
}

/// A bearer token that a cluster sends by; exactly one of the three says its hash.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Token {
    /// The cluster whose events come by this token.
    pub(crate) cluster: Name,
    /// The SHA-256 of the token in hexadecimal.
    #[serde(default)]
    pub(crate) sha256: Option<Hash>,
    /// A file with the SHA-256 of the token, or with those of several, one a line.
    #[serde(default)]
    pub(crate) sha256_file: Option<FilePath>,
    /// An environment variable with the SHA-256 of the token.
    #[serde(default)]
    pub(crate) sha256_env: Option<String>,
}

/// Why the hashes of a token are not known.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub(crate) enum TokenError {
    #[error("cannot read `{path}`", path = path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the environment variable `{name}` is not set")]
    Unset { name: String },
    #[error("{0}")]
    NoHash(&'static str),
}

impl Token {
    /// The hashes that are taken for this token: several while it is being replaced.
    pub(crate) fn hashes(&self) -> Result<Vec<[u8; 32]>, TokenError> {
        if let Some(Hash(hash)) = self.sha256 {
            return Ok(vec![hash]);
        }
        let text = match SecretSource::of(self.sha256_file.as_ref(), self.sha256_env.as_ref()) {
            Some(SecretSource::File(path)) => {
                let bytes = File::open(&path.0).and_then(secret::read_bounded);
                let bytes = bytes.map_err(|source| TokenError::Unreadable { path: path.0, source })?;
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Some(SecretSource::Env(name)) => std::env::var(&name).map_err(|_| TokenError::Unset { name })?,
            None => String::new(),
        };
        // As `sha256sum` writes it: the hash, then whatever it is of.
        let words = text.lines().filter_map(|line| line.split_whitespace().next());
        let words = words.filter(|word| !word.starts_with('#'));
        let hashes: Result<Vec<_>, _> =
            words.map(|word| word.parse::<Hash>().map(|Hash(hash)| hash)).collect();
        match hashes {
            Ok(hashes) if hashes.is_empty() => Err(TokenError::NoHash("there is no hash of a token")),
            Ok(hashes) => Ok(hashes),
            Err(complaint) => Err(TokenError::NoHash(complaint)),
        }
    }
}

/// How much a webhook takes at once. Beyond, it asks to be tried again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// How many connections are open at once.
    pub(crate) connections: u32,
    /// How many requests are answered at once.
    pub(crate) requests: u32,
    /// How many bytes of bodies are held in memory at once.
    pub(crate) memory: Size,
    /// The largest body as it is sent; what is beyond is quarantined.
    pub(crate) body: Size,
    /// The largest compressed body, decompressed; what is beyond is quarantined.
    pub(crate) decoded: Size,
    /// How old a connection becomes before it is closed, so that load spreads.
    pub(crate) connection_age: Timespan,
}

impl Default for Limits {
    /// As the receiver's own.
    fn default() -> Self {
        Self {
            connections: 4096,
            requests: 256,
            memory: Size::mebibytes(128),
            body: Size::mebibytes(16 * 1024),
            decoded: Size::mebibytes(2048),
            connection_age: Timespan::seconds(600),
        }
    }
}

/// Follows audit log files through their rotation.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileSource {
    /// Files, or patterns with `*` of files.
    pub(crate) paths: Vec<FilePath>,
    /// Whose log it is.
    #[serde(default = "default_cluster")]
    pub(crate) cluster: Name,
    /// Where to begin in a file that is seen for the first time.
    #[serde(default)]
    pub(crate) start_at: StartAt,
}

fn default_cluster() -> Name {
    Name::known("default")
}

/// Where to begin in a file that is seen for the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum StartAt {
    /// With what is in it.
    #[default]
    Beginning,
    /// With what is written from now on.
    End,
}
