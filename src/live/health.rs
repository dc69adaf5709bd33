//! Whether it lives and is ready, and what there is to know about it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use metrics::{counter, gauge};
use serde::Serialize;
use sinks::delivery::Status;

use super::Lookout;
use super::figures::precise;
use super::outlets::Outlets;

/// What is asked from outside.
pub(crate) struct Health {
    lookout: Arc<Lookout>,
    outlets: Arc<Outlets>,
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    is_stopping: bool,
    reloaded_at: Option<DateTime<Utc>>,
    /// Why the last reload was not taken over.
    reload_error: Option<String>,
}

/// Whether it is ready, and what an operator would want to know.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) is_ready: bool,
    is_stopping: bool,
    rule_count: usize,
    reloaded_at: Option<String>,
    reload_error: Option<String>,
    /// Why nothing could be stored when that was last tried. It is as ready as before: it refuses batches
    /// so that they are sent again, which nobody else would do.
    store_error: Option<String>,
    sinks: Vec<SinkReport>,
    clusters: Vec<ClusterReport>,
}

#[derive(Debug, Serialize)]
struct SinkReport {
    sink: String,
    pending: u64,
    dead: u64,
    failing_for_s: Option<u64>,
    last_error: Option<String>,
}

#[derive(Debug, Serialize)]
struct ClusterReport {
    cluster: String,
    last_event_age_s: u64,
}

impl Health {
    pub(crate) fn new(lookout: Arc<Lookout>, outlets: Arc<Outlets>) -> Self {
        Self { lookout, outlets, state: Mutex::default() }
    }

    /// Notes that it is about to stop: nobody should send to it any more.
    pub(crate) fn stop(&self) {
        self.state().is_stopping = true;
    }

    /// Notes how a reload went.
    pub(crate) fn reloaded(&self, result: Result<(), String>) {
        let name = if result.is_ok() { "ok" } else { "failed" };
        counter!("masthead_reloads_total", "result" => name).increment(1);
        let mut state = self.state();
        state.reload_error = result.err();
        if state.reload_error.is_none() {
            state.reloaded_at = Some(Utc::now());
        }
    }

    /// Gives a sink once more what it refused for good, and says what became of it; nothing if there
    /// is no such sink.
    pub(crate) async fn replay(&self, sink: &str) -> Option<String> {
        let replayed = self.outlets.replay(&self.lookout.store, sink).await?;
        Some(match replayed {
            Ok((taken_count, refused_count)) => {
                format!("{taken_count} taken, {refused_count} refused again\n")
            }
            Err(error) => format!("{error}\n"),
        })
    }

    /// What there is to know.
    pub(crate) fn report(&self) -> Report {
        let State { is_stopping, reloaded_at, reload_error, .. } = self.state().clone();
        let clusters = self.lookout.clusters.all();
        Report {
            is_ready: !is_stopping,
            is_stopping,
            rule_count: self.lookout.current().detection.rules().len(),
            reloaded_at: reloaded_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true)),
            reload_error,
            store_error: self.lookout.store_error(),
            sinks: self
                .outlets
                .figures()
                .map(|(sink, figures)| SinkReport::new(sink, figures.status()))
                .collect(),
            clusters: clusters
                .iter()
                .map(|cluster| ClusterReport {
                    cluster: cluster.name.clone(),
                    last_event_age_s: cluster.heard().at.elapsed().as_secs(),
                })
                .collect(),
        }
    }

    /// Everything that is counted, as Prometheus reads it.
    pub(crate) async fn metrics(&self) -> String {
        gauge!("masthead_rules_loaded").set(precise(self.lookout.current().detection.rules().len() as u64));
        let now = Utc::now();
        for cluster in self.lookout.clusters.all() {
            let heard = cluster.heard();
            let name = cluster.name.clone();
            for (reason, count) in cluster.losses() {
                counter!("masthead_correlation_losses_total", "cluster" => name.clone(), "reason" => reason)
                    .absolute(count);
            }
            gauge!("masthead_cluster_last_event_age_seconds", "cluster" => name.clone())
                .set(heard.at.elapsed().as_secs_f64());
            if let Some((event_at, came_at)) = heard.latest {
                let lag = (now - event_at).as_seconds_f64() - came_at.elapsed().as_secs_f64();
                gauge!("masthead_event_lag_seconds", "cluster" => name).set(lag);
            }
        }
        for (sink, figures) in self.outlets.figures() {
            show(sink, &figures.status());
        }
        counter!("masthead_store_failures_total").absolute(self.lookout.store.failures());
        let mut imbalance = 0;
        match self.lookout.store.figures().await {
            Ok(stored) => {
                gauge!("masthead_store_bytes").set(precise(stored.bytes));
                imbalance = stored.imbalance();
            }
            Err(error) => tracing::warn!(error = %anyhow::Error::from(error), "cannot count what is stored"),
        }
        self.lookout.figures.render(imbalance)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report {
    pub(crate) fn to_json(&self) -> String {
        // Texts and numbers can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl SinkReport {
    fn new(sink: &str, status: Status) -> Self {
        let failing_for = status.failing_since.and_then(|since| SystemTime::now().duration_since(since).ok());
        Self {
            sink: sink.to_owned(),
            pending: status.pending,
            dead: status.dead,
            failing_for_s: failing_for.map(|duration| duration.as_secs()),
            last_error: status.last_error.filter(|_| status.failing_since.is_some()),
        }
    }
}

fn show(sink: &str, status: &Status) {
    let name = || sink.to_owned();
    counter!("masthead_sink_delivered_total", "sink" => name()).absolute(status.delivered);
    counter!("masthead_sink_dead_total", "sink" => name()).absolute(status.dead);
    counter!("masthead_sink_retries_total", "sink" => name()).absolute(status.retries);
    gauge!("masthead_sink_pending", "sink" => name()).set(precise(status.pending));
}
