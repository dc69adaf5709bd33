//! Alerts without secrets: composed of the redacted event, so that they cannot show more.

use chrono::{DateTime, Utc};

use super::Redactor;
use crate::alert::{self, Alert, RawEvent};
use crate::correlate::Episode;
use crate::engine::{Engine, Match};
use crate::event::{Event, Spans};
use crate::field::{Field, Settings, Value, View};
use crate::json::Json;
use crate::scan::Scalars;
use crate::sigma::Rule;

/// An event without its secrets, of which alerts are composed.
///
/// **Invariant:** all that an alert says of a request is computed from this, as it is otherwise
/// computed from the event; only its id is that of the event as it came.
#[derive(Clone, Debug)]
pub struct Redacted<'r> {
    redactor: &'r Redactor,
    json: String,
    /// Where the parts of the JSON lie.
    spans: Option<Spans>,
}

impl<'r> Redacted<'r> {
    /// Of an event, the JSON that the redactor made of it.
    pub(super) fn new(redactor: &'r Redactor, json: String, event: &Event<'_>) -> Self {
        let spans = if json.as_bytes() == event.raw() {
            Some(event.spans())
        } else {
            Event::parse(json.as_bytes()).ok().map(|event| event.spans())
        };
        Self { redactor, json, spans }
    }

    /// The event on one line of JSON.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Composes the alert for a match in `event`, of which this is the redacted form.
    pub fn alert(
        &self,
        engine: &Engine,
        found: &Match<'_>,
        event: &Event<'_>,
        cluster: &str,
        detected_at: DateTime<Utc>,
        raw: RawEvent,
    ) -> Alert {
        // Invariant: what the redactor writes is an object; if it were none, nothing would show.
        let shown = match &self.spans {
            Some(spans) => Event::with_spans(self.json.as_bytes(), *spans),
            None => Event::with_spans(b"{}", event.spans()),
        };
        let evidence = found.evidence.iter().map(|(field, value)| {
            let value = self.evidence(field, value, event, &shown, engine.settings());
            (field.clone(), Value::Text(value.into()))
        });
        let found = Match { rule: found.rule, evidence: evidence.collect() };
        let id = alert::id_of(&engine.rules()[found.rule], cluster, event);
        Alert::with_id(id, engine, &found, &shown, cluster, detected_at, raw)
    }

    /// The value of a field that matched, as the redacted event shows it: the same value if that
    /// has it, else the one in the same place, else a mark.
    fn evidence(
        &self,
        name: &str,
        value: &Value<'_>,
        event: &Event<'_>,
        shown: &Event<'_>,
        settings: &Settings,
    ) -> String {
        let text = text_of(value);
        let field = Field::parse(&without_brackets(name));
        let here = values(&field, shown, settings);
        if here.contains(&text) {
            return text;
        }
        let there = values(&field, event, settings);
        let place = there.iter().position(|other| *other == text).filter(|_| there.len() == here.len());
        if let Some(value) = place.and_then(|place| here.get(place)) {
            return value.clone();
        }
        // What no field gives again, as within some blocks, is looked for by its text alone.
        let place =
            Scalars::new(event.raw()).position(|other| other.text().is_some_and(|other| other == text));
        let value = place.and_then(|place| Scalars::new(shown.raw()).nth(place)).and_then(Json::text);
        value.map_or_else(|| self.redactor.mark(&text), Into::into)
    }
}

impl Redactor {
    /// The episode with what is secret in its values replaced: an alert for it is composed of this.
    pub fn episode(&self, rules: &[Rule], episode: &Episode) -> Episode {
        let correlation = rules.get(episode.rule).and_then(Rule::correlation);
        let fields = correlation.map(|correlation| correlation.relation.fields()).unwrap_or_default();
        let of_field = |value: &String| {
            let secret = fields.iter().find(|field| super::names::is_secret_field(field));
            let field = secret.or(fields.first()).map_or("", |field| field.as_str());
            self.text(field, value).into_owned()
        };
        let values = episode.values.iter().map(of_field).collect();
        let group = episode.group.iter().map(|(field, value)| {
            (field.clone(), value.as_ref().map(|value| self.text(field, value).into_owned()))
        });
        Episode { values, group: group.collect(), ..episode.clone() }
    }
}

/// The texts of a field's values.
fn values(field: &Field, event: &Event<'_>, settings: &Settings) -> Vec<String> {
    let mut values = Vec::new();
    let _ = field.read(View { event, settings }, &mut values);
    values.iter().map(text_of).collect()
}

/// The text that evidence shows of a value.
fn text_of(value: &Value<'_>) -> String {
    match value {
        Value::Text(text) => text.clone().into_owned(),
        Value::Json(json) => {
            json.text().map_or_else(|| String::from_utf8_lossy(json.bytes()).into_owned(), Into::into)
        }
    }
}

/// The field that a name within blocks stands for: `container[any].image` is `container.image`.
pub(crate) fn without_brackets(name: &str) -> String {
    let mut depth = 0_usize;
    let mut bare = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            letter if depth == 0 => bare.push(letter),
            _ => {}
        }
    }
    bare
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_redacted_event_are_where_they_are_in_it() {
        let redactor = Redactor::new([7; 32]);
        for password in ["hunter2", ""] {
            let event = format!(
                r#"{{"kind":"Event","requestObject":{{"password":"{password}"}},"verb":"create","user":{{"username":"eve"}}}}"#
            );
            let event = Event::parse(event.as_bytes()).unwrap();
            let redacted = redactor.redact(&event);
            assert_eq!(redacted.json().as_bytes() == event.raw(), password.is_empty());
            let spans = Event::parse(redacted.json().as_bytes()).unwrap().spans();
            assert_eq!(redacted.spans, Some(spans));
        }
    }
}
