//! Which files are read, in which order, and what is said about the rest.

#![allow(clippy::unwrap_used, clippy::panic)]

mod reading;

use std::fs;
use std::path::{Path, PathBuf};

use ingest::inputs::resolve;
use ingest::{Frame, Log};
use reading::event;

/// A folder of its own for each test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn with(name: &str, files: &[&str]) -> Self {
        let path = std::env::temp_dir().join(format!("masthead-inputs-{}-{name}", std::process::id()));
        for file in files {
            let file = path.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, event(1)).unwrap();
        }
        Self(path)
    }

    /// The names found and the complaints, relative to the folder.
    fn resolve(&self, arguments: &[&str]) -> (Vec<String>, Vec<String>) {
        let arguments: Vec<_> = arguments.iter().map(|name| self.0.join(name)).collect();
        let inputs = resolve(&arguments);
        let relative = |text: String| text.replace(&format!("{}/", self.0.display()), "");
        let found = inputs.found.iter().map(|input| relative(input.to_string())).collect();
        (found, inputs.errors.iter().map(|error| relative(error.to_string())).collect())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn folders_are_walked_and_rotated_logs_come_oldest_first() {
    let folder = Folder::with(
        "walk",
        &[
            "logs/node10/audit.log",
            "logs/node2/audit.log",
            "logs/node2/audit.log.1",
            "logs/node2/audit.log.10.gz",
            "logs/node2/audit-2026-11-20T10-00-00.000.log",
            "logs/README.md",
        ],
    );
    let (found, errors) = folder.resolve(&["logs/"]);
    let expected = [
        "logs/node2/audit-2026-11-20T10-00-00.000.log",
        "logs/node2/audit.log.10.gz",
        "logs/node2/audit.log.1",
        "logs/node2/audit.log",
        "logs/node10/audit.log",
    ];
    assert_eq!((found, errors), (expected.map(str::to_owned).to_vec(), vec![]));
}

#[test]
fn a_file_named_twice_is_read_once() {
    let folder = Folder::with("twice", &["a.log", "b.txt"]);
    let (found, errors) = folder.resolve(&["a.log", "*.log", "gone/a.log", "b.txt", "."]);
    assert_eq!(found, ["a.log", "b.txt"]);
    assert_eq!(errors.len(), 1);
}

#[test]
fn what_cannot_be_read_is_said_and_the_rest_is_read() {
    let folder = Folder::with("missing", &["a.log", "empty/notes.txt"]);
    let (found, errors) = folder.resolve(&["gone.log", "*.nothing", "empty", "a.log"]);
    assert_eq!(found, ["a.log"]);
    assert_eq!(errors[0], "gone.log: no such file or folder");
    assert_eq!(errors[1], "*.nothing: no file matches");
    assert!(errors[2].starts_with("empty: no file with the name of a log in it"), "{}", errors[2]);
}

#[test]
fn a_dash_is_standard_input_and_is_read_once() {
    let inputs = resolve(&[PathBuf::from("-"), PathBuf::from("-")]);
    assert_eq!(inputs.found, [ingest::Input::Stdin]);
}

#[test]
fn brackets_in_names_are_no_glob() {
    let folder = Folder::with("brackets", &["a[1].log", "a1.log", "b[2]/c.log", "b2/c.log", "b2/[d].log"]);
    assert_eq!(folder.resolve(&["a[1].log"]).0, ["a[1].log"]);
    assert_eq!(folder.resolve(&["a[0-9].log"]).0, ["a1.log"]);
    assert_eq!(folder.resolve(&["b[2]/*.log"]).0, ["b[2]/c.log"]);
    assert_eq!(folder.resolve(&["b[0-9]/c.log"]).0, ["b2/c.log"]);
}

#[test]
fn unclosed_brackets_are_said_to_be_no_pattern() {
    let folder = Folder::with("unclosed", &["a.log"]);
    let (found, errors) = folder.resolve(&["a[.log"]);
    assert!(found.is_empty());
    assert!(errors[0].starts_with("a[.log: no such file, and not a pattern"), "{errors:?}");
}

#[test]
fn thousands_of_files_come_in_order() {
    let names: Vec<_> = (0..3000).map(|number| format!("many/audit.log.{number}")).collect();
    let folder = Folder::with("many", &names.iter().map(String::as_str).collect::<Vec<_>>());
    let (found, errors) = folder.resolve(&["many"]);
    assert_eq!((found, errors), (names.into_iter().rev().collect(), vec![]));
}

#[cfg(unix)]
mod unix {
    use std::ffi::OsStr;
    use std::fs::File;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_of_either_kind_do_not_make_a_file_two() {
        let folder = Folder::with("links", &["a.log"]);
        fs::hard_link(folder.0.join("a.log"), folder.0.join("hard.log")).unwrap();
        symlink("a.log", folder.0.join("soft.log")).unwrap();
        assert_eq!(folder.resolve(&["."]), (vec!["./a.log".to_owned()], vec![]));
        assert_eq!(folder.resolve(&["soft.log", "hard.log", "*.log"]), (vec!["soft.log".to_owned()], vec![]));
    }

    #[test]
    fn loops_of_links_are_said_and_walked_once() {
        let folder = Folder::with("loop", &["logs/a.log"]);
        symlink(".", folder.0.join("logs/again")).unwrap();
        symlink("b", folder.0.join("logs/b")).unwrap();
        let (found, errors) = folder.resolve(&["logs"]);
        assert_eq!(found, ["logs/a.log"]);
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert_eq!(folder.resolve(&["logs/**/*.log"]).0, ["logs/a.log"]);
    }

    #[test]
    fn pipes_are_read_when_named_and_never_found() {
        let folder = Folder::with("pipe", &["a.log"]);
        let pipe = folder.0.join("pipe.log");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        assert_eq!(folder.resolve(&["."]), (vec!["./a.log".to_owned()], vec![]));
        let (found, errors) = folder.resolve(&["*.log"]);
        assert_eq!(found, ["a.log"]);
        assert_eq!(errors, ["pipe.log: neither a file nor a folder; name it to read it"]);

        let writer = std::thread::spawn(move || fs::write(pipe, event(1)).unwrap());
        let inputs = resolve(&[folder.0.join("pipe.log")]);
        let mut log = Log::open(&inputs.found[0]).unwrap();
        assert!(matches!(log.next(), Some(Frame::Event { .. })));
        assert!(log.next().is_none());
        writer.join().unwrap();
    }

    #[test]
    fn files_without_a_size_are_read() {
        let inputs = resolve(&[PathBuf::from("/proc/self/status")]);
        let mut log = Log::open(&inputs.found[0]).unwrap();
        while log.next().is_some() {}
        assert!(log.counts().decoded_bytes > 0);
        assert_eq!(log.counts().malformed.get("not_an_object"), Some(&1));
    }

    #[test]
    fn what_other_packers_made_is_said_with_what_unpacks_it() {
        let folder = Folder::with("packers", &["audit.log"]);
        let path = folder.0.join("audit.log");
        for (first, packer, command) in [
            (&b"\xfd7zXZ\0\0\x04"[..], "xz", "xz -dc"),
            (b"BZh91AY&SY", "bzip2", "bzip2 -dc"),
            (b"\x04\x22\x4d\x18\x64\x40", "lz4", "lz4 -dc"),
            (b"PK\x03\x04\x14", "zip", "unzip -p"),
        ] {
            fs::write(&path, first).unwrap();
            let error = ingest::Input::File(path.as_path().into()).open_decoded().err().unwrap();
            let path = path.display();
            let expected = format!(
                "{path}: compressed by {packer}; only gzip and zstd are unpacked: `{command} FILE | masthead replay -`"
            );
            assert_eq!(error.to_string(), expected);
        }
        for plain in [&b"BZh0"[..], b"BZ", b"PK\x01\x02", b"\xfd7z", b"{}"] {
            fs::write(&path, plain).unwrap();
            assert!(ingest::Input::File(path.as_path().into()).open_decoded().is_ok(), "{plain:?}");
        }
    }

    #[test]
    fn a_file_that_fails_while_it_is_read_is_said_to_be_unreadable() {
        let inputs = resolve(&[PathBuf::from("/proc/self/mem")]);
        let error = match Log::open(&inputs.found[0]) {
            Ok(mut log) => match log.next() {
                Some(Frame::Malformed(bad)) => log.complaint(bad).to_string(),
                _ => String::new(),
            },
            Err(error) => error.to_string(),
        };
        assert!(error.starts_with("/proc/self/mem"), "{error}");
        assert!(error.contains("os error"), "{error}");
    }

    #[test]
    fn names_that_are_no_text_are_read_and_ordered() {
        let folder = Folder::with("names", &["a.log"]);
        let odd = folder.0.join(OsStr::from_bytes(b"a\xff\n\x1b[2J.log"));
        File::create(&odd).unwrap();
        let inputs = resolve(std::slice::from_ref(&folder.0));
        assert_eq!(inputs.found.len(), 2);
        assert!(inputs.errors.is_empty());
        assert_eq!(resolve(std::slice::from_ref(&odd)).found, [ingest::Input::File(odd.into())]);
    }
}

#[test]
fn what_is_appended_while_a_file_is_read_is_read_too() {
    use std::io::Write;
    let folder = Folder::with("growing", &["a.log"]);
    let path = folder.0.join("a.log");
    let mut log = Log::open(&resolve(std::slice::from_ref(&path)).found[0]).unwrap();
    assert!(matches!(log.next(), Some(Frame::Event { .. })));
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    write!(file, "\n{}\n{}", event(2), &event(3)[..20]).unwrap();
    drop(file);
    let mut rest = Vec::new();
    while let Some(frame) = log.next() {
        rest.push(match frame {
            Frame::Event { .. } => format!("{} event", log.line()),
            Frame::Malformed(bad) => bad.to_string(),
        });
    }
    assert_eq!(rest, ["2 event", "3 (byte 168): the JSON ends in the middle"]);
}

#[test]
fn complaints_name_the_file_the_line_and_the_byte() {
    let folder = Folder::with("complaint", &[]);
    fs::create_dir_all(&folder.0).unwrap();
    let path = folder.0.join("audit.log");
    fs::write(&path, format!("{}\n{}", event(1), &event(2)[..20])).unwrap();
    let inputs = resolve(std::slice::from_ref(&path));
    let mut log = Log::open(&inputs.found[0]).unwrap();
    assert!(matches!(log.next(), Some(Frame::Event { offset: 0, .. })));
    assert_eq!(log.line(), 1);
    let Some(Frame::Malformed(bad)) = log.next() else { panic!("a cut line is malformed") };
    let complaint = log.complaint(bad).to_string();
    assert_eq!(complaint, format!("{}:2 (byte 84): the JSON ends in the middle", path.display()));
    assert!(log.next().is_none());
    let counts = log.counts();
    assert_eq!((counts.stored_bytes, counts.decoded_bytes, counts.events), (104, 104, 1));
}

#[test]
fn the_shipped_demo_log_is_sound() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/demo/audit.log");
    let mut log = Log::open(&resolve(&[path]).found[0]).unwrap();
    while log.next().is_some() {}
    assert_eq!((log.counts().events, log.counts().malformed_total()), (426, 0));
}
