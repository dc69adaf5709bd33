//! What those who run it may do wrong, and what they are told then.

// Helpers of tests may fail.
#![allow(clippy::unwrap_used)]

mod running;

use running::{Site, client};

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
