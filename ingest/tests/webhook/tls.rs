//! Certificates, of servers and of clients.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ingest::webhook::{AccessError, Limits, Settings, Tls, TlsError};
use reqwest::{StatusCode, Version};

use crate::support::*;

fn secured(tls: Tls) -> Settings {
    Settings { tls: Some(tls), ..open() }
}

fn url(server: &Server, path: &str) -> String {
    format!("https://{}{path}", server.address)
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_over_tls() {
    let authority = Authority::new();
    let server = serve(secured(authority.tls(None)));
    let builders = [authority.client_builder(), authority.client_builder().http1_only()];
    for (builder, version) in builders.into_iter().zip([Version::HTTP_2, Version::HTTP_11]) {
        let client = builder.build().unwrap();
        let response = client.post(url(&server, "/audit/prod")).body(batch(2)).send().await.unwrap();
        assert_eq!((response.status(), response.version()), (StatusCode::OK, version));
        assert_eq!(response.text().await.unwrap(), "{\"evaluated\":2,\"quarantined\":0}\n");
    }
}

#[tokio::test]
async fn http_2_is_refused_and_answered_like_http_1() {
    let authority = Authority::new();
    let settings = Settings { tokens: vec![token("one", "prod")], ..secured(authority.tls(None)) };
    let server = serve(settings);
    let client = authority.client_builder().build().unwrap();
    let post = |path: &str, token: &str, length: usize| {
        client.post(url(&server, path)).bearer_auth(token).body(vec![b' '; length]).send()
    };
    assert_eq!(post("/audit", "two", 1_000_000).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(post("/audit/lab", "one", 1_000_000).await.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(post("/other", "one", 1_000_000).await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(client.get(url(&server, "/audit")).send().await.unwrap().status().as_u16(), 405);
    let head = client.head(url(&server, "/audit")).send().await.unwrap();
    assert_eq!(head.status().as_u16(), 405);
    assert_eq!(head.text().await.unwrap(), "");
    assert_eq!(post("/audit", "one", 1_000_000).await.unwrap().status(), StatusCode::OK);
    assert_eq!(server.codes.connections.begun(), 1, "all on one connection");
}

#[tokio::test]
async fn a_certificate_of_a_client_tells_its_cluster() {
    let (servers, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let server = serve(secured(servers.tls(Some(&clients))));
    let prod = servers.client_with(&clients, "prod");
    let post = async |client: &reqwest::Client, path: &str| {
        client.post(url(&server, path)).body(batch(1)).send().await.map(|response| response.status().as_u16())
    };
    assert_eq!(post(&prod, "/audit").await.unwrap(), 200);
    assert_eq!(server.judge.seen()[0].cluster, "prod");
    assert_eq!(post(&prod, "/audit/lab").await.unwrap(), 403);
    assert_eq!(post(&servers.client_with(&clients, "no cluster"), "/audit").await.unwrap(), 401);
    assert!(post(&servers.client_with(&strangers, "prod"), "/audit").await.is_err());
    assert!(post(&servers.client_builder().build().unwrap(), "/audit").await.is_err());
    assert_eq!(server.judge.seen().len(), 1);
}

#[tokio::test]
async fn certificates_and_tokens_stand_side_by_side() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let tokens = vec![token("one", "lab")];
    let server = serve(Settings { tokens, ..secured(servers.tls(Some(&clients))) });
    let certified = servers.client_with(&clients, "prod");
    let anonymous = servers.client_builder().build().unwrap();
    for (client, token, code) in [
        (&certified, None, 200),
        (&certified, Some("one"), 403),
        (&certified, Some("two"), 401),
        (&anonymous, Some("one"), 200),
        (&anonymous, None, 401),
    ] {
        let mut request = client.post(url(&server, "/audit")).body(batch(1));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        assert_eq!(request.send().await.unwrap().status().as_u16(), code, "{token:?}");
    }
    let clusters: Vec<String> = server.judge.seen().into_iter().map(|seen| seen.cluster).collect();
    assert_eq!(clusters, ["prod", "lab"]);
}

#[tokio::test]
async fn names_in_certificates_may_be_mapped_to_clusters() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let mut tls = servers.tls(Some(&clients));
    tls.client_clusters = HashMap::from([("api.prod.example".to_owned(), "prod".to_owned())]);
    let server = serve(secured(tls));
    for (name, code) in [("api.prod.example", 200), ("prod", 401)] {
        let client = servers.client_with(&clients, name);
        let response = client.post(url(&server, "/audit")).body(batch(1)).send().await.unwrap();
        assert_eq!(response.status().as_u16(), code);
    }
    assert_eq!(server.judge.seen()[0].cluster, "prod");
    let mut tls = servers.tls(Some(&clients));
    tls.client_clusters = HashMap::from([("api".to_owned(), "../prod".to_owned())]);
    assert!(matches!(server.reloader.reload(Some(tls), Vec::new()), Err(AccessError::ClusterName(_))));
}

#[tokio::test]
async fn an_authority_that_is_taken_away_is_so_for_open_connections() {
    let (servers, old, new) = (Authority::new(), Authority::new(), Authority::new());
    let server = serve(secured(servers.tls(Some(&old))));
    let client = servers.client_with(&old, "prod");
    let post = async || {
        let response = client.post(url(&server, "/audit")).body(batch(1)).send().await;
        response.map(|response| response.status().as_u16())
    };
    assert_eq!(post().await.unwrap(), 200);
    server.reloader.reload(Some(servers.tls(Some(&new))), Vec::new()).unwrap();
    assert_eq!(post().await.unwrap(), 401);
    server.reloader.reload(Some(servers.tls(Some(&old))), Vec::new()).unwrap();
    assert_eq!(post().await.unwrap(), 200);
    assert_eq!(server.codes.connections.begun(), 1);
}

/// Clients that keep connections and clients that open new ones, while certificates and tokens change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_tokens_change_under_load_without_a_failed_request() {
    let authorities = [Authority::new(), Authority::new()];
    let tokens = |round: usize| vec![token(&format!("of round {round}"), "lab"), token("kept", "prod")];
    let server = Arc::new(serve(Settings { tokens: tokens(0), ..secured(authorities[0].tls(None)) }));
    let roots: Vec<_> = authorities
        .iter()
        .map(|authority| reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap())
        .collect();
    let is_over = Arc::new(AtomicBool::new(false));
    let posting: Vec<_> = (0..4)
        .map(|number| {
            let (server, is_over, roots) = (Arc::clone(&server), Arc::clone(&is_over), roots.clone());
            tokio::spawn(async move {
                let builder = || client_builder().tls_certs_only(roots.clone());
                let kept = builder().build().unwrap();
                let mut count = 0_usize;
                while !is_over.load(Ordering::Relaxed) {
                    let client = if number % 2 == 0 { &kept } else { &builder().build().unwrap() };
                    let request = client.post(url(&server, "/audit")).bearer_auth("kept").body(batch(5));
                    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
                    count += 1;
                }
                count
            })
        })
        .collect();
    for round in 1..=50 {
        server.reloader.reload(Some(authorities[round % 2].tls(None)), tokens(round)).unwrap();
        let seen = server.judge.seen().len();
        wait_for(|| server.judge.seen().len() >= seen + 4).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let mut count = 0;
    for task in posting {
        count += task.await.unwrap();
    }
    assert_eq!(server.judge.seen().len(), count);
    println!("{count} requests during 50 reloads, none failed");
}

#[tokio::test]
async fn a_handshake_must_come_in_time() {
    let limits = Limits { handshake_max: std::time::Duration::from_millis(50), ..Limits::default() };
    let server = serve(Settings { limits, ..secured(Authority::new().tls(None)) });
    assert_eq!(read_all(raw(&server, "").await).await, "");
    assert_eq!(read_all(raw(&server, "\x16\x03\x01").await).await, "");
}

#[test]
fn what_is_no_certificate_is_said_to_be_none() {
    let (certificate, key) = Authority::new().issue("one");
    let (_, other_key) = Authority::new().issue("two");
    let read = |certificate: &str, key: &str, ca: Option<&str>| {
        Tls::from_pem(certificate.as_bytes(), key.as_bytes(), ca.map(str::as_bytes))
    };
    assert!(matches!(read("", &key, None), Err(TlsError::Missing("certificate"))));
    assert!(matches!(read(&certificate, "", None), Err(TlsError::Pem { what: "private key", .. })));
    assert!(matches!(read(&certificate, &key, Some("x")), Err(TlsError::Missing("client authority"))));
    let mismatched = read(&certificate, &other_key, None).unwrap();
    let refused = ingest::webhook::Receiver::bind(secured(mismatched)).map(|_| ());
    let error = refused.unwrap_err();
    assert!(error.to_string().starts_with("certificate and key cannot be used: "), "{error}");
    assert!(!format!("{:?}", read(&certificate, &key, None).unwrap()).contains("PRIVATE"));
}
