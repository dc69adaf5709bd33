//! The obvious engine: parse the whole event with `serde_json`, walk the condition.
//!
//! No index, no grouping, no memory between items, and nothing shared with the real engine
//! but the computed fields, which have tests of their own.

mod blocks;
pub(crate) mod random;

use detect::derived;
use detect::event::Event;
use detect::field::{Field, Settings, Sight, Value, View};
use detect::sigma::{
    Anchor, Comparison, Expr, Item, Level, Logic, Logsource, Part, Pattern, Rule, Test, TimePart,
};
use detect::{Engine, Scratch, Truth};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The single place that touches the engine.
pub(crate) fn verdicts(engine: &Engine, scratch: &mut Scratch, json: impl AsRef<[u8]>) -> Vec<Truth> {
    let event = Event::parse(json.as_ref()).expect("the generator writes valid objects");
    let blind_before = scratch.blind_counts.clone();
    let mut verdicts = vec![Truth::False; engine.rules().len()];
    engine.evaluate(&event, scratch, |found| verdicts[found.rule] = Truth::True);
    for (number, verdict) in verdicts.iter_mut().enumerate() {
        if scratch.blind_counts[number] > blind_before[number] {
            assert_eq!(*verdict, Truth::False, "a rule cannot both match and be blind");
            *verdict = Truth::Unknown;
        }
    }
    verdicts
}

/// A rule of nothing but a condition.
pub(crate) fn rule((number, condition): (usize, &Expr)) -> Rule {
    Rule {
        path: "random.yml".into(),
        id: number.to_string(),
        title: number.to_string(),
        level: Level::Low,
        status: None,
        description: String::new(),
        tags: vec![],
        falsepositives: vec![],
        references: vec![],
        logsource: Logsource::default(),
        custom: vec![],
        name: None,
        logic: Logic::Event(condition.clone()),
    }
}

/// A parsed value. Objects keep duplicates, numbers their text.
#[derive(Clone, Debug)]
pub(crate) enum Dom {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Dom>),
    Map(Vec<(String, Dom)>),
}

impl Dom {
    pub(crate) fn parse(json: &str) -> Dom {
        match json.as_bytes()[0] {
            b'{' => {
                Dom::Map(pairs(json).into_iter().map(|(key, value)| (key, Dom::parse(value.get()))).collect())
            }
            b'[' => {
                let elements: Vec<&RawValue> = serde_json::from_str(json).unwrap();
                Dom::List(elements.into_iter().map(|element| Dom::parse(element.get())).collect())
            }
            b'"' => Dom::Text(serde_json::from_str(json).unwrap()),
            b'n' => Dom::Null,
            b't' | b'f' => Dom::Bool(json == "true"),
            _ => Dom::Number(json.to_owned()),
        }
    }

