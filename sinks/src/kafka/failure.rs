//! What goes wrong with brokers, and what that means for an alert.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::Options;
use crate::delivery::{Trouble, shown};
use crate::outbox::Outgoing;

/// Something that went wrong, as the client or a broker says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    code: Code,
    reason: String,
}

impl Failure {
    /// What was said together with a code.
    pub(super) fn new(code: Code, reason: &str) -> Self {
        Self { code, reason: shown(reason) }
    }

    /// What an error says. Values of a configuration are not told, nor the complaint that repeats them: they
    /// may be secret.
    pub(super) fn of(error: &KafkaError) -> Self {
        let reason = match error {
            KafkaError::ClientConfig(_, _, name, _) => format!("`{name}` has a value that it does not take"),
            error => error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string()),
        };
        Self::new(error.rdkafka_error_code().unwrap_or(Code::Fail), &reason)
    }

    /// Nobody says anything.
    pub(super) fn silence() -> Self {
        Self::new(Code::Fail, "the brokers do not answer")
    }

    /// True if there was no room for the message.
    pub(super) fn is_full(&self) -> bool {
        self.code == Code::QueueFull
    }

    /// True if only a new producer recovers from this, because secrets or certificates may have
    /// been replaced or the old one gave up.
    pub(super) fn needs_new_producer(&self) -> bool {
        is_denied(self.code)
            || matches!(
                self.code,
                Code::SSL
                    | Code::Fatal
                    | Code::Fenced
                    | Code::InvalidProducerEpoch
                    | Code::OutOfOrderSequenceNumber
                    | Code::ProducerFenced
                    | Code::UnknownProducerId
            )
    }

    /// What it means where no client can be made.
    pub(super) fn trouble_of_client(&self) -> Trouble {
        Trouble::temporary(&format!("the client cannot be made: {}", self.reason))
    }

    /// What it means for an alert.
    pub(super) fn trouble(&self, options: &Options, alert: &Outgoing) -> Trouble {
        let topic = &options.topic;
        let reason = match self.code {
            Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge => {
                let (bytes, bytes_max) = (alert.json.len(), options.message_bytes_max);
                format!(
                    "the alert has {bytes} bytes: `message_max` is {bytes_max} bytes, and topic `{topic}` may take less"
                )
            }
            Code::UnknownTopic | Code::UnknownTopicOrPartition => format!("there is no topic `{topic}`"),
            Code::TopicAuthorizationFailed => format!("not allowed to write to topic `{topic}`"),
            _ => self.reason.clone(),
        };
        if is_refused(self.code) {
            return Trouble::Refused { reason: shown(&reason) };
        }
        if is_denied(self.code) {
            return Trouble::Denied { reason: shown(&reason) };
        }
        Trouble::temporary(&reason)
    }
}

/// Codes of a broker that will never take this message.
fn is_refused(code: Code) -> bool {
    matches!(
        code,
        Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
            | Code::MessageBatchTooLarge
            | Code::InvalidRecord
            | Code::PolicyViolation
    )
}

/// Codes of a broker that does not want Masthead here.
fn is_denied(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
    )
}
