//! What others should learn about a sink: that it fails, is well again, or gave something up.
//!
//! Told seldom: a sink that fails is one piece of news, not one a try.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use super::Pace;
use crate::outbox::DeadLetter;

/// A piece of news about a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The sink's name.
    pub sink: String,
    /// What happened.
    pub event: Event,
}

/// What happened to a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing could be delivered for some time; told again once in a while until it is well.
    Failing {
        /// For how long.
        lasting: Duration,
        /// What went wrong last.
        reason: String,
    },
    /// It takes alerts again; told only if [`Event::Failing`] was.
    Recovered {
        /// For how long it did not.
        after: Duration,
    },
    /// Alerts became dead letters.
    Dead {
        /// How many since this was told last.
        count: u64,
        /// The last of them.
        letter: DeadLetter,
        /// The id of that alert.
        id: u128,
    },
    /// Alerts were gone from the store before the sink could have them.
    Missed {
        /// How many.
        count: u64,
    },
}

/// Dead letters that are to be told: how many, and the last of them.
#[derive(Clone, Debug)]
struct Dead {
    count: u64,
    letter: DeadLetter,
    id: u128,
}

/// Decides what is told when.
#[derive(Debug)]
pub(super) struct News {
    sink: String,
    notices: mpsc::Sender<Notice>,
    failing_after: Duration,
    again_after: Duration,
    failing: Option<Failing>,
    dead: Option<Dead>,
    dead_told_at: Option<Instant>,
    missed_count: u64,
    recovered_after: Option<Duration>,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    told_at: Option<Instant>,
    reason: String,
}

impl News {
    pub(super) fn new(sink: String, notices: mpsc::Sender<Notice>, pace: &Pace) -> Self {
        Self {
            sink,
            notices,
            failing_after: pace.failing_after,
            again_after: pace.notice_again_after,
            failing: None,
            dead: None,
            dead_told_at: None,
            missed_count: 0,
            recovered_after: None,
        }
    }

    pub(super) fn failed(&mut self, reason: &str) {
        let fresh = || Failing { since: Instant::now(), told_at: None, reason: String::new() };
        reason.clone_into(&mut self.failing.get_or_insert_with(fresh).reason);
        self.recovered_after = None;
        self.tell();
    }

    pub(super) fn well(&mut self) {
        if let Some(failing) = self.failing.take()
            && failing.told_at.is_some()
        {
            self.recovered_after = Some(failing.since.elapsed());
        }
        self.tell();
    }

    pub(super) fn died(&mut self, letter: DeadLetter, id: u128) {
        let count = self.dead.as_ref().map_or(0, |dead| dead.count) + 1;
        self.dead = Some(Dead { count, letter, id });
        self.tell();
    }

    pub(super) fn missed(&mut self, count: u64) {
        self.missed_count += count;
        self.tell();
    }

    /// When there may be something to tell again, if nothing happens until then.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let is_untold = self.recovered_after.is_some() || self.missed_count > 0;
        let now = Instant::now();
        [self.failing_due_at(), self.dead_due_at(now), is_untold.then_some(now)].into_iter().flatten().min()
    }

    /// Tells what is due. What finds no room is told later.
    pub(super) fn tell(&mut self) {
        let now = Instant::now();
        if self.failing_due_at().is_some_and(|due_at| due_at <= now) {
            self.tell_failing(now);
        }
        if let Some(after) = self.recovered_after
            && self.send(Event::Recovered { after })
        {
            self.recovered_after = None;
        }
        if self.missed_count > 0 && self.send(Event::Missed { count: self.missed_count }) {
            self.missed_count = 0;
        }
        if self.dead_due_at(now).is_some_and(|due_at| due_at <= now) {
            self.tell_dead(now);
        }
    }

    fn tell_failing(&mut self, now: Instant) {
        let Some(failing) = &self.failing else { return };
        let lasting = now.duration_since(failing.since);
        let is_told = self.send(Event::Failing { lasting, reason: failing.reason.clone() });
        if is_told && let Some(failing) = &mut self.failing {
            failing.told_at = Some(now);
        }
    }

    fn tell_dead(&mut self, now: Instant) {
        let Some(Dead { count, letter, id }) = self.dead.clone() else { return };
        if self.send(Event::Dead { count, letter, id }) {
            self.dead = None;
            self.dead_told_at = Some(now);
        }
    }

    fn failing_due_at(&self) -> Option<Instant> {
        let failing = self.failing.as_ref()?;
        Some(failing.told_at.map_or(failing.since + self.failing_after, |at| at + self.again_after))
    }

    fn dead_due_at(&self, now: Instant) -> Option<Instant> {
        let due_at = self.dead_told_at.map_or(now, |at| at + self.again_after);
        self.dead.is_some().then_some(due_at)
    }

    /// Whether it is told, or nobody will ever listen.
    fn send(&self, event: Event) -> bool {
        let notice = Notice { sink: self.sink.clone(), event };
        !matches!(self.notices.try_send(notice), Err(TrySendError::Full(_)))
    }
}
