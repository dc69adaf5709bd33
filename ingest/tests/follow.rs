//! What becomes of an audit log that is followed, whatever is done to its files.

#![allow(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc)]

mod following;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use following::{Folder, Follow, gzip};
use ingest::follow::{FILES_MAX, FollowError, FollowOptions, Follower, StartAt};

#[test]
fn lines_are_given_as_they_are_written() {
    let folder = Folder::new();
    let mut follow = Follow::new(&folder, "audit.log");
    assert_eq!(follow.lines(), "");
    folder.append("audit.log", "one\ntwo\n");
    assert_eq!(follow.lines(), "one\ntwo\n");
    folder.append("audit.log", "three\r\nfo");
    assert_eq!(follow.lines(), "three\r\n");
    folder.append("audit.log", "ur\n");
    assert_eq!(follow.lines(), "four\n");
    assert_eq!(follow.lines(), "");
}

#[test]
fn what_was_not_acknowledged_is_given_again() {
    let folder = Folder::new();
    folder.append("audit.log", "one\n");
    let mut follow = Follow::new(&folder, "audit.log");
    let first = follow.give().unwrap();
    folder.append("audit.log", "two\n");
    let again = follow.give().unwrap();
    assert_eq!((&again.bytes, &again.position), (&first.bytes, &first.position));
    follow.crash();
    assert_eq!(follow.lines(), "one\ntwo\n");
    follow.crash();
    assert_eq!(follow.lines(), "");
}

#[test]
fn a_batch_says_where_it_is_from_and_ends_with_a_line() {
    let folder = Folder::new();
    folder.append("audit.log", &"123456789\n".repeat(20));
    let mut follow = Follow::with(&folder, "audit.log", |options| options.batch_bytes_max = 64);
    let offsets = [0, 60, 120, 180].map(|offset| {
        let batch = follow.take().unwrap();
        assert_eq!((&*batch.log, &*batch.file), (&*folder.path("audit.log"), &*folder.path("audit.log")));
        assert_eq!(batch.offset, offset);
        batch.bytes.len()
    });
    assert_eq!(offsets, [60, 60, 60, 20]);
}

#[test]
fn a_log_goes_on_in_its_next_file() {
    let folder = Folder::new();
    folder.append("audit.log", "one\n");
    let mut follow = Follow::new(&folder, "audit.log");
    assert_eq!(follow.lines(), "one\n");
    folder.append("audit.log", "two\n");
    folder.rename("audit.log", "audit-2026-11-21T10-00-00.000.log");
    folder.append("audit.log", "four\n");
    folder.append("audit-2026-11-21T10-00-00.000.log", "three\n");
    assert_eq!(follow.lines(), "two\nthree\nfour\n");
    folder.append("audit-2026-11-21T10-00-00.000.log", "late\n");
    assert_eq!(follow.lines(), "late\n");
    assert_eq!(follow.counts().rotations, 1);
}

#[test]
fn files_that_came_and_were_rotated_unseen_are_read() {
    let folder = Folder::new();
    folder.append("audit.log", "one\n");
    let mut follow = Follow::new(&folder, "audit.log");
    assert_eq!(follow.lines(), "one\n");
    for restart in [false, true] {
        if restart {
            follow.crash();
        }
        folder.append("audit.log", "end of one\n");
        folder.rotate_numbered("audit.log");
        folder.append("audit.log", "two\n");
        folder.rotate_numbered("audit.log");
        folder.append("audit.log", "three\n");
        assert_eq!(follow.lines(), "end of one\ntwo\nthree\n", "after a restart: {restart}");
    }
}

#[test]
fn a_log_that_is_copied_and_cut_loses_nothing() {
    let folder = Folder::new();
    folder.append("audit.log", "one\n");
    let mut follow = Follow::new(&folder, "audit.log");
    assert_eq!(follow.lines(), "one\n");
    folder.append("audit.log", "two\n");
    fs::copy(folder.path("audit.log"), folder.path("audit.log.1")).unwrap();
    assert_eq!(follow.lines(), "two\n", "from the log, not from its copy");
    folder.append("audit.log", "three\n");
    fs::copy(folder.path("audit.log"), folder.path("audit.log.1")).unwrap();
    folder.cut("audit.log");
    folder.append("audit.log", "four\n");
    assert_eq!(follow.sorted_lines(), "four\nthree\n", "the third from the copy");
    assert_eq!(follow.counts().rewritten_files, 1);
    follow.crash();
    assert_eq!(follow.lines(), "");
}

