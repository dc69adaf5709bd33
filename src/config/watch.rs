//! Tells when something that the configuration is made of has changed.
//!
//! The system only says when to look; whether something has changed is told from the files
//! themselves, through every link, so that neither the swap of a `ConfigMap` nor a rename is
//! missed, and nothing is told that changed nothing. Where the system says nothing, such as on
//! network file systems, it is looked at now and then all the same.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use walkdir::WalkDir;

/// How often it is looked whether or not the system says something.
const POLL: Duration = Duration::from_secs(10);
/// How long it must be quiet before it is looked: an editor and a kubelet write in several steps.
const QUIET: Duration = Duration::from_millis(500);
/// After this it is looked though it is not quiet.
const QUIET_MAX: Duration = Duration::from_secs(5);
/// How many files are looked at; whoever names `/` as a folder of rules has mistaken it.
const FILES_MAX: usize = 100_000;
/// How deep folders are looked at.
const DEPTH_MAX: usize = 16;

/// Watches files and folders as long as it is held.
pub(crate) struct Watch {
    seen: Seen,
    /// Nothing where the system cannot tell; then it is looked now and then.
    watcher: Option<RecommendedWatcher>,
    /// Where the system has been asked to look.
    folders: BTreeSet<PathBuf>,
    /// Wakes the thread, and ends it when it is dropped.
    wake: SyncSender<()>,
}

impl Watch {
    /// Watches files and folders, which need not exist yet, and whatever is below. What is
    /// received stands for any number of changes.
    pub(crate) fn start(
        paths: impl IntoIterator<Item = PathBuf>,
    ) -> std::io::Result<(Self, mpsc::Receiver<()>)> {
        Self::with_pace(paths, Pace { poll: POLL, quiet: QUIET, quiet_max: QUIET_MAX })
    }

    fn with_pace(
        paths: impl IntoIterator<Item = PathBuf>,
        pace: Pace,
    ) -> std::io::Result<(Self, mpsc::Receiver<()>)> {
        let (wake, woken) = sync_channel(1);
        let (changed, changes) = mpsc::channel(1);
        let seen = Seen::of(paths.into_iter().collect());
        let mut watch = Self { seen: seen.clone(), watcher: None, folders: BTreeSet::new(), wake };
        watch.watcher = watch.watcher();
        watch.listen();
        thread::Builder::new().name("watch".to_owned()).spawn(move || {
            while wait(&woken, pace) {
                if seen.changes(|| told(&changed)).is_err() {
                    return;
                }
            }
        })?;
        Ok((watch, changes))
    }

    /// Watches other files and folders from now on. If they are not those from before, that is
    /// told as a change, since they may have changed before they were watched.
    pub(crate) fn set(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        self.seen.watch(paths.into_iter().collect());
        self.listen();
    }

    /// What has been seen, to be told that all of it is known.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.clone()
    }

    fn watcher(&self) -> Option<RecommendedWatcher> {
        let wake = self.wake.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.as_ref().map_or(true, may_change) {
                // A full channel wakes as well.
                let _ = wake.try_send(());
            }
        });
        watcher.inspect_err(|error| tracing::warn!(%error, "files are only looked at now and then")).ok()
    }

    /// Asks the system to tell of the folders of files, and of everything in folders.
    fn listen(&mut self) {
        let paths = self.seen.paths();
        let Some(watcher) = &mut self.watcher else { return };
        let wanted = folders(&paths);
        for folder in self.folders.difference(&wanted) {
            // What is gone cannot be taken off.
            let _ = watcher.unwatch(folder);
        }
        for folder in wanted.difference(&self.folders) {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                tracing::debug!(folder = %folder.display(), %error, "a folder is only looked at now and then");
            }
        }
        self.folders = wanted;
    }
}

/// What is watched, and how it was when it was last looked at.
#[derive(Clone)]
pub(crate) struct Seen {
    paths: Arc<Mutex<BTreeSet<PathBuf>>>,
    last: Arc<Mutex<u64>>,
}

impl Seen {
    fn of(paths: BTreeSet<PathBuf>) -> Self {
        let last = Arc::new(Mutex::new(fingerprint(&paths)));
        Self { paths: Arc::new(Mutex::new(paths)), last }
    }

    /// Notes that whatever has changed until now is known. Looks at all files.
    pub(crate) fn all(&self) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = fingerprint(&self.paths());
    }

    /// Looks at all files, and tells if something has changed that was not known.
    fn changes(&self, tell: impl FnOnce() -> Result<(), ()>) -> Result<(), ()> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let current = fingerprint(&self.paths());
        // Told while nobody can say that all is known, so that it is not told after that.
        if std::mem::replace(&mut *last, current) == current { Ok(()) } else { tell() }
    }

    fn watch(&self, paths: BTreeSet<PathBuf>) {
        *self.paths.lock().unwrap_or_else(PoisonError::into_inner) = paths;
    }

    fn paths(&self) -> BTreeSet<PathBuf> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How fast changes are told.
#[derive(Clone, Copy)]
struct Pace {
    poll: Duration,
    quiet: Duration,
    quiet_max: Duration,
}

/// Waits until it is time to look; false when nobody wants to know any more.
fn wait(woken: &Receiver<()>, pace: Pace) -> bool {
    match woken.recv_timeout(pace.poll) {
        Err(RecvTimeoutError::Timeout) => return true,
        Err(RecvTimeoutError::Disconnected) => return false,
        Ok(()) => {}
    }
    let begin = Instant::now();
    loop {
        match woken.recv_timeout(pace.quiet) {
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
            Ok(()) if begin.elapsed() > pace.quiet_max => return true,
            Ok(()) => {}
        }
    }
}

/// False for what only reads, as looking itself does.
fn may_change(event: &Event) -> bool {
    !event.kind.is_access()
}

