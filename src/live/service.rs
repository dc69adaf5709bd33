//! Starts the parts in the order in which they need each other, and ends them in reverse.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use detect::redact::Redactor;
use detect::summary::counted;
use sinks::store::{Damaged, Opening, Options, Store, StoreError};
use tokio::runtime::Builder;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::chores::Chores;
#[cfg(feature = "kafka")]
use super::exchange::Exchange;
use super::figures::Figures;
#[cfg(feature = "kafka")]
use super::fleet::{self, Fleet};
use super::followers::Following;
use super::health::Health;
#[cfg(feature = "kafka")]
use super::kafka::Consuming;
use super::notice::{STORE_DAMAGED, notice};
use super::outlets::Outlets;
use super::reload::Signals;
use super::setup::Setup;
use super::sources::{Bound, Listening};
use super::{Current, Lookout, admin};
use crate::config::{Config, Source, Watch, Webhook};
use crate::interrupt;
use crate::terminal::Terminal;

/// How long threads that wait for the disk may take when everything else has ended.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// How many threads may wait for the disk or for clients at once: bodies that are being read, by webhook
/// twice the processors and some, and those who read the store while these wait for them.
const BLOCKING_THREADS_MAX: usize = 4_096;

/// Everything that runs.
pub(crate) struct Service {
    /// What it was started with.
    config: Config,
    pub(crate) lookout: Arc<Lookout>,
    pub(crate) health: Arc<Health>,
    pub(crate) outlets: Arc<Outlets>,
    pub(crate) webhooks: Vec<Listening>,
    /// Where it answers for metrics and health.
    admin: SocketAddr,
    followers: Vec<Following>,
    #[cfg(feature = "kafka")]
    fleet: Option<Fleet>,
    #[cfg(feature = "kafka")]
    consumers: Vec<Consuming>,
    chores: JoinHandle<()>,
    /// Stop in this order.
    stop_sources: CancellationToken,
    stop_chores: CancellationToken,
    stop_rest: CancellationToken,
}

/// Runs until somebody says that it is to stop; `read` reads again what it was told.
///
/// # Errors
/// Says what could not be started.
pub(crate) fn run(setup: Setup, read: super::reload::Read, terminal: &Terminal) -> anyhow::Result<()> {
    let runtime = Builder::new_multi_thread().max_blocking_threads(BLOCKING_THREADS_MAX).enable_all().build();
    let runtime = runtime.context("cannot start threads")?;
    // From the start, so that none ends the process without a word, and the second one in any case. In this
    // order none is lost between.
    let signals = runtime.block_on(async { Signals::listen() });
    interrupt::listen().context("cannot listen for signals")?;
    let Setup { config, rules, settings, files } = setup;
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let figures = Arc::new(Figures::install()?);
    let timed = Arc::clone(&figures);
    let options = Options { on_commit: Some(Arc::new(move |time, _| timed.committed(time))) };
    let (store, opening) =
        Store::open(&config.state_dir, options).map_err(|error| explained(error, &config.state_dir))?;
    let redactor = Redactor::new(store.derived_key("masthead redaction v1")?);
    let current = Current::new(rules, settings, redactor.clone());
    #[cfg(feature = "kafka")]
    let publisher = config.fleet.as_ref().map(fleet::publisher).transpose()?;
    #[cfg(feature = "kafka")]
    let exchange = publisher.clone().map(|publisher| Arc::new(publisher) as Arc<dyn Exchange>);
    #[cfg(not(feature = "kafka"))]
    let exchange = None;
    let handle = runtime.handle().clone();
    let lookout = Arc::new(Lookout::new(current, store, figures, redactor, handle, exchange)?);
    tell_opening(&lookout, &opening);
    lookout.rehearse();
    runtime.block_on(async {
        let signals = signals.context("cannot listen for signals")?;
        #[cfg(feature = "kafka")]
        let joined = publisher.zip(config.fleet.as_ref());
        #[cfg(feature = "kafka")]
        let joined = joined.map(|(publisher, fleet)| Fleet::start(fleet, publisher, &lookout)).transpose()?;
        let service = Service::start(lookout, &config, terminal).await?;
        #[cfg(feature = "kafka")]
        let service = Service { fleet: joined, ..service };
        service.announce();
        let (watch, changes) = Watch::start(files).context("cannot watch files")?;
        super::reload::until_stopped(&service, read, signals, watch, changes).await;
        service.stop().await;
        anyhow::Ok(())
    })?;
    runtime.shutdown_timeout(LAST_WAIT);
    Ok(())
}

