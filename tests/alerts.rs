//! What `masthead alerts` says of what is stored, and how one thing leads to the next.

// Helpers of tests may fail.
#![allow(clippy::panic, clippy::unwrap_used)]

mod running;

use std::process::{Command, Output};

use running::receiver::Receiver;
use running::{Site, TO_DISK, batch, client, until};
use serde_json::Value;

/// Exit code, standard output, standard error.
fn said(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The words of the documentation, with the demo that it sends.
#[tokio::test]
async fn what_the_list_prints_and_the_documentation_names_can_be_shown() {
    let site = Site::with_rules("default: true");
    let running = site.start().await;
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let demo = std::fs::read(root.join("deploy/demo/audit.log")).unwrap();
    let answer = client().post(site.url("demo")).body(demo).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);

    let (_, list, _) = said(site.alerts(&["list", "--format", "text"]));
    let (_, beginning) = list.split_once(", alert ").unwrap();
    let listed = beginning.split_whitespace().next().unwrap();
    let document = std::fs::read_to_string(root.join("docs/run.md")).unwrap();
    let help =
        said(Command::new(env!("CARGO_BIN_EXE_masthead")).args(["alerts", "--help"]).output().unwrap()).1;
    let named = [&document, &help].map(|text| {
        let (_, named) = text.split_once("masthead alerts show ").unwrap();
        named.split_whitespace().next().unwrap()
    });
    for id in [listed, named[0], named[1]] {
        let (code, shown, complaint) = said(site.alerts(&["show", id]));
        assert_eq!(code, Some(0), "{id}: {complaint}");
        let alert: Value = serde_json::from_str(&shown).unwrap();
        assert!(alert["id"].as_str().unwrap().starts_with(id), "{shown}");
        let at = |key: &str| shown.find(&format!("\n  \"{key}\":")).unwrap();
        assert!(
            at("id") < at("rule") && at("rule") < at("summary") && at("summary") < at("event"),
            "{shown}"
        );
    }

    let alerts = site.stored();
    let alert: Value = serde_json::from_str(&said(site.alerts(&["show", named[0]])).1).unwrap();
    let request = alert["audit_ids"][0].as_str().unwrap();
    let (_, shown, _) = said(site.alerts(&["show", &request[..13]]));
    let of_request =
        alerts.iter().filter(|alert| alert["audit_ids"].as_array().unwrap().contains(&request.into()));
    let ids: Vec<&str> = of_request.map(|alert| alert["id"].as_str().unwrap()).collect();
    assert!(ids.len() > 1 && ids.iter().all(|id| shown.contains(id)), "{ids:?}: {shown}");
    assert_eq!(shown.matches("masthead.alert/v1").count(), ids.len());
    let (code, _, complaint) = said(site.alerts(&["show", "no-such"]));
    assert_eq!(code, Some(2));
    assert!(complaint.contains("no alert has an id, or an audit id,"), "{complaint}");
    running.stop();
}

#[tokio::test]
async fn the_configuration_says_where_the_store_is() {
    let site = Site::new();
    let running = site.start().await;
    client().post(site.url("lab")).body(batch(&["one".to_owned()])).send().await.unwrap();
    running.stop();
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_masthead"));
        said(
            command
                .args(["alerts", "list"])
                .args(arguments)
                .env("XDG_STATE_HOME", "/nowhere")
                .output()
                .unwrap(),
        )
    };
    let config = site.path("masthead.yml");
    let config = config.to_str().unwrap();
    let (code, list, complaint) = ask(&["--config", config]);
    assert_eq!(code, Some(0), "{complaint}");
    assert!(list.contains(r#""audit_ids":["one"]"#), "{list}");
    for arguments in [&["--config", config, "--state-dir", "/nowhere/masthead"][..], &[]] {
        let (code, _, complaint) = ask(arguments);
        assert_eq!(code, Some(2));
        let expected = "error: there is no store in `/nowhere/masthead`; `masthead run` makes one; if its `state_dir` \
                        is elsewhere, say so with `--state-dir DIR` or `--config FILE`\n";
        assert_eq!(complaint, expected);
    }
}

#[tokio::test]
async fn a_clean_end_leaves_nothing_that_is_not_signed() {
    let site = Site::new();
    let running = site.start().await;
    client().post(site.url("lab")).body(batch(&["one".to_owned()])).send().await.unwrap();
    let (_, verdict, _) = said(site.alerts(&["verify"]));
    assert!(verdict.contains("not under a checkpoint yet"), "{verdict}");
    running.stop();
    let (code, verdict, _) = said(site.alerts(&["verify"]));
    assert_eq!(code, Some(0), "{verdict}");
    assert!(!verdict.contains("not under a checkpoint"), "{verdict}");
    assert!(verdict.contains("1 checkpoint,"), "{verdict}");

    let database = rusqlite::Connection::open(site.path("state/masthead.db")).unwrap();
    database.execute("UPDATE alerts SET json = json || ' ' WHERE number = 1", []).unwrap();
    drop(database);
    let (code, verdict, _) = said(site.alerts(&["verify"]));
    assert_eq!(code, Some(1), "{verdict}");
    assert!(said(site.alerts(&["verify", "--help"])).1.contains("exit code 1"));
}

#[tokio::test]
async fn what_a_sink_refused_is_told_with_the_alert() {
    let site = Site::new();
    let picky = Receiver::new();
    picky.refuse("unwanted");
    site.configure(&format!("{TO_DISK}  picky: {{ type: http, url: '{}', timeout: 5s }}\n", picky.url()));
    picky.serve().await;
    let running = site.start().await;
    client().post(site.url("lab")).body(batch(&["unwanted".to_owned()])).send().await.unwrap();
    until("it is told", async || !site.told("masthead.sink_refused").is_empty()).await;
    running.stop();
    let (_, dead, _) = said(site.alerts(&["dead"]));
    let dead: Value = serde_json::from_str(&dead).unwrap();
    let alert = &site.stored()[0];
    assert_eq!(
        (&dead["sink"], &dead["id"], &dead["summary"]),
        (&"picky".into(), &alert["id"], &alert["summary"])
    );
    assert_eq!(dead["rule"], "Something was deleted");
    assert!(dead["reason"].as_str().unwrap().contains("400"), "{dead}");
    let died = chrono::DateTime::parse_from_rfc3339(dead["died"].as_str().unwrap()).unwrap();
    let age = chrono::Utc::now().signed_duration_since(died);
    assert!((0..120).contains(&age.num_seconds()), "{dead}");
    let told = &site.told("masthead.sink_refused")[0]["summary"];
    let expected = format!("Sink picky refused alert {} for good: ", alert["id"].as_str().unwrap());
    assert!(told.as_str().unwrap().starts_with(&expected), "{told}");
}
