//! Clients that mean no good.

use std::time::{Duration, Instant};

use ingest::webhook::{BodyError, Limits, Settings};
use reqwest::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::support::*;

/// Held by tests that measure, so that they do not measure each other.
static MEASURING: Mutex<()> = Mutex::const_new(());

const HEAD: &str = "POST /audit HTTP/1.1\r\nHost: a\r\n";

fn impatient() -> Limits {
    let short = Duration::from_millis(200);
    Limits {
        first_request_max: short,
        header_max: short,
        idle_max: short,
        body_pause_max: short,
        body_grace: short,
        body_rate_window: short,
        ..Limits::default()
    }
}

/// Sends one byte again and again until the server has had enough; returns what it said.
async fn trickle(mut stream: TcpStream, byte: u8) -> String {
    let (mut reader, mut writer) = stream.split();
    let writing = async {
        while writer.write_all(&[byte]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = writing => String::new(),
        answer = read_all(&mut reader) => answer,
    }
}

#[tokio::test]
async fn silent_connections_end() {
    let server = serve(with_limits(impatient()));
    assert_eq!(read_all(raw(&server, "").await).await, "");
    let answer = read_all(raw(&server, format!("{HEAD}Content-Length: 0\r\n\r\n")).await).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // The beginning of what tells HTTP/2 from HTTP/1.1.
    assert_eq!(read_all(raw(&server, "PRI * HT").await).await, "");
}

#[tokio::test]
async fn headers_that_trickle_in_end() {
    let server = serve(with_limits(impatient()));
    assert_eq!(trickle(raw(&server, format!("{HEAD}X: ")).await, b'x').await, "");
    // Also behind a request that was fine.
    let stream = raw(&server, format!("{HEAD}Content-Length: 0\r\n\r\n{HEAD}X: ")).await;
    let answer = trickle(stream, b'x').await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
}

#[tokio::test]
async fn bodies_that_pause_or_trickle_in_end() {
    let server = serve(with_limits(Limits { body_bytes_per_second_min: 1_000_000, ..impatient() }));
    let head = format!("{HEAD}Content-Length: 1000000\r\n\r\n{}", batch(1));
    let answer = read_all(raw(&server, &head).await).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let answer = trickle(raw(&server, &head).await, b' ').await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(server.judge.seen().is_empty());
}

/// What came in time at first does not make up for what comes too slowly then.
#[tokio::test]
async fn bodies_that_begin_well_and_then_trickle_in_end() {
    let server = serve(with_limits(Limits { body_bytes_per_second_min: 1_000, ..impatient() }));
    let head = format!("{HEAD}Content-Length: 3000000\r\n\r\n{}", " ".repeat(1_000_000));
    let answer = trickle(raw(&server, &head).await, b' ').await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(*server.codes.refused.lock().unwrap(), ["incomplete"]);
}

/// Bodies that are sent up to their last piece and wait there.
async fn hold(server: &Server, head: &str, count: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        let text = format!("{head}Content-Length: {BODY_BYTES}\r\n\r\n{}", " ".repeat(BODY_BYTES - 1));
        held.push(raw(server, text).await);
    }
    server.codes.requests.begin(count).await;
    held
}

/// The size of bodies of which a few take all the memory there is.
const BODY_BYTES: usize = 256 * 1024;

fn crowded() -> Limits {
    Limits { memory_bytes_max: 4 * BODY_BYTES, collected_bytes_max: BODY_BYTES, ..Limits::default() }
}

