//! Grows recorded audit logs to any size.
//!
//! The events are repeated in rounds; each round has audit ids, times and names of its own, the
//! same for all events that shared them, so that what belonged together still does.
//! **Invariant:** the same logs, seed and size give the same bytes.

#[path = "generate/mix.rs"]
mod mix;
#[path = "generate/template.rs"]
mod template;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use masthead_bench::recorded;
use mix::Mix;
use template::Templates;

/// How many events a list holds: the default batch of an API server's webhook.
const LIST_EVENTS: usize = 400;

/// Grow recorded audit logs to any size
#[derive(Parser)]
#[command(name = "generate", version)]
struct Arguments {
    /// Recorded logs: any format, plain or compressed
    #[arg(required = true)]
    logs: Vec<PathBuf>,
    /// Stop after so many bytes, such as 1GiB or 500MB
    #[arg(long, value_parser = bytes, required_unless_present = "events")]
    bytes: Option<u64>,
    /// Stop after so many events
    #[arg(long)]
    events: Option<u64>,
    /// Another seed gives other audit ids
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What the events hold
    #[arg(long, value_enum, default_value_t = Mix::Recorded)]
    mix: Mix,
    /// How the events are framed
    #[arg(long, value_enum, default_value_t = Shape::Jsonl)]
    shape: Shape,
    /// Where to write; standard output unless given
    #[arg(long)]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// One event a line
    Jsonl,
    /// One `EventList` of 400 events a line
    Eventlist,
    /// One event a line, its keys in alphabetical order as log shippers write them
    SortedKeys,
}

fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1000_u64.pow(2),
        "GB" => 1000_u64.pow(3),
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        unit => return Err(format!("unknown unit `{unit}`")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("`{digits}` is not a number"))?;
    number.checked_mul(factor).ok_or_else(|| "too many bytes".to_owned())
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let templates = Templates::new(arguments.mix.of(recorded(&arguments.logs)?), arguments.seed);
    if templates.is_empty() {
        return Err(io::Error::other("the logs hold no event"));
    }
    let output: Box<dyn Write> = match &arguments.output {
        Some(path) => Box::new(File::create(path)?),
        None => Box::new(io::stdout().lock()),
    };
    let mut output = BufWriter::with_capacity(1 << 20, output);
    match grow(&templates, &arguments, &mut output).and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

fn grow(templates: &Templates, arguments: &Arguments, output: &mut impl Write) -> io::Result<()> {
    let bytes_max = arguments.bytes.unwrap_or(u64::MAX);
    let events_max = arguments.events.unwrap_or(u64::MAX);
    let list_events = if arguments.shape == Shape::Eventlist { LIST_EVENTS } else { 1 };
    let (mut written, mut count) = (0_u64, 0_u64);
    let mut block = Vec::new();
    let mut events = templates.rounds();
    while written < bytes_max && count < events_max {
        let left = usize::try_from(events_max - count).unwrap_or(usize::MAX);
        let batch: Vec<Vec<u8>> = events.by_ref().take(left.min(list_events)).collect();
        block.clear();
        frame(&batch, arguments.shape, &mut block);
        output.write_all(&block)?;
        written += block.len() as u64;
        count += batch.len() as u64;
    }
    Ok(())
}

fn frame(batch: &[Vec<u8>], shape: Shape, block: &mut Vec<u8>) {
    match shape {
        Shape::Jsonl => block.extend(batch.concat()),
        Shape::Eventlist => {
            block.extend(br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#);
            block.extend(batch.join(&b','));
            block.extend(b"]}");
        }
        Shape::SortedKeys => {
            for event in batch {
                match serde_json::from_slice::<serde_json::Value>(event) {
                    Ok(value) => block.extend(value.to_string().into_bytes()),
                    Err(_) => block.extend(event),
                }
            }
        }
    }
    block.push(b'\n');
}
