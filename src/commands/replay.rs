//! `masthead replay`: detection over recorded logs.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use detect::Engine;
use detect::alert::RawEvent;
use detect::correlate::DISORDER;
use detect::sigma::{Level, Severity};
use ingest::Input;
use ingest::inputs::{self, Inputs};
use sinks::{Jsonl, Sink, Text, clean};

use super::Ending;
use crate::args::{Replay, THREADS_MAX};
use crate::detector::Detector;
use crate::examiner::Detection;
use crate::files;
use crate::interrupt;
use crate::loading::{self, Loaded};
use crate::pipeline;
use crate::progress::Progress;
use crate::report;
use crate::reporter::Reporter;
use crate::steps::Steps;
use crate::terminal::Terminal;
use crate::totals::Totals;

/// How much of the alerts is written at once.
const OUT_BYTES: usize = 256 * 1024;

/// Replays the logs.
pub(crate) fn run(args: &Replay, terminal: &Terminal) -> anyhow::Result<Ending> {
    let inputs = inputs::resolve(&paths(args)?);
    let loaded = loading::load(files::chosen(&args.choice)?);
    if loaded.count(Severity::Error) > 0 {
        let _ = report::write_all(&mut io::stderr().lock(), terminal.stderr, &loaded);
        bail!("the rules have mistakes; nothing was replayed");
    }
    let raw = if args.no_event { RawEvent::LeaveOut } else { RawEvent::Include };
    // It ends with the process: taking all the rules apart would only cost time.
    let detection = Box::leak(Box::new(Detection::new(engine(loaded, args)?, &args.cluster, raw)));
    let mut detector = Detector::new(detection, disorder(&inputs));
    let mut reporter = reporter(args, terminal, &inputs)?;
    let start = Instant::now();
    inputs.errors.iter().for_each(|error| reporter.unreadable(error));
    let interrupted = Arc::clone(&reporter.interrupted);
    let mut steps = Steps::new(inputs.found, detection, thread_count(args), interrupted)
        .context("cannot start threads")?;
    pipeline::run(&mut steps, detection, &mut detector, &mut reporter)?;
    reporter.progress.finish();
    reporter.totals.forgotten_count = detector.forgotten_count();
    reporter.totals.correlation_counts = detector.correlation_counts();
    reporter.totals.is_interrupted = reporter.is_interrupted();
    if !args.quiet && !reporter.totals.is_nothing() {
        let mut out = BufWriter::new(io::stderr().lock());
        let totals = &reporter.totals;
        let learning = totals.last().map_or(Vec::new(), |last| detector.learning(last));
        let rules = detection.rules();
        let written = totals.write(&mut out, terminal.stderr, start.elapsed(), rules, &learning);
        // Without somebody who reads it, a summary is not needed.
        let _ = written.and_then(|()| out.flush());
    }
    Ok(ending(&reporter.totals, args.fail_on.map(Level::from)))
}

/// What to read; standard input if nothing is named and it is not somebody's keyboard.
fn paths(args: &Replay) -> anyhow::Result<Vec<PathBuf>> {
    if !args.paths.is_empty() {
        return Ok(args.paths.clone());
    }
    if io::stdin().is_terminal() {
        bail!("no log given: name files or folders, or `-` for standard input");
    }
    Ok(vec![PathBuf::from("-")])
}

fn engine(loaded: Loaded, args: &Replay) -> anyhow::Result<Engine> {
    let mut warnings = BufWriter::new(io::stderr().lock());
    let _ = report::write_short(&mut warnings, &loaded, Severity::Warning);
    if !loaded.skipped.is_empty() && !args.quiet {
        let _ = writeln!(warnings, "{}", clean(&loaded.skipped.to_string()));
    }
    let _ = warnings.flush();
    let settings = loaded.settings(&args.proxies);
    let rules = loaded.into_rules();
    if rules.is_empty() {
        bail!("no rules to look for: add some with `--rules`, or leave out `--no-default-rules`");
    }
    Ok(Engine::new(rules, settings))
}

fn reporter(args: &Replay, terminal: &Terminal, inputs: &Inputs) -> anyhow::Result<Reporter> {
    let out = BufWriter::with_capacity(OUT_BYTES, io::stdout());
    let stream = terminal.stdout;
    let sink: Box<dyn Sink> = if stream.wants_jsonl(args.format) {
        Box::new(Jsonl::new(out))
    } else {
        Box::new(Text::new(out, stream.palette, stream.width))
    };
    let progress = if terminal.stderr.is_terminal && !args.quiet {
        Progress::shown(inputs.found.iter().map(Input::stored_bytes).sum())
    } else {
        Progress::hidden()
    };
    Ok(Reporter {
        sink,
        min_level: args.min_level.into(),
        progress,
        palette: terminal.stderr.palette,
        interrupted: interrupt::listen().context("cannot listen for Ctrl-C")?,
        totals: Totals::default(),
    })
}

/// Logs of several API servers cover the same time, and names say nothing of age: matches in
/// several logs are put in order when all of them have been read. One log may be endless.
fn disorder(inputs: &Inputs) -> Duration {
    if inputs.found.len() > 1 { Duration::MAX } else { DISORDER }
}

/// As many threads as were asked for, or as the machine runs at once.
fn thread_count(args: &Replay) -> usize {
    let available = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
    args.threads.map_or_else(available, usize::from).min(THREADS_MAX.into())
}

fn ending(totals: &Totals, fail_on: Option<Level>) -> Ending {
    if totals.is_interrupted {
        Ending::Interrupted
    } else if totals.unreadable_count > 0 {
        Ending::Incomplete
    } else if fail_on.is_some_and(|level| totals.highest() >= Some(level)) {
        Ending::Findings
    } else {
        Ending::Fine
    }
}
