//! `masthead run`: takes events from everywhere, all the time.
//!
//! What sources give goes through one function, `Lookout::take`; everything else here starts the
//! parts around it, keeps an eye on them, and ends them in the right order.
//!
//! **Invariant:** a source is answered only after everything its events gave is durable. A crash
//! repeats work and never loses an alert.

mod admin;
mod batch;
mod budget;
mod catalog;
mod chores;
mod clusters;
mod current;
mod evaluators;
mod exchange;
mod figures;
#[cfg(feature = "kafka")]
mod fleet;
mod followed;
mod followers;
mod health;
#[cfg(feature = "kafka")]
mod kafka;
// Without Kafka nothing has lanes, and nobody waits for any.
#[cfg_attr(not(feature = "kafka"), allow(dead_code))]
mod lanes;
pub(crate) mod log;
mod lookout;
mod notice;
mod outlets;
mod part;
mod prefix;
mod rehearsal;
mod reload;
mod remembering;
mod service;
mod setup;
mod sources;
mod tallies;
mod untold;

use current::Current;
use lookout::Lookout;
pub(crate) use service::run;
pub(crate) use setup::{Setup, SetupError};