    fn get(&self, key: &str) -> Option<&Dom> {
        let Dom::Map(entries) = self else { return None };
        entries.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    fn text(&self) -> Option<String> {
        match self {
            Dom::Bool(value) => Some(value.to_string()),
            Dom::Number(text) | Dom::Text(text) => Some(text.clone()),
            Dom::Null | Dom::List(_) | Dom::Map(_) => None,
        }
    }
}

fn pairs(json: &str) -> Vec<(String, &RawValue)> {
    struct Pairs;
    impl<'de> Visitor<'de> for Pairs {
        type Value = Vec<(String, &'de RawValue)>;
        fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
            formatter.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = Vec::new();
            while let Some(pair) = map.next_entry()? {
                pairs.push(pair);
            }
            Ok(pairs)
        }
    }
    serde_json::Deserializer::from_str(json).deserialize_map(Pairs).unwrap()
}

/// Whether `expr` holds in the event that `json` spells.
pub(crate) fn truth(expr: &Expr, json: &str) -> Truth {
    let dom = Dom::parse(json.trim());
    holds(expr, &dom, json)
}

fn holds(expr: &Expr, dom: &Dom, json: &str) -> Truth {
    match expr {
        Expr::All(parts) => parts.iter().fold(Truth::True, |truth, part| truth.and(holds(part, dom, json))),
        Expr::Any(parts) => parts.iter().fold(Truth::False, |truth, part| truth.or(holds(part, dom, json))),
        Expr::Not(part) => !holds(part, dom, json),
        Expr::Named(_, part) => holds(part, dom, json),
        Expr::Item(item) => item_holds(item, dom, json),
        Expr::Block(block) => blocks::holds(block, dom, json),
    }
}

fn item_holds(item: &Item, dom: &Dom, json: &str) -> Truth {
    let Some(field) = &item.field else {
        let mut words = Vec::new();
        all_words(dom, &mut words);
        let holds = |test: &Test, word: &String| match test {
            Test::Text(pattern) => contains(pattern, word),
            test => value_holds(test, &Dom::Text(word.clone())),
        };
        return item.tests.iter().any(|test| words.iter().any(|word| holds(test, word))).into();
    };
    tests_hold(&item.tests, field, |name| read(name, dom, json))
}

/// Whether any test holds for `field`; `read` gives the values of fields and whether there
/// may be more of them.
fn tests_hold(tests: &[Test], field: &str, read: impl Fn(&str) -> (Vec<Dom>, bool)) -> Truth {
    let (values, hidden) = read(field);
    tests.iter().fold(Truth::False, |truth, test| truth.or(test_holds(test, &values, hidden, &read)))
}

fn test_holds(test: &Test, values: &[Dom], hidden: bool, read: impl Fn(&str) -> (Vec<Dom>, bool)) -> Truth {
    let holds = match test {
        Test::Null => values.is_empty() || values.iter().any(|value| matches!(value, Dom::Null)),
        Test::Exists(expected) => values.is_empty() != *expected,
        Test::FieldRef(other, anchor) => {
            let (others, other_hidden) = read(other);
            let related = values.iter().filter_map(Dom::text).any(|text| {
                others
                    .iter()
                    .filter_map(Dom::text)
                    .any(|other| relates(&lower(&text), &lower(&other), *anchor))
            });
            let absent = (values.is_empty() && !hidden) || (others.is_empty() && !other_hidden);
            return if related { Truth::True } else { unless(!absent && (hidden || other_hidden)) };
        }
        test => {
            let found = values.iter().any(|value| value_holds(test, value));
            return if found { Truth::True } else { unless(hidden) };
        }
    };
    // Whether a field is there is known as soon as one value of it is seen.
    if values.is_empty() && hidden { Truth::Unknown } else { holds.into() }
}

/// False, unless what was not found may be hidden.
fn unless(hidden: bool) -> Truth {
    if hidden { Truth::Unknown } else { Truth::False }
}

fn value_holds(test: &Test, value: &Dom) -> bool {
    if matches!(test, Test::Text(pattern) if is_anything(pattern)) {
        return !matches!(value, Dom::Null);
    }
    let Some(text) = value.text() else { return false };
    match test {
        Test::Text(pattern) => spells(pattern, &text),
        Test::Number(number) => {
            let equal = matches!(value, Dom::Number(_))
                && match (text.parse::<i128>(), number.parse::<i128>()) {
                    (Ok(left), Ok(right)) => left == right,
                    _ => text.parse::<f64>().is_ok_and(|left| {
                        number.parse::<f64>().is_ok_and(|right| left.to_bits() == right.to_bits())
                    }),
                };
            text == *number || equal
        }
        Test::Regex(regex) => regex.is_match(&text),
        Test::Cidr(net) => {
            text.trim().parse::<std::net::IpAddr>().is_ok_and(|address| net.contains(&address.to_canonical()))
        }
        Test::Compare(comparison, limit) => text.trim().parse::<f64>().is_ok_and(|number| match comparison {
            Comparison::Less => number < *limit,
            Comparison::LessOrEqual => number <= *limit,
            Comparison::Greater => number > *limit,
            Comparison::GreaterOrEqual => number >= *limit,
        }),
        Test::Time(part, expected) => time_part(&text, *part) == Some(*expected),
        Test::Null | Test::Exists(_) | Test::FieldRef(..) => false,
    }
}

fn time_part(text: &str, part: TimePart) -> Option<i64> {
    let time = chrono::DateTime::parse_from_rfc3339(text).ok()?.to_utc();
    let format = match part {
        TimePart::Minute => "%M",
        TimePart::Hour => "%H",
        TimePart::Day => "%d",
        TimePart::Week => "%V",
        TimePart::Month => "%m",
        TimePart::Year => "%Y",
    };
    time.format(format).to_string().parse().ok()
}

fn relates(text: &str, other: &str, anchor: Anchor) -> bool {
    match anchor {
        Anchor::Whole => text == other,
        Anchor::Start => text.starts_with(other),
        Anchor::End => text.ends_with(other),
        Anchor::Anywhere => text.contains(other),
    }
}

fn lower(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

fn spells(pattern: &Pattern, text: &str) -> bool {
    let text: Vec<char> =
        if pattern.is_cased { text.chars().collect() } else { lower(text).chars().collect() };
    spells_rest(&steps(pattern), &text)
}

fn contains(pattern: &Pattern, word: &str) -> bool {
    let mut steps = steps(pattern);
    steps.insert(0, Step::Many);
    steps.push(Step::Many);
    let word: Vec<char> =
        if pattern.is_cased { word.chars().collect() } else { lower(word).chars().collect() };
    spells_rest(&steps, &word)
}

fn is_anything(pattern: &Pattern) -> bool {
    !pattern.parts.is_empty() && pattern.parts.iter().all(|part| *part == Part::Many)
}

/// A pattern as single steps.
#[derive(Clone, Copy)]
enum Step {
    Many,
    One,
    Exactly(char),
}

fn steps(pattern: &Pattern) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in &pattern.parts {
        match part {
            Part::Many => steps.push(Step::Many),
            Part::One => steps.push(Step::One),
            Part::Literal(text) if pattern.is_cased => steps.extend(text.chars().map(Step::Exactly)),
            Part::Literal(text) => steps.extend(lower(text).chars().map(Step::Exactly)),
        }
    }
    steps
}

/// Keeps, step by step, every position in the text that the pattern can have reached.
fn spells_rest(steps: &[Step], text: &[char]) -> bool {
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for step in steps {
        let mut next = vec![false; text.len() + 1];
        for at in (0..=text.len()).filter(|at| reached[*at]) {
            match step {
                Step::Many => next[at..].fill(true),
                Step::One if at < text.len() => next[at + 1] = true,
                Step::Exactly(wanted) if text.get(at) == Some(wanted) => next[at + 1] = true,
                Step::One | Step::Exactly(_) => {}
            }
        }
        reached = next;
    }
    reached[text.len()]
}

fn all_words(dom: &Dom, words: &mut Vec<String>) {
    match dom {
        Dom::List(elements) => elements.iter().for_each(|element| all_words(element, words)),
        Dom::Map(entries) => {
            for (key, value) in entries {
                words.push(key.clone());
                all_words(value, words);
            }
        }
        scalar => words.extend(scalar.text()),
    }
}

/// The values of a field, and whether their absence says nothing.
fn read(name: &str, dom: &Dom, json: &str) -> (Vec<Dom>, bool) {
    match Field::parse(name) {
        Field::Path(path) => read_path(&path, dom, json),
        field @ Field::Derived(..) => read_derived(&field, json),
    }
}

fn read_derived(field: &Field, json: &str) -> (Vec<Dom>, bool) {
    let event = Event::parse(json.as_bytes()).unwrap();
    let mut values = Vec::new();
    let settings = Settings::default();
    let sight = field.read(View { event: &event, settings: &settings }, &mut values);
    (doms(&values), sight == Sight::Hidden)
}

fn doms(values: &[Value<'_>]) -> Vec<Dom> {
    let dom = |value: &Value<'_>| match value {
        Value::Text(text) => Dom::Text(text.clone().into_owned()),
        Value::Json(value) => Dom::parse(std::str::from_utf8(value.bytes()).unwrap()),
    };
    values.iter().map(dom).collect()
}

fn read_path(path: &str, dom: &Dom, json: &str) -> (Vec<Dom>, bool) {
    let (root, rest) = path.split_once('.').unwrap_or((path, ""));
    let mut values = Vec::new();
    if detect::event::Key::from_name(root).is_none() {
        follow(dom, path, &mut values);
        return (values, false);
    }
    match dom.get(root) {
        Some(value) => {
            follow(value, rest, &mut values);
            (values, false)
        }
        None => (values, is_hidden(root, dom, json)),
    }
}

fn follow(dom: &Dom, path: &str, values: &mut Vec<Dom>) {
    match dom {
        Dom::List(elements) if elements.is_empty() && path.is_empty() => values.push(dom.clone()),
        Dom::List(elements) => elements.iter().for_each(|element| follow(element, path, values)),
        other if path.is_empty() => values.push(other.clone()),
        Dom::Map(entries) => {
            let spelled = |key: &str| path == key || path.starts_with(&format!("{key}."));
            let mut keys: Vec<&String> =
                entries.iter().map(|(key, _)| key).filter(|key| spelled(key)).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let rest = &path[key.len()..];
                follow(dom.get(key).unwrap(), rest.strip_prefix('.').unwrap_or(rest), values);
            }
        }
        _ => {}
    }
}

fn is_hidden(root: &str, dom: &Dom, json: &str) -> bool {
    let text = |key: &str| match dom.get(key) {
        Some(Dom::Text(text)) => text.clone(),
        _ => String::new(),
    };
    let annotated = dom.get("annotations").and_then(|map| map.get("audit.k8s.io/truncated"));
    let truncated = annotated.is_some_and(|value| !matches!(value, Dom::Null));
    let metadata = matches!(text("level").as_str(), "None" | "Metadata");
    let denied = derived::outcome(&Event::parse(json.as_bytes()).unwrap()) == "denied";
    match root {
        "requestObject" => {
            let writes = matches!(text("verb").as_str(), "create" | "update" | "patch");
            truncated || (writes && (metadata || text("stage") == "RequestReceived" || denied))
        }
        "responseObject" => truncated || metadata || text("level") == "Request",
        _ => false,
    }
}
