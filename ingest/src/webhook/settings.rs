//! How a receiver is set up, and the limits it keeps.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Tls, Token};

/// How a receiver is set up.
#[derive(Debug)]
pub struct Settings {
    /// Where it listens; port 0 is any free one.
    pub listen: SocketAddr,
    /// What it shows and asks for in TLS; without it, it speaks plain HTTP.
    pub tls: Option<Tls>,
    /// Who may post.
    pub tokens: Vec<Token>,
    /// Whether anybody may post though it listens beyond loopback.
    pub insecure: bool,
    /// What it keeps to.
    pub limits: Limits,
}

impl Settings {
    /// Plain HTTP for anybody, which is refused beyond loopback.
    pub fn open(listen: SocketAddr) -> Self {
        Self { listen, tls: None, tokens: Vec::new(), insecure: false, limits: Limits::default() }
    }
}

/// As many clusters have a handful of API servers each, with a connection or two.
const CONNECTIONS_MAX: usize = 4096;

/// Half of all: one host cannot shut out the others, and a proxy before all API servers is
/// still not in its way.
const CONNECTIONS_PER_ADDRESS_MAX: usize = CONNECTIONS_MAX / 2;

/// Bodies being judged. Judging is work for processors, so more at once only wait for each
/// other; commits are shared, so some waiting is cheap. One client has half of them.
const REQUESTS_MAX: usize = 256;

/// Bodies held at once. A batch of 400 events is about 1 MiB.
const MEMORY_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Up to here a body is collected before it is judged, so that a slow client costs no thread.
const COLLECTED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Larger bodies judged while they arrive: each keeps a thread as long as its client is slow.
/// One client has half of them.
const STREAMS_MAX: usize = 8;

/// A batch has no limit of its own when truncation is off; 400 events of
/// [`EVENT_BYTES_MAX`](super::EVENT_BYTES_MAX) fit in this. It is judged as it arrives, so its length costs time alone.
const BODY_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;

/// What a compressed body may unfold to. API servers do not compress, and what is small may unfold to much work.
const DECODED_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Audit logs shrink to a twentieth, at times to a fiftieth.
const DECODED_RATIO_MAX: u64 = 200;

/// The API server sends a few hundred bytes; tokens may be of some KiB.
const HEADER_BYTES_MAX: usize = 32 * 1024;

/// The API server sends six.
const HEADERS_MAX: usize = 64;

/// The API server sends batches side by side on one connection.
const STREAMS_PER_CONNECTION_MAX: u32 = 64;

/// A round trip or two.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// API servers connect when they have something to say.
const FIRST_REQUEST_MAX: Duration = Duration::from_secs(30);

/// From the first byte of a header to its last.
const HEADER_MAX: Duration = Duration::from_secs(10);

/// Longer than the 90 s after which Go's clients close an idle connection themselves, so that
/// no request meets a connection that is just being closed.
const IDLE_MAX: Duration = Duration::from_secs(120);

/// Between two pieces of a body.
const BODY_PAUSE_MAX: Duration = Duration::from_secs(10);

/// How long a body may be waited for whatever its rate.
const BODY_GRACE: Duration = Duration::from_secs(10);

/// How long a rate is looked at: long enough that one lost packet does not count.
const BODY_RATE_WINDOW: Duration = Duration::from_secs(5);

/// Slower than any network between data centres.
const BODY_BYTES_PER_SECOND_MIN: u64 = 16 * 1024;

/// Long enough that handshakes do not show, short enough that load spreads over a new replica.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(600);

/// What is in flight may end in this time when it stops. The API server would give up after 30 s,
/// but sinks and the store still have their turn, and 35 s after it was asked the process has ended.
const DRAIN_MAX: Duration = Duration::from_secs(18);

/// What a receiver keeps to, so that no client can take it from the others.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How many connections may be open.
    pub connections_max: usize,
    /// How many connections may be open from one address.
    pub connections_per_address_max: usize,
    /// How many bodies may be judged at once; 503 beyond.
    pub requests_max: usize,
    /// How many bytes of bodies may be held at once; 503 beyond.
    pub memory_bytes_max: usize,
    /// Bodies up to this are collected before they are judged, others judged as they arrive.
    pub collected_bytes_max: usize,
    /// How many bodies may be judged as they arrive; 503 beyond.
    pub streams_max: usize,
    /// The largest body, as it is sent; what is beyond is quarantined unread.
    pub body_bytes_max: u64,
    /// The largest compressed body, decoded; what is beyond is quarantined unread.
    pub decoded_bytes_max: u64,
    /// How many times its size a body may unfold to, once that is large.
    pub decoded_ratio_max: u64,
    /// The largest header of a request.
    pub header_bytes_max: usize,
    /// How many fields a header may have.
    pub headers_max: usize,
    /// How many requests may run side by side on one HTTP/2 connection.
    pub streams_per_connection_max: u32,
    /// How long a TLS handshake may take.
    pub handshake_max: Duration,
    /// How long a new connection may be silent.
    pub first_request_max: Duration,
    /// How long a header may take from its first byte.
    pub header_max: Duration,
    /// How long a connection may be silent between requests.
    pub idle_max: Duration,
    /// How long a body may pause.
    pub body_pause_max: Duration,
    /// How long a body may be waited for before its rate counts.
    pub body_grace: Duration,
    /// For how long at a time the rate of a body is measured.
    pub body_rate_window: Duration,
    /// The rate that a body must keep up, in every such time.
    pub body_bytes_per_second_min: u64,
    /// How old a connection may become, give or take a fifth.
    pub connection_age_max: Duration,
    /// How long requests in flight are waited for when it stops.
    pub drain_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            connections_per_address_max: CONNECTIONS_PER_ADDRESS_MAX,
            requests_max: REQUESTS_MAX,
            memory_bytes_max: MEMORY_BYTES_MAX,
            collected_bytes_max: COLLECTED_BYTES_MAX,
            streams_max: STREAMS_MAX,
            body_bytes_max: BODY_BYTES_MAX,
            decoded_bytes_max: DECODED_BYTES_MAX,
            decoded_ratio_max: DECODED_RATIO_MAX,
            header_bytes_max: HEADER_BYTES_MAX,
            headers_max: HEADERS_MAX,
            streams_per_connection_max: STREAMS_PER_CONNECTION_MAX,
            handshake_max: HANDSHAKE_MAX,
            first_request_max: FIRST_REQUEST_MAX,
            header_max: HEADER_MAX,
            idle_max: IDLE_MAX,
            body_pause_max: BODY_PAUSE_MAX,
            body_grace: BODY_GRACE,
            body_rate_window: BODY_RATE_WINDOW,
            body_bytes_per_second_min: BODY_BYTES_PER_SECOND_MIN,
            connection_age_max: CONNECTION_AGE_MAX,
            drain_max: DRAIN_MAX,
        }
    }
}
