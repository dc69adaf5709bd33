//! Whatever is changed in the file is found, with its number.

use super::writing::hold_writer;
use super::*;
use crate::outbox::Cursor;
use crate::store::{Checked, Finding, Unproven, Verified};

/// A closed store with ten alerts, a checkpoint over six and one over eight of them.
struct Sample {
    folder: tempfile::TempDir,
    notes: Vec<SignedNote>,
}

impl Sample {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.write(alerts(1..=6)).await.unwrap();
        let first = store.checkpoint(1_000_000).await.unwrap();
        store.write(alerts(7..=8)).await.unwrap();
        let second = store.checkpoint(2_000_000).await.unwrap();
        store.write(alerts(9..=10)).await.unwrap();
        store.close().await;
        Self { folder, notes: vec![first, second] }
    }

    fn tamper(&self, sql: &str) {
        let connection = Connection::open(self.folder.path().join("masthead.db")).unwrap();
        connection.execute_batch(sql).unwrap();
    }

    /// Chains all alerts anew, as somebody would who knows how.
    fn chain_anew(&self) {
        let connection = Connection::open(self.folder.path().join("masthead.db")).unwrap();
        let id = schema::store_id(&connection).unwrap();
        let mut chain = Chain::beginning(&id);
        let mut statement =
            connection.prepare("SELECT id, stored_us, route, json FROM alerts ORDER BY number").unwrap();
        let rows: Vec<([u8; 16], i64, String, String)> = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        connection.execute("DELETE FROM alerts", []).unwrap();
        for (number, (id, stored_us, route, json)) in (1_i64..).zip(&rows) {
            let number_unsigned = number.cast_unsigned();
            chain = chain.with(&chain::Link {
                number: number_unsigned,
                id: *id,
                stored_us: *stored_us,
                route,
                json,
            });
            let values = (number, id, stored_us, route, json, chain);
            connection.execute("INSERT INTO alerts VALUES (?1, ?2, ?3, ?4, ?5, ?6)", values).unwrap();
        }
        let head = "UPDATE store SET number = (SELECT max(number) FROM alerts), chain = ?1";
        connection.execute(head, [chain]).unwrap();
    }

    fn verify(&self, given: &[SignedNote]) -> Verified {
        verify(self.folder.path(), None, given).unwrap()
    }
}

/// Tampers with a new sample and looks at what is found.
async fn check(sql: &str, expected: &[Finding]) {
    let sample = Sample::new().await;
    sample.tamper(sql);
    let verified = sample.verify(&[]);
    assert_eq!(verified.findings, expected, "{sql}");
    assert_eq!(verified.finding_count, expected.len());
}

#[tokio::test]
async fn a_sound_store_is_sound_and_says_what_is_not_proven() {
    let sample = Sample::new().await;
    let verified = sample.verify(&[]);
    assert!(verified.is_sound(), "{:?}", verified.findings);
    assert_eq!((verified.alert_count, verified.from, verified.to), (10, 1, 10));
    assert_eq!(verified.checkpoint_count, 2);
    assert_eq!(verified.last_checkpoint, Some((8, "1970-01-01T00:00:02Z".to_owned())));
    assert_eq!(verified.unproven, [Unproven::Tail(9..=10), Unproven::NoCopies, Unproven::NotChained]);
    let verified = sample.verify(&sample.notes);
    assert!(verified.is_sound(), "{:?}", verified.findings);
    assert_eq!(verified.checkpoint_count, 4);
    assert_eq!(verified.unproven, [Unproven::Tail(9..=10), Unproven::NotChained]);
}

#[tokio::test]
async fn the_alert_that_holds_the_latest_checkpoint_need_not_be_under_one() {
    let sample = Sample::new().await;
    let store = open(sample.folder.path());
    let note = store.checkpoint(3_000_000).await.unwrap();
    let with = |id, rule, note: &SignedNote| {
        let notice = serde_json::json!({ "detail": note.to_string() });
        let json = serde_json::json!({ "rule": { "id": rule }, "notice": notice }).to_string();
        Entry { alerts: vec![NewAlert { json, ..alert(id) }], ..Entry::default() }
    };
    let tail = |verified: Verified| verified.unproven.contains(&Unproven::Tail(11..=verified.to));
    store.write(with(11, "masthead.checkpoint", &note)).await.unwrap();
    assert!(!tail(sample.verify(&[])));
    store.write(alerts([12])).await.unwrap();
    assert!(tail(sample.verify(&[])));
    store.close().await;

    let other = Sample::new().await;
    let store = open(other.folder.path());
    store.checkpoint(3_000_000).await.unwrap();
    // An earlier one says nothing of alert 10.
    store.write(with(11, "masthead.checkpoint", &other.notes[1])).await.unwrap();
    store.close().await;
    assert!(tail(other.verify(&[])));

    // Nor is anything else that repeats the note the alert by which it is sent.
    let other = Sample::new().await;
    let store = open(other.folder.path());
    let note = store.checkpoint(3_000_000).await.unwrap();
    store.write(with(11, "rule-1", &note)).await.unwrap();
    store.close().await;
    assert!(tail(other.verify(&[])));
}

