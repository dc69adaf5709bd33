//! Connections that grow old, and receivers that stop.

use std::time::Duration;

use ingest::webhook::{Limits, Settings};
use reqwest::StatusCode;
use tokio::net::TcpStream;

use crate::support::*;

#[tokio::test]
async fn requests_in_flight_are_answered_before_it_stops() {
    let mut server = serve_judged(open(), Recorder::gated());
    let request = tokio::spawn(client().post(server.url("/audit")).body(batch(1)).send());
    server.judge.begun(1).await;
    server.begin_stop();
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    server.judge.gate.add_permits(1);
    let response = request.await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["connection"], "close");
    assert_eq!(server.stopped().await, 0);
}

#[tokio::test]
async fn idle_connections_do_not_keep_it_from_stopping() {
    let mut server = serve(open());
    let client = client();
    let response = client.post(server.url("/audit")).body(batch(1)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let _silent = raw(&server, "").await;
    server.begin_stop();
    assert_eq!(server.stopped().await, 0);
}

#[tokio::test]
async fn what_takes_too_long_is_cut_off_when_it_stops() {
    let limits = Limits { drain_max: Duration::from_millis(100), ..Limits::default() };
    let mut server = serve_judged(with_limits(limits), Recorder::gated());
    let request = tokio::spawn(client().post(server.url("/audit")).body(batch(1)).send());
    server.judge.begun(1).await;
    server.begin_stop();
    assert_eq!(server.stopped().await, 1);
    assert!(request.await.unwrap().is_err());
}

/// Posts on kept connections until two of them have ended.
async fn post_until_old(server: &Server, client: reqwest::Client, url: &str) {
    let mut answers = 0;
    while server.codes.connections.ended() < 2 {
        let response = client.post(url).body(batch(1)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        answers += 1;
    }
    assert!(answers > 2, "{answers}");
}

#[tokio::test]
async fn old_connections_end_without_a_failed_request() {
    let limits = Limits { connection_age_max: Duration::from_millis(200), ..Limits::default() };
    let server = serve(with_limits(limits.clone()));
    post_until_old(&server, client(), &server.url("/audit")).await;
    let authority = Authority::new();
    let server = serve(Settings { tls: Some(authority.tls(None)), ..with_limits(limits) });
    let client = authority.client_builder().build().unwrap();
    post_until_old(&server, client, &format!("https://{}/audit", server.address)).await;
}
