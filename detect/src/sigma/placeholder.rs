//! Placeholders: `%name%` in texts under `expand`, and what they stand for.

use std::borrow::Cow;

use super::Place;
use super::error::RuleErrorKind as Kind;
use super::lists::{List, Lists};
use super::modifier::{Modifier, Value, mismatch};
use super::text::{Piece, Pieces, Placeholder, Text};

/// How many texts one text with placeholders may become: the longest list, once.
const EXPANSIONS_MAX: usize = 10_000;
/// How large they may be together, roughly in bytes.
pub(super) const EXPANDED_BYTES_MAX: usize = 4 << 20;

/// Applies `expand`: writes lists in place of their names. A placeholder without a list
/// stays, for a pipeline to know. `has_networks`: a value that is one list alone also
/// means the networks of the list.
pub(super) fn expand(
    value: Value,
    lists: &Lists,
    has_networks: bool,
    place_of: &dyn Fn(&str) -> Place,
) -> Result<Vec<Value>, Kind> {
    let values: Vec<Value> = match value {
        Value::Forms(forms) => {
            let forms: Result<Vec<_>, _> =
                forms.into_iter().map(|form| expand(form, lists, has_networks, place_of)).collect();
            return Ok(vec![Value::Forms(forms?.concat())]);
        }
        Value::Text(text) => {
            let text = text.with_placeholders(place_of);
            if let (true, Some(list)) = (has_networks, alone(&text, lists)) {
                return Ok(or_nothing(list.values().collect()));
            }
            let texts = text.substitute(|name| lists.get(name).map(|list| Cow::from(&list.texts)))?;
            texts.into_iter().map(Value::Text).collect()
        }
        Value::Regex(regex) => {
            let text = regex.text.with_placeholders(place_of);
            let texts = text.substitute(|name| lists.get(name).map(|list| as_regexes(&list.texts).into()))?;
            texts.into_iter().map(|text| Value::Regex(regex.with_text(text))).collect()
        }
        other => return Err(mismatch(Modifier::Expand, &other)),
    };
    Ok(or_nothing(values))
}

/// The list that the text stands for, if it is one placeholder and nothing else.
fn alone<'l>(text: &Text, lists: &'l Lists) -> Option<&'l List> {
    match text.pieces.as_slice() {
        [Piece::Placeholder(placeholder)] => lists.get(&placeholder.name),
        _ => None,
    }
}

/// An empty list matches nothing, whatever it stands beside.
fn or_nothing(values: Vec<Value>) -> Vec<Value> {
    if values.is_empty() { vec![Value::Forms(Vec::new())] } else { values }
}

/// Texts as they stand in regular expressions: as they are written.
pub(super) fn as_regexes(texts: &[Text]) -> Vec<Text> {
    texts.iter().map(|text| Text::from(text.to_plain())).collect()
}

impl List {
    /// The values, each network also as one.
    fn values(&self) -> impl Iterator<Item = Value> {
        self.texts.iter().enumerate().map(|(index, text)| match self.networks.get(&index) {
            Some(network) => Value::Forms(vec![Value::Text(text.clone()), Value::Network(*network)]),
            None => Value::Text(text.clone()),
        })
    }
}

impl Text {
    /// Finds the placeholders of a text; `place_of` says where a name is written.
    pub(super) fn with_placeholders(&self, place_of: impl Fn(&str) -> Place) -> Self {
        let mut pieces = Pieces::default();
        for piece in &self.pieces {
            let Piece::Literal(text) = piece else {
                pieces.push(piece.clone());
                continue;
            };
            let mut rest = text.as_str();
            while let Some((before, name, after)) = split(rest) {
                pieces.literal(before);
                let place = place_of(name);
                pieces.push(Piece::Placeholder(Placeholder { name: name.to_owned(), place }));
                rest = after;
            }
            pieces.literal(rest);
        }
        self.with_pieces(pieces)
    }

    /// Gives all placeholders another place.
    pub(super) fn move_placeholders(&mut self, place: Place) {
        for piece in &mut self.pieces {
            if let Piece::Placeholder(placeholder) = piece {
                placeholder.place = place;
            }
        }
    }

    /// The first placeholder.
    pub(super) fn placeholder(&self) -> Option<&Placeholder> {
        self.pieces.iter().find_map(|piece| match piece {
            Piece::Placeholder(placeholder) => Some(placeholder),
            _ => None,
        })
    }

    /// Writes every placeholder in each way that `values` knows; those it does not know stay.
    pub(super) fn substitute<'v>(
        &self,
        values: impl Fn(&str) -> Option<Cow<'v, [Text]>>,
    ) -> Result<Vec<Self>, Kind> {
        let mut texts = vec![Pieces::default()];
        for piece in &self.pieces {
            let known = match piece {
                Piece::Placeholder(placeholder) => values(&placeholder.name),
                _ => None,
            };
            match known {
                Some(known) => texts = product(&texts, &known)?,
                None => texts.iter_mut().for_each(|text| text.append(std::slice::from_ref(piece))),
            }
        }
        Ok(texts.into_iter().map(|pieces| self.with_pieces(pieces)).collect())
    }
}

impl Pieces {
    /// Adds the pieces of another text; literals that meet become one.
    pub(super) fn append(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            match piece {
                Piece::Literal(text) => self.literal(text),
                other => self.push(other.clone()),
            }
        }
    }

    fn followed_by(&self, pieces: &[Piece]) -> Self {
        if self.0.is_empty() {
            return Self(pieces.to_vec());
        }
        let mut both = Self(self.0.clone());
        both.append(pieces);
        both
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(Piece::bytes).sum()
    }
}

impl Piece {
    /// Roughly the memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Piece::Literal(text) => text.len(),
                Piece::Placeholder(placeholder) => placeholder.name.len(),
                Piece::Many | Piece::One => 0,
            }
    }
}

/// Every text followed by every value.
fn product(texts: &[Pieces], values: &[Text]) -> Result<Vec<Pieces>, Kind> {
    let what = "the number of texts that placeholders stand for";
    if texts.len().saturating_mul(values.len()) > EXPANSIONS_MAX {
        return Err(Kind::Limit { what, max: EXPANSIONS_MAX });
    }
    let mut bytes = 0;
    let mut products = Vec::new();
    for text in texts {
        for value in values {
            let product = text.followed_by(&value.pieces);
            bytes += product.bytes();
            if bytes > EXPANDED_BYTES_MAX {
                let what = "the size of a text with its placeholders replaced";
                return Err(Kind::Limit { what, max: EXPANDED_BYTES_MAX });
            }
            products.push(product);
        }
    }
    Ok(products)
}

/// What stands before the first `%name%` of a text, the name, and what follows.
fn split(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(found) = text.get(from..)?.find('%') {
        let (before, rest) = text.split_at_checked(from + found)?;
        let rest = rest.strip_prefix('%')?;
        let named = rest.split_once('%').filter(|(name, _)| !name.is_empty() && !name.contains('\\'));
        if let Some((name, after)) = named {
            return Some((before, name, after));
        }
        from += found + 1;
    }
    None
}
