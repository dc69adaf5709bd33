//! What an API server posts gives the very alerts that a replay of it gives.

// Helpers of tests may fail; counts are whole numbers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, clippy::float_cmp)]

mod recorded;
mod running;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use running::{PATIENCE, Running, Site, client};

/// An event of now: what windows of the past wait for.
fn later() -> Vec<u8> {
    let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let event = serde_json::json!({
        "level": "Metadata", "auditID": "later", "stage": "ResponseComplete", "requestURI": "/version", "verb": "get",
        "user": { "username": "system:kube-scheduler" }, "requestReceivedTimestamp": now, "stageTimestamp": now,
    });
    event.to_string().into_bytes()
}

#[tokio::test]
async fn bodies_that_an_api_server_posted_give_the_alerts_of_a_replay() {
    let Some(folder) = recorded::shared("corpus/k8s-1.36/webhook") else { return };
    let mut bodies = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "zst") {
            let body = zstd::decode_all(std::fs::File::open(&path).unwrap()).unwrap();
            bodies.push((path.file_stem().unwrap().to_owned(), body));
        }
    }
    bodies.sort();
    assert_eq!(bodies.len(), 6);
    give_the_alerts_of_a_replay(&bodies.into_iter().map(|(_, body)| body).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn bodies_of_that_form_give_the_alerts_of_a_replay() {
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/demo/audit.log");
    let text = std::fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let list = |items: &[&str]| {
        format!(
            r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{{}},"items":[{}]}}"#,
            items.join(",")
        )
    };
    let bodies: Vec<Vec<u8>> = lines.chunks(40).map(|items| list(items).into_bytes()).collect();
    assert!(bodies.len() > 1);
    give_the_alerts_of_a_replay(&bodies).await;
}

/// Somebody who can write into a wrapper gives it what makes it look like an event.
#[tokio::test]
async fn wrappers_that_look_like_events_give_the_alerts_of_a_replay() {
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/demo/audit.log");
    let text = std::fs::read_to_string(log).unwrap();
    let wrap = |line: &str| serde_json::json!({ "verb": "get", "requestURI": "/", "log": line }).to_string();
    let lines: Vec<String> = text.lines().map(wrap).collect();
    let bodies = lines.chunks(40).map(|items| format!(r#"{{"items":[{}]}}"#, items.join(",")).into_bytes());
    give_the_alerts_of_a_replay(&bodies.collect::<Vec<_>>()).await;
}

/// Posts every body twice, and compares with a replay of what was posted once.
async fn give_the_alerts_of_a_replay(bodies: &[Vec<u8>]) {
    let site = Site::with_rules("default: true");
    let log = site.path("posted.json");
    std::fs::write(&log, bodies.join(&b'\n')).unwrap();
    let expected = ids(&recorded::alerts(&log, &["--cluster", "lab"]));
    assert!(!expected.is_empty());
    let running = site.start().await;
    for body in bodies.iter().chain(bodies) {
        post(&site, body.clone()).await;
    }
    post(&site, later()).await;
    let stored = until(&site, &running, expected.len()).await;
    assert_eq!(stored, expected);
    assert_eq!(running.metric("masthead_events_quarantined_total").await, 0.0);
    assert_eq!(running.metric("masthead_ledger_imbalance").await, 0.0);
    running.stop();
}

async fn post(site: &Site, body: Vec<u8>) {
    let answer = client().post(site.url("lab")).body(body).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
}

/// The ids of the alerts once there are so many: those of correlations follow when time has passed.
async fn until(site: &Site, running: &Running, count: usize) -> BTreeSet<String> {
    let begun = Instant::now();
    loop {
        let listed = site.alerts(&["list", "--format", "jsonl"]);
        let lines = String::from_utf8(listed.stdout).unwrap();
        let found = ids(&lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>());
        if found.len() >= count || begun.elapsed() > PATIENCE {
            assert_eq!(running.metric("masthead_store_failures_total").await, 0.0);
            return found;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn ids(alerts: &[Value]) -> BTreeSet<String> {
    let of_requests = alerts.iter().filter(|alert| alert.get("notice").is_none());
    of_requests.map(|alert| recorded::text(alert, "/id")).collect()
}
