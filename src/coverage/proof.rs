//! Runs the example events beside rules, to see which rules they prove.

use std::collections::HashSet;

use detect::field::Settings;
use detect::{Engine, Event};

use crate::examples::{self, Example, Shown};
use crate::files::Contents;
use crate::loading::Loaded;
use crate::timeline::Timeline;

/// The ids of the rules that match an example that says it should match.
pub(super) fn proven(loaded: &Loaded) -> anyhow::Result<HashSet<String>> {
    let mut proven = HashSet::new();
    for (number, file) in loaded.files.iter().enumerate() {
        if file.contents != Contents::Rules {
            continue;
        }
        let (rules, own_count) = loaded.rules_for(number);
        let (_, text) = examples::beside(file)?;
        let engine = Engine::new(rules, Settings::default());
        let matched =
            text.lines().filter_map(|line| Example::parse(line).ok()).filter(|example| example.r#match);
        let matched = matched.filter_map(|example| matched_by(&engine, &example.shown().ok()?)).flatten();
        let own = matched.filter(|rule| *rule < own_count);
        proven.extend(own.map(|rule| engine.rules()[rule].id.clone()));
    }
    Ok(proven)
}

/// The numbers of the rules that match; nothing if an event is none.
fn matched_by(engine: &Engine, shown: &Shown<'_>) -> Option<Vec<usize>> {
    match shown {
        Shown::One(text) => {
            let mut matched = Vec::new();
            engine.evaluate(&event(text)?, &mut engine.scratch(), |found| matched.push(found.rule));
            Some(matched)
        }
        Shown::Several(texts) => {
            let mut timeline = Timeline::new(engine);
            let mut matched = Vec::new();
            for text in texts {
                matched.extend(timeline.take(&event(text)?));
            }
            matched.extend(timeline.finish().iter().map(|episode| episode.rule));
            Some(matched)
        }
    }
}

fn event(text: &str) -> Option<Event<'_>> {
    Event::parse(text.as_bytes()).ok().filter(|event| event.complaint().is_none())
}
