//! A stop at any moment while a damaged database is replaced.

use std::fs;

use super::*;

/// The alerts that the damaged database itself holds.
const IN_DATABASE: u128 = 400;
/// All alerts, with those that are only in its write-ahead log.
const IN_ALL: u128 = 410;

#[tokio::test]
async fn a_stop_at_any_step_loses_nothing_that_could_be_saved() {
    let folder = tempfile::tempdir().unwrap();
    let _logging = damaged_with_a_log(folder.path()).await;
    let stops = tempfile::tempdir().unwrap();
    let mut steps = Vec::new();
    let mut stop = |step: &str| {
        copy_folder(folder.path(), &stops.path().join(step));
        steps.push(step.to_owned());
    };
    stop("found");
    let expected = renewal::replace_damaged(&Folder::new(folder.path()), &mut stop).unwrap();
    assert!((300..u64::try_from(IN_ALL).unwrap()).contains(&expected.alerts_salvaged), "{expected:?}");
    assert_eq!(steps.len(), 12, "{steps:?}");

    for step in &steps {
        let state = stops.path().join(step);
        // Another stop, before anybody was told, changes nothing.
        for opening in ["first", "second"] {
            let (store, opened) = Store::open(&state, Options::default()).unwrap();
            let damaged = opened.damaged.unwrap_or_else(|| panic!("{step}, {opening}: nothing was said"));
            assert_eq!(Damaged { path: expected.path.clone(), ..damaged.clone() }, expected, "{step}");
            assert_eq!(latest_at(&damaged.path), 410, "{step}: the log is parted from its database");
            let found = kept(&store).await;
            assert_eq!(found.len() as u64, expected.alerts_salvaged, "{step}, {opening}");
            assert_eq!((found[0].number, found.last().unwrap().number), (1, 410), "{step}, {opening}");
            assert_eq!(store.positions().await.unwrap()["log"], [1], "{step}, {opening}");
            assert_eq!(drafts(&state), Vec::<String>::new(), "{step}, {opening}");
            store.close().await;
        }
        let (store, _) = Store::open(&state, Options::default()).unwrap();
        store.acknowledge_damage().unwrap();
        store.close().await;
        let (store, opened) = Store::open(&state, Options::default()).unwrap();
        assert_eq!(opened, Opening::default(), "{step}: told again");
        assert_eq!(kept(&store).await.len() as u64, expected.alerts_salvaged, "{step}");
        store.close().await;
    }
}

#[tokio::test]
async fn damage_that_comes_before_the_last_was_acknowledged_is_told_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("masthead.db");
    // Only where there has been a store, which left its key.
    open(folder.path()).close().await;
    fs::write(&path, "no database".repeat(1000)).unwrap();
    let (store, opened) = Store::open(folder.path(), Options::default()).unwrap();
    let first = opened.damaged.unwrap();
    store.close().await;
    fs::write(&path, "no database either".repeat(1000)).unwrap();
    let second = Store::open(folder.path(), Options::default()).unwrap().1.damaged.unwrap();
    assert_ne!(first.path, second.path);
    assert!(fs::read(&first.path).unwrap().starts_with(b"no databaseno"), "it is not overwritten");
    assert!(fs::read(&second.path).unwrap().starts_with(b"no database either"));
}

#[test]
fn a_report_that_cannot_be_read_is_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("masthead.db.damaged.json"), "{").unwrap();
    let refused = Store::open(folder.path(), Options::default()).err().unwrap();
    assert!(matches!(refused, StoreError::File { .. }), "{refused}");
}

/// Makes a database that is damaged in its middle, with alerts that are only in the log as long
/// as what this gives is open.
async fn damaged_with_a_log(folder: &Path) -> Connection {
    let store = open(folder);
    let long = |id| NewAlert { json: format!("{id:0>3000}"), ..alert(id) };
    let positions = vec![("log".to_owned(), vec![1])];
    store
        .write(Entry { alerts: (1..=IN_DATABASE).map(long).collect(), positions, ..Entry::default() })
        .await
        .unwrap();
    store.close().await;
    let path = folder.join("masthead.db");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0x55);
    fs::write(&path, bytes).unwrap();
    let connection = schema::open(&path).unwrap();
    entry::write(&connection, &alerts(IN_DATABASE + 1..=IN_ALL), clock::now_us(), &Recent::default())
        .unwrap();
    assert!(fs::metadata(folder.join("masthead.db-wal")).unwrap().len() > 0);
    connection
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// The number of the latest alert of a database.
fn latest_at(path: &Path) -> i64 {
    let connection = schema::open(path).unwrap();
    connection.query_row("SELECT max(number) FROM alerts", [], |row| row.get(0)).unwrap()
}

/// Files that were left half done.
fn drafts(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".new")).collect()
}
