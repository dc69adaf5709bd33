//! One recorded log: a file or standard input, decoded and taken apart into frames.

use std::io::Read;

use crate::counts::Counts;
use crate::decode::Decoded;
use crate::frames::{EVENT_BYTES_MAX, Frame, Frames};
use crate::inputs::{Input, InputError};
use crate::malformed::Malformed;

/// A log that is being read. Logs share nothing, so each may be read on a thread of its own.
pub struct Log {
    input: Input,
    frames: Frames<Decoded<Box<dyn Read + Send>>>,
}

/// A malformed item and the input it was found in.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{input}:{malformed}")]
pub struct Complaint {
    /// Where it was found.
    pub input: Input,
    /// What and where in it.
    #[source]
    pub malformed: Malformed,
}

impl Log {
    /// Opens an input, items up to [`EVENT_BYTES_MAX`].
    pub fn open(input: &Input) -> Result<Self, InputError> {
        Self::open_with_event_bytes_max(input, EVENT_BYTES_MAX)
    }

    /// Opens an input, items up to `event_bytes_max`.
    pub fn open_with_event_bytes_max(input: &Input, event_bytes_max: usize) -> Result<Self, InputError> {
        Ok(Self::with_decoded(input, input.open_decoded()?, event_bytes_max))
    }

    /// Reads an input that has been opened, items up to `event_bytes_max`.
    pub fn with_decoded(
        input: &Input,
        decoded: Decoded<Box<dyn Read + Send>>,
        event_bytes_max: usize,
    ) -> Self {
        Self { input: input.clone(), frames: Frames::with_event_bytes_max(decoded, event_bytes_max) }
    }

    /// The next event or malformed item; nothing at the end of the log.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Frame<'_>> {
        self.frames.next()
    }

    /// The line, from 1, on which the event begins that was handed out last.
    pub fn line(&mut self) -> u64 {
        self.frames.line()
    }

    /// Puts a malformed item of this log together with its name.
    pub fn complaint(&self, malformed: Malformed) -> Complaint {
        Complaint { input: self.input.clone(), malformed }
    }

    /// What has been read so far.
    pub fn counts(&self) -> Counts {
        Counts { stored_bytes: self.frames.source().stored_bytes(), ..self.frames.counts() }
    }

    /// What has been read since this was last asked; `stored_bytes` from the beginning.
    pub fn take_counts(&mut self) -> Counts {
        Counts { stored_bytes: self.frames.source().stored_bytes(), ..self.frames.take_counts() }
    }

    /// The input that is read.
    pub fn input(&self) -> &Input {
        &self.input
    }
}
