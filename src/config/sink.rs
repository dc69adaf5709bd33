//! Where alerts go.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};

#[cfg(feature = "kafka")]
use super::kafka::{BrokerAddress, Connection, KafkaTls, Sasl, Topic};
use super::mistake::told;
use super::secret::SecretSource;
use super::units::{FilePath, Size, Timespan};

/// A sink of alerts, told by its `type`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(tag = "type")]
pub(crate) enum Sink {
    /// Prints alerts to standard output.
    Stdout(Stdout),
    /// Appends alerts to a file as JSON Lines, each exactly once.
    File(FileSink),
    /// Posts alerts to a URL.
    Http(Box<Http>),
    /// Writes alerts to a topic of Kafka.
    #[cfg(feature = "kafka")]
    Kafka(Box<KafkaSink>),
}

/// Prints alerts to standard output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Stdout {
    /// How alerts are written.
    pub(crate) format: Format,
}

/// How alerts are written to standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Format {
    /// For people on a terminal, as JSON Lines otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Jsonl,
}

/// Appends alerts to a file as JSON Lines, each exactly once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileSink {
    /// The file.
    pub(crate) path: FilePath,
    /// When a new file is begun; never, if it is left out.
    #[serde(default)]
    pub(crate) rotate: Option<Rotate>,
}

/// When a new file is begun.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rotate {
    /// When it is longer than this.
    pub(crate) size: Size,
    /// When it is older than this.
    pub(crate) age: Option<Timespan>,
    /// How many old files are kept.
    pub(crate) keep: u32,
    /// Whether old files are compressed with gzip.
    pub(crate) compress: bool,
}

impl Default for Rotate {
    fn default() -> Self {
        Self { size: Size::mebibytes(100), age: None, keep: 10, compress: false }
    }
}

/// Posts alerts to a URL.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http {
    /// Where to; nothing of an alert ever becomes part of it. A URL that is secret, as those of chats
    /// are, is read from a file or the environment.
    pub(crate) url: Url,
    /// A file with a bearer token.
    #[serde(default)]
    pub(crate) token_file: Option<FilePath>,
    /// An environment variable with a bearer token.
    #[serde(default)]
    pub(crate) token_env: Option<String>,
    /// The user name of basic authentication.
    #[serde(default)]
    pub(crate) user: Option<String>,
    /// A file with the password of basic authentication.
    #[serde(default)]
    pub(crate) password_file: Option<FilePath>,
    /// An environment variable with the password of basic authentication.
    #[serde(default)]
    pub(crate) password_env: Option<String>,
    /// Further headers. A value that is secret is read from a file or the environment.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, HeaderValue>,
    /// A file with the key that bodies are signed with.
    #[serde(default)]
    pub(crate) hmac_key_file: Option<FilePath>,
    /// An environment variable with the key that bodies are signed with.
    #[serde(default)]
    pub(crate) hmac_key_env: Option<String>,
    /// Who signed the server's certificate, as PEM, instead of those that the system trusts.
    #[serde(default)]
    pub(crate) ca_file: Option<FilePath>,
    /// How long an answer may take.
    #[serde(default = "default_timeout")]
    pub(crate) timeout: Timespan,
    /// Several alerts in one request.
    #[serde(default)]
    pub(crate) batch: Option<Batch>,
    /// The body, with `{{ field.path }}` where values of the alert belong; without, the alert as JSON.
    #[serde(default)]
    pub(crate) template: Option<String>,
    /// A file with the template.
    #[serde(default)]
    pub(crate) template_file: Option<FilePath>,
}

impl Http {
    /// The files that it names.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let own =
            [&self.token_file, &self.password_file, &self.hmac_key_file, &self.ca_file, &self.template_file];
        let headers = self.headers.values().filter_map(|value| match value {
            HeaderValue::Secret(source) => source.file(),
            HeaderValue::Literal(_) => None,
        });
        let url = self.url.source.as_ref().and_then(SecretSource::file);
        own.into_iter().flatten().map(|path| &**path).chain(headers).chain(url)
    }

    /// Where the bearer token is.
    pub(crate) fn token(&self) -> Option<SecretSource> {
        SecretSource::of(self.token_file.as_ref(), self.token_env.as_ref())
    }

    /// Where the password of basic authentication is.
    pub(crate) fn password(&self) -> Option<SecretSource> {
        SecretSource::of(self.password_file.as_ref(), self.password_env.as_ref())
    }

    /// Where the key is that bodies are signed with.
    pub(crate) fn hmac_key(&self) -> Option<SecretSource> {
        SecretSource::of(self.hmac_key_file.as_ref(), self.hmac_key_env.as_ref())
    }
}

fn default_timeout() -> Timespan {
    Timespan::seconds(30)
}

/// Several alerts in one request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Batch {
    /// How many at most.
    pub(crate) count: u32,
    /// What the body is.
    pub(crate) form: BatchForm,
}

impl Default for Batch {
    fn default() -> Self {
        Self { count: 100, form: BatchForm::Lines }
    }
}

/// What the body of several alerts is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum BatchForm {
    /// One JSON object a line.
    Lines,
    /// A JSON array.
    Array,
}

