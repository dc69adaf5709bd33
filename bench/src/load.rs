//! Posts a log to a receiver as API servers post theirs: batches over connections that are kept.
//!
//! At a rate each batch is due at its time whether or not the last ones were answered, and its
//! latency counts from when it was due: a stall is charged to every batch that it kept waiting.
//! Without a rate every connection posts its next batch as soon as the last one is answered.
//! **Invariant:** the log is posted once, in its order: an event that is sent again is known
//! already, and would cost less than a new one.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;
use masthead_bench::recorded;
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Response, StatusCode};
use tokio::sync::{Mutex, mpsc};

/// How often a batch is posted before it is given up: what an API server does.
const ATTEMPTS_MAX: u32 = 5;
/// How long a client rests before it posts a batch again if nobody told it when to.
const REST: Duration = Duration::from_secs(10);
/// How long an answer may take: what an API server waits.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The longest latency that is told from longer ones: ten minutes.
const LATENCY_US_MAX: u64 = 600_000_000;
/// Batches that are due later than this are also told apart: those before met a server that had just begun.
const WARM_UP: Duration = Duration::from_secs(1);
/// How many of the slowest batches are told one by one.
const SLOWEST_MAX: usize = 10;

/// Post logs to a receiver and measure how long its answers take
#[derive(Parser)]
#[command(name = "load", version)]
struct Arguments {
    /// Logs whose audit ids are their own, as `generate` makes them
    #[arg(required = true)]
    logs: Vec<PathBuf>,
    /// Where to post
    #[arg(long, default_value = "http://127.0.0.1:9880/audit/bench")]
    url: String,
    /// How many events a batch has
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// How many connections post at once
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// How many events a second are due; as many as are taken unless given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Stop after so many seconds, even if the log has more
    #[arg(long)]
    seconds: Option<u64>,
    /// How a batch is written
    #[arg(long, value_enum, default_value_t = Shape::Eventlist)]
    shape: Shape,
    /// Split batches that are longer, for receivers that take no more
    #[arg(long, default_value_t = usize::MAX)]
    bytes_max: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// An `EventList`, as API servers write it
    Eventlist,
    /// One event a line
    Jsonl,
}

/// A body, and how many events it has.
struct Batch {
    body: Bytes,
    event_count: u64,
    /// When it was to be posted; none if that is whenever there is a connection.
    due: Option<Instant>,
}

/// How long batches took until their 200, in microseconds.
struct Latencies {
    all: Histogram<u64>,
    /// Those that were due after [`WARM_UP`].
    later: Histogram<u64>,
    /// The slowest, and when they were due, in microseconds since the beginning.
    slowest: Vec<(u64, u64)>,
}

/// What became of the batches.
struct Outcome {
    latencies: Latencies,
    /// Events of batches that were answered with 200.
    event_count: u64,
    byte_count: u64,
    /// How often a batch was posted again because of a 503 or 429.
    busy_count: u64,
    /// How often one was posted again for any other reason.
    failure_count: u64,
    /// Events of batches that were given up.
    lost_count: u64,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let batches = batches(&recorded(&arguments.logs)?, &arguments);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Made beforehand: that takes some hundredths of a second, and is no latency of the receiver.
    let clients = (0..arguments.connections).map(|_| client()).collect::<Result<Vec<_>, _>>();
    let clients = clients.map_err(io::Error::other)?;
    let begun = (Instant::now(), SystemTime::now());
    let outcome = runtime.block_on(post_all(batches, clients, &arguments))?;
    tell(&outcome, &arguments, begun)
}

/// The events in batches of that many, or fewer where they would be too long.
fn batches(events: &[Vec<u8>], arguments: &Arguments) -> Vec<Batch> {
    let mut pieces: Vec<&[Vec<u8>]> = events.chunks(arguments.batch.into()).rev().collect();
    let mut batches = Vec::new();
    while let Some(piece) = pieces.pop() {
        let body = body(piece, arguments.shape);
        if body.len() > arguments.bytes_max && piece.len() > 1 {
            let (first, second) = piece.split_at(piece.len() / 2);
            pieces.extend([second, first]);
        } else {
            batches.push(Batch { body: body.into(), event_count: piece.len() as u64, due: None });
        }
    }
    batches
}

