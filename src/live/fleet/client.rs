//! How the library of Kafka is set up, and what it says.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use chrono::Utc;
use rdkafka::ClientConfig;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

use crate::config::{Connection, ConnectionError, bearer_token};

/// How often the same kind of complaint is logged.
const COMPLAINT_EVERY: Duration = Duration::from_secs(10);
/// How large a message may be: a standing of the most groups takes 3 MiB.
pub(super) const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// How brokers are reached.
#[derive(Clone, Debug)]
pub(super) struct Connecting {
    connection: Connection,
}

impl Connecting {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// What every client begins with. Secrets and certificates are read again.
    pub(super) fn config(&self) -> Result<ClientConfig, ConnectionError> {
        let mut config = ClientConfig::new();
        for (name, value) in self.connection.properties()? {
            config.set(name, value);
        }
        config.set("message.max.bytes", MESSAGE_BYTES_MAX.to_string());
        config.set("reconnect.backoff.max.ms", "2000");
        config.set("allow.auto.create.topics", "false");
        config.set_log_level(RDKafkaLogLevel::Warning);
        Ok(config)
    }

    pub(super) fn voice(&self) -> Voice {
        Voice { token_file: self.connection.token_file().map(|path| path.0), complained_at: Mutex::default() }
    }
}

/// Passes on what the library says, and gives it tokens.
#[derive(Debug)]
pub(super) struct Voice {
    token_file: Option<PathBuf>,
    complained_at: Mutex<Option<Instant>>,
}

impl ClientContext for Voice {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "kafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let Ok(mut complained_at) = self.complained_at.lock() else { return };
        if complained_at.is_none_or(|at| at.elapsed() >= COMPLAINT_EVERY) {
            *complained_at = Some(Instant::now());
            tracing::warn!(%error, reason, "the fleet's brokers cannot be reached as they should");
        }
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let path = self.token_file.as_ref().ok_or("there is no `token_file`")?;
        let token = bearer_token(path, Utc::now().timestamp())?;
        Ok(OAuthToken {
            token: token.text.expose().to_owned(),
            principal_name: token.principal,
            lifetime_ms: token.ends_ms,
        })
    }
}

impl ConsumerContext for Voice {}
