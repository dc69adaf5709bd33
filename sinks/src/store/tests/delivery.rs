//! Cursors, dead letters, and what sinks are given.

use super::*;
use crate::outbox::{Cursor, DeadLetter};

#[tokio::test]
async fn sinks_get_what_is_behind_their_cursor_within_limits() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.write(alerts(1..=10)).await.unwrap();
    let two = 2 * alert(1).json.len();
    // From memory, then from the database.
    for _ in 0..2 {
        assert_eq!(numbers(&store.pending(3, 4, usize::MAX).await.unwrap()), [4, 5, 6, 7]);
        assert_eq!(numbers(&store.pending(8, 100, usize::MAX).await.unwrap()), [9, 10]);
        assert_eq!(numbers(&store.pending(0, 100, 1).await.unwrap()), [1], "at least one");
        assert_eq!(numbers(&store.pending(0, 100, two).await.unwrap()), [1, 2]);
        assert!(store.pending(10, 100, 100).await.unwrap().is_empty());
        store.inner.recent.clear();
    }
}

#[tokio::test]
async fn a_cursor_stays_where_it_was_put() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.write(alerts(1..=5)).await.unwrap();
    assert_eq!(store.cursor("siem").await.unwrap(), Cursor::default());
    let cursor = Cursor { number: 4, delivered: 2, dead: 1, unrouted: 1, memo: Some("17".to_owned()) };
    let dead = DeadLetter { sink: "siem".to_owned(), number: 3, reason: "400".to_owned() };
    store.advance("siem", &cursor, vec![dead]).await.unwrap();
    store.close().await;
    let store = open(folder.path());
    assert_eq!(store.cursor("siem").await.unwrap(), cursor);
    assert_eq!(store.cursor("disk").await.unwrap(), Cursor::default());
}

#[tokio::test]
async fn waiting_for_the_next_alert_ends_when_it_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut latest = store.latest();
    let waiting = tokio::spawn(async move {
        latest.changed().await.unwrap();
        *latest.borrow()
    });
    store.write(alerts([1, 2])).await.unwrap();
    assert_eq!(waiting.await.unwrap(), 2);
    assert_eq!(numbers(&kept(&store).await), [1, 2]);
}
