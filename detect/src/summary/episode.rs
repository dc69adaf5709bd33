//! One sentence about an episode: who or what, how much, in how long.

use core::time::Duration;

use super::clean::{SENTENCE_CHARACTERS_MAX, clean, shortened, without_markup};
use super::listed;
use crate::correlate::Episode;
use crate::sigma::Rule;
use crate::sigma::correlation::{Correlation, Metric, Relation};

/// One sentence that a person can act on, without a full stop.
pub fn of_episode(rules: &[Rule], correlation: &Correlation, episode: &Episode) -> String {
    let duration = (episode.ended_at - episode.started_at).to_std().unwrap_or_default();
    let requests = counted(episode.request_count, "request");
    let within = if duration.is_zero() { String::new() } else { format!(" in {}", span(duration)) };
    let shared = match shared(&episode.group) {
        shared if shared.is_empty() => shared,
        shared => format!("{shared}: "),
    };
    let fields: Vec<&str> = correlation.relation.fields().iter().map(|field| spoken(field)).collect();
    let fields = clean(&fields.join(", "));
    let values: Vec<String> = episode.values.iter().map(|value| clean(value)).collect();
    let number = number(episode.number);
    let what = match &correlation.relation {
        Relation::EventCount(_) => {
            format!("{} ({requests}{within})", titles(rules, episode, ", or "))
        }
        Relation::ValueCount(..) => {
            format!("{number} different {fields} in {requests}{within}: {}", listed(&values))
        }
        Relation::Metric(metric, ..) => {
            let metric = match metric {
                Metric::Sum => "adds up to".to_owned(),
                Metric::Average => "is on average".to_owned(),
                Metric::Percentile(50.0) => "has a median of".to_owned(),
                Metric::Percentile(percentile) => format!("has a percentile {percentile} of"),
            };
            format!("{fields} {metric} {number} over {requests}{within}")
        }
        Relation::Temporal(_) => format!("{}{within}", titles(rules, episode, " and ")),
        Relation::TemporalOrdered(_) => format!("{}{within}", titles(rules, episode, ", then ")),
        Relation::FirstSeen { .. } => format!("not seen in the {} before", span(correlation.timespan)),
    };
    shortened(&without_markup(&format!("{shared}{what}")), SENTENCE_CHARACTERS_MAX).trim_end().to_owned()
}

/// `actor eve, no namespace`: what the requests of a group share, free of anything a
/// terminal would interpret; nothing without a group.
pub fn shared(group: &[(String, Option<String>)]) -> String {
    let part = |(field, value): &(String, Option<String>)| match value {
        Some(value) => format!("{} {}", clean(spoken(field)), clean(value)),
        None => format!("no {}", clean(spoken(field))),
    };
    group.iter().map(part).collect::<Vec<_>>().join(", ")
}

/// A field as people say it.
fn spoken(field: &str) -> &str {
    match field {
        "actor.name" => "actor",
        "source.ip" => "address",
        "container.image.registry" => "registry",
        _ => field.strip_prefix("objectRef.").unwrap_or(field),
    }
}

/// What the rules that matched say happened.
fn titles(rules: &[Rule], episode: &Episode, between: &str) -> String {
    let titles = episode.rules.iter().filter_map(|number| rules.get(*number));
    titles.map(|rule| clean(&rule.title)).collect::<Vec<_>>().join(between)
}

/// `1 request`, `9,617 requests`, `2 matches`.
pub fn counted(count: u64, noun: &str) -> String {
    let plural = match count {
        1 => "",
        _ if noun.ends_with("ch") => "es",
        _ => "s",
    };
    format!("{} {noun}{plural}", in_thousands(count))
}

fn in_thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number without needless digits.
fn number(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A duration in the two largest units that it has.
pub fn span(duration: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    if duration < Duration::from_secs(1) {
        return format!("{} ms", duration.as_millis());
    }
    let mut left = duration.as_secs();
    let mut parts = Vec::new();
    for (seconds, unit) in UNITS {
        if left >= seconds {
            parts.push(format!("{} {unit}", left / seconds));
            left %= seconds;
        }
    }
    parts.truncate(2);
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_in_their_two_largest_units() {
        let said = |seconds| span(Duration::from_secs(seconds));
        assert_eq!([said(1), said(60), said(3725), said(30 * 86_400)], ["1 s", "1 min", "1 h 2 min", "30 d"]);
        assert_eq!(span(Duration::from_micros(1500)), "1 ms");
    }

    #[test]
    fn counts_have_their_plural_and_thousands() {
        let said =
            [counted(1, "match"), counted(0, "match"), counted(999, "event"), counted(1_234_567, "event")];
        assert_eq!(said, ["1 match", "0 matches", "999 events", "1,234,567 events"]);
    }

    #[test]
    fn numbers_have_no_needless_digits() {
        assert_eq!([number(3.0), number(2.5), number(0.333_3)], ["3", "2.5", "0.33"]);
    }
}