#[tokio::test]
async fn every_changed_column_is_found() {
    for column in [
        "json = json || ' '",
        "route = '{}'",
        "id = zeroblob(16)",
        "stored_us = stored_us + 1",
        "chain = zeroblob(32)",
    ] {
        for number in [1, 4, 10] {
            let expected = [Finding::Altered(number..=number)];
            check(&format!("UPDATE alerts SET {column} WHERE number = {number}"), &expected).await;
        }
    }
}

#[tokio::test]
async fn two_changed_alerts_are_both_found() {
    let sql = "UPDATE alerts SET json = 'x' WHERE number IN (3, 4, 9)";
    check(sql, &[Finding::Altered(3..=4), Finding::Altered(9..=9)]).await;
}

#[tokio::test]
async fn removed_alerts_are_found() {
    check("DELETE FROM alerts WHERE number = 3", &[Finding::Missing(3..=3)]).await;
    check("DELETE FROM alerts WHERE number < 3", &[Finding::Missing(1..=2)]).await;
    check("DELETE FROM alerts WHERE number > 8", &[Finding::Missing(9..=10)]).await;
    check(
        "DELETE FROM alerts WHERE number IN (2, 5, 6)",
        &[Finding::Missing(2..=2), Finding::Missing(5..=6)],
    )
    .await;
}

#[tokio::test]
async fn inserted_alerts_are_found() {
    let insert = |number| {
        format!(
            "INSERT INTO alerts SELECT {number}, zeroblob(16), stored_us, route, json, chain FROM alerts WHERE number = 10"
        )
    };
    check(&insert(11), &[Finding::Inserted(11)]).await;
    check(&insert(0), &[Finding::Inserted(0)]).await;
    let number_11 = format!("{}; UPDATE store SET number = 11", insert(11));
    check(&number_11, &[Finding::Altered(11..=11)]).await;
}

#[tokio::test]
async fn reordered_alerts_are_found() {
    let swap = "UPDATE alerts SET number = -1 WHERE number = 3;
                UPDATE alerts SET number = 3 WHERE number = 5;
                UPDATE alerts SET number = 5 WHERE number = -1";
    check(swap, &[Finding::Altered(3..=6)]).await;
    let close_gap = "DELETE FROM alerts WHERE number = 3;
                     UPDATE alerts SET number = number - 1 WHERE number > 3;
                     UPDATE store SET number = 9";
    let sample = Sample::new().await;
    sample.tamper(close_gap);
    let contradicts = |range, number| Finding::Rewritten { range, checkpoint: Checked::Own(number) };
    let expected = [contradicts(1..=6, 1), contradicts(1..=8, 2), Finding::Altered(3..=9)];
    assert_eq!(sample.verify(&[]).findings, expected);
}

#[tokio::test]
async fn whoever_chains_anew_contradicts_a_checkpoint() {
    let sample = Sample::new().await;
    sample.tamper("UPDATE alerts SET json = 'x' WHERE number = 7");
    sample.chain_anew();
    let expected = Finding::Rewritten { range: 7..=8, checkpoint: Checked::Own(2) };
    assert_eq!(sample.verify(&[]).findings, [expected]);
}

#[tokio::test]
async fn cutting_off_the_latest_alerts_contradicts_a_checkpoint() {
    let sample = Sample::new().await;
    sample.tamper("DELETE FROM alerts WHERE number > 7");
    sample.chain_anew();
    let expected = Finding::Truncated { checkpoint: Checked::Own(2), alert_number: 8 };
    assert_eq!(sample.verify(&[]).findings, [expected]);
}

#[tokio::test]
async fn cutting_off_checkpoints_too_is_only_found_with_a_copy() {
    let sample = Sample::new().await;
    sample.tamper("DELETE FROM alerts WHERE number > 7; DELETE FROM checkpoints WHERE number = 2");
    sample.chain_anew();
    let alone = sample.verify(&[]);
    assert!(alone.is_sound() && alone.unproven.contains(&Unproven::NoCopies), "{alone:?}");
    let expected = Finding::Truncated { checkpoint: Checked::Given(1), alert_number: 8 };
    assert_eq!(sample.verify(&sample.notes).findings, [expected]);
}

