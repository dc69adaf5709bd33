//! Reads a stream to its end and writes down what came.

#![allow(dead_code, unreachable_pub)]

use std::io::Read;

use detect::event::Key;
use ingest::{Counts, EVENT_BYTES_MAX, Frame, Frames};

/// A small event of 83 bytes whose audit id is a digit.
pub fn event(id: u8) -> String {
    format!(r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"{id}","verb":"get","x":"yy"}}"#)
}

/// What a stream held.
#[derive(Default, Debug, PartialEq)]
pub struct Outcome {
    pub events: usize,
    pub ids: Vec<u64>,
    pub raw: Vec<Vec<u8>>,
    pub complaints: Vec<String>,
    pub buffer_bytes: usize,
    pub counts: Counts,
    lines: Vec<String>,
}

pub fn read(bytes: &[u8]) -> Outcome {
    Outcome::read_with(bytes, EVENT_BYTES_MAX, usize::MAX)
}

impl Outcome {
    /// Reads `source` in pieces of at most `piece_bytes`.
    pub fn read_with(source: impl Read, event_bytes_max: usize, piece_bytes: usize) -> Self {
        Self::of(Frames::with_event_bytes_max(Pieces { source, piece_bytes }, event_bytes_max), true)
    }

    /// Reads frames to their end; `keeps` says whether the events themselves are kept.
    pub fn of<R: Read>(mut frames: Frames<R>, keeps: bool) -> Self {
        let mut outcome = Outcome::default();
        while let Some(frame) = frames.next() {
            match frame {
                Frame::Event { event, offset } => {
                    outcome.events += 1;
                    if keeps {
                        let id = event.str(Key::AuditId).unwrap_or_default().into_owned();
                        outcome.ids.push(id.parse().unwrap_or(0));
                        outcome.raw.push(event.raw().to_vec());
                        outcome.lines.push(format!("{}:{offset} event {id}", frames.line()));
                    }
                }
                Frame::Malformed(bad) => {
                    let text = format!("{}:{} ({} bytes) {}", bad.line, bad.offset, bad.bytes, bad.kind);
                    outcome.lines.push(text.clone());
                    outcome.complaints.push(text);
                }
            }
        }
        outcome.buffer_bytes = frames.buffer_bytes();
        outcome.counts = frames.counts();
        outcome
    }

    /// Reads frames to their end and keeps nothing but the counts.
    pub fn of_counts<R: Read>(frames: &mut Frames<R>) -> Counts {
        while frames.next().is_some() {}
        frames.counts()
    }

    pub fn lines(&self) -> Vec<&str> {
        self.lines.iter().map(String::as_str).collect()
    }

    /// Events, complaints and their places, without what depends on the delivery.
    pub fn content(&self) -> (&[String], &[Vec<u8>]) {
        (&self.lines, &self.raw)
    }
}

/// A reader that gives little at a time.
pub struct Pieces<R> {
    pub source: R,
    pub piece_bytes: usize,
}

impl<R: Read> Read for Pieces<R> {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        let count = room.len().min(self.piece_bytes);
        self.source.read(&mut room[..count])
    }
}
