//! Workers with sinks that behave well and badly.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::fake::{FakeOutbox, PATIENCE, alert, pace, start, start_at};
use super::{Delivery, Destination, Event, Pace, Replay, Replayed, Trouble};
use crate::outbox::{Cursor, Outgoing};

/// A sink that follows a script, then takes everything.
#[derive(Clone, Default)]
struct Scripted {
    script: Arc<Mutex<VecDeque<Delivery>>>,
    /// Alerts with these numbers are never wanted.
    unwanted: Arc<Mutex<Vec<(u64, Trouble)>>>,
    taken: Arc<Mutex<Vec<u64>>>,
    hangs: bool,
    changed: Arc<Notify>,
}

impl Scripted {
    fn new(script: impl IntoIterator<Item = Delivery>) -> Self {
        Self { script: Arc::new(Mutex::new(script.into_iter().collect())), ..Self::default() }
    }

    fn taken(&self) -> Vec<u64> {
        self.taken.lock().unwrap().clone()
    }

    async fn has_taken(&self, count: usize) {
        let wait = async {
            while self.taken().len() < count {
                self.changed.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("only {:?}", self.taken()));
    }
}

impl Destination for Scripted {
    async fn open(&mut self, _memo: Option<&str>) -> Result<(), Trouble> {
        Ok(())
    }

