//! The law of following: whatever happens to the files of a log, and whenever the follower dies,
//! each line is saved exactly once. Where a log is copied and cut, it is saved at least once: what
//! is cut and written again within a tick of the file system's clock looks as before, and doubt
//! means to read again.

#![allow(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc)]

mod following;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};

use following::{Folder, Follow, gzip};
use ingest::decode::Decoded;
use ingest::follow::StartAt;
use proptest::collection::vec;
use proptest::prelude::*;

const LOGS: [&str; 2] = ["a.log", "b.log"];

/// How many histories are tried: more with `FOLLOW_CASES`.
fn cases() -> u32 {
    std::env::var("FOLLOW_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(100)
}

/// What happens next.
#[derive(Clone, Debug)]
enum Act {
    /// Lines are written to one of the logs.
    Lines(usize, u8),
    /// The beginning of a line is written; the rest comes with the next act that writes.
    Half(usize),
    /// One of the logs is rotated.
    Rotate(usize),
    /// A log is rotated while nobody has completed its last line, which comes later.
    RotateHalf(usize),
    /// The newest rotated file is compressed.
    Compress(usize),
    /// The oldest file is deleted if all it holds was saved.
    Delete(usize),
    /// From now on, batches are taken in the middle of copying and compressing, or not.
    Watch(bool),
    /// Some batches are taken.
    Take(u8),
    /// The follower dies before it saves what a batch led to.
    CrashBeforeSaving,
    /// The follower dies after it saved, before it notes so.
    CrashAfterSaving,
}

/// How logs are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rotation {
    Dated,
    Numbered,
    CopyAndCut,
}

struct World {
    folder: Folder,
    follow: Follow,
    rotation: Rotation,
    /// What all lines begin with: attackers may choose it.
    prefix: String,
    /// What is still to be written of a line, and to which file, by log.
    halves: [Option<(String, String)>; 2],
    /// The newest rotated file, by log.
    rotated: [Option<String>; 2],
    is_watched: bool,
    written: u32,
    rotations: u32,
    saved: BTreeMap<String, u32>,
}

impl World {
    fn act(&mut self, act: &Act) {
        match act {
            Act::Lines(log, count) => {
                self.complete(*log);
                for _ in 0..*count {
                    let line = self.line();
                    self.folder.append(LOGS[*log], &line);
                }
            }
            Act::Half(log) => {
                self.complete(*log);
                self.half(*log);
            }
            Act::Rotate(log) => {
                self.complete(*log);
                self.rotate(*log);
            }
            Act::RotateHalf(log) => {
                if self.rotation != Rotation::CopyAndCut {
                    self.complete(*log);
                    self.half(*log);
                    self.rotate(*log);
                }
            }
            Act::Compress(log) => self.compress(*log),
            Act::Delete(log) => self.delete(*log),
            Act::Watch(is_watched) => self.is_watched = *is_watched,
            Act::Take(count) => (0..*count).for_each(|_| {
                self.take();
            }),
            Act::CrashBeforeSaving => {
                self.follow.give();
                self.follow.crash();
            }
            Act::CrashAfterSaving => {
                if let Some(batch) = self.follow.give() {
                    self.follow.save(&batch);
                    self.note(&batch.bytes);
                }
                self.follow.crash();
            }
        }
    }

    fn line(&mut self) -> String {
        self.written += 1;
        let length = self.written as usize * 7 % 90;
        let mut line = self.prefix.clone();
        writeln!(line, "{} {}", self.written, "y".repeat(length)).unwrap();
        line
    }

    fn half(&mut self, log: usize) {
        let line = self.line();
        let (first, rest) = line.split_at(line.len() - 3);
        self.folder.append(LOGS[log], first);
        self.halves[log] = Some((LOGS[log].to_owned(), rest.to_owned()));
    }

    fn complete(&mut self, log: usize) {
        if let Some((file, rest)) = self.halves[log].take() {
            self.folder.append(&file, &rest);
        }
    }

    fn rotate(&mut self, log: usize) {
        let name = LOGS[log];
        if !self.folder.path(name).exists() {
            return;
        }
        self.rotations += 1;
        let rotated = match self.rotation {
            Rotation::Dated => {
                let (stem, _) = name.split_once('.').unwrap();
                format!(
                    "{stem}-2026-11-21T10-00-{:02}.{:03}.log",
                    self.rotations / 1000,
                    self.rotations % 1000
                )
            }
            Rotation::Numbered | Rotation::CopyAndCut => format!("{name}.1"),
        };
        if self.rotation != Rotation::Dated {
            self.folder.make_room(name);
        }
        if self.rotation == Rotation::CopyAndCut {
            let text = fs::read(self.folder.path(name)).unwrap();
            self.write_slowly(&rotated, &text);
            self.folder.cut(name);
        } else {
            self.folder.rename(name, &rotated);
        }
        if let Some((file, _)) = &mut self.halves[log] {
            file.clone_from(&rotated);
        }
        self.rotated[log] = Some(rotated);
    }

