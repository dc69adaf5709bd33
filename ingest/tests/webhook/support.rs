//! A receiver on a free port, a judge that remembers, and clients.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ingest::webhook::{
    Body, BodyError, Judge, Judged, Limits, Observer, Receiver, Refusal, Reloader, Settings, Tls, Token,
};
use ingest::{Frame, Frames, MalformedKind};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

/// The longest any test waits for what should happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a judge has seen of one body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) cluster: String,
    pub(crate) events: u64,
    pub(crate) malformed: Vec<&'static str>,
    /// How the reader failed, if it did.
    pub(crate) failure: Option<BodyError>,
}

/// Takes bodies apart and remembers what was in them.
pub(crate) struct Recorder {
    seen: Mutex<Vec<Seen>>,
    refusal: Mutex<Option<Refusal>>,
    /// One permit for each body that has been begun.
    pub(crate) begun: Semaphore,
    /// Whether judging panics.
    pub(crate) is_broken: AtomicBool,
    /// How many bodies have been judged to their end.
    pub(crate) finished: AtomicUsize,
    /// A body is finished by taking a permit.
    pub(crate) gate: Semaphore,
    /// How long to wait after each event, to be a slow judge.
    pause: Duration,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self {
            seen: Mutex::default(),
            refusal: Mutex::default(),
            begun: Semaphore::new(0),
            is_broken: AtomicBool::new(false),
            finished: AtomicUsize::new(0),
            gate: Semaphore::new(Semaphore::MAX_PERMITS / 2),
            pause: Duration::ZERO,
        }
    }

    /// Finishes bodies only when the gate is given permits.
    pub(crate) fn gated() -> Self {
        Self { gate: Semaphore::new(0), ..Self::new() }
    }

    /// Waits a little after each event.
    pub(crate) fn slow(pause: Duration) -> Self {
        Self { pause, ..Self::new() }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn refuse(&self, refusal: Option<Refusal>) {
        *self.refusal.lock().unwrap() = refusal;
    }

    /// Waits until as many more bodies have been begun.
    pub(crate) async fn begun(&self, count: u32) {
        let begun = tokio::time::timeout(PATIENCE, self.begun.acquire_many(count)).await;
        begun.expect("no body came").unwrap().forget();
    }
}

impl Judge for Recorder {
    async fn judge(&self, body: Body) -> Result<Judged, Refusal> {
        self.begun.add_permits(1);
        assert!(!self.is_broken.load(Ordering::Relaxed), "broken on purpose");
        let refusal = *self.refusal.lock().unwrap();
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let pause = self.pause;
        let seen = tokio::task::spawn_blocking(move || read(body, pause)).await.unwrap();
        self.seen.lock().unwrap().push(seen.clone());
        self.gate.acquire().await.unwrap().forget();
        self.finished.fetch_add(1, Ordering::Relaxed);
        let quarantined_count = seen.malformed.len() as u64;
        Ok(Judged { event_count: seen.events, quarantined_count })
    }
}

fn read(body: Body, pause: Duration) -> Seen {
    let Body { content, cluster, .. } = body;
    let mut frames = Frames::new(content.into_reader());
    let mut seen = Seen { cluster, events: 0, malformed: Vec::new(), failure: None };
    while let Some(frame) = frames.next() {
        match frame {
            Frame::Event { .. } => seen.events += 1,
            Frame::Malformed(malformed) => {
                seen.malformed.push(malformed.kind.name());
                if let MalformedKind::Unreadable(error) = &malformed.kind {
                    seen.failure = BodyError::of(error);
                }
            }
        }
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    }
    seen
}

/// A receiver that is served.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) judge: Arc<Recorder>,
    pub(crate) reloader: Reloader,
    pub(crate) codes: Arc<Codes>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<usize>,
}

impl Server {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Asks it to stop, without waiting for it.
    pub(crate) fn begin_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// How many connections were cut off when it stopped.
    pub(crate) async fn stopped(self) -> usize {
        tokio::time::timeout(PATIENCE, self.served).await.expect("it never stops").unwrap()
    }
}

/// Remembers what an observer is told.
#[derive(Default)]
pub(crate) struct Codes {
    pub(crate) answered: Mutex<Vec<u16>>,
    pub(crate) refused: Mutex<Vec<&'static str>>,
    pub(crate) connections: Tally,
    pub(crate) requests: Tally,
}

/// How many have begun and ended.
#[derive(Default)]
pub(crate) struct Tally {
    begun: AtomicUsize,
    ended: AtomicUsize,
}

impl Tally {
    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }

    /// Waits until so many have begun.
    pub(crate) async fn begin(&self, count: usize) {
        wait_for(|| self.begun() >= count).await;
    }

    /// Waits until all that have begun have ended.
    pub(crate) async fn end(&self) {
        wait_for(|| self.ended() == self.begun()).await;
    }
}

