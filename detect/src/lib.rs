//! Bytes of a Kubernetes audit event in, alerts out.
//!
//! **Invariant:** nothing here does I/O, reads a clock, spawns a thread or ends the
//! process, so the same events and rules always give the same alerts.

pub mod derived;
pub mod event;
pub mod field;
pub mod json;
pub mod scan;
pub mod sigma;

pub use event::Event;
pub use scan::{ScanError, ScanErrorKind};
