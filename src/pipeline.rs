//! The whole product: see which rules events satisfy, take that in the order of the logs,
//! tell people.
//!
//! **Invariant:** alerts, complaints and totals are those of reading event by event, however many
//! threads look ahead; a request gives at most one alert for each rule, an episode of a
//! correlation exactly one; what a chunk gave has been handed over before the next is taken.

use std::io;

use ingest::{Chunk, Complaint, Counts, EVENT_BYTES_MAX, Frame, Input, Malformed, OngoingFrames, Standing};

use crate::detector::Detector;
use crate::examiner::{Detection, EventTally, Examined, Examiner, Finding, Part, Sighting};
use crate::reporter::Reporter;
use crate::steps::{Step, Steps};

/// Reads logs to their end, or until somebody pressed Ctrl-C.
pub(crate) fn run(
    steps: &mut Steps,
    detection: &'static Detection,
    detector: &mut Detector<'_>,
    reporter: &mut Reporter,
) -> io::Result<()> {
    let examiner = Examiner::new(detection);
    let mut pipeline = Pipeline { detector, reporter, examiner, log: Log::new() };
    while let Some(step) = steps.next()? {
        match step {
            Step::Chunk(input, examined) => {
                let chunk = pipeline.take(&input, *examined, steps)?;
                pipeline.pass(&input, chunk.stored_bytes(), chunk.is_last());
                steps.give_back(chunk);
            }
            Step::Part(input, part) => pipeline.take_part(&input, *part)?,
            Step::Unreadable(error) => pipeline.reporter.unreadable(&error),
        }
        if pipeline.reporter.is_interrupted() {
            break;
        }
    }
    pipeline.finish()
}

struct Pipeline<'p, 'd> {
    detector: &'p mut Detector<'d>,
    reporter: &'p mut Reporter,
    /// For what could not be looked at ahead.
    examiner: Examiner,
    log: Log,
}

/// The log that is being read.
struct Log {
    standing: Standing,
    counts: Counts,
}

impl Log {
    fn new() -> Self {
        Self { standing: Standing::at_start(EVENT_BYTES_MAX), counts: Counts::default() }
    }
}

impl Pipeline<'_, '_> {
    /// Takes what a chunk gave if it was read rightly, else reads it again with what follows
    /// it. Gives the last chunk back.
    fn take(&mut self, input: &Input, examined: Examined, steps: &mut Steps) -> io::Result<Chunk> {
        match self.log.standing.behind(&examined.end) {
            Some(behind) => {
                let Examined { chunk, findings, tally, .. } = examined;
                self.accept(input, findings, &tally)?;
                self.log.standing = behind;
                Ok(chunk)
            }
            None => self.read_on(input, examined.chunk, steps),
        }
    }

    /// Takes what a part of a log gave that was read in order.
    fn take_part(&mut self, input: &Input, part: Part) -> io::Result<()> {
        let Part { findings, tally, is_last, .. } = part;
        self.accept(input, findings, &tally)?;
        self.pass(input, tally.counts.stored_bytes, is_last);
        Ok(())
    }

    fn accept(&mut self, input: &Input, findings: Vec<Finding>, tally: &EventTally) -> io::Result<()> {
        self.count(tally);
        for finding in findings {
            match finding {
                Finding::Sighted(sightings) => self.tell(sightings)?,
                Finding::Malformed(malformed) => {
                    let line = self.log.standing.line() + malformed.line - 1;
                    self.complain(input, Malformed { line, ..malformed });
                }
            }
            if self.reporter.is_interrupted() {
                break;
            }
        }
        self.reporter.flush()
    }

    /// Reads on from where the log stands, event by event, until a chunk ends between two.
    fn read_on(&mut self, input: &Input, chunk: Chunk, steps: &mut Steps) -> io::Result<Chunk> {
        steps.read_ahead(false);
        let mut failure = None;
        let mut frames = OngoingFrames::new(self.log.standing, chunk, |done| {
            steps.give_back(done);
            match steps.next() {
                Ok(Some(Step::Chunk(_, examined))) => Some(examined.chunk),
                Ok(_) => None,
                Err(error) => {
                    failure = Some(error);
                    None
                }
            }
        });
        while let Some(frame) = frames.next() {
            if self.reporter.is_interrupted() {
                break;
            }
            match frame {
                Frame::Event { event, .. } => {
                    let sightings = self.examiner.sightings(&event);
                    self.tell(sightings)?;
                    self.reporter.flush()?;
                }
                Frame::Malformed(malformed) => self.complain(input, malformed),
            }
        }
        let tally = self.examiner.tally(frames.counts());
        let (chunk, standing) = frames.finish();
        self.count(&tally);
        self.log.standing = standing;
        steps.read_ahead(true);
        failure.map_or(Ok(chunk), Err)
    }

    fn tell(&mut self, sightings: Vec<Sighting>) -> io::Result<()> {
        self.detector.alerts(sightings).iter().try_for_each(|alert| self.reporter.alert(alert))
    }

    fn complain(&mut self, input: &Input, malformed: Malformed) {
        self.reporter.malformed(&Complaint { input: input.clone(), malformed });
    }

    fn count(&mut self, tally: &EventTally) {
        self.reporter.totals.add(tally);
        self.log.counts += &Counts { stored_bytes: 0, ..tally.counts.clone() };
    }

    /// Notes how far the log has been taken, and whether that was all of it.
    fn pass(&mut self, input: &Input, stored_bytes: u64, is_last: bool) {
        self.log.counts.stored_bytes = stored_bytes;
        self.reporter.advance(&self.log.counts);
        if is_last {
            self.reporter.finish(input, &std::mem::replace(&mut self.log, Log::new()).counts);
        }
    }

    /// Tells what was going on when the last log ended.
    fn finish(self) -> io::Result<()> {
        if self.log.counts.decoded_bytes > 0 {
            self.reporter.totals.log(&self.log.counts);
        }
        let Self { detector, reporter, .. } = self;
        detector.finish().iter().try_for_each(|alert| reporter.alert(alert))?;
        reporter.flush()
    }
}
