//! What may go goes, and nothing else.

use std::collections::BTreeMap;

use super::*;
use crate::outbox::{Cursor, DeadLetter};
use crate::store::{Pruned, Retention};

const HOUR: Duration = Duration::from_secs(3600);

/// Keeps everything younger than an hour.
const AN_HOUR: Retention = Retention { age: HOUR, bytes_max: u64::MAX, matches_before_us: BTreeMap::new() };

/// By cluster: before which time its windows are over.
fn over<const COUNT: usize>(clusters: [(&str, i64); COUNT]) -> BTreeMap<String, i64> {
    clusters.map(|(name, before_us)| (name.to_owned(), before_us)).into()
}

/// A time at which what is written now is two hours old.
fn later_us() -> i64 {
    clock::now_us() + 2 * 3_600_000_000
}

fn at(number: u64, delivered: u64, dead: u64) -> Cursor {
    Cursor { number, delivered, dead, ..Cursor::default() }
}

#[tokio::test]
async fn what_a_sink_has_yet_to_get_is_kept_whatever_its_age() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.write(alerts(1..=1200)).await.unwrap();
    store.checkpoint(clock::now_us()).await.unwrap();
    store.cursor("slow").await.unwrap();
    store.advance("siem", &at(1200, 1200, 0), Vec::new()).await.unwrap();
    assert_eq!(store.prune(later_us(), AN_HOUR).await.unwrap(), Pruned::default());
    store.advance("slow", &at(1100, 1100, 0), Vec::new()).await.unwrap();
    assert_eq!(store.prune(clock::now_us(), AN_HOUR).await.unwrap(), Pruned::default(), "all is young");
    assert_eq!(store.prune(later_us(), AN_HOUR).await.unwrap(), Pruned { alerts: 1100, ..Pruned::default() });
    assert_eq!(numbers(&kept(&store).await), (1101..=1200).collect::<Vec<_>>());

    let verified = verify(folder.path(), None, &[]).unwrap();
    assert!(verified.is_sound(), "{:?}", verified.findings);
    assert_eq!((verified.from, verified.to, verified.alert_count), (1101, 1200, 100));
    assert_eq!(store.cursor("new").await.unwrap(), at(1100, 0, 0), "a new sink begins with the oldest");
    let figures = store.figures().await.unwrap();
    assert_eq!((figures.alerts_total, figures.alerts_kept, figures.imbalance()), (1200, 100, 0));
    assert!(store.forget_sink("slow").await.unwrap() && store.forget_sink("new").await.unwrap());
    assert_eq!(store.prune(later_us(), AN_HOUR).await.unwrap().alerts, 100);
    store.write(alerts([5000])).await.unwrap();
    assert_eq!(numbers(&kept(&store).await), [1201], "numbers are not used again");
    assert!(verify(folder.path(), None, &[]).unwrap().is_sound());
}

#[tokio::test]
async fn a_forged_beginning_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.write(alerts(1..=9)).await.unwrap();
    store.checkpoint(clock::now_us()).await.unwrap();
    store.close().await;
    let connection = Connection::open(folder.path().join("masthead.db")).unwrap();
    let forge = "UPDATE store SET kept_after = 3, kept_note = (SELECT note FROM checkpoints),
                     kept_chain = (SELECT chain FROM alerts WHERE number = 3);
                 DELETE FROM alerts WHERE number <= 3";
    connection.execute_batch(forge).unwrap();
    drop(connection);
    let found = verify(folder.path(), None, &[]).unwrap().findings;
    assert_eq!(found, [super::super::Finding::Beginning(4)]);
}

