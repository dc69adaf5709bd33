//! One sentence about an episode: who or what, how much, in how long.

use core::time::Duration;

use super::clean::{SENTENCE_CHARACTERS_MAX, clean, shortened, without_markup};
use super::listed;
use crate::correlate::Episode;
use crate::sigma::Rule;
use crate::sigma::correlation::{Correlation, Metric, Relation};

/// One sentence that a person can act on, without a full stop.
pub(crate) fn of_episode(rules: &[Rule], correlation: &Correlation, episode: &Episode) -> String {
    let duration = (episode.ended_at - episode.started_at).to_std().unwrap_or_default();
    let (requests, within) = (counted(episode.request_count, "request"), format!(" in {}", span(duration)));
    let shared = shared(episode);
    let fields = clean(&correlation.relation.fields().join(", "));
    let values: Vec<String> = episode.values.iter().map(|value| clean(value)).collect();
    let number = number(episode.number);
    let what = match &correlation.relation {
        Relation::EventCount(_) => format!("{requests}{within}"),
        Relation::ValueCount(..) => {
            format!("{number} different {fields} in {requests}{within}: {}", listed(&values))
        }
        Relation::Metric(metric, ..) => {
            let metric = match metric {
                Metric::Sum => "adds up to".to_owned(),
                Metric::Average => "is on average".to_owned(),
                Metric::Percentile(50.0) => "has the median".to_owned(),
                Metric::Percentile(percentile) => format!("has the {percentile}th percentile"),
            };
            format!("{fields} {metric} {number} over {requests}{within}")
        }
        Relation::Temporal(_) => format!("{}{within}", titles(rules, episode, " and ")),
        Relation::TemporalOrdered(_) => format!("{}{within}", titles(rules, episode, ", then ")),
        Relation::FirstSeen { .. } => format!("not seen in the {} before", span(correlation.timespan)),
    };
    shortened(&without_markup(&format!("{shared}{what}")), SENTENCE_CHARACTERS_MAX).trim_end().to_owned()
}

/// `user.username eve, namespace dev: `, or nothing without a group.
fn shared(episode: &Episode) -> String {
    let part = |(field, value): &(String, Option<String>)| match value {
        Some(value) => format!("{} {}", clean(field), clean(value)),
        None => format!("no {}", clean(field)),
    };
    let parts: Vec<String> = episode.group.iter().map(part).collect();
    if parts.is_empty() { String::new() } else { format!("{}: ", parts.join(", ")) }
}

/// What the rules that matched say happened.
fn titles(rules: &[Rule], episode: &Episode, between: &str) -> String {
    let titles = episode.rules.iter().filter_map(|number| rules.get(*number));
    titles.map(|rule| clean(&rule.title)).collect::<Vec<_>>().join(between)
}

fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
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
    fn numbers_have_no_needless_digits() {
        assert_eq!([number(3.0), number(2.5), number(0.333_3)], ["3", "2.5", "0.33"]);
    }
}
