//! `masthead alerts`: what is stored, whether it was tampered with, what could not be delivered.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use chrono::{DateTime, SecondsFormat};
use detect::sigma::Level;
use detect::summary::counted;
use serde::{Deserialize, Serialize};
use sinks::outbox::Outgoing;
use sinks::palette::level_name;
use sinks::store::{
    Filter, NOTE_BYTES_MAX, QuarantinedItem, Reading, Refused, SignedNote, StoreError, VerificationKey,
    verify,
};
use sinks::{Text, clean, escaped};

use super::Ending;
use crate::args::{Alerts, AlertsAction, AlertsList, Verify};
use crate::config::{self, Config};
use crate::files;
use crate::report;
use crate::terminal::Terminal;

mod layout;

/// How many rows are read at once.
const PAGE: usize = 1_000;

/// Every level, the least first.
const LEVELS: [Level; 5] = [Level::Informational, Level::Low, Level::Medium, Level::High, Level::Critical];

/// Does what was asked with the alerts of a state folder.
pub(crate) fn run(args: &Alerts, terminal: &Terminal) -> anyhow::Result<Ending> {
    let folder = folder(args, terminal)?;
    let open = || Reading::open(&folder).map_err(|error| explained(error, &folder));
    let out = &mut BufWriter::new(io::stdout().lock());
    let ending = match &args.action {
        AlertsAction::List(list) => write_list(out, &open()?, list, terminal)?,
        AlertsAction::Show { id } => show(out, &open()?, id)?,
        AlertsAction::Verify(verify) => write_verdict(out, &folder, verify)?,
        AlertsAction::Checkpoint => write_checkpoint(out, &open()?)?,
        AlertsAction::Quarantine => write_quarantine(out, &open()?)?,
        AlertsAction::Dead => write_dead(out, &open()?)?,
    };
    out.flush()?;
    Ok(ending)
}

/// The state folder: what the command line says, the configuration, or the one that `run` takes without either.
fn folder(args: &Alerts, terminal: &Terminal) -> anyhow::Result<PathBuf> {
    match (&args.state_dir, &args.config) {
        (Some(folder), _) => Ok(folder.clone()),
        (None, None) => Ok(config::default_state_dir()),
        (None, Some(path)) => match Config::load(path) {
            Ok(config) => Ok(config.state_dir.to_path_buf()),
            Err(mistakes) => {
                report::write_mistakes(&mut io::stderr().lock(), terminal.stderr, &mistakes)?;
                bail!("the configuration has mistakes; `--state-dir` does without it")
            }
        },
    }
}

/// Says what stands in the way, and what to do about it.
fn explained(error: StoreError, folder: &Path) -> anyhow::Error {
    let place = folder.display();
    let advice = match &error {
        StoreError::Absent { .. } => {
            return anyhow!(
                "there is no store in `{place}`; `masthead run` makes one; if its `state_dir` is elsewhere, say so \
                 with `--state-dir DIR` or `--config FILE`"
            );
        }
        StoreError::Foreign { .. } => Some("name the state folder of masthead by `--state-dir`".to_owned()),
        error if error.is_denied() => Some(denied(folder)),
        _ => None,
    };
    let context = format!("cannot read the store in `{place}`");
    match advice {
        None => anyhow::Error::new(error).context(context),
        Some(advice) => anyhow::Error::new(error).context(format!("{context} ({advice})")),
    }
}

/// What to do where somebody else may read alone.
fn denied(folder: &Path) -> String {
    // The folder itself may be hidden: then the nearest that is not.
    let owner = folder.ancestors().find_map(|path| Some(fs::metadata(path).ok()?.uid()));
    let owner = owner
        .map_or_else(|| "another user".to_owned(), |number| format!("the user with the number {number}"));
    format!(
        "it is for {owner} alone: ask as that user, such as by `sudo -u`, or name your own by `--state-dir`"
    )
}