#[tokio::test]
async fn too_much_goes_and_the_room_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let large = |id| NewAlert { json: "x".repeat(50_000), ..alert(id) };
    for id in 0..100 {
        store.write(Entry { alerts: vec![large(id)], ..Entry::default() }).await.unwrap();
    }
    store.checkpoint_wal().await.unwrap();
    let size = || std::fs::metadata(folder.path().join("masthead.db")).unwrap().len();
    assert!(size() > 5_000_000);
    store.cursor("slow").await.unwrap();
    // Pending alerts may take twice the room that there is.
    let keep = |bytes_max| Retention { bytes_max, ..AN_HOUR };
    assert_eq!(store.prune(clock::now_us(), keep(3_000_000)).await.unwrap(), Pruned::default());
    let pruned = store.prune(clock::now_us(), keep(2_000_000)).await.unwrap();
    assert!((20..70).contains(&pruned.alerts) && pruned.alerts_lost == pruned.alerts, "{pruned:?}");
    store.checkpoint_wal().await.unwrap();
    assert!(size() < 4_200_000, "{}", size());
    let figures = store.figures().await.unwrap();
    assert_eq!((figures.sinks[0].lost, figures.imbalance()), (pruned.alerts, 0));
    assert!(verify(folder.path(), None, &[]).unwrap().is_sound());

    // The sink goes on behind what is gone, and the books still balance.
    let rest = kept(&store).await;
    let done = Cursor { number: 100, delivered: rest.len() as u64, ..Cursor::default() };
    store.advance("slow", &done, Vec::new()).await.unwrap();
    let figures = store.figures().await.unwrap();
    assert_eq!((figures.sinks[0].lost, figures.sinks[0].pending, figures.imbalance()), (pruned.alerts, 0, 0));
}

#[tokio::test]
async fn a_log_that_grew_while_somebody_read_becomes_short_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let log = folder.path().join("masthead.db-wal");
    let is_long = || std::fs::metadata(&log).unwrap().len() > schema::WAL_BYTES_MAX.into();
    let large = |id| NewAlert { json: "x".repeat(5_000_000), ..alert(id) };
    let write = |id| store.write(Entry { alerts: vec![large(id)], ..Entry::default() });
    let reader = schema::open_for_reading(&folder.path().join("masthead.db")).unwrap();
    let reading = reader.unchecked_transaction().unwrap();
    reading.query_row("SELECT count(*) FROM alerts", [], |_| Ok(())).unwrap();
    for id in 0..16 {
        write(id).await.unwrap();
    }
    store.prune(0, AN_HOUR).await.unwrap();
    assert!(is_long(), "somebody reads what it holds");
    drop(reading);
    store.prune(0, AN_HOUR).await.unwrap();
    assert!(!is_long());
    write(16).await.unwrap();
    assert_eq!(kept(&store).await.len(), 17);
    // Also without pruning, as soon as it begins anew.
    let limit = schema::open(&folder.path().join("masthead.db")).unwrap();
    let limit: u32 = limit.pragma_query_value(None, "journal_size_limit", |row| row.get(0)).unwrap();
    assert_eq!(limit, schema::WAL_BYTES_MAX);
}

#[tokio::test]
async fn matches_go_when_no_window_wants_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.write(matches((0..1300).map(|id: u16| match_at(id.into(), id.into())).collect())).await.unwrap();
    assert_eq!(store.figures().await.unwrap().matches, 1300);
    let keep = Retention { matches_before_us: over([("lab", 1200)]), ..AN_HOUR };
    assert_eq!(store.prune(0, keep).await.unwrap(), Pruned { matches: 1100, ..Pruned::default() });
    assert_eq!(store.figures().await.unwrap().matches, 200);
    assert_eq!(store.matches("lab", 0, None).await.unwrap().len(), 200);
}

#[tokio::test]
async fn each_cluster_has_a_clock_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let of =
        |cluster: &str, id: u16| NewMatch { cluster: cluster.to_owned(), ..match_at(id.into(), id.into()) };
    for (first, cluster) in [(0, "ahead"), (100, "behind"), (200, "elsewhere")] {
        store.write(matches((first..first + 100).map(|id| of(cluster, id)).collect())).await.unwrap();
    }
    // Of one of them nothing is known, and of another everything is over.
    let keep = Retention { matches_before_us: over([("ahead", i64::MAX), ("behind", 250)]), ..AN_HOUR };
    assert_eq!(store.prune(0, keep).await.unwrap(), Pruned { matches: 150, ..Pruned::default() });
    assert_eq!(store.clusters().await.unwrap(), ["behind", "elsewhere"]);
    assert_eq!(store.matches("behind", 0, None).await.unwrap().len(), 50);
    assert_eq!(store.matches("elsewhere", 0, None).await.unwrap().len(), 100);
    assert!(store.forget_matches("elsewhere", 350).await.unwrap());
    assert!(!store.forget_matches("elsewhere", 350).await.unwrap());
    assert_eq!(store.matches("elsewhere", 0, None).await.unwrap().len(), 50);
}

