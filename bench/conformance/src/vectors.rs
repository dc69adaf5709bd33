//! Reads vectors: rules, events, and which of the events match.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::engines::Question;

/// A file of vectors.
pub struct Group {
    pub name: String,
    pub vectors: Vec<Vector>,
}

/// What a rule means for a few events.
#[derive(Deserialize)]
pub struct Vector {
    /// What it says, in a sentence.
    pub name: String,
    detection: Option<String>,
    correlation: Option<String>,
    rule: Option<String>,
    #[serde(default)]
    lists: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    events: Vec<Value>,
    r#match: Option<Match>,
    /// Whether the rule must be refused.
    #[serde(default)]
    error: bool,
    #[serde(default)]
    silent: bool,
}

/// What a vector stands on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// What the specification says that rules mean.
    Meaning,
    /// What it says that a rule must not be.
    Mistake,
    /// Nothing that it says.
    Open,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Match {
    OfOne(Vec<usize>),
    OfEach(BTreeMap<String, Vec<usize>>),
}

/// What an engine is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    Refusal,
    /// The numbers of the events that match, by rule; one rule alone has no name.
    Matches(BTreeMap<String, Vec<usize>>),
}

impl Vector {
    /// What an engine is asked.
    pub fn question(&self) -> Question {
        Question { rules: self.rules(), lists: self.lists.clone(), events: self.events.clone() }
    }

    /// The text of the rules, as a file holds it.
    fn rules(&self) -> String {
        let id = "00000000-0000-4000-8000-00000000000";
        let logsource = "logsource:\n  product: kubernetes\n  service: audit\n";
        let head = format!("title: Vector\nid: {id}0\nlevel: low\n");
        let (mut text, body) = match (&self.detection, &self.correlation) {
            (Some(body), _) => (format!("{head}{logsource}detection:\n"), body),
            (_, Some(body)) => {
                let related = ["get", "create", "delete"].iter().zip(1..).map(|(verb, number)| {
                    format!(
                        "title: {verb}\nid: {id}{number}\nname: {verb}\n{logsource}detection:\n  selection:\n    \
                         verb: {verb}\n  condition: selection\n---\n"
                    )
                });
                (format!("{}{head}correlation:\n", related.collect::<String>()), body)
            }
            _ => return self.rule.clone().unwrap_or_default(),
        };
        for line in body.lines() {
            text.push_str(if line.is_empty() { "" } else { "  " });
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// What the vector stands on. The specification says nothing of arrays in events, so
    /// whatever meets one is left open.
    pub fn standing(&self) -> Standing {
        if self.silent || self.events.iter().any(has_array) {
            Standing::Open
        } else if self.error {
            Standing::Mistake
        } else {
            Standing::Meaning
        }
    }

    pub fn expected(&self) -> Expected {
        match &self.r#match {
            _ if self.error => Expected::Refusal,
            Some(Match::OfEach(matches)) => Expected::Matches(matches.clone()),
            Some(Match::OfOne(matches)) => Expected::Matches([(String::new(), matches.clone())].into()),
            None => Expected::Matches([(String::new(), Vec::new())].into()),
        }
    }

    /// What an engine found, told as [`Vector::expected`] tells it: by the names that the
    /// vector uses. `found` holds, for each event, the titles of the rules that match it.
    pub fn told(&self, found: &[Vec<String>]) -> Expected {
        let names = names(&self.rules());
        let numbers = |is_meant: &dyn Fn(&str) -> bool| {
            let events = found.iter().enumerate();
            events
                .filter(|(_, titles)| titles.iter().any(|title| is_meant(title)))
                .map(|(number, _)| number)
                .collect::<Vec<_>>()
        };
        Expected::Matches(match &self.r#match {
            Some(Match::OfEach(matches)) => matches
                .keys()
                .map(|name| {
                    let is_meant = |title: &str| title == name || names.get(title) == Some(name);
                    (name.clone(), numbers(&is_meant))
                })
                .collect(),
            // The rules that a correlation relates are not asked for.
            _ => [(String::new(), numbers(&|title| self.correlation.is_none() || title == "Vector"))].into(),
        })
    }
}

fn has_array(value: &Value) -> bool {
    match value {
        Value::Array(_) => true,
        Value::Object(entries) => entries.values().any(has_array),
        _ => false,
    }
}

/// The name of each rule that has one, by its title.
fn names(rules: &str) -> BTreeMap<String, String> {
    let documents = documents(rules);
    let values = documents.iter().filter_map(|text| serde_norway::from_str::<Value>(text).ok());
    let text = |value: &Value, key: &str| Some(value.get(key)?.as_str()?.to_owned());
    values.filter_map(|value| Some((text(&value, "title")?, text(&value, "name")?))).collect()
}

/// The documents of a file of rules, each as a text.
pub fn documents(rules: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in rules.lines() {
        if line.trim_end() == "---" {
            documents.push(String::new());
        } else if let Some(document) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    documents
        .retain(|document| document.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#')));
    documents
}

/// The files of published vectors, in the order of their names.
pub fn published(root: &Path) -> Result<Vec<PathBuf>, String> {
    let folder = root.join("tests/conformance");
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "yml")).collect();
    files.sort();
    Ok(files)
}

/// Reads a file of vectors.
pub fn read(path: &Path) -> Result<Group, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
    let vectors = serde_norway::from_str(&text).map_err(|error| failed(&error))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Group { name, vectors })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(text: &str) -> Vector {
        serde_norway::from_str(text).expect("a vector")
    }

    #[test]
    fn a_detection_gets_a_rule_around_it() {
        let rules = vector("name: n\ndetection: |\n  s:\n    verb: get\n\n  condition: s\nmatch: []").rules();
        assert!(rules.ends_with("detection:\n  s:\n    verb: get\n\n  condition: s\n"), "{rules}");
        assert_eq!(documents(&rules).len(), 1);
    }

    #[test]
    fn matches_are_told_by_the_names_that_the_vector_uses() {
        let text =
            "name: n\nrule: |\n  title: One\n  name: one\n  ---\n  title: Two\nmatch: {one: [0], Two: [1]}";
        let found = |titles: &[&[&str]]| {
            let titles =
                titles.iter().map(|of_event| of_event.iter().map(|&title| title.to_owned()).collect());
            vector(text).told(&titles.collect::<Vec<_>>())
        };
        assert_eq!(found(&[&["One"], &["Two"]]), vector(text).expected());
        assert_ne!(found(&[&["One", "Two"], &["Two"]]), vector(text).expected());
        assert_ne!(found(&[&[], &["Two"]]), vector(text).expected());
    }

    #[test]
    fn arrays_are_open_and_mistakes_are_mistakes() {
        let standing = |rest: &str| vector(&format!("name: n\ndetection: d\n{rest}")).standing();
        assert!(standing("events: [{a: {b: c}}]\nmatch: [0]") == Standing::Meaning);
        assert!(standing("events: [{a: {b: [c]}}]\nmatch: [0]") == Standing::Open);
        assert!(standing("silent: true\nerror: true") == Standing::Open);
        assert!(standing("error: true") == Standing::Mistake);
    }
}
