//! What is written down about what happens: to standard error, never with what events hold.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Filter, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat, LogLevel};

/// How many lines one place in the code may write in [`WINDOW`]: a disk that is full fails every request.
const LINES_MAX: u32 = 20;
/// How long a place is quiet for that has written too many lines.
const WINDOW: Duration = Duration::from_secs(10);

/// Begins to write.
pub(crate) fn begin(settings: &Log) {
    let is_human = match settings.format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_target(false);
    let lines = if is_human {
        lines.with_ansi(io::stderr().is_terminal()).boxed()
    } else {
        lines.json().flatten_event(true).boxed()
    };
    let limited = lines.with_filter(Limiter::default());
    // Whoever has set up a log before keeps it.
    let _ = tracing_subscriber::registry().with(level(settings.level)).with(limited).try_init();
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Keeps one place in the code from filling a disk.
#[derive(Default)]
struct Limiter {
    /// By place: since when, and how many lines.
    places: Mutex<HashMap<Identifier, (Instant, u32)>>,
}

impl<S: Subscriber> Filter<S> for Limiter {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        let now = Instant::now();
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = places.entry(metadata.callsite()).or_insert((now, 0));
        if now.duration_since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= LINES_MAX
    }

    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        // Asked each time: the answer changes.
        Interest::sometimes()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    struct Lines(Arc<AtomicU32>);

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_place_that_says_the_same_all_the_time_is_quiet_for_a_while() {
        let count = Arc::new(AtomicU32::new(0));
        let lines = Lines(Arc::clone(&count)).with_filter(Limiter::default());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            for _ in 0..10 * LINES_MAX {
                tracing::error!("the disk is full");
            }
            tracing::error!("something else");
        });
        assert_eq!(count.load(Ordering::Relaxed), LINES_MAX + 1);
    }
}
