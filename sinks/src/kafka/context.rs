//! What the client says from its own threads: reports of messages, complaints, log lines.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use tokio::sync::mpsc;

use super::failure::Failure;
use super::link::Link;
use crate::delivery::shown;

/// How many lines of the client are logged in one [`LINES_PERIOD`]: it says the same at each try.
const LINES_MAX: u32 = 20;

/// For how long lines are counted.
const LINES_PERIOD: Duration = Duration::from_secs(60);

/// What became of a message.
#[derive(Debug)]
pub(super) struct Report {
    /// The alert's number.
    pub(super) number: u64,
    /// Whether the brokers have it.
    pub(super) outcome: Result<(), Failure>,
}

/// Where the client's threads put what they say.
pub(super) struct Context {
    link: Link,
    reports: mpsc::Sender<Report>,
    complaint: Mutex<Option<(Instant, Failure)>>,
    lines: Mutex<(Instant, u32)>,
}

impl Context {
    pub(super) fn new(link: Link, reports: mpsc::Sender<Report>) -> Self {
        let lines = Mutex::new((Instant::now(), 0));
        Self { link, reports, complaint: Mutex::new(None), lines }
    }

    /// What the client last complained of since a moment.
    pub(super) fn complaint(&self, since: Instant) -> Option<Failure> {
        let complaint = self.complaint.lock().unwrap_or_else(PoisonError::into_inner);
        complaint.as_ref().filter(|(at, _)| *at >= since).map(|(_, failure)| failure.clone())
    }

    /// Whether another line may be logged; the first that may not is told of.
    fn may_log(&self) -> bool {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.0.elapsed() >= LINES_PERIOD {
            *lines = (Instant::now(), 0);
        }
        lines.1 = lines.1.saturating_add(1);
        if lines.1 == LINES_MAX + 1 {
            tracing::warn!("the Kafka client says more than is logged");
        }
        lines.1 <= LINES_MAX
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: Level, facility: &str, message: &str) {
        if !self.may_log() {
            return;
        }
        let message = shown(message);
        match level {
            Level::Emerg | Level::Alert | Level::Critical | Level::Error => {
                tracing::warn!(facility, message, "the Kafka client failed");
            }
            Level::Warning | Level::Notice => tracing::info!(facility, message, "the Kafka client warned"),
            Level::Info | Level::Debug => tracing::debug!(facility, message, "the Kafka client spoke"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
        let mut complaint = self.complaint.lock().unwrap_or_else(PoisonError::into_inner);
        // That all brokers are down says less than why the last one is.
        let has_cause = complaint.as_ref().is_some_and(|(at, _)| at.elapsed() < LINES_PERIOD);
        match &mut *complaint {
            Some((at, _)) if code == Code::AllBrokersDown && has_cause => *at = Instant::now(),
            complaint => *complaint = Some((Instant::now(), Failure::new(code, reason))),
        }
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let token = self.link.token()?;
        Ok(OAuthToken { token: token.text, principal_name: token.principal, lifetime_ms: token.ends_ms })
    }
}

impl ProducerContext for Context {
    /// The alert's number.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let outcome = result.as_ref().map(drop).map_err(|(error, _)| Failure::of(error));
        // There is room for all that may be under way; nobody listens any more once the producer ends.
        let _ = self.reports.try_send(Report { number: number as u64, outcome });
    }
}
