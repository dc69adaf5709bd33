//! Every status code, and what leads to it.

use std::sync::atomic::Ordering;

use ingest::webhook::{AccessError, BindError, Limits, Receiver, Refusal, Settings};
use reqwest::{Method, Response, StatusCode, header};

use crate::support::*;

#[tokio::test]
async fn batches_are_judged_and_counted() {
    let server = serve(open());
    let response = post(&server, "/audit?timeout=30s", batch(3)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    assert_eq!(response.text().await.unwrap(), "{\"evaluated\":3,\"quarantined\":0}\n");
    let seen = Seen { cluster: "default".to_owned(), events: 3, malformed: vec![], failure: None };
    assert_eq!(server.judge.seen(), [seen]);
    assert_eq!(*server.codes.answered.lock().unwrap(), [200]);
}

#[tokio::test]
async fn whatever_a_body_holds_it_is_taken() {
    let server = serve(open());
    let (one, two) = (event(1), event(2));
    for (body, expected) in [
        (String::new(), (0, 0)),
        (one.clone(), (1, 0)),
        (format!("{one}\n{two}\n"), (2, 0)),
        (format!("[{one},{two}]"), (2, 0)),
        (format!("[{one},7,{two}]"), (2, 1)),
        ("no audit events at all".to_owned(), (0, 1)),
        ("{".to_owned(), (0, 1)),
        ("\0".repeat(100), (0, 1)),
    ] {
        let response = post(&server, "/audit", body.clone()).await;
        assert_eq!(response.status(), StatusCode::OK, "{body}");
        let text = response.text().await.unwrap();
        let (evaluated, quarantined) = expected;
        assert_eq!(text, format!("{{\"evaluated\":{evaluated},\"quarantined\":{quarantined}}}\n"), "{body}");
    }
}

#[tokio::test]
async fn the_path_names_the_cluster_where_nobody_is_asked_who_he_is() {
    let server = serve(open());
    for (path, expected) in [
        ("/audit", Some("default")),
        ("/audit/", Some("default")),
        ("/audit/prod-eu.1", Some("prod-eu.1")),
        ("/audit/%70rod?timeout=30s", Some("prod")),
        ("/audit/prod/", None),
        ("/audit/a/b", None),
        ("/audit/a%2fb", None),
        ("/audit/%2e%2e", None),
        ("/audit/a%00b", None),
        ("/audit/%ff", None),
        ("/audit/a%20b", None),
        ("/audit/a:b", None),
        ("/audit/-a", None),
        ("/audits", None),
        ("/", None),
        ("/metrics", None),
    ] {
        let response = post(&server, path, batch(1)).await;
        match expected {
            Some(cluster) => {
                assert_eq!(response.status(), StatusCode::OK, "{path}");
                assert_eq!(server.judge.seen().last().unwrap().cluster, cluster, "{path}");
            }
            None => assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}"),
        }
    }
    let answer = post(&server, "/audit/a:b", batch(1)).await.text().await.unwrap();
    assert!(answer.contains("names no cluster: one begins with a letter or digit"), "{answer}");
}