#[tokio::test]
async fn a_rewritten_store_with_the_stolen_key_is_only_found_with_a_copy() {
    let sample = Sample::new().await;
    sample.tamper("UPDATE alerts SET json = 'x' WHERE number = 2; DELETE FROM checkpoints");
    sample.chain_anew();
    let store = open(sample.folder.path());
    store.checkpoint(3_000_000).await.unwrap();
    store.close().await;
    assert!(sample.verify(&[]).is_sound());
    let expected = [
        Finding::Rewritten { range: 1..=6, checkpoint: Checked::Given(0) },
        Finding::Rewritten { range: 1..=8, checkpoint: Checked::Given(1) },
    ];
    assert_eq!(sample.verify(&sample.notes).findings, expected);
}

#[tokio::test]
async fn checkpoints_that_were_changed_or_removed_are_found() {
    let unbelievable = |number, reason| Finding::Unbelievable { checkpoint: Checked::Own(number), reason };
    let sample = Sample::new().await;
    sample.tamper("UPDATE checkpoints SET note = replace(note, '00:00:01Z', '00:00:09Z') WHERE number = 1");
    let key = Reading::open(sample.folder.path()).unwrap().verification_key().unwrap();
    let expected = unbelievable(1, NoteError::Signature(key.name().to_owned()));
    assert_eq!(sample.verify(&[]).findings, [expected]);
    check(
        "UPDATE checkpoints SET alert_number = 5 WHERE number = 1",
        &[unbelievable(1, NoteError::Checkpoint)],
    )
    .await;
    check("UPDATE checkpoints SET note = 'x' WHERE number = 1", &[unbelievable(1, NoteError::Form)]).await;
    check(
        "UPDATE checkpoints SET number = 4 WHERE number = 2",
        &[Finding::CheckpointsMissing(2..=3), unbelievable(4, NoteError::Checkpoint)],
    )
    .await;
}

#[tokio::test]
async fn a_key_that_was_exchanged_is_found_with_the_right_one() {
    let sample = Sample::new().await;
    let key = Reading::open(sample.folder.path()).unwrap().verification_key().unwrap();
    std::fs::remove_file(sample.folder.path().join("signing.key")).unwrap();
    let (store, opening) = Store::open(sample.folder.path(), Options::default()).unwrap();
    assert!(opening.is_key_new);
    store.checkpoint(5_000_000).await.unwrap();
    store.close().await;
    let found = verify(sample.folder.path(), Some(&key), &[]).unwrap().findings;
    let reason = NoteError::Unsigned(key.name().to_owned());
    assert_eq!(found, [Finding::Unbelievable { checkpoint: Checked::Own(3), reason }]);
}

#[tokio::test]
async fn a_trigger_keeps_no_alert_away_and_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.write(alerts([1])).await.unwrap();
    let other = Connection::open(folder.path().join("masthead.db")).unwrap();
    for table in ["alerts", "matches", "cursors"] {
        let ignore = "BEGIN SELECT RAISE(IGNORE); END";
        other.execute_batch(&format!("CREATE TRIGGER {table}_x BEFORE INSERT ON {table} {ignore}")).unwrap();
    }
    assert_eq!(store.write(alerts([1, 2])).await.unwrap().new_alerts, [false, true]);
    assert_eq!(store.write(matches(vec![match_at(3, 3)])).await.unwrap().new_matches, [true]);
    assert_eq!(numbers(&kept(&store).await), [1, 2]);
    assert_eq!(store.matches("lab", 0, None).await.unwrap().len(), 1);
    store.advance("siem", &Cursor { number: 2, ..Cursor::default() }, Vec::new()).await.unwrap();
    assert_eq!(store.cursor("siem").await.unwrap().number, 2);
    assert_eq!(verify(folder.path(), None, &[]).unwrap().findings, [Finding::Schema]);
}

