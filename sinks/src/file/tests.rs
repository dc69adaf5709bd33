//! Kills the file sink at every step it takes, and looks at what is in the files then.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use super::disk::Disk;
use super::{Compression, File, Options, Rotation};
use crate::delivery::fake::alert;
use crate::delivery::{Delivery, Destination as _, Trouble};
use crate::outbox::Outgoing;

/// Lets some steps happen, then none: as if the process was killed, or as if the disk was full.
#[derive(Clone, Debug)]
pub(super) struct Fuse {
    steps_left: Arc<AtomicI64>,
    /// Whether everything fails from then on, also what would clean up.
    is_deadly: Arc<AtomicBool>,
}

impl Default for Fuse {
    fn default() -> Self {
        Self { steps_left: Arc::new(AtomicI64::new(i64::MAX)), is_deadly: Arc::default() }
    }
}

impl Fuse {
    fn deadly_after(steps: i64) -> Self {
        let fuse = Self::default();
        fuse.steps_left.store(steps, Ordering::Release);
        fuse.is_deadly.store(true, Ordering::Release);
        fuse
    }

    fn is_blown(&self) -> bool {
        self.steps_left.load(Ordering::Acquire) < 0
    }

    pub(super) fn step(&self) -> io::Result<()> {
        let left = self.steps_left.fetch_sub(1, Ordering::AcqRel);
        let is_failing = left == 0 || left < 0 && self.is_deadly.load(Ordering::Acquire);
        if is_failing { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// What of a write still happens: nothing, all, or a part.
    pub(super) fn torn<'a>(&self, bytes: &'a [u8]) -> (&'a [u8], io::Result<()>) {
        let was_blown = self.is_blown() && self.is_deadly.load(Ordering::Acquire);
        match self.step() {
            Ok(()) => (bytes, Ok(())),
            Err(error) if was_blown => (&[], Err(error)),
            Err(error) => (&bytes[..fastrand::usize(..=bytes.len())], Err(error)),
        }
    }
}

/// A folder, the cursor of a worker, and the sink that may die.
struct Harness {
    folder: tempfile::TempDir,
    rotation: Rotation,
    saved: Option<String>,
    saved_number: u64,
}

impl Harness {
    fn new(rotation: Rotation) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), rotation, saved: None, saved_number: 0 }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("alerts.jsonl")
    }

    fn sink(&self, fuse: &Fuse) -> File {
        let options = Options { path: self.path(), rotation: self.rotation.clone() };
        File::on(Disk { fuse: fuse.clone() }, options)
    }

    /// Delivers up to `last` in batches as a worker does, and saves the cursor now and then, until
    /// it is done or the fuse is blown.
    async fn run(&mut self, fuse: &Fuse, last: u64, batch: u64, save_every: u64) {
        let mut sink = self.sink(fuse);
        let mut number = self.saved_number;
        while sink.open(self.saved.as_deref()).await.is_err() {
            if fuse.is_blown() {
                return;
            }
        }
        let mut batches = 0;
        while number < last && !fuse.is_blown() {
            let alerts = alerts(number + 1..=last.min(number + batch));
            number += sink.deliver(&alerts).await.delivered_count as u64;
            batches += 1;
            if batches % save_every == 0 && !fuse.is_blown() {
                self.save(&mut sink, number).await;
            }
        }
        if !fuse.is_blown() {
            self.save(&mut sink, number).await;
        }
        settle(&sink).await;
    }

    async fn save(&mut self, sink: &mut File, number: u64) {
        self.saved = sink.memo().or(self.saved.take());
        self.saved_number = number;
        sink.saved();
        settle(sink).await;
    }

    /// How often each id is in the files, the compressed ones included.
    fn ids(&self) -> BTreeMap<u128, usize> {
        ids_in(self.folder.path())
    }

    fn check(&self, last: u64, context: &str) {
        let expected: BTreeMap<u128, usize> = (1..=u128::from(last)).map(|id| (id, 1)).collect();
        let found = self.ids();
        let wrong: Vec<_> = expected.iter().filter(|(id, _)| found.get(id) != Some(&1)).collect();
        assert!(found == expected, "{context}: {wrong:?} of {found:?}");
    }

    fn file_names(&self) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<_> = fs::read_dir(self.folder.path()).unwrap().map(name).collect();
        names.sort();
        names
    }
}

