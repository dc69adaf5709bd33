//! The whole product: read an event, see which rules it satisfies, tell people.
//!
//! **Invariant:** an alert has been handed over before the next event is read; a request
//! gives at most one alert for each rule, an episode of a correlation exactly one.

use std::io;

use ingest::{Frame, Log};

use crate::detector::Detector;
use crate::reporter::Reporter;

/// Reads a log to its end, or until the reporter has been interrupted.
pub(crate) fn run(log: &mut Log, detector: &mut Detector<'_>, reporter: &mut Reporter) -> io::Result<()> {
    while let Some(frame) = log.next() {
        match frame {
            Frame::Event { event, .. } => {
                reporter.event(&event);
                for alert in detector.alerts(&event) {
                    reporter.alert(&alert)?;
                }
            }
            Frame::Malformed(malformed) => reporter.malformed(&log.complaint(malformed)),
        }
        if reporter.is_interrupted() {
            break;
        }
        reporter.advance(log);
    }
    Ok(())
}

/// Tells what was going on when the last log ended.
pub(crate) fn finish(detector: &mut Detector<'_>, reporter: &mut Reporter) -> io::Result<()> {
    detector.finish().iter().try_for_each(|alert| reporter.alert(alert))
}
