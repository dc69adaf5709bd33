//! Correlations at their edges.

use core::time::Duration;

use super::{Correlator, Counts, DISORDER, Episode, Phase, Relations};
use crate::field::{Settings, View};
use crate::{Engine, Event, sigma};

/// Base rules `a`, `b`, `c` match events whose verb is their name; more documents follow.
pub(super) fn engine(correlations: &str) -> Engine {
    let base = |name: &str| {
        format!(
            "title: {name}\nname: {name}\nlogsource: {{product: kubernetes, service: audit}}\n\
             detection: {{s: {{verb: {name}}}, condition: s}}\n---\n"
        )
    };
    let text = format!("{}{}{}{correlations}", base("a"), base("b"), base("c"));
    let mut parsed = sigma::parse(std::path::Path::new("t.yml"), &text);
    let errors = |problems: &[sigma::RuleError]| -> Vec<String> {
        problems
            .iter()
            .filter(|problem| problem.severity() == sigma::Severity::Error)
            .map(ToString::to_string)
            .collect()
    };
    assert_eq!(errors(&parsed.problems), [""; 0], "{text}");
    assert_eq!(errors(&sigma::link(&mut parsed.rules, &[]).problems), [""; 0], "{text}");
    Engine::new(parsed.rules, Settings::default())
}

/// `correlation` with a title around it.
pub(super) fn rule(correlation: &str) -> String {
    format!("title: x\nname: x\ncorrelation: {{{correlation}}}\n")
}

/// A request: verb, seconds, and what it is about.
pub(super) type Seen<'s> = (&'s str, f64, &'s str);

