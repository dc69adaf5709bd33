//! The thread that polls: the only one that touches the client, which it never leaves alone for long.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::desk::{Desk, Room};
use super::gathering::Gathering;
use super::link::LinkError;
use super::{Judge, News, Partition, Settings, beginning, lag, workers};

/// How long the client is asked for a message at a time.
const POLL_FOR: Duration = Duration::from_millis(100);
/// How long the client is asked while a batch that is due waits for room.
const WAITING_POLL_FOR: Duration = Duration::from_millis(5);
/// How long room is waited for before partitions are paused. Pausing makes the client forget what it
/// has fetched, so it is for when nothing moves, not for when there is much to do.
const ROOM_PATIENCE: Duration = Duration::from_millis(200);
/// How often offsets are committed: what is between is read again after a crash.
const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// How often all of them are committed again, whether or not there are others.
const COMMIT_AGAIN_EVERY: Duration = Duration::from_secs(10);
/// How long what is in flight may take when told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How old a client must be before another is made for it, unless it cannot go on at all.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// How long brokers may take to note the last offsets, and then to let a member go: they may be down.
const LAST_COMMIT_MAX: Duration = Duration::from_secs(5);
const CLOSED_WITHIN: Duration = Duration::from_secs(10);
/// How long to wait before the client is made anew.
const ANEW_AFTER: Duration = Duration::from_secs(5);
/// How many batches are in flight for each worker: one that is judged, one that waits.
const BATCHES_PER_WORKER: usize = 2;

/// Topics that are read.
pub struct Source {
    thread: JoinHandle<()>,
}

/// Why topics cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The client cannot be made, or refuses the topics.
    #[error("the Kafka client cannot be made")]
    Client(#[source] LinkError),
    /// The system gives no thread.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

impl Source {
    /// Reads topics until told to stop. The brokers need not be there.
    ///
    /// # Errors
    /// Fails if the client does not understand its settings.
    pub fn start(
        name: &str,
        settings: Settings,
        judge: Arc<dyn Judge>,
        stop: CancellationToken,
    ) -> Result<Self, StartError> {
        let desk = Arc::new(Desk::default());
        let workers = workers::start(name, settings.worker_count.max(1), &desk, &judge);
        let workers = workers.map_err(StartError::Thread)?;
        let has_begun = Cell::new(settings.from_beginning);
        let polling =
            Polling { name: name.into(), settings, desk: Arc::clone(&desk), judge, stop, has_begun };
        let started = polling.consumer(true).map_err(StartError::Client).and_then(|first| {
            let thread = thread::Builder::new().name(format!("poll {name}"));
            thread.spawn(move || polling.run(first, workers)).map_err(StartError::Thread)
        });
        if started.is_err() {
            desk.close();
        }
        Ok(Self { thread: started? })
    }

    /// Waits until what was in flight is done, and the group was left. Blocks; false if it failed.
    pub fn stopped(self) -> bool {
        self.thread.join().is_ok()
    }
}

/// What the thread needs to make a client, again and again if need be.
struct Polling {
    name: Arc<str>,
    settings: Settings,
    desk: Arc<Desk>,
    judge: Arc<dyn Judge>,
    stop: CancellationToken,
    /// Whether it is settled where the group begins: what comes to its topics from then on is read.
    has_begun: Cell<bool>,
}

/// Why a client is not polled any more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Stopped,
    Failed,
}

impl Polling {
    /// Makes a client; one that does not become a member has not the name of one.
    fn consumer(&self, is_member: bool) -> Result<BaseConsumer<Context>, LinkError> {
        let context = Context::new(
            Arc::clone(&self.name),
            Arc::clone(&self.desk),
            Arc::clone(&self.judge),
            self.settings.link.clone(),
        );
        let mut client: ClientConfig = self.settings.client()?;
        if !is_member {
            client.remove("group.instance.id");
        }
        Ok(client.create_with_context(context)?)
    }

    /// Reads until it is told to stop, or the client can not go on.
    fn read(&self, consumer: &BaseConsumer<Context>) -> Ended {
        match self.join(consumer) {
            Ok(()) => Polled::new(self, consumer).run(),
            Err(ended) => ended,
        }
    }

    /// Becomes a member of the group; not before it is settled where a group begins that has never read.
    fn join(&self, consumer: &BaseConsumer<Context>) -> Result<(), Ended> {
        if !self.has_begun.get() {
            self.begin()?;
            self.has_begun.set(true);
        }
        consumer.subscribe(&self.settings.topics.names()).map_err(|error| {
            tracing::error!(source = &*self.name, %error, "the Kafka client does not take these topics");
            Ended::Failed
        })
    }