#[tokio::test]
async fn matches_push_out_no_alert_and_have_a_limit_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let large = |id: u16| NewMatch { body: vec![7; 10_000], ..match_at(id.into(), id.into()) };
    for first in (0..1000).step_by(100) {
        store.write(matches((first..first + 100).map(large).collect())).await.unwrap();
    }
    store.write(alerts(1..=10)).await.unwrap();
    let before = store.figures().await.unwrap();
    assert_eq!(before.match_bytes, 1000 * 10_250);
    // Ten megabytes of matches, and room for three: half of it beside what alerts may take.
    let keep = Retention { bytes_max: 6_000_000, matches_before_us: over([("lab", 150)]), ..AN_HOUR };
    let pruned = store.prune(clock::now_us(), keep).await.unwrap();
    let lost = pruned.matches_lost["lab"];
    assert_eq!((pruned.alerts, pruned.matches), (0, 50 + lost), "{pruned:?}");
    assert!(lost >= 650, "{pruned:?}");
    let after = store.figures().await.unwrap();
    assert!(after.match_bytes <= 3_000_000, "{after:?}");
    assert_eq!((after.alerts_kept, after.matches_dropped), (10, lost));
    assert_eq!(after.match_bytes, after.matches * 10_250);
    // What lasts longest is still there.
    assert_eq!(store.matches("lab", 0, None).await.unwrap().last().map(|last| last.time_us), Some(999));
}

#[tokio::test]
async fn matches_that_nobody_relates_go_before_those_of_whoever_has_most() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let of = |cluster: &str, id: u16| NewMatch {
        cluster: cluster.to_owned(),
        until_us: i64::MAX,
        body: vec![7; 750],
        ..match_at(id.into(), 1)
    };
    for (first, cluster, count) in [(0, "related", 500), (1000, "awaited", 200), (2000, "left", 300)] {
        let of_it = (first..first + count).map(|id| of(cluster, id)).collect();
        store.write(matches(of_it)).await.unwrap();
    }
    // A megabyte, and room for three quarters of it.
    let matches_before_us = over([("related", 0), ("awaited", i64::MIN)]);
    let pruned =
        store.prune(0, Retention { bytes_max: 1_500_000, matches_before_us, ..AN_HOUR }).await.unwrap();
    assert_eq!(pruned.matches_lost, BTreeMap::from([("left".to_owned(), 250)]));
}

#[tokio::test]
async fn whoever_has_most_matches_pushes_out_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    // Those of the quiet clusters would be forgotten first, and those of the noisy one never.
    let of = |cluster: &str, id: u128, until_us| NewMatch {
        cluster: cluster.to_owned(),
        until_us,
        body: vec![7; 750],
        ..match_at(id, 1)
    };
    for (first, cluster) in [(0, "quiet"), (100, "calm")] {
        store.write(matches((first..first + 100).map(|id| of(cluster, id, 2)).collect())).await.unwrap();
    }
    for first in (1000..6000).step_by(1000) {
        let noise = (first..first + 1000).map(|id| of("noisy", id, i64::MAX)).collect();
        store.write(matches(noise)).await.unwrap();
    }
    // 5.2 MB, and room for half a megabyte.
    let keep = Retention { bytes_max: 1_000_000, ..AN_HOUR };
    let pruned = store.prune(0, keep).await.unwrap();
    assert_eq!(pruned.matches_lost, BTreeMap::from([("noisy".to_owned(), 4700)]));
    for (cluster, count) in [("quiet", 100), ("calm", 100), ("noisy", 300)] {
        assert_eq!(store.matches(cluster, 0, None).await.unwrap().len(), count, "{cluster}");
    }
    // Where all have the same, all give.
    let keep = Retention { bytes_max: 100_000, ..AN_HOUR };
    assert_eq!(store.prune(0, keep).await.unwrap().matches_lost.len(), 3);
    assert_eq!(store.figures().await.unwrap().match_bytes, 50_000);
}

