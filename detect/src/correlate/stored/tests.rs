//! What is stored of matches: that it is all that correlations need, and no more than that.

use std::collections::BTreeSet;

use super::super::tests::{Seen, engine, json, rule};
use crate::correlate::{Correlator, DISORDER, Episode, Observed, Phase, Relations};
use crate::field::View;
use crate::{Engine, Event};

const COUNT: &str = "type: event_count, rules: [a, b], group-by: [p], timespan: 10s, condition: {gte: 3}";

/// What there is to store of each event.
fn observed(engine: &Engine, events: &[Seen<'_>]) -> Vec<Observed> {
    let (relations, mut scratch) = (Relations::new(engine.rules()), engine.scratch());
    let mut all = Vec::new();
    for json in events.iter().enumerate().map(json) {
        let event = Event::parse(json.as_bytes()).unwrap();
        let view = View { event: &event, settings: engine.settings() };
        engine.evaluate(&event, &mut scratch, |found| all.extend(relations.observed(found.rule, view, "c")));
    }
    all
}

fn one(engine: &Engine, object: &str) -> Observed {
    observed(engine, &[("a", 0.0, object)]).remove(0)
}

/// The episodes of what was stored, told by a correlator that has just started.
fn told(engine: &Engine, stored: &[Vec<u8>]) -> Vec<Episode> {
    let relations = Relations::new(engine.rules());
    let mut correlator = Correlator::of(&relations, "c", DISORDER);
    let mut episodes = Vec::new();
    for bytes in stored {
        let observed = Observed::from_bytes(bytes, &relations).unwrap();
        correlator.take(observed, &mut |episode| episodes.push(episode));
    }
    correlator.finish(&mut |episode| episodes.push(episode));
    episodes
}

fn ids(episodes: &[Episode]) -> BTreeSet<u128> {
    episodes.iter().map(|episode| episode.id).collect()
}

#[test]
fn all_kinds_of_relations_are_stored_in_few_bytes() {
    let kinds = [
        COUNT,
        "type: value_count, rules: a, timespan: 10s, condition: {field: [p, q], gte: 2}",
        "type: value_sum, rules: a, timespan: 10s, condition: {field: n, gte: 2}",
        "type: temporal, rules: [a, b], group-by: [p, absent], timespan: 10s",
        "type: first_seen, rules: a, group-by: [p], timespan: 10s, learning: 1s",
    ];
    for correlation in kinds {
        let engine = engine(&rule(correlation));
        let object = r#""p":["x","yz"],"q":"1","n":[1.5,2],"#;
        let observed = one(&engine, object);
        let bytes = observed.to_bytes();
        let relations = Relations::new(engine.rules());
        let read = Observed::from_bytes(&bytes, &relations).unwrap();
        assert_eq!(read.to_bytes(), bytes, "{correlation}");
        assert_eq!((read.time_us(), read.until_us()), (observed.time_us(), observed.until_us()));
        assert!(bytes.len() < 70, "{correlation}: {}", bytes.len());
    }
}

#[test]
fn what_cannot_be_taken_into_account_is_stored_as_well() {
    let engine = engine(&rule(COUNT));
    let relations = Relations::new(engine.rules());
    let hidden = r#"{"verb":"a","stage":"ResponseComplete","requestReceivedTimestamp":"2026-01-01T00:00:00Z","level":"Metadata"}"#;
    let by_body = COUNT.replace("[p]", "[responseObject.kind]");
    let hides = self::engine(&rule(&by_body));
    let mut counts = Vec::new();
    for (engine, event) in [(&engine, r#"{"verb":"a"}"#), (&hides, hidden)] {
        let relations = Relations::new(engine.rules());
        let event = Event::parse(event.as_bytes()).unwrap();
        let view = View { event: &event, settings: engine.settings() };
        let observed = relations.observed(0, view, "c").unwrap();
        assert_eq!(observed.until_us(), None, "no correlation ever wants it");
        let read = Observed::from_bytes(&observed.to_bytes(), &relations).unwrap();
        let mut correlator = Correlator::of(&relations, "c", DISORDER);
        correlator.take(read, &mut |_| {});
        counts.push((correlator.counts().timeless, correlator.counts().hidden));
    }
    assert_eq!(counts, [(1, 0), (0, 1)]);
    let crowd: Vec<String> = (0..65).map(|value| format!("\"{value}\"")).collect();
    let crowded = one(&engine, &format!(r#""p":[{}],"#, crowd.join(",")));
    let read = Observed::from_bytes(&crowded.to_bytes(), &relations).unwrap();
    let mut correlator = Correlator::of(&relations, "c", DISORDER);
    correlator.take(read, &mut |_| {});
    assert_eq!(correlator.counts().crowded, 1);
}

#[test]
fn what_was_observed_outlives_a_change_of_other_rules_and_not_of_its_own() {
    let id = |name: &str| format!("00000000-0000-4000-8000-00000000000{}", u8::from(name == "y"));
    let named = |name: &str, correlation: &str| {
        rule(correlation)
            .replace("title: x\nname: x", &format!("title: {name}\nname: {name}\nid: {}", id(name)))
    };
    let other = "type: value_count, rules: a, timespan: 1h, condition: {field: q, gte: 2}";
    let both = engine(&format!("{}---\n{}", named("x", COUNT), named("y", other)));
    let bytes = one(&both, r#""p":"x","q":"y","#).to_bytes();
    let wanted = |correlations: &str| {
        let relations = Relations::new(engine(correlations).rules());
        Observed::from_bytes(&bytes, &relations).map_or(0, |observed| observed.roles().len())
    };
    assert_eq!(wanted(&format!("{}---\n{}", named("y", other), named("x", COUNT))), 2, "other numbers");
    assert_eq!(wanted(&named("x", COUNT)), 1);
    assert_eq!(wanted(&named("x", &COUNT.replace("gte: 3", "gte: 4"))), 1, "the count is still the same");
    for changed in [
        COUNT.replace("[p]", "[q]"),
        COUNT.replace("10s", "20s"),
        COUNT.replace("[a, b]", "[b, a]"),
        COUNT.replace("[a, b]", "[a, b, c]"),
        COUNT.replace("event_count", "value_count").replace("gte", "field: q, gte"),
    ] {
        assert_eq!(wanted(&named("x", &changed)), 0, "{changed}");
    }
}

#[test]
fn what_other_relations_observed_is_taken_for_what_it_means() {
    let engine = engine(&rule(COUNT));
    let events: Vec<Seen<'_>> = (0..3).map(|at| ("a", f64::from(at), "")).collect();
    let mut correlator = Correlator::new(engine.rules(), "c", DISORDER);
    let mut episodes = Vec::new();
    for observed in observed(&engine, &events) {
        correlator.take(observed, &mut |episode| episodes.push(episode));
    }
    correlator.finish(&mut |episode| episodes.push(episode));
    assert_eq!(ids(&episodes).len(), 1);
    let without = self::engine("");
    let mut correlator = Correlator::new(without.rules(), "c", DISORDER);
    for observed in observed(&engine, &events) {
        correlator.take(observed, &mut |_| {});
    }
    assert_eq!(correlator.size().0, 0);
}

#[test]
fn what_is_no_longer_wanted_does_not_change_what_is_told_after_a_restart() {
    let burst = "title: burst\nname: burst\ncorrelation: {type: event_count, rules: a, \
        timespan: 10s, condition: {gte: 3}}\n---\n";
    let then = rule("type: temporal_ordered, rules: [burst, b], timespan: 60s");
    let engine = engine(&format!("{burst}{then}"));
    // Bursts, of which some are followed by what makes them an episode of both.
    let burst = |start: f64| [0.0, 4.0, 8.0].map(|at| ("a", start + at, ""));
    let mut events: Vec<Seen<'_>> = [0.0, 100.0, 600.0, 900.0, 1300.0].into_iter().flat_map(burst).collect();
    events.extend([("b", 160.0, ""), ("b", 665.0, ""), ("b", 700.0, ""), ("b", 910.0, "")]);
    events.sort_by(|left, right| left.1.total_cmp(&right.1));
    let observed = observed(&engine, &events);
    let stored: Vec<Vec<u8>> = observed.iter().map(Observed::to_bytes).collect();
    let all = told(&engine, &stored);
    assert_eq!(ids(&all).len(), 8);
    for restart in 1..observed.len() {
        // Nothing earlier is awaited any more.
        let now = observed[restart].time_us().unwrap();
        let is_wanted = |at: &usize| *at >= restart || observed[*at].until_us().unwrap() >= now;
        let kept: Vec<Vec<u8>> = (0..stored.len()).filter(is_wanted).map(|at| stored[at].clone()).collect();
        let told_later = told(&engine, &kept);
        let awaited = now - i64::try_from(DISORDER.as_micros()).unwrap();
        let is_later = |episode: &&Episode| {
            episode.phase == Phase::Begun && episode.ended_at.timestamp_micros() >= awaited
        };
        let later: Vec<Episode> = all.iter().filter(is_later).cloned().collect();
        assert!(ids(&told_later).is_superset(&ids(&later)), "restarted at {restart}");
        assert!(ids(&all).is_superset(&ids(&told_later)), "restarted at {restart}");
    }
}

#[test]
fn bytes_that_are_cut_or_changed_are_no_harm() {
    let value_count =
        "type: value_count, rules: a, group-by: [p], timespan: 10s, condition: {field: q, gte: 2}";
    let sum = rule("type: value_sum, rules: a, timespan: 10s, condition: {field: n, gte: 2}");
    let engine = engine(&format!("{}---\n{}", rule(value_count), sum.replace(": x\n", ": y\n")));
    let relations = Relations::new(engine.rules());
    let observed = one(&engine, r#""p":["x",""],"q":["1","2"],"n":[1,2],"#);
    let bytes = observed.to_bytes();
    let limit = 64 * bytes.len() + observed.bytes();
    let mut read_count = 0;
    for at in 0..bytes.len() {
        let _ = Observed::from_bytes(&bytes[..at], &relations);
        for value in 0..=u8::MAX {
            let mut changed = bytes.clone();
            changed[at] = value;
            if let Some(read) = Observed::from_bytes(&changed, &relations) {
                assert!(read.bytes() <= limit);
                let mut correlator = Correlator::of(&relations, "c", DISORDER);
                correlator.take(read, &mut |_| {});
                correlator.finish(&mut |_| {});
                read_count += 1;
            }
        }
    }
    assert!(read_count > bytes.len(), "many changes still mean something");
}