    fn compress(&mut self, log: usize) {
        let Some(rotated) = self.rotated[log].take() else { return };
        self.complete(log);
        let text = fs::read(self.folder.path(&rotated)).unwrap();
        self.write_slowly(&format!("{rotated}.gz"), &gzip(&text));
        fs::remove_file(self.folder.path(&rotated)).unwrap();
    }

    fn write_slowly(&mut self, name: &str, bytes: &[u8]) {
        let mut file = fs::File::create(self.folder.path(name)).unwrap();
        for part in bytes.chunks(bytes.len() / 3 + 1) {
            file.write_all(part).unwrap();
            if self.is_watched {
                self.take();
            }
        }
    }

    fn delete(&mut self, log: usize) {
        let (stem, _) = LOGS[log].split_once('.').unwrap();
        let names = fs::read_dir(self.folder.path("")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let is_kept = |name: &String| name == LOGS[log] || self.rotated[log].as_ref() == Some(name);
        let rotated = names.filter(|name| name.starts_with(stem) && !is_kept(name));
        let oldest = rotated.min_by_key(|name| match self.rotation {
            Rotation::Dated => name.clone(),
            _ => format!("{:05}", 99_999 - name.split('.').nth(2).unwrap().parse::<u32>().unwrap()),
        });
        let Some(path) = oldest.map(|name| self.folder.path(&name)) else { return };
        let mut text = String::new();
        Decoded::new(fs::File::open(&path).unwrap()).unwrap().read_to_string(&mut text).unwrap();
        if text.split_inclusive('\n').all(|line| self.saved.contains_key(line)) {
            fs::remove_file(path).unwrap();
        }
    }

    fn take(&mut self) -> bool {
        let Some(batch) = self.follow.take() else { return false };
        self.note(&batch.bytes);
        true
    }

    fn note(&mut self, bytes: &[u8]) {
        for line in std::str::from_utf8(bytes).unwrap().split_inclusive('\n') {
            *self.saved.entry(line.to_owned()).or_default() += 1;
        }
    }
}

fn act() -> impl Strategy<Value = Act> {
    let log = 0..LOGS.len();
    prop_oneof![
        6 => (log.clone(), 1..6_u8).prop_map(|(log, count)| Act::Lines(log, count)),
        2 => log.clone().prop_map(Act::Half),
        3 => log.clone().prop_map(Act::Rotate),
        1 => log.clone().prop_map(Act::RotateHalf),
        2 => log.clone().prop_map(Act::Compress),
        2 => log.prop_map(Act::Delete),
        1 => any::<bool>().prop_map(Act::Watch),
        5 => (1..4_u8).prop_map(Act::Take),
        2 => Just(Act::CrashBeforeSaving),
        2 => Just(Act::CrashAfterSaving),
    ]
}

fn rotation() -> impl Strategy<Value = Rotation> {
    prop_oneof![Just(Rotation::Dated), Just(Rotation::Numbered), Just(Rotation::CopyAndCut)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn no_line_is_lost_and_none_is_repeated_without_need(
        acts in vec(act(), 1..60),
        rotation in rotation(),
        batch_bytes_max in 1..400_usize,
        is_prefix_shared in any::<bool>(),
    ) {
        let folder = Folder::new();
        let follow = Follow::with(&folder, "*.log", |options| {
            options.batch_bytes_max = batch_bytes_max;
            options.line_bytes_max = 4000;
            options.start_at = StartAt::Beginning;
        });
        // Longer than what a file is known by at its beginning.
        let prefix = if is_prefix_shared { "x".repeat(1100) } else { String::new() };
        let mut world = World {
            folder,
            follow,
            rotation,
            prefix,
            halves: [None, None],
            rotated: [None, None],
            is_watched: false,
            written: 0,
            rotations: 0,
            saved: BTreeMap::new(),
        };
        // The first look, so that all that comes later is known to be new.
        world.take();
        for act in &acts {
            world.act(act);
        }
        // A log has a file of its name in the end, or a glob cannot know of it.
        (0..LOGS.len()).for_each(|log| world.act(&Act::Lines(log, 1)));
        while world.take() {}
        for number in 1..=world.written {
            let line = format!("{}{number} {}\n", world.prefix, "y".repeat(number as usize * 7 % 90));
            let count = world.saved.remove(&line).unwrap_or_default();
            let is_right = if rotation == Rotation::CopyAndCut { count >= 1 } else { count == 1 };
            prop_assert!(is_right, "line {} was saved {} times", number, count);
        }
        prop_assert!(world.saved.is_empty(), "{:?}", world.saved);
        prop_assert_eq!(world.follow.counts().pending_bytes, 0);
    }
}
