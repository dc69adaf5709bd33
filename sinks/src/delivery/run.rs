//! The loop that empties the outbox for one sink.

use std::cmp::Ordering;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::backlog::Backlog;
use super::backoff::Backoff;
use super::ending::Ending;
use super::notice::News;
use super::worker::{STORE_BACKOFF_MAX, Worker};
use super::{
    BATCH_BYTES_MAX, BATCH_COUNT_MAX, Delivery, Destination, Replay, Replayed, Trouble, UNSAVED_COUNT_MAX,
    shown,
};
use crate::outbox::{Cursor, DeadLetter, Outbox, Outgoing, Route};

/// How long to wait at least before news that found no listener are told again.
const NEWS_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What is said of a sink that neither takes alerts nor fails, such as a pipe that nobody reads.
const STUCK: &str = "the sink does not answer";

/// What is said of a store that knows less than its sinks.
const CUT: &str = "the store has fewer alerts than the sink was given, so it gets none of the next: \
                   see `masthead alerts verify`, and start again";

/// How many alerts are read ahead of one that is denied, to find another that may be taken: among
/// these there may be many that routes keep from the sink.
const HELD_COUNT_MAX: usize = 4 * BATCH_COUNT_MAX;

/// How long the last save may take, after deliveries have ended.
const LAST_SAVE_MAX: Duration = Duration::from_secs(5);

/// A worker at work.
pub(super) struct Run<O, D, R> {
    worker: Worker<O, D, R>,
    latest: watch::Receiver<u64>,
    news: News,
    backoff: Backoff,
    store_backoff: Backoff,
    ending: Ending,
    cursor: Cursor,
    backlog: Backlog,
    /// Dead letters that are not saved yet.
    dead: Vec<DeadLetter>,
    unsaved_since: Option<Instant>,
    unsaved_count: u64,
    /// How often the first alert that waits was not wanted.
    refusals_count: u32,
    is_open: bool,
}

/// What to do after a step.
enum Next {
    /// The next step.
    GoOn,
    /// Nothing, until there are alerts.
    Idle,
    /// Nothing for some time: something went wrong.
    Pause(Duration),
}

impl<O: Outbox, D: Destination, R: Fn(&Route) -> bool + Send> Run<O, D, R> {
    pub(super) fn new(worker: Worker<O, D, R>, cursor: Cursor, shutdown: CancellationToken) -> Self {
        let pace = &worker.pace;
        Self {
            latest: worker.outbox.latest(),
            news: News::new(worker.sink.clone(), worker.notices.clone(), pace),
            backoff: Backoff::new(pace.backoff_first, pace.backoff_max),
            store_backoff: Backoff::new(pace.backoff_first, STORE_BACKOFF_MAX),
            ending: Ending::new(shutdown, pace.drain),
            worker,
            cursor,
            backlog: Backlog::default(),
            dead: Vec::new(),
            unsaved_since: None,
            unsaved_count: 0,
            refusals_count: 0,
            is_open: false,
        }
    }

    pub(super) async fn run(mut self) {
        while !self.ending.is_overdue() {
            let next = self.step().await;
            match next {
                Next::GoOn => {}
                _ if self.ending.has_begun() => break,
                Next::Idle => self.idle().await,
                Next::Pause(duration) => self.pause(duration).await,
            }
        }
        self.save_at_last().await;
    }

    async fn step(&mut self) -> Next {
        if self.is_save_due()
            && let Err(pause) = self.save().await
        {
            return Next::Pause(pause);
        }
        if !self.is_open
            && let Err(pause) = self.open().await
        {
            return Next::Pause(pause);
        }
        if !self.backlog.is_empty() {
            return self.attempt().await;
        }
        let latest = *self.latest.borrow_and_update();
        match latest.cmp(&self.cursor.number) {
            Ordering::Less => self.meet_cut().await,
            Ordering::Equal => Next::Idle,
            Ordering::Greater => self.fetch().await,
        }
    }

