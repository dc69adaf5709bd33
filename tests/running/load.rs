//! Clients that post as API servers do: each batch again and again until it is acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::header::RETRY_AFTER;
use tokio::task::JoinHandle;

use super::{batch, client};

/// How many requests a batch has.
pub(crate) const BATCH: u64 = 25;
/// How long a client rests before it posts a batch again. API servers rest for longer.
const AGAIN_AFTER: Duration = Duration::from_millis(10);

/// Who posts, and where.
#[derive(Clone)]
pub(crate) struct Poster {
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    /// What it proves itself with, if anything.
    pub(crate) token: Option<Arc<Mutex<String>>>,
    /// How long it rests after each batch.
    pub(crate) pause: Duration,
}

impl Poster {
    /// One that posts without a pause.
    pub(crate) fn new(url: String) -> Self {
        Self { url, client: client(), token: None, pause: Duration::ZERO }
    }

    /// Posts a body once; the status code, unless there was no answer.
    pub(crate) async fn post(&self, body: String) -> Option<reqwest::Response> {
        let mut request = self.client.post(&self.url).body(body);
        if let Some(token) = &self.token {
            let token = token.lock().unwrap().clone();
            request = request.bearer_auth(token);
        }
        request.send().await.ok()
    }
}

/// Clients at work.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    next: AtomicU64,
    seen: Mutex<Seen>,
}

/// What clients have seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The audit ids of what was answered with 200.
    pub(crate) acknowledged: BTreeSet<String>,
    /// How often each status code came; 0 is no answer at all.
    pub(crate) codes: BTreeMap<u16, u64>,
    /// How often a refusal did not say when to come back.
    pub(crate) without_retry_after: u64,
    /// How long each answer of 200 took.
    pub(crate) latencies: Vec<Duration>,
}

impl Seen {
    /// How often something else than 200 came.
    pub(crate) fn refused(&self) -> u64 {
        self.codes.iter().filter(|(code, _)| **code != 200).map(|(_, count)| count).sum()
    }

    /// Half and nearly all answers came within so long.
    pub(crate) fn percentiles(&self) -> (Duration, Duration) {
        percentiles(&self.latencies)
    }
}

/// The median and the 99th percentile of times.
pub(crate) fn percentiles(times: &[Duration]) -> (Duration, Duration) {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = |percent: usize| sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default();
    (at(50), at(99))
}

impl Load {
    /// Starts so many clients; `name` makes their requests unique.
    pub(crate) fn begin(name: &str, count: usize, poster: &Poster) -> Self {
        let shared = Arc::new(Shared::default());
        let client = |_| tokio::spawn(post(name.to_owned(), poster.clone(), Arc::clone(&shared)));
        let clients = (0..count).map(client).collect();
        Self { shared, clients }
    }

    /// What was seen so far.
    pub(crate) fn seen(&self) -> Seen {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Waits until `is_enough` of what was seen.
    pub(crate) async fn until(&self, what: &str, is_enough: impl Fn(&Seen) -> bool) {
        super::until(what, async || is_enough(&self.seen())).await;
    }

    /// Waits until so many more batches were acknowledged.
    pub(crate) async fn until_more(&self, batches: u64) {
        let enough = self.seen().acknowledged.len() as u64 + batches * BATCH;
        self.until("batches are acknowledged", |seen| seen.acknowledged.len() as u64 >= enough).await;
    }

    /// Lets every client finish what it is posting just now, acknowledged or not.
    pub(crate) async fn end(self) -> Seen {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        self.shared.seen.lock().unwrap().clone()
    }
}

async fn post(name: String, poster: Poster, shared: Arc<Shared>) {
    let is_over = || shared.is_over.load(Ordering::Relaxed);
    while !is_over() {
        let first = shared.next.fetch_add(BATCH, Ordering::Relaxed);
        let ids: Vec<String> = (first..first + BATCH).map(|number| format!("{name}-{number}")).collect();
        let body = batch(&ids);
        loop {
            let begun = Instant::now();
            let answer = poster.post(body.clone()).await;
            let code = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
            let has_retry_after = answer.is_some_and(|answer| answer.headers().contains_key(RETRY_AFTER));
            {
                let mut seen = shared.seen.lock().unwrap();
                *seen.codes.entry(code).or_default() += 1;
                seen.without_retry_after += u64::from(code == 503 && !has_retry_after);
                if code == 200 {
                    seen.acknowledged.extend(ids.iter().cloned());
                    seen.latencies.push(begun.elapsed());
                }
            }
            if code == 200 || is_over() {
                break;
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        tokio::time::sleep(poster.pause).await;
    }
}

/// Everything that was acknowledged is there, and nothing is there twice.
#[track_caller]
pub(crate) fn each_once(acknowledged: &BTreeSet<String>, found: Vec<String>, place: &str) {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for id in found {
        *counts.entry(id).or_default() += 1;
    }
    let missing: Vec<_> = acknowledged.iter().filter(|id| !counts.contains_key(*id)).collect();
    let first = &missing[..missing.len().min(5)];
    assert!(missing.is_empty(), "{place} lacks {} of {}: {first:?}", missing.len(), acknowledged.len());
    let repeated: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).take(5).collect();
    assert!(repeated.is_empty(), "{place} repeats {repeated:?}");
}
