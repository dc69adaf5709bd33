//! What is written is there once, in groups, or not at all.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::outbox::{QUARANTINED_BYTES_MAX, Quarantined};

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let entry = Entry {
        alerts: vec![alert(1), alert(2)],
        matches: vec![match_at(7, 50)],
        positions: vec![("log".to_owned(), b"17".to_vec())],
        ..Entry::default()
    };
    let receipt = store.write(entry).await.unwrap();
    assert_eq!(receipt, Receipt { new_alerts: vec![true; 2], new_matches: vec![true] });
    store.close().await;

    let store = open(folder.path());
    let found = kept(&store).await;
    assert_eq!(numbers(&found), [1, 2]);
    assert_eq!((found[1].id, &found[1].route, &found[1].json), (2, &alert(2).route, &alert(2).json));
    assert_eq!(store.positions().await.unwrap()["log"], b"17");
    assert_eq!(store.matches("lab", 0, None).await.unwrap().len(), 1);
    assert_eq!(*store.latest().borrow(), 2);
}

#[test]
fn sqlite_is_told_that_it_may_wait_for_content_alone() {
    let flags = option_env!("LIBSQLITE3_FLAGS").unwrap_or_default();
    let is_told = flags.contains("-DHAVE_FDATASYNC=1");
    assert!(is_told, "`{flags}`: run cargo from within the checkout, for `.cargo/config.toml` to count");
}

#[tokio::test]
async fn writing_twice_changes_nothing_and_numbers_stay_dense() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    assert_eq!(
        store.write(alerts([1, 2])).await.unwrap().new_alerts.iter().filter(|is_new| **is_new).count(),
        2
    );
    assert_eq!(
        store.write(alerts([2, 3, 3, 1])).await.unwrap().new_alerts.iter().filter(|is_new| **is_new).count(),
        1
    );
    assert_eq!(
        store.write(alerts([4])).await.unwrap().new_alerts.iter().filter(|is_new| **is_new).count(),
        1
    );
    assert_eq!(numbers(&kept(&store).await), [1, 2, 3, 4]);
    let twice = matches(vec![match_at(1, 5), match_at(2, 6), match_at(1, 5)]);
    assert_eq!(store.write(twice.clone()).await.unwrap().new_matches, [true, true, false]);
    assert_eq!(store.write(twice).await.unwrap().new_matches, [false; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_wait_share_a_commit() {
    let folder = tempfile::tempdir().unwrap();
    let (commits, tasks) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (seen_commits, seen_tasks) = (Arc::clone(&commits), Arc::clone(&tasks));
    let on_commit: OnCommit = Arc::new(move |_, count| {
        seen_commits.fetch_add(1, Ordering::SeqCst);
        seen_tasks.fetch_add(count, Ordering::SeqCst);
    });
    let (store, _) = Store::open(folder.path(), Options { on_commit: Some(on_commit) }).unwrap();
    let writers: Vec<_> = (0..500)
        .map(|id| {
            let store = store.clone();
            tokio::spawn(async move { store.write(alerts([id])).await })
        })
        .collect();
    for writer in writers {
        assert_eq!(writer.await.unwrap().unwrap().new_alerts.iter().filter(|is_new| **is_new).count(), 1);
    }
    assert_eq!(tasks.load(Ordering::SeqCst), 500);
    let commit_count = commits.load(Ordering::SeqCst);
    assert!(commit_count < 250, "{commit_count} commits for 500 entries");
    let found = kept(&store).await;
    assert_eq!(numbers(&found), (1..=500).collect::<Vec<_>>());
    assert_eq!(found.iter().map(|alert| alert.id).collect::<BTreeSet<_>>().len(), 500);
}

#[tokio::test]
async fn an_empty_entry_waits_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.write(alerts([1])).await.unwrap();
    let other = store.clone();
    store.close().await;
    assert_eq!(other.write(Entry::default()).await.unwrap(), Receipt::default());
    assert!(matches!(other.pending(0, 1, 1).await, Err(StoreError::Closed)), "not from memory either");
    assert!(matches!(other.write(alerts([1])).await, Err(StoreError::Closed)));
}

#[tokio::test]
async fn a_full_disk_fails_whole_groups_and_heals() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.write(alerts([1])).await.unwrap();
    limit_pages(&store, 40).await;
    let large = NewAlert { json: "x".repeat(1_000_000), ..alert(2) };
    let entry = Entry { alerts: vec![alert(3), large], matches: vec![match_at(9, 9)], ..Entry::default() };
    let error = store.write(entry.clone()).await.unwrap_err();
    assert!(is_full(&error), "{error:?}");
    assert_eq!(numbers(&kept(&store).await), [1], "nothing of the entry is there");
    assert!(store.matches("lab", 0, None).await.unwrap().is_empty());
    assert_eq!((store.failures(), *store.latest().borrow()), (1, 1));

    // The connection was opened anew, and a new connection knows no limit.
    let receipt = store.write(entry).await.unwrap();
    assert_eq!(receipt, Receipt { new_alerts: vec![true; 2], new_matches: vec![true] });
    assert_eq!(numbers(&kept(&store).await), [1, 2, 3]);
}