#[tokio::test]
async fn numbers_that_sinks_were_given_are_not_given_again() {
    let sample = Sample::new().await;
    let cut = |last| {
        sample.tamper(&format!("DELETE FROM alerts WHERE number > {last}; DELETE FROM checkpoints"));
        sample.chain_anew();
    };
    let set = |cursor: i64| {
        sample.tamper(&format!("REPLACE INTO cursors (sink, began, number) VALUES ('siem', 0, {cursor})"));
    };
    set(10);
    cut(2);
    assert_eq!(sample.verify(&[]).findings, [Finding::Ahead { cursor: 10, latest: 2 }]);
    let store = open(sample.folder.path());
    store.write(alerts([100])).await.unwrap();
    let cursor = store.cursor("siem").await.unwrap();
    assert_eq!(numbers(&store.pending(cursor.number, 10, 1000).await.unwrap()), [11]);
    store.close().await;
    assert_eq!(sample.verify(&[]).findings, [Finding::Missing(3..=10)]);
    // What no store has given is no number to go on behind.
    set(i64::MAX - 1);
    let store = open(sample.folder.path());
    store.write(alerts([101])).await.unwrap();
    assert_eq!(kept(&store).await.last().unwrap().number, 12);
    assert_eq!(store.cursor("siem").await.unwrap().number, 0, "the sink begins anew");
    store.close().await;
    set(-5);
    let store = open(sample.folder.path());
    assert_eq!(store.cursor("siem").await.unwrap().number, 0, "the sink begins anew");
    store.close().await;
    // Nor is one that is not covered by what is left of the alerts.
    sample.tamper("DELETE FROM cursors; UPDATE store SET number = 1");
    sample.tamper("INSERT INTO checkpoints VALUES (1, 20, 0, 'x')");
    let store = open(sample.folder.path());
    store.write(alerts([102])).await.unwrap();
    assert_eq!(kept(&store).await.last().unwrap().number, 21);
}

#[tokio::test]
async fn the_highest_number_that_is_believed_leaves_room_for_more() {
    let sample = Sample::new().await;
    let highest: u64 = (1 << 61) - 1;
    sample.tamper(&format!("REPLACE INTO cursors (sink, began, number) VALUES ('siem', 0, {highest})"));
    for (id, behind) in (100..).zip(1..=3) {
        let store = open(sample.folder.path());
        let cursor = store.cursor("siem").await.unwrap();
        assert_eq!(cursor.number, highest + behind - 1);
        store.write(alerts([id])).await.unwrap();
        let next = store.pending(cursor.number, 10, 1000).await.unwrap();
        assert_eq!(numbers(&next), [highest + behind]);
        let number = next[0].number;
        store.advance("siem", &Cursor { number, ..Cursor::default() }, Vec::new()).await.unwrap();
        store.close().await;
    }
}

#[tokio::test]
async fn an_alert_with_a_number_that_was_not_given_is_no_alert_for_sinks() {
    let sample = Sample::new().await;
    sample.tamper(
        "INSERT INTO alerts SELECT 1 << 61, zeroblob(16), stored_us, route, json, chain FROM alerts LIMIT 1",
    );
    for (id, latest) in (100..).zip(11..=12) {
        let store = open(sample.folder.path());
        store.write(alerts([id])).await.unwrap();
        let cursor = store.cursor("siem").await.unwrap();
        let next = store.pending(cursor.number, 100, 1 << 20).await.unwrap();
        assert_eq!(next.last().unwrap().number, latest);
        let cursor = Cursor { number: latest, ..Cursor::default() };
        store.advance("siem", &cursor, Vec::new()).await.unwrap();
        store.close().await;
    }
    assert!(sample.verify(&[]).findings.contains(&Finding::Inserted(1 << 61)));
}

#[tokio::test]
async fn what_analyze_notes_is_no_tampering() {
    let sample = Sample::new().await;
    sample.tamper("ANALYZE");
    assert!(sample.verify(&[]).is_sound(), "{:?}", sample.verify(&[]).findings);
    let (store, opening) = Store::open(sample.folder.path(), Options::default()).unwrap();
    assert!(opening.damaged.is_none() && kept(&store).await.len() == 10);
    store.close().await;
    // An index of such a name would decide what is kept.
    sample.tamper(
        "CREATE UNIQUE INDEX one ON alerts (route) WHERE number > 10; PRAGMA writable_schema = on;
         UPDATE sqlite_schema SET name = 'sqlite_stat9', sql = replace(sql, 'one', 'sqlite_stat9') WHERE name = 'one'",
    );
    assert_eq!(sample.verify(&[]).findings, [Finding::Schema]);
}

