//! An event that no rule can match costs no memory.
//!
//! Rules that do not name their resources, such as those about who asks from where, may match any event,
//! so they are left out.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

use detect::field::Settings;
use detect::sigma::{self, Expr, Part, Setup, Test};
use detect::{Engine, Event};

/// Reads that an API server logs all day. Writes are another matter: any of them could carry
/// containers, so rules about what containers run look at each.
const EVERYDAY: &[&str] = &[
    r#"{"kind":"Event","level":"Metadata","stage":"ResponseComplete","verb":"get","requestURI":"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-1","user":{"username":"system:node:node-1","groups":["system:nodes"]},"objectRef":{"resource":"leases","namespace":"kube-node-lease","name":"node-1","apiGroup":"coordination.k8s.io"},"responseStatus":{"code":200}}"#,
    r#"{"kind":"Event","level":"Request","stage":"ResponseComplete","verb":"watch","requestURI":"/apis/storage.k8s.io/v1/csinodes?watch=true","user":{"username":"system:kube-scheduler"},"objectRef":{"resource":"csinodes","apiGroup":"storage.k8s.io"},"responseStatus":{"code":200}}"#,
    r#"{"kind":"Event","level":"Request","stage":"ResponseComplete","verb":"get","requestURI":"/apis/scheduling.k8s.io/v1/priorityclasses/batch","user":{"username":"alice"},"objectRef":{"resource":"priorityclasses","name":"batch","apiGroup":"scheduling.k8s.io"},"responseStatus":{"code":200}}"#,
];

#[test]
fn an_event_that_no_rule_can_match_allocates_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules");
    let mut setup = Setup::default();
    for path in files(&folder, "txt") {
        let name = path.file_stem().unwrap().to_str().unwrap();
        setup.lists.add(name, &path, &std::fs::read_to_string(&path).unwrap());
    }
    let parse = |path: PathBuf| sigma::parse_with(&path, &std::fs::read_to_string(&path).unwrap(), &setup);
    let mut rules: Vec<_> = files(&folder, "yml").into_iter().flat_map(|path| parse(path).rules).collect();
    rules.retain(|rule| rule.condition().is_some_and(names_resource));
    assert!(rules.len() > 100);
    let engine = Engine::new(rules, Settings::default());
    let mut scratch = engine.scratch();
    for json in EVERYDAY {
        let allocations = allocation_counter::measure(|| {
            let event = Event::parse(json.as_bytes()).unwrap();
            engine.evaluate(&event, &mut scratch, |found| panic!("matched {}", found.rule));
        });
        assert_eq!(allocations.count_total, 0, "{json}");
    }
}

fn names_resource(expr: &Expr) -> bool {
    match expr {
        Expr::All(parts) => parts.iter().any(names_resource),
        Expr::Any(parts) => parts.iter().all(names_resource),
        Expr::Named(_, part) => names_resource(part),
        Expr::Item(item) => {
            let is_name = |test: &Test| matches!(test, Test::Text(text) if matches!(text.parts[..], [Part::Literal(_)]));
            item.field.as_deref() == Some("objectRef.resource") && item.tests.iter().all(is_name)
        }
        Expr::Not(_) | Expr::Block(_) => false,
    }
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = paths.partition(|path| path.is_dir());
    let mut files: Vec<_> =
        files.into_iter().filter(|path| path.extension().is_some_and(|own| own == extension)).collect();
    files.extend(folders.iter().flat_map(|folder| self::files(folder, extension)));
    files
}
