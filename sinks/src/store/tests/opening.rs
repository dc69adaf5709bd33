//! One process at a time; older, newer and damaged files.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

/// A database as the first version wrote it: never change this text.
const SCHEMA_1: &str = include_str!("schema_1.sql");

#[tokio::test]
async fn a_folder_belongs_to_one_store_until_it_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let refused = Store::open(folder.path(), Options::default()).err().unwrap();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    store.close().await;
    open(folder.path());
}

#[tokio::test]
async fn files_are_for_their_owner_alone() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("a/state");
    let (store, opening) = Store::open(&folder, Options::default()).unwrap();
    assert_eq!(opening, Opening { is_fresh: true, is_key_new: true, ..Opening::default() });
    store.write(alerts([1])).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let mut names = Vec::new();
    for file in fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(names, ["masthead.db", "masthead.db-shm", "masthead.db-wal", "masthead.lock", "signing.key"]);
    let mode: i64 = store
        .read(|connection| Ok(connection.query_row("PRAGMA auto_vacuum", [], |row| row.get(0))?))
        .await
        .unwrap();
    assert_eq!(mode, 2, "space can be given back");
}

#[tokio::test]
async fn an_older_store_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let connection = Connection::open(folder.path().join("masthead.db")).unwrap();
    connection.execute_batch(SCHEMA_1).unwrap();
    drop(connection);
    let (store, opening) = Store::open(folder.path(), Options::default()).unwrap();
    let expected = (schema::current_version() > 1).then_some(1);
    assert_eq!((opening.is_fresh, opening.migrated_from, opening.damaged), (false, expected, None));
    assert_eq!(numbers(&kept(&store).await), [1]);
    store.write(alerts([2])).await.unwrap();
    assert_eq!(numbers(&kept(&store).await), [1, 2]);
}

#[test]
fn a_newer_store_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("masthead.db");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = Store::open(folder.path(), Options::default()).err().unwrap();
    assert!(matches!(refused, StoreError::Newer { found: 99, .. }), "{refused}");
    let version: i64 =
        Connection::open(&path).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 99);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    // Only where there has been a store, which left its key.
    open(folder.path()).close().await;
    fs::write(folder.path().join("masthead.db"), "no database".repeat(1000)).unwrap();
    let (store, opening) = Store::open(folder.path(), Options::default()).unwrap();
    let damaged = opening.damaged.unwrap();
    assert!(fs::read(&damaged.path).unwrap().starts_with(b"no database"));
    assert_eq!((damaged.alerts_salvaged, damaged.tables_cut.len()), (0, 8));
    store.write(alerts([1])).await.unwrap();
    assert_eq!(numbers(&kept(&store).await), [1]);
}

#[test]
fn what_is_somebody_elses_is_refused_and_left_as_it_is() {
    let [text, database, beside_a_key] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    fs::write(text.path().join("masthead.db"), "no database".repeat(1000)).unwrap();
    for folder in [&database, &beside_a_key] {
        let connection = Connection::open(folder.path().join("masthead.db")).unwrap();
        connection.execute_batch("CREATE TABLE bookmarks (url); INSERT INTO bookmarks VALUES ('a')").unwrap();
    }
    fs::write(beside_a_key.path().join("signing.key"), "x").unwrap();
    for folder in [text, database, beside_a_key] {
        let path = folder.path().join("masthead.db");
        let before = fs::read(&path).unwrap();
        let refused = Store::open(folder.path(), Options::default()).err().unwrap();
        assert!(matches!(refused, StoreError::Foreign { .. }), "{refused}");
        let refused = Reading::open(folder.path()).err().unwrap();
        assert!(matches!(refused, StoreError::Foreign { .. }), "{refused}");
        assert!(fs::read(&path).unwrap() == before, "{} was changed", path.display());
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        names.retain(|name| name != "masthead.lock" && name != "signing.key");
        assert_eq!(names, ["masthead.db"]);
    }
}

#[tokio::test]
async fn what_can_be_read_of_a_damaged_store_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let long = |id| NewAlert { json: format!("{id:0>3000}"), ..alert(id) };
    store.write(Entry { alerts: (1..=400).map(long).collect(), ..Entry::default() }).await.unwrap();
    store.write(Entry { positions: vec![("log".to_owned(), vec![1])], ..Entry::default() }).await.unwrap();
    let key = store.verification_key();
    store.close().await;
    let path = folder.path().join("masthead.db");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0x55);
    fs::write(&path, bytes).unwrap();

    let (store, opening) = Store::open(folder.path(), Options::default()).unwrap();
    let damaged = opening.damaged.unwrap();
    assert!((300..400).contains(&damaged.alerts_salvaged), "{damaged:?}");
    assert_eq!(damaged.tables_cut, ["alerts"]);
    let found = kept(&store).await;
    assert_eq!(found.len() as u64, damaged.alerts_salvaged);
    assert_eq!((found[0].number, found.last().unwrap().number), (1, 400));
    assert_eq!(store.positions().await.unwrap()["log"], [1]);
    assert_eq!(store.verification_key(), key);
    store.write(alerts([1000])).await.unwrap();
    assert_eq!(kept(&store).await.last().unwrap().number, 401, "numbers are not used again");
}

