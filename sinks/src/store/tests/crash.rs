//! A process that is killed at any moment loses nothing that it has answered for.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;

/// Where the child finds its folder.
const FOLDER: &str = "MASTHEAD_TEST_STORE";

#[tokio::test]
async fn what_was_answered_survives_being_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..5 {
        acknowledged.extend(killed_after(folder.path(), 20 + round * 60));
        let (store, opening) = Store::open(folder.path(), Options::default()).unwrap();
        assert!(!opening.is_fresh && opening.damaged.is_none(), "{opening:?}");
        let found = kept(&store).await;
        assert_eq!(numbers(&found), (1..=found.len() as u64).collect::<Vec<_>>());
        let ids: BTreeSet<u128> = found.iter().map(|alert| alert.id).collect();
        assert_eq!(ids.len(), found.len(), "each is there once");
        let lost: Vec<_> = acknowledged.difference(&ids).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?}");
        store.close().await;
    }
    assert!(acknowledged.len() >= 5 * 20);
}

/// Starts a writing child, kills it after so many answers, and gives all it has answered for.
fn killed_after(folder: &Path, count: usize) -> Vec<u128> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::crash::child", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut answered = Vec::new();
    let mut take =
        |line: String| answered.extend(line.strip_prefix("stored ").and_then(|id| id.parse::<u128>().ok()));
    let mut seen = 0;
    while seen < count {
        let line = lines.next().expect("the child goes on until it is killed").unwrap();
        seen += usize::from(line.starts_with("stored "));
        take(line);
    }
    child.kill().unwrap();
    lines.map_while(Result::ok).for_each(take);
    child.wait().unwrap();
    answered
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a process of the test above, to be killed"]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = open(folder.as_ref());
    let begin = u128::from(std::process::id()) << 64;
    let writers = (0..8).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for count in 0.. {
                let id = begin | (writer << 32) | count;
                store.write(alerts([id])).await.unwrap();
                // One call, so that a line is whole or absent.
                std::io::stdout().write_all(format!("stored {id}\n").as_bytes()).unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}