    /// Says that the store has fewer alerts than the sink is done with: it would get none of the next.
    async fn meet_cut(&mut self) -> Next {
        let number = self.cursor.number;
        // Alerts can be read a moment before it is said which is the latest. However many come meanwhile, the
        // moment is not begun anew.
        let caught_up =
            timeout(self.worker.pace.save_after, self.latest.wait_for(|latest| *latest >= number));
        let caught_up = tokio::select! {
            caught_up = caught_up => caught_up.map(|latest| latest.is_ok()),
            () = self.ending.begun() => return Next::Idle,
        };
        match caught_up {
            Ok(true) => Next::GoOn,
            // The store is gone.
            Ok(false) => Next::Idle,
            Err(_) => Next::Pause(self.failed(&Trouble::temporary(CUT))),
        }
    }

    async fn fetch(&mut self) -> Next {
        match self.read_on().await {
            Ok(0) => Next::Idle,
            Ok(_) => Next::GoOn,
            Err(pause) => Next::Pause(pause),
        }
    }

    /// Reads the alerts behind those that are held; returns how many, or how long to wait.
    async fn read_on(&mut self) -> Result<usize, Duration> {
        let last = self.backlog.last_number().unwrap_or(self.cursor.number);
        match self.worker.outbox.pending(last, BATCH_COUNT_MAX, BATCH_BYTES_MAX).await {
            Ok(alerts) => {
                self.store_backoff.reset();
                self.note_missed(last, &alerts);
                let count = alerts.len();
                self.backlog.extend(alerts, &self.worker.routing);
                Ok(count)
            }
            Err(error) => {
                self.worker.store_failed("alerts cannot be read", &error);
                Err(self.store_backoff.next())
            }
        }
    }

    /// Numbers are dense: where some lack, alerts are gone that the sink did not have.
    fn note_missed(&mut self, mut last: u64, alerts: &[Outgoing]) {
        let mut missed_count = 0;
        for alert in alerts {
            missed_count += alert.number.saturating_sub(last.saturating_add(1));
            last = alert.number;
        }
        if missed_count > 0 {
            tracing::error!(
                sink = self.worker.sink,
                missed_count,
                "alerts are gone before they were delivered"
            );
            self.worker.figures.missed(missed_count);
            self.news.missed(missed_count);
        }
    }

    async fn open(&mut self) -> Result<(), Duration> {
        let opened = tokio::select! {
            opened = self.worker.destination.open(self.cursor.memo.as_deref()) => opened,
            () = self.ending.overdue() => Err(Trouble::temporary("stopped while it was opened")),
        };
        match opened {
            Ok(()) => {
                self.is_open = true;
                self.well();
                Ok(())
            }
            Err(trouble) => Err(self.failed(&trouble)),
        }
    }

    async fn attempt(&mut self) -> Next {
        let alerts = self.backlog.waiting();
        let delivery = self.deliver(&alerts).await;
        let delivered_count = delivery.delivered_count.min(alerts.len());
        self.backlog.deliver_first(delivered_count);
        if delivered_count > 0 {
            self.well();
        }
        let next = match delivery.trouble {
            None => Next::GoOn,
            Some(trouble) => self.meet(&trouble).await,
        };
        self.pass();
        next
    }

    async fn deliver(&mut self, alerts: &[Arc<Outgoing>]) -> Delivery {
        if alerts.is_empty() {
            return Delivery::of(0);
        }
        let Self { worker, ending, news, .. } = self;
        let mut delivering = pin!(worker.destination.deliver(alerts));
        let delivery = loop {
            tokio::select! {
                delivery = &mut delivering => break delivery,
                () = ending.overdue() => break Delivery::until(0, Trouble::temporary("stopped while it was delivering")),
                () = sleep(worker.pace.failing_after) => {
                    worker.figures.failed(STUCK);
                    news.failed(STUCK);
                }
            }
        };
        if delivery == Delivery::of(0) {
            return Delivery::until(0, Trouble::temporary("the sink took nothing and said nothing"));
        }
        delivery
    }

