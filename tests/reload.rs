//! What is changed while events come is taken over whole or not at all, and no event notices.
//!
//! `MASTHEAD_RELOADS` says how often everything is read again under load; 20 unless set.

#![allow(clippy::expect_used, clippy::float_cmp, clippy::panic, clippy::print_stderr, clippy::unwrap_used)]

mod recorded;
mod running;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use running::load::{Load, Poster};
use running::{PATIENCE, Running, Site, TO_DISK, client_builder, until};
use sha2::{Digest, Sha256};

/// How many clients post at once.
const CLIENTS: usize = 4;

/// A rule that none of these requests satisfies.
const ANOTHER: &str = "
title: Something was listed
id: 3f0c64a7-9f2f-4f5e-8a52-0d6fb1f2c002
status: test
description: None of the requests of these tests.
logsource: { product: kubernetes, service: audit }
detection:
  listed: { verb: list }
  condition: listed
falsepositives: [none]
level: low
";

/// A correlation of the test's rule: three deletions of one person within ten minutes.
const MANY: &str = "
title: Many things were deleted
id: 3f0c64a7-9f2f-4f5e-8a52-0d6fb1f2c003
status: test
description: Three requests of these tests.
correlation:
  type: event_count
  rules: [3f0c64a7-9f2f-4f5e-8a52-0d6fb1f2c001]
  group-by: [user.username]
  timespan: 10m
  condition: { gte: 3 }
  generate: true
falsepositives: [none]
level: critical
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_changes_leave_the_last_good_rules_and_no_gap() {
    let site = Site::with_rules("default: false, paths: [deleted.yml, another.yml]");
    site.write("another.yml", ANOTHER);
    let running = site.start().await;
    let load = Load::begin("reload", CLIENTS, &Poster::new(site.url("lab")));
    let count = running::set_by("MASTHEAD_RELOADS", 20);
    for number in 0..count {
        let change = Change::of(number);
        change.make(&site, number);
        if !change.is_seen_by_itself() {
            running.reload();
        }
        change.is_told(&running, number).await;
        load.until_more(1).await;
    }
    for result in ["ok", "failed"] {
        let reloads = running.metric_of("masthead_reloads_total", result).await;
        assert!(reloads >= f64::from(u32::try_from(count / 2).unwrap()), "{reloads} {result}");
    }
    let seen = load.end().await;
    assert_eq!(seen.refused(), 0, "{:?}", seen.codes);
    assert!(!site.told("masthead.reload_failed").is_empty());
    running.until_delivered().await;
    assert_eq!(running.metric("masthead_ledger_imbalance").await, 0.0);
    assert_eq!(running.stop().0, Some(0));
    site.check_ledger(&seen.acknowledged);
    eprintln!("{count} reloads, {} requests acknowledged", seen.acknowledged.len());
}

/// What is changed, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// A rule that has a mistake, and a signal.
    BrokenRule,
    /// The rule made good again, without a signal.
    GoodRule,
    /// A configuration that has a mistake, without a signal.
    BrokenConfiguration,
    /// The configuration made good again, and a signal.
    GoodConfiguration,
}

impl Change {
    fn of(number: u64) -> Self {
        let all = [Self::BrokenRule, Self::GoodRule, Self::BrokenConfiguration, Self::GoodConfiguration];
        all[usize::try_from(number % 4).unwrap()]
    }

    fn is_broken(self) -> bool {
        matches!(self, Self::BrokenRule | Self::BrokenConfiguration)
    }

    /// Whether nobody has to say that something has changed.
    fn is_seen_by_itself(self) -> bool {
        matches!(self, Self::GoodRule | Self::BrokenConfiguration)
    }

