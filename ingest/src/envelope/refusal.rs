//! Why what an envelope holds is no audit event.

use detect::event::Complaint;
use detect::{ScanError, ScanErrorKind};

/// An object is no envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither an audit event nor anything that holds one")]
pub struct NotAnEnvelope;

/// What an envelope holds that is no audit event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", several(*count))]
pub struct Refused {
    /// How many records are none.
    pub count: u64,
    /// Why one of them is none: the first of those that say most.
    #[source]
    pub reason: Reason,
}

fn several(count: u64) -> String {
    match count {
        0 | 1 => "in a wrapper: ".to_owned(),
        count => format!("in a wrapper, {count} records are no audit events, one of them: "),
    }
}

/// Why a record is no audit event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Something else stands where the text or the object should.
    #[error("neither text nor an object")]
    NoText,
    /// Text in which no object begins.
    #[error("text without a JSON object")]
    NoObject,
    /// The text ends before the event does.
    #[error("the JSON ends in the middle")]
    Truncated,
    /// The text breaks a rule of JSON.
    #[error("{kind} at byte {offset} of the text")]
    Syntax {
        /// The rule.
        kind: ScanErrorKind,
        /// Where it is broken.
        offset: usize,
    },
    /// An object that is no event and holds none.
    #[error("{0}")]
    NotAnEvent(Complaint),
    /// Text that holds such an object.
    #[error("the object in the text is {0}")]
    NotAnEventAsText(Complaint),
    /// More wrappers than [`super::WRAPPERS_MAX`].
    #[error("wrappers in wrappers, more than {} deep", super::WRAPPERS_MAX)]
    TooDeep,
    /// A log entry that does not say what was requested.
    #[error("a log entry without a `methodName` that names a verb")]
    NoMethod,
}

impl Reason {
    /// This reason, unless an earlier one says more: that there was an event, and it is broken.
    pub(super) fn or(self, earlier: Option<Self>) -> Self {
        match earlier {
            Some(earlier) if earlier.rank() >= self.rank() => earlier,
            _ => self,
        }
    }

    /// The same of what stands in a text.
    pub(super) fn of_text(self) -> Self {
        match self {
            Self::NotAnEvent(complaint) => Self::NotAnEventAsText(complaint),
            other => other,
        }
    }

    /// True if there may have been an event, which cannot be read.
    pub(super) fn may_hide_an_event(&self) -> bool {
        self.rank() == 3 || *self == Self::TooDeep
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Truncated | Self::Syntax { .. } | Self::NoMethod => 3,
            Self::TooDeep | Self::NotAnEventAsText(_) => 2,
            Self::NoObject | Self::NoText => 1,
            Self::NotAnEvent(_) => 0,
        }
    }
}

impl From<ScanError> for Reason {
    fn from(ScanError { offset, kind }: ScanError) -> Self {
        match kind {
            ScanErrorKind::Incomplete => Self::Truncated,
            kind => Self::Syntax { kind, offset },
        }
    }
}
