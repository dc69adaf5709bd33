//! Says what a rule looks for and why it did or did not match, as data.
//!
//! The tree has the shape of the condition as it was written, and every part of it is
//! decided on its own, so this is also the plainest evaluator there is.

use crate::derived::{Element, ElementKind, Elements, List, Part as ElementPart};
use crate::event::{Event, Key};
use crate::field::{Field, Settings, Sight, Value, View};
use crate::json::Json;
use crate::matcher::{Matcher, Values, is_any};
use crate::scan;
use crate::sigma::{Anchor, Block, Comparison, Expr, Item, Part, Pattern, Quantifier, Test, TimePart};
use crate::truth::Truth;

/// How many values of a field an explanation shows.
pub const VALUES_MAX: usize = 5;
/// How much of one value it shows, in characters.
pub const VALUE_CHARACTERS_MAX: usize = 160;
/// How many of the alternatives of a test it names.
pub const ALTERNATIVES_MAX: usize = 8;

/// A part of a condition, in words, and whether it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// How the part relates to what is below it.
    pub kind: Kind,
    /// What it asks for; may hold any character that a rule may hold.
    pub label: String,
    /// Whether it holds in the event; nothing when there is no event.
    pub truth: Option<Truth>,
    /// The values that the event has, those that satisfy the test first; may hold any
    /// character that an event may hold.
    pub values: Vec<String>,
    /// How many values there are altogether.
    pub value_count: usize,
    /// Why the field cannot be seen in this event.
    pub hidden: Option<Hidden>,
    /// What it consists of.
    pub parts: Vec<Explanation>,
}

/// How a part of a condition relates to the parts below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All of them must hold.
    All,
    /// One of them must hold.
    Any,
    /// The only one must not hold.
    Not,
    /// The only one, under a name.
    Selection,
    /// What holds for single elements of a list; of no event, what is asked of them.
    Elements,
    /// There are none: a test of a field.
    Test,
}

/// Why an event does not show a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hidden {
    /// The body was cut to keep the event small.
    #[error("the event was truncated")]
    Truncated,
    /// The audit policy logs no bodies for this request.
    #[error("the audit level is `Metadata`")]
    Metadata,
    /// The audit policy logs no response for this request.
    #[error("the audit level is `Request`")]
    Request,
    /// The stage comes before the body was read.
    #[error("the stage is `RequestReceived`, before the body is read")]
    Received,
    /// The API server refused the request before it read the body.
    #[error("the request was refused before its body was read")]
    Refused,
}

/// Describes what a condition looks for.
pub fn describe(condition: &Expr) -> Explanation {
    part(condition, Scope::None)
}

/// Describes what a condition looks for, and what of it the event shows.
pub fn explain(condition: &Expr, event: &Event<'_>, settings: &Settings) -> Explanation {
    part(condition, Scope::Event(View { event, settings }))
}

impl Explanation {
    /// The tests that decide whether the whole holds, in their order.
    pub fn reasons(&self) -> Vec<&Explanation> {
        match self.kind {
            Kind::Test => vec![self],
            Kind::Elements if self.parts.is_empty() => vec![self],
            Kind::Not | Kind::Selection | Kind::Elements => {
                self.parts.iter().flat_map(Self::reasons).collect()
            }
            Kind::All | Kind::Any => {
                self.parts.iter().filter(|part| part.truth == self.truth).flat_map(Self::reasons).collect()
            }
        }
    }
}

/// Where fields are looked up.
#[derive(Clone, Copy)]
enum Scope<'a, 't> {
    None,
    Event(View<'a>),
    Element(View<'a>, &'t Element<'a, 't>, ElementKind),
}

impl<'a> Scope<'a, '_> {
    fn view(self) -> Option<View<'a>> {
        match self {
            Scope::None => None,
            Scope::Event(view) | Scope::Element(view, ..) => Some(view),
        }
    }

    fn read(self, name: &str, values: &mut Vec<Value<'a>>) -> Sight {
        match self {
            Scope::None => Sight::Clear,
            Scope::Event(view) => Field::parse(name).read(view, values),
            Scope::Element(_, element, kind) => element.read(&ElementPart::parse(name, kind), values),
        }
    }
}