/// How often each id is in the files of a folder, except in those that are being compressed and
/// those that lie beside their compressed form.
fn ids_in(folder: &Path) -> BTreeMap<u128, usize> {
    let mut ids = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let compressed = folder.join(format!("{}.gz", path.file_name().unwrap().to_str().unwrap()));
        if path.extension().is_some_and(|extension| extension == "partial") || compressed.exists() {
            continue;
        }
        for line in text_of(&path).lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
            *ids.entry(u128::from_str_radix(value["id"].as_str().unwrap(), 16).unwrap()).or_default() += 1;
        }
    }
    ids
}

/// Waits until old files are put away.
async fn settle(sink: &File) {
    while sink.is_tidying.load(Ordering::Acquire) {
        tokio::task::yield_now().await;
    }
}

fn text_of(path: &Path) -> String {
    let mut text = String::new();
    let file = fs::File::open(path).unwrap();
    if path.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    } else {
        io::BufReader::new(file).read_to_string(&mut text).unwrap();
    }
    text
}

fn alerts(numbers: impl IntoIterator<Item = u64>) -> Vec<Arc<Outgoing>> {
    numbers.into_iter().map(|number| Arc::new(alert(number, "high"))).collect()
}

fn small() -> Rotation {
    Rotation { bytes_max: Some(500), ..Rotation::default() }
}

#[tokio::test]
async fn killed_at_any_step_each_alert_is_there_once() {
    for rotation in [Rotation::default(), small()] {
        let mut steps = 0;
        loop {
            let mut harness = Harness::new(rotation.clone());
            let fuse = Fuse::deadly_after(steps);
            harness.run(&fuse, 30, 4, 2).await;
            let was_killed = fuse.is_blown();
            harness.run(&Fuse::default(), 40, 4, 2).await;
            harness.check(40, &format!("after {steps} steps of {rotation:?}"));
            steps += 1;
            if !was_killed {
                break;
            }
        }
        assert!(steps > 15, "{steps} steps");
    }
}

#[tokio::test]
async fn any_sequence_of_kills_leaves_each_alert_once() {
    for seed in 0..30 {
        let mut random = fastrand::Rng::with_seed(seed);
        let compression = if random.bool() { Compression::Gzip } else { Compression::None };
        let bytes_max = random.bool().then(|| random.u64(100..1500));
        let mut harness = Harness::new(Rotation { bytes_max, compression, ..Rotation::default() });
        let mut last = 0;
        for _ in 0..8 {
            last += random.u64(0..20);
            let fuse = Fuse::deadly_after(random.i64(0..25));
            let (batch, save_every) = (random.u64(1..8), random.u64(1..5));
            harness.run(&fuse, last, batch, save_every).await;
        }
        harness.run(&Fuse::default(), last, 5, 3).await;
        harness.check(last, &format!("seed {seed}"));
    }
}

#[tokio::test]
async fn a_full_disk_is_trouble_that_passes() {
    for steps in 0..12 {
        let mut harness = Harness::new(small());
        let fuse = Fuse::default();
        fuse.steps_left.store(steps, Ordering::Release);
        let mut sink = harness.sink(&fuse);
        while sink.open(None).await.is_err() {}
        let mut number = 0;
        while number < 20 {
            let Delivery { delivered_count, trouble } = sink.deliver(&alerts(number + 1..=20)).await;
            number += delivered_count as u64;
            assert!(matches!(trouble, None | Some(Trouble::Temporary { .. })));
        }
        harness.save(&mut sink, 20).await;
        harness.check(20, &format!("after {steps} steps"));
    }
}

#[tokio::test]
async fn what_was_there_before_the_store_is_not_written_again() {
    let mut harness = Harness::new(small());
    harness.run(&Fuse::default(), 30, 7, 1).await;
    (harness.saved, harness.saved_number) = (None, 0);
    harness.run(&Fuse::default(), 35, 7, 1).await;
    harness.check(35, "with a new store");
}

#[tokio::test]
async fn only_so_many_old_files_are_kept_and_compressed() {
    let rotation = Rotation { keep_count: Some(3), compression: Compression::Gzip, ..small() };
    let mut harness = Harness::new(rotation);
    harness.run(&Fuse::default(), 60, 1, 1).await;
    let names = harness.file_names();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(names[..3].iter().all(|name| name.ends_with(".jsonl.gz")), "{names:?}");
    let ids = harness.ids();
    assert!(ids.values().all(|count| *count == 1));
    assert_eq!(ids.keys().max(), Some(&60));
    let numbers: Vec<_> = ids.keys().collect();
    assert_eq!(
        numbers.len() as u128,
        *numbers[numbers.len() - 1] - numbers[0] + 1,
        "the latest without a gap"
    );
}