fn write_list(
    out: &mut dyn Write,
    reading: &Reading,
    list: &AlertsList,
    terminal: &Terminal,
) -> anyhow::Result<Ending> {
    let least = Level::from(list.min_level);
    let levels = LEVELS.iter().filter(|level| **level >= least).map(|level| level_name(*level).to_owned());
    let filter = Filter {
        levels: levels.collect(),
        clusters: list.cluster.iter().cloned().collect(),
        ..Filter::default()
    };
    let stream = terminal.stdout;
    let is_json = stream.wants_jsonl(list.format);
    let mut write = |alert: &Outgoing| {
        if is_json {
            writeln!(out, "{}", alert.json)
        } else {
            Text::new(&mut *out, stream.palette, stream.width).deliver_json(&alert.json)
        }
    };
    let mut last = VecDeque::new();
    for alert in reading.alerts(filter) {
        let alert = alert?;
        let Some(count_max) = list.last else {
            write(&alert)?;
            continue;
        };
        last.push_back(alert);
        if last.len() as u64 > count_max {
            last.pop_front();
        }
    }
    last.iter().try_for_each(write)?;
    Ok(Ending::Fine)
}

fn show(out: &mut dyn Write, reading: &Reading, id: &str) -> anyhow::Result<Ending> {
    // A second one tells that there are several.
    match &*reading.by_id(id, 2)? {
        [] => show_request(out, reading, id),
        [alert] => {
            write_whole(out, alert)?;
            Ok(Ending::Fine)
        }
        [first, ..] => bail!(
            "several alerts have an id that begins with `{}`, such as `{:032x}`: give more of it",
            clean(id),
            first.id
        ),
    }
}

/// Shows every alert about the requests whose audit id begins so.
fn show_request(out: &mut dyn Write, reading: &Reading, id: &str) -> anyhow::Result<Ending> {
    let written = serde_json::to_string(id)?;
    let written = written.trim_matches('"');
    let mut is_known = false;
    for alert in reading.alerts(Filter::default()) {
        let alert = alert?;
        // Most are not even read.
        let is_about = |told: Told| told.audit_ids.iter().any(|own| own.starts_with(id));
        if alert.json.contains(written) && Told::read(&alert).is_some_and(is_about) {
            is_known = true;
            write_whole(out, &alert)?;
        }
    }
    if !is_known {
        bail!("no alert has an id, or an audit id, that begins with `{}`", clean(id));
    }
    Ok(Ending::Fine)
}

fn write_whole(out: &mut dyn Write, alert: &Outgoing) -> io::Result<()> {
    layout::write_laid_out(out, &escaped(&alert.json))?;
    writeln!(out)
}

/// What is read of an alert in its JSON form.
#[derive(Deserialize)]
struct Told {
    rule: ToldRule,
    summary: String,
    #[serde(default)]
    audit_ids: Vec<String>,
}

#[derive(Deserialize)]
struct ToldRule {
    title: String,
}

impl Told {
    /// Nothing of an alert that somebody has tampered with until it cannot be read.
    fn read(alert: &Outgoing) -> Option<Self> {
        serde_json::from_str(&alert.json).ok()
    }
}

fn write_verdict(out: &mut dyn Write, folder: &Path, args: &Verify) -> anyhow::Result<Ending> {
    let notes: Vec<SignedNote> = args.checkpoint.iter().map(read_note).collect::<Result<_, _>>()?;
    let key: Option<VerificationKey> =
        args.key.as_deref().map(str::parse).transpose().context("the verification key cannot be read")?;
    let verified = verify(folder, key.as_ref(), &notes).map_err(|error| explained(error, folder))?;
    for finding in &verified.findings {
        writeln!(out, "error: {finding}")?;
    }
    if verified.finding_count > verified.findings.len() {
        writeln!(out, "error: {} more", verified.finding_count - verified.findings.len())?;
    }
    let range = if verified.alert_count == 0 {
        String::new()
    } else {
        format!(", numbers {} to {}", verified.from, verified.to)
    };
    writeln!(
        out,
        "{}{range}, {}, {}",
        counted(verified.alert_count, "alert"),
        counted(verified.checkpoint_count as u64, "checkpoint"),
        counted(verified.finding_count as u64, "error"),
    )?;
    if let Some((number, time)) = &verified.last_checkpoint {
        writeln!(out, "signed up to alert {number} at {}", clean(time))?;
    }
    for unproven in &verified.unproven {
        writeln!(out, "not proven: {unproven}")?;
    }
    Ok(if verified.is_sound() { Ending::Fine } else { Ending::Findings })
}