    /// Decides what becomes of the first alert that waits, which the sink did not take.
    async fn meet(&mut self, trouble: &Trouble) -> Next {
        let pause = self.failed(trouble);
        if matches!(trouble, Trouble::Temporary { .. }) {
            return Next::Pause(pause);
        }
        self.refusals_count = self.refusals_count.saturating_add(1);
        let is_enough = self.refusals_count >= self.worker.pace.refusals_max;
        let is_given_up = match trouble {
            Trouble::Temporary { .. } => false,
            Trouble::Refused { .. } => is_enough,
            Trouble::Denied { .. } => is_enough && self.takes_another().await,
        };
        if !is_given_up {
            return Next::Pause(pause);
        }
        self.bury(trouble.reason());
        Next::GoOn
    }

    /// Whether the sink takes any of the alerts behind the first: then only the first is unwanted.
    async fn takes_another(&mut self) -> bool {
        let others_count = |backlog: &Backlog| backlog.waiting().len().saturating_sub(1);
        if others_count(&self.backlog) == 0 && self.backlog.count() < HELD_COUNT_MAX {
            // If there are none yet, or they cannot be read, there is another time.
            let _ = self.read_on().await;
        }
        let others_count = others_count(&self.backlog);
        if others_count == 0 {
            return false;
        }
        let other = self.backlog.waiting().swap_remove(1 + fastrand::usize(..others_count));
        let is_taken = self.deliver(std::slice::from_ref(&other)).await.delivered_count > 0;
        if is_taken {
            self.backlog.deliver(other.number);
        }
        is_taken
    }

    fn bury(&mut self, reason: &str) {
        let Some(alert) = self.backlog.bury_first() else { return };
        let (number, id) = (alert.number, alert.id);
        let letter = DeadLetter { sink: self.worker.sink.clone(), number, reason: shown(reason) };
        tracing::error!(
            sink = letter.sink,
            number,
            id = format!("{id:032x}"),
            reason = letter.reason,
            "the sink refused an alert for good"
        );
        self.dead.push(letter.clone());
        self.news.died(letter, id);
        self.well();
    }

    fn well(&mut self) {
        self.refusals_count = 0;
        self.backoff.reset();
        self.worker.figures.well();
        self.news.well();
    }

    /// Notes a failure; returns how long to wait.
    fn failed(&mut self, trouble: &Trouble) -> Duration {
        let reason = trouble.reason();
        self.worker.figures.failed(reason);
        self.news.failed(reason);
        let asked = match trouble {
            Trouble::Temporary { retry_after, .. } => retry_after.unwrap_or_default(),
            Trouble::Denied { .. } | Trouble::Refused { .. } => Duration::ZERO,
        };
        let mut pause = self.backoff.next().max(asked.min(self.worker.pace.retry_after_max));
        if matches!(trouble, Trouble::Refused { .. }) {
            // One alert that is not wanted shall not keep the others waiting for long.
            pause = pause.min(self.worker.pace.backoff_first);
        }
        tracing::warn!(sink = self.worker.sink, reason, again_after = ?pause, "the sink takes no alerts");
        pause
    }

    fn pass(&mut self) {
        let passed_count = self.backlog.pass(&mut self.cursor);
        if passed_count > 0 {
            self.touch(passed_count);
        }
    }

    /// Notes that the cursor differs from what was saved.
    fn touch(&mut self, passed_count: u64) {
        self.unsaved_count += passed_count;
        self.unsaved_since.get_or_insert_with(Instant::now);
        self.worker.figures.moved(&self.cursor);
    }

    fn save_due_at(&self) -> Option<Instant> {
        self.unsaved_since.map(|since| since + self.worker.pace.save_after)
    }

