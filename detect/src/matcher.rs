//! The tests of one item, grouped so that a list of texts costs one look at the value.

use std::borrow::Cow;
use std::collections::HashSet;

use aho_corasick::AhoCorasick;
use chrono::{DateTime, Datelike, Timelike, Utc};

use crate::field::{Sight, Value};
use crate::json::Kind;
use crate::sigma::{Anchor, Comparison, Part, Pattern, Test, TimePart, parse_address};
use crate::truth::Truth;

/// What one item asks of the values of its field; any of the checks suffices.
#[derive(Debug)]
pub(crate) struct Matcher {
    folded: Texts,
    cased: Texts,
    others: Vec<Test>,
}

/// Texts that are compared with one form of a value: as it is, or without case.
#[derive(Debug, Default)]
struct Texts {
    exact: HashSet<Box<str>>,
    starts: Vec<Box<str>>,
    ends: Vec<Box<str>>,
    contained: Option<AhoCorasick>,
    globs: Vec<Box<[Part]>>,
    is_used: bool,
}

impl Matcher {
    /// Groups tests; of keywords every text is looked for anywhere.
    pub(crate) fn new(tests: &[Test], is_keyword: bool) -> Self {
        let (mut folded, mut cased, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for test in tests {
            match test {
                Test::Text(pattern) if is_keyword || !is_any(pattern) => {
                    let parts = if is_keyword { anywhere(pattern) } else { pattern.parts.clone() };
                    if pattern.is_cased { cased.push(parts) } else { folded.push(fold_parts(&parts)) }
                }
                other => others.push(other.clone()),
            }
        }
        Self { folded: Texts::new(folded), cased: Texts::new(cased), others }
    }

    /// The field that a `fieldref` among the tests names.
    pub(crate) fn referenced(&self) -> impl Iterator<Item = &str> {
        self.others.iter().filter_map(|test| match test {
            Test::FieldRef(field, _) => Some(field.as_str()),
            _ => None,
        })
    }

    /// Whether the values of a field satisfy any of the tests. `refer` reads another field.
    pub(crate) fn truth<'v>(
        &self,
        values: &[Value<'v>],
        sight: Sight,
        mut refer: impl FnMut(&str) -> (Vec<Value<'v>>, Sight),
    ) -> Truth {
        let not_found = if sight == Sight::Hidden { Truth::Unknown } else { Truth::False };
        let found = |holds: bool| if holds { Truth::True } else { not_found };
        let mut truth = Truth::False;
        if self.has_texts() {
            truth = found(values.iter().any(|value| self.matches_text(value)));
        }
        for test in &self.others {
            truth = truth.or(match (test, values) {
                (Test::Null | Test::Exists(false), []) => !not_found,
                (Test::Null, values) => values.iter().any(Value::is_null).into(),
                (Test::Exists(true), []) => not_found,
                (Test::Exists(expected), _) => (*expected).into(),
                (Test::FieldRef(field, anchor), values) => {
                    let (others, other_sight) = refer(field);
                    match relates(values, &others, *anchor) {
                        false if other_sight == Sight::Hidden => Truth::Unknown,
                        relates => found(relates),
                    }
                }
                (test, values) => found(values.iter().any(|value| holds(test, value))),
            });
        }
        truth
    }

    /// Whether one key or value of the event satisfies any of the tests of a keyword.
    pub(crate) fn matches_keyword(&self, word: &str) -> bool {
        self.matches_word(word)
            || self.others.iter().any(|test| holds(test, &Value::Text(Cow::Borrowed(word))))
    }

    fn matches_word(&self, word: &str) -> bool {
        (self.cased.is_used && self.cased.matches(word))
            || (self.folded.is_used && self.folded.matches(&fold(word)))
    }

    /// Whether this value alone satisfies any of the tests that look at values.
    pub(crate) fn matches_value(&self, value: &Value<'_>) -> bool {
        self.matches_text(value) || self.others.iter().any(|test| holds(test, value))
    }

    fn has_texts(&self) -> bool {
        self.cased.is_used || self.folded.is_used
    }

    fn matches_text(&self, value: &Value<'_>) -> bool {
        self.has_texts() && value.text().is_some_and(|text| self.matches_word(&text))
    }
}

impl Texts {
    fn new(patterns: Vec<Vec<Part>>) -> Self {
        let mut texts = Texts { is_used: !patterns.is_empty(), ..Texts::default() };
        let mut contained = Vec::new();
        for parts in patterns {
            match parts.as_slice() {
                [] => drop(texts.exact.insert("".into())),
                [Part::Literal(text)] => drop(texts.exact.insert(text.as_str().into())),
                [Part::Literal(text), Part::Many] => texts.starts.push(text.as_str().into()),
                [Part::Many, Part::Literal(text)] => texts.ends.push(text.as_str().into()),
                [Part::Many, Part::Literal(text), Part::Many] => contained.push(text.clone()),
                _ => texts.globs.push(parts.into()),
            }
        }
        // A list too large for one automaton falls back to one search each.
        match AhoCorasick::new(&contained) {
            _ if contained.is_empty() => {}
            Ok(automaton) => texts.contained = Some(automaton),
            Err(_) => texts.globs.extend(
                contained.into_iter().map(|text| Box::from([Part::Many, Part::Literal(text), Part::Many])),
            ),
        }
        texts
    }

    fn matches(&self, text: &str) -> bool {
        self.exact.contains(text)
            || self.starts.iter().any(|start| text.starts_with(start.as_ref()))
            || self.ends.iter().any(|end| text.ends_with(end.as_ref()))
            || self.contained.as_ref().is_some_and(|needles| needles.is_match(text))
            || self.globs.iter().any(|parts| glob(parts, text))
    }
}

/// A text without its case: each character on its own, so that a part of a text folds to
/// the same part of the folded text.
pub(crate) fn fold(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.chars().flat_map(char::to_lowercase).collect())
    }
}