#[tokio::test]
async fn nothing_is_put_away_before_the_cursor_is_saved() {
    let rotation = Rotation { keep_count: Some(0), ..small() };
    let mut harness = Harness::new(rotation);
    let mut sink = harness.sink(&Fuse::default());
    sink.open(None).await.unwrap();
    assert_eq!(sink.deliver(&alerts(1..=30)).await, Delivery::of(30));
    settle(&sink).await;
    harness.check(30, "unsaved");
    harness.save(&mut sink, 30).await;
    assert_eq!(harness.file_names(), ["alerts.jsonl"]);
}

#[tokio::test]
async fn a_new_period_begins_a_new_file() {
    let rotation = Rotation { period: Some(Duration::from_millis(50)), ..Rotation::default() };
    let harness = Harness::new(rotation);
    let mut sink = harness.sink(&Fuse::default());
    sink.open(None).await.unwrap();
    for number in 1..=3 {
        assert_eq!(sink.deliver(&alerts([number])).await, Delivery::of(1));
        tokio::time::sleep(Duration::from_millis(51)).await;
    }
    assert_eq!(harness.file_names().len(), 3);
    harness.check(3, "rotated by time");
}

#[tokio::test]
async fn a_file_that_is_moved_or_removed_is_begun_anew() {
    let harness = Harness::new(Rotation::default());
    let mut sink = harness.sink(&Fuse::default());
    sink.open(None).await.unwrap();
    assert_eq!(sink.deliver(&alerts(1..=2)).await, Delivery::of(2));
    fs::rename(harness.path(), harness.folder.path().join("moved")).unwrap();
    assert_eq!(sink.deliver(&alerts(3..=4)).await, Delivery::of(2));
    harness.check(4, "moved");
    fs::remove_file(harness.path()).unwrap();
    assert_eq!(sink.deliver(&alerts(5..=6)).await, Delivery::of(2));
    assert_eq!(text_of(&harness.path()).lines().count(), 2);
    fs::File::options().write(true).open(harness.path()).unwrap().set_len(0).unwrap();
    assert_eq!(sink.deliver(&alerts([7])).await, Delivery::of(1));
    assert_eq!(text_of(&harness.path()), format!("{}\n", alert(7, "high").json));
}

#[tokio::test]
async fn what_others_moved_is_known_after_a_kill() {
    let mut harness = Harness::new(Rotation::default());
    harness.run(&Fuse::default(), 5, 5, 1).await;
    let mut sink = harness.sink(&Fuse::default());
    sink.open(harness.saved.as_deref()).await.unwrap();
    assert_eq!(sink.deliver(&alerts(6..=8)).await, Delivery::of(3));
    fs::rename(harness.path(), harness.folder.path().join("alerts.jsonl.1")).unwrap();
    assert_eq!(sink.deliver(&alerts(9..=10)).await, Delivery::of(2));
    drop(sink);
    harness.run(&Fuse::default(), 12, 2, 1).await;
    harness.check(12, "moved");
}

#[tokio::test]
async fn zeros_where_power_was_lost_are_cut_off() {
    let mut harness = Harness::new(Rotation::default());
    harness.run(&Fuse::default(), 5, 5, 1).await;
    let text = text_of(&harness.path());
    let next = alert(6, "high").json;
    fs::write(harness.path(), format!("{text}{next}\n{{\"schema\0\0\0\n\0\0\0")).unwrap();
    harness.run(&Fuse::default(), 9, 2, 1).await;
    harness.check(9, "after zeros");
}

