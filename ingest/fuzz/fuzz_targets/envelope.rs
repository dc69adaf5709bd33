//! Whatever an envelope holds, what comes out is audit events within bounds, and an event in a
//! wrapper comes out as it is: `cargo +nightly fuzz run envelope fuzz/corpus/envelope fuzz/seeds/envelope`.

#![no_main]

use detect::Event;
use ingest::envelope::{Opener, may_wrap};

/// What a log entry takes that says the same in other words: the names of an event's keys.
const COMPOSED_BYTES: usize = 600;

/// How long what a log entry says may become: the name of a resource is said three times, and what
/// is not UTF-8 in it takes three bytes instead of one.
const COPIES_MAX: usize = 10;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut opener = Opener::default();
    open(&mut opener, input);
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(event) = Event::parse(input) else { return };
    // What may be a wrapper itself is opened.
    if event.complaint().is_some() || may_wrap(&event) {
        return;
    }
    let quoted = serde_json::to_string(text).expect("text is JSON");
    for wrapper in [format!("{{\"log\":{quoted}}}"), format!("{{\"records\":[{{\"properties\":{text}}}]}}")] {
        open(&mut opener, wrapper.as_bytes());
        opener.open(wrapper.as_bytes()).expect("a wrapper");
        assert!(opener.advance(), "{wrapper}");
        assert_eq!(opener.event().expect("an event").raw(), event.raw());
    }
});

/// Opens an envelope and checks what it gives.
fn open(opener: &mut Opener, bytes: &[u8]) {
    let Ok(opened) = opener.open(bytes) else { return };
    let mut given_bytes = 0;
    let mut count = 0;
    while opener.advance() {
        let event = opener.event().expect("one was gone on to");
        assert_eq!(event.complaint(), None);
        given_bytes += event.raw().len();
        count += 1;
        assert!(opener.cluster_hint().is_none_or(|hint| !hint.is_empty() && hint.len() <= 253));
    }
    assert_eq!(count, opened.event_count);
    assert!(given_bytes <= COPIES_MAX * bytes.len() + count * COMPOSED_BYTES, "{given_bytes}");
    assert!(count > 0 || opened.skipped_count > 0 || opened.refused.is_some() || may_be_empty(bytes));
}

/// A list may have no records. Its name may be escaped.
fn may_be_empty(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let lists = ["records", "logEvents", "streams", "resourceLogs", "items", "EventList", "\\u"];
    lists.iter().any(|name| text.contains(name))
}
