//! How the library of Kafka is set up, and what it says.

use std::error::Error;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use rdkafka::ClientConfig;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::config::{Connection, ConnectionError, bearer_token};

/// How often the same kind of complaint is logged.
const COMPLAINT_EVERY: Duration = Duration::from_secs(10);
/// For how long brokers must refuse a client before another is made: those that are starting may not know
/// yet who is who, and another consumer reads everything again.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// After how long without another refusal brokers have come to believe a client: the library says again
/// every half minute what stays as it is.
const REFUSED_FOR: Duration = Duration::from_secs(90);
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

    /// Makes a client that has some settings of its own. Secrets and certificates are read again.
    ///
    /// # Errors
    /// Fails if they cannot be read, or the client does not take them.
    pub(super) fn client<C, T>(&self, settings: &[(&str, &str)], context: C) -> Result<T, ClientError>
    where
        C: ClientContext,
        T: FromClientConfigAndContext<C>,
    {
        let mut config = ClientConfig::new();
        for (name, value) in self.connection.properties()? {
            config.set(name, value);
        }
        config.set("message.max.bytes", MESSAGE_BYTES_MAX.to_string());
        config.set("reconnect.backoff.max.ms", "2000");
        config.set("allow.auto.create.topics", "false");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        config.set_log_level(RDKafkaLogLevel::Warning);
        config.create_with_context(context).map_err(ClientError::from)
    }

    pub(super) fn voice(&self) -> Voice {
        Voice {
            token_file: self.connection.token_file().map(|path| path.0),
            complained_at: Mutex::default(),
            trust: Arc::new(Trust::new(Instant::now())),
        }
    }
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub(super) enum ClientError {
    #[error("the connection")]
    Connection(#[from] ConnectionError),
    /// The value is not told, nor the complaint that repeats it: it may be secret.
    #[error("`{0}` has a value that the client does not take")]
    Setting(String),
    #[error("the client cannot be made")]
    Kafka(#[source] KafkaError),
}

impl From<KafkaError> for ClientError {
    fn from(error: KafkaError) -> Self {
        match error {
            KafkaError::ClientConfig(_, _, name, _) => Self::Setting(name),
            error => Self::Kafka(error),
        }
    }
}

/// Whether brokers believe a client who it is.
#[derive(Debug)]
pub(super) struct Trust {
    begun: Instant,
    /// Since when brokers refuse it, and when they last did.
    refused: Mutex<Option<(Instant, Instant)>>,
    /// Whether the library has given up.
    has_failed: AtomicBool,
}

impl Trust {
    fn new(begun: Instant) -> Self {
        Self { begun, refused: Mutex::default(), has_failed: AtomicBool::new(false) }
    }

    /// True if brokers have refused the client.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// True if they go on refusing it, or it has failed for good: another one, which reads secrets and
    /// certificates again, may do better.
    pub(super) fn needs_another(&self) -> bool {
        let refused = *self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.is_some_and(|(since, last)| last.saturating_duration_since(since) >= KEPT_FOR)
            || (self.has_failed.load(Ordering::Relaxed) && self.begun.elapsed() >= KEPT_FOR)
    }

    /// Notes an error: of some kinds, a client never recovers.
    pub(super) fn note(&self, error: &KafkaError) {
        self.note_at(error, Instant::now());
    }

    fn note_at(&self, error: &KafkaError, now: Instant) {
        use RDKafkaErrorCode as Code;
        let code = error.rdkafka_error_code();
        if code == Some(Code::Fatal) || matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            self.has_failed.store(true, Ordering::Relaxed);
        }
        if matches!(code, Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL)) {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            let lasting = refused.filter(|(_, last)| now.saturating_duration_since(*last) < REFUSED_FOR);
            *refused = Some((lasting.map_or(now, |(since, _)| since), now));
        }
    }
}

/// Passes on what the library says, and gives it tokens.
#[derive(Debug)]
pub(super) struct Voice {
    token_file: Option<PathBuf>,
    complained_at: Mutex<Option<Instant>>,
    pub(super) trust: Arc<Trust>,
}

impl ClientContext for Voice {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "kafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        self.trust.note(&error);
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

#[cfg(test)]
mod tests {
    use rdkafka::consumer::BaseConsumer;

    use super::*;

    fn connecting() -> Connecting {
        let fleet = serde_json::json!({ "brokers": ["127.0.0.1:1"] });
        Connecting::new(serde_json::from_value::<crate::config::Fleet>(fleet).unwrap().connection())
    }

    #[test]
    fn values_of_settings_are_not_told() {
        let connecting = connecting();
        let made: Result<BaseConsumer<Voice>, _> =
            connecting.client(&[("security.protocol", "hunter2")], connecting.voice());
        let told = format!("{:#}", anyhow::Error::from(made.err().unwrap()));
        assert!(told.contains("security.protocol") && !told.contains("hunter2"), "{told}");
    }

    #[test]
    fn a_client_that_brokers_go_on_refusing_is_made_anew() {
        let refused = KafkaError::Global(RDKafkaErrorCode::Authentication);
        let away = KafkaError::Global(RDKafkaErrorCode::AllBrokersDown);
        let begun = Instant::now();
        let trust = Trust::new(begun);
        trust.note_at(&away, begun);
        trust.note_at(&away, begun + 2 * KEPT_FOR);
        assert!(!trust.is_refused());
        trust.note_at(&refused, begun);
        trust.note_at(&refused, begun + REFUSED_FOR);
        assert!(trust.is_refused() && !trust.needs_another(), "they had come to believe it");
        trust.note_at(&refused, begun + REFUSED_FOR + KEPT_FOR);
        assert!(trust.needs_another());
    }

    #[test]
    fn a_client_that_has_failed_for_good_is_made_anew() {
        let fatal = KafkaError::Global(RDKafkaErrorCode::Fatal);
        let long_ago = Instant::now().checked_sub(KEPT_FOR).unwrap();
        let [old, young] = [long_ago, Instant::now()].map(Trust::new);
        old.note(&fatal);
        young.note(&fatal);
        assert!(old.needs_another() && !young.needs_another(), "not over and over");
    }
}
