//! One sentence about an event that a person can act on: who did what, and whether it worked.
//!
//! It is composed from the event alone, whatever rule alerted.
//!
//! **Invariant:** nothing that a terminal or Markdown would interpret as a control, a line
//! break or the end of a code span reaches the sentence; see [`clean()`].

mod acts;
mod clean;
mod episode;

#[cfg(test)]
mod tests;

pub use episode::{counted, of_episode, shared, span};

pub use clean::{SENTENCE_CHARACTERS_MAX, VALUE_CHARACTERS_MAX, clean, is_invisible};

use crate::derived::{self, Derived};
use crate::field::{Value, View};

/// What was done, in both of the forms that a sentence needs.
struct Act {
    past: String,
    base: String,
    object: String,
}

impl Act {
    fn new(past: &str, base: &str, object: impl Into<String>) -> Self {
        Self { past: past.to_owned(), base: base.to_owned(), object: object.into() }
    }
}

/// One sentence that a person can act on, without a full stop.
pub fn summary(view: View<'_>) -> String {
    of_ended(view, derived::outcome(view.event), derived::is_dry_run(view.event))
}

/// The same for an event of which it is known how it ended, and whether it was a rehearsal.
pub(crate) fn of_ended(view: View<'_>, outcome: &str, is_dry_run: bool) -> String {
    let actor = actor(view);
    let Act { past, base, object } = acts::of(view);
    let doing = match outcome {
        "succeeded" | "pending" => past,
        _ => format!("tried to {base}"),
    };
    let remark = remark(view, outcome, is_dry_run);
    let sentence = clean::shortened(
        &clean::without_markup(&format!("{actor} {doing} {object}")),
        SENTENCE_CHARACTERS_MAX.saturating_sub(remark.chars().count()),
    );
    format!("{}{remark}", sentence.trim_end())
}

/// `alice`, or `alice (as system:admin)`: who it was, and whose rights were used.
fn actor(view: View<'_>) -> String {
    let name = first(view, Derived::ActorName).unwrap_or_default();
    let name = if name.is_empty() { "somebody without a name".to_owned() } else { name };
    match first(view, Derived::ActorOriginal) {
        Some(original) => format!("{original} (as {name})"),
        None => name,
    }
}

fn remark(view: View<'_>, outcome: &str, is_dry_run: bool) -> String {
    let mut remarks = Vec::new();
    match (outcome, derived::code(view.event)) {
        ("succeeded", _) => {}
        ("rejected" | "failed", Some(code)) => remarks.push(format!("{outcome}: {code}")),
        _ => remarks.push(outcome.to_owned()),
    }
    if is_dry_run {
        remarks.push("dry run".to_owned());
    }
    if remarks.is_empty() { String::new() } else { format!(" ({})", remarks.join(", ")) }
}

/// The texts of a field, or at a path below one, clean, without repetition.
fn texts(view: View<'_>, field: Derived, path: &str) -> Vec<String> {
    let mut values = Vec::new();
    let _ = derived::read(field, path, view, &mut values);
    cleaned(&values)
}

/// Values as a sentence may show them, without repetition.
fn cleaned(values: &[Value<'_>]) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    // Three are shown and the rest is counted; more than this is a flood.
    for text in values.iter().take(TEXTS_MAX).filter_map(Value::text) {
        let text = clean(&text);
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}

/// How many values of a field are looked at for a sentence that shows three.
const TEXTS_MAX: usize = 256;

/// The first text of a field, clean.
fn first(view: View<'_>, field: Derived) -> Option<String> {
    texts(view, field, "").into_iter().next()
}

/// At most three, then how many more.
fn listed(texts: &[String]) -> String {
    let shown = texts.len().min(3);
    match (&texts[..shown], texts.len() - shown) {
        ([], _) => String::new(),
        ([one], _) => one.clone(),
        ([most @ .., last], 0) => format!("{} and {last}", most.join(", ")),
        (shown, more) => format!("{} and {more} more", shown.join(", ")),
    }
}
