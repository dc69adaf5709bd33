//! How Kafka is reached, by sources and sinks alike: brokers, TLS, SASL.
//!
//! What is written becomes the properties of librdkafka. Secrets and certificates are read anew
//! each time, so that a client made after a file was replaced has what is in it now.

use std::fmt;
use std::fs::File;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::Deserialize;

use super::secret::{self, Secret, SecretError, SecretSource};
use super::units::{FilePath, from_text};

/// How long a token that does not say when it ends is taken for good, in seconds: the file is
/// read again after this.
const TOKEN_SECONDS: i64 = 300;

/// How long a token is taken for good at most, whatever it says, in seconds: times far beyond
/// overflow where clients count in microseconds.
const TOKEN_SECONDS_MAX: i64 = 24 * 3600;

/// How long the name of a topic may be, as brokers have it.
const TOPIC_BYTES_MAX: usize = 249;

/// A broker: a host, and a port unless it is 9092.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokerAddress(String);

from_text!(BrokerAddress, { "type": "string", "examples": ["kafka-0:9092", "[::1]:9092"] });

impl FromStr for BrokerAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let expected = "expected a host and a port, such as `kafka-0:9092`";
        let (host, port) = split(text);
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let is_name = !host.is_empty() && host.bytes().all(is_host);
        let is_right = is_name || host.parse::<std::net::Ipv6Addr>().is_ok();
        let has_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        if is_right && has_port { Ok(Self(text.to_owned())) } else { Err(expected) }
    }
}

impl BrokerAddress {
    /// True if it can be reached from this machine only.
    fn is_local(&self) -> bool {
        let (host, _) = split(&self.0);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// The host and the port of an address; brackets around an IPv6 address are not part of it.
fn split(text: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        return match rest {
            "" => (host, None),
            _ => (host, Some(rest.strip_prefix(':').unwrap_or_default())),
        };
    }
    text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
}

/// The name of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic(String);

from_text!(Topic, { "type": "string", "pattern": "^[A-Za-z0-9._-]{1,249}$" });

impl FromStr for Topic {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_name = (1..=TOPIC_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_inner);
        if is_name && !matches!(text, "." | "..") {
            return Ok(Self(text.to_owned()));
        }
        Err("a topic has at most 249 of letters, digits, `.`, `_` and `-`")
    }
}

impl Topic {
    /// A name that is known to be one.
    pub(super) fn known(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Certificates towards brokers; empty to believe whom the system believes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_field_names)] // They are keys of the configuration.
pub(crate) struct KafkaTls {
    /// Who signed the certificates of brokers, as PEM, instead of those that the system trusts.
    pub(crate) ca_file: Option<FilePath>,
    /// The certificate that brokers know Masthead by, and those between it and the root, as PEM.
    pub(crate) certificate_file: Option<FilePath>,
    /// The key of the certificate as PEM; nobody else may be able to read it.
    pub(crate) key_file: Option<FilePath>,
}

impl KafkaTls {
    /// The files that it names.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let files = [&self.ca_file, &self.certificate_file, &self.key_file];
        files.into_iter().flatten().map(|path| &**path)
    }
}

/// How Masthead says to brokers who it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sasl {
    /// In which way.
    pub(crate) mechanism: Mechanism,
    /// The user, for all but `OAUTHBEARER`.
    #[serde(default)]
    pub(crate) user: Option<String>,
    /// A file with the password.
    #[serde(default)]
    pub(crate) password_file: Option<FilePath>,
    /// An environment variable with the password.
    #[serde(default)]
    pub(crate) password_env: Option<String>,
    /// A file with the token of `OAUTHBEARER`, which something else keeps fresh: read again before
    /// the token in it ends.
    #[serde(default)]
    pub(crate) token_file: Option<FilePath>,
}

impl Sasl {
    /// The files that it names.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.password_file, &self.token_file].into_iter().flatten().map(|path| &**path)
    }

    /// Where the password is.
    pub(super) fn password(&self) -> Option<SecretSource> {
        SecretSource::of(self.password_file.as_ref(), self.password_env.as_ref())
    }
}

/// How Masthead says to brokers who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(inline)]
pub(crate) enum Mechanism {
    /// The password itself is sent.
    #[serde(rename = "PLAIN")]
    Plain,
    /// The password is proven, not sent.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// The password is proven, not sent.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    /// A bearer token is sent.
    #[serde(rename = "OAUTHBEARER")]
    OauthBearer,
}

impl Mechanism {
    /// The name that Kafka gives it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OauthBearer => "OAUTHBEARER",
        }
    }

    /// True if whoever reads along can then say to be Masthead.
    pub(super) fn sends_the_secret(self) -> bool {
        matches!(self, Self::Plain | Self::OauthBearer)
    }
}

/// How brokers are reached: what a source and a sink of Kafka have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    /// Those that are asked first; they tell of the others.
    pub(crate) brokers: Vec<BrokerAddress>,
    /// Without, everything can be read on its way.
    pub(crate) tls: Option<KafkaTls>,
    /// Without, brokers are not told who asks, or know it by the certificate.
    pub(crate) sasl: Option<Sasl>,
    /// Allows what can be read on its way.
    pub(crate) insecure: bool,
}

/// Properties of librdkafka. They may be secret, so they are never shown.
pub(crate) type Properties = Vec<(String, String)>;

