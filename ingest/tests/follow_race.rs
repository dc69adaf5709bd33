//! A log that is written, rotated and compressed by one thread while another follows it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc)]

mod following;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use following::{Folder, gzip};
use ingest::follow::{FollowCounts, FollowOptions, Follower};

const LINES: u32 = 30_000;
const LINES_PER_FILE: u32 = 400;
const PATIENCE: Duration = Duration::from_secs(120);

/// Follows `audit.log`. It has looked once before anything is written: what is rotated before the
/// first look is not read.
fn follower(folder: &Folder) -> Follower {
    let options = FollowOptions {
        poll_interval: Duration::from_micros(200),
        batch_bytes_max: 4096,
        ..FollowOptions::default()
    };
    let mut follower = Follower::new(&[folder.path("audit.log")], options, None).unwrap();
    let nothing_yet = follower.next_batch(Duration::ZERO).unwrap();
    follower.acknowledge(&nothing_yet);
    follower
}

/// Follows until the last line has come and the writer is done; how often each came.
fn follow(mut follower: Follower, writer: &thread::JoinHandle<()>) -> (BTreeMap<u32, u32>, FollowCounts) {
    let mut seen: BTreeMap<u32, u32> = BTreeMap::new();
    let deadline = Instant::now() + PATIENCE;
    let mut is_done = false;
    loop {
        let Some(batch) = follower.next_batch(Duration::from_millis(50)) else {
            if is_done || Instant::now() > deadline {
                return (seen, follower.counts());
            }
            is_done = writer.is_finished() && seen.len() == LINES as usize;
            continue;
        };
        for line in std::str::from_utf8(&batch.bytes).unwrap().lines() {
            *seen.entry(line.split(' ').next().unwrap().parse().unwrap()).or_default() += 1;
        }
        follower.acknowledge(&batch);
    }
}

/// Writes all lines, and calls `rotate` with the number of each file that is full.
fn write(folder: &Arc<Folder>, rotate: fn(&Folder, u32)) -> thread::JoinHandle<()> {
    let folder = Arc::clone(folder);
    thread::spawn(move || {
        for number in 0..LINES {
            if number > 0 && number % LINES_PER_FILE == 0 {
                rotate(&folder, number / LINES_PER_FILE);
            }
            folder.append("audit.log", &format!("{number} {}\n", "x".repeat(number as usize % 50)));
        }
    })
}

#[test]
fn a_log_that_is_renamed_and_compressed_meanwhile_is_read_exactly_once() {
    let folder = Arc::new(Folder::new());
    let follower = follower(&folder);
    let writer = write(&folder, |folder, file| {
        let rotated = format!("audit-2026-11-21T10-00-00.{file:03}.log");
        folder.rename("audit.log", &rotated);
        if file % 3 != 0 {
            folder.compress(&rotated);
        }
    });
    let (seen, counts) = follow(follower, &writer);
    writer.join().unwrap();
    assert_eq!(seen.len(), LINES as usize, "{counts:?}");
    assert!(seen.values().all(|count| *count == 1), "{counts:?}");
    assert_eq!((counts.passed_files, counts.vanished_files, counts.damaged_files), (0, 0, 0), "{counts:?}");
}

#[test]
fn a_log_that_is_copied_and_cut_meanwhile_loses_nothing() {
    let folder = Arc::new(Folder::new());
    let follower = follower(&folder);
    let writer = write(&folder, |folder, file| {
        folder.make_room("audit.log");
        fs::copy(folder.path("audit.log"), folder.path("audit.log.1")).unwrap();
        folder.cut("audit.log");
        if file % 3 == 0 {
            let text = fs::read(folder.path("audit.log.1")).unwrap();
            fs::write(folder.path("audit.log.1.gz"), gzip(&text)).unwrap();
            fs::remove_file(folder.path("audit.log.1")).unwrap();
        }
    });
    let (seen, counts) = follow(follower, &writer);
    writer.join().unwrap();
    assert_eq!(seen.len(), LINES as usize, "{counts:?}");
}
