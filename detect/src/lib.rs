//! Bytes of a Kubernetes audit event in, alerts out.
//!
//! **Invariant:** nothing here does I/O, reads a clock, spawns a thread or ends the
//! process, so the same events and rules always give the same alerts.

pub mod alert;
mod block;
pub mod carrying;
mod condition;
mod context;
pub mod correlate;
pub mod derived;
mod engine;
pub mod event;
pub mod explain;
mod facets;
pub mod field;
mod index;
pub mod json;
mod kept;
mod matcher;
mod needles;
mod presence;
mod question;
mod recent;
pub mod redact;
pub mod scan;
mod seen;
mod settled;
pub mod sigma;
pub mod summary;
pub mod truth;

pub use alert::Alert;
pub use correlate::{Correlator, Episode, Observed, Relations};
pub use engine::{Engine, Match, Scratch};
pub use event::Event;
pub use scan::{ScanError, ScanErrorKind};
pub use seen::{SEEN_MAX, Seen};
pub use truth::Truth;