/// Writes alerts to a topic of Kafka.
#[cfg(feature = "kafka")]
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KafkaSink {
    /// The brokers that are asked first, with their ports; they tell of the others.
    #[schemars(length(min = 1))]
    pub(crate) brokers: Vec<BrokerAddress>,
    /// Certificates; `{}` to believe whom the system believes. Without, alerts can be read and forged
    /// on their way.
    #[serde(default)]
    pub(crate) tls: Option<KafkaTls>,
    /// How Masthead says who it is.
    #[serde(default)]
    pub(crate) sasl: Option<Sasl>,
    /// Allows to send a password or a token that can be read on its way.
    #[serde(default)]
    pub(crate) insecure: bool,
    /// The topic.
    pub(crate) topic: Topic,
    /// What is the same of alerts that stay in order, in one partition.
    #[serde(default)]
    pub(crate) key: KafkaKey,
    /// How messages are compressed.
    #[serde(default)]
    pub(crate) compression: KafkaCompression,
    /// The largest message, before compression. The topic must take it: see its `max.message.bytes`.
    #[serde(default = "default_message_max")]
    pub(crate) message_max: Size,
}

#[cfg(feature = "kafka")]
impl KafkaSink {
    /// The files that it names.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let tls = self.tls.iter().flat_map(KafkaTls::files);
        tls.chain(self.sasl.iter().flat_map(Sasl::files))
    }

    /// How its brokers are reached.
    pub(crate) fn connection(&self) -> Connection {
        Connection {
            brokers: self.brokers.clone(),
            tls: self.tls.clone(),
            sasl: self.sasl.clone(),
            insecure: self.insecure,
        }
    }
}

/// What brokers take unless told otherwise, less what a message has besides the alert.
#[cfg(feature = "kafka")]
fn default_message_max() -> Size {
    Size(1_000_000)
}

/// What is the same of alerts that stay in order, in one partition.
#[cfg(feature = "kafka")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum KafkaKey {
    /// Nothing: the id of the alert.
    #[default]
    Id,
    /// The cluster.
    Cluster,
    /// The id of the rule.
    Rule,
    /// The effective user.
    Actor,
}

/// How messages are compressed.
#[cfg(feature = "kafka")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum KafkaCompression {
    /// Not at all.
    None,
    /// Fast.
    Lz4,
    /// Small.
    #[default]
    Zstd,
}

/// A URL with a host and without a user or password: the text, or where it is read from if it
/// is secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    text: String,
    source: Option<SecretSource>,
}

impl Url {
    /// The URL as written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// True if what is sent there is encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.text.starts_with("https://")
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => formatter.debug_tuple("Url").field(source).finish(),
            None => formatter.debug_tuple("Url").field(&self.text).finish(),
        }
    }
}

impl std::str::FromStr for Url {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let expected = "expected a URL such as `https://siem.example/ingest`";
        let uri: axum::http::Uri = text.parse().map_err(|_| expected)?;
        let authority = uri.authority().ok_or(expected)?;
        if authority.as_str().contains('@') {
            return Err(LITERAL_SECRET);
        }
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        if !is_http || authority.host().is_empty() {
            return Err(expected);
        }
        Ok(Self { text: text.to_owned(), source: None })
    }
}

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UrlVisitor)
    }
}

struct UrlVisitor;

impl<'de> Visitor<'de> for UrlVisitor {
    type Value = Url;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a URL, or `file` or `env` of a secret one")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Url, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Url, A::Error> {
        let source = SecretSource::deserialize(MapAccessDeserializer::new(map))?;
        let text = source.read().map_err(|error| de::Error::custom(told(&error)))?;
        let url: Url = text.expose().parse().map_err(de::Error::custom)?;
        Ok(Url { source: Some(source), ..url })
    }
}

impl JsonSchema for Url {
    fn schema_name() -> Cow<'static, str> {
        "Url".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let secret = generator.subschema_for::<SecretSource>();
        json_schema!({ "anyOf": [{ "type": "string", "format": "uri", "pattern": "^https?://" }, secret] })
    }
}

/// What a URL with a password is told; the reader of the file blots it out.
pub(super) const LITERAL_SECRET: &str =
    "a user or password does not belong into a URL: use `user` with `password_file` or `password_env`";

/// The value of a header: a text, or where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HeaderValue {
    /// The value itself.
    Literal(String),
    /// `file` or `env`.
    Secret(SecretSource),
}

impl<'de> Deserialize<'de> for HeaderValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = HeaderValue;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text, or `file` or `env` of a secret")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<HeaderValue, E> {
        match axum::http::HeaderValue::from_str(text) {
            Ok(_) => Ok(HeaderValue::Literal(text.to_owned())),
            Err(_) => Err(E::custom("a header cannot have this value")),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HeaderValue, A::Error> {
        SecretSource::deserialize(MapAccessDeserializer::new(map)).map(HeaderValue::Secret)
    }
}

impl JsonSchema for HeaderValue {
    fn schema_name() -> Cow<'static, str> {
        "HeaderValue".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let secret = generator.subschema_for::<SecretSource>();
        json_schema!({ "anyOf": [{ "type": "string" }, secret] })
    }
}
