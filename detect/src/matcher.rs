//! The tests of one item, grouped so that a list of texts costs one look at the value.

mod keywords;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashSet;
use std::sync::OnceLock;

use aho_corasick::AhoCorasick;
use chrono::{DateTime, Datelike, Timelike, Utc};

use crate::field::{Sight, Value};
use crate::json::Kind;
use crate::sigma::{Anchor, Comparison, Part, Pattern, Regex, Test, TimePart, parse_address};
use crate::truth::Truth;
use keywords::RawNeedles;

/// The values of a field, and their texts without case: those are made when the first item
/// asks for them, for all items.
#[derive(Debug)]
pub(crate) struct Values<'v> {
    values: Vec<Value<'v>>,
    /// Nothing where folding changes nothing.
    folded: OnceCell<Vec<Option<Box<str>>>>,
}

impl<'v> Values<'v> {
    /// Takes what was read; strings are decoded once for all items.
    pub(crate) fn new(mut values: Vec<Value<'v>>) -> Self {
        for value in &mut values {
            if let Value::Json(json) = value
                && let Some(text) = json.as_str()
            {
                *value = Value::Text(text);
            }
        }
        Self { values, folded: OnceCell::new() }
    }

    pub(crate) fn iter(&self) -> core::slice::Iter<'_, Value<'v>> {
        self.values.iter()
    }

    /// Shows each text, as it is and without case, to `visit`.
    pub(crate) fn each_text(&self, mut visit: impl FnMut(&str, &str)) {
        for (value, folded) in self.values.iter().zip(self.folded()) {
            if let Some(text) = text_of(value) {
                visit(&text, folded.as_deref().unwrap_or(&text));
            }
        }
    }

    fn folded(&self) -> &[Option<Box<str>>] {
        let fold = |value: &Value<'_>| match fold(&text_of(value)?) {
            Cow::Borrowed(_) => None,
            Cow::Owned(folded) => Some(folded.into()),
        };
        self.folded.get_or_init(|| self.values.iter().map(fold).collect())
    }
}

/// What one item asks of the values of its field; any of the checks suffices.
#[derive(Debug)]
pub(crate) struct Matcher {
    folded: Texts,
    cased: Texts,
    others: Vec<Test>,
    /// Of keywords: what to look for in the bytes of an event.
    raw_needles: OnceLock<Option<RawNeedles>>,
}

/// What to look for in the values of a field to know whether an item may be true of them.
#[derive(Debug, Default)]
pub(crate) struct Sought<'m> {
    /// Texts without case that a value may be.
    pub(crate) whole: Vec<Cow<'m, str>>,
    /// Texts without case that it may hold.
    pub(crate) contained: Vec<Cow<'m, str>>,
    /// Expressions that may find something in it.
    pub(crate) expressions: Vec<&'m Regex>,
    /// Whether what is found makes the item true.
    pub(crate) is_all: bool,
}

/// Texts that are compared with one form of a value: as it is, or without case.
#[derive(Debug, Default)]
struct Texts {
    exact: HashSet<Box<str>, foldhash::fast::RandomState>,
    starts: Vec<Box<str>>,
    ends: Vec<Box<str>>,
    contained: Contained,
    globs: Vec<Box<[Part]>>,
    is_used: bool,
}

impl Matcher {
    /// Groups tests; of keywords every text is looked for anywhere.
    pub(crate) fn new(tests: &[Test], is_keyword: bool) -> Self {
        let (mut folded, mut cased, mut others) = (Texts::default(), Texts::default(), Vec::new());
        for test in tests {
            match test {
                Test::Text(pattern) if is_keyword || !is_any(pattern) => {
                    let parts: &[Part] = if is_keyword { &anywhere(pattern) } else { &pattern.parts };
                    if pattern.is_cased {
                        cased.add(parts, |text| text.into());
                    } else {
                        folded.add(parts, fold);
                    }
                }
                other => others.push(other.clone()),
            }
        }
        Self { folded, cased, others, raw_needles: OnceLock::new() }
    }

    /// Makes ready what the first question would.
    pub(crate) fn prepare(&self) {
        self.folded.contained.prepare();
        self.cased.contained.prepare();
        for test in &self.others {
            if let Test::Regex(regex) = test {
                regex.prepare();
            }
        }
    }

