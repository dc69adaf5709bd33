//! No event makes a computed field panic or a sentence unsafe to print.

#![no_main]

use detect::field::{Field, Settings, View};
use detect::{Event, derived, summary};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(event) = Event::parse(bytes) else { return };
    let settings = Settings::default();
    let view = View { event: &event, settings: &settings };
    for name in derived::names() {
        let name = name.replace(".*", ".name");
        let _ = Field::parse(&name).read(view, &mut Vec::new());
    }
    let sentence = summary::summary(view);
    assert!(!sentence.chars().any(|character| character.is_control()), "{sentence:?}");
    assert!(sentence.chars().count() <= summary::SENTENCE_CHARACTERS_MAX, "{sentence}");
});
