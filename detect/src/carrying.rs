//! Which of the alerts that one event gives carry it.
//!
//! An event of megabytes that thirty rules find must not become a hundred megabytes. Two of its alerts have
//! the event whatever its size, others as far as there is room, and the rest says which alert has it.
//!
//! **Invariant:** decided by the event and the rules that it satisfies, by nothing else. Whoever evaluates
//! an event, whatever was alerted before, composes the same alerts.

use std::cmp::Reverse;

use crate::alert::{RawEvent, id_of};
use crate::derived::{Derived, Meaning, TABLE};
use crate::engine::{Engine, Match};
use crate::event::Event;
use crate::field::Field;
use crate::redact::without_brackets;

/// How many bytes of an event its alerts may have all together, unless the two that have it in any case
/// have more: four hundred alerts with an event of the usual size, two with that of a large `ConfigMap`.
pub const REPEATED_BYTES_MAX: usize = 1 << 20;

/// Says of each match of an event whether its alert carries the event. Where there is no room for all of
/// them, two do first: the most urgent of those whose rules looked into a body, as a stage without bodies may
/// have given alerts of the others before, and the most urgent of all, as many are told of no other.
pub fn carriers(engine: &Engine, matches: &[&Match<'_>], event: &Event<'_>, cluster: &str) -> Vec<RawEvent> {
    let room = REPEATED_BYTES_MAX / event.raw().len().max(1);
    if matches.len() <= room {
        return vec![RawEvent::Include; matches.len()];
    }
    let rule = |index: usize| matches.get(index).and_then(|found| engine.rules().get(found.rule));
    let level = |index: usize| rule(index).map(|rule| rule.level);
    let is_of_body = |index: usize| matches.get(index).is_some_and(|found| looks_into_a_body(found));
    let mut ranked: Vec<usize> = (0..matches.len()).collect();
    ranked.sort_by_cached_key(|index| Reverse((level(*index), is_of_body(*index))));
    let urgent = ranked.first().copied().unwrap_or(0);
    let bodily = ranked.iter().copied().find(|index| is_of_body(*index)).unwrap_or(urgent);
    ranked.sort_by_key(|index| *index != urgent && *index != bodily);
    let sure = if urgent == bodily { 1 } else { 2 };
    let Some(named) = rule(bodily) else { return vec![RawEvent::Include; matches.len()] };
    let mut carriers = vec![RawEvent::In(id_of(named, cluster, event)); matches.len()];
    for index in ranked.into_iter().take(room.max(sure)) {
        if let Some(carrier) = carriers.get_mut(index) {
            *carrier = RawEvent::Include;
        }
    }
    carriers
}

/// What an event has when the request is over.
const LATE_KEYS: [&str; 4] = ["requestObject", "responseObject", "responseStatus", "annotations"];

/// True if something that a rule found stands in the body of a request or of a response, or tells how it
/// ended, which the stage with the bodies does.
fn looks_into_a_body(found: &Match<'_>) -> bool {
    found.evidence.iter().any(|(name, _)| match Field::parse(&without_brackets(name)) {
        Field::Path(path) => LATE_KEYS.iter().any(|key| path.starts_with(key)),
        Field::Derived(Derived::Outcome, _) => true,
        Field::Derived(derived, _) => {
            let mut entries = TABLE.iter().filter(|entry| entry.meaning == Meaning::Computed(derived));
            entries.any(|entry| entry.level != "Metadata")
        }
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use chrono::DateTime;

    use super::*;
    use crate::{Alert, sigma};

    /// Rules of rising level, of which the last looks into no body.
    const RULES: &str = "
title: Low
id: 1d2c3b4a-0000-4000-8000-000000000001
logsource: { product: kubernetes, service: audit }
detection: { a: { requestObject.a: x }, condition: a }
level: low
---
title: High
id: 1d2c3b4a-0000-4000-8000-000000000002
logsource: { product: kubernetes, service: audit }
detection: { a: { 'container[any]': { image: x } }, condition: a }
level: high
---
title: Medium
id: 1d2c3b4a-0000-4000-8000-000000000003
logsource: { product: kubernetes, service: audit }
detection: { a: { requestObject.a: x }, condition: a }
level: medium
---
title: Critical
id: 1d2c3b4a-0000-4000-8000-000000000004
logsource: { product: kubernetes, service: audit }
detection: { a: { verb: create }, condition: a }
level: critical
";

    /// The alerts of an event with so much to spare, in the order of the rules.
    fn alerts(spare_bytes: usize) -> Vec<Alert> {
        let rules = sigma::parse(Path::new("t.yml"), RULES).rules;
        let engine = Engine::new(rules, crate::field::Settings::default());
        let event = format!(
            r#"{{"auditID":"1","stage":"ResponseComplete","verb":"create","objectRef":{{"resource":"pods"}},
                "requestObject":{{"kind":"Pod","a":"x","spec":{{"containers":[{{"image":"x"}}]}}}},"spare":"{}"}}"#,
            "a".repeat(spare_bytes)
        );
        let event = Event::parse(event.as_bytes()).unwrap();
        let mut matches = Vec::new();
        engine.evaluate(&event, &mut engine.scratch(), |found| matches.push(found));
        assert_eq!(matches.len(), 4);
        let carriers = carriers(&engine, &matches.iter().collect::<Vec<_>>(), &event, "lab");
        let now = DateTime::UNIX_EPOCH;
        let alert = |(found, raw)| Alert::new(&engine, found, &event, "lab", now, raw);
        matches.iter().zip(carriers).map(alert).collect()
    }

    /// Which alerts carry the event, by place.
    fn carrying(alerts: &[Alert]) -> Vec<usize> {
        (0..alerts.len()).filter(|index| alerts[*index].event.is_some()).collect()
    }

    #[test]
    fn an_event_is_in_as_many_of_its_alerts_as_there_is_room_for() {
        assert_eq!(carrying(&alerts(10)), [0, 1, 2, 3]);
        assert_eq!(carrying(&alerts(REPEATED_BYTES_MAX / 4)), [1, 2, 3]);
        assert_eq!(carrying(&alerts(REPEATED_BYTES_MAX / 3)), [1, 3]);
        let largest = alerts(3 * REPEATED_BYTES_MAX);
        assert_eq!(carrying(&largest), [1, 3], "the highest of those that looked into the body, and of all");
        let bytes: usize = largest.iter().map(|alert| serde_json::to_string(alert).unwrap().len()).sum();
        assert!(bytes < 6 * REPEATED_BYTES_MAX + 16 * 1024, "{bytes} bytes");
    }

    #[test]
    fn an_alert_without_its_event_names_the_one_that_has_it_and_is_otherwise_the_same() {
        let (small, large) = (alerts(10), alerts(REPEATED_BYTES_MAX));
        for (small, large) in small.iter().zip(&large) {
            assert_eq!((&small.event_in, large.event.is_some()), (&None, large.event_in.is_none()));
            let mut bare = small.clone();
            (bare.event, bare.event_in) = (None, large.event_in.clone());
            let large = Alert { event: None, ..large.clone() };
            assert_eq!(serde_json::to_string(&bare).unwrap(), serde_json::to_string(&large).unwrap());
        }
        let named: Vec<_> = large.iter().filter_map(|alert| alert.event_in.as_deref()).collect();
        assert_eq!(named, [&*large[1].id; 2]);
    }
}
