//! Correlations and streams of matches, each decision drawn from the bytes of a text: what
//! proptest and the fuzzer make up alike, and make smaller.

use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat, Utc};
use core::time::Duration;
use detect::correlate::{Correlator, Counts, DISORDER, Observed, Relations, Standing};
use detect::field::{Settings, View};
use detect::sigma::correlation::{
    Alias, Bound, Correlation, Metric, Needed, Range, Reference, Relation, RuleExpr,
};
use detect::sigma::{Expr, Level, Logic, Logsource, Rule};
use detect::{Episode, Event};

pub(crate) const CLUSTER: &str = "c";
const START: i64 = 1_700_000_000_000_000;
const SECOND: i64 = 1_000_000;
const EVENTS_MAX: usize = 48;
const FIELDS: [&str; 4] = ["p", "q", "n", "absent"];
const BASES: usize = 4;

/// Rules, correlations among them, and what matches.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// In any order.
    pub(crate) rules: Vec<Rule>,
    /// The numbers of the correlations, each after those that it relates.
    pub(crate) correlations: Vec<usize>,
    /// In the order of time.
    pub(crate) events: Vec<Seen>,
}

/// A request, and the rules that it matches.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    number: usize,
    time: i64,
    /// How much later it arrives, in microseconds.
    pub(crate) delay: i64,
    pub(crate) rules: Vec<usize>,
    fields: Vec<(&'static str, Vec<&'static str>)>,
}

impl Seen {
    /// The values of a field, each once.
    pub(crate) fn texts(&self, field: &str) -> Vec<String> {
        let values = self.fields.iter().filter(|(name, _)| *name == field).flat_map(|(_, values)| values);
        values.map(|value| (*value).to_owned()).collect()
    }

    /// When it arrives.
    pub(crate) fn arrival(&self) -> i64 {
        self.time + self.delay
    }

    fn json(&self) -> String {
        let mut event = serde_json::json!({
            "auditID": audit_id(self),
            "requestReceivedTimestamp": timestamp(self),
        });
        for (name, values) in self.fields.iter().filter(|(_, values)| !values.is_empty()) {
            event[*name] = match values.as_slice() {
                [value] => serde_json::json!(value),
                values => serde_json::json!(values),
            };
        }
        event.to_string()
    }
}

/// Some are UUIDs and some are what a client made up.
pub(crate) fn audit_id(seen: &Seen) -> String {
    match seen.number % 3 {
        0 => format!("made-up-{}", seen.number),
        _ => format!("01234567-89ab-4def-8123-{:012x}", seen.number),
    }
}

pub(crate) fn event_time(seen: &Seen) -> i64 {
    seen.time
}

pub(crate) fn timestamp(seen: &Seen) -> String {
    json_time(seen.time).to_rfc3339_opts(SecondsFormat::Micros, true)
}

pub(crate) fn json_time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap()
}

/// How a correlator is fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feeding {
    /// As it comes.
    Plain,
    /// It is also told how far time has come.
    WithClock,
    /// What was observed elsewhere, where the same rules have other numbers, and stored.
    Stored,
}

/// Everything that the correlator tells about events that arrive in this order.
pub(crate) fn told<'s>(
    rules: &[Rule],
    disorder: Duration,
    feeding: Feeding,
    events: impl Iterator<Item = &'s Seen>,
) -> (Vec<Episode>, Counts) {
    let mut correlator = Correlator::new(rules, CLUSTER, disorder);
    let mut episodes = Vec::new();
    let relations = Relations::new(rules);
    let mut tell = |episode| episodes.push(episode);
    for seen in events {
        if feeding == Feeding::WithClock {
            correlator.advance(json_time(seen.time), &mut tell);
        }
        if feeding == Feeding::Stored {
            for bytes in stored(rules, seen) {
                if let Some(observed) = Observed::from_bytes(&bytes, &relations) {
                    correlator.take(observed, &mut tell);
                }
            }
            continue;
        }
        let (json, settings) = (seen.json(), Settings::default());
        let event = Event::parse(json.as_bytes()).unwrap();
        let view = View { event: &event, settings: &settings };
        seen.rules.iter().for_each(|rule| correlator.observe(*rule, view, &mut tell));
    }
    correlator.finish(&mut tell);
    assert_eq!(correlator.size().0, 0, "nothing is remembered of what is over");
    (episodes, correlator.counts())
}

