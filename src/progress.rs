//! How far a replay is: a bar on standard error, if that is a terminal.

use std::fmt;
use std::time::Duration;

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// How often the bar is drawn again, in milliseconds.
const TICK_MS: u64 = 100;

/// The bar, or nothing at all.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Nothing is drawn.
    pub(crate) fn hidden() -> Self {
        Self { bar: ProgressBar::hidden() }
    }

    /// A bar up to `total_bytes`, or a count where the end is not known.
    pub(crate) fn shown(total_bytes: Option<u64>) -> Self {
        let template = match total_bytes {
            Some(_) => "{bar:30.cyan/dim} {percent:>3}%  {bytes}/{total_bytes}{pace}",
            None => "{spinner} {bytes} read{pace}",
        };
        let bar = ProgressBar::with_draw_target(total_bytes, ProgressDrawTarget::stderr());
        // Invariant: the templates above are well-formed; the plain bar is as good otherwise.
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).with_key(
                "pace",
                |state: &ProgressState, out: &mut dyn fmt::Write| {
                    let _ = out.write_str(&pace(state.per_sec(), state.len().map(|_| state.eta())));
                },
            ),
        );
        bar.enable_steady_tick(Duration::from_millis(TICK_MS));
        Self { bar }
    }

    /// Moves to `bytes` read so far.
    pub(crate) fn at(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }

    /// Takes the bar away while something else is written to the terminal.
    pub(crate) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// Takes the bar away for good.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// How many bytes a second, and how long until the end, if there is one; nothing before that is known.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn pace(bytes_per_second: f64, left: Option<Duration>) -> String {
    if bytes_per_second < 1.0 {
        return String::new();
    }
    let left = left.map_or_else(String::new, |left| format!("  {:#} left", HumanDuration(left)));
    format!("  {}/s{left}", HumanBytes(bytes_per_second as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_told_once_it_is_known() {
        assert_eq!(pace(0.0, Some(Duration::ZERO)), "");
        assert_eq!(pace(2048.0, Some(Duration::from_secs(7))), "  2.00 KiB/s  7s left");
        assert_eq!(pace(2048.0, None), "  2.00 KiB/s");
    }
}