#[tokio::test]
async fn numbers_that_no_sink_would_get_are_not_given() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.write(alerts([1])).await.unwrap();
    let other = Connection::open(folder.path().join("masthead.db")).unwrap();
    for number in [-1, i64::MIN, i64::MAX] {
        other.execute("UPDATE store SET number = ?1", [number]).unwrap();
        let refused = store.write(alerts([2])).await;
        assert!(matches!(refused, Err(StoreError::NotKept)), "{number}: {refused:?}");
    }
    store.close().await;
    let store = open(folder.path());
    store.write(alerts([2])).await.unwrap();
    assert_eq!(numbers(&kept(&store).await), [1, 2]);
    assert!(verify(folder.path(), None, &[]).unwrap().is_sound());
}

#[tokio::test]
async fn what_other_tables_do_not_keep_is_refused_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let other = Connection::open(folder.path().join("masthead.db")).unwrap();
    other
        .execute_batch(
            "DROP TABLE alerts; DROP TABLE matches;
             CREATE TABLE alerts (number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, stored_us, route,
                                  json UNIQUE ON CONFLICT IGNORE, chain);
             CREATE TABLE matches (id BLOB NOT NULL UNIQUE, cluster UNIQUE ON CONFLICT IGNORE, time_us,
                                   until_us, body)",
        )
        .unwrap();
    let alike = NewAlert { json: alert(1).json, ..alert(2) };
    assert_eq!(store.write(alerts([1])).await.unwrap().new_alerts, [true]);
    let gate = hold_writer(&store).await;
    let refused = store.write(Entry { alerts: vec![alike], ..Entry::default() });
    let (refused, other, ()) = tokio::join!(refused, store.write(alerts([3])), async {
        tokio::task::yield_now().await;
        gate.send(()).unwrap();
    });
    assert!(matches!(refused, Err(StoreError::NotKept)), "{refused:?}");
    assert_eq!(other.unwrap().new_alerts, [true]);
    assert_eq!(store.write(alerts([1])).await.unwrap().new_alerts, [false]);
    assert_eq!(numbers(&kept(&store).await), [1, 2]);
    let refused = store.write(matches(vec![match_at(1, 1), match_at(2, 2)])).await;
    assert!(matches!(refused, Err(StoreError::NotKept)), "{refused:?}");
}

#[tokio::test]
async fn notes_have_the_form_that_others_read() {
    let sample = Sample::new().await;
    let key = Reading::open(sample.folder.path()).unwrap().verification_key().unwrap();
    let note = sample.notes[0].to_string();
    let lines: Vec<&str> = note.lines().collect();
    assert_eq!((lines[0], lines[1]), (key.name(), "6"));
    assert_eq!((lines[3], lines[4], lines[5]), ("time 1970-01-01T00:00:01Z", "checkpoint 1", ""));
    assert!(lines[6].starts_with(&format!("\u{2014} {} ", key.name())));
    assert_eq!(note.parse::<SignedNote>().unwrap(), sample.notes[0]);
    let again: VerificationKey = key.to_string().parse().unwrap();
    assert_eq!(again, key);
    sample.notes[0].verify(&again).unwrap();
    for broken in ["", "\n\n", "text\n", "text\n\n\u{2014} name !\n", "a\u{1}\n\n\u{2014} a b\n"] {
        assert!(broken.parse::<SignedNote>().map_or(true, |note| note.verify(&key).is_err()), "{broken:?}");
    }
}

/// The example in the documentation of Go's `sumdb/note`: our bytes agree with those of others.
#[test]
fn a_note_of_others_is_verified() {
    let key: VerificationKey =
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse().unwrap();
    let note = "If you think cryptography is the answer to your problem,\n\
                then you don't know what your problem is.\n\n\
                \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    note.parse::<SignedNote>().unwrap().verify(&key).unwrap();
    let other = note.replace("cryptography", "Cryptography");
    let refused = other.parse::<SignedNote>().unwrap().verify(&key);
    assert_eq!(refused, Err(NoteError::Signature("PeterNeumann".to_owned())));
}

#[tokio::test]
async fn a_store_is_verified_while_it_is_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let writer = store.clone();
    let writing = tokio::spawn(async move {
        for id in 0..200_u8 {
            writer.write(alerts([id.into()])).await.unwrap();
            if id % 50 == 0 {
                writer.checkpoint(id.into()).await.unwrap();
            }
        }
    });
    let mut counts = Vec::new();
    while !writing.is_finished() {
        let path = folder.path().to_owned();
        let verified = tokio::task::spawn_blocking(move || verify(&path, None, &[])).await.unwrap().unwrap();
        assert!(verified.is_sound(), "{:?}", verified.findings);
        counts.push(verified.alert_count);
    }
    writing.await.unwrap();
    assert!(counts.is_sorted());
    assert_eq!(verify(folder.path(), None, &[]).unwrap().alert_count, 200);
}