/// What is told before a restart after so many events, and what after it, when no more is
/// stored than is wanted.
pub(crate) fn told_around_restart(rules: &[Rule], events: &[&Seen], at: usize) -> [Vec<Episode>; 2] {
    let relations = Relations::new(rules);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut correlator = Correlator::of(&relations, CLUSTER, DISORDER);
    let (earlier, later) = events.split_at(at);
    let read = |seen: &&Seen| -> Vec<Observed> {
        let bytes = stored(rules, seen);
        bytes.iter().filter_map(|bytes| Observed::from_bytes(bytes, &relations)).collect()
    };
    for observed in earlier.iter().flat_map(read) {
        correlator.take(observed, &mut |episode| before.push(episode));
    }
    let standing = Standing::from_bytes(&correlator.standing().to_bytes()).unwrap();
    assert_eq!(standing, correlator.standing());
    let mut kept: Vec<Observed> = earlier.iter().flat_map(read).collect();
    kept.retain(|observed| observed.until_us() >= Some(standing.told_until_us()));
    kept.sort_by_key(Observed::time_us);
    // Twice: what one restart brings back must survive the next.
    for _ in 0..2 {
        let standing = correlator.standing();
        correlator = Correlator::of(&relations, CLUSTER, DISORDER);
        correlator.resume(&standing);
        for observed in kept.iter().cloned() {
            correlator.take(observed, &mut |episode| after.push(episode));
        }
    }
    for observed in later.iter().flat_map(read) {
        correlator.take(observed, &mut |episode| after.push(episode));
    }
    correlator.finish(&mut |episode| after.push(episode));
    [before, after]
}

/// What is stored of a request where the same rules have other numbers.
pub(crate) fn stored(rules: &[Rule], seen: &Seen) -> Vec<Vec<u8>> {
    let elsewhere: Vec<Rule> = rules.iter().rev().cloned().collect();
    let relations = Relations::new(&elsewhere);
    let (json, settings) = (seen.json(), Settings::default());
    let event = Event::parse(json.as_bytes()).unwrap();
    let view = View { event: &event, settings: &settings };
    let numbers = seen.rules.iter().map(|rule| rules.len() - 1 - rule);
    let observed = numbers.filter_map(|rule| relations.observed(rule, view, CLUSTER));
    observed.map(|observed| observed.to_bytes()).collect()
}

/// Bytes that decide, one after the other; then nothing but the first choice.
struct Dice<'b>(&'b [u8]);

impl Dice<'_> {
    fn roll(&mut self, sides: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % sides
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.roll(choices.len())]
    }

    fn some<T: Copy>(&mut self, choices: &[T]) -> Vec<T> {
        choices.iter().filter(|_| self.roll(2) == 1).copied().collect()
    }
}

/// What the bytes decide.
pub(crate) fn case(bytes: &[u8]) -> Case {
    let mut dice = Dice(bytes);
    let scale = dice.pick(&[1, 1, 100]);
    let correlation_count = 1 + dice.roll(5);
    let mut ids: Vec<String> = (0..BASES).map(|base| format!("rule {base}")).collect();
    let mut depths = vec![0; BASES];
    let mut rules: Vec<Rule> = ids.iter().map(|id| rule(id, Logic::Event(Expr::All(vec![])))).collect();
    for number in 0..correlation_count {
        let usable: Vec<usize> = (0..ids.len()).filter(|rule| depths[*rule] < 3).collect();
        let mut related: Vec<usize> = Vec::new();
        for _ in 0..=dice.roll(4) {
            // The latest rule is the one that a correlation of correlations most likely relates.
            let rule = if dice.roll(3) == 2 { usable[usable.len() - 1] } else { dice.pick(&usable) };
            if !related.contains(&rule) {
                related.push(rule);
            }
        }
        depths.push(1 + related.iter().map(|rule| depths[*rule]).max().unwrap());
        ids.push(format!("correlation {number}"));
        let related: Vec<&str> = related.iter().map(|rule| ids[*rule].as_str()).collect();
        let correlation = correlation(&mut dice, &related, scale);
        rules.push(rule(&ids[BASES + number], Logic::Correlation(correlation)));
    }
    // Rules come in any order.
    for at in (1..rules.len()).rev() {
        let other = dice.roll(at + 1);
        rules.swap(at, at - other);
    }
    let number_of = |id: &String| rules.iter().position(|rule| rule.id == *id).unwrap();
    let bases: Vec<usize> = ids[..BASES].iter().map(number_of).collect();
    let correlations = ids[BASES..].iter().map(number_of).collect();
    let events = events(&mut dice, &bases, scale);
    Case { rules, correlations, events }
}

fn rule(id: &str, logic: Logic) -> Rule {
    Rule {
        path: PathBuf::from("random.yml"),
        id: id.to_owned(),
        title: id.to_owned(),
        level: Level::Low,
        status: None,
        description: String::new(),
        tags: vec![],
        falsepositives: vec![],
        references: vec![],
        logsource: Logsource::default(),
        custom: vec![],
        name: None,
        logic,
    }
}

fn correlation(dice: &mut Dice<'_>, related: &[&str], scale: u64) -> Correlation {
    let reference =
        |text: &&str| Reference { text: (*text).to_owned(), place: detect::sigma::Place::default() };
    let relation = relation(dice, related.len(), scale);
    let mut group_by: Vec<String> = match dice.roll(3) {
        0 => vec![],
        1 => vec!["p".to_owned()],
        _ => dice.some(&FIELDS).into_iter().map(str::to_owned).collect(),
    };
    let mut aliases = Vec::new();
    if dice.roll(4) == 3 {
        let aliased = dice.some(related);
        let fields = aliased.iter().map(|rule| (reference(rule), dice.pick(&FIELDS).to_owned())).collect();
        aliases.push(Alias { name: "who".to_owned(), fields });
        group_by.push("who".to_owned());
    }
    let timespan = Duration::from_secs(scale * dice.pick(&[1, 2, 5, 10]));
    let rules = related.iter().map(reference).collect();
    Correlation { relation, rules, group_by, aliases, timespan, generate: false, field_places: Vec::new() }
}

