//! Measures how long an alert takes: from the writing of an event's line into the pipe of
//! `masthead replay -` to the reading of the alert's line from its output.
//!
//! Lines are due at a fixed rate whether or not the last ones have been taken, and an event
//! counts from when it was due: a stall is charged to every event that it kept waiting.
//! **Invariant:** the log is written once, from its beginning, in its order.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use detect::Event;
use detect::event::Key;
use hdrhistogram::Histogram;
use masthead_bench::recorded;
use serde_json::Value;

/// Measure how long alerts take at a fixed rate of events
#[derive(Parser)]
#[command(name = "latency", version)]
struct Arguments {
    /// Logs whose audit ids are their own, as `generate` makes them
    #[arg(required = true)]
    logs: Vec<PathBuf>,
    /// The binary to measure
    #[arg(long, default_value = "masthead")]
    masthead: PathBuf,
    /// How many events a second
    #[arg(long, default_value_t = 2000)]
    rate: u32,
    /// How many alerts may come before counting begins: caches are cold then
    #[arg(long, default_value_t = 20)]
    warm_up: u64,
}

/// The longest latency that is told from longer ones: ten minutes.
const LATENCY_NS_MAX: u64 = 600_000_000_000;

/// When the line of each request's last event was due, by audit id.
type Due = Mutex<HashMap<String, Instant>>;

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let lines: Vec<(String, Vec<u8>)> = recorded(&arguments.logs)?.into_iter().filter_map(line).collect();
    let mut child = start(&arguments)?;
    let (input, output) = child.stdin.take().zip(child.stdout.take()).ok_or(io::ErrorKind::BrokenPipe)?;
    let due = Due::default();
    let histogram = thread::scope(|scope| {
        let reader = scope.spawn(|| measure(BufReader::new(output), &due, arguments.warm_up));
        feed(&lines, input, &due, Duration::from_secs(1) / arguments.rate.max(1))?;
        reader.join().map_err(|_| io::Error::other("the reader has stopped"))?
    })?;
    if !child.wait()?.success() {
        return Err(io::Error::other("masthead has failed"));
    }
    tell(&histogram, lines.len(), arguments.rate)
}

/// The event with its end of line, and its audit id.
fn line(mut raw: Vec<u8>) -> Option<(String, Vec<u8>)> {
    let id = Event::parse(&raw).ok()?.str(Key::AuditId)?.into_owned();
    raw.push(b'\n');
    Some((id, raw))
}

fn start(arguments: &Arguments) -> io::Result<Child> {
    Command::new(&arguments.masthead)
        .args(["replay", "--quiet", "--format", "jsonl", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
}

/// Writes each line when it is due; closes the pipe at the end.
fn feed(lines: &[(String, Vec<u8>)], mut input: impl Write, due: &Due, gap: Duration) -> io::Result<()> {
    // Rules are compiled before anything is read; that is no latency of an event.
    thread::sleep(Duration::from_secs(2));
    let mut next = Instant::now();
    for (id, line) in lines {
        next += gap;
        thread::sleep(next.saturating_duration_since(Instant::now()));
        if let Ok(mut due) = due.lock() {
            due.insert(id.clone(), next);
        }
        input.write_all(line)?;
        input.flush()?;
    }
    Ok(())
}

/// The latencies of alerts about single events, in nanoseconds.
fn measure(output: impl BufRead, due: &Due, warm_up: u64) -> io::Result<Histogram<u64>> {
    let mut histogram = Histogram::new_with_max(LATENCY_NS_MAX, 3).map_err(io::Error::other)?;
    let mut count = 0;
    for line in output.lines() {
        let line = line?;
        let now = Instant::now();
        let alert: Value = serde_json::from_str(&line)?;
        let since = due.lock().ok().and_then(|due| due.get(single(&alert)?).copied());
        let Some(since) = since else { continue };
        count += 1;
        if count > warm_up {
            let nanoseconds = now.saturating_duration_since(since).as_nanos();
            histogram.saturating_record(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        }
    }
    Ok(histogram)
}

/// The audit id of an alert about one event; alerts about several wait for their window.
fn single(alert: &Value) -> Option<&str> {
    if alert.get("correlation").is_some() {
        return None;
    }
    match alert["audit_ids"].as_array()?.as_slice() {
        [id] => id.as_str(),
        _ => None,
    }
}

fn tell(histogram: &Histogram<u64>, event_count: usize, rate: u32) -> io::Result<()> {
    let microseconds = |nanoseconds: u64| nanoseconds / 1000;
    let result = serde_json::json!({
        "events": event_count,
        "rate": rate,
        "alerts": histogram.len(),
        "p50_us": microseconds(histogram.value_at_quantile(0.5)),
        "p99_us": microseconds(histogram.value_at_quantile(0.99)),
        "p999_us": microseconds(histogram.value_at_quantile(0.999)),
        "max_us": microseconds(histogram.max()),
    });
    writeln!(io::stdout(), "{result}")
}