/// Waits until something is true.
pub(crate) async fn wait_for(is_true: impl Fn() -> bool) {
    let waiting = async {
        while !is_true() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it does not happen");
}

impl Observer for Codes {
    fn answered(&self, code: u16) {
        self.answered.lock().unwrap().push(code);
    }

    fn refused(&self, why: &'static str) {
        self.refused.lock().unwrap().push(why);
    }

    fn request_begun(&self) {
        self.requests.begun.fetch_add(1, Ordering::Relaxed);
    }

    fn request_ended(&self) {
        self.requests.ended.fetch_add(1, Ordering::Relaxed);
    }

    fn connection_begun(&self) {
        self.connections.begun.fetch_add(1, Ordering::Relaxed);
    }

    fn connection_ended(&self) {
        self.connections.ended.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) fn open() -> Settings {
    Settings::open("127.0.0.1:0".parse().unwrap())
}

pub(crate) fn with_limits(limits: Limits) -> Settings {
    Settings { limits, ..open() }
}

pub(crate) fn token(token: &str, cluster: &str) -> Token {
    Token { cluster: cluster.to_owned(), sha256: Sha256::digest(token).into() }
}

pub(crate) fn serve(settings: Settings) -> Server {
    serve_judged(settings, Recorder::new())
}

pub(crate) fn serve_judged(settings: Settings, judge: Recorder) -> Server {
    let codes = Arc::new(Codes::default());
    let receiver = Receiver::bind(settings).unwrap().observed_by(Arc::clone(&codes) as Arc<dyn Observer>);
    let (address, reloader) = (receiver.local_addr(), receiver.reloader());
    let (stop, stopped) = oneshot::channel();
    let judge = Arc::new(judge);
    let served = tokio::spawn(receiver.serve(Arc::clone(&judge), async {
        // A test that forgets its server does not stop it.
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
    }));
    Server { address, judge, reloader, codes, stop: Some(stop), served }
}

/// A batch as an API server posts it.
pub(crate) fn batch(count: u64) -> String {
    let items: Vec<String> = (0..count).map(event).collect();
    let head = r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#;
    format!("{head}{}]}}\n", items.join(","))
}

pub(crate) fn event(number: u64) -> String {
    format!(
        r#"{{"level":"Metadata","auditID":"{number}","stage":"ResponseComplete","requestURI":"/api/v1/pods","verb":"list","user":{{"username":"alice"}}}}"#
    )
}

pub(crate) fn client_builder() -> reqwest::ClientBuilder {
    // Whoever comes second finds it done.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(PATIENCE).no_proxy().redirect(reqwest::redirect::Policy::none())
}

pub(crate) fn client() -> reqwest::Client {
    client_builder().build().unwrap()
}

pub(crate) async fn post(server: &Server, path: &str, body: impl Into<reqwest::Body>) -> reqwest::Response {
    client().post(server.url(path)).body(body).send().await.unwrap()
}

/// A connection that says what it is told to.
pub(crate) async fn raw(server: &Server, text: impl AsRef<[u8]>) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(text.as_ref()).await.unwrap();
    stream
}

/// Everything a server says until it ends the connection.
pub(crate) async fn read_all(mut stream: impl AsyncReadExt + Unpin) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    // A reset ends a connection as well.
    let _ = read.expect("the connection stays open");
    String::from_utf8(bytes).unwrap()
}

/// A certificate authority and what it has issued.
pub(crate) struct Authority {
    certificate: rcgen::Certificate,
    key: rcgen::KeyPair,
    parameters: rcgen::CertificateParams,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        Self { certificate, key, parameters }
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A certificate for a name, which is also one of its alternative names, and its key.
    pub(crate) fn issue(&self, name: &str) -> (String, String) {
        let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        let issuer = rcgen::Issuer::from_params(&self.parameters, &self.key);
        (parameters.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    }

    /// What a server at `127.0.0.1` shows, asking for certificates of `clients`.
    pub(crate) fn tls(&self, clients: Option<&Authority>) -> Tls {
        let (certificate, key) = self.issue("127.0.0.1");
        let client_ca = clients.map(Authority::pem);
        Tls::from_pem(certificate.as_bytes(), key.as_bytes(), client_ca.as_ref().map(String::as_bytes))
            .unwrap()
    }

    /// What begins TLS as a client that believes this authority.
    pub(crate) fn connector(&self) -> tokio_rustls::TlsConnector {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        tokio_rustls::TlsConnector::from(Arc::new(config))
    }

    /// A client that believes this authority.
    pub(crate) fn client_builder(&self) -> reqwest::ClientBuilder {
        let root = reqwest::Certificate::from_pem(self.pem().as_bytes()).unwrap();
        client_builder().tls_certs_only([root])
    }

    /// A client that shows a certificate of `clients` with this name.
    pub(crate) fn client_with(&self, clients: &Authority, name: &str) -> reqwest::Client {
        let (certificate, key) = clients.issue(name);
        let identity = reqwest::Identity::from_pem(format!("{key}{certificate}").as_bytes()).unwrap();
        self.client_builder().identity(identity).build().unwrap()
    }
}
