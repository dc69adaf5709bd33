//! Runs the load generator against a receiver that refuses, and counts what arrives.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use ingest::{Frame, Frames};
use serde_json::Value;

/// The recorded log that the tests post.
const RECORDED: &str = "../deploy/demo/audit.log";

/// A receiver that answers its first requests with `refusals`, in order, and takes the others.
struct Receiver {
    refusals: Mutex<Vec<StatusCode>>,
    taken: Mutex<Vec<Vec<u8>>>,
}

impl Receiver {
    fn answer(&self, body: String) -> (StatusCode, [(&'static str, &'static str); 1]) {
        let refusal = self.refusals.lock().unwrap().pop();
        if refusal.is_none() {
            self.taken.lock().unwrap().push(body.into_bytes());
        }
        (refusal.unwrap_or(StatusCode::OK), [("retry-after", "0")])
    }
}

/// What `load` does with `options` and what was taken of it.
async fn load(refusals: &[StatusCode], options: &[&str]) -> (Output, Vec<Vec<u8>>) {
    let receiver = Arc::new(Receiver { refusals: refusals.to_vec().into(), taken: Mutex::default() });
    let answering = Arc::clone(&receiver);
    let answer = move |body: String| async move { answering.answer(body) };
    let router = Router::new().fallback(answer).layer(DefaultBodyLimit::disable());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/audit/test", listener.local_addr().unwrap());
    let serving = tokio::spawn(async { axum::serve(listener, router).await });
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORDED);
    let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
    command.arg(log).args(["--url", &url]).args(options);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    serving.abort();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let taken = receiver.taken.lock().unwrap().clone();
    (output, taken)
}

fn told(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The events in bodies, in a fixed order.
fn events<'b>(bodies: impl IntoIterator<Item = &'b [u8]>) -> Vec<Vec<u8>> {
    let mut events = Vec::new();
    for body in bodies {
        let mut frames = Frames::new(body);
        while let Some(frame) = frames.next() {
            let Frame::Event { event, .. } = frame else { continue };
            events.push(event.raw().to_vec());
        }
    }
    events.sort();
    events
}

fn recorded() -> Vec<Vec<u8>> {
    let log = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORDED)).unwrap();
    events([log.as_slice()])
}

#[tokio::test]
async fn every_event_is_posted_once_in_either_shape() {
    for shape in ["eventlist", "jsonl"] {
        let (output, taken) = load(&[], &["--batch", "7", "--shape", shape]).await;
        assert_eq!(events(taken.iter().map(Vec::as_slice)), recorded());
        assert_eq!(told(&output)["events"], recorded().len());
        assert_eq!(told(&output)["batches"], recorded().len().div_ceil(7));
    }
}

#[tokio::test]
async fn what_is_refused_is_posted_again_and_counted() {
    let busy = StatusCode::SERVICE_UNAVAILABLE;
    let (output, taken) = load(&[busy, busy], &["--batch", "50"]).await;
    assert_eq!(events(taken.iter().map(Vec::as_slice)), recorded());
    let told = told(&output);
    assert_eq!((&told["busy"], &told["failures"], &told["events_lost"]), (&2.into(), &0.into(), &0.into()));
}

#[tokio::test]
async fn what_is_refused_too_often_is_lost_and_counted() {
    let (output, taken) =
        load(&[StatusCode::TOO_MANY_REQUESTS; 5], &["--batch", "20", "--connections", "1"]).await;
    let told = told(&output);
    assert_eq!((&told["busy"], &told["events_lost"]), (&5.into(), &20.into()));
    assert_eq!(events(taken.iter().map(Vec::as_slice)).len(), recorded().len() - 20);
}

#[tokio::test]
async fn batches_that_are_too_long_are_split() {
    let (_, taken) = load(&[], &["--bytes-max", "20000"]).await;
    assert_eq!(events(taken.iter().map(Vec::as_slice)), recorded());
    assert!(taken.iter().all(|body| body.len() <= 20_000 || events([body.as_slice()]).len() == 1));
}

#[tokio::test]
async fn a_rate_is_kept() {
    // A batch every 0.4 s, as long as it is due within the second.
    let (output, _) = load(&[], &["--batch", "40", "--rate", "100", "--seconds", "1"]).await;
    let told = told(&output);
    assert_eq!(told["batches"], 3);
    assert!(told["seconds"].as_f64().unwrap() >= 0.8, "{told}");
}