#[tokio::test]
async fn a_cluster_is_forgotten_with_its_matches_and_its_position() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.write(matches((0..700).map(|id: u16| match_at(id.into(), id.into())).collect())).await.unwrap();
    let other = NewMatch { cluster: "prod".to_owned(), ..match_at(1000, 1) };
    let positions =
        [("correlations/lab", 1), ("correlations/prod", 2)].map(|(name, byte)| (name.to_owned(), vec![byte]));
    store.write(Entry { positions: positions.to_vec(), ..matches(vec![other]) }).await.unwrap();
    let mut steps = 1;
    while store.forget_cluster("lab", "correlations/lab").await.unwrap() {
        steps += 1;
    }
    assert_eq!(steps, 3);
    assert_eq!(store.clusters().await.unwrap(), ["prod"]);
    assert_eq!(store.positions().await.unwrap().into_keys().collect::<Vec<_>>(), ["correlations/prod"]);
    let figures = store.figures().await.unwrap();
    assert_eq!((figures.matches, figures.match_bytes), (1, 260));
}

#[tokio::test]
async fn large_dead_letters_are_read_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let large = |id| NewAlert { json: "x".repeat(5 << 20), ..alert(id) };
    store.write(Entry { alerts: (1..=4).map(large).collect(), ..Entry::default() }).await.unwrap();
    let letter = |number| DeadLetter { sink: "siem".to_owned(), number, reason: "413".to_owned() };
    store.advance("siem", &at(4, 0, 4), (1..=4).map(letter).collect()).await.unwrap();
    let reading = Reading::open(folder.path()).unwrap();
    for number in 1..=4 {
        assert_eq!(numbers(&store.take_dead("siem", number - 1, 10).await.unwrap()), [number]);
        let read = reading.dead_letters("siem", number - 1, 10).unwrap();
        assert_eq!((read.len(), read[0].letter.number), (1, number));
    }
}

#[tokio::test]
async fn dead_letters_keep_their_alert_and_can_be_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.write(alerts(1..=4)).await.unwrap();
    let letter =
        |number, reason: &str| DeadLetter { sink: "siem".to_owned(), number, reason: reason.to_owned() };
    let dead = vec![letter(1, "400"), letter(2, "413"), letter(4, "400")];
    store.advance("siem", &at(4, 1, 3), dead).await.unwrap();
    assert_eq!(store.prune(later_us(), AN_HOUR).await.unwrap().alerts, 4);
    assert!(kept(&store).await.is_empty());

    let taken = store.take_dead("siem", 1, 10).await.unwrap();
    assert_eq!(numbers(&taken), [2, 4]);
    assert_eq!((&taken[0].json, &taken[0].route), (&alert(2).json, &alert(2).route));
    assert_eq!(numbers(&store.take_dead("siem", 0, 1).await.unwrap()), [1]);
    store.settle_dead("siem", vec![2, 4, 4], vec![letter(1, "still 400")]).await.unwrap();
    let reading = Reading::open(folder.path()).unwrap();
    let read = reading.dead_letters("siem", 0, 10).unwrap();
    assert_eq!((read.len(), &read[0].letter), (1, &letter(1, "still 400")));
    // The alert itself is pruned.
    assert_eq!(read[0].alert.as_ref().map(|kept| &kept.json), Some(&alert(1).json));
    let figures = store.figures().await.unwrap();
    let sink = &figures.sinks[0];
    assert_eq!((sink.dead, sink.dead_kept, sink.replayed, figures.imbalance()), (3, 1, 2, 0));
}