#[tokio::test]
async fn every_alert_that_can_be_read_by_its_number_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    // The first have pages for themselves; of the others there are some in one.
    let long = |id| NewAlert { json: format!("{id:0>0$}", if id < 200 { 3000 } else { 900 }), ..alert(id) };
    store.write(Entry { alerts: (1..=400).map(long).collect(), ..Entry::default() }).await.unwrap();
    store.close().await;
    let path = folder.path().join("masthead.db");
    let sound = fs::read(&path).unwrap();
    for seed in 0..30 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = sound.clone();
        let pages = bytes.len() / 4096;
        // Where most is damaged, what can be read are short stretches.
        for _ in 0..random.usize(if seed < 20 { 1..8 } else { pages..2 * pages }) {
            // The first ones say where everything is.
            let page = random.usize(20..pages);
            bytes[page * 4096..page * 4096 + 8].fill(0xff);
        }
        fs::write(&path, bytes).unwrap();
        let reading = Connection::open(&path).unwrap();
        let is_readable = |number: &u64| {
            let by_number = "SELECT json FROM alerts WHERE number = ?1";
            reading.query_row(by_number, [number.cast_signed()], |row| row.get::<_, String>(0)).is_ok()
        };
        let expected: Vec<u64> = (1..=400).filter(is_readable).collect();
        drop(reading);
        let (store, opening) = Store::open(folder.path(), Options::default()).unwrap();
        let damaged = opening.damaged.unwrap();
        assert_eq!(numbers(&kept(&store).await), expected, "seed {seed}");
        assert_eq!(damaged.alerts_salvaged, expected.len() as u64);
        assert_eq!(damaged.tables_cut.contains(&"alerts".to_owned()), expected.len() < 400);
        store.close().await;
        fs::remove_file(damaged.path).unwrap();
        fs::remove_file(folder.path().join("masthead.db.damaged.json")).unwrap();
    }
}

#[test]
fn a_migration_is_made_whole_or_not_at_all_and_once() {
    let mut connection = Connection::open_in_memory().unwrap();
    let migrations = ["CREATE TABLE a (x)", "CREATE TABLE b (x); INSERT INTO a VALUES (1)"];
    schema::migrate_by(&mut connection, &migrations[..1]).unwrap();
    schema::migrate_by(&mut connection, &[migrations[0], "CREATE TABLE b (x); nonsense"]).unwrap_err();
    assert_eq!(schema::version(&connection).unwrap(), 1);
    for _ in 0..2 {
        schema::migrate_by(&mut connection, &migrations).unwrap();
        assert_eq!(schema::version(&connection).unwrap(), 2);
    }
    let count: i64 = connection.query_row("SELECT count(*) FROM a", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 1);
}

/// A store of the schema before knows no totals by cluster.
#[tokio::test]
async fn matches_of_an_older_store_are_counted_by_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let other = NewMatch { cluster: "prod".to_owned(), ..match_at(3, 3) };
    store.write(matches(vec![match_at(1, 1), match_at(2, 2), other])).await.unwrap();
    store.close().await;
    let connection = Connection::open(folder.path().join("masthead.db")).unwrap();
    let older = "DROP TABLE match_totals; DROP INDEX matches_by_end;
                 CREATE INDEX matches_by_end ON matches (until_us); PRAGMA user_version = 2";
    connection.execute_batch(older).unwrap();
    drop(connection);
    let store = open(folder.path());
    assert_eq!(store.clusters().await.unwrap(), ["lab", "prod"]);
    assert!(store.forget_matches("lab", i64::MAX).await.unwrap());
    assert_eq!(store.clusters().await.unwrap(), ["prod"]);
    store.close().await;
    let connection = Connection::open(folder.path().join("masthead.db")).unwrap();
    let totals = "SELECT cluster, matches, bytes FROM match_totals";
    let totals = connection.query_row(totals, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    assert_eq!(totals.unwrap(), ("prod".to_owned(), 1, 260));
}

#[tokio::test]
async fn whatever_is_damaged_the_store_opens_takes_alerts_and_hides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let long = |id| NewAlert { json: format!("{id:0>700}"), ..alert(id) };
    store.write(Entry { alerts: (1..=100).map(long).collect(), ..Entry::default() }).await.unwrap();
    store.checkpoint(1).await.unwrap();
    let sound = kept(&store).await;
    store.close().await;
    let path = folder.path().join("masthead.db");
    let bytes = fs::read(&path).unwrap();
    let (mut set_aside_count, mut found_count) = (0, 0);
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut damaged = bytes.clone();
        for _ in 0..random.usize(1..20) {
            let index = random.usize(..damaged.len());
            damaged[index] = random.u8(..);
        }
        fs::write(&path, damaged).unwrap();
        let (store, opening) = Store::open(folder.path(), Options::default())
            .unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        let now = store.pending(0, usize::MAX, usize::MAX).await;
        let receipt = store.write(alerts([1_000_000])).await;
        assert_eq!(receipt.ok().map(|receipt| receipt.new_alerts), Some(vec![true]), "seed {seed}");
        store.close().await;
        let verified = verify(folder.path(), None, &[]);
        let is_found = verified.is_ok_and(|verified| !verified.is_sound()) || opening.damaged.is_some();
        let is_same = now.is_ok_and(|now| now == sound);
        assert!(is_same || is_found, "seed {seed}: changed unseen");
        set_aside_count += usize::from(opening.damaged.is_some());
        found_count += usize::from(is_found);
        for file in fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap().path();
            if file.file_name().unwrap().to_string_lossy().starts_with("masthead.db") {
                fs::remove_file(file).unwrap();
            }
        }
    }
    assert!(set_aside_count > 10 && found_count > set_aside_count, "{set_aside_count} {found_count}");
}
