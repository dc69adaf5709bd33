//! Clients of every bad sort at once, and good ones among them, which must not notice.
//!
//! With `MASTHEAD_HOSTILE=full` there are 1,000 idle TLS connections, a batch of 200 MB and 10,000
//! made-up clusters; a few of each unless set.

#![allow(clippy::expect_used, clippy::float_cmp, clippy::panic, clippy::print_stderr, clippy::unwrap_used)]

mod running;

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use running::load::{Load, Poster};
use running::{Site, TO_DISK, batch, client, free_address};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

/// What the process may take in memory whatever comes: bodies take 128 MiB of it at most, what waits
/// for the store 64 MiB, and the rest is windows, threads and an allocator that keeps some.
const RESIDENT_MIB_MAX: u64 = 512;
/// How long good clients may wait, but for one in a hundred, on machines that are busy: what is not
/// optimised shares two processors with those who torment it. What is measured is printed.
const GOOD_MAX: Duration = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 });
/// How many are slow at once, with headers and with bodies each.
const SLOW: usize = 50;
/// What an endless header gets rid of before its connection ends, with what kernels hold.
const HEADER_BYTES_MAX: u64 = 32 << 20;

/// How many items a body has none of which is an event.
const CRUMBS: u32 = 1 << 20;
/// How often a large batch is tried, as by an API server.
const TRIES: usize = 5;

/// How much of everything there is.
struct Amounts {
    idle: usize,
    batch_mib: usize,
    clusters: usize,
}