fn part(expr: &Expr, view: Scope<'_, '_>) -> Explanation {
    match expr {
        Expr::All(parts) => group(Kind::All, "all of", parts, view),
        Expr::Any(parts) => group(Kind::Any, "any of", parts, view),
        Expr::Not(inner) => group(Kind::Not, "not", std::slice::from_ref(inner.as_ref()), view),
        Expr::Named(name, inner) => group(Kind::Selection, name, std::slice::from_ref(inner.as_ref()), view),
        Expr::Item(item) => test(item, view),
        Expr::Block(inner) => block(inner, view),
    }
}

/// A block in words: what is asked of an element, or each element of the event with what
/// holds for it, those that decide first.
fn block(block: &Block, scope: Scope<'_, '_>) -> Explanation {
    let position = block.quantifier.position();
    match scope {
        Scope::None => elements_of(block, None),
        Scope::Event(view) => {
            let list = List::parse(&block.list);
            list.read(position, view, |elements| elements_of(block, Some((view, elements, list.kind()))))
        }
        Scope::Element(view, element, kind) => {
            let elements = element.elements(&ElementPart::parse(&block.list, kind), kind, position);
            elements_of(block, Some((view, &elements, kind.inner())))
        }
    }
}

fn elements_of<'a>(block: &Block, found: Option<(View<'a>, &Elements<'a, '_>, ElementKind)>) -> Explanation {
    let words = match block.quantifier {
        Quantifier::Any => "any element of".to_owned(),
        Quantifier::All => "every element, and at least one, of".to_owned(),
        Quantifier::AllOrEmpty => "every element, if there is one, of".to_owned(),
        Quantifier::None => "no element of".to_owned(),
        Quantifier::At(position) => format!("the element at {position} of"),
    };
    let label = format!("{words} `{}`", block.list);
    let mut explanation = Explanation {
        kind: Kind::Elements,
        label,
        truth: None,
        values: Vec::new(),
        value_count: 0,
        hidden: None,
        parts: Vec::new(),
    };
    let Some((view, elements, element_kind)) = found else {
        explanation.parts.push(part(&block.body, Scope::None));
        return explanation;
    };
    let is_universal = matches!(block.quantifier, Quantifier::All | Quantifier::AllOrEmpty);
    let wanted = if is_universal { Truth::False } else { Truth::True };
    let (mut deciding, mut others) = (Vec::new(), Vec::new());
    let truths = elements.all.iter().enumerate().map(|(number, element)| {
        let body = part(&block.body, Scope::Element(view, element, element_kind));
        let truth = body.truth.unwrap_or(Truth::Unknown);
        let list = if truth == wanted { &mut deciding } else { &mut others };
        if list.len() < VALUES_MAX {
            let label = format!("element {}", number + 1);
            list.push(Explanation { label, kind: Kind::Selection, parts: vec![body], ..explanation.clone() });
            if let Some(last) = list.last_mut() {
                last.truth = Some(truth);
            }
        }
        truth
    });
    let truths: Vec<Truth> = truths.collect();
    explanation.truth = Some(block.quantifier.truth(elements.sight, truths.into_iter()));
    if elements.sight == Sight::Hidden && explanation.truth == Some(Truth::Unknown) {
        explanation.hidden = Some(hidden(view.event));
    }
    explanation.parts = deciding.into_iter().chain(others).take(VALUES_MAX).collect();
    explanation
}

fn group(kind: Kind, label: &str, parts: &[Expr], view: Scope<'_, '_>) -> Explanation {
    let parts: Vec<_> = parts.iter().map(|expr| part(expr, view)).collect();
    let truth = view.view().map(|_| {
        let truths = parts.iter().filter_map(|part| part.truth);
        match kind {
            Kind::Any => truths.fold(Truth::False, Truth::or),
            Kind::Not => !truths.fold(Truth::True, Truth::and),
            Kind::All | Kind::Selection | Kind::Elements | Kind::Test => truths.fold(Truth::True, Truth::and),
        }
    });
    let label = label.to_owned();
    Explanation { kind, label, truth, values: Vec::new(), value_count: 0, hidden: None, parts }
}

