//! Accepts connections, gives each its limits, and ends them in order.
//!
//! **Invariant:** a connection is never waited for without a limit, and none is cut off while it
//! carries a request that keeps to its limits, unless the receiver itself must end.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::http::{HeaderValue, Request, Version, header};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::Access;
use super::addresses::{Addresses, Counted};
use super::observer::Refused;
use super::peer::Peer;
use super::pulse::{Pulse, Watched};
use super::{Limits, Observer};

/// How long accepting rests when it fails, as it does when no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What an HTTP/2 client may send ahead of being read, for one request and for all of them.
const WINDOW_BYTES: u32 = 1024 * 1024;

/// How often a silent HTTP/2 client is asked whether it is still there, and how long it may take.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_MAX: Duration = Duration::from_secs(20);

/// All connections of a receiver.
pub(super) struct Connections {
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
    addresses: Arc<Addresses>,
    tasks: TaskTracker,
}

/// What all connections share.
struct Shared {
    router: TowerToHyperService<Router>,
    access: Arc<ArcSwap<Access>>,
    limits: Limits,
    observer: Arc<dyn Observer>,
    protocol: Builder<TokioExecutor>,
    open: AtomicUsize,
    /// Cancelled when requests in flight are to be the last ones.
    stopping: CancellationToken,
    /// Cancelled when they have had their time.
    cut: CancellationToken,
}

impl Connections {
    pub(super) fn new(
        router: Router,
        access: Arc<ArcSwap<Access>>,
        limits: Limits,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let room = Arc::new(Semaphore::new(limits.connections_max.min(Semaphore::MAX_PERMITS)));
        let addresses = Arc::new(Addresses::new(limits.connections_per_address_max));
        let shared = Shared {
            router: TowerToHyperService::new(router),
            access,
            protocol: protocol(&limits),
            limits,
            observer,
            open: AtomicUsize::new(0),
            stopping: CancellationToken::new(),
            cut: CancellationToken::new(),
        };
        Self { shared: Arc::new(shared), room, addresses, tasks: TaskTracker::new() }
    }

    /// Accepts connections for as long as it is polled.
    pub(super) async fn accept_all(&self, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, address)) => self.accept(stream, address),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn accept(&self, stream: TcpStream, address: SocketAddr) {
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            return self.shared.observer.connection_refused(Refused::Full);
        };
        let Some(counted) = self.addresses.count(address.ip()) else {
            return self.shared.observer.connection_refused(Refused::AddressFull);
        };
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            let _open = Open::new(&shared, (permit, counted));
            shared.carry(stream, address).await;
        });
    }

    /// Lets requests in flight end, for `drain_max` at most, and then what is being judged;
    /// returns how many connections were cut off.
    pub(super) async fn stop(self, drain_max: Duration, judging: &TaskTracker) -> usize {
        self.shared.stopping.cancel();
        self.tasks.close();
        judging.close();
        let drained = timeout(drain_max, async {
            self.tasks.wait().await;
            judging.wait().await;
        });
        if drained.await.is_ok() {
            return 0;
        }
        let left = self.shared.open.load(Ordering::Relaxed);
        self.shared.cut.cancel();
        self.tasks.wait().await;
        left
    }
}

/// Errors that concern the connection that was to be accepted, not those to come.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// Both versions of HTTP, within limits.
fn protocol(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // `Watched` tells a header that takes long from a connection that is idle.
        .header_read_timeout(None)
        .max_headers(limits.headers_max)
        .max_buf_size(limits.header_bytes_max);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits.streams_per_connection_max)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_MAX);
    builder
}

/// An open connection; counted until dropped.
struct Open<'a> {
    shared: &'a Shared,
    _room: (OwnedSemaphorePermit, Counted),
}

impl<'a> Open<'a> {
    fn new(shared: &'a Shared, room: (OwnedSemaphorePermit, Counted)) -> Self {
        shared.open.fetch_add(1, Ordering::Relaxed);
        shared.observer.connection_begun();
        Self { shared, _room: room }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
        self.shared.observer.connection_ended();
    }
}

/// A request in flight; counted until dropped.
struct InFlight(Arc<Shared>);

impl InFlight {
    fn new(shared: Arc<Shared>) -> Self {
        shared.observer.request_begun();
        Self(shared)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.observer.request_ended();
    }
}

impl Shared {
    /// Carries the requests of one connection, from its first byte to its last.
    async fn carry(self: &Arc<Self>, stream: TcpStream, address: SocketAddr) {
        // Answers are small, and somebody waits for them.
        let _ = stream.set_nodelay(true);
        let access = self.access.load_full();
        let Some(secured) = &access.tls else {
            return self.serve(stream, Peer::new(address, Vec::new())).await;
        };
        let accept = TlsAcceptor::from(Arc::clone(&secured.config)).accept(stream);
        let accepted = tokio::select! {
            accepted = timeout(self.limits.handshake_max, accept) => accepted,
            () = self.stopping.cancelled() => return,
        };
        drop(access);
        match accepted {
            Ok(Ok(stream)) => {
                let chain = stream.get_ref().1.peer_certificates();
                let chain = chain.unwrap_or_default().iter().cloned().map(CertificateDer::into_owned);
                let peer = Peer::new(address, chain.collect());
                self.serve(stream, peer).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(peer = %address, %error, "no TLS");
                self.observer.connection_refused(Refused::Handshake);
            }
            Err(_) => self.observer.connection_refused(Refused::HandshakeTimeout),
        }
    }

    async fn serve<S>(self: &Arc<Self>, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let address = peer.address;
        let peer = Arc::new(peer);
        let pulse = Arc::new(Pulse::default());
        let stream = TokioIo::new(Watched::new(stream, Arc::clone(&pulse), &self.limits));
        let service = service_fn(|request| self.answer(request, &peer, &pulse));
        let mut connection = pin!(self.protocol.serve_connection(stream, service));
        tokio::select! {
            ended = connection.as_mut() => return note_end(address, ended),
            () = sleep(jittered(self.limits.connection_age_max)) => {}
            () = pulse.silent.notified() => {}
            () = self.stopping.cancelled() => {}
        }
        // HTTP/1 cannot say beforehand that a connection is about to end, except in an answer.
        pulse.retire();
        if pulse.is_multiplexed() {
            connection.as_mut().graceful_shutdown();
        }
        tokio::select! {
            ended = connection.as_mut() => return note_end(address, ended),
            // Whoever neither reads answers nor asks anything cannot stay for ever.
            () = sleep(self.limits.connection_age_max) => return,
            () = self.stopping.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            ended = connection => note_end(address, ended),
            () = self.cut.cancelled() => {}
        }
    }

    fn answer(
        self: &Arc<Self>,
        mut request: Request<Incoming>,
        peer: &Arc<Peer>,
        pulse: &Arc<Pulse>,
    ) -> impl Future<Output = Result<Response, Infallible>> + use<> {
        let is_multiplexed = request.version() >= Version::HTTP_2;
        let beat = pulse.begin(is_multiplexed);
        let in_flight = InFlight::new(Arc::clone(self));
        request.extensions_mut().insert(Arc::clone(peer));
        let answered = self.router.call(request);
        async move {
            let mut response = answered.await?;
            if beat.is_last() && !is_multiplexed {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            in_flight.0.observer.answered(response.status().as_u16());
            drop((in_flight, beat));
            Ok(response)
        }
    }
}

fn note_end(peer: SocketAddr, ended: Result<(), Box<dyn Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%peer, error = &*error, "a connection failed");
    }
}

/// A duration, give or take a fifth.
fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(fastrand::f64().mul_add(0.4, 0.8))
}
