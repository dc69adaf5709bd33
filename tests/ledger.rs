//! Nothing that was acknowledged is lost, however often the process is killed.
//!
//! `MASTHEAD_LEDGER_KILLS` says how often it is killed; 20 unless set.

#![allow(clippy::expect_used, clippy::float_cmp, clippy::panic, clippy::print_stderr, clippy::unwrap_used)]

mod running;

use std::time::Duration;

use running::Site;
use running::load::{BATCH, Load, Poster, each_once};

/// How many clients post at once.
const CLIENTS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_stored_and_delivered_exactly_once() {
    let kills = running::set_by("MASTHEAD_LEDGER_KILLS", 20);
    let site = Site::new();
    let load = Load::begin("request", CLIENTS, &Poster::new(site.url("lab")));
    let mut pause = Pauses(0x9e37_79b9);
    for _ in 0..kills {
        let running = site.start().await;
        load.until_more(1).await;
        tokio::time::sleep(pause.next()).await;
        running.kill();
    }
    let running = site.start().await;
    load.until_more(1).await;
    let seen = load.end().await;
    assert_eq!(running.metric("masthead_ledger_imbalance").await, 0.0);
    let (code, _) = running.stop();
    assert_eq!(code, Some(0), "{}", site.log());
    let acknowledged = seen.acknowledged;
    eprintln!("{kills} kills, {} requests acknowledged, answers {:?}", acknowledged.len(), seen.codes);
    assert!(acknowledged.len() as u64 >= kills * BATCH, "too little was acknowledged to mean anything");
    assert!(seen.codes.keys().all(|code| [0, 200, 503].contains(code)), "{:?}", seen.codes);

    site.check_ledger(&acknowledged);
    let stored = site.alerts(&["list", "--format", "jsonl"]);
    assert!(stored.status.success(), "{}", String::from_utf8_lossy(&stored.stderr));
    let listed = running::audit_ids_of(&String::from_utf8(stored.stdout).unwrap());
    each_once(&acknowledged, listed, "the list");
    let verified = site.alerts(&["verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

/// Pauses up to 100 ms: the same at each run.
struct Pauses(u32);

impl Pauses {
    fn next(&mut self) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        Duration::from_micros(u64::from(self.0 % 100_000))
    }
}
