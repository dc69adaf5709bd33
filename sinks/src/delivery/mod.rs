//! Brings stored alerts to one sink: in order, again and again until it has them.
//!
//! A [`Worker`] reads what is pending for its sink from the [`Outbox`](crate::outbox::Outbox),
//! gives it to a [`Destination`] and moves the sink's cursor. It waits for nobody else, and
//! nobody waits for it: a sink that is slow or down costs no other sink and no receiver anything.
//!
//! **Invariant:** the cursor moves over an alert only after the sink has it, has refused it for
//! good (then it is a dead letter), or routes keep it from the sink. A crash therefore repeats
//! deliveries and never loses one.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

mod backlog;
mod backoff;
mod ending;
mod figures;
mod notice;
mod replay;
mod run;
mod worker;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

pub use figures::{Figures, Status};
pub use notice::{Event, Notice};
pub use replay::{Replay, Replayed};
pub use worker::{Pace, Worker};

use crate::clean::clean_short;
use crate::outbox::Outgoing;

/// How many alerts a worker holds at a time; more would only wait in memory instead of on disk.
pub const BATCH_COUNT_MAX: usize = 256;

/// About how many bytes of alerts a worker holds at a time: a sink costs no more memory than this
/// and one alert.
pub const BATCH_BYTES_MAX: usize = 4 << 20;

/// How many alerts may have been delivered since the cursor was saved: as many may be delivered
/// twice after a crash.
pub const UNSAVED_COUNT_MAX: u64 = 1024;

/// How long a reason may be, in characters: it may come from a peer.
pub const REASON_CHARACTERS_MAX: usize = 500;

/// Where alerts go: a program, a file, a server.
pub trait Destination: Send {
    /// Gets ready, before the first delivery. `memo` is what [`Destination::memo`] gave when the
    /// cursor was saved last. Called again until it succeeds.
    fn open(&mut self, memo: Option<&str>) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Takes alerts in order, at least one of them if it can; has them for good when this returns.
    fn deliver(&mut self, alerts: &[Arc<Outgoing>]) -> impl Future<Output = Delivery> + Send;

    /// What it wants to be reminded of after a restart, given what it has taken so far.
    fn memo(&self) -> Option<String> {
        None
    }

    /// Learns that the cursor was saved, with what [`Destination::memo`] gave last.
    fn saved(&mut self) {}
}

/// How giving alerts to a destination went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// How many it has, from the first on.
    pub delivered_count: usize,
    /// What is wrong with the one after these, unless more may follow at once.
    pub trouble: Option<Trouble>,
}

impl Delivery {
    /// All is well: it has this many.
    pub fn of(delivered_count: usize) -> Self {
        Self { delivered_count, trouble: None }
    }

    /// It has this many, and cannot take the next.
    pub fn until(delivered_count: usize, trouble: Trouble) -> Self {
        Self { delivered_count, trouble: Some(trouble) }
    }
}

/// Why a destination does not have an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It will pass: tried again for ever.
    Temporary {
        /// What went wrong.
        reason: String,
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// The destination answers in a way that is usually the fault of a configuration, such as a
    /// wrong password: tried again for ever, unless another alert is taken meanwhile; then it is
    /// this alert that is not wanted.
    Denied {
        /// What it said.
        reason: String,
    },
    /// The destination does not want this alert: a dead letter after a few tries.
    Refused {
        /// What it said.
        reason: String,
    },
}

impl Trouble {
    /// Trouble that will pass, without a hint when.
    pub fn temporary(reason: &str) -> Self {
        Self::Temporary { reason: shown(reason), retry_after: None }
    }

    /// Trouble that will pass, and why.
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::temporary(&chain(error))
    }

    /// What went wrong.
    pub fn reason(&self) -> &str {
        match self {
            Self::Temporary { reason, .. } | Self::Denied { reason } | Self::Refused { reason } => reason,
        }
    }
}

/// An error and what is behind it, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// A reason as logs and tables may show it.
pub(crate) fn shown(reason: &str) -> String {
    clean_short(reason, REASON_CHARACTERS_MAX)
}
