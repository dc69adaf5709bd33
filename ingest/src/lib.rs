//! Bytes of recorded logs in, audit events out.
//!
//! [`inputs`] turns what a person named into files in time order, [`decode`] undoes
//! compression, [`frames`] finds the events, if need be in an [`envelope`], and [`log`] ties the three together. Whatever
//! is no event becomes a value that says what is wrong and where; nothing is skipped unsaid.
//!
//! **Invariant:** memory is bounded by the largest single event, never by the size of a
//! file, and no input makes this crate panic or read a byte more than a few times.

pub mod chunks;
pub mod counts;
pub mod decode;
pub mod envelope;
pub mod follow;
pub mod frames;
pub mod inputs;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod log;
pub mod malformed;
pub mod webhook;

pub use chunks::{Chunk, Chunks};
pub use counts::Counts;
pub use frames::chunked::{ChunkEnd, ChunkFrames, OngoingFrames, Standing};
pub use frames::{EVENT_BYTES_MAX, Frame, Frames};
pub use inputs::{Input, InputError};
pub use log::{Complaint, Log};
pub use malformed::{Malformed, MalformedKind};
