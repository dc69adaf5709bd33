//! Alerts for programs: one JSON object a line.
//!
//! **Invariant:** what a terminal would act on is written as `\u` escapes, which mean the
//! same to every reader of JSON, so that a line can be looked at without harm.

use std::io::{self, Write};

use detect::Alert;
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use crate::Sink;
use crate::clean::is_unsafe;

/// Writes alerts as JSON Lines.
#[derive(Debug)]
pub struct Jsonl<W> {
    writer: W,
}

impl<W: Write> Jsonl<W> {
    /// Writes to `writer`, which should be buffered.
    pub fn new(writer: W) -> Self {
        Self { writer }
    }
}

impl<W: Write> Sink for Jsonl<W> {
    fn deliver(&mut self, alert: &Alert) -> io::Result<()> {
        alert.serialize(&mut Serializer::with_formatter(&mut self.writer, Escaped))?;
        self.writer.write_all(b"\n")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// What a line takes beside its event, roughly.
const LINE_BYTES: usize = 2048;

/// An alert as one line of JSON, without line break.
pub fn json_line(alert: &Alert) -> String {
    let event_bytes = alert.event.as_ref().map_or(0, |event| event.get().len());
    let mut line = Vec::with_capacity(event_bytes + LINE_BYTES);
    // Neither writing to memory nor texts and numbers can fail.
    let _ = alert.serialize(&mut Serializer::with_formatter(&mut line, Escaped));
    String::from_utf8(line).unwrap_or_default()
}

/// Compact JSON with escapes for what a terminal would act on.
struct Escaped;

impl Formatter for Escaped {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        write_escaped(writer, fragment)
    }

    /// Writes the event. Beyond ASCII, JSON has characters inside strings only.
    fn write_raw_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        write_escaped(writer, fragment)
    }
}

/// JSON with escapes for what a terminal would act on.
pub fn escaped(json: &str) -> String {
    let mut written = Vec::with_capacity(json.len());
    // Writing into memory does not fail, and what was text stays text.
    let _ = write_escaped(&mut written, json);
    String::from_utf8(written).unwrap_or_default()
}

fn write_escaped<W: ?Sized + Write>(writer: &mut W, text: &str) -> io::Result<()> {
    // Whole blocks are tested at once; what a terminal would act on is rare.
    if text.is_ascii() && !text.as_bytes().contains(&0x7f) {
        return writer.write_all(text.as_bytes());
    }
    let mut written = 0;
    for (start, part) in text.match_indices(|character| character >= '\u{7f}' && is_unsafe(character)) {
        writer.write_all(&text.as_bytes()[written..start])?;
        part.encode_utf16().try_for_each(|unit| write!(writer, "\\u{unit:04x}"))?;
        written = start + part.len();
    }
    writer.write_all(&text.as_bytes()[written..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_mean_the_same_and_show_nothing() {
        let raw = "{ \"a\":\t\"x\u{202e}\u{9b}\u{7f}\u{e0041}Grüße\" }";
        let mut written = Vec::new();
        write_escaped(&mut written, raw).unwrap();
        let written = String::from_utf8(written).unwrap();
        assert_eq!(written, "{ \"a\":\t\"x\\u202e\\u009b\\u007f\\udb40\\udc41Grüße\" }");
        let value = |text| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&written), value(raw));
    }
}