/// Tells of a change unless one is still to be heard of.
fn told(changed: &mpsc::Sender<()>) -> Result<(), ()> {
    match changed.try_send(()) {
        Err(mpsc::error::TrySendError::Closed(())) => Err(()),
        Ok(()) | Err(mpsc::error::TrySendError::Full(())) => Ok(()),
    }
}

/// The folders that files lie in, as named and as they really are, and every folder named.
fn folders(paths: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut files = 0;
    for path in paths {
        found.extend(path.parent().map(Path::to_path_buf));
        found.extend(path.canonicalize().ok().and_then(|path| path.parent().map(Path::to_path_buf)));
        let below = WalkDir::new(path).follow_links(true).max_depth(DEPTH_MAX).into_iter().flatten();
        let below = below.take(FILES_MAX.saturating_sub(files)).inspect(|_| files += 1);
        found.extend(below.filter(|entry| entry.file_type().is_dir()).map(walkdir::DirEntry::into_path));
    }
    found.into_iter().filter(|folder| folder.is_dir()).collect()
}

/// Differs when a file does: by what it is, how long it is, and when it was changed.
fn fingerprint(paths: &BTreeSet<PathBuf>) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut files = 0;
    for path in paths {
        path.hash(&mut hasher);
        let below = WalkDir::new(path).follow_links(true).max_depth(DEPTH_MAX).sort_by_file_name();
        for entry in below.into_iter().flatten().take(FILES_MAX.saturating_sub(files)) {
            files += 1;
            let Ok(metadata) = entry.metadata() else { continue };
            // Folders change when something next to what is named does.
            if metadata.is_dir() {
                continue;
            }
            entry.path().hash(&mut hasher);
            let times = (metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec());
            (metadata.dev(), metadata.ino(), metadata.len(), metadata.mode(), times).hash(&mut hasher);
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// How long a test waits for what must come, on a machine that is busy.
    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn the_swap_of_a_config_map_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        mount(root, "..first", "level: low\n");
        symlink("..data/masthead.yml", root.join("masthead.yml")).expect("a link");
        let (_watch, mut changes) = watch(&[&root.join("masthead.yml")], Duration::from_secs(3600));
        assert!(changes.try_recv().is_err());
        mount(root, "..second", "level: high\n");
        assert!(is_told(&mut changes));
    }

    #[test]
    fn what_is_written_into_a_folder_is_told_and_what_is_beside_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (rules, beside) = (folder.path().join("rules"), folder.path().join("beside"));
        fs::create_dir(&rules).expect("a folder");
        let (_watch, mut changes) = watch(&[&rules], Duration::from_secs(3600));
        fs::write(&beside, "x").expect("writable");
        fs::write(rules.join("new.yml"), "x").expect("writable");
        assert!(is_told(&mut changes));
        fs::write(&beside, "y").expect("writable");
        std::thread::sleep(Duration::from_millis(200));
        assert!(changes.try_recv().is_err(), "nothing that is watched was changed");
    }

    #[test]
    fn looking_does_not_call_for_another_look() {
        let folder = tempfile::tempdir().expect("a folder");
        // The folder around what is watched is watched as well; this one is ours.
        let rules = folder.path().join("rules");
        fs::create_dir(&rules).expect("a folder");
        fs::write(rules.join("rule.yml"), "x").expect("writable");
        let (woken, wakes) = sync_channel(1);
        let (mut watch, _changes) = watch(&[&rules], Duration::from_secs(3600));
        watch.wake = woken;
        watch.watcher = watch.watcher();
        watch.folders.clear();
        watch.listen();
        let paths = BTreeSet::from([rules.clone()]);
        fingerprint(&paths);
        fs::read(rules.join("rule.yml")).expect("readable");
        assert!(wakes.recv_timeout(Duration::from_millis(300)).is_err());
        fs::write(rules.join("rule.yml"), "y").expect("writable");
        assert!(wakes.recv_timeout(PATIENCE).is_ok());
    }

    #[test]
    fn what_is_known_is_not_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        let (watch, mut changes) = watch(&[&file], Duration::from_secs(3600));
        fs::write(&file, "x").expect("writable");
        watch.seen().all();
        // A look that came before the note has told; what comes after it must not.
        while changes.try_recv().is_ok() {}
        std::thread::sleep(Duration::from_millis(200));
        assert!(changes.try_recv().is_err());
        fs::write(&file, "yy").expect("writable");
        assert!(is_told(&mut changes));
    }

    #[test]
    fn where_the_system_is_silent_it_is_looked_now_and_then() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        let (mut watch, mut changes) = watch(&[&file], Duration::from_millis(20));
        watch.watcher = None;
        fs::write(&file, "x").expect("writable");
        assert!(is_told(&mut changes));
    }

    /// Puts a folder in place of the one before as a kubelet does: by renaming a link.
    fn mount(root: &Path, name: &str, text: &str) {
        fs::create_dir(root.join(name)).expect("a folder");
        fs::write(root.join(name).join("masthead.yml"), text).expect("writable");
        symlink(name, root.join("..data_tmp")).expect("a link");
        fs::rename(root.join("..data_tmp"), root.join("..data")).expect("renamed");
    }

    fn watch(paths: &[&Path], poll: Duration) -> (Watch, mpsc::Receiver<()>) {
        let quiet = Duration::from_millis(20);
        let paths = paths.iter().map(|path| path.to_path_buf());
        Watch::with_pace(paths, Pace { poll, quiet, quiet_max: PATIENCE }).expect("a thread")
    }

    fn is_told(changes: &mut mpsc::Receiver<()>) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            tokio::time::timeout(PATIENCE, changes.recv()).await.is_ok_and(|told| told.is_some())
        })
    }
}
