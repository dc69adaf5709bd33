//! What the frame reader finds in well-formed and broken streams.

#![allow(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc)]

mod reading;

use ingest::{EVENT_BYTES_MAX, Frame, Frames};
use reading::{Outcome, event, read};

#[track_caller]
fn check(text: &[u8], expected: &[&str]) {
    assert_eq!(read(text).lines(), expected, "{}", String::from_utf8_lossy(text));
}

#[test]
fn events_come_one_a_line() {
    let text = [event(1), event(2), event(3)].join("\n");
    check(text.as_bytes(), &["1:0 event 1", "2:84 event 2", "3:168 event 3"]);
}

#[test]
fn the_framing_does_not_matter() {
    let (one, two) = (event(1), event(2));
    let pretty = one.replace(',', ",\n  ").replace('{', "{\n  ").replace('}', "\n}");
    for text in [
        format!("{one}\r\n{two}\r\n"),
        format!("{one}{two}"),
        format!("  {one} \t {two}"),
        format!("[{one},{two}]"),
        format!("[\n{one},\n{two}\n]\n"),
        format!("\u{feff}{one}\n\u{feff}{two}"),
        format!("\x1e{one}\n\x1e{two}\n"),
        format!("{pretty}\n{two}"),
        format!("[{pretty} , {two}]"),
        format!(r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{one},{two}]}}"#),
        format!(r#"{{"items":[{one},{two}],"kind":"EventList","metadata":{{"a":[1,{{}}]}}}}"#),
        format!(r#"{{"items":[{one}],"kind":"EventList"}}{two}"#),
        format!(r#"{{"items":[{one}],"x":1,"items":[{two}]}}"#),
        format!(r#"[{{"items":[{one}]}},{two}]"#),
        format!(r#"{{"items":[]}}[]{one}{{"kind":"EventList","items":null}}{two}"#),
        format!("{{ \"it\\u0065ms\" : [ {one} , {two} ] , \"kind\" : \"EventList\" }}"),
    ] {
        let outcome = read(text.as_bytes());
        assert_eq!(outcome.events, 2, "{text}");
        assert!(outcome.complaints.is_empty(), "{text}\n{:?}", outcome.complaints);
        assert_eq!(outcome.ids, [1, 2], "{text}");
    }
}

#[test]
fn a_cut_last_line_is_called_cut() {
    let text = format!("{}\n{}", event(1), &event(2)[..40]);
    check(text.as_bytes(), &["1:0 event 1", "2:84 (40 bytes) the JSON ends in the middle"]);
}

#[test]
fn a_broken_line_costs_only_itself() {
    for cut in 1..event(2).len() {
        let text = format!("{}\n{}\n{}\n", event(1), &event(2)[..cut], event(3));
        let complaint = format!("2:84 ({} bytes) the JSON ends in the middle", cut + 1);
        check(text.as_bytes(), &["1:0 event 1", &complaint, &format!("3:{} event 3", 84 + cut + 1)]);
    }
}

#[test]
fn an_event_behind_a_crash_in_mid_line_is_salvaged() {
    for cut in 1..event(2).len() {
        let text = format!("{}\n{}{}\n{}\n", event(1), &event(2)[..cut], event(3), event(4));
        let outcome = read(text.as_bytes());
        assert_eq!(outcome.ids, [1, 3, 4], "{text}");
        assert_eq!(outcome.complaints.len(), 1, "{text}");
    }
}

#[test]
fn headers_of_lines_are_passed_and_other_text_is_told() {
    let header = "2026-11-20T10:00:00Z stdout F ";
    let text = format!("{header}{}\nI1121 started\n{}\nlost {}\n", event(1), event(2), event(3));
    let outcome = read(text.as_bytes());
    assert_eq!(outcome.ids, [1, 2, 3]);
    assert_eq!(outcome.counts.unwrapped, 1);
    assert_eq!(
        outcome.complaints,
        [
            "2:114 (14 bytes) not an audit event: neither an object nor an array",
            "4:212 (5 bytes) not an audit event: neither an object nor an array",
        ]
    );
}

#[test]
fn an_event_inside_a_broken_event_is_not_taken_for_one() {
    let forged = event(7);
    let text = format!("{{\"kind\":\"Event\",\"verb\":x,\"requestObject\":{forged}}}\n{}\n", event(1));
    let outcome = read(text.as_bytes());
    assert_eq!(outcome.ids, [1]);
    assert_eq!(outcome.complaints, ["1:0 (126 bytes) expected a value at byte 23"]);
}

#[test]
fn holes_are_named_with_their_length() {
    let hole = "\0".repeat(5000);
    let text = format!("{}\n{}{hole}{}\n", event(1), &event(2)[..30], event(3));
    check(
        text.as_bytes(),
        &[
            "1:0 event 1",
            "2:84 (30 bytes) the JSON ends in the middle",
            "2:114 (5000 bytes) 5000 NUL bytes",
            "2:5114 event 3",
        ],
    );
    check(format!("{hole}{}", event(1)).as_bytes(), &["1:0 (5000 bytes) 5000 NUL bytes", "1:5000 event 1"]);
    check(format!("{}\n{hole}", event(1)).as_bytes(), &["1:0 event 1", "2:84 (5000 bytes) 5000 NUL bytes"]);
}

#[test]
fn bad_items_of_a_list_cost_only_themselves() {
    let text = format!(r#"{{"items":[{},{{"kind":"Pod"}},17,"x",null,{{}},{}]}}"#, event(1), event(2));
    check(
        text.as_bytes(),
        &[
            "1:10 event 1",
            "1:94 (14 bytes) not an audit event: `kind` is not `Event`",
            "1:109 (2 bytes) not an audit event: neither an object nor an array",
            "1:112 (3 bytes) not an audit event: neither an object nor an array",
            "1:116 (4 bytes) not an audit event: neither an object nor an array",
            "1:121 (2 bytes) not an audit event: neither `verb` nor `requestURI`",
            "1:124 event 2",
        ],
    );
}

#[test]
fn after_a_syntax_error_in_an_array_reading_goes_on_at_the_next_line() {
    let text = format!("[\n{},\n{{\"verb\":}},\n{},\n{}\n]\n{}\n", event(1), event(2), event(3), event(4));
    let outcome = read(text.as_bytes());
    assert_eq!(outcome.ids, [1, 2, 3, 4]);
    assert_eq!(outcome.complaints, ["3:87 (9 bytes) expected a value at byte 95"]);
}

#[test]
fn an_array_that_never_ends_is_called_cut() {
    check(
        format!("[{},", event(1)).as_bytes(),
        &["1:1 event 1", "1:85 (0 bytes) the JSON ends in the middle"],
    );
    let text = format!("[{},\n{}\n{}\n", event(1), event(2), event(3));
    let outcome = read(text.as_bytes());
    assert_eq!(outcome.ids, [1, 2, 3]);
    assert_eq!(outcome.complaints, ["3:170 (0 bytes) expected `,` or `]` at byte 170"]);
}

#[test]
fn an_item_above_the_limit_is_skipped_and_the_next_one_read() {
    let long = format!(r#"{{"verb":"create","x":"{}\"}}]"}}"#, "y".repeat(3000));
    for text in [
        format!("{}\n{long}\n{}", event(1), event(2)),
        format!("{}{long}{}", event(1), event(2)),
        format!("[{},{long},{}]", event(1), event(2)),
        format!(r#"{{"items":[{},"{}",{}]}}"#, event(1), "z".repeat(4000), event(2)),
    ] {
        let outcome = Outcome::read_with(text.as_bytes(), 1000, usize::MAX);
        assert_eq!(outcome.ids, [1, 2], "{text}");
        assert_eq!(outcome.complaints.len(), 1, "{text}");
        assert!(
            outcome.complaints[0].ends_with("an item of more than 1000 bytes"),
            "{:?}",
            outcome.complaints
        );
    }
}

#[test]
fn an_item_that_is_too_long_and_broken_ends_with_its_line() {
    let text = format!("{{\"x\":\"{}\n{}\n", "y".repeat(3000), event(1));
    let outcome = Outcome::read_with(text.as_bytes(), 1000, usize::MAX);
    assert_eq!(outcome.ids, [1]);
    assert_eq!(outcome.complaints, ["1:0 (3007 bytes) an item of more than 1000 bytes"]);
}

#[test]
fn counts_say_what_was_found() {
    let text = format!("{}\nx\n{}\n\0", event(1), event(2));
    let counts = read(text.as_bytes()).counts;
    assert_eq!(counts.events, 2);
    assert_eq!(counts.decoded_bytes, text.len() as u64);
    assert_eq!(counts.malformed.into_iter().collect::<Vec<_>>(), [("not_an_object", 1), ("nul_bytes", 1)]);
}

#[test]
fn an_event_that_holds_items_is_still_an_event() {
    for items in ["[]", "[1]", "null", "{}"] {
        let text = format!(r#"{{"kind":"Event","auditID":"1","verb":"get","items":{items}}}"#);
        check(text.as_bytes(), &["1:0 event 1"]);
    }
}

#[test]
fn a_forged_event_is_not_taken_out_of_a_broken_one_in_a_list() {
    let forged = format!(r#"{{"verb":x,"requestObject":{{"items":[{},{}]}}}}"#, event(7), event(8));
    for text in [
        format!("[{},{forged},{}]", event(1), event(2)),
        format!(r#"{{"items":[{},{forged},{}],"kind":"EventList"}}"#, event(1), event(2)),
    ] {
        let outcome = read(text.as_bytes());
        assert_eq!(outcome.ids, [1, 2], "{text}");
        assert_eq!(outcome.complaints.len(), 1, "{text}");
    }
}

#[test]
fn a_broken_event_behind_text_does_not_give_up_what_is_in_it() {
    let text = format!("text {{\"verb\":x,\"requestObject\":{}}}\n{}\n", event(7), event(1));
    assert_eq!(read(text.as_bytes()).ids, [1]);
}

#[test]
fn what_closes_a_lost_list_is_passed_over_and_no_more() {
    let text = format!(r#"{{"items":[{} {}],"kind":"EventList"}} x {}"#, event(1), event(2), event(3));
    let outcome = read(text.as_bytes());
    assert_eq!(outcome.ids, [1, 2, 3]);
    assert_eq!(
        outcome.complaints,
        [
            "1:94 (0 bytes) expected `,` or `]` at byte 94",
            "1:199 (2 bytes) not an audit event: neither an object nor an array",
        ]
    );
}

#[test]
fn a_number_behind_the_items_is_read_to_its_end() {
    let text = format!(r#"{{"items":[{}],"count":1234567,"kind":"EventList"}}"#, event(1));
    for piece_bytes in 1..text.len() {
        let outcome = Outcome::read_with(text.as_bytes(), EVENT_BYTES_MAX, piece_bytes);
        assert_eq!((outcome.ids, outcome.complaints), (vec![1], vec![]), "in pieces of {piece_bytes}");
    }
}

#[test]
fn frames_that_begin_again_know_nothing_of_what_was_before() {
    let wrapped = format!(r#"{{"cluster":"lab","log":{}}}"#, event(3));
    let texts =
        [format!("[{}", event(1)), "[[{".to_owned(), wrapped, event(2), String::new(), "}".to_owned()];
    let all = |frames: &mut Frames<std::io::Empty>| {
        let mut found = Vec::new();
        while let Some(frame) = frames.next() {
            found.push(match frame {
                Frame::Event { event, offset } => {
                    format!("{offset} {}", String::from_utf8_lossy(event.raw()))
                }
                Frame::Malformed(malformed) => format!("{malformed:?}"),
            });
        }
        (found, format!("{:?}", frames.counts()))
    };
    let mut again = Frames::of_bytes(Vec::new(), std::io::empty(), EVENT_BYTES_MAX);
    for text in texts.iter().chain(texts.iter().rev()) {
        // Not all that was before was asked for.
        again.begin_again(format!("{}{text}", event(9)).as_bytes());
        assert!(again.next().is_some());
        again.begin_again(text.as_bytes());
        let mut fresh = Frames::of_bytes(text.clone().into_bytes(), std::io::empty(), EVENT_BYTES_MAX);
        assert_eq!(all(&mut again), all(&mut fresh), "{text}");
    }
}
