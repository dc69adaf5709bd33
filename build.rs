//! Embeds the rules, their example events and lists, so that the binary needs no other file;
//! the rules also as they are understood, which a start then need not do again.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use detect::sigma::{self, Rule, Setup, packed};

fn main() -> anyhow::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    println!("cargo::rerun-if-changed=rules");
    let (mut rules, mut lists) = (Vec::new(), Vec::new());
    if root.join("rules").is_dir() {
        find(&root.join("rules"), &mut rules, &mut lists)?;
    }
    rules.sort();
    lists.sort();
    let mut list = String::from("&[\n");
    for rule in &rules {
        let path = rule.strip_prefix(&root).unwrap_or(rule);
        let events = rule.with_extension("events.jsonl");
        let events = if events.is_file() {
            format!("Some(include_str!({:?}))", events.display().to_string())
        } else {
            "None".to_owned()
        };
        let (path, rule) = (path.display().to_string(), rule.display().to_string());
        let _ = writeln!(list, "    ({path:?}, include_str!({rule:?}), {events}),");
    }
    list.push(']');
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("embedded_rules.rs"), list)?;
    let mut list = String::from("&[\n");
    for path in &lists {
        let name = path.strip_prefix(&root).unwrap_or(path).display().to_string();
        let _ = writeln!(list, "    ({name:?}, include_str!({:?})),", path.display().to_string());
    }
    list.push(']');
    fs::write(out.join("embedded_lists.rs"), list)?;
    let understood = packed::pack(understand(&root, &rules, &lists)?)?;
    Ok(fs::write(out.join("embedded_rules.bin"), understood)?)
}

/// The rules of each file with the lists; nothing of a file that has mistakes or holds more
/// than rules, so that it is read again where people are told about it.
fn understand(root: &Path, rules: &[PathBuf], lists: &[PathBuf]) -> io::Result<Vec<Option<Vec<Rule>>>> {
    // Tests check the expressions of built-in rules.
    let mut setup = Setup { trusts_expressions: true, ..Setup::default() };
    for path in lists {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if !setup.lists.add(&name, path, &fs::read_to_string(path)?).is_empty() {
            return Ok(vec![None; rules.len()]);
        }
    }
    let understand = |path: &PathBuf| {
        let text = fs::read_to_string(path)?;
        let parsed = sigma::parse_with(path.strip_prefix(root).unwrap_or(path), &text, &setup);
        Ok((parsed.problems.is_empty() && parsed.filters.is_empty()).then_some(parsed.rules))
    };
    rules.iter().map(understand).collect()
}

/// Collects every rule file below a folder, and every list, which rules name.
fn find(folder: &Path, rules: &mut Vec<PathBuf>, lists: &mut Vec<PathBuf>) -> io::Result<()> {
    let is_list_folder = folder.file_name().is_some_and(|name| name == "lists");
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        println!("cargo::rerun-if-changed={}", path.display());
        if path.is_dir() {
            find(&path, rules, lists)?;
        } else if path.extension().is_some_and(|extension| extension == "yml") {
            rules.push(path);
        } else if is_list_folder && path.extension().is_some_and(|extension| extension == "txt") {
            lists.push(path);
        }
    }
    Ok(())
}
