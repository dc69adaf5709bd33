//! Another database takes the place of the one that is open, as when a backup is put back.

use std::fs;
use std::sync::mpsc;

use super::*;

#[tokio::test]
async fn nobody_reads_from_a_file_that_was_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.write(alerts([1, 2])).await.unwrap();
    // One connection is in use meanwhile, and one lies idle.
    let (busy, go_on) = read_until_told(&store).await;
    assert_eq!(ids(&store).await, [1, 2]);
    replace(folder.path(), alerts([3, 4])).await;
    go_on.send(()).unwrap();
    assert_eq!(busy.await.unwrap(), [1, 2], "it began before");
    for _ in 0..2 {
        assert_eq!(ids(&store).await, [3, 4]);
        assert_eq!(store.idle_readers().len(), 1);
    }
    store.write(alerts([5])).await.unwrap();
    assert_eq!(ids(&store).await, [3, 4, 5]);
}

#[tokio::test]
async fn sinks_are_given_what_the_new_file_holds() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.write(alerts([1, 2])).await.unwrap();
    // As many, so that the next number follows on what is in memory.
    replace(folder.path(), alerts([3, 4])).await;
    store.write(alerts([5])).await.unwrap();
    assert_eq!(ids(&store).await, [3, 4, 5]);
    assert_eq!(kept(&store).await.len(), 3);
    store.write(alerts([6])).await.unwrap();
    assert_eq!(numbers(&store.pending(2, usize::MAX, usize::MAX).await.unwrap()), [3, 4]);
    assert_eq!(kept(&store).await.len(), 4);
}

/// Puts a database that holds an entry in the place of the one in a folder.
async fn replace(folder: &Path, entry: Entry) {
    let elsewhere = tempfile::tempdir().unwrap();
    let store = open(elsewhere.path());
    store.write(entry).await.unwrap();
    store.close().await;
    for beside in ["masthead.db-wal", "masthead.db-shm"] {
        fs::remove_file(folder.join(beside)).unwrap();
    }
    fs::rename(elsewhere.path().join("masthead.db"), folder.join("masthead.db")).unwrap();
}

/// The ids of the alerts in the database.
async fn ids(store: &Store) -> Vec<u128> {
    store.read(ids_in).await.unwrap()
}

fn ids_in(connection: &Connection) -> Result<Vec<u128>, StoreError> {
    let found = outgoing::pending(connection, 0, ALL, usize::MAX, usize::MAX)?;
    Ok(found.iter().map(|alert| alert.id).collect())
}

/// Begins to read, and does so when something is sent; gives the ids.
async fn read_until_told(store: &Store) -> (tokio::task::JoinHandle<Vec<u128>>, mpsc::Sender<()>) {
    let (sender, receiver) = mpsc::channel();
    let (started, has_started) = oneshot::channel();
    let store = store.clone();
    let reading = tokio::spawn(async move {
        let question = move |connection: &Connection| {
            started.send(()).unwrap();
            receiver.recv().unwrap();
            ids_in(connection)
        };
        store.read(question).await.unwrap()
    });
    has_started.await.unwrap();
    (reading, sender)
}