    fn is_save_due(&self) -> bool {
        let is_late = self.save_due_at().is_some_and(|due_at| due_at <= Instant::now());
        is_late || self.unsaved_count >= UNSAVED_COUNT_MAX || !self.dead.is_empty()
    }

    /// Saves the cursor if it moved; returns how long to wait if that fails.
    async fn save(&mut self) -> Result<(), Duration> {
        if self.unsaved_since.is_none() {
            return Ok(());
        }
        self.cursor.memo = self.worker.destination.memo().or(self.cursor.memo.take());
        let advanced = self.worker.outbox.advance(&self.worker.sink, &self.cursor, self.dead.clone()).await;
        if let Err(error) = advanced {
            self.worker.store_failed("the cursor cannot be saved", &error);
            return Err(self.store_backoff.next());
        }
        self.store_backoff.reset();
        self.dead.clear();
        self.unsaved_since = None;
        self.unsaved_count = 0;
        self.worker.destination.saved();
        Ok(())
    }

    async fn save_at_last(&mut self) {
        let save = async {
            while let Err(pause) = self.save().await {
                sleep(pause).await;
            }
        };
        if timeout(LAST_SAVE_MAX, save).await.is_err() {
            tracing::error!(
                sink = self.worker.sink,
                "the cursor is not saved: alerts will be delivered again"
            );
        }
    }

    /// Waits until there are alerts, or the cursor has to be saved, or the end.
    async fn idle(&mut self) {
        let (save_at, tell_at) = (self.save_due_at(), self.news_due_at());
        tokio::select! {
            changed = self.latest.changed() => if changed.is_err() {
                // The store is gone, and with it whatever could still be done.
                self.ending.begun().await;
            },
            () = until(save_at) => {}
            () = until(tell_at) => self.news.tell(),
            Some(replay) = self.worker.replays.recv() => self.replay(replay).await,
            () = self.ending.begun() => {}
        }
    }

    /// Waits for some time, or until the end.
    async fn pause(&mut self, duration: Duration) {
        let over_at = Instant::now() + duration;
        while Instant::now() < over_at && !self.ending.has_begun() {
            // A save that fails is tried again when the next step begins.
            let save_at = self.save_due_at().filter(|due_at| *due_at < over_at && self.dead.is_empty());
            let tell_at = self.news_due_at();
            tokio::select! {
                () = sleep_until(over_at) => {}
                () = until(save_at) => if self.save().await.is_err() { self.put_off_save() },
                () = until(tell_at) => self.news.tell(),
                Some(replay) = self.worker.replays.recv() => self.replay(replay).await,
                () = self.ending.begun() => {}
            }
        }
    }

    fn put_off_save(&mut self) {
        self.unsaved_since = Some(Instant::now());
    }

    /// When to tell news: not over and over if nobody listens.
    fn news_due_at(&self) -> Option<Instant> {
        self.news
            .due_at()
            .map(|due_at| due_at.max(Instant::now() + NEWS_AGAIN_AFTER.min(self.worker.pace.save_after)))
    }

    /// Tries dead letters again.
    async fn replay(&mut self, replay: Replay) {
        let mut replayed = Vec::new();
        for alert in replay.alerts.into_iter().take(BATCH_COUNT_MAX) {
            let number = alert.number;
            let delivery = if self.is_open {
                self.deliver(&[Arc::new(alert)]).await
            } else {
                Delivery::until(0, Trouble::temporary("the sink is not open"))
            };
            let refusal = (delivery.delivered_count == 0)
                .then(|| delivery.trouble.map_or_else(String::new, |trouble| trouble.reason().to_owned()));
            replayed.push(Replayed { number, refusal });
        }
        // Whoever asked may have gone; the letters then stay, and are tried again when asked for.
        let _ = replay.answer.send(replayed);
    }
}

/// Resolves at `at`; never without one.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