impl Service {
    async fn start(lookout: Arc<Lookout>, config: &Config, terminal: &Terminal) -> anyhow::Result<Self> {
        // All ports before any source: one that cannot be had ends nothing that has begun.
        let admin_listener = admin::bind(config.admin.listen.0).await?;
        let bound = bound(config)?;
        let [stop_sources, stop_chores, stop_rest] = [(); 3].map(|()| CancellationToken::new());
        forget_sinks(&lookout, config).await?;
        let outlets = Arc::new(Outlets::start(&lookout, config, terminal, &stop_rest)?);
        let health = Arc::new(Health::new(Arc::clone(&lookout), Arc::clone(&outlets)));
        let mut followers = Vec::new();
        #[cfg(feature = "kafka")]
        let mut consumers = Vec::new();
        let positions = lookout.store.positions().await?;
        for (name, source) in &config.sources {
            match source {
                Source::Webhook(_) => {}
                Source::File(files) => {
                    let known = positions.get(&**name).map(Vec::as_slice);
                    let following = Following::start(name, files, known, &lookout, stop_sources.clone())?;
                    health.watch(&following.followed);
                    followers.push(following);
                }
                #[cfg(feature = "kafka")]
                Source::Kafka(kafka) => {
                    consumers.push(Consuming::start(name, kafka, &lookout, stop_sources.clone())?);
                }
            }
        }
        let serve = |bound: Bound| bound.serve(&lookout, stop_sources.clone());
        let webhooks = bound.into_iter().map(serve).collect();
        let admin = admin_listener.local_addr()?;
        admin::serve(admin_listener, Arc::clone(&health), stop_rest.clone());
        let chores = Chores {
            silent_after: config.silence.cluster_after.0,
            checkpoint_every: config.checkpoint_every.0,
            keep_for: config.retention.age.0,
            store_bytes_max: config.retention.size.0,
        };
        let chores = tokio::spawn(chores.run(Arc::clone(&lookout), stop_chores.clone()));
        Ok(Self {
            config: config.clone(),
            lookout,
            health,
            outlets,
            webhooks,
            admin,
            followers,
            #[cfg(feature = "kafka")]
            fleet: None,
            #[cfg(feature = "kafka")]
            consumers,
            chores,
            stop_sources,
            stop_chores,
            stop_rest,
        })
    }

