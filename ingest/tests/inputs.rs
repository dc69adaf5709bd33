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
fn a_dash_is_standard_input() {
    let inputs = resolve(&[PathBuf::from("-")]);
    assert_eq!(inputs.found, [ingest::Input::Stdin]);
}

#[test]
fn complaints_name_the_file_the_line_and_the_byte() {
    let folder = Folder::with("complaint", &[]);
    fs::create_dir_all(&folder.0).unwrap();
    let path = folder.0.join("audit.log");
    fs::write(&path, format!("{}\n{}", event(1), &event(2)[..20])).unwrap();
    let inputs = resolve(std::slice::from_ref(&path));
    let mut log = Log::open(&inputs.found[0]).unwrap();
    assert!(matches!(log.next(), Some(Frame::Event { line: 1, offset: 0, .. })));
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