pub(super) fn json((number, (verb, time, object)): (usize, &Seen<'_>)) -> String {
    #[allow(clippy::cast_possible_truncation)]
    let micros = (time * 1e6) as i64;
    let time = chrono::DateTime::from_timestamp_micros(micros + 1_700_000_000_000_000).unwrap();
    format!(
        r#"{{"auditID":"{number}","verb":"{verb}","requestReceivedTimestamp":"{}",{object}"stage":"ResponseComplete"}}"#,
        time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
    )
}

/// Everything that is told about the events, and what was left out.
fn told(engine: &Engine, disorder: Duration, events: &[String]) -> (Vec<Episode>, Counts) {
    let mut correlator = Correlator::new(engine.rules(), "c", disorder);
    let (mut episodes, mut scratch) = (Vec::new(), engine.scratch());
    for json in events {
        let event = Event::parse(json.as_bytes()).unwrap();
        let view = View { event: &event, settings: engine.settings() };
        engine.evaluate(&event, &mut scratch, |found| {
            correlator.observe(found.rule, view, &mut |episode| episodes.push(episode));
        });
    }
    correlator.finish(&mut |episode| episodes.push(episode));
    (episodes, correlator.counts())
}

/// The audit ids of each episode of the last rule.
#[track_caller]
fn check(correlation: &str, events: &[Seen<'_>], expected: &[&[usize]]) {
    check_rules(&rule(correlation), events, expected);
}

#[track_caller]
fn check_rules(correlations: &str, events: &[Seen<'_>], expected: &[&[usize]]) {
    let engine = engine(correlations);
    let events: Vec<String> = events.iter().enumerate().map(json).collect();
    let (episodes, counts) = told(&engine, DISORDER, &events);
    let last = engine.rules().len() - 1;
    let over = episodes.iter().filter(|episode| episode.rule == last && episode.phase == Phase::Over);
    let found: Vec<Vec<usize>> =
        over.map(|episode| episode.audit_ids.iter().map(|id| id.parse().unwrap()).collect()).collect();
    assert_eq!(found, expected, "{correlations}");
    assert_eq!(counts, Counts::default());
}

const COUNT: &str = "type: event_count, rules: a, timespan: 10s, condition: {gte: 3}";

#[test]
fn a_window_holds_what_is_no_further_apart_than_the_time_span() {
    check(COUNT, &[("a", 0.0, ""), ("a", 5.0, ""), ("a", 10.0, "")], &[&[0, 1, 2]]);
    check(COUNT, &[("a", 0.0, ""), ("a", 5.0, ""), ("a", 10.000_001, "")], &[]);
    // Not aligned to anything: the first two are too old for the third, not for each other.
    check(COUNT, &[("a", 0.0, ""), ("a", 9.0, ""), ("a", 12.0, ""), ("a", 18.9, "")], &[&[1, 2, 3]]);
}

#[test]
fn an_episode_lasts_until_the_relation_has_not_held_for_a_time_span() {
    let burst = |start: f64, count: u8| (0..count).map(move |at| ("a", start + f64::from(at), ""));
    let events: Vec<Seen<'_>> = burst(0.0, 5).chain(burst(12.0, 3)).chain(burst(100.0, 3)).collect();
    check(COUNT, &events, &[&[0, 1, 2, 3, 4, 5, 6, 7], &[8, 9, 10]]);
}

#[test]
fn groups_are_told_apart_and_absence_is_a_value() {
    let by = "type: event_count, rules: [a, b], group-by: [user.username], timespan: 1m, condition: {gt: 1}";
    let (eve, bob) = (r#""user":{"username":"eve"},"#, r#""user":{"username":"bob"},"#);
    let events = [("a", 0.0, eve), ("b", 1.0, bob), ("b", 2.0, eve), ("a", 3.0, ""), ("a", 4.0, "")];
    check(by, &events, &[&[0, 2], &[3, 4]]);
}

#[test]
fn a_field_of_several_values_puts_a_request_into_several_groups() {
    let by = "type: event_count, rules: a, group-by: [user.groups], timespan: 1m, condition: {gte: 2}";
    let events = [("a", 0.0, r#""user":{"groups":["x","y"]},"#), ("a", 1.0, r#""user":{"groups":["y"]},"#)];
    check(by, &events, &[&[0, 1]]);
}

#[test]
fn distinct_values_count_once_however_often_they_occur() {
    let count = "type: value_count, rules: a, timespan: 10s, condition: {field: stage2, gte: 3}";
    let of = |name: &'static str| name;
    let (x, y, z) = (of(r#""stage2":"x","#), of(r#""stage2":"y","#), of(r#""stage2":"z","#));
    check(count, &[("a", 0.0, x), ("a", 1.0, y), ("a", 2.0, x), ("a", 3.0, z)], &[&[0, 1, 2, 3]]);
    // `x` is seen again before it leaves the window, `y` is not.
    check(count, &[("a", 0.0, x), ("a", 1.0, y), ("a", 8.0, x), ("a", 12.0, z)], &[]);
    check(count, &[("a", 0.0, x), ("a", 1.0, y), ("a", 2.0, "")], &[]);
}

#[test]
fn tuples_are_distinct_if_any_of_their_values_is() {
    let count = "type: value_count, rules: a, timespan: 10s, condition: {field: [p, q], gte: 2}";
    check(count, &[("a", 0.0, r#""p":"1","q":"2","#), ("a", 1.0, r#""p":"1","q":"3","#)], &[&[0, 1]]);
    check(count, &[("a", 0.0, r#""p":"1","q":"2","#), ("a", 1.0, r#""p":"1","q":"2","#)], &[]);
}

#[test]
fn numbers_are_summed_averaged_and_ranked() {
    let with = |kind: &str, condition: &str| {
        format!("type: {kind}, rules: a, timespan: 10s, condition: {{field: n, {condition}}}")
    };
    let of = [r#""n":1,"#, r#""n":"4","#, r#""n":10,"#, r#""n":"many","#];
    let events = [("a", 0.0, of[0]), ("a", 1.0, of[1]), ("a", 2.0, of[2]), ("a", 3.0, of[3]), ("a", 4.0, "")];
    let all: &[&[usize]] = &[&[0, 1, 2]];
    check(&with("value_sum", "gte: 15"), &events, all);
    check(&with("value_sum", "gt: 15"), &events, &[]);
    check(&with("value_avg", "eq: 5"), &events, all);
    check(&with("value_avg", "gt: 5"), &events, &[]);
    check(&with("value_median", "eq: 4"), &events, all);
    check(&with("value_percentile", "percentile: 75, eq: 7"), &events, all);
    check(&with("value_percentile", "percentile: 100, gte: 10"), &events, all);
}

#[test]
fn what_more_matches_can_undo_is_judged_when_the_window_is_over() {
    let few = "type: event_count, rules: a, timespan: 10s, condition: {lte: 2}";
    check(few, &[("a", 0.0, ""), ("a", 1.0, ""), ("a", 2.0, "")], &[]);
    // The window opens with the first match; the third opens the next one.
    check(few, &[("a", 0.0, ""), ("a", 1.0, ""), ("a", 11.0, "")], &[&[0, 1, 2]]);
    let some = "type: event_count, rules: a, timespan: 10s, condition: {gt: 1, lt: 4}";
    check(some, &[("a", 0.0, "")], &[]);
    check(some, &[("a", 0.0, ""), ("a", 10.0, "")], &[&[0, 1]]);
    check(some, &[("a", 0.0, ""), ("a", 1.0, ""), ("a", 2.0, ""), ("a", 3.0, "")], &[]);
}

#[test]
fn temporal_wants_every_rule_in_any_order() {
    let temporal = "type: temporal, rules: [a, b], timespan: 10s";
    check(temporal, &[("b", 0.0, ""), ("a", 10.0, "")], &[&[0, 1]]);
    check(temporal, &[("b", 0.0, ""), ("b", 1.0, ""), ("a", 10.5, "")], &[&[1, 2]]);
    check(temporal, &[("b", 0.0, ""), ("a", 11.0, "")], &[]);
    let two = "type: temporal, rules: [a, b, c], timespan: 10s, condition: {gte: 2}";
    check(two, &[("c", 0.0, ""), ("c", 1.0, ""), ("a", 2.0, "")], &[&[0, 1, 2]]);
}

#[test]
fn ordered_wants_every_rule_in_the_order_of_the_list() {
    let ordered = "type: temporal_ordered, rules: [a, b, c], timespan: 10s";
    check(ordered, &[("a", 0.0, ""), ("b", 1.0, ""), ("c", 2.0, "")], &[&[0, 1, 2]]);
    check(ordered, &[("a", 0.0, ""), ("c", 1.0, ""), ("b", 2.0, "")], &[]);
    check(ordered, &[("b", 0.0, ""), ("a", 1.0, ""), ("b", 2.0, ""), ("c", 3.0, "")], &[&[0, 1, 2, 3]]);
    // The first `a` is too far away, the second is not.
    check(ordered, &[("a", 0.0, ""), ("a", 5.0, ""), ("b", 6.0, ""), ("c", 12.0, "")], &[&[1, 2, 3]]);
    check(ordered, &[("a", 0.0, ""), ("b", 6.0, ""), ("a", 7.0, ""), ("c", 12.0, "")], &[]);
    // One microsecond is no order at all, so it is in order.
    check(ordered, &[("b", 0.0, ""), ("a", 0.0, ""), ("c", 1.0, "")], &[&[1, 0, 2]]);
}

#[test]
fn one_request_is_not_before_itself() {
    let twice = "title: again\nname: again\nlogsource: {product: kubernetes, service: audit}\n\
        detection: {s: {verb: a}, condition: s}\n---\n";
    let ordered = rule("type: temporal_ordered, rules: [a, again], timespan: 10s");
    check_rules(&format!("{twice}{ordered}"), &[("a", 0.0, "")], &[]);
    check_rules(&format!("{twice}{ordered}"), &[("a", 0.0, ""), ("a", 1.0, "")], &[&[0, 1]]);
    let temporal = rule("type: temporal, rules: [a, again], timespan: 10s");
    check_rules(&format!("{twice}{temporal}"), &[("a", 0.0, "")], &[&[0]]);
    let count = rule("type: event_count, rules: [a, again], timespan: 10s, condition: {gte: 2}");
    check_rules(&format!("{twice}{count}"), &[("a", 0.0, "")], &[]);
}

#[test]
fn conditions_over_rules() {
    let either = "type: temporal, timespan: 10s, condition: a and (b or c)";
    check(either, &[("c", 0.0, ""), ("a", 1.0, "")], &[&[0, 1]]);
    check(either, &[("c", 0.0, ""), ("b", 1.0, "")], &[]);
    let without = "type: temporal, timespan: 10s, condition: a and not c";
    check(without, &[("a", 0.0, ""), ("c", 10.0, "")], &[]);
    check(without, &[("a", 0.0, ""), ("c", 11.0, "")], &[&[0]]);
    check(without, &[("a", 0.0, ""), ("b", 5.0, ""), ("a", 6.0, "")], &[&[0, 2]]);
    let ordered = "type: temporal_ordered, rules: [a, b, c], timespan: 10s, condition: a and (b or c)";
    check(ordered, &[("a", 0.0, ""), ("c", 1.0, "")], &[&[0, 1]]);
    check(ordered, &[("c", 0.0, ""), ("a", 1.0, "")], &[]);
}

#[test]
fn aliases_join_different_fields() {
    let joined = "type: temporal, rules: [a, b], group-by: [who], timespan: 10s, \
        aliases: {who: {a: user.username, b: objectRef.name}}";
    let (eve, on_eve, on_bob) =
        (r#""user":{"username":"eve"},"#, r#""objectRef":{"name":"eve"},"#, r#""objectRef":{"name":"bob"},"#);
    check(joined, &[("a", 0.0, eve), ("b", 1.0, on_eve)], &[&[0, 1]]);
    check(joined, &[("a", 0.0, eve), ("b", 1.0, on_bob)], &[]);
}

#[test]
fn correlations_relate_correlations() {
    let burst = "title: burst\nname: burst\ncorrelation: {type: event_count, rules: a, \
        group-by: [user.username, verb], timespan: 10s, condition: {gte: 2}}\n---\n";
    let then = rule("type: temporal_ordered, rules: [burst, b], group-by: [user.username], timespan: 30s");
    let eve = r#""user":{"username":"eve"},"#;
    let rules = format!("{burst}{then}");
    check_rules(&rules, &[("a", 0.0, eve), ("a", 1.0, eve), ("b", 20.0, eve)], &[&[1, 2]]);
    check_rules(&rules, &[("a", 0.0, eve), ("b", 20.0, eve)], &[]);
    check_rules(&rules, &[("a", 0.0, eve), ("a", 1.0, eve), ("b", 20.0, "")], &[]);
    // The burst still goes on when it has begun longer ago than the time span.
    let long: Vec<Seen<'_>> =
        (0..10).map(|at| ("a", f64::from(at) * 5.0, eve)).chain([("b", 70.0, eve)]).collect();
    check_rules(&rules, &long, &[&[9, 10]]);
    let bursts = rule("type: event_count, rules: burst, timespan: 1h, condition: {gte: 2}");
    let events: Vec<Seen<'_>> = [0.0, 1.0, 2.0, 100.0, 101.0].map(|time| ("a", time, eve)).to_vec();
    check_rules(&format!("{burst}{bursts}"), &events, &[&[2, 4]]);
    check_rules(&format!("{burst}{bursts}"), &events[..3], &[]);
}

#[test]
fn first_seen_learns_and_then_tells_what_is_new() {
    let first = "type: first_seen, rules: a, group-by: [p], timespan: 100s, learning: 10s";
    let (x, y) = (r#""p":"x","#, r#""p":"y","#);
    check(first, &[("a", 0.0, x), ("a", 9.9, y), ("a", 20.0, x), ("a", 30.0, y)], &[]);
    check(first, &[("a", 0.0, x), ("a", 10.0, y), ("a", 20.0, y)], &[&[1]]);
    // What was seen within the history is not new, what was seen longer ago is.
    check(first, &[("a", 0.0, x), ("a", 90.0, x), ("a", 190.0, x)], &[]);
    check(first, &[("a", 0.0, x), ("a", 100.1, x)], &[&[1]]);
}

#[test]
fn an_episode_is_told_when_it_begins_doubles_and_ends() {
    let engine = engine(&rule(COUNT));
    let events: Vec<Seen<'_>> = (0..13).map(|at| ("a", f64::from(at), "")).collect();
    let events: Vec<String> = events.iter().enumerate().map(json).collect();
    let (episodes, _) = told(&engine, DISORDER, &events);
    let phases: Vec<_> = episodes.iter().map(|episode| (episode.phase, episode.request_count)).collect();
    let expected = [(Phase::Begun, 3), (Phase::Grown, 6), (Phase::Grown, 12), (Phase::Over, 13)];
    assert_eq!(phases, expected);
    assert!(episodes.iter().all(|episode| episode.id == episodes[0].id));
    assert!((10.9..11.1).contains(&episodes[3].number), "the fullest window");
}

#[test]
fn what_comes_too_late_is_counted() {
    let engine = engine(&rule(COUNT));
    let events = [("a", 0.0, ""), ("a", 301.0, ""), ("a", 0.9, ""), ("a", 1.0, "")];
    let events: Vec<String> = events.iter().enumerate().map(json).collect();
    let (_, counts) = told(&engine, DISORDER, &events);
    assert_eq!(counts, Counts { late: 1, ..Counts::default() });
    let other = rule(COUNT).replace("title: x\nname: x", "title: y\nname: y");
    let both = self::engine(&format!("{}---\n{other}", rule(COUNT)));
    let (_, counts) = told(&both, DISORDER, &events);
    assert_eq!(counts, Counts { late: 1, ..Counts::default() }, "however many correlations want it");
    let (_, counts) = told(&engine, DISORDER, &[r#"{"verb":"a"}"#.to_owned()]);
    assert_eq!(counts, Counts { timeless: 1, ..Counts::default() });
}

#[test]
fn what_is_too_much_of_one_match_is_counted() {
    let count = "type: value_count, rules: a, timespan: 10s, condition: {field: v, gte: 64}";
    let engine = engine(&rule(count));
    let values = |count: u32| {
        let values: Vec<String> = (0..count).map(|value| format!("\"{value}\"")).collect();
        format!(
            r#"{{"verb":"a","requestReceivedTimestamp":"2026-01-01T00:00:00Z","v":[{}]}}"#,
            values.join(",")
        )
    };
    let (episodes, counts) = told(&engine, DISORDER, &[values(64)]);
    assert_eq!((episodes.len(), counts), (2, Counts::default()));
    let (episodes, counts) = told(&engine, DISORDER, &[values(65)]);
    assert_eq!((episodes.len(), counts), (2, Counts { crowded: 1, ..Counts::default() }));
}

#[test]
fn relations_are_like_those_of_the_same_correlations_among_rules_of_the_same_numbers() {
    let count =
        "type: event_count, rules: [a], group-by: [user.username], timespan: 10s, condition: {gte: 2}";
    let of = |correlations: &str| Relations::new(engine(correlations).rules());
    let relations = of(&rule(count));
    assert!(relations.is_like(&of(&rule(count))));
    for (part, other) in [("[a]", "[b]"), ("username", "uid"), ("10s", "20s"), ("2", "3")] {
        assert!(!relations.is_like(&of(&rule(&count.replace(part, other)))), "{other}");
    }
    let among_more = format!("{}---\n{}", rule(count).replace("name: x", "name: y"), rule(count));
    assert!(!relations.is_like(&of(&among_more)));
    let alias = "aliases: {who: {a: user.username}}, ";
    let by_alias = |alias: &str| of(&rule(&format!("{alias}{}", count.replace("user.username", "who"))));
    assert!(by_alias(alias).is_like(&by_alias(alias)));
    assert!(!by_alias(alias).is_like(&by_alias(&alias.replace("username", "uid"))));
}
