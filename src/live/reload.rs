//! Takes over what was changed while running, or says why not.

use std::io;
use std::sync::Arc;

use anyhow::{Context, bail};
use chrono::Utc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::Current;
use super::chores::blocking;
use super::notice::{RELOAD_FAILED, notice};
use super::service::Service;
use super::setup::{Setup, SetupError};
use crate::config::{Config, Source, Watch};
use ingest::webhook::Prepared;

/// Reads again what it was told.
pub(crate) type Read = Arc<dyn Fn() -> Result<Setup, SetupError> + Send + Sync>;

/// What whoever runs it may tell it.
pub(crate) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    pub(crate) fn listen() -> io::Result<Self> {
        let [hangup, terminate, interrupt] =
            [SignalKind::hangup(), SignalKind::terminate(), SignalKind::interrupt()].map(signal);
        Ok(Self { hangup: hangup?, terminate: terminate?, interrupt: interrupt? })
    }

    /// Waits until it is to stop.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Reloads whenever that is asked for, until it is to stop.
pub(crate) async fn until_stopped(
    service: &Service,
    read: Read,
    mut signals: Signals,
    mut watch: Watch,
    mut changes: mpsc::Receiver<()>,
) {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            _ = signals.hangup.recv() => {}
            Some(()) = changes.recv() => {}
        }
        tokio::select! {
            () = reload(service, &read, &mut watch, &mut changes) => {}
            () = signals.stop() => return,
        }
    }
}

/// Takes over what can be taken over while running. What is wrong changes nothing.
async fn reload(service: &Service, read: &Read, watch: &mut Watch, changes: &mut mpsc::Receiver<()>) {
    // What has changed until now is read now, whoever says so: a signal and a look are one reload.
    let seen = watch.seen();
    let _ = tokio::task::spawn_blocking(move || seen.all()).await;
    while changes.try_recv().is_ok() {}
    let result = match take_over(service, read, watch).await {
        Ok(()) => {
            tracing::info!(rules = service.lookout.current().detection.rules().len(), "reloaded");
            Ok(())
        }
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(error, "the reload failed: what was in force stays so");
            let summary = format!("A reload failed, so what was in force stays so: {error}");
            let new = notice(RELOAD_FAILED, "configuration", summary, None, Utc::now());
            blocking(&service.lookout, move |lookout| lookout.tell(vec![new])).await;
            Err(error)
        }
    };
    service.health.reloaded(result);
}

/// Everything that can be wrong comes before the first change: what is read, then certificates and
/// tokens, then what correlations remember, whose change is the last that can fail.
async fn take_over(service: &Service, read: &Read, watch: &mut Watch) -> anyhow::Result<()> {
    let read = Arc::clone(read);
    let prepared = blocking(&service.lookout, move |lookout| {
        let Setup { config, rules, settings, files } = read()?;
        anyhow::Ok((config, files, Current::new(rules, settings, lookout.redactor.clone())))
    });
    let (config, files, current) = prepared.await.context("a thread failed")??;
    watch.set(files);
    if let Some(what) = service.needs_restart(&config) {
        bail!("{what} changed, which takes a restart");
    }
    let webhooks = made_ready(service, &config)?;
    let reloaded = blocking(&service.lookout, move |lookout| lookout.reload(current)).await;
    reloaded.context("a thread failed")?.context("what correlations remember cannot be read")?;
    webhooks.into_iter().for_each(Prepared::put_in_force);
    service.outlets.route(config.routes);
    Ok(())
}

/// The certificates and tokens of all webhooks.
fn made_ready(service: &Service, config: &Config) -> anyhow::Result<Vec<Prepared>> {
    let mut prepared = Vec::new();
    for webhook in &service.webhooks {
        if let Some(Source::Webhook(settings)) = config.sources.get(webhook.name.as_str()) {
            prepared.push(webhook.prepare(settings)?);
        }
    }
    Ok(prepared)
}