    /// What a value must be or hold for any of the tests to be true of it; nothing where that
    /// cannot be said in texts.
    pub(crate) fn sought(&self) -> Option<Sought<'_>> {
        let mut sought =
            Sought { is_all: self.others.is_empty() && !self.cased.is_used, ..Sought::default() };
        for test in &self.others {
            let Test::Regex(regex) = test else { return None };
            sought.expressions.push(regex);
        }
        self.folded.add_to(&mut sought)?;
        self.cased.add_to(&mut sought)?;
        let is_nothing =
            sought.whole.is_empty() && sought.contained.is_empty() && sought.expressions.is_empty();
        (!is_nothing).then_some(sought)
    }

    /// Whether the values of a field satisfy any of the tests. `refer` reads another field.
    pub(crate) fn truth<'v>(
        &self,
        values: &Values<'v>,
        sight: Sight,
        mut refer: impl FnMut(&str) -> (Vec<Value<'v>>, Sight),
    ) -> Truth {
        let not_found = sight.of_nothing();
        let found = |holds: bool| if holds { Truth::True } else { not_found };
        let mut truth = Truth::False;
        if self.has_texts() {
            truth = found(self.matches_any_text(values));
        }
        let values = values.values.as_slice();
        for test in &self.others {
            truth = truth.or(match (test, values) {
                (Test::Null | Test::Exists(false), []) => !not_found,
                (Test::Null, values) => values.iter().any(Value::is_null).into(),
                (Test::Exists(true), []) => not_found,
                (Test::Exists(expected), _) => (*expected).into(),
                (Test::FieldRef(field, anchor), values) => {
                    let (others, other_sight) = refer(field);
                    let is_absent = (values.is_empty() && sight == Sight::Clear)
                        || (others.is_empty() && other_sight == Sight::Clear);
                    match relates(values, &others, *anchor) {
                        true => Truth::True,
                        false if is_absent => Truth::False,
                        false if other_sight == Sight::Hidden => Truth::Unknown,
                        false => not_found,
                    }
                }
                (test, values) => found(values.iter().any(|value| holds(test, value))),
            });
        }
        truth
    }

    /// Whether a field without a value satisfies any of the tests; unknown if that depends on
    /// another field.
    pub(crate) fn of_absence(&self) -> Truth {
        self.truth(&Values::new(Vec::new()), Sight::Clear, |_| (Vec::new(), Sight::Hidden))
    }

    fn matches_any_text(&self, values: &Values<'_>) -> bool {
        let is_cased = |value: &Value<'_>| text_of(value).is_some_and(|text| self.cased.matches(&text));
        let is_folded = |(value, folded): (&Value<'_>, &Option<Box<str>>)| match folded {
            Some(folded) => self.folded.matches(folded),
            None => text_of(value).is_some_and(|text| self.folded.matches(&text)),
        };
        (self.cased.is_used && values.iter().any(is_cased))
            || (self.folded.is_used && values.iter().zip(values.folded()).any(is_folded))
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
        self.has_texts() && text_of(value).is_some_and(|text| self.matches_word(&text))
    }
}

impl Texts {
    /// Adds a pattern in the form of the values that it is compared with.
    fn add(&mut self, parts: &[Part], form: fn(&str) -> Cow<'_, str>) {
        self.is_used = true;
        let form_of = |part: &Part| match part {
            Part::Literal(text) => Part::Literal(form(text).into_owned()),
            other => other.clone(),
        };
        match parts {
            [] => drop(self.exact.insert("".into())),
            [Part::Literal(text)] => drop(self.exact.insert(form(text).into())),
            [Part::Literal(text), Part::Many] => self.starts.push(form(text).into()),
            [Part::Many, Part::Literal(text)] => self.ends.push(form(text).into()),
            [Part::Many, Part::Literal(text), Part::Many] => {
                self.contained.needles.push(form(text).into_owned());
            }
            _ => self.globs.push(parts.iter().map(form_of).collect()),
        }
    }

