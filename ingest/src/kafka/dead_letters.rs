//! Where messages go that nobody can read, so that whoever wrote them finds them.

use std::error::Error;
use std::sync::mpsc;
use std::time::Duration;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use super::Message;
use super::link::{Link, LinkError};

/// How long a broker is waited for before the messages are judged again.
const DELIVERED_WITHIN: Duration = Duration::from_secs(30);
/// The largest letter that is offered to a broker, which may take less: the largest that is ever fetched.
const LETTER_BYTES_MAX: &str = "100000000";
/// How much of a message is sent that a broker finds too large.
const BEGINNING_BYTES_MAX: usize = 64 * 1024;

/// A topic for messages that nobody can read.
pub struct DeadLetters {
    topic: String,
    producer: ThreadedProducer<Reports>,
}

/// Why a letter did not arrive.
#[derive(Debug, thiserror::Error)]
#[error("the dead-letter topic `{topic}` takes nothing")]
pub struct Undelivered {
    topic: String,
    #[source]
    source: LinkError,
}

impl DeadLetters {
    /// Letters to a topic of a cluster.
    ///
    /// # Errors
    /// Fails if the link makes no producer.
    pub fn new(link: &Link, topic: &str) -> Result<Self, Undelivered> {
        let fail = |source| Undelivered { topic: topic.to_owned(), source };
        let mut client = link.client().map_err(fail)?;
        client
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", DELIVERED_WITHIN.as_millis().to_string())
            .set("message.max.bytes", LETTER_BYTES_MAX)
            .set("linger.ms", "5");
        let producer = client.create_with_context(Reports(link.clone()));
        let producer = producer.map_err(|error| fail(error.into()))?;
        Ok(Self { topic: topic.to_owned(), producer })
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Sends messages, each with what is wrong with it; when this returns, brokers have them. Blocks.
    ///
    /// # Errors
    /// Fails unless all arrived; those that did are there.
    pub fn deliver(&self, letters: &[(Message<'_>, String)]) -> Result<(), Undelivered> {
        let (reports, reported) = mpsc::channel();
        for letter in letters {
            self.send(letter, usize::MAX, &reports)?;
        }
        let mut too_large = Vec::new();
        for _ in letters {
            match reported.recv_timeout(2 * DELIVERED_WITHIN) {
                Ok((_, Ok(()))) => {}
                Ok((place, Err(error))) if is_too_large(&error) => too_large.push(place),
                Ok((_, Err(source))) => return Err(self.undelivered(source)),
                Err(_) => return Err(self.undelivered(KafkaError::Canceled)),
            }
        }
        let shortened = letters.iter().filter(|(message, _)| too_large.contains(&place(message)));
        let shortened: Vec<_> = shortened.collect();
        for letter in &shortened {
            self.send(letter, BEGINNING_BYTES_MAX, &reports)?;
        }
        for _ in &shortened {
            let report =
                reported.recv_timeout(2 * DELIVERED_WITHIN).map_or(Err(KafkaError::Canceled), |it| it.1);
            report.map_err(|source| self.undelivered(source))?;
        }
        Ok(())
    }

    fn send(
        &self,
        (message, reason): &(Message<'_>, String),
        bytes_max: usize,
        reports: &mpsc::Sender<Report>,
    ) -> Result<(), Undelivered> {
        let (key, value) = (message.key.unwrap_or_default(), message.value.unwrap_or_default());
        let place = place(message);
        let headers = OwnedHeaders::new()
            .insert(Header { key: "masthead.place", value: Some(&*place) })
            .insert(Header { key: "masthead.reason", value: Some(&**reason) });
        let opaque = Box::new((place, reports.clone()));
        let record = BaseRecord::with_opaque_to(&self.topic, opaque)
            .payload(&value[..value.len().min(bytes_max)])
            .key(&key[..key.len().min(bytes_max)])
            .headers(headers);
        match self.producer.send(record) {
            Ok(()) => Ok(()),
            Err((error, record)) if is_too_large(&error) => {
                let (place, reports) = &*record.delivery_opaque;
                // Whoever waits has both ends.
                let _ = reports.send((place.clone(), Err(error)));
                Ok(())
            }
            Err((error, _)) => Err(self.undelivered(error)),
        }
    }

    fn undelivered(&self, source: KafkaError) -> Undelivered {
        Undelivered { topic: self.topic.clone(), source: source.into() }
    }
}

impl Drop for DeadLetters {
    fn drop(&mut self) {
        // Nobody waits for what is still there.
        self.producer.purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
    }
}

fn place(message: &Message<'_>) -> String {
    format!("{}/{}", message.partition, message.offset)
}

fn is_too_large(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
}

/// Which message, and what became of it.
type Report = (String, Result<(), KafkaError>);

/// Passes on what became of letters.
struct Reports(Link);

impl ClientContext for Reports {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.0.token().map_err(|error| -> Box<dyn Error> { error })
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "dead letters wait");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<(String, mpsc::Sender<Report>)>;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: Self::DeliveryOpaque) {
        let (place, reports) = *opaque;
        // Nobody listens any more if others failed before.
        let _ = reports.send((place, result.as_ref().map(drop).map_err(|(error, _)| error.clone())));
    }
}