    async fn deliver(&mut self, alerts: &[Arc<Outgoing>]) -> Delivery {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        let scripted = self.script.lock().unwrap().pop_front();
        let unwanted = self.unwanted.lock().unwrap().clone();
        let trouble_of = |number| unwanted.iter().find(|(unwanted, _)| *unwanted == number);
        let delivery = scripted.unwrap_or_else(|| {
            let first = alerts.iter().position(|alert| trouble_of(alert.number).is_some());
            let trouble =
                first.and_then(|first| trouble_of(alerts[first].number)).map(|(_, trouble)| trouble.clone());
            Delivery { delivered_count: first.unwrap_or(alerts.len()), trouble }
        });
        let taken = alerts[..delivery.delivered_count].iter().map(|alert| alert.number);
        self.taken.lock().unwrap().extend(taken);
        self.changed.notify_one();
        delivery
    }
}

fn temporary() -> Trouble {
    Trouble::temporary("away")
}

fn refused() -> Trouble {
    Trouble::Refused { reason: "bad\u{1b}[2J".to_owned() }
}

fn denied() -> Trouble {
    Trouble::Denied { reason: "forbidden".to_owned() }
}

fn unwanted(numbers: impl IntoIterator<Item = u64>, trouble: &Trouble) -> Scripted {
    let sink = Scripted::default();
    *sink.unwanted.lock().unwrap() = numbers.into_iter().map(|number| (number, trouble.clone())).collect();
    sink
}

#[tokio::test]
async fn all_alerts_arrive_in_order_and_the_cursor_is_saved() {
    let (outbox, sink) = (FakeOutbox::new(), Scripted::default());
    outbox.add(300, "high");
    outbox.add(10, "low");
    let running = start(&outbox, sink.clone());
    sink.has_taken(300).await;
    outbox.add(300, "high");
    sink.has_taken(600).await;
    let figures = Arc::clone(&running.figures);
    running.stop().await;
    assert_eq!(sink.taken(), (1..=300).chain(311..=610).collect::<Vec<_>>());
    let cursor = outbox.cursor_of("s");
    assert_eq!(cursor, Cursor { number: 610, delivered: 600, unrouted: 10, ..Cursor::default() });
    let status = figures.status();
    assert_eq!((status.number, status.delivered, status.unrouted, status.pending), (610, 600, 10, 0));
    assert!(outbox.kept().saves_count <= 4, "{} saves", outbox.kept().saves_count);
}

#[tokio::test]
async fn a_store_that_has_fewer_alerts_than_the_sink_was_given_is_told() {
    let (outbox, sink) = (FakeOutbox::new(), Scripted::default());
    outbox.kept().cursors.insert("s".to_owned(), Cursor { number: 6, delivered: 6, ..Cursor::default() });
    outbox.add(3, "high");
    let mut running = start(&outbox, sink.clone());
    let Event::Failing { reason, .. } = running.notice().await else { panic!("something else was told") };
    assert!(reason.starts_with("the store has fewer alerts"), "{reason}");
    outbox.add(4, "high");
    sink.has_taken(1).await;
    assert_eq!(sink.taken(), [7]);
    running.stop().await;
}

#[tokio::test]
async fn that_it_has_fewer_alerts_is_told_while_more_keep_coming() {
    let (outbox, sink) = (FakeOutbox::new(), Scripted::default());
    outbox.kept().cursors.insert("s".to_owned(), Cursor { number: u64::MAX / 2, ..Cursor::default() });
    let mut running = start(&outbox, sink.clone());
    let more = tokio::spawn(async move {
        loop {
            outbox.add(1, "high");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let Event::Failing { reason, .. } = running.notice().await else { panic!("something else was told") };
    assert!(reason.starts_with("the store has fewer alerts"), "{reason}");
    more.abort();
    running.stop().await;
}

#[tokio::test]
async fn the_cursor_is_saved_soon_while_nothing_happens() {
    let (outbox, sink) = (FakeOutbox::new(), Scripted::default());
    let running = start(&outbox, sink.clone());
    outbox.add(1, "high");
    let saved = async {
        while outbox.cursor_of("s").number != 1 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, saved).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn what_was_not_taken_is_given_again() {
    let script = [
        Delivery::until(0, temporary()),
        Delivery::until(3, temporary()),
        Delivery::of(0),
        Delivery::of(2),
        Delivery::until(1, temporary()),
    ];
    let (outbox, sink) = (FakeOutbox::new(), Scripted::new(script));
    outbox.add(20, "high");
    let running = start(&outbox, sink.clone());
    sink.has_taken(20).await;
    let status = running.figures.status();
    running.stop().await;
    assert_eq!(sink.taken(), (1..=20).collect::<Vec<_>>());
    assert_eq!((status.retries, status.last_error.as_deref()), (4, Some("away")));
}

#[tokio::test]
async fn a_refused_alert_becomes_a_dead_letter_and_the_next_goes_on() {
    let (outbox, sink) = (FakeOutbox::new(), unwanted([2], &refused()));
    outbox.add(4, "high");
    let mut running = start(&outbox, sink.clone());
    sink.has_taken(3).await;
    let Event::Dead { count: 1, letter, id } = running.notice().await else { panic!("other news") };
    assert_eq!(id, outbox.kept().alerts[1].id);
    assert_eq!((letter.number, letter.reason.as_str()), (2, "bad\\u{1b}[2J"));
    let status = running.figures.status();
    running.stop().await;
    assert_eq!(sink.taken(), [1, 3, 4]);
    assert_eq!(status.retries, 3);
    assert_eq!(outbox.kept().dead, [letter]);
    let cursor = outbox.cursor_of("s");
    assert_eq!((cursor.number, cursor.delivered, cursor.dead), (4, 3, 1));
}

#[tokio::test]
async fn a_sink_that_denies_all_is_tried_again_and_buries_nothing() {
    let (outbox, sink) = (FakeOutbox::new(), unwanted(1..=5, &denied()));
    outbox.add(5, "high");
    let mut running = start(&outbox, sink.clone());
    let Event::Failing { reason, .. } = running.notice().await else { panic!("other news") };
    assert_eq!(reason, "forbidden");
    assert!(running.figures.status().failing_since.is_some());
    sink.unwanted.lock().unwrap().clear();
    sink.has_taken(5).await;
    assert!(matches!(running.notice().await, Event::Recovered { .. }));
    assert!(running.figures.status().failing_since.is_none());
    running.stop().await;
    assert_eq!(sink.taken(), [1, 2, 3, 4, 5]);
    assert!(outbox.kept().dead.is_empty());
}

#[tokio::test]
async fn an_alert_that_alone_is_denied_does_not_hold_up_the_others() {
    let (outbox, sink) = (FakeOutbox::new(), unwanted([1], &denied()));
    outbox.add(5, "high");
    let running = start(&outbox, sink.clone());
    sink.has_taken(4).await;
    running.stop().await;
    let mut taken = sink.taken();
    taken.sort_unstable();
    assert_eq!(taken, [2, 3, 4, 5], "each once");
    let cursor = outbox.cursor_of("s");
    assert_eq!((cursor.number, cursor.delivered, cursor.dead), (5, 4, 1));
}

#[tokio::test]
async fn an_alert_that_is_denied_while_there_is_no_other_waits_for_one() {
    let (outbox, sink) = (FakeOutbox::new(), unwanted([1], &denied()));
    outbox.add(1, "high");
    let mut running = start(&outbox, sink.clone());
    assert!(matches!(running.notice().await, Event::Failing { .. }));
    outbox.add(300, "low");
    outbox.add(2, "high");
    sink.has_taken(2).await;
    running.stop().await;
    assert_eq!(outbox.kept().dead.len(), 1);
    let cursor = outbox.cursor_of("s");
    assert_eq!((cursor.number, cursor.delivered, cursor.dead, cursor.unrouted), (303, 2, 1, 300));
}

#[tokio::test]
async fn a_store_that_fails_is_asked_again() {
    let (outbox, sink) = (FakeOutbox::new(), Scripted::default());
    outbox.failures_count.store(3, std::sync::atomic::Ordering::Release);
    outbox.add(5, "high");
    let running = start(&outbox, sink.clone());
    sink.has_taken(5).await;
    outbox.failures_count.store(3, std::sync::atomic::Ordering::Release);
    running.stop().await;
    assert_eq!(outbox.cursor_of("s").number, 5);
}

#[tokio::test]
async fn a_hanging_sink_ends_in_time_and_holds_up_no_other() {
    let outbox = FakeOutbox::new();
    outbox.add(5, "high");
    let mut hanging = start(&outbox, Scripted { hangs: true, ..Scripted::default() });
    let sink = Scripted::default();
    let running = start(&outbox, sink.clone());
    sink.has_taken(5).await;
    let Event::Failing { reason, .. } = hanging.notice().await else { panic!("other news") };
    assert_eq!(reason, "the sink does not answer");
    hanging.stop().await;
    running.stop().await;
    assert_eq!(outbox.cursor_of("s").number, 5);
}

#[tokio::test]
async fn what_is_pending_is_delivered_before_the_end() {
    let (outbox, sink) = (FakeOutbox::new(), Scripted::default());
    outbox.add(2000, "high");
    let pace = Pace { drain: PATIENCE, ..pace() };
    start_at(&outbox, sink.clone(), pace).stop().await;
    assert_eq!(sink.taken().len(), 2000);
    assert_eq!(outbox.cursor_of("s").delivered, 2000);
}

#[tokio::test]
async fn retry_after_is_honoured_up_to_a_bound() {
    let wait = |retry_after| Trouble::Temporary { reason: "busy".to_owned(), retry_after: Some(retry_after) };
    let script = [
        Delivery::until(0, wait(Duration::from_millis(150))),
        Delivery::until(0, wait(Duration::from_secs(u64::MAX))),
    ];
    let (outbox, sink) = (FakeOutbox::new(), Scripted::new(script));
    outbox.add(1, "high");
    let began_at = std::time::Instant::now();
    let pace = Pace { retry_after_max: Duration::from_millis(200), ..pace() };
    let running = start_at(&outbox, sink.clone(), pace);
    sink.has_taken(1).await;
    assert!(began_at.elapsed() >= Duration::from_millis(350), "{:?}", began_at.elapsed());
    running.stop().await;
}

#[tokio::test]
async fn alerts_that_are_gone_from_the_store_are_told_of() {
    let (outbox, sink) = (FakeOutbox::new(), Scripted::default());
    outbox.kept().cursors.insert("s".to_owned(), Cursor { number: 1, ..Cursor::default() });
    outbox.add(10, "high");
    outbox.kept().alerts.drain(..6);
    let mut running = start(&outbox, sink.clone());
    assert_eq!(running.notice().await, Event::Missed { count: 5 });
    sink.has_taken(4).await;
    assert_eq!(running.figures.status().missed, 5);
    running.stop().await;
}

#[tokio::test]
async fn dead_letters_can_be_tried_again() {
    let (outbox, sink) = (FakeOutbox::new(), unwanted([1, 2], &refused()));
    outbox.add(3, "high");
    let running = start(&outbox, sink.clone());
    sink.has_taken(1).await;
    sink.unwanted.lock().unwrap().retain(|(number, _)| *number == 2);
    let (answer, answered) = oneshot::channel();
    running.replays.send(Replay { alerts: vec![alert(1, "high"), alert(2, "high")], answer }).await.unwrap();
    let replayed = tokio::time::timeout(PATIENCE, answered).await.unwrap().unwrap();
    let refusal = Some(refused().reason().to_owned());
    assert_eq!(replayed, [Replayed { number: 1, refusal: None }, Replayed { number: 2, refusal }]);
    running.stop().await;
    let cursor = outbox.cursor_of("s");
    assert_eq!((cursor.number, cursor.dead), (3, 2), "as often as it was refused");
    assert_eq!(sink.taken(), [3, 1]);
}

#[tokio::test]
async fn news_that_nobody_hears_stop_no_delivery() {
    let (outbox, sink) = (FakeOutbox::new(), unwanted(1..=100, &refused()));
    outbox.add(101, "high");
    let pace = Pace { notice_again_after: Duration::ZERO, refusals_max: 1, ..pace() };
    let mut running = start_at(&outbox, sink.clone(), pace);
    sink.has_taken(1).await;
    let mut told_count = 0;
    while told_count < 100 {
        if let Event::Dead { count, .. } = running.notice().await {
            told_count += count;
        }
    }
    assert_eq!(told_count, 100);
    running.stop().await;
    assert_eq!(outbox.cursor_of("s").dead, 100);
}
