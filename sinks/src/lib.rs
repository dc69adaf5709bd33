//! Alerts to people and systems.
//!
//! A sink gets one alert at a time and has written it when [`Sink::deliver`] returns;
//! what it buffers is on its way after [`Sink::flush`].

use std::io;

use detect::Alert;

pub mod clean;
pub mod delivery;
pub mod file;
pub mod http;
mod jsonl;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod outbox;
pub mod palette;
pub mod stdout;
pub mod store;
mod text;

pub use clean::clean;
pub use jsonl::{Jsonl, escaped, json_line};
pub use palette::Palette;
pub use text::Text;

/// Where alerts go.
pub trait Sink {
    /// Takes one alert.
    fn deliver(&mut self, alert: &Alert) -> io::Result<()>;

    /// Passes on what is still buffered.
    fn flush(&mut self) -> io::Result<()>;
}