    /// Adds what a value must be or hold; nothing where a text may be anything.
    fn add_to<'m>(&'m self, sought: &mut Sought<'m>) -> Option<()> {
        let Self { exact, starts, ends, contained, globs, is_used: _ } = self;
        sought.is_all &= starts.is_empty() && ends.is_empty() && globs.is_empty();
        sought.whole.extend(exact.iter().map(|text| fold(text)));
        let literal =
            |part: &'m Part| if let Part::Literal(text) = part { Some(text.as_str()) } else { None };
        let longest = |parts: &'m [Part]| parts.iter().filter_map(literal).max_by_key(|text| text.len());
        let in_globs = globs.iter().map(|parts| longest(parts).unwrap_or_default());
        let ends = starts.iter().chain(ends).map(|text| &**text);
        for text in ends.chain(contained.needles.iter().map(String::as_str)).chain(in_globs) {
            if text.is_empty() {
                return None;
            }
            sought.contained.push(fold(text));
        }
        Some(())
    }

    fn matches(&self, text: &str) -> bool {
        self.exact.contains(text)
            || self.starts.iter().any(|start| text.starts_with(start.as_ref()))
            || self.ends.iter().any(|end| text.ends_with(end.as_ref()))
            || self.contained.is_in(text)
            || self.globs.iter().any(|parts| glob(parts, text))
    }
}

/// Texts of which any may stand anywhere; made ready at the first question, since most rules
/// are never asked.
#[derive(Debug, Default)]
struct Contained {
    needles: Vec<String>,
    /// Nothing for a list that is too large for one automaton.
    automaton: OnceLock<Option<AhoCorasick>>,
}

impl Contained {
    fn is_in(&self, text: &str) -> bool {
        let contains = |needle: &String| memchr::memmem::find(text.as_bytes(), needle.as_bytes()).is_some();
        match self.automaton() {
            Some(automaton) => automaton.is_match(text),
            None => self.needles.iter().any(contains),
        }
    }

    fn prepare(&self) {
        let _ = self.automaton();
    }

    /// Nothing for few needles, and for more than one automaton can hold.
    fn automaton(&self) -> Option<&AhoCorasick> {
        if self.needles.len() <= SEARCHES_MAX {
            return None;
        }
        self.automaton.get_or_init(|| AhoCorasick::new(&self.needles).ok()).as_ref()
    }
}

/// Up to how many texts are looked for one after the other: values are short.
const SEARCHES_MAX: usize = 2;

/// A text without its case: each character on its own, so that a part of a text folds to
/// the same part of the folded text.
pub(crate) fn fold(text: &str) -> Cow<'_, str> {
    if !text.is_ascii() {
        Cow::Owned(text.chars().flat_map(char::to_lowercase).collect())
    } else if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
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

/// The text of a value; one that was computed is not copied.
fn text_of<'t>(value: &'t Value<'_>) -> Option<Cow<'t, str>> {
    match value {
        Value::Json(json) => json.text(),
        Value::Text(text) => Some(Cow::Borrowed(text)),
    }
}

