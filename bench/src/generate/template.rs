//! Recorded events with the places in them that change from round to round.

use std::collections::BTreeSet;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use detect::Event;
use detect::event::Key;

/// Recorded events that can be repeated for ever.
pub(crate) struct Templates {
    events: Vec<Template>,
    /// How much time passes from one round to the next.
    round: TimeDelta,
    seed: u64,
}

struct Template {
    raw: Vec<u8>,
    /// From left to right, without overlap.
    edits: Vec<(Range<usize>, Edit)>,
}

enum Edit {
    AuditId(u64),
    Time(DateTime<Utc>),
    /// A name, to the end of which the round is added.
    Name,
}

impl Templates {
    /// Finds in `events` what is to change.
    pub(crate) fn new(events: Vec<Vec<u8>>, seed: u64) -> Self {
        let names: BTreeSet<String> = events.iter().flat_map(|raw| names(raw)).collect();
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&names).ok();
        let events: Vec<_> = events.into_iter().map(|raw| Template::new(raw, finder.as_ref())).collect();
        let times = || events.iter().flat_map(Template::times);
        let span = times().max().zip(times().min()).map_or(TimeDelta::zero(), |(last, first)| last - first);
        Self { events, round: span + TimeDelta::seconds(1), seed }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The events, round after round, without end.
    pub(crate) fn rounds(&self) -> impl Iterator<Item = Vec<u8>> {
        (0..i32::MAX).flat_map(move |round| {
            self.events.iter().map(move |event| event.render(round, self.round * round, self.seed))
        })
    }
}

/// The names of namespaces, pods and users that are the cluster owner's own choice.
fn names(raw: &[u8]) -> Vec<String> {
    let Ok(event) = Event::parse(raw) else { return Vec::new() };
    let pod = event.str_at(Key::ObjectRef, "resource").filter(|resource| resource == "pods");
    let names = [
        event.str_at(Key::ObjectRef, "namespace"),
        event.str_at(Key::User, "username"),
        pod.and_then(|_| event.str_at(Key::ObjectRef, "name")),
    ];
    let is_own = |name: &String| {
        name.len() > 2 && !name.contains(':') && name != "default" && !name.starts_with("kube")
    };
    names.into_iter().flatten().map(std::borrow::Cow::into_owned).filter(is_own).collect()
}

impl Template {
    fn new(raw: Vec<u8>, names: Option<&AhoCorasick>) -> Self {
        let mut edits = Vec::new();
        if let Ok(event) = Event::parse(&raw) {
            if let Some(id) = event.get(Key::AuditId) {
                edits.extend(inside(&raw, id.bytes()).map(|range| (range, Edit::AuditId(hash(id.bytes())))));
            }
            for key in [Key::RequestReceivedTimestamp, Key::StageTimestamp] {
                let Some(time) = event.str(key).and_then(|text| DateTime::parse_from_rfc3339(&text).ok())
                else {
                    continue;
                };
                let Some(written) = event.get(key) else { continue };
                edits.extend(inside(&raw, written.bytes()).map(|range| (range, Edit::Time(time.to_utc()))));
            }
        }
        for found in names.into_iter().flat_map(|names| names.find_iter(&raw)) {
            if is_whole_name(&raw, found.range()) {
                edits.push((found.range(), Edit::Name));
            }
        }
        edits.sort_by_key(|(range, _)| range.start);
        edits.dedup_by(|next, kept| next.0.start < kept.0.end);
        Self { raw, edits }
    }

    fn times(&self) -> impl Iterator<Item = DateTime<Utc>> {
        self.edits.iter().filter_map(|(_, edit)| match edit {
            Edit::Time(time) => Some(*time),
            Edit::AuditId(_) | Edit::Name => None,
        })
    }

    fn render(&self, round: i32, shift: TimeDelta, seed: u64) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.raw.len() + 64);
        let mut copied = 0;
        for (range, edit) in &self.edits {
            text.extend_from_slice(&self.raw[copied..range.start]);
            match edit {
                Edit::AuditId(id) => {
                    text.extend(audit_id(*id, u64::from(round.unsigned_abs()), seed).into_bytes());
                }
                Edit::Time(time) => {
                    text.extend((*time + shift).to_rfc3339_opts(SecondsFormat::Micros, true).into_bytes());
                }
                Edit::Name => text.extend_from_slice(&self.raw[range.clone()]),
            }
            if matches!(edit, Edit::Name) && round > 0 {
                text.extend(format!("-r{round}").into_bytes());
            }
            copied = range.end;
        }
        text.extend_from_slice(&self.raw[copied..]);
        text
    }
}

/// Where a string of `raw` lies, without its quotes.
fn inside(raw: &[u8], written: &[u8]) -> Option<Range<usize>> {
    let start = memchr::memmem::find(raw, written)?;
    Some(start + 1..start + written.len() - 1)
}

/// True when the name is no part of a longer one and no key.
fn is_whole_name(raw: &[u8], range: Range<usize>) -> bool {
    let is_part =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-_.\\".contains(byte));
    let before = range.start.checked_sub(1).and_then(|index| raw.get(index));
    let after = raw.get(range.end..).unwrap_or_default();
    !is_part(before) && !is_part(after.first()) && !after.starts_with(b"\":")
}

/// A version 4 UUID that depends on the recorded id, the round and the seed.
fn audit_id(id: u64, round: u64, seed: u64) -> String {
    let high = mix(id ^ mix(round ^ mix(seed)));
    let low = mix(high);
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff,
    )
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The finaliser of `SplitMix64`.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}
