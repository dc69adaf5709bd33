//! Values that a configuration writes as text: durations, sizes, names, paths, networks.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

/// How long the name of a component or a cluster may be: it is a label of metrics and a key in the store.
pub(super) const NAME_BYTES_MAX: usize = 128;
/// The longest duration that is taken: whoever writes more has mistaken a unit.
const SPAN_MAX: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// Reads a value from its text; what is wrong is told by the value's own `FromStr`.
macro_rules! from_text {
    ($type:ty, $schema:tt) => {
        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str($crate::config::units::TextVisitor(std::marker::PhantomData))
            }
        }

        impl ::schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                ::schemars::json_schema!($schema)
            }
        }
    };
}
pub(super) use from_text;

/// Visits a text that gives a `T`.
pub(super) struct TextVisitor<T>(pub(super) std::marker::PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// A duration, written with its unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timespan(pub(crate) Duration);

from_text!(Timespan, {
    "type": "string",
    "pattern": "^[0-9]",
    "examples": ["90s", "5m", "12h", "90d", "1h 30m"]
});

impl Timespan {
    /// So many seconds.
    pub(super) const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl FromStr for Timespan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected a duration with its unit, such as `90s`, `5m` or `12h`";
        let duration = humantime::parse_duration(text.trim()).map_err(|_| expected.to_owned())?;
        if duration > SPAN_MAX {
            return Err("a duration of more than 100 years".to_owned());
        }
        Ok(Self(duration))
    }
}

/// A number of bytes, written with its unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) u64);

from_text!(Size, {
    "type": "string",
    "pattern": "^[0-9]",
    "examples": ["64KiB", "4MiB", "10GiB"]
});

impl Size {
    /// So many times 1,048,576 bytes.
    pub(super) const fn mebibytes(count: u64) -> Self {
        Self(count << 20)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let has_unit = text.ends_with(|last: char| last.is_ascii_alphabetic());
        let size = text.trim().parse::<ByteSize>().ok().filter(|_| has_unit);
        let size = size.ok_or("expected a size with its unit, such as `64KiB`, `4MiB` or `10GiB`")?;
        Ok(Self(size.as_u64()))
    }
}

/// The name of a source, a sink or a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name(String);

from_text!(Name, { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$" });

impl Name {
    /// A name that is known to be one.
    pub(super) fn known(name: &'static str) -> Self {
        Self(name.to_owned())
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let begins_well = text.starts_with(|first: char| first.is_ascii_alphanumeric());
        if begins_well && text.len() <= NAME_BYTES_MAX && text.bytes().all(is_inner) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "a name begins with a letter or digit and has at most {NAME_BYTES_MAX} of letters, digits, `.`, `_` and `-`"
        ))
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A network in CIDR form, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network(pub(crate) IpNet);

from_text!(Network, { "type": "string", "examples": ["10.0.0.0/8", "192.0.2.7"] });

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(Self).map_err(|_| "neither an address nor a network such as `10.0.0.0/8`".to_owned())
    }
}

/// An address and port to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address(pub(crate) SocketAddr);

from_text!(Address, { "type": "string", "examples": ["127.0.0.1:9880", "0.0.0.0:9880", "[::]:9880"] });

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text.trim().parse().map(Self);
        address.map_err(|_| {
            "expected an IP address and a port, such as `127.0.0.1:9880` or `[::]:9880`".to_owned()
        })
    }
}

/// The SHA-256 of a bearer token, in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Hash(pub(crate) [u8; 32]);

from_text!(Hash, { "type": "string", "pattern": "^[0-9A-Fa-f]{64}$" });

impl FromStr for Hash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let expected = "expected a SHA-256 of 64 hexadecimal digits: `printf %s \"$TOKEN\" | sha256sum`";
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut hash = [0; 32];
        if text.len() != 2 * hash.len() {
            return Err(expected);
        }
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let high = digits.first().and_then(|high| digit(*high)).ok_or(expected)?;
            let low = digits.last().and_then(|low| digit(*low)).ok_or(expected)?;
            *byte = high << 4 | low;
        }
        Ok(Self(hash))
    }
}

/// By this name the reader knows a path, which begins in the configuration's own folder.
pub(super) const FILE_PATH: &str = "FilePath";

/// A path; a relative one is relative to the folder of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, JsonSchema)]
#[schemars(inline)]
pub(crate) struct FilePath(#[schemars(with = "String")] pub(crate) PathBuf);

impl Deref for FilePath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl From<PathBuf> for FilePath {
    fn from(path: PathBuf) -> Self {
        Self(path)
    }
}

/// One value or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Several<T>(pub(crate) Vec<T>);

impl<T> Default for Several<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Several<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SeveralVisitor(std::marker::PhantomData))
    }
}

struct SeveralVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for SeveralVisitor<T> {
    type Value = Several<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value or a list of values")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Several<T>, E> {
        T::deserialize(de::value::StrDeserializer::new(text)).map(|value| Several(vec![value]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Several<T>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element()? {
            values.push(value);
        }
        if values.is_empty() {
            return Err(de::Error::custom(
                "an empty list matches nothing; leave the key out to match everything",
            ));
        }
        Ok(Several(values))
    }
}

impl<T: JsonSchema> JsonSchema for Several<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Several{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }
}
