//! All rules as a Markdown table, for the document that introduces them.

use std::io::Write;
use std::path::Path;

use detect::sigma::Rule;
use sinks::palette::level_name;

use super::{write_head, write_row};
use crate::coverage::catalog::{TACTICS, tactic_name};
use crate::coverage::tags::{minimum_level, tactic, techniques, threat_matrix};
use crate::files::Origin;
use crate::loading::Loaded;

/// Writes the rules that give alerts: a row each, by tactic, the highest level first.
/// Built-in ones are linked from the folder in which they lie.
pub(super) fn write(out: &mut impl Write, loaded: &Loaded, rules: &[(&Rule, bool)]) -> anyhow::Result<()> {
    let mut rules: Vec<&Rule> =
        rules.iter().filter(|(_, is_silent)| !is_silent).map(|(rule, _)| *rule).collect();
    // Stable: within a tactic they stay as they came, by level and title.
    rules.sort_by_key(|rule| place_of(tactic(rule)));
    write_head(out, &["rule", "level", "audit level", "tactic", "ATT&CK", "Threat Matrix"])?;
    for rule in rules {
        let title = rule.title.replace('[', "\\[").replace(']', "\\]");
        let cells = [
            format!("[{title}]({})", link(loaded, &rule.path)),
            level_name(rule.level).to_owned(),
            minimum_level(rule).unwrap_or_default().to_owned(),
            tactic(rule).map(tactic_name).unwrap_or_default(),
            techniques(rule).join(", "),
            threat_matrix(rule).unwrap_or_default().to_owned(),
        ];
        write_row(out, &cells)?;
    }
    Ok(())
}

/// Rules without a tactic come last.
fn place_of(tactic: Option<&str>) -> usize {
    TACTICS.iter().position(|known| Some(*known) == tactic).unwrap_or(TACTICS.len())
}

fn link(loaded: &Loaded, path: &Path) -> String {
    let is_embedded = loaded.files.iter().any(|file| file.path == path && file.origin != Origin::Disk);
    let inside = path.strip_prefix("rules").ok().filter(|_| is_embedded);
    inside.unwrap_or(path).display().to_string()
}
