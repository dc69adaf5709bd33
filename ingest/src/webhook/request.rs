//! Takes one request: who posts it, whether there is room for it, and what is answered.
//!
//! **Invariant:** everything that can refuse a request without its body does so before the body
//! is looked at; a body that is judged is judged to its end, also if its client has gone.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use axum::body::HttpBody;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, Method, Version, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Extension, Router};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::task::TaskTracker;

use super::access::{Access, is_cluster_name};
use super::body::{self, Arrival, Piece, Received, Stored};
use super::decoding::{self, check_encoding};
use super::peer::Peer;
use super::rejection::Rejection;
use super::room::{Room, Share};
use super::{Body, Judge, Judged, Limits, Observer, Party, Refusal};

/// What all requests share.
pub(super) struct Service<J> {
    pub(super) judge: Arc<J>,
    pub(super) access: Arc<ArcSwap<Access>>,
    pub(super) room: Room,
    pub(super) limits: Limits,
    pub(super) judging: TaskTracker,
    pub(super) observer: Arc<dyn Observer>,
}

/// What is known of a request that is let in.
struct Admitted {
    cluster: String,
    party: Party,
    received_at: Instant,
    /// The length of its body, if it is known.
    length: Option<u64>,
}

/// Everything that can be asked of a receiver.
pub(super) fn router<J: Judge>(service: Arc<Service<J>>) -> Router {
    Router::new()
        .route("/audit", any(receive::<J>))
        .route("/audit/", any(receive::<J>))
        .route("/audit/{cluster}", any(receive_named::<J>))
        .fallback(lost)
        .with_state(service)
}

/// Whether a body is left unread, so that an answer ends the connection.
struct Rest {
    is_multiplexed: bool,
    is_left: bool,
}

impl Rest {
    fn of(request: &Request) -> Self {
        Self {
            is_multiplexed: request.version() >= Version::HTTP_2,
            is_left: !request.body().is_end_stream(),
        }
    }

    /// That of a request that nobody wants: a short body is read nevertheless, since some clients take
    /// an answer that comes before they have sent everything for a broken connection.
    async fn unwanted(request: Request) -> Self {
        let rest = Self::of(&request);
        // Who asks first whether he may send it has not begun to.
        let is_sent = rest.is_left && !request.headers().contains_key(header::EXPECT);
        Self { is_left: rest.is_left && !(is_sent && body::discard(request.into_body()).await), ..rest }
    }
}

/// Answers what has no path of ours. Who posts nothing, such as a load balancer that asks for a sign of life, has not
/// lost his way.
async fn lost(request: Request) -> Response {
    let rejection = if request.method() == Method::POST { Rejection::Path } else { Rejection::Method };
    let rest = Rest::unwanted(request).await;
    reject(rejection, &rest)
}

async fn receive<J: Judge>(
    State(service): State<Arc<Service<J>>>,
    Extension(peer): Extension<Arc<Peer>>,
    request: Request,
) -> Response {
    service.respond(&peer, None, request).await
}

async fn receive_named<J: Judge>(
    State(service): State<Arc<Service<J>>>,
    Extension(peer): Extension<Arc<Peer>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    match path {
        Ok(Path(name)) if is_cluster_name(&name) => service.respond(&peer, Some(&name), request).await,
        _ if request.method() != Method::POST => lost(request).await,
        _ => {
            let rejection = Rejection::ClusterName;
            tracing::warn!(peer = %peer.address, path = request.uri().path(), %rejection, "refused a request");
            let rest = Rest::unwanted(request).await;
            reject(rejection, &rest)
        }
    }
}

impl<J: Judge> Service<J> {
    async fn respond(&self, peer: &Peer, named: Option<&str>, request: Request) -> Response {
        let mut rest = Rest::of(&request);
        let taken = match self.admit(peer, named, &request) {
            Ok(admitted) => {
                let arrival = Arrival::new(request.into_body(), &self.limits);
                self.take(admitted, arrival, &mut rest).await
            }
            Err(rejection) => {
                // What is welcome later is not sent now, for there is too much to do.
                if rejection.passing().is_none() {
                    rest = Rest::unwanted(request).await;
                }
                Err(rejection)
            }
        };
        match taken {
            Ok(judged) => accept(judged, &rest),
            Err(rejection) => {
                self.note(peer, named, rejection);
                reject(rejection, &rest)
            }
        }
    }