fn test(item: &Item, scope: Scope<'_, '_>) -> Explanation {
    let mut explanation = Explanation {
        kind: Kind::Test,
        label: label_of(item),
        truth: None,
        values: Vec::new(),
        value_count: 0,
        hidden: None,
        parts: Vec::new(),
    };
    let Some(view) = scope.view() else { return explanation };
    let matcher = Matcher::new(&item.tests, item.field.is_none());
    match &item.field {
        None => keywords(&mut explanation, &matcher, view.event),
        Some(name) => field(&mut explanation, name, &matcher, scope, view),
    }
    explanation
}

fn keywords(explanation: &mut Explanation, matcher: &Matcher, event: &Event<'_>) {
    let words = scan::Scalars::new(event.raw()).filter_map(Json::text);
    let found: Vec<String> = words
        .filter(|word| matcher.matches_keyword(word))
        .take(VALUES_MAX)
        .map(|word| shorten(&word))
        .collect();
    explanation.truth = Some((!found.is_empty()).into());
    explanation.value_count = found.len();
    explanation.values = found;
}

fn field(explanation: &mut Explanation, name: &str, matcher: &Matcher, scope: Scope<'_, '_>, view: View<'_>) {
    let mut values = Vec::new();
    let sight = scope.read(name, &mut values);
    let values = Values::new(values);
    let truth = matcher.truth(&values, sight, |other| {
        let mut others = Vec::new();
        let sight = scope.read(other, &mut others);
        (others, sight)
    });
    explanation.truth = Some(truth);
    explanation.value_count = values.iter().len();
    let (good, bad): (Vec<_>, Vec<_>) = values.iter().partition(|value| matcher.matches_value(value));
    explanation.values = good.into_iter().chain(bad).take(VALUES_MAX).map(value_text).collect();
    if truth == Truth::Unknown || (explanation.value_count == 0 && sight == Sight::Hidden) {
        explanation.hidden = Some(hidden(view.event));
    }
}

/// Why bodies are hidden in this event; the order is that of what hides most.
fn hidden(event: &Event<'_>) -> Hidden {
    let is = |key, text: &str| event.str(key).as_deref() == Some(text);
    if is(Key::Level, "Metadata") || is(Key::Level, "None") {
        Hidden::Metadata
    } else if event.at(Key::Annotations, &["audit.k8s.io/truncated"]).is_some() {
        Hidden::Truncated
    } else if is(Key::Stage, "RequestReceived") {
        Hidden::Received
    } else if event.get(Key::RequestObject).is_none() && crate::derived::outcome(event) == "denied" {
        Hidden::Refused
    } else {
        Hidden::Request
    }
}

