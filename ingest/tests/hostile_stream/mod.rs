//! Makes streams of events, parts of events, and garbage.

#![allow(dead_code, unreachable_pub)]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::reading::event;

/// Small enough that the limit is met by what the strategies make.
pub const LIMIT_BYTES: usize = 200;

fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let words: &[&[u8]] = &[
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"",
        b"\\",
        b"\n",
        b"\r\n",
        b" ",
        b"\0",
        b"\x1e",
        b"\xef\xbb\xbf",
        b"\xff",
        b"12",
        b"-",
        b"true",
        b"nul",
        b"\"verb\":\"get\"",
        b"{\"items\":[",
        b"],\"kind\":\"EventList\"}",
        b"\"x\":[\n",
        b"{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/",
        b"\n{\"a\":[",
        b"\0\0\0\0\0\0\0\0\0\0",
        b"\n[",
        b"\n{",
        b"{\"log\":\"",
        b"{\"message\":",
        b"{\"records\":[{\"verb\":\"a\"},{\"log\":{\"verb\":\"b\"}},7]}",
        b"2026-11-20T10:00:00Z stdout F ",
        b"<134>Nov 20 10:00:00 node-1 audit: ",
    ];
    prop_oneof![
        4 => select(words.iter().map(|word| word.to_vec()).collect::<Vec<_>>()),
        2 => (1..9_u8).prop_map(|id| event(id).into_bytes()),
        1 => (1..9_u8, any::<Index>()).prop_map(|(id, cut)| event(id).as_bytes()[..cut.index(83)].to_vec()),
        1 => (1..9_u8).prop_map(|id| wrapped(id).into_bytes()),
        1 => (1..9_u8, any::<Index>()).prop_map(|(id, cut)| cut_wrapper(id, cut)),
        1 => vec(any::<u8>(), 0..8),
        1 => (1..400_usize).prop_map(|count| vec![b'y'; count]),
    ]
}

/// An event as a shipper wraps it, as text or as an object, below the limit.
fn wrapped(id: u8) -> String {
    let event = event(id);
    let text = serde_json::Value::from(event.as_str());
    match id % 3 {
        0 => format!("{{\"log\":{text}}}"),
        1 => format!("{{\"message\":{event},\"host\":\"x\"}}"),
        _ => format!("{{\"log\":\"2026-11-20T10:00:00Z stdout F \",\"message\":{text}}}"),
    }
}

/// The beginning of it.
fn cut_wrapper(id: u8, cut: Index) -> Vec<u8> {
    let mut bytes = wrapped(id).into_bytes();
    bytes.truncate(cut.index(bytes.len()));
    bytes
}

/// Mixes what logs hold with what breaks them.
pub fn stream() -> impl Strategy<Value = Vec<u8>> {
    vec(fragment(), 0..40).prop_map(|parts| parts.concat())
}