fn body(events: &[Vec<u8>], shape: Shape) -> Vec<u8> {
    match shape {
        Shape::Jsonl => events.join(&b'\n'),
        Shape::Eventlist => {
            let mut body =
                br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#.to_vec();
            body.extend(events.join(&b','));
            body.extend(b"]}");
            body
        }
    }
}

/// Posts everything, and returns once the last batch is answered or given up.
async fn post_all(batches: Vec<Batch>, clients: Vec<Client>, arguments: &Arguments) -> io::Result<Outcome> {
    // At a rate nothing ever waits for a connection: batches do, and their latency counts.
    let room = if arguments.rate.is_some() { batches.len().max(1) } else { 1 };
    let (sender, receiver) = mpsc::channel(room);
    let receiver = Arc::new(Mutex::new(receiver));
    let begun = Instant::now();
    let connect =
        |client| tokio::spawn(post_some(client, Arc::clone(&receiver), arguments.url.clone(), begun));
    let connections: Vec<_> = clients.into_iter().map(connect).collect();
    let (rate, seconds) = (arguments.rate, arguments.seconds);
    thread::spawn(move || feed(batches, &sender, rate, seconds.map(Duration::from_secs)));
    let mut total = Outcome::new()?;
    for connection in connections {
        total.add(&connection.await.map_err(io::Error::other)??)?;
    }
    Ok(total)
}

/// Gives out each batch when it is due.
fn feed(batches: Vec<Batch>, sender: &mpsc::Sender<Batch>, rate: Option<u32>, duration: Option<Duration>) {
    let begun = Instant::now();
    let mut due_after = Duration::ZERO;
    for mut batch in batches {
        let is_over = duration.is_some_and(|duration| due_after.max(begun.elapsed()) >= duration);
        if is_over {
            return;
        }
        if let Some(rate) = rate {
            batch.due = Some(begun + due_after);
            // A timer of the runtime is a millisecond coarse; a thread that sleeps is not.
            thread::sleep((begun + due_after).saturating_duration_since(Instant::now()));
            due_after += Duration::from_secs(batch.event_count) / rate;
        }
        if sender.blocking_send(batch).is_err() {
            return;
        }
    }
}

/// A client, which keeps one connection as long as it posts one batch at a time.
fn client() -> reqwest::Result<Client> {
    Client::builder().timeout(ANSWER_WITHIN).no_proxy().http1_only().build()
}

/// One connection: posts one batch after the other.
async fn post_some(
    client: Client,
    batches: Arc<Mutex<mpsc::Receiver<Batch>>>,
    url: String,
    begun: Instant,
) -> io::Result<Outcome> {
    let mut outcome = Outcome::new()?;
    loop {
        let next = batches.lock().await.recv().await;
        let Some(batch) = next else { return Ok(outcome) };
        let since = batch.due.unwrap_or_else(Instant::now);
        if deliver(&client, &url, &batch, &mut outcome).await {
            outcome.event_count += batch.event_count;
            outcome.byte_count += batch.body.len() as u64;
            outcome.latencies.add_one(since.elapsed(), since - begun);
        } else {
            outcome.lost_count += batch.event_count;
        }
    }
}

/// Posts a batch until it is taken; false if it never was.
async fn deliver(client: &Client, url: &str, batch: &Batch, outcome: &mut Outcome) -> bool {
    for _ in 0..ATTEMPTS_MAX {
        let answer =
            client.post(url).header("Content-Type", "application/json").body(batch.body.clone()).send().await;
        let rest = match answer {
            Ok(answer) if answer.status() == StatusCode::OK => return answer.bytes().await.is_ok(),
            Ok(answer) if is_busy(answer.status()) => {
                outcome.busy_count += 1;
                rest_asked_for(&answer)
            }
            _ => {
                outcome.failure_count += 1;
                REST
            }
        };
        tokio::time::sleep(rest).await;
    }
    false
}

