//! Where events come from: what was configured, listening.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;

use anyhow::{Context, bail};
use ingest::webhook::{
    AccessError, BindError, Limits, Observer, Prepared, Receiver, Refused, Reloader, Settings, Tls, Token,
};
use metrics::{counter, gauge};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Lookout;
use super::lookout::Webhook;
use crate::config::{self, SecretSource};

/// A webhook that has its port: API servers wait until it is served.
pub(crate) struct Bound {
    name: String,
    receiver: Receiver,
    is_encrypted: bool,
}

/// A webhook that is served.
pub(crate) struct Listening {
    /// Its name in the configuration.
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) is_encrypted: bool,
    reloader: Reloader,
    served: JoinHandle<usize>,
}

impl Bound {
    /// Takes the port of a webhook.
    pub(crate) fn new(name: &str, webhook: &config::Webhook) -> anyhow::Result<Self> {
        let settings = Settings {
            listen: webhook.listen.0,
            tls: tls(webhook)?,
            tokens: tokens(webhook)?,
            insecure: webhook.insecure,
            limits: limits(webhook),
        };
        let is_encrypted = settings.tls.is_some();
        let receiver = Receiver::bind(settings).map_err(|error| explained(error, name))?;
        Ok(Self { name: name.to_owned(), receiver, is_encrypted })
    }

    /// Serves it until told to stop.
    pub(crate) fn serve(self, lookout: &Arc<Lookout>, stop: CancellationToken) -> Listening {
        let Self { name, receiver, is_encrypted } = self;
        let (address, reloader) = (receiver.local_addr(), receiver.reloader());
        let judge = Arc::new(Webhook {
            lookout: Arc::clone(lookout),
            source: name.as_str().into(),
            reading: Semaphore::new(reading_max()),
        });
        let receiver = receiver.observed_by(Arc::new(Counter));
        let served = tokio::spawn(async move { receiver.serve(judge, stop.cancelled_owned()).await });
        Listening { name, address, is_encrypted, reloader, served }
    }
}

/// Says why a webhook cannot have its port; an error of the system stays one.
fn explained(error: BindError, name: &str) -> anyhow::Error {
    match error {
        BindError::Listen { address, source } => anyhow::Error::new(source)
            .context(format!("cannot listen on `{address}` for the source `{name}`")),
        error @ BindError::Access(AccessError::Open(_)) => anyhow::Error::new(error).context(format!(
            "cannot start the source `{name}`, since anybody who can reach this address could send events \
             (add `tokens` or `tls.client_ca_file`, listen on `127.0.0.1`, or say `insecure: true`)"
        )),
        error => anyhow::Error::new(error).context(format!("cannot start the source `{name}`")),
    }
}

impl Listening {
    /// Makes ready other certificates and tokens; nothing changes yet.
    pub(crate) fn prepare(&self, webhook: &config::Webhook) -> anyhow::Result<Prepared> {
        let prepare = || anyhow::Ok(self.reloader.prepare(tls(webhook)?, tokens(webhook)?)?);
        prepare().with_context(|| format!("source `{}`", self.name))
    }

    /// Waits until what was being answered when it was told to stop is answered.
    pub(crate) async fn stopped(self) {
        match self.served.await {
            Ok(0) => {}
            Ok(count) => tracing::warn!(source = self.name, count, "connections were cut off"),
            Err(error) => tracing::error!(source = self.name, %error, "a source failed"),
        }
    }
}

/// Twice as many bodies as processors are read at once, since some wait for the disk, and those that are
/// read as they arrive, since they wait for their clients.
fn reading_max() -> usize {
    2 * available_parallelism().map_or(1, NonZeroUsize::get) + Limits::default().streams_max
}

fn limits(webhook: &config::Webhook) -> Limits {
    let config::Limits { connections, requests, memory, body, decoded, connection_age } = &webhook.limits;
    Limits {
        body_bytes_max: body.0,
        decoded_bytes_max: decoded.0,
        memory_bytes_max: usize::try_from(memory.0).unwrap_or(usize::MAX),
        requests_max: *requests as usize,
        connections_max: *connections as usize,
        connection_age_max: connection_age.0,
        ..Limits::default()
    }
}

fn tls(webhook: &config::Webhook) -> anyhow::Result<Option<Tls>> {
    let Some(files) = &webhook.tls else { return Ok(None) };
    let read = |path: &config::FilePath| {
        std::fs::read(&**path).with_context(|| format!("cannot read `{}`", path.display()))
    };
    let certificate = read(&files.certificate_file)?;
    let key = SecretSource::File(files.key_file.clone()).read()?;
    let client_ca = files.client_ca_file.as_ref().map(read).transpose()?;
    let mut tls = Tls::from_pem(&certificate, key.expose().as_bytes(), client_ca.as_deref())
        .with_context(|| format!("cannot use `{}`", files.certificate_file.display()))?;
    let clusters = files.client_clusters.iter();
    tls.client_clusters = clusters.map(|(name, cluster)| (name.clone(), cluster.to_string())).collect();
    Ok(Some(tls))
}

fn tokens(webhook: &config::Webhook) -> anyhow::Result<Vec<Token>> {
    let mut tokens = Vec::new();
    for token in &webhook.tokens {
        let hashes = token.hashes().with_context(|| format!("a token of cluster `{}`", token.cluster))?;
        tokens.extend(hashes.into_iter().map(|sha256| Token { cluster: token.cluster.to_string(), sha256 }));
    }
    if tokens.is_empty() && !webhook.tokens.is_empty() {
        bail!("no token can be used");
    }
    Ok(tokens)
}

/// Counts what receivers do.
struct Counter;

impl Observer for Counter {
    fn answered(&self, code: u16) {
        counter!("masthead_http_requests_total", "code" => code.to_string()).increment(1);
    }

    fn refused(&self, why: &'static str) {
        counter!("masthead_requests_refused_total", "reason" => why).increment(1);
    }

    fn request_begun(&self) {
        gauge!("masthead_requests_in_flight").increment(1.0);
    }

    fn request_ended(&self) {
        gauge!("masthead_requests_in_flight").decrement(1.0);
    }

    fn connection_begun(&self) {
        gauge!("masthead_connections_open").increment(1.0);
    }

    fn connection_ended(&self) {
        gauge!("masthead_connections_open").decrement(1.0);
    }

    fn connection_refused(&self, why: Refused) {
        counter!("masthead_connections_refused_total", "reason" => why.name()).increment(1);
    }
}
