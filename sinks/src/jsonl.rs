//! Alerts for programs: one JSON object a line.

use std::io::{self, Write};

use detect::Alert;

use crate::Sink;

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
        serde_json::to_writer(&mut self.writer, alert)?;
        self.writer.write_all(b"\n")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