fn value_text(value: &Value<'_>) -> String {
    match value.text() {
        Some(text) => shorten(&text),
        None => match value {
            // Cut before decoding: a body may be large.
            Value::Json(json) => {
                let bytes = json.bytes();
                shorten(&String::from_utf8_lossy(&bytes[..bytes.len().min(VALUE_CHARACTERS_MAX * 4 + 4)]))
            }
            Value::Text(text) => shorten(text),
        },
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn label_of(item: &Item) -> String {
    let mut phrases: Vec<(Phrase, Vec<String>)> = Vec::new();
    for test in item.tests.iter() {
        let (phrase, operand) = if item.field.is_none() { keyword_phrase(test) } else { phrase_of(test) };
        match phrases.iter_mut().find(|(known, _)| *known == phrase) {
            Some((_, operands)) => operands.extend(operand),
            None => phrases.push((phrase, operand.into_iter().collect())),
        }
    }
    let words: Vec<String> = phrases.iter().map(|(phrase, operands)| phrase.with(operands)).collect();
    let subject = match item.field.as_deref() {
        None => "the event".to_owned(),
        Some(".") => "the element".to_owned(),
        Some(name) => format!("`{name}`"),
    };
    format!("{subject} {}", words.join(", or "))
}

/// How a test is said: before one operand, and before several.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Phrase {
    one: &'static str,
    several: &'static str,
    end: &'static str,
}

impl Phrase {
    const fn new(one: &'static str, several: &'static str) -> Self {
        Self { one, several, end: "" }
    }

    fn with(self, operands: &[String]) -> String {
        match operands {
            [] => format!("{}{}", self.one, self.end),
            [operand] => format!("{} `{operand}`{}", self.one, self.end),
            _ => {
                let quoted: Vec<String> =
                    operands.iter().take(ALTERNATIVES_MAX).map(|operand| format!("`{operand}`")).collect();
                let more = match operands.len().saturating_sub(ALTERNATIVES_MAX) {
                    0 => String::new(),
                    count => format!(" … ({count} more)"),
                };
                format!("{} {}{more}{}", self.several, quoted.join(", "), self.end)
            }
        }
    }
}

const CONTAINS: Phrase = Phrase::new("contains", "contains any of");

fn keyword_phrase(test: &Test) -> (Phrase, Option<String>) {
    match test {
        Test::Text(pattern) => (CONTAINS, Some(spell(pattern).trim_matches('*').to_owned())),
        other => phrase_of(other),
    }
}

fn phrase_of(test: &Test) -> (Phrase, Option<String>) {
    match test {
        Test::Text(pattern) => text_phrase(pattern),
        Test::Number(number) => (Phrase::new("is", "is one of"), Some(number.clone())),
        Test::Null | Test::Exists(false) => (Phrase::new("is absent", ""), None),
        Test::Exists(true) => (Phrase::new("is present", ""), None),
        Test::Regex(regex) => (
            Phrase::new("matches the expression", "matches any of the expressions"),
            Some(regex.as_str().to_owned()),
        ),
        Test::Cidr(network) => {
            (Phrase::new("lies in the network", "lies in any of the networks"), Some(network.to_string()))
        }
        Test::Compare(comparison, limit) => (comparison_phrase(*comparison), Some(limit.to_string())),
        Test::FieldRef(field, anchor) => (reference_phrase(*anchor), Some(field.clone())),
        Test::Time(part, expected) => (time_phrase(*part), Some(expected.to_string())),
    }
}

fn text_phrase(pattern: &Pattern) -> (Phrase, Option<String>) {
    let phrase = match pattern.parts.as_slice() {
        [] => return (Phrase::new("is empty", ""), None),
        _ if is_any(pattern) => return (Phrase::new("has any value", ""), None),
        [Part::Literal(_)] => Phrase::new("is", "is one of"),
        [Part::Literal(_), Part::Many] => Phrase::new("begins with", "begins with any of"),
        [Part::Many, Part::Literal(_)] => Phrase::new("ends with", "ends with any of"),
        [Part::Many, Part::Literal(_), Part::Many] => CONTAINS,
        _ => return (cased(Phrase::new("looks like", "looks like any of"), pattern), Some(spell(pattern))),
    };
    let literal = pattern.parts.iter().find_map(|part| match part {
        Part::Literal(text) => Some(text.clone()),
        _ => None,
    });
    (cased(phrase, pattern), literal)
}

fn cased(phrase: Phrase, pattern: &Pattern) -> Phrase {
    Phrase { end: if pattern.is_cased { " (case matters)" } else { "" }, ..phrase }
}

fn spell(pattern: &Pattern) -> String {
    let pieces = pattern.parts.iter().map(|part| match part {
        Part::Literal(text) => text.as_str(),
        Part::Many => "*",
        Part::One => "?",
    });
    pieces.collect()
}

fn comparison_phrase(comparison: Comparison) -> Phrase {
    match comparison {
        Comparison::Less => Phrase::new("is less than", "is less than any of"),
        Comparison::LessOrEqual => Phrase::new("is at most", "is at most any of"),
        Comparison::Greater => Phrase::new("is greater than", "is greater than any of"),
        Comparison::GreaterOrEqual => Phrase::new("is at least", "is at least any of"),
    }
}

fn reference_phrase(anchor: Anchor) -> Phrase {
    match anchor {
        Anchor::Whole => Phrase::new("equals the field", "equals any of the fields"),
        Anchor::Start => Phrase::new("begins with the field", "begins with any of the fields"),
        Anchor::End => Phrase::new("ends with the field", "ends with any of the fields"),
        Anchor::Anywhere => Phrase::new("contains the field", "contains any of the fields"),
    }
}

fn time_phrase(part: TimePart) -> Phrase {
    match part {
        TimePart::Minute => Phrase::new("is in minute", "is in one of the minutes"),
        TimePart::Hour => Phrase::new("is in hour", "is in one of the hours"),
        TimePart::Day => Phrase::new("is on day", "is on one of the days"),
        TimePart::Week => Phrase::new("is in week", "is in one of the weeks"),
        TimePart::Month => Phrase::new("is in month", "is in one of the months"),
        TimePart::Year => Phrase::new("is in year", "is in one of the years"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sigma::Place;

    fn text(field: &str, parts: &[Part]) -> Expr {
        let pattern = Pattern { parts: parts.to_vec(), is_cased: false };
        let field = Some(field.to_owned());
        Expr::Item(Item { field, tests: [Test::Text(pattern)].into(), place: Place::default() })
    }

    fn is(field: &str, value: &str) -> Expr {
        text(field, &[Part::Literal(value.to_owned())])
    }

    fn judge(expr: &Expr, event: &str) -> Explanation {
        let event = Event::parse(event.as_bytes()).unwrap();
        part(expr, Scope::Event(View { event: &event, settings: &Settings::default() }))
    }

    #[test]
    fn alternatives_of_one_kind_are_said_in_one_breath() {
        let tests = ["create", "get"]
            .map(|verb| Test::Text(Pattern { parts: vec![Part::Literal(verb.to_owned())], is_cased: false }));
        let item = Item { field: Some("verb".to_owned()), tests: tests.into(), place: Place::default() };
        assert_eq!(label_of(&item), "`verb` is one of `create`, `get`");
        let item = Item { tests: [Test::Null, item.tests[0].clone()].into(), ..item };
        assert_eq!(label_of(&item), "`verb` is absent, or is `create`");
    }

    #[test]
    fn the_reasons_are_the_tests_that_decide() {
        let expr = Expr::All(vec![is("verb", "get"), Expr::Not(Box::new(is("stage", "Panic")))]);
        let labels = |event| -> Vec<String> {
            judge(&expr, event).reasons().iter().map(|reason| reason.label.clone()).collect()
        };
        assert_eq!(labels(r#"{"verb":"list","stage":"Panic"}"#), ["`verb` is `get`", "`stage` is `Panic`"]);
        assert_eq!(labels(r#"{"verb":"get","stage":"Panic"}"#), ["`stage` is `Panic`"]);
        assert_eq!(judge(&expr, r#"{"verb":"get"}"#).truth, Some(Truth::True));
    }

    #[test]
    fn a_hidden_field_says_what_hides_it() {
        let expr = is("requestObject.spec.hostNetwork", "true");
        let hidden = |rest: &str| {
            let seen = judge(&expr, &format!(r#"{{"verb":"create",{rest}}}"#));
            (seen.truth, seen.hidden)
        };
        let unknown = Some(Truth::Unknown);
        assert_eq!(hidden(r#""level":"Metadata""#), (unknown, Some(Hidden::Metadata)));
        assert_eq!(
            hidden(r#""level":"Request","stage":"RequestReceived""#),
            (unknown, Some(Hidden::Received))
        );
        assert_eq!(
            hidden(r#""level":"Request","annotations":{"audit.k8s.io/truncated":"true"}"#),
            (unknown, Some(Hidden::Truncated))
        );
        assert_eq!(hidden(r#""level":"Request""#), (Some(Truth::False), None));
    }

    #[test]
    fn values_that_satisfy_come_first_and_are_bounded() {
        let names: Vec<String> = (0..50).map(|number| format!("\"{number}\"")).collect();
        let seen =
            judge(&is("user.groups", "42"), &format!(r#"{{"user":{{"groups":[{}]}}}}"#, names.join(",")));
        assert_eq!((seen.value_count, seen.values.len()), (50, VALUES_MAX));
        assert_eq!(seen.values[0], "42");
        let long = judge(&is("verb", "x"), &format!(r#"{{"verb":"{}"}}"#, "y".repeat(100_000)));
        assert_eq!(long.values[0].chars().count(), VALUE_CHARACTERS_MAX + 1);
    }
}
