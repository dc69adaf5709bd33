//! What operators and their systems ask: metrics, and whether it lives and is ready.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::health::{Health, SourceReport};

/// What there is to ask for.
const INDEX: &str = "\
GET  /metrics            what is counted, as Prometheus reads it
GET  /healthz            whether it lives
GET  /readyz             whether it is ready, and what of it is not well
POST /sinks/NAME/replay  gives a sink once more what it refused for good
";

/// Takes the address; who asks waits until it is served.
pub(crate) async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on `{address}` for `admin`"))
}

/// Answers until told to stop.
pub(crate) fn serve(listener: TcpListener, health: Arc<Health>, stop: CancellationToken) {
    let router = Router::new()
        .route("/", get(INDEX))
        .route("/metrics", get(metrics))
        .route("/healthz", get(liveness))
        .route("/readyz", get(readiness))
        .route("/sinks/{name}/replay", post(replay))
        .with_state(health);
    tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the admin listener ended");
        }
    });
}

async fn metrics(State(health): State<Arc<Health>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], health.metrics().await)
}

/// It lives as long as everything reads that should.
async fn liveness(State(health): State<Arc<Health>>) -> (StatusCode, String) {
    let failures = health.failures();
    if failures.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    let lines =
        failures.iter().map(|SourceReport { source, failure }| format!("source {source}: {failure}\n"));
    (StatusCode::SERVICE_UNAVAILABLE, lines.collect())
}

async fn readiness(State(health): State<Arc<Health>>) -> impl IntoResponse {
    let report = health.report();
    let status = if report.is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CONTENT_TYPE, "application/json")], report.to_json())
}

/// Asked by hand: it changes what a sink gets, so it is a POST.
async fn replay(
    State(health): State<Arc<Health>>,
    Path(sink): Path<String>,
    headers: HeaderMap,
) -> impl IntoResponse {
    // A page in somebody's browser must not do what an operator may.
    if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
        return (StatusCode::FORBIDDEN, "not for browsers\n".to_owned());
    }
    match health.replay(&sink).await {
        Some(said) => (StatusCode::OK, said),
        None => (StatusCode::NOT_FOUND, "no such sink\n".to_owned()),
    }
}