fn amounts() -> Amounts {
    if std::env::var_os("MASTHEAD_HOSTILE").is_some_and(|value| value == "full") {
        return Amounts { idle: 1000, batch_mib: 200, clusters: 10_000 };
    }
    Amounts { idle: 60, batch_mib: 16, clusters: 200 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_clients_do_not_notice_bad_ones() {
    allow_files(8192);
    let mut site = Site::new();
    let secure = free_address();
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    site.write("server.crt", &identity.cert.pem());
    site.write("server.key", &identity.signing_key.serialize_pem());
    site.sources = format!(
        "  secure:\n    type: webhook\n    listen: '{secure}'\n    \
         tls: {{ certificate_file: server.crt, key_file: server.key }}\n"
    );
    site.configure(TO_DISK);
    let running = site.start().await;
    let amounts = amounts();
    let Amounts { idle, batch_mib, clusters } = amounts;

    let good = Poster { pause: Duration::from_millis(20), ..Poster::new(site.url("lab")) };
    // A cluster that is known is not crowded out by those that are made up.
    assert_eq!(large_batch(site.listen, 1).await, 10);
    let quiet = Load::begin("quiet", 2, &good);
    quiet.until_more(10).await;
    let quiet = quiet.end().await;

    let load = Load::begin("good", 2, &good);
    let over = CancellationToken::new();
    let resident = tokio::spawn(most_resident(running.id(), over.clone()));
    let mut endless = JoinSet::new();
    for _ in 0..SLOW {
        endless.spawn(slow(site.listen, "POST /audit/lab HTTP/1.1\r\nhost: a\r\n", over.clone()));
        let head = "POST /audit/lab HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n[";
        endless.spawn(slow(site.listen, head, over.clone()));
    }
    let ended = Arc::new(AtomicU64::new(0));
    endless.spawn(endless_headers(site.listen, Arc::clone(&ended), over.clone()));
    let certificate = identity.cert.der().clone();
    let (held, taken, evaluated, bombs, crumbs) = tokio::join!(
        idle_connections(secure, certificate, idle),
        made_up_clusters(&site, clusters),
        large_batch(site.listen, batch_mib),
        bomb(&site),
        crumble(&site),
    );
    load.until_more(20).await;
    running::until("an endless header ends", async || ended.load(Ordering::Relaxed) > 0).await;
    over.cancel();
    while let Some(ended) = endless.join_next().await {
        ended.unwrap();
    }
    let seen = load.end().await;
    let most_kib = resident.await.unwrap();

    let (half, most) = seen.percentiles();
    eprintln!(
        "good clients: {} batches, half within {half:?}, 99 of 100 within {most:?}",
        seen.latencies.len()
    );
    let (half, most_before) = quiet.percentiles();
    eprintln!("before the bad ones: half within {half:?}, 99 of 100 within {most_before:?}");
    eprintln!("memory: {} MiB at most", most_kib / 1024);
    eprintln!(
        "{idle} idle connections, {taken} of {clusters} made-up clusters taken, {evaluated} events at once"
    );
    eprintln!("bombs were answered with {bombs:?}, crumbs with {crumbs:?}");
    assert_eq!(held.len(), idle);
    assert!(evaluated > 0 && taken > 0);
    assert!(most < GOOD_MAX, "good clients wait for {most:?}");
    assert!(most_kib / 1024 < RESIDENT_MIB_MAX, "it takes {most_kib} KiB");
    assert_eq!(seen.refused(), 0, "{:?}", seen.codes);
    running.until_delivered().await;
    assert_eq!(running.metric("masthead_ledger_imbalance").await, 0.0);
    let quarantined = running.metric("masthead_events_quarantined_total").await;
    assert!(quarantined > f64::from(CRUMBS), "{quarantined} items are counted");
    drop(held);
    assert_eq!(running.stop().0, Some(0));
    site.check_ledger(&seen.acknowledged);
    let reading = sinks::store::Reading::open(&site.path("state")).unwrap();
    let kept = reading.quarantine(0, 1000).unwrap();
    assert!(kept.len() < 1000 && kept.iter().any(|kept| kept.item.reason.contains("more items")));
}

#[tokio::test]
async fn what_a_client_takes_for_its_body_is_measured_with_the_rest() {
    const PAUSE: Duration = Duration::from_millis(300);
    let site = Site::new();
    let running = site.start().await;
    let body = batch(&["slow".to_owned()]);
    let mut stream = TcpStream::connect(site.listen).await.unwrap();
    let head = format!(
        "POST /audit/lab HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(PAUSE).await;
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let longest = running.metric_of("masthead_received_to_durable_seconds", "quantile=\"1\"").await;
    assert!(longest >= PAUSE.as_secs_f64(), "{longest} s");
    running.stop();
}

/// Lets this process and what it starts have so many files open, if it may.
fn allow_files(count: u32) {
    let mut command = std::process::Command::new("prlimit");
    command.args(["--pid", &std::process::id().to_string(), &format!("--nofile={count}:")]);
    // What may not be is met later, by a connection that cannot be made.
    let _ = command.stderr(std::process::Stdio::null()).status();
}

/// The most memory that a process was seen to take, in KiB.
async fn most_resident(process: u32, over: CancellationToken) -> u64 {
    let mut most = 0;
    while !over.is_cancelled() {
        most = most.max(running::resident_kib(process));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    most
}

/// Sends a beginning, then a byte now and then; when it is cut off, again.
async fn slow(address: SocketAddr, head: &str, over: CancellationToken) {
    let attack = async {
        loop {
            let Ok(mut stream) = TcpStream::connect(address).await else { continue };
            let mut bytes = head.as_bytes();
            while stream.write_all(bytes).await.is_ok() {
                bytes = b"a";
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    };
    over.run_until_cancelled(attack).await;
}

/// Sends headers that never end; when it is cut off, again.
async fn endless_headers(address: SocketAddr, ended: Arc<AtomicU64>, over: CancellationToken) {
    let attack = async {
        loop {
            let Ok(mut stream) = TcpStream::connect(address).await else { continue };
            let _ = stream.write_all(b"POST /audit/lab HTTP/1.1\r\nx-a: ").await;
            let (mut sent, letters) = (0, vec![b'a'; 65536]);
            while stream.write_all(&letters).await.is_ok() {
                sent += letters.len() as u64;
                assert!(sent < HEADER_BYTES_MAX, "a header of any length is read");
            }
            ended.fetch_add(1, Ordering::Relaxed);
        }
    };
    over.run_until_cancelled(attack).await;
}

/// Connections that have shaken hands and say nothing.
async fn idle_connections(
    address: SocketAddr,
    certificate: rustls::pki_types::CertificateDer<'static>,
    count: usize,
) -> Vec<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let mut connecting = JoinSet::new();
    let mut held = Vec::new();
    for _ in 0..count {
        if connecting.len() >= 16 {
            held.push(connecting.join_next().await.unwrap().unwrap());
        }
        let connector = connector.clone();
        connecting.spawn(async move {
            let stream = TcpStream::connect(address).await.unwrap();
            connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
        });
    }
    held.extend(connecting.join_all().await);
    held
}

/// Posts as clusters that nobody has; how many were taken.
async fn made_up_clusters(site: &Site, count: usize) -> u64 {
    let next = Arc::new(AtomicU64::new(0));
    let taken = Arc::new(AtomicU64::new(0));
    let mut posting = JoinSet::new();
    for _ in 0..8 {
        let (next, taken, site_url) = (Arc::clone(&next), Arc::clone(&taken), site.url(""));
        posting.spawn(async move {
            let client = client();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count as u64 {
                    return;
                }
                let name = format!("made-up-{number}");
                let url = site_url.replace("/audit/", &format!("/audit/{name}"));
                let answer = client.post(url).body(batch(&[name])).send().await.unwrap();
                match answer.status().as_u16() {
                    200 => taken.fetch_add(1, Ordering::Relaxed),
                    503 => 0,
                    other => panic!("a cluster of any name is answered with {other}"),
                };
            }
        });
    }
    posting.join_all().await;
    taken.load(Ordering::Relaxed)
}

/// Posts one batch of so many MiB until it is taken; how many events were evaluated.
async fn large_batch(address: SocketAddr, mib: usize) -> u64 {
    let event = format!(
        r#"{{"level":"RequestResponse","auditID":"large","stage":"ResponseComplete","requestURI":"/api/v1/pods","verb":"get","user":{{"username":"alice"}},"responseObject":{{"data":"{}"}}}}"#,
        "x".repeat(100_000)
    );
    let count = mib * (1 << 20) / event.len();
    for _ in 0..TRIES {
        let begun = Instant::now();
        let answer = send_large(address, &event, count).await.unwrap_or_else(|error| error.to_string());
        if answer.starts_with("HTTP/1.1 200") {
            assert!(answer.contains(&format!("{{\"evaluated\":{count},\"quarantined\":0}}")), "{answer}");
            eprintln!("a batch of {mib} MiB took {:?}", begun.elapsed());
            return count as u64;
        }
        eprintln!("a batch of {mib} MiB was refused after {:?}: {answer}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("a large batch is never taken");
}

/// Sends a batch without saying how long it is; the answer.
async fn send_large(address: SocketAddr, event: &str, count: usize) -> std::io::Result<String> {
    let (mut reading, mut writing) = TcpStream::connect(address).await?.into_split();
    let sending = async {
        let head = "POST /audit/large HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
        writing.write_all(head.as_bytes()).await?;
        send_chunk(&mut writing, r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":["#).await?;
        for number in 0..count {
            let comma = if number == 0 { "" } else { "," };
            send_chunk(&mut writing, &format!("{comma}{event}")).await?;
        }
        send_chunk(&mut writing, "]}").await?;
        writing.write_all(b"0\r\n\r\n").await
    };
    let mut answer = String::new();
    // An answer that comes early says more than the failure to go on.
    let (_, read) = tokio::join!(sending, reading.read_to_string(&mut answer));
    read.map(|_| answer)
}

async fn send_chunk(writing: &mut OwnedWriteHalf, text: &str) -> std::io::Result<()> {
    writing.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await
}

/// Posts what unfolds to a thousand times its size.
async fn bomb(site: &Site) -> Vec<u16> {
    let blanks = vec![b' '; 1 << 20];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&blanks).unwrap();
    // Both forms may be put one behind the other.
    let [gzip, zstd] =
        [gzip.finish().unwrap(), zstd::encode_all(&blanks[..], 1).unwrap()].map(|once| once.repeat(64));
    let mut codes = Vec::new();
    for (encoding, body) in [("gzip", gzip), ("zstd", zstd)] {
        let request = client().post(site.url("lab")).header("content-encoding", encoding).body(body);
        codes.push(request.send().await.unwrap().status().as_u16());
    }
    assert_eq!(codes, [200, 200], "an API server would send it again, or lose it");
    codes
}

/// Posts a batch of as many items as fit, none of which is an event.
async fn crumble(site: &Site) -> u16 {
    let body = format!("[{}0]", "0,".repeat(CRUMBS as usize));
    let answer = client().post(site.url("lab")).body(body).send().await.unwrap();
    answer.status().as_u16()
}
