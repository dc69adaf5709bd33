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
    ];
    prop_oneof![
        4 => select(words.iter().map(|word| word.to_vec()).collect::<Vec<_>>()),
        2 => (1..9_u8).prop_map(|id| event(id).into_bytes()),
        1 => (1..9_u8, any::<Index>()).prop_map(|(id, cut)| event(id).as_bytes()[..cut.index(83)].to_vec()),
        1 => vec(any::<u8>(), 0..8),
        1 => (1..400_usize).prop_map(|count| vec![b'y'; count]),
    ]
}

/// Mixes what logs hold with what breaks them.
pub fn stream() -> impl Strategy<Value = Vec<u8>> {
    vec(fragment(), 0..40).prop_map(|parts| parts.concat())
}
