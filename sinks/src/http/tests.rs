//! Requests to servers that behave badly.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Response, Uri};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::*;
use crate::delivery::fake::{FakeOutbox, PATIENCE, alert, pace, start, start_at};
use crate::delivery::{Event, Pace};

/// What a server got.
#[derive(Clone, Debug)]
struct Got {
    path: String,
    headers: HeaderMap,
    body: String,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Answers as it is told, then always well.
#[derive(Clone, Default)]
struct Server {
    script: Arc<Mutex<VecDeque<Response<Body>>>>,
    /// Bodies that contain this are not wanted.
    unwanted: Arc<Mutex<Option<(u16, String)>>>,
    got: Arc<Mutex<Vec<Got>>>,
    hangs: bool,
    changed: Arc<Notify>,
}

impl Server {
    fn new(script: impl IntoIterator<Item = Response<Body>>) -> Self {
        Self { script: Arc::new(Mutex::new(script.into_iter().collect())), ..Self::default() }
    }

    fn router(&self) -> Router {
        let server = self.clone();
        Router::new().fallback(move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let server = server.clone();
            async move { server.answer(&uri, headers, &body).await }
        })
    }

    async fn answer(&self, uri: &Uri, headers: HeaderMap, body: &Bytes) -> Response<Body> {
        let body = String::from_utf8(body.to_vec()).unwrap();
        self.got.lock().unwrap().push(Got { path: uri.to_string(), headers, body: body.clone() });
        self.changed.notify_one();
        if self.hangs {
            std::future::pending::<()>().await;
        }
        let unwanted = self.unwanted.lock().unwrap().clone();
        match unwanted {
            Some((code, text)) if body.contains(&text) => answer(code, "not this one"),
            _ => self.script.lock().unwrap().pop_front().unwrap_or_else(|| answer(200, "")),
        }
    }

