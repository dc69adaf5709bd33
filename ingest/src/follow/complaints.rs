//! Says once what cannot be read.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How many paths are remembered; beyond, complaints are repeated rather than kept.
const SAID_MAX: usize = 1024;

/// How long a complaint is remembered that has no cause any more.
const SAID_KEPT: Duration = Duration::from_secs(60);

/// What has been said.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    said: HashMap<PathBuf, Said>,
}

#[derive(Debug)]
struct Said {
    kind: io::ErrorKind,
    last: Instant,
}

impl Complaints {
    /// Says what is wrong with a path, unless it has been said. What is gone is no complaint: the
    /// next look tells where it went.
    pub(super) fn say(&mut self, path: &Path, error: &io::Error) {
        let (kind, last) = (error.kind(), Instant::now());
        if kind == io::ErrorKind::NotFound {
            return;
        }
        if let Some(said) = self.said.get_mut(path).filter(|said| said.kind == kind) {
            said.last = last;
            return;
        }
        tracing::warn!(path = %path.display(), %error, "cannot read the audit log, trying again");
        if self.said.len() < SAID_MAX {
            self.said.insert(path.to_path_buf(), Said { kind, last });
        }
    }

    /// Forgets what has had no cause for a while.
    pub(super) fn forget(&mut self) {
        self.said.retain(|_, said| said.last.elapsed() < SAID_KEPT);
    }

    /// How many paths cannot be read, or could not a moment ago.
    pub(super) fn count(&self) -> u64 {
        self.said.len() as u64
    }
}