fn fold_parts(parts: &[Part]) -> Vec<Part> {
    parts
        .iter()
        .map(|part| match part {
            Part::Literal(text) => Part::Literal(fold(text).into_owned()),
            other => other.clone(),
        })
        .collect()
}

/// True for `*`, which any present value satisfies, objects and lists too.
pub(crate) fn is_any(pattern: &Pattern) -> bool {
    !pattern.parts.is_empty() && pattern.parts.iter().all(|part| *part == Part::Many)
}

fn anywhere(pattern: &Pattern) -> Vec<Part> {
    let mut parts: Vec<Part> = pattern.parts.clone();
    if parts.first() != Some(&Part::Many) {
        parts.insert(0, Part::Many);
    }
    if parts.last() != Some(&Part::Many) || parts.len() == 1 {
        parts.push(Part::Many);
    }
    parts
}

/// Whether the parts spell the whole text. Backtracks to the last `*` only, so the cost is
/// at most the product of both lengths.
fn glob(parts: &[Part], text: &str) -> bool {
    let (mut part, mut rest) = (0, text);
    let mut retry: Option<(usize, &str)> = None;
    loop {
        let next = match parts.get(part) {
            Some(Part::Many) => {
                retry = Some((part + 1, rest));
                Some(rest)
            }
            Some(Part::Literal(literal)) => rest.strip_prefix(literal.as_str()),
            Some(Part::One) => without_first(rest),
            None if rest.is_empty() => return true,
            None => None,
        };
        if let Some(next) = next {
            (part, rest) = (part + 1, next);
            continue;
        }
        let Some((after_many, from)) = retry else { return false };
        let Some(from) = without_first(from) else { return false };
        retry = Some((after_many, from));
        (part, rest) = (after_many, from);
    }
}

fn without_first(text: &str) -> Option<&str> {
    let mut characters = text.chars();
    characters.next().map(|_| characters.as_str())
}

fn holds(test: &Test, value: &Value<'_>) -> bool {
    if let Test::Text(pattern) = test {
        return is_any(pattern) && !value.is_null();
    }
    let Some(text) = value.text() else { return false };
    match test {
        Test::Number(number) => text == number.as_str() || is_same_number(value, &text, number),
        Test::Regex(regex) => regex.regex.is_match(&text),
        Test::Cidr(net) => parse_address(&text).is_some_and(|address| net.contains(&address.to_canonical())),
        Test::Compare(comparison, limit) => {
            text.trim().parse().is_ok_and(|number| compares(number, *comparison, *limit))
        }
        Test::Time(part, expected) => time_part(&text, *part) == Some(*expected),
        _ => false,
    }
}

fn is_same_number(value: &Value<'_>, text: &str, number: &str) -> bool {
    if !matches!(value, Value::Json(json) if json.kind() == Kind::Number) {
        return false;
    }
    match (text.parse::<i128>(), number.parse::<i128>()) {
        (Ok(left), Ok(right)) => left == right,
        _ => {
            matches!((text.parse::<f64>(), number.parse::<f64>()), (Ok(left), Ok(right)) if left.total_cmp(&right).is_eq())
        }
    }
}

fn compares(number: f64, comparison: Comparison, limit: f64) -> bool {
    match comparison {
        Comparison::Less => number < limit,
        Comparison::LessOrEqual => number <= limit,
        Comparison::Greater => number > limit,
        Comparison::GreaterOrEqual => number >= limit,
    }
}

fn time_part(text: &str, part: TimePart) -> Option<i64> {
    let time = DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc);
    Some(match part {
        TimePart::Minute => time.minute().into(),
        TimePart::Hour => time.hour().into(),
        TimePart::Day => time.day().into(),
        TimePart::Week => time.iso_week().week().into(),
        TimePart::Month => time.month().into(),
        TimePart::Year => time.year().into(),
    })
}

/// Whether any value relates to any other value; `null` and containers relate to nothing.
fn relates(values: &[Value<'_>], others: &[Value<'_>], anchor: Anchor) -> bool {
    let others: Vec<String> =
        others.iter().filter_map(Value::text).map(|text| fold(&text).into_owned()).collect();
    let exact: HashSet<&str> = others.iter().map(String::as_str).collect();
    values.iter().filter_map(Value::text).any(|text| {
        let text = fold(&text);
        match anchor {
            Anchor::Whole => exact.contains(text.as_ref()),
            Anchor::Start => others.iter().any(|other| text.starts_with(other)),
            Anchor::End => others.iter().any(|other| text.ends_with(other)),
            Anchor::Anywhere => others.iter().any(|other| text.contains(other)),
        }
    })
}
