//! An event that no rule can match costs no memory, whatever its name and body, once two others
//! in the same context have been seen.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

use detect::field::Settings;
use detect::sigma::{self, Setup};
use detect::{Engine, Event};

/// What an API server logs all day, reads and writes; a number stands for what is new each time.
const EVERYDAY: &[&str] = &[
    r#"{"kind":"Event","level":"Metadata","auditID":"{N}","stage":"ResponseComplete","requestURI":"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-1","verb":"get","user":{"username":"system:node:node-1","groups":["system:nodes","system:authenticated"]},"sourceIPs":["10.0.0.1"],"userAgent":"kubelet/v1.36.0","objectRef":{"resource":"leases","namespace":"kube-node-lease","name":"node-1","apiGroup":"coordination.k8s.io"},"responseStatus":{"code":200}}"#,
    r#"{"kind":"Event","level":"Request","auditID":"{N}","stage":"ResponseComplete","requestURI":"/apis/storage.k8s.io/v1/csinodes?resourceVersion={N}&watch=true","verb":"watch","user":{"username":"system:kube-scheduler"},"sourceIPs":["10.0.0.2"],"userAgent":"kube-scheduler/v1.36.0","objectRef":{"resource":"csinodes","apiGroup":"storage.k8s.io"},"responseStatus":{"code":200}}"#,
    r#"{"kind":"Event","level":"RequestResponse","auditID":"{N}","stage":"ResponseComplete","requestURI":"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler","verb":"update","user":{"username":"system:kube-scheduler","groups":["system:authenticated"]},"sourceIPs":["10.0.0.2"],"userAgent":"kube-scheduler/v1.36.0","objectRef":{"resource":"leases","namespace":"kube-system","name":"kube-scheduler","apiGroup":"coordination.k8s.io","resourceVersion":"{N}"},"responseStatus":{"code":200},"requestObject":{"kind":"Lease","metadata":{"name":"kube-scheduler","resourceVersion":"{N}"},"spec":{"holderIdentity":"a","leaseTransitions":{N}}},"responseObject":{"kind":"Lease","spec":{"leaseTransitions":{N}}}}"#,
    r#"{"kind":"Event","level":"RequestResponse","auditID":"{N}","stage":"ResponseComplete","requestURI":"/apis/apps/v1/namespaces/shop/replicasets/web-{N}/status","verb":"update","user":{"username":"system:serviceaccount:kube-system:replicaset-controller","groups":["system:serviceaccounts","system:serviceaccounts:kube-system","system:authenticated"]},"sourceIPs":["10.0.0.2"],"userAgent":"kube-controller-manager/v1.36.0","objectRef":{"resource":"replicasets","namespace":"shop","name":"web-{N}","apiGroup":"apps","subresource":"status"},"responseStatus":{"code":200},"requestObject":{"kind":"ReplicaSet","metadata":{"name":"web-{N}"},"spec":{"template":{"spec":{"hostNetwork":true,"containers":[{"name":"web","image":"xmrig:{N}","securityContext":{"privileged":true}}]}}},"status":{"replicas":{N}}}}"#,
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
    rules.retain(|rule| rule.condition().is_some());
    assert!(rules.len() > 400);
    let engine = Engine::new(rules, Settings::default());
    let mut scratch = engine.scratch();
    for json in EVERYDAY {
        let mut evaluate = |number: &str| {
            let json = json.replace("{N}", number);
            allocation_counter::measure(|| {
                let event = Event::parse(json.as_bytes()).unwrap();
                engine.evaluate(&event, &mut scratch, |found| panic!("matched {}", found.rule));
            })
        };
        assert_ne!(
            evaluate("1").count_total + evaluate("2").count_total,
            0,
            "these teach the engine: {json}"
        );
        assert_eq!(evaluate("20").count_total, 0, "{json}");
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