fn holds(test: &Test, value: &Value<'_>) -> bool {
    if let Test::Text(pattern) = test {
        return is_any(pattern) && !value.is_null();
    }
    let Some(text) = text_of(value) else { return false };
    match test {
        Test::Number(number) => text == number.as_str() || is_same_number(value, &text, number),
        Test::Regex(regex) => regex.is_match(&text),
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

/// How many bytes of texts one automaton looks for at once: it takes some hundred bytes of
/// memory for each.
const AUTOMATON_BYTES_MAX: usize = 1 << 18;

/// Whether any value relates to any other value; `null` and containers relate to nothing.
/// Both lists may be as long as a client likes, so no pair of them is compared.
fn relates(values: &[Value<'_>], others: &[Value<'_>], anchor: Anchor) -> bool {
    let folded = |value: &Value<'_>| Some(fold(&value.text()?).into_owned());
    let reversed = |value: &Value<'_>| Some(folded(value)?.chars().rev().collect::<String>());
    match anchor {
        Anchor::Whole => {
            let others: HashSet<String> = others.iter().filter_map(folded).collect();
            values.iter().filter_map(folded).any(|text| others.contains(&text))
        }
        Anchor::Start => {
            let starts = shortest(others.iter().filter_map(folded).collect());
            values.iter().filter_map(folded).any(|text| begins(&text, &starts))
        }
        Anchor::End => {
            let ends = shortest(others.iter().filter_map(reversed).collect());
            values.iter().filter_map(reversed).any(|text| begins(&text, &ends))
        }
        Anchor::Anywhere => {
            let mut others: Vec<String> = others.iter().filter_map(folded).collect();
            let texts: Vec<String> = values.iter().filter_map(folded).collect();
            while !others.is_empty() {
                if contains_any(&texts, &batch(&mut others)) {
                    return true;
                }
            }
            false
        }
    }
}

/// The texts in order, without those that begin with another.
fn shortest(mut texts: Vec<String>) -> Vec<String> {
    texts.sort_unstable();
    texts.dedup_by(|text, before| text.starts_with(before.as_str()));
    texts
}

/// Whether a text begins with one of `starts`, of which none begins with another: then only
/// the last one that is not greater can be it.
fn begins(text: &str, starts: &[String]) -> bool {
    let after = starts.partition_point(|start| start.as_str() <= text);
    starts[..after].last().is_some_and(|start| text.starts_with(start.as_str()))
}

/// Takes some texts from the end, as many as one automaton may look for.
fn batch(texts: &mut Vec<String>) -> Vec<String> {
    let mut bytes_left = AUTOMATON_BYTES_MAX;
    let start = texts.iter().rposition(|text| {
        let left = bytes_left.checked_sub(text.len());
        bytes_left = left.unwrap_or(0);
        left.is_none()
    });
    let last = texts.len().saturating_sub(1);
    texts.split_off(start.map_or(0, |start| (start + 1).min(last)))
}

fn contains_any(texts: &[String], needles: &[String]) -> bool {
    match AhoCorasick::new(needles) {
        Ok(automaton) => texts.iter().any(|text| automaton.is_match(text.as_str())),
        // Too large for an automaton: there are few of that size.
        Err(_) => texts.iter().any(|text| needles.iter().any(|needle| text.contains(needle.as_str()))),
    }
}

#[cfg(test)]
mod tests {
    use super::{Anchor, Value, relates};

    #[test]
    fn one_field_relates_to_another_as_its_texts_do() {
        let words = ["", "a", "ab", "b", "aba", "é", "éa", "aé", "bab", "A"];
        for anchor in [Anchor::Whole, Anchor::Start, Anchor::End, Anchor::Anywhere] {
            let holds = |text: &str, other: &str| match anchor {
                Anchor::Whole => text == other,
                Anchor::Start => text.starts_with(other),
                Anchor::End => text.ends_with(other),
                Anchor::Anywhere => text.contains(other),
            };
            for text in words {
                for pair in words.iter().flat_map(|one| words.iter().map(move |other| [*one, *other])) {
                    let lower = |text: &str| text.to_lowercase();
                    let expected = pair.iter().any(|other| holds(&lower(text), &lower(other)));
                    assert_eq!(
                        relates(&values(&[text]), &values(&pair), anchor),
                        expected,
                        "{text} {pair:?}"
                    );
                }
            }
        }
    }

    // A test may look at the clock.
    #[allow(clippy::disallowed_methods)]
    #[test]
    fn two_long_lists_are_compared_in_less_than_the_product_of_their_lengths() {
        let texts: Vec<String> = (0..60_000).map(|n| format!("{n}-of-some-container-{n}")).collect();
        let others: Vec<String> = (0..60_000).map(|n| format!("{n}+of+some+container+{n}")).collect();
        let texts = values(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        let others = values(&others.iter().map(String::as_str).collect::<Vec<_>>());
        // The product is 3.6 thousand million pairs: this would not end.
        for anchor in [Anchor::Whole, Anchor::Start, Anchor::End, Anchor::Anywhere] {
            assert!(!relates(&texts, &others, anchor));
            assert!(relates(&texts, &texts[59_999..], anchor));
        }
    }

    fn values<'t>(texts: &[&'t str]) -> Vec<Value<'t>> {
        texts.iter().map(|text| Value::Text((*text).into())).collect()
    }
}