#[tokio::test]
async fn one_cluster_leaves_memory_to_the_others() {
    let tokens = vec![token("one", "greedy"), token("two", "prod")];
    let server = serve(Settings { tokens, ..with_limits(crowded()) });
    let held = hold(&server, &format!("{HEAD}Authorization: Bearer one\r\n"), 8).await;
    wait_for(|| server.codes.refused.lock().unwrap().len() == 6).await;
    let body = vec![b' '; BODY_BYTES];
    let post = |token| client().post(server.url("/audit")).bearer_auth(token).body(body.clone()).send();
    assert_eq!(post("two").await.unwrap().status(), StatusCode::OK);
    assert_eq!(post("one").await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(*server.codes.refused.lock().unwrap(), ["memory_share"; 7]);
    drop(held);
    server.codes.connections.end().await;
    assert_eq!(post("one").await.unwrap().status(), StatusCode::OK);
}

/// Whoever need not prove anything could otherwise be as many as he likes.
#[tokio::test]
async fn one_address_leaves_memory_to_the_others_whatever_clusters_it_names() {
    let server = serve(with_limits(crowded()));
    let mut held = Vec::new();
    for number in 0..8 {
        let head = HEAD.replace("/audit", &format!("/audit/made-up-{number}"));
        held.extend(hold(&server, &head, 1).await);
    }
    wait_for(|| server.codes.refused.lock().unwrap().len() == 6).await;
    let elsewhere = client_builder().local_address("127.0.0.2".parse::<std::net::IpAddr>().ok());
    let request = elsewhere.build().unwrap().post(server.url("/audit/lab")).body(vec![b' '; BODY_BYTES]);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn large_bodies_that_pause_are_known_to_be_half() {
    let limits = Limits { collected_bytes_max: 1000, ..impatient() };
    let server = serve(with_limits(limits));
    let stream = raw(&server, format!("{HEAD}Content-Length: 1000000\r\n\r\n{}", batch(100))).await;
    let answer = read_all(stream).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(server.judge.seen()[0].failure, Some(BodyError::Slow));
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A frame of settings, without any.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// Nothing else would end them so soon: a client says something all the time.
#[tokio::test]
async fn http_2_headers_that_trickle_in_end() {
    let short = Duration::from_millis(200);
    let server = serve(with_limits(Limits { header_max: short, ..Limits::default() }));
    // The beginning of a header of 16 KiB.
    let begun = [PREFACE, SETTINGS, &[0, 0x40, 0, 1, 0, 0, 0, 0, 1]].concat();
    let mut stream = raw(&server, begun).await;
    let (mut reader, mut writer) = stream.split();
    let writing = async {
        while writer.write_all(&[0x40]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut said = Vec::new();
    let reading = async { reader.read_to_end(&mut said).await };
    let ended = tokio::time::timeout(PATIENCE, async { tokio::join!(writing, reading) }).await;
    assert!(ended.is_ok(), "the connection stays open");
    assert_eq!(server.codes.requests.begun(), 0);
}

/// The frame that says that a connection ends.
const GOAWAY: u8 = 7;

#[tokio::test]
async fn silent_http_2_clients_are_told_before_their_connection_ends() {
    let server = serve(with_limits(impatient()));
    let mut stream = raw(&server, [PREFACE, SETTINGS].concat()).await;
    let mut said = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("it ends").unwrap();
    let (mut kinds, mut rest) = (Vec::new(), &said[..]);
    while let [high, middle, low, kind, others @ ..] = rest {
        kinds.push(*kind);
        let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
        rest = &others[5 + length..];
    }
    assert!(kinds.contains(&GOAWAY), "{kinds:?}");
}

#[tokio::test]
async fn endless_headers_end() {
    let server = serve(open());
    let long = format!("{HEAD}X: {}", "x".repeat(100_000));
    let answer = read_all(raw(&server, long).await).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let many = format!("{HEAD}{}\r\n", "A: b\r\n".repeat(100));
    let answer = read_all(raw(&server, many).await).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_eq!(post(&server, "/audit", batch(1)).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_http_ends() {
    let server = serve(open());
    for text in
        ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "POST /audit HTTP/9\r\n\r\n", "\x16\x03\x01\x02\0\x01\0\r\n"]
    {
        let answer = read_all(raw(&server, text).await).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{text:?}: {answer}");
    }
    let smuggled = "Connection: close\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let answer = read_all(raw(&server, format!("{HEAD}{smuggled}")).await).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
}

#[tokio::test]
async fn connections_beyond_the_limits_end_at_once() {
    for limits in [
        Limits { connections_max: 2, ..Limits::default() },
        Limits { connections_per_address_max: 2, ..Limits::default() },
    ] {
        check_two_connections(limits).await;
    }
}

async fn check_two_connections(limits: Limits) {
    let server = serve(with_limits(limits));
    let held = [raw(&server, "").await, raw(&server, "").await];
    server.codes.connections.begin(2).await;
    assert_eq!(read_all(TcpStream::connect(server.address).await.unwrap()).await, "");
    drop(held);
    server.codes.connections.end().await;
    assert_eq!(post(&server, "/audit", batch(1)).await.status(), StatusCode::OK);
}

/// Closing while the client still sends would reset the connection, and the answer with it.
#[tokio::test]
async fn who_is_refused_in_the_middle_of_a_body_hears_why() {
    let server = serve(Settings { tokens: vec![token("one", "prod")], ..open() });
    for _ in 0..20 {
        let response = post(&server, "/audit", vec![b' '; 8 * 1024 * 1024]).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }
}

/// Requests that are taken back at once cost a server more than their sender.
#[tokio::test]
async fn floods_of_requests_that_are_taken_back_end() {
    const FLOOD: usize = 20_000;
    let _alone = MEASURING.lock().await;
    let server = serve(open());
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
    let ended = tokio::spawn(connection);
    let mut sent = 0;
    while sent < FLOOD {
        let Ok(ready) = requests.ready().await else { break };
        requests = ready;
        let request = axum::http::Request::post(server.url("/audit")).body(()).unwrap();
        let Ok((_, mut body)) = requests.send_request(request, false) else { break };
        // The request must have left before it is taken back, or it never leaves.
        tokio::task::yield_now().await;
        body.send_reset(h2::Reason::CANCEL);
        sent += 1;
    }
    println!("{sent} requests were taken back before the connection ended");
    assert!(sent < FLOOD);
    assert!(ended.await.unwrap().is_err());
    server.codes.requests.end().await;
    assert_eq!(post(&server, "/audit", batch(1)).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn what_is_reset_without_an_error_is_known_to_be_half() {
    let server = serve(open());
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let whole = batch(3);
    let request = axum::http::Request::post(server.url("/audit")).header("content-length", whole.len());
    let sending = requests.ready().await.unwrap().send_request(request.body(()).unwrap(), false);
    let (_response, mut body) = sending.unwrap();
    body.send_data(whole[..whole.len() / 2].to_owned().into(), false).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    body.send_reset(h2::Reason::NO_ERROR);
    server.codes.requests.end().await;
    // A body that is whole is judged also when its client has gone.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(server.judge.seen().is_empty(), "{:?}", server.judge.seen());
}

/// The 99th percentile of how long requests take on a connection that is kept: the best of three
/// rounds, since what else the machine does is not what is measured.
async fn percentile(client: &reqwest::Client, url: &str) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let mut latencies = Vec::new();
        for _ in 0..200 {
            let start = Instant::now();
            let response = client.post(url).body(batch(20)).send().await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            latencies.push(start.elapsed());
        }
        latencies.sort();
        best = best.min(latencies[latencies.len() * 99 / 100]);
    }
    best
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_tls_connections_take_nothing_from_others() {
    const IDLE: usize = 1000;
    let _alone = MEASURING.lock().await;
    let authority = Authority::new();
    let server = serve(Settings { tls: Some(authority.tls(None)), ..open() });
    let before_bytes = memory_bytes("VmRSS");
    let connector = authority.connector();
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let name = "127.0.0.1".try_into().unwrap();
        idle.push(connector.connect(name, stream).await.unwrap());
    }
    let each_bytes = memory_bytes("VmRSS").saturating_sub(before_bytes) / IDLE;
    let client = authority.client_builder().build().unwrap();
    let percentile = percentile(&client, &format!("https://{}/audit", server.address)).await;
    println!("{IDLE} idle TLS connections, {each_bytes} bytes each with their clients: p99 {percentile:?}");
    assert!(percentile < Duration::from_millis(100), "{percentile:?}");
    assert_eq!(server.codes.connections.begun(), IDLE + 1);
    assert_eq!(server.codes.connections.ended(), 0);
    drop(idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_take_nothing_from_others() {
    const SLOW: usize = 500;
    let _alone = MEASURING.lock().await;
    let server = serve(open());
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        slow.push(raw(&server, format!("{HEAD}Content-Length: 1000000\r\n\r\n{{")).await);
    }
    server.codes.requests.begin(SLOW).await;
    let percentile = percentile(&client(), &server.url("/audit")).await;
    println!("{SLOW} bodies that do not go on: p99 {percentile:?}");
    assert!(percentile < Duration::from_millis(100), "{percentile:?}");
}

/// How much memory this process uses now (`VmRSS`) or has used at once (`VmHWM`).
fn memory_bytes(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// Begins anew to remember how much memory was used at once.
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// The judge takes its time, so the body has to wait at the client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_200_megabytes_takes_little_memory() {
    let _alone = MEASURING.lock().await;
    let server = serve_judged(open(), Recorder::slow(Duration::from_micros(200)));
    let annotation = format!(r#""annotations":{{"note":"{}"}},"level""#, "x".repeat(64 * 1024));
    let event = event(1).replacen(r#""level""#, &annotation, 1);
    let count = 200 * 1024 * 1024 / event.len();
    let piece = format!("{:x}\r\n{event}\n\r\n", event.len() + 1);
    let mut stream = raw(&server, format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n")).await;
    forget_peak();
    let before_bytes = memory_bytes("VmRSS");
    for _ in 0..count {
        stream.write_all(piece.as_bytes()).await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 1024];
    let length = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains(&format!("\"evaluated\":{count},")),
        "{answer}"
    );
    let taken_bytes = memory_bytes("VmHWM").saturating_sub(before_bytes);
    println!("200 MiB in one body: {} KiB more memory at the most", taken_bytes / 1024);
    assert!(taken_bytes < 48 * 1024 * 1024, "{taken_bytes}");
}