#[test]
fn a_log_that_is_written_anew_to_the_same_size_is_read_again() {
    let folder = Folder::new();
    folder.append("audit.log", "one\ntwo\n");
    let mut follow = Follow::new(&folder, "audit.log");
    assert_eq!(follow.lines(), "one\ntwo\n");
    std::thread::sleep(Duration::from_millis(20));
    fs::write(folder.path("audit.log"), "six\nten\n").unwrap();
    assert_eq!(follow.lines(), "six\nten\n");
    fs::write(folder.path("audit.log"), "longer than it was\n").unwrap();
    assert_eq!(follow.lines(), "longer than it was\n");
    follow.crash();
    fs::write(folder.path("audit.log"), "longer than it was not\n").unwrap();
    assert_eq!(follow.lines(), "longer than it was not\n");
}

#[test]
fn what_was_compressed_meanwhile_is_read_on() {
    let folder = Folder::new();
    folder.append("audit.log", "one\ntwo\n");
    let mut follow = Follow::new(&folder, "audit.log");
    assert_eq!(follow.lines(), "one\ntwo\n");
    folder.append("audit.log", "three\n");
    follow.crash();
    folder.rename("audit.log", "audit-2026-11-21T10-00-00.000.log");
    folder.compress("audit-2026-11-21T10-00-00.000.log");
    folder.append("audit.log", "four\n");
    assert_eq!(follow.lines(), "three\nfour\n");
    follow.crash();
    assert_eq!(follow.lines(), "");
    assert_eq!(follow.counts().vanished_files, 0);
}

#[test]
fn a_file_that_is_compressed_under_our_eyes_is_read_once() {
    let folder = Folder::new();
    folder.append("audit.log", "one\n");
    let mut follow = Follow::new(&folder, "audit.log");
    assert_eq!(follow.lines(), "one\n");
    folder.append("audit.log", "two\n");
    folder.rename("audit.log", "audit.log.1");
    fs::write(folder.path("audit.log.1.gz"), &gzip(b"one\ntwo\n")[..9]).unwrap();
    assert_eq!(follow.lines(), "two\n");
    folder.append("audit.log.1", "three\n");
    folder.compress("audit.log.1");
    assert_eq!(follow.lines(), "three\n");
    assert_eq!(follow.counts().damaged_files, 0);
}

#[test]
fn a_compressed_file_that_is_cut_gives_what_it_has() {
    let folder = Folder::new();
    let numbers = (0..5000_u32).map(|number| number.wrapping_mul(2_654_435_761).to_string());
    let text = numbers.collect::<Vec<_>>().join("\n") + "\n";
    let stored = gzip(text.as_bytes());
    fs::write(folder.path("audit.log.1.gz"), &stored[..stored.len() / 2]).unwrap();
    let mut follow = Follow::with(&folder, "audit.log", |options| options.start_at = StartAt::Oldest);
    let lines = follow.lines();
    assert!(lines.len() > text.len() / 4 && text.starts_with(&lines));
    assert_eq!(follow.counts().damaged_files, 1);
    fs::write(folder.path("audit.log.1.gz"), &stored).unwrap();
    assert_eq!(follow.lines(), text[lines.len()..]);
}

#[test]
fn a_file_that_is_deleted_while_it_is_open_is_read_to_its_end() {
    let folder = Folder::new();
    folder.append("audit.log", "one\n");
    let mut follow = Follow::new(&folder, "audit.log");
    assert_eq!(follow.lines(), "one\n");
    folder.append("audit.log", "two\nth");
    fs::remove_file(folder.path("audit.log")).unwrap();
    assert_eq!(follow.lines(), "two\n");
    folder.append("audit.log", "four\n");
    assert_eq!(follow.lines(), "four\n");
}

#[test]
fn a_line_that_is_never_completed_is_given_as_it_is() {
    let folder = Folder::new();
    folder.append("audit.log", "one\ntwo");
    let mut follow = Follow::with(&folder, "audit.log", |options| options.rotated_wait = Duration::ZERO);
    assert_eq!(follow.lines(), "one\n");
    folder.rename("audit.log", "audit.log.1");
    assert_eq!(follow.lines(), "two");
    assert_eq!(follow.counts().unfinished_lines, 1);
    folder.append("audit.log.1", " and more\n");
    assert_eq!(follow.lines(), " and more\n");
}

