//! The store is looked at from outside.

use super::*;
use crate::outbox::Quarantined;

#[tokio::test]
async fn alerts_are_read_while_the_store_is_open_and_after() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.write(alerts(0..1000)).await.unwrap();
    let count = |filter| Reading::open(folder.path()).unwrap().alerts(filter).map(Result::unwrap).count();
    assert_eq!(count(Filter::default()), 1000);
    assert_eq!(count(Filter { after: 990, ..Filter::default() }), 10);
    assert_eq!(count(Filter { levels: vec!["high".to_owned()], ..Filter::default() }), 500);
    assert_eq!(count(Filter { rules: vec!["rule-1".to_owned(), "x".to_owned()], ..Filter::default() }), 333);
    assert_eq!(count(Filter { clusters: vec!["prod".to_owned()], ..Filter::default() }), 0);
    store.close().await;
    assert_eq!(count(Filter::default()), 1000);
}

#[tokio::test]
async fn an_alert_is_found_by_the_beginning_of_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.write(alerts([0xabcd << 112, 0xabce << 112, 5])).await.unwrap();
    let reading = Reading::open(folder.path()).unwrap();
    let found = |prefix: &str| numbers(&reading.by_id(prefix, 10).unwrap());
    assert_eq!(found("abc"), [1, 2]);
    assert_eq!(found("ABCD"), [1]);
    assert_eq!(found("00000000000000000000000000000005"), [3]);
    for nothing in ["b", "x", "+5", "000000000000000000000000000000005"] {
        assert!(found(nothing).is_empty(), "{nothing}");
    }
    assert_eq!(reading.by_id("", 2).unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_beside_alerts_is_read_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let item = Quarantined {
        cluster: "lab".to_owned(),
        source: "clusters".to_owned(),
        place: "7".to_owned(),
        reason: "no JSON".to_owned(),
        bytes: b"{".to_vec(),
    };
    store.write(Entry { quarantined: vec![item.clone(), item], ..Entry::default() }).await.unwrap();
    let note = store.checkpoint(1).await.unwrap();
    let reading = Reading::open(folder.path()).unwrap();
    let items = reading.quarantine(0, 10).unwrap();
    assert_eq!((items.len(), items[0].seen, items[0].item.bytes.as_slice()), (1, 2, b"{".as_slice()));
    assert!(reading.quarantine(items[0].number, 10).unwrap().is_empty());
    assert_eq!(reading.checkpoints().unwrap(), [note]);
    assert_eq!(reading.verification_key().unwrap(), store.verification_key());
    let figures = store.figures().await.unwrap();
    assert!(figures.bytes > 4096);
    assert_eq!((figures.quarantined_total, figures.quarantined_kept), (2, 1));
}

#[test]
fn where_no_store_is_none_is_made() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Reading::open(folder.path()), Err(StoreError::Absent { .. })));
    assert!(matches!(verify(folder.path(), None, &[]), Err(StoreError::Absent { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