/// Some clients take an answer that comes before they have sent everything for a broken connection.
#[tokio::test]
async fn who_is_refused_may_send_all_of_a_short_body_before() {
    let server = serve(Settings { tokens: vec![token("one", "prod")], ..open() });
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = axum::http::Request::post(server.url("/audit")).body(()).unwrap();
    let (response, mut body) = requests.ready().await.unwrap().send_request(request, false).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    body.send_data(batch(1).into(), true).unwrap();
    assert_eq!(response.await.unwrap().status(), StatusCode::UNAUTHORIZED);

    let head = "POST /audit HTTP/1.1\r\nHost: a\r\nContent-Length:";
    let two = format!("{head} 5\r\n\r\nhello{head} 5\r\nConnection: close\r\n\r\nhello");
    let answers = read_all(raw(&server, two).await).await;
    assert_eq!(answers.matches("HTTP/1.1 401 ").count(), 2, "{answers}");
    // A long one is left unread, as is one that somebody asks about first.
    let long = format!("{head} 2000000\r\n\r\n{}", "x".repeat(1_100_000));
    for post in [long, format!("{head} 5\r\nExpect: 100-continue\r\n\r\n")] {
        let answer = read_all(raw(&server, post).await).await;
        assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("connection: close\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn only_post_is_understood() {
    let server = serve(open());
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::HEAD, Method::OPTIONS, Method::PATCH] {
        let response = client().request(method.clone(), server.url("/audit")).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(response.headers()[header::ALLOW], "POST");
        let text = response.text().await.unwrap();
        assert_eq!(text.contains("audit webhook backend"), method != Method::HEAD, "{method}: {text}");
    }
    // Who asks for a sign of life has not lost his way.
    for path in ["/", "/elsewhere", "/audit/no!cluster"] {
        let response = client().head(server.url(path)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    assert!(server.judge.seen().is_empty());
}

async fn post_as(server: &Server, path: &str, authorization: Option<&str>) -> Response {
    let mut request = client().post(server.url(path)).body(batch(1));
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_token_tells_the_cluster_and_is_needed() {
    let tokens = vec![token("one", "prod"), token("two", "lab"), token("new", "prod")];
    let server = serve(Settings { tokens, ..open() });
    for (path, authorization, expected) in [
        ("/audit", Some("Bearer one"), Ok("prod")),
        ("/audit", Some("Bearer new"), Ok("prod")),
        ("/audit", Some("Bearer two"), Ok("lab")),
        ("/audit/lab", Some("Bearer two"), Ok("lab")),
        ("/audit/prod", Some("Bearer two"), Err(403)),
        ("/audit", Some("Bearer three"), Err(401)),
        ("/audit", Some("Basic b25lOg=="), Err(401)),
        ("/audit/prod", None, Err(401)),
    ] {
        let response = post_as(&server, path, authorization).await;
        match expected {
            Ok(cluster) => {
                assert_eq!(response.status(), StatusCode::OK);
                assert_eq!(server.judge.seen().last().unwrap().cluster, cluster);
            }
            Err(code) => assert_eq!(response.status().as_u16(), code, "{path} {authorization:?}"),
        }
    }
    assert_eq!(server.judge.seen().len(), 4);
}

#[tokio::test]
async fn tokens_change_while_a_connection_stays() {
    let server = serve(Settings { tokens: vec![token("old", "prod")], ..open() });
    let client = client();
    let post = async |token: &str| {
        let request = client.post(server.url("/audit")).bearer_auth(token).body(batch(1));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(post("old").await, 200);
    server.reloader.reload(None, vec![token("old", "prod"), token("new", "prod")]).unwrap();
    assert_eq!((post("old").await, post("new").await), (200, 200));
    server.reloader.reload(None, vec![token("new", "prod")]).unwrap();
    assert_eq!(post("new").await, 200);
    assert_eq!(server.codes.connections.begun(), 1, "one connection for all of it");
    assert_eq!(post("old").await, 401);
}

#[tokio::test]
async fn encodings_that_cannot_be_undone_are_refused() {
    let server = serve(open());
    for (encoding, code) in [("br", 415), ("gzip, gzip", 415), ("identity", 200), ("GZIP", 200)] {
        let request = client().post(server.url("/audit")).header(header::CONTENT_ENCODING, encoding);
        let response = request.body(batch(1)).send().await.unwrap();
        assert_eq!(response.status().as_u16(), code, "{encoding}");
    }
}

/// Checks that an answer asks to come back soon.
#[track_caller]
fn check_later(response: &Response) {
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let seconds: u32 = response.headers()[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=4).contains(&seconds));
}

#[tokio::test]
async fn what_cannot_be_made_durable_is_to_be_sent_again() {
    let server = serve(open());
    for refusal in [Refusal::Store, Refusal::Busy, Refusal::Stopping, Refusal::Incomplete] {
        server.judge.refuse(Some(refusal));
        check_later(&post(&server, "/audit", batch(1)).await);
    }
    server.judge.refuse(None);
    assert_eq!(post(&server, "/audit", batch(1)).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_judge_that_breaks_down_acknowledges_nothing() {
    let server = serve(open());
    server.judge.is_broken.store(true, Ordering::Relaxed);
    check_later(&post(&server, "/audit", batch(1)).await);
    server.judge.is_broken.store(false, Ordering::Relaxed);
    assert_eq!(post(&server, "/audit", batch(1)).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn who_asks_before_sending_a_body_is_told() {
    let server = serve(Settings { tokens: vec![token("one", "prod")], ..open() });
    let head = "POST /audit HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 1\r\n";
    let answer = read_all(raw(&server, format!("{head}\r\n")).await).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let answer = read_all(raw(&server, format!("{head}Authorization: Bearer one\r\n\r\n ")).await).await;
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn beyond_the_requests_that_may_be_judged_bodies_are_refused_unread() {
    let limits = Limits { requests_max: 1, ..Limits::default() };
    let server = serve_judged(with_limits(limits), Recorder::gated());
    let first = tokio::spawn(client().post(server.url("/audit")).body(batch(1)).send());
    server.judge.begun(1).await;
    // The body is never sent, so the answer cannot have waited for it.
    let second = raw(&server, "POST /audit HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n").await;
    let answer = read_all(second).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("connection: close\r\n") && answer.contains("retry-after: "), "{answer}");
    server.judge.gate.add_permits(2);
    assert_eq!(first.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(post(&server, "/audit", batch(1)).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn beyond_the_memory_bodies_are_refused() {
    let limits = Limits { memory_bytes_max: 64 * 1024, ..Limits::default() };
    let server = serve(with_limits(limits));
    check_later(&post(&server, "/audit", vec![b' '; 80 * 1024]).await);
    assert_eq!(post(&server, "/audit", vec![b' '; 40 * 1024]).await.status(), StatusCode::OK);
    // Without a length it shows only while the body arrives.
    let pieces = (0..20).map(|_| Ok::<_, std::io::Error>(vec![b' '; 8 * 1024]));
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    check_later(&post(&server, "/audit", body).await);
    assert_eq!(post(&server, "/audit", batch(1)).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn requests_and_connections_are_counted() {
    let server = serve(open());
    post(&server, "/audit", batch(1)).await;
    server.codes.connections.end().await;
    let tallies = [&server.codes.requests, &server.codes.connections];
    assert_eq!(tallies.map(|tally| (tally.begun(), tally.ended())), [(1, 1), (1, 1)]);
}

#[tokio::test]
async fn a_receiver_that_lets_in_anybody_stays_at_home() {
    let anywhere = "0.0.0.0:0".parse().unwrap();
    let refused = Receiver::bind(Settings::open(anywhere)).map(|_| ());
    assert!(matches!(refused, Err(BindError::Access(AccessError::Open(address))) if address == anywhere));
    assert!(Receiver::bind(Settings { insecure: true, ..Settings::open(anywhere) }).is_ok());
    let settings = Settings { tokens: vec![token("one", "prod")], ..Settings::open(anywhere) };
    let receiver = Receiver::bind(settings).unwrap();
    assert!(matches!(receiver.reloader().reload(None, Vec::new()), Err(AccessError::Open(_))));
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_to_be() {
    let server = serve(open());
    let refused = Receiver::bind(Settings::open(server.address)).map(|_| ());
    assert!(matches!(refused, Err(BindError::Listen { address, .. }) if address == server.address));
}
