//! Tests of the store, by subject; what they share.

mod crash;
mod delivery;
mod opening;
mod pruning;
mod reading;
mod replacing;
mod small_disk;
mod swapping;
mod tampering;
mod writing;

use std::path::Path;

use super::*;
use crate::outbox::{NewAlert, NewMatch, Outbox, Outgoing, Route};
use crate::store::reading::ALL;

/// The store of a folder.
fn open(folder: &Path) -> Store {
    Store::open(folder, Options::default()).expect("the store opens").0
}

/// An alert of a level, told from others by its id.
fn alert(id: u128) -> NewAlert {
    let route = Route {
        rule: format!("rule-{}", id % 3),
        level: ["low", "high"][usize::from(id.is_multiple_of(2))].to_owned(),
        cluster: "lab".to_owned(),
        actor: "system:admin".to_owned(),
        ..Route::default()
    };
    NewAlert { id, route, json: format!(r#"{{"id":"{id:032x}"}}"#) }
}

fn alerts(ids: impl IntoIterator<Item = u128>) -> Entry {
    Entry { alerts: ids.into_iter().map(alert).collect(), ..Entry::default() }
}

fn match_at(id: u128, time_us: i64) -> NewMatch {
    NewMatch { id, cluster: "lab".to_owned(), time_us, until_us: time_us + 100, body: vec![7; 10] }
}

fn matches(found: Vec<NewMatch>) -> Entry {
    Entry { matches: found, ..Entry::default() }
}

/// All alerts that are kept. Sinks are given the same, whether from memory or not.
async fn kept(store: &Store) -> Vec<Outgoing> {
    let kept = store.read(|connection| outgoing::pending(connection, 0, ALL, usize::MAX, usize::MAX)).await;
    let kept = kept.expect("alerts can be read");
    assert_eq!(store.pending(0, usize::MAX, usize::MAX).await.unwrap(), kept);
    kept
}

fn numbers(alerts: &[Outgoing]) -> Vec<u64> {
    alerts.iter().map(|alert| alert.number).collect()
}
