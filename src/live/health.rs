//! Whether it lives and is ready, and what there is to know about it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use metrics::{Counter, counter, gauge};
use serde::Serialize;
use sinks::delivery::Status;

use super::Lookout;
use super::figures::precise;
use super::followed::{self, Followed};
use super::outlets::Outlets;
use super::tallies::Series;

/// What is asked from outside.
pub(crate) struct Health {
    lookout: Arc<Lookout>,
    outlets: Arc<Outlets>,
    followed: Mutex<Vec<Arc<Followed>>>,
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
    /// Why other instances cannot be told what correlations count: it is not ready.
    fleet_error: Option<String>,
    /// The sources that stand still.
    failed_sources: Vec<SourceReport>,
    sinks: Vec<SinkReport>,
    clusters: Vec<ClusterReport>,
}

/// A source that stands still though it should not.
#[derive(Debug, Serialize)]
pub(crate) struct SourceReport {
    pub(crate) source: String,
    pub(crate) failure: String,
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
        // From 0 on, or Prometheus could not tell the first one.
        for result in ["ok", "failed"] {
            reloads(result).increment(0);
        }
        Self { lookout, outlets, followed: Mutex::default(), state: Mutex::default() }
    }

    /// Keeps an eye on files that are followed.
    pub(crate) fn watch(&self, followed: &Arc<Followed>) {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(followed));
    }

    /// The sources that stand still though they should not, and why.
    pub(crate) fn failures(&self) -> Vec<SourceReport> {
        let report = |followed: Arc<Followed>| {
            Some(SourceReport { failure: followed.failure()?, source: followed.source.clone() })
        };
        self.followed().into_iter().filter_map(report).collect()
    }

    fn followed(&self) -> Vec<Arc<Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that it is about to stop: nobody should send to it any more.
    pub(crate) fn stop(&self) {
        self.state().is_stopping = true;
    }

    /// Notes how a reload went.
    pub(crate) fn reloaded(&self, result: Result<(), String>) {
        reloads(if result.is_ok() { "ok" } else { "failed" }).increment(1);
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
        let fleet_error = self.lookout.fleet_error();
        Report {
            is_ready: !is_stopping && fleet_error.is_none(),
            is_stopping,
            rule_count: self.lookout.current().detection.rules().len(),
            reloaded_at: reloaded_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true)),
            reload_error,
            store_error: self.lookout.store_error(),
            fleet_error,
            failed_sources: self.failures(),
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
        gauge!("masthead_correlation_memory_bytes")
            .set(precise(self.lookout.clusters.budget.used_bytes() as u64));
        let (waiting, given_up) = {
            let untold = self.lookout.untold();
            (untold.len(), untold.given_up())
        };
        gauge!("masthead_alerts_not_durable").set(precise(waiting as u64));
        counter!("masthead_notices_given_up_total").absolute(given_up);
        gauge!("masthead_fleet_failing").set(f64::from(u8::from(self.lookout.fleet_error().is_some())));
        for (sink, figures) in self.outlets.figures() {
            show(sink, &figures.status());
        }
        counter!("masthead_store_failures_total").absolute(self.lookout.store.failures());
        let mut imbalance = 0;
        match self.lookout.store.figures().await {
            Ok(stored) => {
                gauge!("masthead_store_bytes").set(precise(stored.bytes));
                gauge!("masthead_store_matches").set(precise(stored.matches));
                gauge!("masthead_store_match_bytes").set(precise(stored.match_bytes));
                counter!("masthead_store_matches_dropped_total").absolute(stored.matches_dropped);
                imbalance = stored.imbalance();
            }
            Err(error) => tracing::warn!(error = %anyhow::Error::from(error), "cannot count what is stored"),
        }
        let sources = self.followed();
        let sources: Vec<&Followed> = sources.iter().map(|followed| &**followed).collect();
        self.lookout.figures.render(imbalance) + &self.of_clusters() + &followed::render(&sources)
    }

    /// What is known of each cluster now, as Prometheus reads it. Not counted for the whole
    /// process, which would remember every name that somebody makes up.
    fn of_clusters(&self) -> String {
        let clusters = self.lookout.clusters.all();
        let mut series = Series::default();
        series.begin("masthead_correlation_losses_total");
        for cluster in &clusters {
            for (reason, count) in cluster.losses() {
                series.add(&[("cluster", &cluster.name), ("reason", reason)], count);
            }
        }
        series.begin("masthead_cluster_last_event_age_seconds");
        for cluster in &clusters {
            series.add(&[("cluster", &cluster.name)], cluster.heard().at.elapsed().as_secs_f64());
        }
        series.begin("masthead_event_lag_seconds");
        let now = Utc::now();
        for cluster in &clusters {
            if let Some((event_at, came_at)) = cluster.heard().latest {
                let lag = (now - event_at).as_seconds_f64() - came_at.elapsed().as_secs_f64();
                series.add(&[("cluster", &cluster.name)], lag);
            }
        }
        series.text
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

/// The reloads that ended in this way.
fn reloads(result: &'static str) -> Counter {
    counter!("masthead_reloads_total", "result" => result)
}

fn show(sink: &str, status: &Status) {
    let name = || sink.to_owned();
    counter!("masthead_sink_delivered_total", "sink" => name()).absolute(status.delivered);
    counter!("masthead_sink_dead_total", "sink" => name()).absolute(status.dead);
    counter!("masthead_sink_retries_total", "sink" => name()).absolute(status.retries);
    gauge!("masthead_sink_pending", "sink" => name()).set(precise(status.pending));
}