#[test]
fn a_line_that_is_too_long_is_skipped_and_said() {
    let folder = Folder::new();
    let long = "x".repeat(3000);
    folder.append("audit.log", &format!("one\n{long}\ntwo\n"));
    let mut follow = Follow::with(&folder, "audit.log", |options| options.line_bytes_max = 1000);
    assert_eq!(follow.take().unwrap().bytes, "one\n");
    let batch = follow.take().unwrap();
    let skipped = batch.skipped.unwrap();
    assert_eq!((batch.offset, batch.bytes.len(), skipped.bytes), (4, 0, 3001));
    assert_eq!(skipped.beginning, format!("{long}\n").into_bytes());
    follow.crash();
    assert_eq!(follow.lines(), "two\n");
    folder.rename("audit.log", "audit.log.1");
    folder.append("audit.log.1", &format!("{long}{long}\nthree\n"));
    folder.compress("audit.log.1");
    follow.crash();
    let skipped = follow.take().unwrap().skipped.unwrap();
    assert_eq!(skipped.bytes, 6001);
    assert_eq!(follow.lines(), "three\n");
    assert_eq!(follow.counts().skipped_bytes, 6001, "since the restart");
}

#[test]
fn a_hole_costs_nothing_but_itself() {
    let folder = Folder::new();
    let mut follow = Follow::with(&folder, "audit.log", |options| options.line_bytes_max = 64 * 1024);
    folder.append("audit.log", "one\n{\"half");
    assert_eq!(follow.lines(), "one\n");
    let file = fs::OpenOptions::new().write(true).open(folder.path("audit.log")).unwrap();
    file.set_len(5_000_000).unwrap();
    folder.append("audit.log", "two\n");
    assert_eq!(follow.lines(), "two\n");
    let counts = follow.counts();
    assert_eq!((counts.long_lines, counts.skipped_bytes), (1, 5_000_000 - 4));
    fs::write(folder.path("audit.log"), "").unwrap();
    file.set_len(100_000).unwrap();
    folder.append("audit.log", "three\n");
    assert_eq!(follow.lines(), "three\n");
    assert_eq!(follow.counts().nul_runs, 1);
}

#[test]
fn globs_find_logs_and_leave_out_what_was_rotated() {
    let folder = Folder::new();
    folder.append("a.log", "a1\n");
    folder.append("a-2026-11-20T10-00-00.000.log", "old\n");
    let mut follow = Follow::new(&folder, "*.log");
    assert_eq!(follow.lines(), "a1\n");
    folder.append("b.log", "b1\n");
    folder.append("a.log", "a2\n");
    assert_eq!(follow.sorted_lines(), "a2\nb1\n");
    folder.append("a.log", "a3\n");
    folder.rename("a.log", "a-2026-11-21T10-00-00.000.log");
    follow.crash();
    assert_eq!(follow.lines(), "a3\n", "though no file has the name of the log");
}

#[test]
fn several_names_of_one_file_are_one_log() {
    let folder = Folder::new();
    folder.append("audit.log", "one\n");
    std::os::unix::fs::symlink(folder.path("audit.log"), folder.path("link.log")).unwrap();
    let mut follow = Follow::new(&folder, "*.log");
    assert_eq!(follow.lines(), "one\n");
}

#[test]
fn a_symbolic_link_may_lead_elsewhere() {
    let folder = Folder::new();
    folder.append("first", "one\n");
    folder.append("second", "three\n");
    std::os::unix::fs::symlink(folder.path("first"), folder.path("audit.log")).unwrap();
    let mut follow = Follow::new(&folder, "audit.log");
    assert_eq!(follow.lines(), "one\n");
    folder.append("first", "two\n");
    fs::remove_file(folder.path("audit.log")).unwrap();
    std::os::unix::fs::symlink(folder.path("second"), folder.path("audit.log")).unwrap();
    assert_eq!(follow.lines(), "two\nthree\n");
}

#[test]
fn the_first_start_begins_where_it_is_told() {
    for (start_at, expected) in [
        (StartAt::End, "new\n"),
        (StartAt::Beginning, "current\nhalf new\n"),
        (StartAt::Oldest, "oldest\nold\ncurrent\nhalf new\n"),
    ] {
        let folder = Folder::new();
        folder.append("audit.log.2", "oldest\n");
        folder.compress("audit.log.2");
        folder.append("audit.log.1", "old\n");
        folder.append("audit.log", "current\nhalf ");
        let mut follow = Follow::with(&folder, "audit.log", |options| options.start_at = start_at);
        let mut lines = follow.lines();
        // What was found is saved though nothing was given, so that nothing is passed unread.
        follow.crash();
        folder.append("audit.log", "new\n");
        lines += &follow.lines();
        let expected = if start_at == StartAt::End { "half new\n" } else { expected };
        assert_eq!(lines, expected, "{start_at:?}");
        follow.crash();
        assert_eq!(follow.lines(), "");
    }
}