fn relation(dice: &mut Dice<'_>, rule_count: usize, scale: u64) -> Relation {
    let field = |dice: &mut Dice<'_>| dice.pick(&["n", "n", "p"]).to_owned();
    match dice.roll(9) {
        0 => Relation::EventCount(range(dice, &[2.0, 3.0, 1.0, 5.0, 1.5, 8.0])),
        1 => {
            let mut fields: Vec<String> = dice.some(&FIELDS[..3]).into_iter().map(str::to_owned).collect();
            if fields.is_empty() {
                fields.push("p".to_owned());
            }
            Relation::ValueCount(fields, range(dice, &[2.0, 3.0, 1.0, 5.0]))
        }
        2 => Relation::Temporal(needed(dice, rule_count)),
        3 | 4 => Relation::TemporalOrdered(needed(dice, rule_count)),
        5 => Relation::Metric(Metric::Sum, field(dice), range(dice, &[3.0, 10.0, 0.0, -2.0, 20.0])),
        6 => Relation::Metric(Metric::Average, field(dice), range(dice, &[1.5, 3.0, 0.0, -2.0])),
        7 => {
            let percentile = dice.pick(&[50.0, 75.0, 0.0, 100.0, 33.0]);
            Relation::Metric(Metric::Percentile(percentile), field(dice), range(dice, &[1.5, 3.0, 0.0]))
        }
        _ => Relation::FirstSeen { learning: Duration::from_secs(scale * dice.pick(&[1, 5, 10])) },
    }
}

fn range(dice: &mut Dice<'_>, limits: &[f64]) -> Range {
    let (limit, other) = (dice.pick(limits), dice.pick(limits));
    match dice.roll(10) {
        0..5 => Range::at_least(limit),
        5 => Range(vec![(Bound::Greater, limit)]),
        6 => Range(vec![(Bound::Less, limit)]),
        7 => Range(vec![(Bound::Greater, limit), (Bound::LessOrEqual, other)]),
        8 => Range(vec![(Bound::Equal, limit)]),
        _ => Range(vec![(Bound::NotEqual, limit)]),
    }
}

#[allow(clippy::cast_precision_loss)]
fn needed(dice: &mut Dice<'_>, rule_count: usize) -> Needed {
    match dice.roll(5) {
        0..3 => Needed::Count(Range::at_least(rule_count as f64)),
        3 => Needed::Count(range(dice, &[1.0, 2.0, 3.0])),
        _ => Needed::Expression(expression(dice, rule_count, 3)),
    }
}

fn expression(dice: &mut Dice<'_>, rule_count: usize, depth: usize) -> RuleExpr {
    let parts = |dice: &mut Dice<'_>| {
        let count = 1 + dice.roll(3);
        (0..count).map(|_| expression(dice, rule_count, depth - 1)).collect()
    };
    match dice.roll(if depth == 0 { 1 } else { 5 }) {
        0 | 1 => RuleExpr::Rule(dice.roll(rule_count)),
        2 => RuleExpr::All(parts(dice)),
        3 => RuleExpr::Any(parts(dice)),
        _ => RuleExpr::Not(Box::new(expression(dice, rule_count, depth - 1))),
    }
}

/// Times are where windows begin and end, and a microsecond beside.
fn events(dice: &mut Dice<'_>, bases: &[usize], scale: u64) -> Vec<Seen> {
    let scale = i64::try_from(scale).unwrap();
    let mut events = Vec::new();
    let mut time = START;
    while events.len() < EVENTS_MAX && !dice.0.is_empty() {
        let step = dice.pick(&[1, 0, 1, 1, 2, 5, 10, 11, 20]) * scale * SECOND;
        let beside = dice.pick(&[0, 0, 0, 1, -1, SECOND / 2]);
        time = (time + step + beside).max(time);
        let delay = match dice.roll(4) {
            0 => 0,
            1 => 300 * SECOND,
            _ => i64::try_from(dice.roll(256)).unwrap() * 300 * SECOND / 255,
        };
        let mut rules = vec![dice.pick(bases)];
        if dice.roll(4) == 3 {
            rules = dice.some(bases);
        }
        let fields = vec![
            ("p", values(dice, &["x", "y", "1", "a longer value with a quote\" and a comma,"])),
            ("q", values(dice, &["x", "z"])),
            ("n", values(dice, &["1", "4", "-3", "10", "many", "2.5"])),
        ];
        events.push(Seen { number: events.len(), time, delay, rules, fields });
    }
    events
}

fn values(dice: &mut Dice<'_>, choices: &[&'static str]) -> Vec<&'static str> {
    match dice.roll(5) {
        0..3 => vec![dice.pick(choices)],
        3 => vec![],
        // Few enough that all combinations of several fields are looked at.
        _ => dice.some(&choices[..choices.len().min(3)]),
    }
}
