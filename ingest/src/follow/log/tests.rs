//! What another process does between two steps of one look at a log.

use std::fs;
use std::io::Write as _;

use super::*;

const ROTATED: &str = "audit-2026-11-21T10-00-00.000.log";

/// A folder with a log that is looked at step by step.
struct World {
    folder: tempfile::TempDir,
    log: Log,
    shared: Shared,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::new(&folder.path().join("audit.log"), true);
        let shared = Shared {
            options: FollowOptions::default(),
            counts: FollowCounts::default(),
            complaints: Complaints::default(),
            file_count: 0,
            next_number: 0,
            is_changed: false,
        };
        Self { folder, log, shared }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn compress(&self, name: &str) {
        let file = File::create(self.path(&format!("{name}.gz"))).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::default());
        encoder.write_all(&fs::read(self.path(name)).unwrap()).unwrap();
        encoder.finish().unwrap();
        fs::remove_file(self.path(name)).unwrap();
    }

    /// The beginning of a look.
    fn list(&mut self) -> Vec<Entry> {
        self.log.entries(&HashSet::new(), &mut Folders::default(), &mut self.shared).unwrap()
    }

    /// Its end. What was missed before is what an earlier look missed.
    fn take_stock(&mut self, entries: &[Entry], missed: Missed) {
        self.log.take_stock(entries, missed, &mut self.shared);
        self.log.files.iter_mut().for_each(|file| file.is_due = true);
    }

    fn look(&mut self) {
        self.log.scan(&HashSet::new(), &mut Folders::default(), &mut self.shared);
    }

    /// All lines that can be read now.
    fn lines(&mut self) -> String {
        let mut text = String::new();
        while let Some((index, step)) = self.log.step(&mut self.shared) {
            let Step::Lines(lines) = step else { continue };
            text += std::str::from_utf8(&lines).unwrap();
            let file = &mut self.log.files[index];
            file.mark = file.mark.behind(lines.len() as u64, &lines, &lines);
        }
        text
    }
}

#[test]
fn what_is_rotated_during_the_first_look_is_read() {
    for is_compressed in [false, true] {
        let mut world = World::new();
        world.write("audit.log", "one\n");
        world.log.begin(&mut world.shared).unwrap();
        world.rename("audit.log", ROTATED);
        if is_compressed {
            world.compress(ROTATED);
        }
        world.write("audit.log", "two\n");
        let entries = world.list();
        world.take_stock(&entries, Missed::default());
        let mut lines = world.lines();
        world.look();
        lines += &world.lines();
        assert_eq!(lines, "one\ntwo\n", "compressed: {is_compressed}");
        assert_eq!((world.shared.counts.passed_files, world.shared.counts.vanished_files), (0, 0));
    }
}

#[test]
fn what_is_rotated_between_listing_and_opening_is_read() {
    let mut world = World::new();
    world.look();
    world.write("audit.log", "one\n");
    let entries = world.list();
    world.rename("audit.log", ROTATED);
    world.write("audit.log", "two\n");
    world.take_stock(&entries, Missed::default());
    assert_eq!(world.lines(), "", "neither is what was listed");
    world.look();
    assert_eq!(world.lines(), "one\ntwo\n");
    assert_eq!(world.shared.counts.vanished_files, 0);
}

#[test]
fn what_is_compressed_between_listing_and_opening_is_read() {
    let mut world = World::new();
    world.look();
    world.write(ROTATED, "one\n");
    let entries = world.list();
    world.compress(ROTATED);
    // It may well get the inode of the file that is gone.
    world.write("audit.log", "two\n");
    world.take_stock(&entries, Missed::default());
    world.look();
    assert_eq!(world.lines(), "one\ntwo\n");
    assert_eq!(world.shared.counts.vanished_files, 0);
}

#[test]
fn what_is_found_under_its_other_name_is_not_missed() {
    let mut world = World::new();
    world.look();
    world.write("audit.log", "one\n");
    let mut entries = world.list();
    world.rename("audit.log", ROTATED);
    // Listed while it was renamed, under both names.
    let rotated = world.list();
    entries.splice(0..0, rotated.into_iter().filter(|entry| !entry.is_current));
    world.take_stock(&entries, Missed::default());
    assert_eq!(world.lines(), "one\n");
    world.compress(ROTATED);
    world.look();
    assert_eq!((world.lines().as_str(), world.shared.counts.vanished_files), ("", 0));
}

#[test]
fn what_is_deleted_between_listing_and_opening_is_counted() {
    let mut world = World::new();
    world.look();
    world.write(ROTATED, "one\n");
    let entries = world.list();
    fs::remove_file(world.path(ROTATED)).unwrap();
    world.take_stock(&entries, Missed::default());
    world.look();
    assert_eq!(world.shared.counts.vanished_files, 1);
    world.look();
    assert_eq!(world.shared.counts.vanished_files, 1, "once");
}

#[test]
fn what_takes_another_name_after_it_was_missed_is_not_counted() {
    let mut world = World::new();
    world.look();
    world.write("audit.log.1", "one\n");
    let entries = world.list();
    world.rename("audit.log.1", "audit.log.2");
    world.take_stock(&entries, Missed::default());
    world.look();
    assert_eq!(world.lines(), "one\n");
    assert_eq!(world.shared.counts.vanished_files, 0);
}
