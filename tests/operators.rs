//! What those who run it may do wrong, and what they are told then.

// Helpers of tests may fail.
#![allow(clippy::unwrap_used)]

mod chart;
mod running;

use std::collections::BTreeMap;

use running::{Site, client};

/// What a start that fails says, and its exit code.
fn complaint(site: &Site, arguments: &[&str]) -> (Option<i32>, String) {
    let output = site.command().args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn a_reload_that_takes_a_restart_is_refused_and_told() {
    let site = Site::new();
    let running = site.start().await;
    site.configure("sinks:\n  another: { type: file, path: others.jsonl }\n");
    running.reload();
    let told = |report: &serde_json::Value| report["reload_error"].as_str().map(str::to_owned);
    let error = loop {
        match told(&running.readiness().await) {
            Some(error) => break error,
            None => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    };
    assert_eq!(error, "a sink changed, which takes a restart");
    running.stop();
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_once_before_any_source_starts() {
    let mut site = Site::new();
    let log = site.path("out/audit.log");
    site.sources = format!("  node:\n    type: file\n    paths: ['{}']\n    cluster: lab\n", log.display());
    site.configure(running::TO_DISK);
    std::fs::write(&log, running::batch(&["from-a-log".to_owned()]) + "\n").unwrap();
    for (address, whose) in [(site.listen, "the source `clusters`"), (site.admin, "`admin`")] {
        let taken = std::net::TcpListener::bind(address).unwrap();
        let (code, complaint) = complaint(&site, &[]);
        drop(taken);
        assert_eq!(code, Some(3), "{complaint}");
        let expected = format!("error: cannot listen on `{address}` for {whose}: Address already in use");
        assert_eq!(complaint.matches("in use").count(), 1, "{complaint}");
        assert!(complaint.lines().last().unwrap().starts_with(&expected), "{complaint}");
        let reading = sinks::store::Reading::open(&site.path("state")).unwrap();
        assert_eq!(reading.alerts(sinks::store::Filter::default()).count(), 0);
    }
}

#[tokio::test]
async fn who_listens_to_everybody_is_told_what_to_do_as_by_the_check() {
    let site = Site::new();
    let (code, run) = complaint(&site, &["--listen", "0.0.0.0:0"]);
    assert_eq!(code, Some(2), "{run}");
    let config = std::fs::read_to_string(site.path("masthead.yml")).unwrap();
    site.write("masthead.yml", &config.replace(&site.listen.to_string(), "0.0.0.0:0"));
    let (_, check) = complaint(&site, &[]);
    let (_, help) = check.split_once("help: ").unwrap();
    let help = help.lines().next().unwrap();
    assert!(help.contains("client_ca_file") && run.contains(help), "{run}\n{check}");
    let (code, listen) = complaint(&site, &["--listen", "localhost:9880"]);
    assert_eq!(code, Some(2));
    assert!(listen.contains("expected an IP address and a port, such as `127.0.0.1:9880`"), "{listen}");
}

#[tokio::test]
async fn a_damaged_store_is_told_with_numbers_and_a_start_with_its_places() {
    let site = Site::new();
    let running = site.start().await;
    client().post(site.url("lab")).body(running::batch(&["one".to_owned()])).send().await.unwrap();
    running.stop();
    let database = site.path("state/masthead.db");
    let mut bytes = std::fs::read(&database).unwrap();
    bytes[..4096].fill(b'x');
    std::fs::write(&database, bytes).unwrap();
    let asked = site.alerts(&["list"]);
    let asked = String::from_utf8(asked.stderr).unwrap();
    assert!(asked.matches("file is not a database").count() <= 1, "{asked}");
    site.start().await.stop();
    let log = site.log();
    let damaged = log.lines().find(|line| line.contains("the store was damaged")).unwrap();
    let damaged: serde_json::Value = serde_json::from_str(damaged).unwrap();
    assert!(damaged["path"].as_str().unwrap().contains("masthead.db.damaged-"), "{damaged}");
    assert!(damaged["alerts_salvaged"].is_u64() && damaged["tables_cut"].is_string(), "{damaged}");
    let notice = &site.told("masthead.store_damaged")[0]["notice"]["detail"];
    let expected = format!("taken over: {} alert", damaged["alerts_salvaged"]);
    assert!(notice.as_str().unwrap().starts_with(&expected), "{notice}");
    let watching = log.lines().rfind(|line| line.contains("\"watching\"")).unwrap();
    let watching: serde_json::Value = serde_json::from_str(watching).unwrap();
    assert_eq!(watching["admin"], format!("http://{}", site.admin));
    assert_eq!(watching["state_dir"], site.path("state").to_str().unwrap());
}

#[tokio::test]
async fn whoever_asks_for_nothing_is_told_what_there_is() {
    let site = Site::new();
    let running = site.start().await;
    let index = client().get(format!("http://{}/", site.admin)).send().await.unwrap().text().await.unwrap();
    for path in ["/metrics", "/healthz", "/readyz", "/sinks/NAME/replay"] {
        assert!(index.contains(path), "{index}");
    }
    running.stop();
}

#[tokio::test]
async fn who_sends_no_event_is_no_cluster() {
    let site = Site::new();
    let running = site.start().await;
    for body in ["", "{}", r#"{"kind":"EventList","items":[]}"#] {
        let answer = client().post(site.url("ghost")).body(body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
    }
    assert_eq!(running.readiness().await["clusters"], serde_json::json!([]));
    running.stop();
}

#[tokio::test]
async fn pages_in_a_browser_reach_nothing() {
    let site = Site::new();
    let running = site.start().await;
    let replay = format!("http://{}/sinks/disk/replay", site.admin);
    for url in [site.url("lab"), replay] {
        let answer =
            client().post(url).header("origin", "https://evil.example").body("{}").send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 403);
    }
    running.stop();
}

#[tokio::test]
async fn what_is_read_of_a_log_is_counted() {
    let mut site = Site::new();
    let log = site.path("out/audit.log");
    site.sources = format!("  node:\n    type: file\n    paths: ['{}']\n    cluster: lab\n", log.display());
    site.configure(running::TO_DISK);
    let line = running::batch(&["from-a-log".to_owned()]) + "\n";
    std::fs::write(&log, &line).unwrap();
    let running = site.start().await;
    running::until("the log is read", async || {
        running.metric_of("masthead_file_read_bytes_total", "node").await
            >= f64::from(u32::try_from(line.len()).unwrap())
    })
    .await;
    assert!((running.metric_of("masthead_files_known", "node").await - 1.0).abs() < f64::EPSILON);
    assert!(running.metric("masthead_file_failing").await.abs() < f64::EPSILON);
    running.until_delivered().await;
    assert_eq!(running.stop().0, Some(0));
    assert_eq!(site.stored().iter().filter_map(running::audit_id).collect::<Vec<_>>(), ["from-a-log"]);
}

/// Go writes `<` as six bytes, so three megabytes of a patch that are added and taken away again become 18 in the log.
#[tokio::test]
async fn padding_that_is_escaped_hides_nothing() {
    let mut site = Site::with_rules("default: true");
    let log = site.path("out/audit.log");
    site.sources = format!("  node:\n    type: file\n    paths: ['{}']\n    cluster: node\n", log.display());
    site.configure(running::TO_DISK);
    let patch = |padding: &str| {
        format!(
            r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request","auditID":"padded","stage":"ResponseComplete","verb":"patch","requestURI":"/apis/apps/v1/namespaces/web/deployments/x","user":{{"username":"mallory","groups":["system:authenticated"]}},"sourceIPs":["203.0.113.9"],"objectRef":{{"resource":"deployments","namespace":"web","name":"x","apiGroup":"apps","apiVersion":"v1"}},"responseStatus":{{"metadata":{{}},"code":200}},"requestObject":[{{"op":"add","path":"/metadata/annotations/x","value":"{padding}"}},{{"op":"remove","path":"/metadata/annotations/x"}},{{"op":"add","path":"/spec/template/spec/containers/0/securityContext","value":{{"privileged":true}}}},{{"op":"add","path":"/spec/template/spec/hostPID","value":true}}],"requestReceivedTimestamp":"2026-03-01T12:00:00.000000Z","stageTimestamp":"2026-03-01T12:00:00.010000Z"}}"#
        )
    };
    let padded = patch(&r"\u003c".repeat(3_000_000));
    std::fs::write(&log, format!("{padded}\n")).unwrap();
    let running = site.start().await;
    for (cluster, event) in [("bare", patch("")), ("lab", padded)] {
        let answer = client().post(site.url(cluster)).body(event).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
    }
    running::until("the log is read", async || running.metric("masthead_events_evaluated_total").await > 2.5)
        .await;
    running.until_delivered().await;
    assert_eq!(running.stop().0, Some(0));
    let found = |cluster: &str| {
        let stored = site.stored();
        let of_cluster =
            stored.iter().filter(|alert| alert["cluster"] == cluster && alert.get("notice").is_none());
        of_cluster.map(|alert| alert["rule"]["title"].to_string()).collect::<std::collections::BTreeSet<_>>()
    };
    assert!(found("bare").iter().any(|title| title.contains("privileged")), "{:?}", found("bare"));
    assert_eq!(found("lab"), found("bare"));
    assert_eq!(found("node"), found("bare"));
}

#[tokio::test]
async fn who_cannot_wait_asks_twice() {
    use std::io::Write as _;
    let site = Site::new();
    let running = site.start().await;
    let mut slow = std::net::TcpStream::connect(site.listen).unwrap();
    slow.write_all(b"POST /audit/lab HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{").unwrap();
    running::until("the body is waited for", async || {
        running.metric("masthead_requests_in_flight").await > 0.5
    })
    .await;
    running.ask_to_stop();
    running::until("it stops", async || site.log().contains("stopping")).await;
    let (code, took) = running.stop_unread().await;
    assert_eq!(code, Some(130));
    assert!(took < std::time::Duration::from_secs(5), "{took:?}");
}

/// What cannot be unpacked is no better when it is sent again: what came before is judged, the rest is set aside.
#[tokio::test]
async fn a_body_that_is_not_packed_well_is_taken_as_far_as_it_goes() {
    use std::io::Write as _;
    let site = Site::new();
    let running = site.start().await;
    let names: Vec<String> = (0..400).map(|number| format!("packed-{number}")).collect();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(running::batch(&names).as_bytes()).unwrap();
    let whole = encoder.finish().unwrap();
    let mut corrupt = whole.clone();
    // What is checked at the end, behind everything.
    corrupt[whole.len() - 8] ^= 1;
    for body in [whole[..whole.len() - 100].to_vec(), corrupt] {
        let request = client().post(site.url("lab")).header("content-encoding", "gzip").body(body);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        let taken: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert!(taken["evaluated"].as_u64() > Some(300) && taken["quarantined"] != 0, "{taken}");
    }
    running.until_delivered().await;
    running.stop();
}

/// An event that several rules find, too large to be in each of its alerts.
#[tokio::test]
async fn alerts_of_a_large_event_name_the_one_that_has_it_live_and_replayed() {
    let site = Site::with_rules("default: true");
    let event = serde_json::json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Request", "auditID": "large",
        "stage": "ResponseComplete", "verb": "create", "requestURI": "/api/v1/namespaces/kube-system/pods",
        "user": { "username": "mallory", "groups": ["system:authenticated"] }, "sourceIPs": ["203.0.113.9"],
        "objectRef": { "resource": "pods", "namespace": "kube-system", "name": "x", "apiVersion": "v1" },
        "responseStatus": { "metadata": {}, "code": 201 },
        "requestReceivedTimestamp": "2026-03-01T12:00:00.000000Z",
        "stageTimestamp": "2026-03-01T12:00:00.010000Z",
        "requestObject": {
            "kind": "Pod", "apiVersion": "v1",
            "metadata": { "name": "x", "annotations": { "spare": "1 ".repeat(600_000) } },
            "spec": {
                "hostPID": true, "hostNetwork": true, "hostIPC": true,
                "volumes": [{ "name": "root", "hostPath": { "path": "/" } }],
                "containers": [{ "name": "x", "image": "x", "securityContext": { "privileged": true } }],
            },
        },
    });
    let line = event.to_string();
    let running = site.start().await;
    let answer = client().post(site.url("lab")).body(line.clone()).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    running.until_delivered().await;
    let without_event = running.metric("masthead_alerts_without_event_total").await;
    running.stop();
    let log = site.path("out/audit.log");
    std::fs::write(&log, line).unwrap();
    let replay = std::process::Command::new(env!("CARGO_BIN_EXE_masthead"))
        .args(["replay", "--format", "jsonl", "--cluster", "lab"])
        .arg(&log)
        .output()
        .unwrap();
    let replayed = String::from_utf8(replay.stdout).unwrap();
    let replayed: Vec<_> = replayed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();

    let told = |alerts: Vec<serde_json::Value>| -> BTreeMap<String, (bool, serde_json::Value)> {
        let one = |alert: serde_json::Value| {
            (
                alert["id"].as_str().unwrap().to_owned(),
                (alert["event"].is_object(), alert["event_in"].clone()),
            )
        };
        alerts.into_iter().filter(|alert| alert["audit_ids"][0] == "large").map(one).collect()
    };
    let (stored, replayed) = (told(site.stored()), told(replayed));
    assert_eq!(stored, replayed);
    let carriers: Vec<_> = stored.iter().filter(|(_, (has_event, _))| *has_event).map(|(id, _)| id).collect();
    assert!(stored.len() > 1, "{stored:?}");
    assert_eq!(carriers.len(), 1, "{stored:?}");
    let others = stored.values().filter(|(has_event, _)| !has_event);
    assert!(others.clone().all(|(_, event_in)| event_in == carriers[0].as_str()), "{stored:?}");
    let others = u32::try_from(others.count()).unwrap();
    assert!((without_event - f64::from(others)).abs() < f64::EPSILON, "{without_event} of {others}");
}
