//! `masthead explain` for rules that relate the matches of others.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use detect::correlate::Window;
use detect::field::Settings;
use detect::sigma::Rule;
use detect::sigma::correlation::{Correlation, silent};
use detect::summary::{self, counted};
use detect::{Engine, Event};
use ingest::{Frame, Log, inputs};
use sinks::clean;

use crate::args::Explain;
use crate::relation;
use crate::terminal::Stream;
use crate::timeline::Timeline;

/// How many events, windows and values are shown.
const SHOWN_MAX: usize = 20;
/// How many values or audit ids stand on one line.
const LISTED_MAX: usize = 5;

/// Explains the first of `rules`, which relates the others; with events, how far its windows
/// get.
pub(super) fn explain(
    out: &mut impl Write,
    stream: Stream,
    rules: Vec<Rule>,
    settings: Settings,
    args: &Explain,
) -> anyhow::Result<()> {
    let Some(correlation) = rules.first().and_then(Rule::correlation).cloned() else { return Ok(()) };
    writeln!(out, "looks for {}", relation::looks_for(&correlation, &rules))?;
    writeln!(out, "  {}", relation::grouping(&correlation))?;
    let are_silent = silent(&rules);
    writeln!(out, "among the matches of")?;
    for (rule, is_silent) in rules.iter().zip(are_silent).skip(1) {
        if correlation.rules.iter().any(|reference| reference.text == rule.id) {
            let alone = if is_silent { "gives no alerts of its own" } else { "also alerts by itself" };
            let faint = stream.palette.faint();
            writeln!(out, "  - {}  {faint}{alone}{faint:#}", clean(&rule.title))?;
        }
    }
    match &args.event {
        None => Ok(()),
        Some(path) => {
            let engine = Engine::new(rules, settings);
            follow(out, stream, &engine, &correlation, path)
        }
    }
}

/// Puts a log to the rules and shows what matched, the windows, and the episodes.
fn follow(
    out: &mut impl Write,
    stream: Stream,
    engine: &Engine,
    correlation: &Correlation,
    path: &Path,
) -> anyhow::Result<()> {
    let mut timeline = Timeline::new(engine);
    let (mut event_count, mut match_count) = (0_u64, 0);
    let found = inputs::resolve(&[path.to_owned()]);
    if let Some(error) = found.errors.first() {
        anyhow::bail!("{error}");
    }
    writeln!(out, "\nmatches")?;
    for input in &found.found {
        let mut log = Log::open(input).with_context(|| format!("cannot read `{}`", path.display()))?;
        while let Some(frame) = log.next() {
            let Frame::Event { event, .. } = frame else { continue };
            event_count += 1;
            for rule in timeline.take(&event) {
                match_count += 1;
                if match_count <= SHOWN_MAX {
                    write_match(out, &event, &engine.rules()[rule])?;
                }
            }
        }
    }
    match match_count {
        0 => writeln!(out, "  none in {}", counted(event_count, "event"))?,
        count if count > SHOWN_MAX => writeln!(out, "  and {} more", count - SHOWN_MAX)?,
        _ => {}
    }
    let windows = timeline.windows(0);
    write_windows(out, stream, correlation, &windows)?;
    let left_out_count = timeline.left_out_count();
    if left_out_count > 0 {
        let left_out = counted(left_out_count, "match");
        writeln!(out, "  {left_out} left out: no time, or a field that the event hides")?;
    }
    let episodes: Vec<_> = timeline.finish().into_iter().filter(|episode| episode.rule == 0).collect();
    writeln!(out, "\n{}", counted(episodes.len() as u64, "alert"))?;
    for episode in episodes.iter().take(SHOWN_MAX) {
        let time = episode.started_at.format("%Y-%m-%d %H:%M:%SZ");
        writeln!(out, "  {time}  {}", summary::of_episode(engine.rules(), correlation, episode))?;
    }
    match episodes.len().saturating_sub(SHOWN_MAX) {
        0 => Ok(()),
        more => writeln!(out, "  and {more} more").map_err(Into::into),
    }
}

fn write_match(out: &mut impl Write, event: &Event<'_>, rule: &Rule) -> io::Result<()> {
    let time = detect::alert::time_of(event);
    let time =
        time.map_or_else(|| "no time".to_owned(), |time| time.format("%Y-%m-%d %H:%M:%S%.3fZ").to_string());
    let id = event.str(detect::event::Key::AuditId).unwrap_or_default();
    writeln!(out, "  {time}  {}  audit {}", clean(&rule.title), sinks::clean::clean_short(&id, 60))
}

fn write_windows(
    out: &mut impl Write,
    stream: Stream,
    correlation: &Correlation,
    windows: &[Window],
) -> io::Result<()> {
    writeln!(out, "\nwindows after the last event")?;
    if windows.is_empty() {
        writeln!(out, "  none: nothing is remembered")?;
    }
    for window in windows.iter().take(SHOWN_MAX) {
        let (mark, style) = if window.is_episode_open {
            ("✓", stream.palette.good())
        } else {
            ("…", stream.palette.faint())
        };
        writeln!(out, "  {style}{mark}{style:#} {}", relation::progress(correlation, window))?;
        for (name, texts) in [("values", &window.values), ("audit", &window.audit_ids)] {
            let shown: Vec<_> =
                texts.iter().take(LISTED_MAX).map(|text| sinks::clean::clean_short(text, 60)).collect();
            if !shown.is_empty() {
                let more = texts.len() - shown.len();
                let more = if more == 0 { String::new() } else { format!(" and {more} more") };
                writeln!(out, "    {name} {}{more}", shown.join(", "))?;
            }
        }
    }
    match windows.len().saturating_sub(SHOWN_MAX) {
        0 => Ok(()),
        more => writeln!(out, "  and {more} more windows"),
    }
}
