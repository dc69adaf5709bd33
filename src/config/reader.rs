//! Gives the tree to the types of the configuration, and says where they refuse it.
//!
//! An enum in a mapping is told by the mapping's `type`.

use std::fmt;
use std::path::Path;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::mistake::MistakeKind;
use super::tree::{Content, Entry, Node, Scalar, Sort};
use super::units::FILE_PATH;

/// The key that says which variant of an enum a mapping is.
const TYPE: &str = "type";

/// Why a tree is no configuration, and which node or key it is.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) id: Option<usize>,
    pub(super) kind: MistakeKind,
}

impl Fault {
    fn at(mut self, id: usize) -> Self {
        self.id.get_or_insert(id);
        self
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(formatter)
    }
}

impl From<MistakeKind> for Fault {
    fn from(kind: MistakeKind) -> Self {
        Self { id: None, kind }
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        MistakeKind::Invalid { message: message.to_string() }.into()
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!("expected {expected}"))
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!("expected {expected}"))
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        let sources: Vec<String> = ["file", "env"]
            .iter()
            .map(|suffix| format!("{name}_{suffix}"))
            .filter(|source| known.contains(&source.as_str()))
            .map(|source| format!("`{source}`"))
            .collect();
        let name = name.to_owned();
        if sources.is_empty() {
            return MistakeKind::UnknownKey { name, known: known.to_vec() }.into();
        }
        let advice =
            format!("put it into a file or the environment, and name that by {}", sources.join(" or "));
        MistakeKind::LiteralSecret { name, advice }.into()
    }

    fn unknown_variant(value: &str, known: &'static [&'static str]) -> Self {
        MistakeKind::UnknownValue { value: value.to_owned(), known: known.to_vec() }.into()
    }

    fn missing_field(name: &'static str) -> Self {
        MistakeKind::MissingKey { name }.into()
    }
}

/// Reads one node.
#[derive(Clone, Copy)]
pub(super) struct Reader<'n> {
    pub(super) node: &'n Node,
    /// The folder that relative paths begin in.
    pub(super) base: &'n Path,
}

impl<'n> Reader<'n> {
    fn scalar(self, expected: &str) -> Result<&'n Scalar, Fault> {
        match &self.node.content {
            Content::Scalar(scalar) => Ok(scalar),
            _ => Err(self.wrong_type(expected)),
        }
    }

    fn wrong_type(self, expected: &str) -> Fault {
        let kind = MistakeKind::WrongType { expected: expected.to_owned(), found: self.node.found() };
        Fault::from(kind).at(self.node.id)
    }

    /// The entries of the mapping, without the one that says its type.
    fn entries(self, without: &'static str) -> Entries<'n> {
        Entries { rest: self.node.entries().iter(), base: self.base, without, value: None }
    }

    fn number<T: std::str::FromStr>(self) -> Result<T, Fault> {
        let expected = "a whole number";
        let scalar = self.scalar(expected)?;
        match scalar.text.parse() {
            Ok(number) => Ok(number),
            Err(_) if scalar.sort == Sort::Number => {
                let message = "the number is out of range".to_owned();
                Err(Fault::from(MistakeKind::Invalid { message }).at(self.node.id))
            }
            Err(_) => Err(self.wrong_type(expected)),
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Fault;

    /// Where several forms are possible, a scalar is its text.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.content {
            Content::Nothing => Err(self.wrong_type("a value")),
            Content::Scalar(_) => self.deserialize_str(visitor),
            Content::List(_) => self.deserialize_seq(visitor),
            Content::Map(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.scalar("`true` or `false`")?.sort {
            Sort::Truth(truth) => visitor.visit_bool(truth),
            _ => Err(self.wrong_type("`true` or `false`")),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_u64(self.number()?).map_err(|fault: Fault| fault.at(self.node.id))
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_u32(self.number()?).map_err(|fault: Fault| fault.at(self.node.id))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let scalar = self.scalar("a text")?;
        visitor.visit_str(&scalar.text).map_err(|fault: Fault| fault.at(self.node.id))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        // An empty `tls:` must not mean to do without.
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name != FILE_PATH {
            return visitor.visit_newtype_struct(self);
        }
        let text = &self.scalar("a path")?.text;
        if text.is_empty() {
            return Err(self.wrong_type("a path"));
        }
        if text.starts_with('~') {
            let message = "`~` means nothing here: write the whole path, or begin with `./`".to_owned();
            return Err(Fault::from(MistakeKind::Invalid { message }).at(self.node.id));
        }
        let path = self.base.join(text);
        let path = path.to_string_lossy();
        visitor.visit_newtype_struct(StrDeserializer::<Fault>::new(&path))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Content::List(nodes) = &self.node.content else { return Err(self.wrong_type("a list")) };
        let items = Items { rest: nodes.iter(), base: self.base };
        visitor.visit_seq(items).map_err(|fault| fault.at(self.node.id))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Content::Map(_) = &self.node.content else { return Err(self.wrong_type("a mapping")) };
        visitor.visit_map(self.entries("")).map_err(|fault| fault.at(self.node.id))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_enum(self).map_err(|fault| fault.at(self.node.id))
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u128 f32 f64 char bytes byte_buf
        unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

/// The items of a list.
struct Items<'n> {
    rest: std::slice::Iter<'n, Node>,
    base: &'n Path,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.rest.next() else { return Ok(None) };
        let value = seed.deserialize(Reader { node, base: self.base });
        value.map(Some).map_err(|fault| fault.at(node.id))
    }
}

/// The entries of a mapping.
struct Entries<'n> {
    rest: std::slice::Iter<'n, Entry>,
    base: &'n Path,
    without: &'static str,
    value: Option<&'n Node>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let without = self.without;
        let Some(entry) = self.rest.find(|entry| entry.name != without) else { return Ok(None) };
        self.value = Some(&entry.value);
        let key = seed.deserialize(StrDeserializer::<Fault>::new(&entry.name));
        key.map(Some).map_err(|fault| fault.at(entry.id))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let node = self.value.take().ok_or_else(|| <Fault as de::Error>::custom("a value before its key"))?;
        seed.deserialize(Reader { node, base: self.base }).map_err(|fault: Fault| fault.at(node.id))
    }
}

/// Which variant: the text itself, or the `type` of a mapping.
impl<'de> EnumAccess<'de> for Reader<'de> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let node = match &self.node.content {
            Content::Map(map) => match map.entries.iter().find(|entry| entry.name == TYPE) {
                Some(entry) => &entry.value,
                None => return Err(de::Error::missing_field(TYPE)),
            },
            _ => self.node,
        };
        let name = Reader { node, ..self }.scalar("a name")?;
        let variant = seed.deserialize(StrDeserializer::<Fault>::new(&name.text));
        Ok((variant.map_err(|fault| fault.at(node.id))?, self))
    }
}

impl<'de> VariantAccess<'de> for Reader<'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        self.scalar("a name").map(|_| ())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        let Content::Map(_) = &self.node.content else { return Err(self.wrong_type("a mapping")) };
        seed.deserialize(MapAccessDeserializer::new(self.entries(TYPE)))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_map(self.entries(TYPE))
    }
}
