//! A folder of logs, and a follower that saves its position as a store would.

#![allow(dead_code, unreachable_pub)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ingest::follow::{Batch, FollowCounts, FollowOptions, Follower};

/// How often nothing has to come until nothing is believed to come.
const SILENCES: usize = 8;

/// Compresses as log rotation does.
pub fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A folder that holds logs.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn append(&self, name: &str, text: &str) {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    pub fn cut(&self, name: &str) {
        fs::OpenOptions::new().write(true).open(self.path(name)).unwrap().set_len(0).unwrap();
    }

    pub fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    pub fn compress(&self, name: &str) {
        let text = fs::read(self.path(name)).unwrap();
        fs::write(self.path(&format!("{name}.gz")), gzip(&text)).unwrap();
        fs::remove_file(self.path(name)).unwrap();
    }

    /// Moves `log` to `log.1`, what was there to `log.2`, and so on.
    pub fn rotate_numbered(&self, log: &str) {
        self.make_room(log);
        self.rename(log, &format!("{log}.1"));
    }

    /// Moves `log.1` to `log.2`, and so on, compressed or not.
    pub fn make_room(&self, log: &str) {
        for number in (1..100).rev() {
            for ending in ["", ".gz"] {
                let from = format!("{log}.{number}{ending}");
                if self.path(&from).exists() {
                    self.rename(&from, &format!("{log}.{}{ending}", number + 1));
                }
            }
        }
    }
}

/// A follower, and what was saved of it.
pub struct Follow {
    follower: Follower,
    path: PathBuf,
    options: FollowOptions,
    pub saved: Option<Vec<u8>>,
}

impl Follow {
    pub fn new(folder: &Folder, name: &str) -> Self {
        Self::with(folder, name, |_| {})
    }

    pub fn with(folder: &Folder, name: &str, change: impl FnOnce(&mut FollowOptions)) -> Self {
        let mut options = FollowOptions {
            poll_interval: Duration::ZERO,
            rotated_wait: Duration::from_secs(3600),
            ..FollowOptions::default()
        };
        change(&mut options);
        let path = folder.path(name);
        Self { follower: follower(&path, options, None), path, options, saved: None }
    }

    /// Loses everything that was not saved.
    pub fn crash(&mut self) {
        self.follower = follower(&self.path, self.options, self.saved.as_deref());
    }

    /// The next batch, not saved.
    pub fn give(&mut self) -> Option<Batch> {
        self.follower.next_batch(Duration::ZERO)
    }

    /// Waits for what comes next, which is given again.
    pub fn wait(&mut self) {
        self.follower.next_batch(Duration::from_secs(60)).unwrap();
    }

    /// Saves a batch.
    pub fn save(&mut self, batch: &Batch) {
        self.saved = Some(batch.position.clone());
    }

    /// Acknowledges a batch that was saved.
    pub fn acknowledge(&mut self, batch: &Batch) {
        self.follower.acknowledge(batch);
        assert_eq!(self.follower.position(), batch.position);
    }

    /// The next batch that holds something, saved and acknowledged.
    pub fn take(&mut self) -> Option<Batch> {
        let mut silences = 0;
        while silences < SILENCES {
            let Some(batch) = self.give() else {
                silences += 1;
                continue;
            };
            self.save(&batch);
            self.acknowledge(&batch);
            if !batch.bytes.is_empty() || batch.skipped.is_some() {
                return Some(batch);
            }
        }
        None
    }

    /// All that comes now.
    pub fn lines(&mut self) -> String {
        let batches = std::iter::from_fn(|| self.take());
        batches.map(|batch| String::from_utf8(batch.bytes.to_vec()).unwrap()).collect()
    }

    /// The lines that come now, where their order is not promised.
    pub fn sorted_lines(&mut self) -> String {
        let lines = self.lines();
        let mut lines: Vec<&str> = lines.split_inclusive('\n').collect();
        lines.sort_unstable();
        lines.concat()
    }

    pub fn counts(&self) -> FollowCounts {
        self.follower.counts()
    }
}

fn follower(path: &Path, options: FollowOptions, saved: Option<&[u8]>) -> Follower {
    Follower::new(&[path.to_path_buf()], options, saved).unwrap()
}
