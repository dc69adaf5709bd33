//! Where messages go that nobody can read, so that whoever wrote them finds them.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use super::Message;
use super::link::{Link, LinkError};

/// How long a broker is waited for before the messages are judged again.
const DELIVERED_WITHIN: Duration = Duration::from_secs(30);
/// How long it is waited for where none believes who this is: another client may do better.
const BELIEVED_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked whether brokers believe who this is.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The largest letter that is offered to a broker, which may take less: the largest that is ever fetched.
const LETTER_BYTES_MAX: &str = "100000000";
/// How much of a message is sent that a broker finds too large.
const BEGINNING_BYTES_MAX: usize = 64 * 1024;

/// A topic for messages that nobody can read.
pub struct DeadLetters {
    topic: String,
    link: Link,
    /// Nothing if another is to be made.
    producer: Mutex<Option<Arc<ThreadedProducer<Reports>>>>,
}

/// Why letters did not arrive.
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
        let letters = Self { topic: topic.to_owned(), link: link.clone(), producer: Mutex::default() };
        letters.producer()?;
        Ok(letters)
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Sends messages, each with what is wrong with it; when this returns, brokers have them. Blocks. Of a
    /// message that is too large the beginning is sent. Gives how many are too large even then, and went
    /// nowhere.
    ///
    /// # Errors
    /// Fails unless all others arrived; those that did are there.
    pub fn deliver(&self, letters: &[(Message<'_>, String)]) -> Result<u64, Undelivered> {
        let producer = self.producer()?;
        let delivered = Sending { topic: &self.topic, producer: &producer }.deliver(letters);
        if delivered.is_err() && is_spent(&producer) {
            // The next one has the password that is in the file by then.
            let mut kept = self.kept();
            if kept.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, &producer)) {
                *kept = None;
            }
        }
        delivered.map_err(|source| self.undelivered(source.into()))
    }

    /// The producer; another one if there is none that can go on.
    fn producer(&self) -> Result<Arc<ThreadedProducer<Reports>>, Undelivered> {
        let mut kept = self.kept();
        if let Some(producer) = &*kept {
            return Ok(Arc::clone(producer));
        }
        let make = || -> Result<_, LinkError> {
            let mut client = self.link.client()?;
            client
                .set("enable.idempotence", "true")
                .set("message.timeout.ms", DELIVERED_WITHIN.as_millis().to_string())
                .set("message.max.bytes", LETTER_BYTES_MAX)
                .set("linger.ms", "5");
            let reports = Reports { link: self.link.clone(), is_disbelieved: AtomicBool::new(false) };
            Ok(Arc::new(client.create_with_context(reports)?))
        };
        let producer = make().map_err(|source| self.undelivered(source))?;
        *kept = Some(Arc::clone(&producer));
        Ok(producer)
    }

    fn kept(&self) -> MutexGuard<'_, Option<Arc<ThreadedProducer<Reports>>>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn undelivered(&self, source: LinkError) -> Undelivered {
        Undelivered { topic: self.topic.clone(), source }
    }
}

/// True if a producer can not go on, or may not as long as it says who it is as it does.
fn is_spent(producer: &ThreadedProducer<Reports>) -> bool {
    let client = producer.client();
    client.context().is_disbelieved.load(Ordering::Relaxed) || client.fatal_error().is_some()
}

/// Letters on their way by one producer.
struct Sending<'s> {
    topic: &'s str,
    producer: &'s ThreadedProducer<Reports>,
}

impl Sending<'_> {
    fn deliver(&self, letters: &[(Message<'_>, String)]) -> Result<u64, KafkaError> {
        let (reports, reported) = mpsc::channel();
        for (number, letter) in letters.iter().enumerate() {
            self.send(number, letter, usize::MAX, &reports)?;
        }
        let mut too_large = Vec::new();
        for _ in letters {
            let (number, outcome) = self.report(&reported)?;
            match outcome {
                Err(error) if is_too_large(&error) => too_large.push(number),
                outcome => outcome?,
            }
        }
        let mut lost_count = 0;
        for letter in too_large.into_iter().filter_map(|number| letters.get(number)) {
            if !self.deliver_alone(letter)? {
                lost_count += 1;
                let place = place(&letter.0);
                tracing::error!(
                    topic = self.topic,
                    place,
                    "even the beginning of a message is too large for the dead-letter topic"
                );
            }
        }
        Ok(lost_count)
    }

    /// Sends a letter that was too large, maybe only because of others beside it; false if it stays so.
    fn deliver_alone(&self, letter: &(Message<'_>, String)) -> Result<bool, KafkaError> {
        for bytes_max in [usize::MAX, BEGINNING_BYTES_MAX] {
            let (reports, reported) = mpsc::channel();
            self.send(0, letter, bytes_max, &reports)?;
            match self.report(&reported)?.1 {
                Err(error) if is_too_large(&error) => {}
                outcome => return outcome.map(|()| true),
            }
        }
        Ok(false)
    }

    fn send(
        &self,
        number: usize,
        (message, reason): &(Message<'_>, String),
        bytes_max: usize,
        reports: &mpsc::Sender<Report>,
    ) -> Result<(), KafkaError> {
        let (key, value) = (message.key.unwrap_or_default(), message.value.unwrap_or_default());
        let headers = OwnedHeaders::new()
            .insert(Header { key: "masthead.place", value: Some(&*place(message)) })
            .insert(Header { key: "masthead.reason", value: Some(&**reason) });
        let record = BaseRecord::with_opaque_to(self.topic, Box::new((number, reports.clone())))
            .payload(&value[..value.len().min(bytes_max)])
            .key(&key[..key.len().min(bytes_max)])
            .headers(headers);
        match self.producer.send(record) {
            Ok(()) => Ok(()),
            Err((error, _)) if is_too_large(&error) => {
                // Whoever waits has both ends.
                let _ = reports.send((number, Err(error)));
                Ok(())
            }
            Err((error, _)) => Err(error),
        }
    }

    /// Waits for the next report.
    fn report(&self, reported: &mpsc::Receiver<Report>) -> Result<Report, KafkaError> {
        let begun = Instant::now();
        loop {
            let patience = if is_spent(self.producer) { BELIEVED_WITHIN } else { 2 * DELIVERED_WITHIN };
            match reported.recv_timeout(LOOK_EVERY) {
                Ok(report) => return Ok(report),
                Err(_) if begun.elapsed() < patience => {}
                Err(_) => return Err(KafkaError::Canceled),
            }
        }
    }
}

fn place(message: &Message<'_>) -> String {
    format!("{}/{}", message.partition, message.offset)
}

fn is_too_large(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
}

/// Which letter, by its number among those that are sent together, and what became of it.
type Report = (usize, Result<(), KafkaError>);

/// Passes on what became of letters.
struct Reports {
    link: Link,
    /// Brokers do not believe who this is.
    is_disbelieved: AtomicBool,
}

impl ClientContext for Reports {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.link.token().map_err(|error| -> Box<dyn Error> { error })
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Authentication) {
            self.is_disbelieved.store(true, Ordering::Relaxed);
        }
        tracing::debug!(%error, reason, "dead letters wait");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<(usize, mpsc::Sender<Report>)>;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: Self::DeliveryOpaque) {
        let (number, reports) = *opaque;
        // Nobody listens any more if others failed before.
        let _ = reports.send((number, result.as_ref().map(drop).map_err(|(error, _)| error.clone())));
    }
}