/// Why brokers cannot be reached as configured.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub(crate) enum ConnectionError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("cannot read `{path}`", path = path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{path}` is not a text", path = path.display())]
    NoText { path: PathBuf },
    #[error("the {what} has a NUL in it")]
    Nul { what: &'static str },
    #[error("the token in `{path}` ended {seconds} s ago", path = path.display())]
    Ended { path: PathBuf, seconds: i64 },
}

impl Connection {
    /// True if all of it stays on this machine.
    pub(super) fn is_local(&self) -> bool {
        self.brokers.iter().all(BrokerAddress::is_local)
    }

    /// What librdkafka is told to reach the brokers, with what is in the files now.
    pub(crate) fn properties(&self) -> Result<Properties, ConnectionError> {
        let brokers: Vec<&str> = self.brokers.iter().map(|broker| broker.0.as_str()).collect();
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        let mut properties = vec![
            property("bootstrap.servers", brokers.join(",")),
            property("security.protocol", protocol),
            property("client.id", "masthead"),
            property("socket.keepalive.enable", "true"),
        ];
        if let Some(tls) = &self.tls {
            tls_properties(tls, &mut properties)?;
        }
        if let Some(sasl) = &self.sasl {
            sasl_properties(sasl, &mut properties)?;
        }
        Ok(properties)
    }

    /// The file of the token of `OAUTHBEARER`, if that is how Masthead says who it is.
    pub(crate) fn token_file(&self) -> Option<FilePath> {
        self.sasl.as_ref().and_then(|sasl| sasl.token_file.clone())
    }
}

fn property(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

fn tls_properties(tls: &KafkaTls, properties: &mut Properties) -> Result<(), ConnectionError> {
    properties.push(property("enable.ssl.certificate.verification", "true"));
    properties.push(property("ssl.endpoint.identification.algorithm", "https"));
    match &tls.ca_file {
        Some(path) => properties.push(property("ssl.ca.pem", certificates(path)?)),
        // Where systems keep them: the OpenSSL that is built in knows of no place of its own.
        None => properties.push(property("ssl.ca.location", "probe")),
    }
    if let Some(path) = &tls.certificate_file {
        // Not as a text: of that, librdkafka takes the first certificate only.
        properties.push(property("ssl.certificate.location", path.to_string_lossy()));
    }
    if let Some(path) = &tls.key_file {
        let key = without_nul(secret::read_file(path)?, "key")?;
        properties.push(property("ssl.key.pem", key.expose()));
    }
    Ok(())
}

fn sasl_properties(sasl: &Sasl, properties: &mut Properties) -> Result<(), ConnectionError> {
    properties.push(property("sasl.mechanisms", sasl.mechanism.as_str()));
    if let Some(user) = &sasl.user {
        properties.push(property("sasl.username", user));
    }
    if let Some(source) = sasl.password() {
        let password = without_nul(source.read()?, "password")?;
        properties.push(property("sasl.password", password.expose()));
    }
    Ok(())
}

fn certificates(path: &FilePath) -> Result<String, ConnectionError> {
    let read = File::open(&path.0).and_then(secret::read_bounded);
    let bytes = read.map_err(|source| ConnectionError::Unreadable { path: path.0.clone(), source })?;
    let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    text.ok_or_else(|| ConnectionError::NoText { path: path.0.clone() })
}

/// C takes a NUL for the end.
fn without_nul(secret: Secret, what: &'static str) -> Result<Secret, ConnectionError> {
    if secret.expose().contains('\0') { Err(ConnectionError::Nul { what }) } else { Ok(secret) }
}

/// A token of `OAUTHBEARER`.
pub(crate) struct BearerToken {
    /// The token itself.
    pub(crate) text: Secret,
    /// Who it says that Masthead is; only for logs of the client library.
    pub(crate) principal: String,
    /// When it ends, in milliseconds since 1970.
    pub(crate) ends_ms: i64,
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BearerToken").field("ends_ms", &self.ends_ms).finish_non_exhaustive()
    }
}

/// What a JSON Web Token says of itself.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Claims {
    sub: Option<String>,
    exp: Option<f64>,
}

/// Reads the token that is in a file now, given the time in seconds since 1970. A token that is not
/// a JSON Web Token is taken to last for five minutes.
pub(crate) fn bearer_token(path: &Path, now_seconds: i64) -> Result<BearerToken, ConnectionError> {
    let text = without_nul(secret::read_file(path)?, "token")?;
    let claims = claims(text.expose()).unwrap_or_default();
    // A time beyond all times is as good as the last one.
    #[allow(clippy::cast_possible_truncation)]
    let ends = claims.exp.map_or(now_seconds + TOKEN_SECONDS, |seconds| seconds as i64);
    if ends <= now_seconds {
        let seconds = now_seconds.saturating_sub(ends);
        return Err(ConnectionError::Ended { path: path.to_path_buf(), seconds });
    }
    let principal = claims.sub.filter(|sub| !sub.contains('\0')).unwrap_or_else(|| "masthead".to_owned());
    let ends = ends.min(now_seconds.saturating_add(TOKEN_SECONDS_MAX));
    Ok(BearerToken { text, principal, ends_ms: ends.saturating_mul(1000) })
}

fn claims(token: &str) -> Option<Claims> {
    let payload = token.split('.').nth(1)?;
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests;