#[tokio::test]
async fn what_cannot_be_written_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let gate = hold_writer(&store).await;
    let bad = store.commit(1, |connection| {
        connection.execute("INSERT INTO alerts VALUES (99, x'00', 0, '', '', x'00')", [])?;
        Ok(())
    });
    let good = store.write(alerts([1]));
    let (bad, good, ()) = tokio::join!(bad, good, async {
        tokio::task::yield_now().await;
        gate.send(()).unwrap();
    });
    assert!(matches!(bad, Err(StoreError::Database(_))), "{bad:?}");
    assert_eq!(good.unwrap().new_alerts.iter().filter(|is_new| **is_new).count(), 1);
    assert_eq!(numbers(&kept(&store).await), [1]);
}

#[tokio::test]
async fn quarantine_keeps_the_same_thing_once_and_a_bounded_part_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let item = Quarantined {
        cluster: "lab".to_owned(),
        source: "clusters".to_owned(),
        place: "item 3".to_owned(),
        reason: "ä".repeat(10_000),
        bytes: vec![0; QUARANTINED_BYTES_MAX + 1],
    };
    let other = Quarantined { place: "item 4".to_owned(), ..item.clone() };
    let entry = Entry { quarantined: vec![item.clone(), other, item], ..Entry::default() };
    store.write(entry).await.unwrap();
    let rows = store.read(|connection| {
        let sql = "SELECT place, seen, length(bytes), length(reason) FROM quarantine ORDER BY number";
        let mut statement = connection.prepare(sql)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        Ok(rows.collect::<Result<Vec<(String, i64, i64, i64)>, _>>()?)
    });
    let expected = [("item 3", 2), ("item 4", 1)].map(|(place, seen)| (place.to_owned(), seen, 65_536, 2048));
    assert_eq!(rows.await.unwrap(), expected);
    let counts = "SELECT quarantined, quarantined_kept, quarantined_bytes FROM store";
    let counts = store.read(|connection| {
        Ok(connection.query_row(counts, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)
    });
    assert_eq!(counts.await.unwrap(), (3, 2, 2 * 65_536));
}

#[tokio::test]
async fn matches_come_in_order_of_time_by_cluster_and_page() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let elsewhere = NewMatch { cluster: "prod".to_owned(), ..match_at(50, 1) };
    let large = |id, time_us| NewMatch { body: vec![1; 9_000_000], ..match_at(id, time_us) };
    let entry = matches(vec![large(3, 30), large(1, 10), elsewhere, large(2, 10), match_at(4, -200)]);
    store.write(entry).await.unwrap();
    assert_eq!(store.clusters().await.unwrap(), ["lab", "prod"]);
    let first = store.matches("lab", 100, None).await.unwrap();
    let ids = |page: &[NewMatch]| page.iter().map(|found| found.id).collect::<Vec<_>>();
    assert_eq!(ids(&first), [1, 2], "two fill a page, and one is past");
    let second = store.matches("lab", 100, first.last()).await.unwrap();
    assert_eq!(ids(&second), [3]);
    assert!(store.matches("lab", 100, second.last()).await.unwrap().is_empty());
}

#[tokio::test]
async fn nothing_is_written_to_a_file_that_was_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.write(alerts([1])).await.unwrap();
    let (path, away) = (folder.path().join("masthead.db"), folder.path().join("away.db"));
    std::fs::rename(&path, &away).unwrap();
    let refused = store.write(alerts([2])).await;
    assert!(matches!(refused, Err(StoreError::File { .. })), "{refused:?}");
    std::fs::rename(&away, &path).unwrap();
    store.write(alerts([2])).await.unwrap();
    assert_eq!(numbers(&kept(&store).await), [1, 2]);
}

/// Lets the writer's connection use no more than this many pages.
async fn limit_pages(store: &Store, pages: u32) {
    let limit = move |connection: &Connection| {
        connection.query_row(&format!("PRAGMA max_page_count({pages})"), [], |_| Ok(()))?;
        Ok(())
    };
    store.commit(1, limit).await.unwrap();
}

/// Makes the writer wait in the middle of a task until something is sent, so that what is
/// asked meanwhile becomes one group.
pub(super) async fn hold_writer(store: &Store) -> std::sync::mpsc::Sender<()> {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let (started, has_started) = oneshot::channel();
    let mut started = Some(started);
    let other = store.clone();
    tokio::spawn(async move {
        let wait = move |_: &Connection| {
            started.take().map(|started| started.send(()));
            let _ = receiver.recv();
            Ok(())
        };
        other.commit(1, wait).await
    });
    has_started.await.unwrap();
    sender
}

fn is_full(error: &StoreError) -> bool {
    match error {
        StoreError::Database(error) => error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
        _ => false,
    }
}