    fn make(self, site: &Site, number: u64) {
        match self {
            Self::BrokenRule => {
                let broken = ANOTHER.replace("condition: listed", &format!("condition: lost_{number}"));
                site.write("another.yml", &broken);
            }
            Self::GoodRule => {
                site.write("another.yml", &ANOTHER.replace("title: ", &format!("title: {number} ")));
            }
            Self::BrokenConfiguration => {
                site.configure(&format!("sinks:\n  disk: {{ type: file, lost_{number}: alerts.jsonl }}\n"));
            }
            Self::GoodConfiguration => site.configure(&format!("{TO_DISK}# {number}\n")),
        }
    }

    /// Waits until the fault is named with its place, or that there is none; the rules are all the
    /// time those that were good last.
    async fn is_told(self, running: &Running, number: u64) {
        let place = match self {
            Self::BrokenRule => "another.yml:9:",
            Self::BrokenConfiguration => "masthead.yml:9:",
            Self::GoodRule | Self::GoodConfiguration => "",
        };
        let begun = Instant::now();
        loop {
            let readiness = running.readiness().await;
            assert_eq!(readiness["rule_count"], 2, "{number}: {readiness}");
            assert_eq!(readiness["is_ready"], true, "{number}: {readiness}");
            let fault = readiness["reload_error"].as_str();
            let is_named = |fault: &str| fault.contains(place) && fault.contains(&format!("lost_{number}"));
            if fault.map_or(!self.is_broken(), |fault| self.is_broken() && is_named(fault)) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{number}, {self:?}: {readiness}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_tokens_are_replaced_while_batches_come() {
    let mut site = Site::new();
    let old = Identity::new();
    old.write(&site);
    site.write("tokens", &hashes(&["first"]));
    site.sources = "    tls: { certificate_file: server.crt, key_file: server.key }\n    \
                    tokens: [{ cluster: lab, sha256_file: tokens }]\n"
        .to_owned();
    site.configure(TO_DISK);
    let running = site.start().await;

    let new = Identity::new();
    let token = Arc::new(Mutex::new("first".to_owned()));
    let url = format!("https://localhost:{}/audit/lab", site.listen.port());
    let poster = |client| Poster { client, token: Some(Arc::clone(&token)), ..Poster::new(url.clone()) };
    // Some keep their connection, some make a new one for each batch.
    let kept = client_builder().tls_certs_only([old.trusted(), new.trusted()]);
    let fresh = client_builder().tls_certs_only([old.trusted(), new.trusted()]).pool_max_idle_per_host(0);
    let kept = Load::begin("kept", 2, &poster(kept.build().unwrap()));
    let fresh = Load::begin("fresh", 2, &poster(fresh.build().unwrap()));
    kept.until_more(2).await;
    fresh.until_more(2).await;

    let mut reloads = 0.0;
    let mut reload = async || {
        reloads += 1.0;
        running.reload();
        until("everything is read again", async || {
            // Files that are watched may count more than once.
            running.metric_of("masthead_reloads_total", "\"ok\"").await >= reloads
        })
        .await;
        kept.until_more(2).await;
        fresh.until_more(2).await;
    };
    site.write("tokens", &hashes(&["first", "second"]));
    reload().await;
    "second".clone_into(&mut token.lock().unwrap());
    new.write(&site);
    reload().await;
    site.write("tokens", &hashes(&["second"]));
    reload().await;

    let shows = async |identity: &Identity, token: &str| {
        let client = client_builder().tls_certs_only([identity.trusted()]).build().unwrap();
        let answer = client.post(&url).bearer_auth(token).body("").send().await;
        answer.ok().map(|answer| answer.status().as_u16())
    };
    until("the new certificate is shown", async || shows(&new, "second").await == Some(200)).await;
    assert_eq!(shows(&new, "first").await, Some(401));
    assert_eq!(shows(&old, "second").await, None);

    let (kept, fresh) = (kept.end().await, fresh.end().await);
    assert_eq!((kept.refused(), fresh.refused()), (0, 0), "{:?} {:?}", kept.codes, fresh.codes);
    running.until_delivered().await;
    assert_eq!(running.metric_of("masthead_reloads_total", "failed").await, 0.0);
    assert_eq!(running.stop().0, Some(0));
    site.check_ledger(&kept.acknowledged.union(&fresh.acknowledged).cloned().collect());
}

#[tokio::test]
async fn what_cannot_be_taken_over_whole_is_not_taken_over_by_half() {
    let mut site = Site::with_rules("default: false, paths: [deleted.yml, many.yml]");
    site.write("many.yml", MANY);
    site.write("tokens", &hashes(&["first"]));
    site.sources = "    tokens: [{ cluster: lab, sha256_file: tokens }]\n".to_owned();
    site.configure(TO_DISK);
    let running = site.start().await;
    let send = async |token: &str, body: String| {
        let answer = running::client().post(site.url("lab")).bearer_auth(token).body(body).send().await;
        answer.unwrap().status().as_u16()
    };
    let post = async |token: &str| send(token, String::new()).await;
    assert_eq!(send("first", running::batch(&["a".to_owned()])).await, 200);
    assert_eq!((post("first").await, post("second").await), (200, 401));
    // Other correlations can only be put in force where the matches of before can be read.
    let database = rusqlite::Connection::open(site.path("state/masthead.db")).unwrap();
    database.execute_batch("ALTER TABLE matches RENAME TO lost").unwrap();
    site.write("many.yml", &MANY.replace("10m", "20m"));
    site.write("tokens", &hashes(&["second"]));
    running.reload();
    until("the reload fails", async || running.metric_of("masthead_reloads_total", "failed").await >= 1.0)
        .await;
    assert_eq!((post("first").await, post("second").await), (200, 401));
    database.execute_batch("ALTER TABLE lost RENAME TO matches").unwrap();
    running.reload();
    until("the reload succeeds", async || running.metric_of("masthead_reloads_total", "ok").await >= 1.0)
        .await;
    assert_eq!((post("first").await, post("second").await), (401, 200));
    assert_eq!(running.stop().0, Some(0));
}

#[tokio::test]
async fn the_same_correlations_just_go_on() {
    let mut site = Site::with_rules("default: false, paths: [deleted.yml, many.yml]");
    site.write("many.yml", MANY);
    site.write("tokens", &hashes(&["first"]));
    site.sources = "    tokens: [{ cluster: lab, sha256_file: tokens }]\n".to_owned();
    site.configure(TO_DISK);
    let running = site.start().await;
    let post = async |token: &str, minute: u32| {
        let body = running::batch(&[format!("minute-{minute}")]);
        let body = body.replace("12:00:00", &format!("12:{minute:02}:00"));
        let answer = running::client().post(site.url("lab")).bearer_auth(token).body(body).send().await;
        answer.unwrap().status().as_u16()
    };
    assert_eq!((post("first", 0).await, post("first", 2).await), (200, 200));
    // No match is read back, which takes long where there are many.
    let database = rusqlite::Connection::open(site.path("state/masthead.db")).unwrap();
    database.execute_batch("ALTER TABLE matches RENAME TO hidden").unwrap();
    site.write("tokens", &hashes(&["second"]));
    site.write("deleted.yml", &running::RULE.replace("title: ", "title: Indeed, "));
    running.reload();
    until("the reload succeeds", async || running.metric_of("masthead_reloads_total", "ok").await >= 1.0)
        .await;
    database.execute_batch("ALTER TABLE hidden RENAME TO matches").unwrap();
    assert_eq!((post("first", 4).await, post("second", 4).await, post("second", 50).await), (401, 200, 200));
    let is_episode = |alert: &serde_json::Value| alert["rule"]["level"] == "critical";
    until("the episode is told", async || site.stored().iter().any(is_episode)).await;
    assert_eq!(running.metric_of("masthead_reloads_total", "failed").await, 0.0);
    assert_eq!(running.stop().0, Some(0));
}

#[tokio::test]
async fn a_signal_and_a_change_that_is_seen_are_one_reload() {
    let site = Site::with_rules("default: false, paths: [deleted.yml, another.yml]");
    site.write("another.yml", ANOTHER);
    let running = site.start().await;
    site.write("another.yml", &ANOTHER.replace("title: ", "title: 1 "));
    running.reload();
    until("everything is read again", async || running.metric("masthead_reloads_total").await >= 1.0).await;
    // For longer than changes are waited for to come to an end.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(running.metric("masthead_reloads_total").await, 1.0);
    site.write("another.yml", &ANOTHER.replace("title: ", "title: 2 "));
    until("a change is seen", async || running.metric("masthead_reloads_total").await >= 2.0).await;
    assert_eq!(running.stop().0, Some(0));
}

/// The hashes of tokens as a file has them.
fn hashes(tokens: &[&str]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for token in tokens {
        for byte in Sha256::digest(token) {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}

/// A server's certificate, signed by itself, and its key.
struct Identity {
    certificate: String,
    key: String,
}

impl Identity {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Self { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    fn write(&self, site: &Site) {
        site.write("server.key", &self.key);
        site.write("server.crt", &self.certificate);
    }

    fn trusted(&self) -> reqwest::Certificate {
        reqwest::Certificate::from_pem(self.certificate.as_bytes()).unwrap()
    }
}

#[tokio::test]
async fn a_correlation_goes_on_through_reloads_and_a_crash() {
    let site = Site::with_rules("default: false, paths: [deleted.yml, many.yml, another.yml]");
    site.write("many.yml", MANY);
    site.write("another.yml", ANOTHER);
    let body = |minute: u32| {
        running::batch(&[format!("minute-{minute}")]).replace("12:00:00", &format!("12:{minute:02}:00"))
    };
    let log = site.path("posted.json");
    std::fs::write(&log, [0, 2, 4, 50].map(body).join("\n")).unwrap();
    let folder = site.folder.path().to_str().unwrap();
    let arguments = ["--cluster", "lab", "--no-default-rules", "--rules"];
    let rules = ["deleted.yml", "many.yml"].map(|name| format!("{folder}/{name}"));
    let arguments = [&arguments[..], &[&rules[0], "--rules", &rules[1]]].concat();
    let id = |alert: &serde_json::Value| alert["id"].as_str().unwrap().to_owned();
    let expected: BTreeSet<String> = recorded::alerts(&log, &arguments).iter().map(id).collect();
    // Those of the requests, and that of the episode.
    assert_eq!(expected.len(), 5);

    let mut running = site.start().await;
    let post = async |minute| {
        // As after an answer that got lost.
        for _ in 0..2 {
            let answer = Poster::new(site.url("lab")).post(body(minute)).await.unwrap();
            assert_eq!(answer.status().as_u16(), 200);
        }
    };
    post(0).await;
    for number in [1.0, 2.0] {
        site.write("another.yml", &ANOTHER.replace("title: ", &format!("title: {number} ")));
        running.reload();
        until("everything is read again", async || running.metric("masthead_reloads_total").await >= number)
            .await;
    }
    post(2).await;
    running.kill();
    running = site.start().await;
    post(4).await;
    post(50).await;
    let stored = || -> Vec<String> { site.stored().iter().map(id).collect() };
    until("the episode is told", async || stored().len() >= expected.len()).await;
    // What is restored a last time is told no second time.
    running.reload();
    until("everything is read again", async || running.metric("masthead_reloads_total").await >= 1.0).await;
    running.until_delivered().await;
    assert_eq!(running.stop().0, Some(0));
    let of_events: Vec<serde_json::Value> =
        site.stored().into_iter().filter(|alert| !is_notice(alert)).collect();
    let found: Vec<String> = of_events.iter().map(id).collect();
    assert_eq!(found.len(), expected.len(), "{found:?}");
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
}

/// Whether an alert is about Masthead itself.
fn is_notice(alert: &serde_json::Value) -> bool {
    alert["rule"]["id"].as_str().is_some_and(|id| id.starts_with("masthead."))
}