fn is_busy(status: StatusCode) -> bool {
    matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
}

fn rest_asked_for(answer: &Response) -> Duration {
    let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    seconds.map_or(REST, Duration::from_secs)
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Latencies {
    fn new() -> io::Result<Self> {
        let all = Histogram::new_with_max(LATENCY_US_MAX, 3).map_err(io::Error::other)?;
        Ok(Self { later: all.clone(), all, slowest: Vec::new() })
    }

    fn add_one(&mut self, latency: Duration, due: Duration) {
        let [latency_us, due_us] = [latency, due].map(microseconds);
        self.all.saturating_record(latency_us);
        if due >= WARM_UP {
            self.later.saturating_record(latency_us);
        }
        self.slowest.push((latency_us, due_us));
        self.forget_fast();
    }

    fn add(&mut self, other: &Self) -> io::Result<()> {
        self.slowest.extend(&other.slowest);
        self.forget_fast();
        self.later.add(&other.later).map_err(io::Error::other)?;
        self.all.add(&other.all).map_err(io::Error::other)
    }

    fn forget_fast(&mut self) {
        self.slowest.sort_unstable_by(|one, other| other.cmp(one));
        self.slowest.truncate(SLOWEST_MAX);
    }
}

impl Outcome {
    fn new() -> io::Result<Self> {
        let latencies = Latencies::new()?;
        Ok(Self { latencies, event_count: 0, byte_count: 0, busy_count: 0, failure_count: 0, lost_count: 0 })
    }

    fn add(&mut self, other: &Self) -> io::Result<()> {
        self.event_count += other.event_count;
        self.byte_count += other.byte_count;
        self.busy_count += other.busy_count;
        self.failure_count += other.failure_count;
        self.lost_count += other.lost_count;
        self.latencies.add(&other.latencies)
    }
}

/// A line of JSON on standard output, one for people on standard error.
fn tell(outcome: &Outcome, arguments: &Arguments, begun: (Instant, SystemTime)) -> io::Result<()> {
    let seconds = begun.0.elapsed().as_secs_f64();
    let begun_unix_s = begun.1.duration_since(UNIX_EPOCH).map_err(io::Error::other)?.as_secs_f64();
    let Outcome { latencies, event_count, byte_count, busy_count, failure_count, lost_count } = outcome;
    let Latencies { all, later, slowest } = latencies;
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| all.value_at_quantile(quantile));
    let later_p99 = later.value_at_quantile(0.99);
    let result = serde_json::json!({
        "begun_unix_s": begun_unix_s, "seconds": seconds, "rate": arguments.rate, "connections": arguments.connections,
        "batches": all.len(), "events": event_count, "bytes": byte_count,
        "busy": busy_count, "failures": failure_count, "events_lost": lost_count,
        "p50_us": p50, "p99_us": p99, "p999_us": p999, "max_us": all.max(),
        "later_batches": later.len(), "later_p99_us": later_p99,
        // Each with when it was due.
        "slowest_us": slowest,
    });
    writeln!(io::stdout(), "{result}")?;
    #[allow(clippy::cast_precision_loss)]
    let [events, bytes] = [*event_count, *byte_count].map(|count| count as f64);
    let [p50, p99, p999, max, later_p99] = [p50, p99, p999, all.max(), later_p99].map(Duration::from_micros);
    writeln!(
        io::stderr(),
        "{event_count} events in {} batches, {:.0} events/s, {:.1} MB/s; p50 {p50:?}, p99 {p99:?} ({later_p99:?} of the {} \
         after the first second), p99.9 {p999:?}, max {max:?}; \
         {busy_count} times told to wait, {failure_count} failures, {lost_count} events lost",
        all.len(),
        events / seconds,
        bytes / 1e6 / seconds,
        later.len(),
    )
}