    /// What of a configuration cannot be taken over while running.
    pub(crate) fn needs_restart(&self, config: &Config) -> Option<&'static str> {
        let fixed = |source: &Source| match source {
            // Certificates and tokens are taken over.
            Source::Webhook(webhook) => {
                Source::Webhook(Webhook { tls: None, tokens: Vec::new(), ..webhook.clone() })
            }
            other => other.clone(),
        };
        let sources = |config: &Config| -> Vec<_> {
            config.sources.iter().map(|(name, source)| (name.clone(), fixed(source))).collect()
        };
        let is_same = |before: bool, what| (!before).then_some(what);
        is_same(sources(&self.config) == sources(config), "a source")
            .or_else(|| is_same(self.config.sinks == config.sinks, "a sink"))
            .or_else(|| is_same(self.config.state_dir == config.state_dir, "`state_dir`"))
            .or_else(|| is_same(self.config.admin == config.admin, "`admin`"))
            .or_else(|| is_same(self.is_in_the_same_fleet(config), "`fleet`"))
            .or_else(|| is_same(self.config.retention == config.retention, "`retention`"))
            .or_else(|| is_same(self.config.silence == config.silence, "`silence`"))
            .or_else(|| {
                is_same(self.config.checkpoint_every == config.checkpoint_every, "`checkpoint_every`")
            })
            .or_else(|| is_same(self.config.log == config.log, "`log`"))
    }

    #[cfg(feature = "kafka")]
    fn is_in_the_same_fleet(&self, config: &Config) -> bool {
        self.config.fleet == config.fleet
    }

    #[cfg(not(feature = "kafka"))]
    #[allow(clippy::unused_self)]
    fn is_in_the_same_fleet(&self, _: &Config) -> bool {
        true
    }

    /// Says what it listens to, and where everything else is.
    fn announce(&self) {
        for Listening { name, address, is_encrypted, .. } in &self.webhooks {
            let scheme = if *is_encrypted { "https" } else { "http" };
            tracing::info!(source = name, url = format!("{scheme}://{address}/audit/<cluster>"), "listening");
        }
        let rules = self.lookout.current().detection.rules().len();
        let (state_dir, admin) = (self.config.state_dir.display(), format!("http://{}", self.admin));
        tracing::info!(rules, %state_dir, admin, "watching");
    }

    /// Ends everything: first nothing comes any more, then what came is dealt with.
    async fn stop(self) {
        tracing::info!("stopping");
        self.health.stop();
        self.stop_sources.cancel();
        for webhook in self.webhooks {
            webhook.stopped().await;
        }
        for follower in self.followers {
            follower.stopped().await;
        }
        #[cfg(feature = "kafka")]
        for consumer in self.consumers {
            consumer.stopped().await;
        }
        #[cfg(feature = "kafka")]
        if let Some(fleet) = self.fleet {
            fleet.stopped().await;
        }
        self.stop_chores.cancel();
        let _ = self.chores.await;
        self.stop_rest.cancel();
        self.outlets.stopped().await;
        self.lookout.store.clone().close().await;
        tracing::info!("stopped");
    }
}

/// Takes the ports of all webhooks.
fn bound(config: &Config) -> anyhow::Result<Vec<Bound>> {
    let webhooks = config.sources.iter().filter_map(|(name, source)| match source {
        Source::Webhook(webhook) => Some(Bound::new(name, webhook)),
        _ => None,
    });
    webhooks.collect()
}

/// Says why the store cannot be opened, and what to do about it.
fn explained(error: StoreError, folder: &Path) -> anyhow::Error {
    let place = folder.display();
    match error {
        StoreError::InUse { .. } => anyhow!(
            "`{place}` is in use by another process: another masthead runs on it; give this one another by `--state-dir`"
        ),
        error => anyhow::Error::new(error).context(format!("cannot open the store in `{place}`")),
    }
}

/// Forgets sinks that are not configured any more: alerts would be kept for them for ever.
async fn forget_sinks(lookout: &Lookout, config: &Config) -> anyhow::Result<()> {
    for sink in lookout.store.figures().await?.sinks {
        if !config.sinks.keys().any(|name| **name == *sink.sink) {
            tracing::warn!(
                sink = sink.sink,
                pending = sink.pending,
                dead = sink.dead_kept,
                "a sink is gone: what it has not got is not kept for it"
            );
            lookout.store.forget_sink(&sink.sink).await?;
        }
    }
    Ok(())
}

/// Says what was found in the state folder; damage is an alert.
fn tell_opening(lookout: &Lookout, opening: &Opening) {
    if let Some(damaged) = &opening.damaged {
        let Damaged { path, alerts_salvaged, others_salvaged, tables_cut } = damaged;
        let (path, tables_cut) = (path.display(), tables_cut.join(", "));
        tracing::error!(%path, alerts_salvaged, others_salvaged, tables_cut, "the store was damaged");
        let summary = format!("The store was damaged and begun anew; the damaged file is {path}");
        let taken = [counted(*alerts_salvaged, "alert"), counted(*others_salvaged, "other row")].join(", ");
        let cut = if tables_cut.is_empty() { "none" } else { &tables_cut };
        let detail = format!("taken over: {taken}; tables that could not be read to their end: {cut}");
        lookout.tell(vec![notice(STORE_DAMAGED, "store", summary, Some(detail), chrono::Utc::now())]);
        // Not before the alert is durable: otherwise the next start tells it.
        if lookout.untold().is_empty()
            && let Err(error) = lookout.store.acknowledge_damage()
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "the damage will be told again");
        }
    }
}
