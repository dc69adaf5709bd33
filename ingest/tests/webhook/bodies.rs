//! Bodies of every size and shape, on their way to the judge.

use std::io::{Read, Write};
use std::time::Instant;

use futures_util::stream;
use ingest::webhook::{BodyError, Limits, Refusal};
use reqwest::{StatusCode, header};
use tokio::io::AsyncWriteExt;

use crate::support::*;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

async fn post_encoded(server: &Server, encoding: &str, body: Vec<u8>) -> String {
    let request = client().post(server.url("/audit")).header(header::CONTENT_ENCODING, encoding);
    let response = request.body(body).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.text().await.unwrap()
}

#[tokio::test]
async fn gzip_and_zstd_are_undone() {
    let server = serve(open());
    let expected = "{\"evaluated\":50,\"quarantined\":0}\n";
    assert_eq!(post_encoded(&server, "gzip", gzip(batch(50).as_bytes())).await, expected);
    let zstd = zstd::encode_all(batch(50).as_bytes(), 3).unwrap();
    assert_eq!(post_encoded(&server, "zstd", zstd).await, expected);
}

#[tokio::test]
async fn what_is_compressed_wrongly_is_quarantined() {
    let server = serve(open());
    let whole = gzip(batch(5000).as_bytes());
    let cut = whole[..whole.len() / 2].to_vec();
    post_encoded(&server, "gzip", cut).await;
    let seen = server.judge.seen().pop().unwrap();
    assert!(seen.events > 0 && seen.malformed.contains(&"unreadable"), "{seen:?}");
    assert_eq!(seen.failure, None);
}

#[tokio::test]
async fn bodies_that_unfold_too_far_are_quarantined_unread() {
    let server = serve(open());
    let blanks = || std::io::repeat(b' ').take(20 * 1024 * 1024);
    let mut bomb = Vec::new();
    let mut encoder = flate2::read::GzEncoder::new(blanks(), flate2::Compression::best());
    encoder.read_to_end(&mut bomb).unwrap();
    for (encoding, bomb) in [("gzip", bomb), ("zstd", zstd::encode_all(blanks(), 3).unwrap())] {
        assert_eq!(
            post_encoded(&server, encoding, bomb).await,
            "{\"evaluated\":0,\"quarantined\":1}\n",
            "{encoding}"
        );
        let seen = server.judge.seen().pop().unwrap();
        assert_eq!(seen.malformed, ["unreadable"]);
        assert!(matches!(seen.failure, Some(BodyError::Unfolds { bytes_max: 16_777_216 })), "{seen:?}");
    }
}

#[tokio::test]
async fn frames_that_ask_for_large_windows_are_quarantined() {
    let server = serve(open());
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(26).unwrap();
    encoder.write_all(batch(100).as_bytes()).unwrap();
    let text = post_encoded(&server, "zstd", encoder.finish().unwrap()).await;
    assert_eq!(text, "{\"evaluated\":0,\"quarantined\":1}\n");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_judged_up_to_it() {
    for collected_bytes_max in [1024, 1024 * 1024] {
        let limits = Limits { body_bytes_max: 100_000, collected_bytes_max, ..Limits::default() };
        let server = serve(with_limits(limits));
        let response = post(&server, "/audit", batch(5000)).await;
        assert_eq!(response.status(), StatusCode::OK);
        let seen = server.judge.seen().pop().unwrap();
        assert_eq!(seen.failure, Some(BodyError::TooLong { bytes_max: 100_000 }));
        assert!(seen.events > 100, "{seen:?}");
    }
}

#[tokio::test]
async fn large_bodies_are_judged_as_they_arrive() {
    let server = serve(with_limits(Limits { collected_bytes_max: 10_000, ..Limits::default() }));
    for _ in 0..2 {
        let text = post(&server, "/audit", batch(5000)).await.text().await.unwrap();
        assert_eq!(text, "{\"evaluated\":5000,\"quarantined\":0}\n");
        let pieces = batch(5000).into_bytes();
        let pieces: Vec<_> =
            pieces.chunks(1000).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
        let body = reqwest::Body::wrap_stream(stream::iter(pieces));
        let text = post(&server, "/audit", body).await.text().await.unwrap();
        assert_eq!(text, "{\"evaluated\":5000,\"quarantined\":0}\n");
    }
}

#[tokio::test]
async fn only_so_many_bodies_are_judged_as_they_arrive() {
    let limits = Limits { collected_bytes_max: 10_000, streams_max: 1, ..Limits::default() };
    let server = serve(with_limits(limits));
    let head = "POST /audit HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 20000\r\n\r\n";
    let mut first = raw(&server, head).await;
    server.judge.begun(1).await;
    let response = post(&server, "/audit", vec![b' '; 20_000]).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(post(&server, "/audit", batch(1)).await.status(), StatusCode::OK);
    first.write_all(" ".repeat(20_000).as_bytes()).await.unwrap();
    let answer = read_all(first).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn who_is_refused_need_not_send_the_rest() {
    let server = serve(with_limits(Limits { collected_bytes_max: 10_000, ..Limits::default() }));
    server.judge.refuse(Some(Refusal::Store));
    let start = Instant::now();
    let stream = raw(&server, "POST /audit HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n{").await;
    let answer = read_all(stream).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("connection: close\r\n"), "{answer}");
    assert!(start.elapsed() < Limits::default().body_pause_max / 2);
}

#[tokio::test]
async fn half_a_collected_body_is_not_judged() {
    let server = serve(open());
    let head = "POST /audit HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    let mut stream = raw(&server, format!("{head}{}", batch(10))).await;
    stream.shutdown().await.unwrap();
    let answer = read_all(stream).await;
    assert!(!answer.contains(" 200 "), "{answer}");
    assert!(server.judge.seen().is_empty());
}

#[tokio::test]
async fn half_a_large_body_is_known_to_be_half() {
    let server = serve(with_limits(Limits { collected_bytes_max: 10_000, ..Limits::default() }));
    let head = "POST /audit HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n";
    let mut stream = raw(&server, format!("{head}{}", batch(1000))).await;
    server.judge.begun(1).await;
    stream.shutdown().await.unwrap();
    let answer = read_all(stream).await;
    assert!(!answer.contains(" 200 "), "{answer}");
    // The judge may still be at it when the connection has ended.
    wait_for(|| !server.judge.seen().is_empty()).await;
    let seen = server.judge.seen().pop().unwrap();
    assert_eq!(seen.failure, Some(BodyError::Disconnected));
}

#[tokio::test]
async fn a_body_that_came_is_judged_though_its_client_has_gone() {
    let mut server = serve_judged(open(), Recorder::gated());
    let body = batch(3);
    let head = format!("POST /audit HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    let stream = raw(&server, format!("{head}{body}")).await;
    server.judge.begun(1).await;
    drop(stream);
    server.codes.connections.end().await;
    server.judge.gate.add_permits(1);
    let judge = std::sync::Arc::clone(&server.judge);
    server.begin_stop();
    assert_eq!(server.stopped().await, 0);
    assert_eq!(judge.finished.load(std::sync::atomic::Ordering::Relaxed), 1);
}
