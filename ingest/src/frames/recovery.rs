//! Finds where to read on after something broken.

use memchr::memmem::Finder;

/// How the API server begins every line of its log.
const MARKER: &[u8] = br#"{"kind":"Event","apiVersion":"audit.k8s.io/"#;

/// So many NUL bytes in a row are a hole in the file; fewer may be any garbage.
const NUL_RUN: &[u8] = &[0; 8];

/// How far one search looks. What it finds may be near, and every search looks this far again.
pub(super) const SEARCH_BYTES: usize = 4096;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The searches for places where an event can begin.
pub(super) struct Recovery {
    marker: Finder<'static>,
    nul_run: Finder<'static>,
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

impl Recovery {
    pub(super) fn new() -> Self {
        Self { marker: Finder::new(MARKER), nul_run: Finder::new(NUL_RUN) }
    }

    /// Looks for the next place to read on; `at_end` says that no more bytes follow.
    pub(super) fn search(&self, bytes: &[u8], at_end: bool) -> Found {
        let mut start = 0;
        loop {
            let rest = &bytes[start..];
            let newline = memchr::memchr(b'\n', rest);
            let line = &rest[..newline.unwrap_or(rest.len())];
            if let Some(found) = self.search_line(line, start) {
                return found;
            }
            let Some(newline) = newline else {
                let kept = line.len().min(MARKER.len() - 1);
                return Found::Nothing(bytes.len() - kept);
            };
            start += newline + 1;
            let next = &bytes[start..];
            if next.len() < BYTE_ORDER_MARK.len() && !at_end {
                return Found::Nothing(start - 1);
            }
            if matches!(next.first(), Some(b'{' | b'[' | 0x1e)) || next.starts_with(BYTE_ORDER_MARK) {
                return Found::Resume(start);
            }
        }
    }

    fn search_line(&self, line: &[u8], start: usize) -> Option<Found> {
        let nul_run = self.nul_run.find(line);
        let marker = self.marker.find(line);
        match (nul_run, marker) {
            (Some(nul), Some(marker)) if nul < marker => Some(Found::Resume(start + nul)),
            (_, Some(marker)) => Some(Found::Marker(start + marker)),
            (Some(nul), None) => Some(Found::Resume(start + nul)),
            (None, None) => None,
        }
    }
}

/// Walks over an item that is too long to hold, byte by byte, to where it ends.
#[derive(Clone, Copy, Default)]
pub(super) struct Skip {
    depth: u64,
    in_string: bool,
    is_escaped: bool,
    is_line_start: bool,
}

/// Where a [`Skip`] stands after some bytes.
pub(super) enum Skipped {
    /// Still inside the item.
    All,
    /// The item ended before this position.
    Item(usize),
    /// The item broke off before this position.
    Broken(usize),
}

impl Skip {
    /// Goes on over `bytes`. At the top level, a line that begins an item ends this one.
    pub(super) fn step(&mut self, bytes: &[u8], is_top_level: bool) -> Skipped {
        for (position, &byte) in bytes.iter().enumerate() {
            if is_top_level && self.is_line_start && matches!(byte, b'{' | b'[') {
                return Skipped::Item(position);
            }
            self.is_line_start = byte == b'\n';
            match byte {
                b'\n' if self.in_string => return Skipped::Broken(position),
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.in_string => self.is_escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b',' | b'}' | b']' if self.depth == 0 => return Skipped::Item(position),
                b'}' | b']' if self.depth == 1 => return Skipped::Item(position + 1),
                b'}' | b']' => self.depth -= 1,
                _ => {}
            }
        }
        Skipped::All
    }
}