fn read_note(path: &PathBuf) -> anyhow::Result<SignedNote> {
    let explain = || format!("cannot read the checkpoint `{}`", path.display());
    let bytes = fs::metadata(path).map_err(files::plain).with_context(explain)?.len();
    if bytes > NOTE_BYTES_MAX as u64 {
        bail!("{}: longer than {NOTE_BYTES_MAX} bytes", explain());
    }
    fs::read_to_string(path).with_context(explain)?.parse().with_context(explain)
}

fn write_checkpoint(out: &mut dyn Write, reading: &Reading) -> anyhow::Result<Ending> {
    let Some(note) = reading.checkpoints()?.pop() else {
        bail!("nothing has been signed yet: that is done every hour and when `masthead run` ends");
    };
    write!(out, "{note}")?;
    Ok(Ending::Fine)
}

/// An item in quarantine as a line of JSON.
#[derive(Serialize)]
struct ItemLine<'i> {
    number: u64,
    cluster: &'i str,
    source: &'i str,
    place: &'i str,
    reason: &'i str,
    first: String,
    last: String,
    seen: u64,
    beginning: String,
}

fn write_quarantine(out: &mut dyn Write, reading: &Reading) -> anyhow::Result<Ending> {
    let mut after = 0;
    loop {
        let page = reading.quarantine(after, PAGE)?;
        let Some(last) = page.last() else { return Ok(Ending::Fine) };
        after = last.number;
        for QuarantinedItem { number, item, first_us, last_us, seen } in &page {
            let line = ItemLine {
                number: *number,
                cluster: &item.cluster,
                source: &item.source,
                place: &item.place,
                reason: &item.reason,
                first: time(*first_us),
                last: time(*last_us),
                seen: *seen,
                beginning: String::from_utf8_lossy(&item.bytes).into_owned(),
            };
            writeln!(out, "{}", escaped(&serde_json::to_string(&line)?))?;
        }
    }
}

/// A dead letter as a line of JSON; what is said of an alert that is kept no more is nothing.
#[derive(Serialize)]
struct DeadLine<'l> {
    sink: &'l str,
    number: u64,
    id: Option<String>,
    rule: Option<&'l str>,
    summary: Option<&'l str>,
    died: String,
    reason: &'l str,
}

fn write_dead(out: &mut dyn Write, reading: &Reading) -> anyhow::Result<Ending> {
    for sink in reading.figures()?.sinks {
        let mut after = 0;
        loop {
            let page = reading.dead_letters(&sink.sink, after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = last.letter.number;
            for Refused { letter, died_us, alert } in &page {
                let told = alert.as_ref().and_then(Told::read);
                let line = serde_json::to_string(&DeadLine {
                    sink: &letter.sink,
                    number: letter.number,
                    id: alert.as_ref().map(|alert| format!("{:032x}", alert.id)),
                    rule: told.as_ref().map(|told| told.rule.title.as_str()),
                    summary: told.as_ref().map(|told| told.summary.as_str()),
                    died: time(*died_us),
                    reason: &letter.reason,
                })?;
                writeln!(out, "{}", escaped(&line))?;
            }
        }
    }
    Ok(Ending::Fine)
}

fn time(time_us: i64) -> String {
    DateTime::from_timestamp_micros(time_us)
        .map_or_else(String::new, |time| time.to_rfc3339_opts(SecondsFormat::Micros, true))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn who_may_not_read_the_store_is_told_whose_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let denied = |folder: &Path| StoreError::File {
            path: folder.join("masthead.db"),
            source: Arc::new(io::ErrorKind::PermissionDenied.into()),
        };
        for folder in [folder.path(), &folder.path().join("hidden")] {
            let told = format!("{:#}", explained(denied(folder), folder));
            assert!(
                told.contains("it is for the user with the number ") && told.contains("sudo -u"),
                "{told}"
            );
        }
        let absent = StoreError::Absent { folder: folder.path().to_owned() };
        let told = format!("{:#}", explained(absent, folder.path()));
        let place = folder.path().display().to_string();
        assert_eq!(told.matches(&place).count(), 1, "{told}");
        assert!(told.contains("--state-dir DIR") && told.contains("--config FILE"), "{told}");
    }
}