#[test]
fn a_log_that_has_just_been_rotated_begins_with_its_newest_file() {
    for (start_at, expected) in
        [(StartAt::End, "late\n"), (StartAt::Beginning, "new\nlate\n"), (StartAt::Oldest, "old\nnew\nlate\n")]
    {
        let folder = Folder::new();
        folder.append("audit.log.2", "old\n");
        folder.append("audit.log.1", "new\n");
        let mut follow = Follow::with(&folder, "audit.log", |options| options.start_at = start_at);
        let mut lines = follow.lines();
        folder.append("audit.log.1", "late\n");
        lines += &follow.lines();
        assert_eq!(lines, expected, "{start_at:?}");
        assert_eq!(follow.counts().passed_files, u64::from(start_at != StartAt::Oldest), "{start_at:?}");
        folder.append("audit.log", "next\n");
        assert_eq!(follow.lines(), "next\n", "{start_at:?}");
    }
}

#[test]
fn what_appears_later_is_read_from_its_beginning() {
    let folder = Folder::new();
    let mut follow = Follow::with(&folder, "audit.log", |options| options.start_at = StartAt::End);
    assert_eq!(follow.lines(), "");
    follow.crash();
    folder.append("audit.log", "one\n");
    assert_eq!(follow.lines(), "one\n");
}

#[test]
fn an_inode_that_is_used_again_is_another_file() {
    let folder = Folder::new();
    folder.append("audit.log", "one\n");
    let mut follow = Follow::new(&folder, "audit.log");
    assert_eq!(follow.lines(), "one\n");
    follow.crash();
    // The same inode for certain, and longer than what was read.
    fs::write(folder.path("audit.log"), "two\nthree\n").unwrap();
    assert_eq!(follow.lines(), "two\nthree\n");
}

#[test]
fn what_cannot_be_read_is_counted_and_tried_again() {
    let folder = Folder::new();
    fs::create_dir(folder.path("audit.log")).unwrap();
    let mut follow = Follow::new(&folder, "audit.log");
    assert_eq!(follow.lines(), "");
    assert_eq!(follow.counts().unreadable_paths, 1);
    fs::remove_dir(folder.path("audit.log")).unwrap();
    folder.append("audit.log", "one\n");
    assert_eq!(follow.lines(), "one\n");
}

#[test]
fn a_position_that_cannot_be_understood_costs_repetition_only() {
    let folder = Folder::new();
    folder.append("audit.log.1", "old\n");
    folder.append("audit.log", "one\n");
    let mut follow = Follow::with(&folder, "audit.log", |options| options.start_at = StartAt::End);
    follow.saved = Some(b"{\"version\":77}".to_vec());
    follow.crash();
    assert_eq!(follow.lines(), "old\none\n");
    assert_eq!(follow.counts().lost_positions, 1);
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let follow = |paths: &[PathBuf]| Follower::new(paths, FollowOptions::default(), None).err().unwrap();
    assert!(matches!(follow(&[]), FollowError::NoPath));
    assert!(matches!(follow(&["/var/log/a[.log".into()]), FollowError::Pattern { .. }));
    assert!(matches!(follow(&vec!["x".into(); 65]), FollowError::TooManyPaths(65)));
}

#[test]
fn what_is_too_much_is_counted() {
    let folder = Folder::new();
    (0..130).for_each(|number| folder.append(&format!("a.log.{number}"), "old\n"));
    // So many looks as with every batch are not needed here.
    let mut follow =
        Follow::with(&folder, "*.log", |options| options.poll_interval = Duration::from_millis(50));
    folder.append("a.log", "a\n");
    assert_eq!(follow.lines(), "a\n");
    assert_eq!((follow.counts().unseen_files, follow.counts().known_files), (2, 129));
    (0..500).for_each(|number| folder.append(&format!("b{number}.log"), "b\n"));
    follow.wait();
    let counts = follow.counts();
    assert_eq!(counts.known_files, FILES_MAX as u64);
    assert_eq!(counts.crowded_files, 500 + 129 - FILES_MAX as u64);
}

#[test]
fn waiting_ends_when_a_line_comes() {
    let folder = Folder::new();
    folder.append("audit.log", "");
    let options = FollowOptions { poll_interval: Duration::from_millis(5), ..FollowOptions::default() };
    let mut follower = Follower::new(&[folder.path("audit.log")], options, None).unwrap();
    let batch = follower.next_batch(Duration::ZERO).unwrap();
    follower.acknowledge(&batch);
    let writer = std::thread::spawn({
        let path = folder.path("audit.log");
        move || fs::write(path, "one\n").unwrap()
    });
    assert_eq!(follower.next_batch(Duration::from_secs(60)).unwrap().bytes, "one\n");
    writer.join().unwrap();
}
