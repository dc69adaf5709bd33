//! What is wrong with bytes that should be an event, and where they lie.

use std::io;
use std::sync::Arc;

use detect::ScanErrorKind;
use detect::event::Complaint;

use crate::envelope::Refused;

/// Bytes that are no event.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{line} (byte {offset}): {kind}")]
pub struct Malformed {
    /// The line on which they begin, counted from 1.
    pub line: u64,
    /// Where they begin: bytes from the start of the decoded stream.
    pub offset: u64,
    /// How many bytes were skipped.
    pub bytes: u64,
    /// What is wrong.
    #[source]
    pub kind: MalformedKind,
}

/// What can be wrong with bytes that should be an event.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedKind {
    /// The text breaks a rule of JSON.
    #[error("{kind} at byte {offset}")]
    Syntax {
        /// The rule.
        kind: ScanErrorKind,
        /// Where it is broken: bytes from the start of the decoded stream.
        offset: u64,
    },
    /// The line, or the file, ends before the item does.
    #[error("the JSON ends in the middle")]
    Truncated,
    /// A JSON object, but not an audit event.
    #[error("{0}")]
    NotAnEvent(Complaint),
    /// A wrapper of a shipper or a cloud around something else than audit events.
    #[error("{0}")]
    Wrapped(Refused),
    /// Neither an object nor an array: a line of text, a lone value.
    #[error("not an audit event: neither an object nor an array")]
    NotAnObject,
    /// A run of NUL bytes, as file systems leave them behind after a power loss.
    #[error("{0} NUL bytes")]
    NulBytes(u64),
    /// The whole input is encoded as UTF-16.
    #[error("the text is UTF-16; audit logs are UTF-8")]
    Utf16,
    /// The whole input is compressed once more inside its compression.
    #[error("the data is compressed more than once")]
    Compressed,
    /// One item is larger than the limit.
    #[error("an item of more than {max_bytes} bytes")]
    TooLong {
        /// The limit, [`crate::EVENT_BYTES_MAX`] unless set.
        max_bytes: usize,
    },
    /// Lists nest in lists deeper than [`crate::frames::LISTS_MAX`].
    #[error("lists nest deeper than {} levels", crate::frames::LISTS_MAX)]
    ListsTooDeep,
    /// The input could not be read further.
    #[error("cannot read on: {0}")]
    Unreadable(Arc<io::Error>),
}

impl MalformedKind {
    /// A short stable name, for counting.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "syntax",
            Self::Truncated => "truncated",
            Self::NotAnEvent(_) => "not_an_event",
            Self::Wrapped(_) => "wrapped",
            Self::NotAnObject => "not_an_object",
            Self::NulBytes(_) => "nul_bytes",
            Self::Utf16 => "utf16",
            Self::Compressed => "compressed",
            Self::TooLong { .. } => "too_long",
            Self::ListsTooDeep => "lists_too_deep",
            Self::Unreadable(_) => "unreadable",
        }
    }
}
