//! Whatever goes wrong with disks, sinks, clocks and processes, nothing that was acknowledged is lost.
//!
//! `MASTHEAD_TROUBLES_BATCHES` says how many batches are posted in each trouble; 20 unless set.
//! With `MASTHEAD_SLOW_END` somebody still posts when the end is asked for, and never ends.
//! A disk is filled in two ways: by a small tmpfs, where the test may mount one, and by a limit on the
//! size of files, everywhere. The clock is turned by libfaketime, where `MASTHEAD_FAKETIME` says
//! where that is or it is where Debian has it.

#![allow(clippy::expect_used, clippy::float_cmp, clippy::panic, clippy::print_stderr, clippy::unwrap_used)]

mod running;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use running::load::{Load, Poster, Seen};
use running::receiver::{Mood, Receiver};
use running::{Running, Site, TO_DISK, set_by, until};

/// How many clients post at once.
const CLIENTS: usize = 4;

fn batches() -> u64 {
    set_by("MASTHEAD_TROUBLES_BATCHES", 20)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_heals() {
    let site = Site::new();
    let Some(disk) = SmallDisk::mount(&site.path("state"), "2m") else { return };
    let running = site.start().await;
    let load = Load::begin("full", CLIENTS, &Poster::new(site.url("lab")));
    check_refusals(&running, &load).await;
    disk.resize("512m");
    heal(&site, running, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_may_not_grow_is_told_and_heals() {
    let mut site = Site::new();
    // The signal for it would end the process.
    site.started_by = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"].map(str::to_owned).into();
    let running = site.start().await;
    let load = Load::begin("limited", CLIENTS, &Poster::new(site.url("lab")));
    load.until_more(2).await;
    limit_files(&running, "300000:");
    check_refusals(&running, &load).await;
    limit_files(&running, "unlimited:");
    heal(&site, running, load).await;
}

/// Batches are refused as API servers understand it, and operators learn of it.
async fn check_refusals(running: &Running, load: &Load) {
    load.until("batches are refused", |seen| seen.codes.get(&503).is_some_and(|count| *count > 20)).await;
    assert!(running.metric("masthead_store_failures_total").await > 0.0);
    let readiness = running.readiness().await;
    assert!(readiness["store_error"].is_string(), "{readiness}");
    assert_eq!(running.metric("masthead_ledger_imbalance").await, 0.0);
}

/// Without anybody's help batches are acknowledged again, and everything is there.
async fn heal(site: &Site, running: Running, load: Load) {
    load.until_more(batches()).await;
    let seen = load.end().await;
    assert_eq!(seen.without_retry_after, 0);
    let readiness = running.readiness().await;
    assert!(readiness["store_error"].is_null(), "{readiness}");
    account(site, running, &seen).await;
}

/// Everything was taken or refused for now, is delivered, and is there once.
async fn account(site: &Site, running: Running, seen: &Seen) {
    assert!(seen.codes.keys().all(|code| [200, 503].contains(code)), "{:?}", seen.codes);
    running.until_delivered().await;
    assert_eq!(running.metric("masthead_ledger_imbalance").await, 0.0);
    let (code, _) = running.stop();
    assert_eq!(code, Some(0), "{}", site.log());
    site.check_ledger(&seen.acknowledged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sinks_that_fail_hold_up_nobody_and_lose_nothing() {
    let alone = Site::new();
    alone.configure(&format!("{TO_DISK}routes: [{{ stop: true }}]\n"));
    let running = alone.start().await;
    let unhindered = post(&alone, "picky").await;
    running.stop();

    let site = Site::new();
    let [down, moody, picky] = [Receiver::new(), Receiver::new(), Receiver::new()];
    moody.set(Mood::Hangs);
    // The sink then gets the alerts of that request one by one.
    picky.refuse("picky-7");
    site.configure(&format!(
        "{TO_DISK}  \
         down: {{ type: http, url: '{}', timeout: 1s, batch: {{ count: 50 }} }}\n  \
         moody: {{ type: http, url: '{}', timeout: 1s, batch: {{ count: 50 }} }}\n  \
         picky: {{ type: http, url: '{}', timeout: 5s, batch: {{ count: 50 }} }}\n",
        down.url(),
        moody.url(),
        picky.url()
    ));
    picky.serve().await;
    moody.serve().await;
    let running = site.start().await;
    let hindered = post(&site, "picky").await;
    tell("stored alone", &unhindered);
    tell("three sinks that fail", &hindered);
    assert_eq!(hindered.refused() + unhindered.refused(), 0);
    let (_, slow) = hindered.percentiles();
    assert!(slow < Duration::from_secs(2), "a sink holds up those who post: {slow:?}");

    let pending = async |sink: &str| running.metric_of("masthead_sink_pending", sink).await;
    assert!(pending("down").await > 0.0);
    until("the sink hangs", async || moody.met(Mood::Hangs) > 0).await;
    down.serve().await;
    let mut seen = hindered;
    for mood in [Mood::Answers(500), Mood::AnswersLater(429, 1), Mood::Answers(401), Mood::Answers(302)] {
        moody.set(Mood::Well);
        until("the sink is well", async || pending("moody").await == 0.0).await;
        moody.set(mood);
        let more = post_some(&site, &format!("{mood:?}"), 1).await;
        seen.acknowledged.extend(more.acknowledged);
        until("the sink is in another mood", async || moody.met(mood) > 0).await;
    }
    moody.set(Mood::Well);
    running.until_delivered().await;
    let dead = async |sink| running.metric_of("masthead_sink_dead_total", sink).await;
    assert_eq!((dead("down").await, dead("moody").await, dead("picky").await), (0.0, 0.0, 1.0));
    until("the refusal is told", async || !site.told("masthead.sink_refused").is_empty()).await;
    account(&site, running, &seen).await;
    let lacking = |receiver: &Receiver| -> Vec<String> {
        seen.acknowledged.difference(&receiver.taken()).cloned().collect()
    };
    assert_eq!(lacking(&down), [""; 0]);
    assert_eq!(lacking(&moody), [""; 0]);
    assert_eq!(lacking(&picky), ["picky-7"]);
}

/// Posts the usual number of batches.
async fn post(site: &Site, name: &str) -> Seen {
    post_some(site, name, batches()).await
}

/// Posts some batches; at least so many are acknowledged.
async fn post_some(site: &Site, name: &str, batches: u64) -> Seen {
    let load = Load::begin(name, CLIENTS, &Poster::new(site.url("lab")));
    load.until_more(batches).await;
    load.end().await
}

fn tell(what: &str, seen: &Seen) {
    let (half, most) = seen.percentiles();
    let count = seen.latencies.len();
    eprintln!("{what}: {count} batches, half within {half:?}, 99 of 100 within {most:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_loses_nothing() {
    let Some(library) = faketime() else { return };
    let mut site = Site::new();
    let clock = site.path("clock");
    std::fs::write(&clock, "+0").unwrap();
    site.environment.extend(
        [
            ("LD_PRELOAD", library.to_str().unwrap()),
            ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let running = site.start().await;
    let load = Load::begin("clock", CLIENTS, &Poster::new(site.url("lab")));
    for offset in ["+2h", "-3h", "+20d", "-20d", "+0"] {
        load.until_more(2).await;
        std::fs::write(&clock, offset).unwrap();
    }
    load.until_more(2).await;
    let seen = load.end().await;
    assert_eq!(seen.refused(), 0, "{:?}", seen.codes);
    account(&site, running, &seen).await;
    let times: BTreeSet<String> = site
        .stored()
        .iter()
        .filter_map(|alert| Some(alert["detected_at"].as_str()?[..10].to_owned()))
        .collect();
    assert!(times.len() >= 3, "the clock did not jump: {times:?}");
}

/// Where libfaketime is.
fn faketime() -> Option<PathBuf> {
    let known = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
    let path = std::env::var_os("MASTHEAD_FAKETIME").map_or_else(|| PathBuf::from(known), PathBuf::from);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: no libfaketime at {}", path.display());
    None
}

#[tokio::test]
async fn a_second_process_is_turned_away_from_the_state_folder() {
    let site = Site::new();
    let running = site.start().await;
    let output = site.command().arg("--listen").arg("127.0.0.1:0").output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(complaint.contains("in use by another process"), "{complaint}");
    let seen = post(&site, "first").await;
    account(&site, running, &seen).await;
}

#[tokio::test]
async fn a_state_folder_that_cannot_be_written_is_named() {
    let site = Site::new();
    let state = site.path("state");
    let Some(disk) = SmallDisk::mount(&state, "2m") else { return };
    disk.remount("ro");
    let output = site.command().output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert!(complaint.contains(state.to_str().unwrap()), "{complaint}");
    assert!(complaint.contains("Read-only file system"), "{complaint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_comes_in_time_and_takes_nothing_with_it() {
    let site = Site::new();
    let hanging = Receiver::new();
    hanging.set(Mood::Hangs);
    hanging.serve().await;
    // Nobody reads what it prints either.
    site.configure(&format!(
        "{TO_DISK}  hanging: {{ type: http, url: '{}', timeout: 2m, batch: {{ count: 50 }} }}\n  \
         printed: {{ type: stdout, format: jsonl }}\n",
        hanging.url()
    ));
    let running = site.start().await;
    let slow = std::env::var_os("MASTHEAD_SLOW_END").map(|_| tokio::spawn(never_done(site.listen)));
    let load = Load::begin("last", CLIENTS, &Poster::new(site.url("lab")));
    load.until_more(batches()).await;
    let (code, lasted) = running.stop_unread().await;
    if let Some(slow) = slow {
        slow.abort();
    }
    let seen = load.end().await;
    eprintln!("it ended after {lasted:?} with {:?}", seen.codes);
    assert_eq!(code, Some(0), "{}", site.log());
    assert!(lasted < Duration::from_secs(35), "it took {lasted:?} to end");
    assert!(seen.codes.keys().all(|code| [0, 200].contains(code)), "{:?}", seen.codes);
    site.check_ledger(&seen.acknowledged);

    hanging.set(Mood::Well);
    let running = site.start().await;
    until("what waited is delivered", async || {
        running.metric_of("masthead_sink_pending", "hanging").await == 0.0
    })
    .await;
    assert!(seen.acknowledged.is_subset(&hanging.taken()));
    running.stop();
}

/// Posts a body that comes fast enough and never ends.
async fn never_done(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /audit/lab HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    while stream.write_all(&[b' '; 10_000]).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// A small file system of its own, gone with the value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one, where that is allowed.
    fn mount(folder: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let options = format!("size={size},mode=0700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "masthead-test"])
            .arg(folder)
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(folder.to_owned()));
        }
        eprintln!("skipped: this user may not mount a file system");
        None
    }

    fn resize(&self, size: &str) {
        self.remount(&format!("size={size}"));
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whatever went wrong, nothing stays mounted.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Changes how large the files of a process may become.
fn limit_files(running: &Running, limit: &str) {
    let mut command = Command::new("prlimit");
    command.args(["--pid", &running.id().to_string(), &format!("--fsize={limit}")]);
    assert!(command.status().unwrap().success());
}