    /// Listens, and returns where.
    async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        self.serve(listener);
        address
    }

    fn serve(&self, listener: TcpListener) {
        let router = self.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    async fn has_got(&self, count: usize) {
        let wait = async {
            while self.got().len() < count {
                self.changed.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("only {:?}", self.got()));
    }
}

fn answer(code: u16, text: &str) -> Response<Body> {
    Response::builder().status(code).body(Body::from(text.to_owned())).unwrap()
}

fn options(address: SocketAddr) -> Options {
    Options {
        url: format!("http://{address}/in?key=1"),
        credentials: None,
        headers: Vec::new(),
        signing_key: None,
        ca_pem: None,
        timeout: Duration::from_secs(10),
        batch: Batch::Single,
        template: None,
    }
}

fn sink(options: Options) -> Http {
    Http::new(options).unwrap()
}

async fn deliver(options: Options, numbers: std::ops::RangeInclusive<u64>) -> Delivery {
    let alerts: Vec<_> = numbers.map(|number| Arc::new(alert(number, "high"))).collect();
    let mut http = sink(options);
    http.open(None).await.unwrap();
    http.deliver(&alerts).await
}

async fn cursor_reaches(outbox: &FakeOutbox, number: u64) {
    let wait = async {
        while outbox.cursor_of("s").number < number {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}

#[tokio::test]
async fn an_alert_is_its_bodys_json_and_a_failure_is_repeated_alike() {
    let server = Server::new([answer(500, "oh"), answer(503, "")]);
    let outbox = FakeOutbox::new();
    outbox.add(2, "high");
    let running = start(&outbox, sink(options(server.listen().await)));
    cursor_reaches(&outbox, 2).await;
    let status = running.figures.status();
    running.stop().await;
    let got = server.got();
    let bodies: Vec<_> = got.iter().map(|got| got.body.as_str()).collect();
    let (first, second) = (alert(1, "high").json, alert(2, "high").json);
    assert_eq!(bodies, [&first, &first, &first, &second]);
    assert!(got[..3].iter().all(|got| got.header("idempotency-key") == format!("{:032x}", 1)));
    assert!(
        got.iter().all(|got| got.path == "/in?key=1" && got.header("content-type") == "application/json")
    );
    assert_eq!((status.retries, status.delivered), (2, 2));
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let busy = Response::builder().status(429).header("retry-after", "1").body(Body::empty()).unwrap();
    let server = Server::new([busy]);
    let outbox = FakeOutbox::new();
    outbox.add(1, "high");
    let began_at = Instant::now();
    let running = start(&outbox, sink(options(server.listen().await)));
    server.has_got(2).await;
    assert!(began_at.elapsed() >= Duration::from_secs(1), "{:?}", began_at.elapsed());
    running.stop().await;
}

#[tokio::test]
async fn what_the_server_does_not_want_becomes_a_dead_letter() {
    let server = Server::default();
    *server.unwanted.lock().unwrap() = Some((400, format!("{:032x}", 2)));
    let outbox = FakeOutbox::new();
    outbox.add(4, "high");
    let mut running = start(&outbox, sink(options(server.listen().await)));
    cursor_reaches(&outbox, 4).await;
    let Event::Dead { letter, .. } = running.notice().await else { panic!("other news") };
    assert_eq!(letter.reason, "the server answered 400 Bad Request: not this one");
    running.stop().await;
    assert_eq!(outbox.kept().dead, [letter]);
    assert_eq!(server.got().len(), 6, "three tries for the second");
    assert_eq!(outbox.cursor_of("s").delivered, 3);
}

#[tokio::test]
async fn a_wrong_token_buries_nothing_and_is_read_again() {
    let server = Server::new([answer(401, ""), answer(401, "")]);
    let outbox = FakeOutbox::new();
    outbox.add(1, "high");
    let reads_count = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&reads_count);
    let token = Secret::read_by(move || Ok(format!("token-{}", count.fetch_add(1, Ordering::AcqRel))));
    let credentials = Some(Credentials::Bearer(token));
    let running = start(&outbox, sink(Options { credentials, ..options(server.listen().await) }));
    cursor_reaches(&outbox, 1).await;
    running.stop().await;
    let tokens: Vec<_> = server.got().iter().map(|got| got.header("authorization").to_owned()).collect();
    assert_eq!(tokens, ["Bearer token-0", "Bearer token-1", "Bearer token-2"]);
    assert!(outbox.kept().dead.is_empty());
}

#[tokio::test]
async fn a_peer_that_hangs_is_left_and_holds_up_no_other_sink() {
    let hanging = Server { hangs: true, ..Server::default() };
    let slow = Options { timeout: Duration::from_millis(100), ..options(hanging.listen().await) };
    let (outbox, other_outbox) = (FakeOutbox::new(), FakeOutbox::new());
    outbox.add(3, "high");
    other_outbox.add(3, "high");
    let pace = Pace { failing_after: Duration::from_secs(1), ..pace() };
    let mut running = start_at(&outbox, sink(slow), pace);
    let server = Server::default();
    let other = start(&other_outbox, sink(options(server.listen().await)));
    cursor_reaches(&other_outbox, 3).await;
    let Event::Failing { reason, .. } = running.notice().await else { panic!("other news") };
    assert!(reason.contains("timed out"), "{reason}");
    hanging.has_got(3).await;
    assert_eq!(outbox.cursor_of("s").number, 0);
    assert!(hanging.got().iter().all(|got| got.body == alert(1, "high").json));
    running.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_peer_that_is_down_gets_all_when_it_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let outbox = FakeOutbox::new();
    outbox.add(3, "high");
    let mut running = start(&outbox, sink(options(address)));
    let Event::Failing { reason, .. } = running.notice().await else { panic!("other news") };
    assert!(!reason.contains("key=1"), "{reason}");
    outbox.add(300, "high");
    let server = Server::default();
    server.serve(TcpListener::bind(address).await.unwrap());
    cursor_reaches(&outbox, 303).await;
    assert!(matches!(running.notice().await, Event::Recovered { .. }));
    running.stop().await;
    assert_eq!(server.got().len(), 303);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let target = Server::default();
    let location = format!("http://{}/", target.listen().await);
    let moved = Response::builder().status(307).header("location", location).body(Body::empty()).unwrap();
    let server = Server::new([moved]);
    let delivery = deliver(options(server.listen().await), 1..=1).await;
    assert!(matches!(delivery.trouble, Some(Trouble::Denied { .. })), "{delivery:?}");
    assert!(target.got().is_empty());
}

#[tokio::test]
async fn several_alerts_go_as_lines_or_as_an_array() {
    let server = Server::default();
    let address = server.listen().await;
    let batch = Batch::Lines { count_max: 2 };
    assert_eq!(deliver(Options { batch, ..options(address) }, 1..=3).await, Delivery::of(3));
    let batch = Batch::Array { count_max: 10 };
    assert_eq!(deliver(Options { batch, ..options(address) }, 1..=2).await, Delivery::of(2));
    let got = server.got();
    let json = |number| alert(number, "high").json;
    let bodies: Vec<_> = got.iter().map(|got| got.body.clone()).collect();
    let array = format!("[{},{}]", json(1), json(2));
    assert_eq!(bodies, [format!("{}\n{}\n", json(1), json(2)), format!("{}\n", json(3)), array]);
    assert_eq!(got[0].header("content-type"), "application/x-ndjson");
    assert_eq!(got[0].header("idempotency-key"), got[2].header("idempotency-key"), "of the same alerts");
    assert_ne!(got[0].header("idempotency-key"), got[1].header("idempotency-key"));
}

#[tokio::test]
async fn one_unwanted_alert_does_not_bury_its_batch() {
    let server = Server::default();
    *server.unwanted.lock().unwrap() = Some((422, format!("{:032x}", 3)));
    let outbox = FakeOutbox::new();
    outbox.add(20, "high");
    let batch = Batch::Array { count_max: 5 };
    let running = start(&outbox, sink(Options { batch, ..options(server.listen().await) }));
    cursor_reaches(&outbox, 20).await;
    running.stop().await;
    let cursor = outbox.cursor_of("s");
    assert_eq!((cursor.delivered, cursor.dead), (19, 1));
    assert_eq!(outbox.kept().dead[0].number, 3);
    let count_of = |got: &Got| serde_json::from_str::<Vec<serde_json::Value>>(&got.body).unwrap().len();
    let counts: Vec<_> = server.got().iter().map(count_of).collect();
    assert_eq!(counts, [5, 1, 1, 1, 1, 1, 1, 1, 1, 5, 5, 4], "one by one, then together again");
}

#[tokio::test]
async fn bodies_are_signed_and_headers_are_the_configurations() {
    let server = Server::default();
    let configured = Options {
        signing_key: Some(Secret::fixed("key".to_owned())),
        credentials: Some(Credentials::Basic {
            user: "masthead".to_owned(),
            password: Secret::fixed("pass".to_owned()),
        }),
        headers: vec![("X-Team".to_owned(), "blue".to_owned())],
        template: Some(Template::parse(r#"{"text": "{{ rule.level }}", "id": {{ id }}}"#).unwrap()),
        ..options(server.listen().await)
    };
    assert!(!format!("{configured:?}").contains("pass\""));
    assert_eq!(deliver(configured, 1..=1).await, Delivery::of(1));
    let got = server.got().remove(0);
    assert_eq!(got.body, format!(r#"{{"text": "high", "id": "{:032x}"}}"#, 1));
    assert_eq!((got.header("x-team"), got.header("authorization")), ("blue", "Basic bWFzdGhlYWQ6cGFzcw=="));
    let signature = got.header("x-masthead-signature");
    let (time, _) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    assert_eq!(signature, signature::sign_at(b"key", time.parse().unwrap(), got.body.as_bytes()));
}

#[tokio::test]
async fn an_endless_answer_is_cut_short() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        // The request fits into one read.
        assert!(connection.read(&mut [0; 4096]).await.unwrap() > 0);
        connection.write_all(b"HTTP/1.1 500 \r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        while connection.write_all(b"5\r\na\x1b[2J\r\n").await.is_ok() {}
    });
    let delivery = deliver(options(address), 1..=1).await;
    let reason = delivery.trouble.unwrap().reason().to_owned();
    assert!(reason.starts_with("the server answered 500 Internal Server Error: a\\u{1b}[2J"), "{reason}");
    assert!(reason.len() < 10 * crate::delivery::REASON_CHARACTERS_MAX);
}

#[tokio::test]
async fn a_server_is_trusted_only_by_its_certificate() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = Server::default();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let tls = axum_server::tls_rustls::RustlsConfig::from_pem(pem.clone().into_bytes(), key.into_bytes());
    let handle = axum_server::Handle::new();
    let bound = axum_server::bind_rustls(SocketAddr::from(([127, 0, 0, 1], 0)), tls.await.unwrap());
    tokio::spawn(bound.handle(handle.clone()).serve(server.router().into_make_service()));
    let address = handle.listening().await.unwrap();
    let url = format!("https://localhost:{}/", address.port());
    let trusting = Options { ca_pem: Some(pem.into_bytes()), url: url.clone(), ..options(address) };
    assert_eq!(deliver(trusting, 1..=1).await, Delivery::of(1));
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    let doubting = Options { ca_pem: Some(other.into_bytes()), url, ..options(address) };
    let delivery = deliver(doubting, 1..=1).await;
    assert!(matches!(delivery.trouble, Some(Trouble::Temporary { .. })), "{delivery:?}");
    assert_eq!(server.got().len(), 1);
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_server() {
    let hanging = Server { hangs: true, ..Server::default() };
    let outbox = FakeOutbox::new();
    outbox.add(1, "high");
    let pace = Pace { drain: Duration::from_millis(50), ..pace() };
    let running = start_at(&outbox, sink(options(hanging.listen().await)), pace);
    hanging.has_got(1).await;
    let began_at = Instant::now();
    running.stop().await;
    assert!(began_at.elapsed() < Duration::from_secs(5), "{:?}", began_at.elapsed());
}

#[test]
fn options_that_cannot_work_are_refused() {
    let error = |url: &str, header: &str, value: &str| {
        let headers = vec![(header.to_owned(), value.to_owned())];
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Http::new(Options { url: url.to_owned(), headers, ..options(address) }).unwrap_err().to_string()
    };
    let reserved = "the header `Host` is set for each request";
    assert_eq!(error("http://x/", "Host", "y"), reserved);
    assert_eq!(error("http://x/", "a b", "y"), "the header `a b` has a name or a value that cannot be sent");
    assert_eq!(
        error("http://x/", "a", "y\r\nz: 1"),
        "the header `a` has a name or a value that cannot be sent"
    );
    assert_eq!(error("ftp://x/", "a", "b"), "the URL begins with `ftp`, expected `http` or `https`");
    assert_eq!(error("http://u:p@x/", "a", "b"), "the URL contains credentials, which belong into a file");
    assert!(error("x", "a", "b").starts_with("the URL cannot be read: "));
}
