//! What the events hold: as recorded, or as another audit policy would have logged them.
//!
//! **Invariant:** the result depends on the events alone, and each event stays an event.

use std::collections::HashMap;

use clap::ValueEnum;
use detect::Event;
use detect::event::Key;

/// How many objects the answer to a list holds, where so many were recorded.
const LIST_OBJECTS: usize = 20;

/// What the events hold.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mix {
    /// What was recorded
    Recorded,
    /// Everything at level `Metadata`: no bodies
    Metadata,
    /// Only what was recorded at level `RequestResponse`
    RequestResponse,
    /// Lists with answers: 20 recorded objects each, of the resource where there are such
    Lists,
}

impl Mix {
    /// The events as this mix has them.
    pub(crate) fn of(self, events: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        match self {
            Mix::Recorded => events,
            Mix::Metadata => events.iter().filter_map(|raw| without_bodies(raw)).collect(),
            Mix::RequestResponse => events.into_iter().filter(|raw| has_answer(raw)).collect(),
            Mix::Lists => with_lists(&events),
        }
    }
}

fn has_answer(raw: &[u8]) -> bool {
    Event::parse(raw).is_ok_and(|event| event.str(Key::Level).as_deref() == Some("RequestResponse"))
}

fn without_bodies(raw: &[u8]) -> Option<Vec<u8>> {
    let event = Event::parse(raw).ok()?;
    Some(rewritten(&event, "Metadata", &["requestObject", "responseObject"], None))
}

/// The events; to each list objects of its resource are added, or any where none was recorded.
fn with_lists(events: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let parsed: Vec<Event<'_>> = events.iter().filter_map(|raw| Event::parse(raw).ok()).collect();
    let mut all = Vec::new();
    let mut objects: HashMap<String, Vec<&[u8]>> = HashMap::new();
    for event in &parsed {
        let answer =
            event.get(Key::ResponseObject).filter(|answer| answer.at(&["metadata", "uid"]).is_some());
        if let (Some(answer), Some(resource)) = (answer, resource(event)) {
            all.push(answer.bytes());
            objects.entry(resource).or_default().push(answer.bytes());
        }
    }
    let mut lists_before = 0;
    let with_list = |event: &Event<'_>| {
        if event.str(Key::Verb).as_deref() != Some("list") {
            return event.raw().to_vec();
        }
        let known = resource(event).and_then(|resource| objects.get(&resource));
        let objects = known.unwrap_or(&all);
        lists_before += 1;
        let items: Vec<&[u8]> =
            objects.iter().cycle().skip(lists_before).take(LIST_OBJECTS).copied().collect();
        rewritten(event, "RequestResponse", &["responseObject"], Some(&list(&items)))
    };
    parsed.iter().map(with_list).collect()
}

fn resource(event: &Event<'_>) -> Option<String> {
    event.str_at(Key::ObjectRef, "resource").map(std::borrow::Cow::into_owned)
}

fn list(items: &[&[u8]]) -> Vec<u8> {
    let head = br#"{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":["#;
    [head, items.join(&b',').as_slice(), b"]}"].concat()
}

/// The event at another level, without some keys and with another answer.
fn rewritten(event: &Event<'_>, level: &str, left_out: &[&str], answer: Option<&[u8]>) -> Vec<u8> {
    let mut entries = Vec::new();
    for (key, value) in event.json().entries() {
        let key = key.text();
        if left_out.contains(&key.as_ref()) {
            continue;
        }
        let level = format!("\"{level}\"").into_bytes();
        let value = if key == "level" { &level } else { value.bytes() };
        entries.push([format!("\"{key}\":").as_bytes(), value].concat());
    }
    entries.extend(answer.map(|answer| [b"\"responseObject\":", answer].concat()));
    [b"{", entries.join(&b',').as_slice(), b"}"].concat()
}
