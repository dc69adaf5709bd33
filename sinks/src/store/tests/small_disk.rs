//! A disk that is really full: run with the folder of an empty file system of a few megabytes.

use std::collections::BTreeSet;
use std::fs;

use super::*;

/// Where the folder is named.
const FOLDER: &str = "MASTHEAD_TEST_SMALL_DISK";

#[tokio::test]
#[ignore = "needs a file system of a few megabytes, named by MASTHEAD_TEST_SMALL_DISK"]
async fn a_full_disk_loses_nothing_and_heals() {
    let root = std::env::var_os(FOLDER).expect("the folder of a small file system");
    let (folder, filler) = (Path::new(&root).join("state"), Path::new(&root).join("filler"));
    fs::write(&filler, vec![1; 1_000_000]).unwrap();
    let store = open(&folder);
    let large =
        |id| Entry { alerts: vec![NewAlert { json: "x".repeat(20_000), ..alert(id) }], ..Entry::default() };
    let mut acknowledged = BTreeSet::new();
    let mut failures = 0;
    for id in 0..1000 {
        match store.write(large(id)).await {
            Ok(_) => assert!(acknowledged.insert(id)),
            Err(_) => failures += 1,
        }
        if failures == 20 && filler.exists() {
            fs::remove_file(&filler).unwrap();
        }
        if failures >= 20 && acknowledged.last() == Some(&id) {
            break;
        }
    }
    assert!(failures >= 20 && acknowledged.len() > 20, "{failures} failures");
    let is_all_there = |found: &[Outgoing]| {
        assert_eq!(found.iter().map(|alert| alert.id).collect::<BTreeSet<_>>(), acknowledged);
        assert_eq!(numbers(found), (1..=acknowledged.len() as u64).collect::<Vec<_>>());
    };
    is_all_there(&kept(&store).await);
    store.close().await;

    let store = open(&folder);
    is_all_there(&kept(&store).await);
    let verified = verify(&folder, None, &[]).unwrap();
    assert!(verified.is_sound(), "{:?}", verified.findings);
    store.close().await;
}

#[test]
#[ignore = "needs what the test above has left, mounted for reading alone"]
fn a_medium_that_cannot_be_written_to_is_read() {
    let root = std::env::var_os(FOLDER).expect("the folder of a small file system");
    let folder = Path::new(&root).join("state");
    assert!(fs::write(folder.join("x"), "").is_err(), "the file system can be written to");
    assert!(verify(&folder, None, &[]).unwrap().is_sound());
    assert!(Reading::open(&folder).unwrap().alerts(Filter::default()).map(Result::unwrap).count() > 20);
}