    /// Notes where the group begins, if it has never read and is to begin with what comes.
    fn begin(&self) -> Result<(), Ended> {
        // By its name, a member that ended lately would be taken for somebody else who has it.
        let consumer = self.consumer(false).map_err(|error| {
            let error = &*error as &dyn std::error::Error;
            tracing::error!(source = &*self.name, error, "the Kafka client cannot be made");
            Ended::Failed
        })?;
        let (context, begun) = (consumer.context(), Instant::now());
        let is_patient = || begun.elapsed() < KEPT_FOR;
        while let Err(error) = beginning::note_ends(&consumer, &self.settings.topics, is_patient()) {
            context.complain(&error, "it is not known where the group begins");
            // Brokers are answered meanwhile.
            drop(consumer.poll(POLL_FOR));
            if self.stop.is_cancelled() {
                return Err(Ended::Stopped);
            }
            let is_stuck = context.is_stuck.load(Ordering::Relaxed) && !is_patient();
            if is_stuck || consumer.client().fatal_error().is_some() {
                return Err(Ended::Failed);
            }
        }
        Ok(())
    }

    fn run(self, first: BaseConsumer<Context>, workers: Vec<JoinHandle<()>>) {
        let mut next = Some(first);
        loop {
            if let Some(consumer) = next.take() {
                let ended = self.read(&consumer);
                self.leave(consumer);
                if ended == Ended::Stopped {
                    break;
                }
            }
            tracing::error!(source = &*self.name, "the Kafka client is made anew");
            let begun = Instant::now();
            while !self.stop.is_cancelled() && begun.elapsed() < ANEW_AFTER {
                thread::sleep(POLL_FOR);
            }
            if self.stop.is_cancelled() {
                break;
            }
            match self.consumer(true) {
                Ok(consumer) => next = Some(consumer),
                Err(error) => {
                    let error = &*error as &dyn std::error::Error;
                    tracing::error!(source = &*self.name, error, "the Kafka client cannot be made");
                }
            }
        }
        self.desk.close();
        for worker in workers {
            if worker.join().is_err() {
                tracing::error!(source = &*self.name, "a worker failed");
            }
        }
    }

    /// Waits for what is in flight, commits, and leaves the group.
    fn leave(&self, consumer: BaseConsumer<Context>) {
        let partitions = self.desk.partitions();
        let begun = Instant::now();
        // Brokers are answered meanwhile.
        while !self.desk.wait_for(&partitions, POLL_FOR) && begun.elapsed() < DRAIN_MAX {
            let _ = consumer.pause(&list_of(&partitions));
            drop(consumer.poll(Duration::ZERO));
        }
        let begun = Instant::now();
        let context = Arc::clone(consumer.context());
        context.commit(&consumer, None, CommitMode::Async);
        while context.is_committing() && begun.elapsed() < LAST_COMMIT_MAX {
            drop(consumer.poll(POLL_FOR));
        }
        self.close(consumer);
        let rest = self.desk.partitions();
        if !rest.is_empty() {
            self.desk.revoke(&rest);
            self.judge.hear(News::Revoked(&rest));
        }
    }

    /// Closes a client, which revokes its partitions, on a thread that is not waited for for ever: while
    /// brokers are down, that can take longer than whoever wants to stop has time.
    fn close(&self, consumer: BaseConsumer<Context>) {
        let context = Arc::clone(consumer.context());
        let closing = thread::Builder::new().name(format!("close {}", self.name)).spawn(|| drop(consumer));
        let Ok(closing) = closing else { return };
        let begun = Instant::now();
        while !closing.is_finished() {
            if begun.elapsed() >= CLOSED_WITHIN {
                context.is_left.store(true, Ordering::Relaxed);
                tracing::warn!(
                    source = &*self.name,
                    "brokers do not let go of a member: its session will end"
                );
                return;
            }
            thread::sleep(WAITING_POLL_FOR);
        }
    }
}

/// A client at work.
struct Polled<'p> {
    polling: &'p Polling,
    consumer: &'p BaseConsumer<Context>,
    gathering: Gathering,
    room: Room,
    is_paused: bool,
    begun: Instant,
    committed_at: Instant,
    committed_again_at: Instant,
}

