//! Finds where to read on after something broken.

use memchr::memmem::Finder;

/// How the API server begins every line of its log.
const MARKER: &[u8] = br#"{"kind":"Event","apiVersion":"audit.k8s.io/"#;

/// How an object begins.
const OBJECT: &[u8] = br#"{""#;

/// So many NUL bytes in a row are a hole in the file; fewer may be any garbage.
pub(super) const NUL_RUN: &[u8] = &[0; 8];

/// How far the first search looks. What it finds may be near, and then this much is looked at again.
pub(super) const SEARCH_BYTES_MIN: usize = 128;

/// How far a search looks when those before it found nothing.
pub(super) const SEARCH_BYTES_MAX: usize = 4096;

/// How far a line may be indented, behind garbage. Behind a broken item it may not be at all,
/// for then it is rather a part of that.
const INDENT_BYTES_MAX: usize = 64;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The searches for places where an event can begin.
pub(super) struct Search {
    marker: Finder<'static>,
    nul_run: Finder<'static>,
    object: Finder<'static>,
}

/// What has to be left behind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    /// Text outside of all items: any object in it is one of its own.
    Garbage,
    /// A broken item, of which objects may be a part.
    Item,
}

/// What a search found, as a position in the bytes given.
pub(super) enum Found {
    /// A line that begins with `{` or `[`, or a hole: read on there.
    Resume(usize),
    /// The beginning of what may be an event behind the broken part of a line.
    Marker(usize),
    /// Nothing before this position.
    Nothing(usize),
}

impl Search {
    pub(super) fn new() -> Self {
        Self { marker: Finder::new(MARKER), nul_run: Finder::new(NUL_RUN), object: Finder::new(OBJECT) }
    }

    /// Looks for the next place to read on; `at_end` says that no more bytes follow.
    pub(super) fn find(&self, bytes: &[u8], behind: Behind, at_end: bool) -> Found {
        let mut start = 0;
        loop {
            let rest = &bytes[start..];
            let newline = memchr::memchr(b'\n', rest);
            let line = &rest[..newline.unwrap_or(rest.len())];
            if let Some(found) = self.find_in_line(line, start, behind) {
                return found;
            }
            let Some(newline) = newline else {
                let kept = line.len().min(MARKER.len() - 1);
                return Found::Nothing(bytes.len() - kept);
            };
            start += newline + 1;
            let next = &bytes[start..];
            let text = &next[indent_bytes(next, behind)..];
            if text.len() < BYTE_ORDER_MARK.len() && !at_end {
                return Found::Nothing(start - 1);
            }
            if matches!(text.first(), Some(b'{' | b'[' | 0x1e)) || text.starts_with(BYTE_ORDER_MARK) {
                return Found::Resume(start);
            }
        }
    }

    fn find_in_line(&self, line: &[u8], start: usize, behind: Behind) -> Option<Found> {
        let nul_run = self.nul_run.find(line).map(|position| start + position);
        let event = match behind {
            Behind::Garbage => self.object.find(line).map(|position| Found::Resume(start + position)),
            Behind::Item => self.marker.find(line).map(|position| Found::Marker(start + position)),
        };
        match (nul_run, event) {
            (Some(nul), Some(Found::Resume(at) | Found::Marker(at))) if nul < at => Some(Found::Resume(nul)),
            (Some(nul), None) => Some(Found::Resume(nul)),
            (_, event) => event,
        }
    }
}

fn indent_bytes(line: &[u8], behind: Behind) -> usize {
    match behind {
        Behind::Garbage => {
            let blanks = line.iter().take(INDENT_BYTES_MAX);
            blanks.take_while(|byte| matches!(byte, b' ' | b'\t')).count()
        }
        Behind::Item => 0,
    }
}