#[tokio::test]
async fn only_one_process_writes_and_only_its_owner_reads() {
    use std::os::unix::fs::PermissionsExt as _;
    let harness = Harness::new(Rotation::default());
    let mut first = harness.sink(&Fuse::default());
    first.open(None).await.unwrap();
    let mode = fs::metadata(harness.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut second = harness.sink(&Fuse::default());
    let trouble = second.open(None).await.unwrap_err();
    assert!(trouble.reason().ends_with(" cannot be opened: the file is written by another process"));
    drop(first);
    second.open(None).await.unwrap();
}

#[tokio::test]
async fn what_is_no_file_of_alerts_is_left_alone() {
    let harness = Harness::new(Rotation::default());
    fs::write(harness.path(), "a letter to\nmy aunt").unwrap();
    let mut sink = harness.sink(&Fuse::default());
    assert!(sink.open(None).await.is_err());
    assert_eq!(text_of(&harness.path()), "a letter to\nmy aunt");
    let two_lines = Outgoing { json: "{\n}".to_owned(), ..alert(1, "high") };
    fs::remove_file(harness.path()).unwrap();
    sink.open(None).await.unwrap();
    let delivery = sink.deliver(&[Arc::new(two_lines)]).await;
    assert!(matches!(delivery.trouble, Some(Trouble::Refused { .. })));
}

#[tokio::test]
async fn what_a_kill_left_half_compressed_is_done_again() {
    let rotation = Rotation { compression: Compression::Gzip, ..small() };
    let mut harness = Harness::new(Rotation { compression: Compression::None, ..rotation.clone() });
    harness.run(&Fuse::default(), 30, 3, 1).await;
    let oldest = harness.folder.path().join(&harness.file_names()[0]);
    let beside = |ending: &str| {
        let mut name = oldest.clone().into_os_string();
        name.push(ending);
        name
    };
    fs::write(beside(".gz.partial"), "half").unwrap();
    fs::write(beside(".gz"), "whole, but its longer form is still there").unwrap();
    harness.rotation = rotation;
    harness.run(&Fuse::default(), 31, 1, 1).await;
    harness.check(31, "compressed");
    let names = harness.file_names();
    let (plain, compressed): (Vec<_>, Vec<_>) = names.iter().partition(|name| !name.contains(".gz"));
    assert_eq!(plain, ["alerts.jsonl"]);
    assert!(
        compressed.len() > 1
            && compressed.iter().all(|name| name.ends_with("Z.jsonl.gz") || name.contains("Z-"))
    );
}

/// Set for the process that is to be killed: the folder that it writes into.
const VICTIM: &str = "MASTHEAD_TEST_VICTIM_FOLDER";

/// Writes alerts for ever, and notes like a store how far it is.
#[tokio::test]
async fn victim() {
    let Some(folder) = std::env::var_os(VICTIM).map(std::path::PathBuf::from) else { return };
    let (cursor, saving) = (folder.join("cursor"), folder.join("cursor.new"));
    let (mut number, memo) = saved_in(&folder);
    let rotation = Rotation { bytes_max: Some(4000), compression: Compression::Gzip, ..Rotation::default() };
    let mut sink = File::new(Options { path: folder.join("alerts").join("alerts.jsonl"), rotation });
    sink.open(memo.as_deref()).await.unwrap();
    while number < u64::MAX - 7 {
        assert_eq!(sink.deliver(&alerts(number + 1..=number + 7)).await, Delivery::of(7));
        number += 7;
        if number % 3 == 0 {
            fs::write(&saving, serde_json::to_string(&(number, sink.memo())).unwrap()).unwrap();
            fs::rename(&saving, &cursor).unwrap();
            sink.saved();
        }
    }
}

fn saved_in(folder: &Path) -> (u64, Option<String>) {
    let saved = fs::read_to_string(folder.join("cursor"));
    saved.map_or_else(|_| (0, None), |saved| serde_json::from_str(&saved).unwrap())
}

#[tokio::test]
async fn a_process_that_is_killed_again_and_again_leaves_each_alert_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("alerts")).unwrap();
    for _ in 0..15 {
        let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "file::tests::victim"])
            .env(VICTIM, folder.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let before = saved_in(folder.path()).0;
        while saved_in(folder.path()).0 < before + 40 {
            assert!(victim.try_wait().unwrap().is_none(), "it fails by itself");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_micros(fastrand::u64(..20_000))).await;
        victim.kill().unwrap();
        victim.wait().unwrap();
    }
    let (saved_number, saved) = saved_in(folder.path());
    let mut sink = File::new(Options { path: folder.path().join("alerts/alerts.jsonl"), rotation: small() });
    sink.open(saved.as_deref()).await.unwrap();
    let last = saved_number + 100;
    let rest = alerts(saved_number + 1..=last);
    assert_eq!(sink.deliver(&rest).await, Delivery::of(rest.len()));
    drop(sink);
    let ids = ids_in(&folder.path().join("alerts"));
    assert!(ids.values().all(|count| *count == 1), "twice: {ids:?}");
    let expected: Vec<u128> = (1..=u128::from(last)).collect();
    assert_eq!(ids.into_keys().collect::<Vec<_>>(), expected);
}