impl<'p> Polled<'p> {
    fn new(polling: &'p Polling, consumer: &'p BaseConsumer<Context>) -> Self {
        let Settings { header, worker_count, in_flight_bytes_max, .. } = &polling.settings;
        let room =
            Room { batches_max: worker_count.max(&1) * BATCHES_PER_WORKER, bytes_max: *in_flight_bytes_max };
        let gathering = Gathering::new(header.clone());
        let begun = Instant::now();
        Self {
            polling,
            consumer,
            gathering,
            room,
            is_paused: false,
            begun,
            committed_at: begun,
            committed_again_at: begun,
        }
    }

    fn run(mut self) -> Ended {
        while !self.polling.stop.is_cancelled() {
            self.hand_over();
            match self.consumer.poll(self.patience()) {
                Some(Ok(message)) => self.gathering.add(&message, &self.polling.desk),
                Some(Err(KafkaError::PartitionEOF(number))) => self.note_end(number),
                Some(Err(KafkaError::MessageConsumptionFatal(_))) => return Ended::Failed,
                // The context was told of all others, and the client tries again.
                Some(Err(_)) | None => {}
            }
            let context = self.consumer.context();
            if context.rebalanced.swap(false, Ordering::Relaxed) {
                self.rebalanced();
            }
            if let Some(figures) = context.take_figures()
                && lag::tell(&figures, &self.gathering, &self.polling.desk, &*self.polling.judge)
            {
                context.is_stuck.store(true, Ordering::Relaxed);
            }
            if self.committed_at.elapsed() >= COMMIT_EVERY {
                self.committed_at = Instant::now();
                if self.committed_again_at.elapsed() >= COMMIT_AGAIN_EVERY {
                    self.committed_again_at = Instant::now();
                    self.polling.desk.commit_again();
                }
                context.commit(self.consumer, None, CommitMode::Async);
            }
            let is_stuck = context.is_stuck.load(Ordering::Relaxed) && self.begun.elapsed() >= KEPT_FOR;
            if is_stuck && !self.is_paused {
                return Ended::Failed;
            }
        }
        Ended::Stopped
    }

    /// How long to wait for a message.
    fn patience(&self) -> Duration {
        match self.gathering.due_in() {
            // Room was waited for instead.
            _ if self.is_paused => Duration::ZERO,
            Some(Duration::ZERO) => WAITING_POLL_FOR,
            Some(due_in) => due_in.min(POLL_FOR),
            None => POLL_FOR,
        }
    }

    /// Gives a batch that is due to the workers, if there is room; waits and pauses if there is none.
    fn hand_over(&mut self) {
        if self.gathering.is_due() {
            let is_full = self.gathering.is_full();
            let patience = if is_full { ROOM_PATIENCE } else { Duration::ZERO };
            if self.polling.desk.wait_for_room(self.room, patience) {
                self.give();
            } else if is_full && !self.is_paused {
                self.pause();
            }
        }
        if self.is_paused && !self.gathering.is_full() {
            self.resume();
        }
    }

    fn give(&mut self) {
        if let Some(batch) = self.gathering.take() {
            self.polling.desk.give(batch);
        }
    }

    /// Notes that the end of a partition was reached: of which topic, the client does not say.
    fn note_end(&mut self, number: i32) {
        let desk = &self.polling.desk;
        if desk.wait_for_room(self.room, Duration::ZERO) {
            // Nothing follows that would be worth waiting for.
            self.give();
        }
        let partitions = desk.partitions();
        let mut alike = partitions.iter().filter(|partition| partition.number == number);
        if let (Some(partition), None) = (alike.next(), alike.next()) {
            desk.with(partition, |assigned| assigned.is_at_end = true);
        }
    }

    fn rebalanced(&mut self) {
        self.gathering.forget_lost(&self.polling.desk);
        if self.is_paused {
            self.pause();
        }
    }

    fn pause(&mut self) {
        let partitions = self.polling.desk.partitions();
        match self.consumer.pause(&list_of(&partitions)) {
            Ok(()) => self.is_paused = true,
            Err(error) => tracing::warn!(source = &*self.polling.name, %error, "cannot pause"),
        }
        self.polling.judge.hear(News::Paused(partitions.len()));
    }

    fn resume(&mut self) {
        match self.consumer.resume(&list_of(&self.polling.desk.partitions())) {
            Ok(()) => self.is_paused = false,
            Err(error) => tracing::warn!(source = &*self.polling.name, %error, "cannot resume"),
        }
        self.polling.judge.hear(News::Paused(0));
    }
}

fn list_of(partitions: &[Partition]) -> rdkafka::TopicPartitionList {
    let mut list = rdkafka::TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(&partition.topic, partition.number);
    }
    list
}
