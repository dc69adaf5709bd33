//! What people see of a replay while it runs: alerts, complaints and the progress bar.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use detect::Alert;
use detect::sigma::Level;
use detect::summary::counted;
use ingest::{Complaint, Counts, Input, InputError};
use sinks::{Palette, Sink, clean};

use crate::progress::Progress;
use crate::totals::{Totals, is_no_log};

/// How many malformed items are shown before they are only counted.
const COMPLAINTS_MAX: u64 = 20;

/// Takes what a replay finds, counts it and shows it.
pub(crate) struct Reporter {
    /// Where alerts go.
    pub(crate) sink: Box<dyn Sink>,
    /// Alerts below this level are counted but not shown.
    pub(crate) min_level: Level,
    /// How far the replay is.
    pub(crate) progress: Progress,
    /// The colours of standard error.
    pub(crate) palette: Palette,
    /// Set by Ctrl-C.
    pub(crate) interrupted: Arc<AtomicBool>,
    /// What has been seen.
    pub(crate) totals: Totals,
}

impl Reporter {
    /// Counts an alert, and shows it if it is urgent enough.
    pub(crate) fn alert(&mut self, alert: &Alert) -> io::Result<()> {
        let is_shown = alert.rule.level >= self.min_level;
        self.totals.alert(alert, is_shown);
        if !is_shown {
            return Ok(());
        }
        let sink = &mut self.sink;
        self.progress.suspend(|| sink.deliver(alert))
    }

    /// Shows what has been found by now.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let sink = &mut self.sink;
        self.progress.suspend(|| sink.flush())
    }

    /// Counts an item that is no event; the first ones are shown.
    pub(crate) fn malformed(&mut self, complaint: &Complaint) {
        match self.totals.malformed() {
            count if count <= COMPLAINTS_MAX => self.say("warning", &complaint.to_string()),
            count if count == COMPLAINTS_MAX + 1 => {
                self.say("warning", "more malformed items follow; the summary counts them");
            }
            _ => {}
        }
    }

    /// Shows and counts an input that cannot be read.
    pub(crate) fn unreadable(&mut self, error: &InputError) {
        self.totals.unreadable_count += 1;
        self.say("error", &error.to_string());
    }

    /// Moves the progress bar to where a log is.
    pub(crate) fn advance(&self, log: &Counts) {
        self.progress.at(self.totals.stored_bytes() + log.stored_bytes);
    }

    /// Adds what a log was that has been read to its end. Whoever names something else shall not take it
    /// for a log without alerts.
    pub(crate) fn finish(&mut self, input: &Input, log: &Counts) {
        self.totals.log(log);
        self.progress.at(self.totals.stored_bytes());
        if is_no_log(log) {
            self.totals.unreadable_count += 1;
            let items = counted(log.malformed_total(), "malformed item");
            self.say("error", &format!("{input}: not one audit event in it, only {items}"));
        }
    }

    /// True once somebody pressed Ctrl-C.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Writes a line to standard error; nobody is there to be told if that fails.
    fn say(&self, word: &str, text: &str) {
        let style = if word == "error" { self.palette.bad() } else { self.palette.doubtful() };
        self.progress.suspend(|| {
            let _ = writeln!(io::stderr(), "{style}{word}{style:#}: {}", clean(text));
        });
    }
}