    /// Counts and tells what is to be sent again.
    fn note(&self, peer: &Peer, named: Option<&str>, rejection: Rejection) {
        if let Some(reason) = rejection.passing() {
            self.observer.refused(reason);
            tracing::warn!(peer = %peer.address, path = named, reason, "a request is to be sent again");
        }
    }

    /// What is known of a request, or why it is not taken.
    fn admit(&self, peer: &Peer, named: Option<&str>, request: &Request) -> Result<Admitted, Rejection> {
        let received_at = Instant::now();
        if request.method() != Method::POST {
            return Err(Rejection::Method);
        }
        // A page in somebody's browser could otherwise reach a port of his own machine.
        if request.headers().contains_key(header::ORIGIN) || request.headers().contains_key("sec-fetch-site")
        {
            return Err(Rejection::Browser);
        }
        let access = self.access.load_full();
        let cluster = access
            .cluster(peer.certified_cluster(&access), request.headers(), named)
            .inspect_err(|rejection| tracing::info!(peer = %peer.address, %rejection, "refused a request"))?;
        check_encoding(request.headers())?;
        let party = access.party(&cluster, peer.address);
        let length = request.body().size_hint().exact();
        let collected_bytes_max = self.limits.collected_bytes_max;
        let expected = length.map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
        self.room.expect(&party, if expected > collected_bytes_max { 0 } else { expected })?;
        Ok(Admitted { cluster, party, received_at, length })
    }

    /// Receives a body and has it judged.
    async fn take(&self, admitted: Admitted, arrival: Arrival, rest: &mut Rest) -> Result<Judged, Rejection> {
        let memory = self.room.memory(&admitted.party);
        let stored = match body::collect(arrival, memory, admitted.length, &self.limits).await? {
            Received::Part(stored, pieces, arrival) => {
                return self.take_part(admitted, stored, pieces, arrival, rest).await;
            }
            Received::Whole(stored) => stored,
        };
        rest.is_left = stored.is_cut();
        self.judge(admitted, stored, None)?.await.map_err(|error| failed(&error))?.map_err(Rejection::Refused)
    }

    /// Has a body judged while it arrives.
    async fn take_part(
        &self,
        admitted: Admitted,
        stored: Stored,
        pieces: mpsc::Sender<Piece>,
        arrival: Arrival,
        rest: &mut Rest,
    ) -> Result<Judged, Rejection> {
        let stream = self.room.stream(&admitted.party)?;
        let judging = self.judge(admitted, stored, Some(stream))?;
        let (passed_on, judged) = tokio::join!(arrival.pass_on(pieces), judging);
        match passed_on {
            Ok(is_all) => rest.is_left = !is_all,
            Err(error) if error.is_incomplete() => return Err(Rejection::Refused(Refusal::Incomplete)),
            Err(_) => {}
        }
        judged.map_err(|error| failed(&error))?.map_err(Rejection::Refused)
    }

    /// Begins to judge a body, in a task of its own: what has been made durable must reach
    /// everybody who counts on it, whether or not the client still waits.
    fn judge(
        &self,
        admitted: Admitted,
        stored: Stored,
        stream: Option<Share>,
    ) -> Result<JoinHandle<Result<Judged, Refusal>>, Refusal> {
        let Admitted { cluster, party, received_at, .. } = admitted;
        let request = self.room.request(&party)?;
        let judge = Arc::clone(&self.judge);
        let content = decoding::content(stored, &self.limits);
        Ok(self.judging.spawn(async move {
            let judged = judge.judge(Body { content, cluster, party, received_at }).await;
            drop((request, stream));
            judged
        }))
    }
}

fn failed(error: &JoinError) -> Rejection {
    tracing::error!(%error, "judging a body failed");
    Rejection::Failed
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn accept(judged: Judged, rest: &Rest) -> Response {
    let Judged { event_count, quarantined_count } = judged;
    let text = format!("{{\"evaluated\":{event_count},\"quarantined\":{quarantined_count}}}\n");
    let response = ([(header::CONTENT_TYPE, "application/json")], text).into_response();
    closing(response, rest)
}

fn reject(rejection: Rejection, rest: &Rest) -> Response {
    closing(rejection.into_response(), rest)
}

/// Says that the connection ends, if that is how the rest of a body is left behind.
fn closing(mut response: Response, rest: &Rest) -> Response {
    if rest.is_left && !rest.is_multiplexed {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
