//! What every built-in rule owes the people who read its alerts, and what the document about
//! rules says of them.

// The functions around the tests are tests as well.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use detect::Truth;
use detect::derived;
use detect::sigma::{self, Expr, Item, Rule, Setup, Test, correlation};
use regex::RegexBuilder;
use serde_json::Value;

const TITLE_CHARACTERS_MAX: usize = 70;
const RUNBOOK_STEPS: std::ops::RangeInclusive<usize> = 3..=6;
const LEVELS: [&str; 3] = ["Metadata", "Request", "RequestResponse"];
/// The places of two of them.
const REQUEST: usize = 1;
const RESPONSE: usize = 2;

/// Stands for words without a field.
const KEYWORDS: &str = "keywords";

/// What `kubectl` may be told to do in a runbook: it is followed at night, by somebody tired.
const READING: [&str; 19] = [
    "api-resources",
    "api-versions",
    "auth can-i",
    "auth whoami",
    "cluster-info",
    "config current-context",
    "config get-contexts",
    "config view",
    "describe",
    "diff",
    "events",
    "explain",
    "get",
    "logs",
    "options",
    "rollout history",
    "rollout status",
    "top",
    "version",
];

/// A rule, and whether it gives no alerts of its own.
struct BuiltIn {
    rule: Rule,
    is_silent: bool,
}

#[test]
fn documents_say_how_many_rules_there_are() {
    let paths: BTreeSet<&PathBuf> = built_in().iter().map(|built_in| &built_in.rule.path).collect();
    let expected = format!("{} rules in {} files", built_in().len(), paths.len());
    for document in ["README.md", "CHANGELOG.md"] {
        let text = fs::read_to_string(root().join(document)).expect("a document");
        assert!(text.contains(&expected), "{document} does not say `{expected}`");
    }
}

#[test]
fn titles_and_ids_are_the_rules_own() {
    let mut problems = Vec::new();
    let (mut titles, mut ids) = (BTreeMap::new(), BTreeMap::new());
    for rule in built_in().iter().map(|built_in| &built_in.rule) {
        let length = rule.title.chars().count();
        if length > TITLE_CHARACTERS_MAX {
            problems.push(format!("{}: the title has {length} characters", place(rule)));
        }
        if !is_random_uuid(&rule.id) {
            problems.push(format!("{}: `{}` is no UUID of version 4: `uuidgen`", place(rule), rule.id));
        }
        if let Some(other) = titles.insert(rule.title.to_lowercase(), place(rule)) {
            problems.push(format!("{}: has the title of {other}", place(rule)));
        }
        if let Some(other) = ids.insert(rule.id.to_lowercase(), place(rule)) {
            problems.push(format!("{}: has the id of {other}", place(rule)));
        }
    }
    none(&problems);
}

#[test]
fn a_rule_says_why_when_not_and_what_to_do() {
    let mut problems = Vec::new();
    for BuiltIn { rule, is_silent } in built_in() {
        if rule.description.trim().is_empty() {
            problems.push(format!("{}: has no description", place(rule)));
        }
        if *is_silent {
            continue;
        }
        if rule.falsepositives.iter().all(|text| text.trim().is_empty()) {
            problems.push(format!("{}: has no falsepositives", place(rule)));
        }
        let steps = runbook(rule);
        if !RUNBOOK_STEPS.contains(&steps.len()) {
            problems.push(format!("{}: the runbook has {} steps", place(rule), steps.len()));
        }
        let commands = steps.iter().flat_map(|step| commands(step));
        let writing = commands.filter(|command| !is_reading(command));
        problems.extend(writing.map(|command| format!("{}: `{command}` may change things", place(rule))));
    }
    none(&problems);
}

#[test]
fn tags_name_techniques_that_there_are() {
    let known = known_techniques();
    let mut problems = Vec::new();
    for BuiltIn { rule, is_silent } in built_in() {
        let attack: Vec<&str> = rule.tags.iter().filter_map(|tag| tag.strip_prefix("attack.")).collect();
        let (techniques, tactics): (Vec<&str>, Vec<&str>) =
            attack.iter().partition(|name| name.starts_with('t') && name[1..].starts_with(char::is_numeric));
        let folder = rule.path.parent().and_then(Path::file_name).expect("a folder").to_string_lossy();
        if !is_silent && techniques.is_empty() {
            problems.push(format!("{}: has no tag of an ATT&CK technique", place(rule)));
        }
        if !is_silent && !tactics.contains(&folder.as_ref()) {
            problems.push(format!("{}: has no tag `attack.{folder}`, the folder it is in", place(rule)));
        }
        let threat_matrix =
            custom(rule, "threat_matrix").map(|value| value.as_str().unwrap_or("").to_owned());
        let named = techniques.iter().map(|name| name.to_uppercase()).chain(threat_matrix);
        for name in named.filter(|name| !known.contains(name)) {
            problems.push(format!("{}: src/coverage/techniques.tsv has no `{name}`", place(rule)));
        }
    }
    none(&problems);
}

/// Nobody is there to tell when the first event asks for an automaton that cannot be built.
#[test]
fn every_regular_expression_can_be_compiled() {
    let mut problems = BTreeSet::new();
    for BuiltIn { rule, .. } in built_in() {
        let mut items = Vec::new();
        rule.condition().into_iter().for_each(|condition| collect_items(condition, &mut items));
        for test in items.into_iter().flat_map(|item| item.tests.iter()) {
            let Test::Regex(expression) = test else { continue };
            if let Err(error) = RegexBuilder::new(expression.as_str()).size_limit(4 << 20).build() {
                problems.insert(format!("{}: {error}", rule.path.display()));
            }
        }
    }
    none(&problems.into_iter().collect::<Vec<_>>());
}

/// To an API server `System:apiserver` is nobody it knows: whoever gets a certificate for that
/// name must not pass for `system:apiserver`.
#[test]
fn names_of_users_are_compared_letter_by_letter() {
    let mut problems = BTreeSet::new();
    for BuiltIn { rule, .. } in built_in() {
        let mut items = Vec::new();
        rule.condition().into_iter().for_each(|condition| collect_items(condition, &mut items));
        for item in items {
            let is_loose = item.tests.iter().any(|test| matches!(test, Test::Text(text) if !text.is_cased));
            if let Some(field) = item.field.as_ref().filter(|field| is_loose && is_user(field)) {
                problems.insert(format!("{}: write `{field}|cased`", rule.path.display()));
            }
        }
    }
    none(&problems.into_iter().collect::<Vec<_>>());
}

fn is_user(field: &str) -> bool {
    ["actor.name", "actor.groups", "actor.original", "user.username", "user.groups", "username"]
        .contains(&field)
}

fn collect_items<'e>(condition: &'e Expr, items: &mut Vec<&'e Item>) {
    match condition {
        Expr::All(parts) | Expr::Any(parts) => parts.iter().for_each(|part| collect_items(part, items)),
        Expr::Not(part) | Expr::Named(_, part) => collect_items(part, items),
        Expr::Block(block) => collect_items(&block.body, items),
        Expr::Item(item) => items.push(item),
    }
}

/// A rule sees all that it is about from the level on at which the last of its fields is logged.
/// Responses only say what a patch leaves unsaid, unless nothing matches without them; words
/// without a field may stand anywhere.
#[test]
fn the_minimum_level_is_that_of_the_fields() {
    let rules = || built_in().iter().map(|built_in| &built_in.rule);
    let by_id: HashMap<&str, &Rule> = rules().map(|rule| (rule.id.as_str(), rule)).collect();
    let mut problems = Vec::new();
    for rule in rules() {
        let stated = custom(rule, "minimum_level").and_then(Value::as_str).unwrap_or("none");
        let Some(rank) = LEVELS.iter().position(|level| *level == stated) else {
            problems.push(format!("{}: minimum_level is {stated}: one of {LEVELS:?}", place(rule)));
            continue;
        };
        let fields = fields_of(rule, &by_id);
        let (last, field) =
            fields.iter().map(|field| (level_of(field), field.as_str())).max().unwrap_or((0, ""));
        let least = if needs_response(rule, &by_id) { RESPONSE } else { last.min(REQUEST) };
        let most = match last {
            REQUEST => RESPONSE,
            last if fields.iter().any(|field| field == KEYWORDS) => last.max(REQUEST),
            last => last,
        };
        if rank < least || rank > most {
            let needed = LEVELS[least];
            problems.push(format!("{}: says {stated}, but `{field}` needs {needed}", place(rule)));
        }
    }
    none(&problems);
}

#[test]
fn every_rule_has_events_that_prove_it() {
    let mut files: BTreeMap<&Path, Vec<&BuiltIn>> = BTreeMap::new();
    for built_in in built_in() {
        files.entry(&built_in.rule.path).or_default().push(built_in);
    }
    let mut problems = Vec::new();
    for (path, rules) in files {
        // What correlations are about is shown by several events; one proves only what they relate.
        let key = if rules.iter().any(|built_in| built_in.rule.correlation().is_some()) {
            "events"
        } else {
            "event"
        };
        let examples = root().join(path.with_extension("events.jsonl"));
        let Ok(text) = fs::read_to_string(&examples) else {
            problems.push(format!("{}: has no events", path.display()));
            continue;
        };
        let lines: Vec<Value> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| serde_json::from_str(line).expect(line))
            .collect();
        let count = |wanted: bool| {
            lines.iter().filter(|line| !line[key].is_null() && line["match"] == wanted).count()
        };
        if count(true) < 1 || count(false) < 2 {
            let found = format!("{} and {}", count(true), count(false));
            problems.push(format!(
                "{}: needs a match and two near misses with `{key}`, has {found}",
                path.display()
            ));
        }
        if lines.iter().any(|line| line["why"].as_str().is_none_or(|why| why.trim().is_empty())) {
            problems.push(format!("{}: an example does not say why", path.display()));
        }
        let loud: Vec<&Rule> = rules.iter().filter(|rule| !rule.is_silent).map(|rule| &rule.rule).collect();
        let is_named = |rule: &&Rule| {
            let names = [Some(rule.id.as_str()), Some(rule.title.as_str()), rule.name.as_deref()];
            lines.iter().any(|line| line["match"] == true && names.contains(&line["rule"].as_str()))
        };
        for rule in loud.iter().filter(|rule| loud.len() > 1 && !is_named(rule)) {
            problems.push(format!(
                "{}: no match of an example is of `{}` by name",
                path.display(),
                rule.title
            ));
        }
    }
    none(&problems);
}

#[test]
fn every_example_ends_as_it_says() {
    let output = masthead(&["test"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_document_lists_the_rules() {
    assert_section("rules", &["rules", "--format", "markdown"]);
}

#[test]
fn the_document_says_what_the_rules_cover() {
    assert_section("coverage", &["rules", "--coverage", "--format", "markdown"]);
}

#[track_caller]
fn assert_section(name: &str, arguments: &[&str]) {
    let readme = fs::read_to_string(root().join("rules/README.md")).expect("rules/README.md");
    let (_, rest) = readme.split_once(&format!("<!-- {name}:begin -->\n")).expect("a place for it");
    let (written, _) = rest.split_once(&format!("<!-- {name}:end -->")).expect("an end of it");
    let output = masthead(arguments);
    let expected = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        written.trim() == expected.trim(),
        "rules/README.md is out of date: `rules/update-readme.sh` writes the output of `masthead {}` there",
        arguments.join(" ")
    );
}

fn masthead(arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_masthead"));
    command.args(arguments).current_dir(root()).output().expect("the binary runs")
}

/// Every built-in rule, with its path from the root; they are read once.
fn built_in() -> &'static [BuiltIn] {
    static RULES: OnceLock<Vec<BuiltIn>> = OnceLock::new();
    RULES.get_or_init(read)
}

fn read() -> Vec<BuiltIn> {
    let mut setup = Setup::default();
    for path in files(&root().join("rules/lists"), "txt") {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let found = setup.lists.add(&name, &path, &fs::read_to_string(&path).expect("a list"));
        assert!(found.is_empty(), "{}: {found:?}", path.display());
    }
    let mut rules = Vec::new();
    for path in files(&root().join("rules"), "yml") {
        let text = fs::read_to_string(&path).expect("a rule");
        let path = path.strip_prefix(root()).expect("below the root").to_owned();
        let parsed = sigma::parse_with(&path, &text, &setup);
        let problems: Vec<String> = parsed.problems.iter().map(ToString::to_string).collect();
        assert!(!parsed.rules.is_empty() && problems.is_empty(), "{}", problems.join("\n"));
        rules.extend(parsed.rules);
    }
    assert!(sigma::link(&mut rules, &[]).broken.is_empty(), "`masthead check` says what is broken");
    let silent = correlation::silent(&rules);
    rules.into_iter().zip(silent).map(|(rule, is_silent)| BuiltIn { rule, is_silent }).collect()
}

/// The ids in the table that coverage is measured against.
fn known_techniques() -> BTreeSet<String> {
    let table = fs::read_to_string(root().join("src/coverage/techniques.tsv")).expect("the table");
    table.lines().filter_map(|line| line.split('\t').next()).map(ToOwned::to_owned).collect()
}

/// The names of all fields that decide about a rule.
fn fields_of(rule: &Rule, rules: &HashMap<&str, &Rule>) -> Vec<String> {
    let mut fields = Vec::new();
    if let Some(condition) = rule.condition() {
        collect(condition, "", &mut fields);
    }
    if let Some(correlation) = rule.correlation() {
        fields.extend(correlation.fields().map(ToOwned::to_owned));
        for related in &correlation.rules {
            fields.extend(rules.get(related.text.as_str()).map_or(Vec::new(), |rule| fields_of(rule, rules)));
        }
    }
    fields
}

/// Adds the fields of a condition; those within a block by their full names.
fn collect(condition: &Expr, list: &str, fields: &mut Vec<String>) {
    let full = |name: &str| match (list, name) {
        ("", name) => name.to_owned(),
        (list, ".") => list.to_owned(),
        (list, name) => format!("{list}.{name}"),
    };
    match condition {
        Expr::All(parts) | Expr::Any(parts) => parts.iter().for_each(|part| collect(part, list, fields)),
        Expr::Not(part) | Expr::Named(_, part) => collect(part, list, fields),
        Expr::Block(block) => {
            fields.push(full(&block.list));
            collect(&block.body, &full(&block.list), fields);
        }
        Expr::Item(Item { field, tests, .. }) => {
            fields.push(field.as_deref().map_or(KEYWORDS.to_owned(), full));
            let others = tests.iter().filter_map(|test| match test {
                Test::FieldRef(other, _) => Some(full(other)),
                _ => None,
            });
            fields.extend(others);
        }
    }
}

/// Whether the rule cannot match as long as responses are not logged.
fn needs_response(rule: &Rule, rules: &HashMap<&str, &Rule>) -> bool {
    let related = rule.correlation().map_or(&[][..], |correlation| &correlation.rules);
    let mut related = related.iter().filter_map(|related| rules.get(related.text.as_str()));
    let is_blind = |condition: &Expr| !outcomes(condition).contains(&Truth::True);
    rule.condition().is_some_and(is_blind) || related.any(|rule| needs_response(rule, rules))
}

/// What may become of a condition when responses are hidden and everything else is free.
fn outcomes(condition: &Expr) -> Vec<Truth> {
    let combine = |parts: &[Expr], start: Truth, both: fn(Truth, Truth) -> Truth| {
        parts.iter().fold(vec![start], |before, part| {
            let each = outcomes(part);
            let all = before.iter().flat_map(|left| each.iter().map(|right| both(*left, *right)));
            let possible = [Truth::True, Truth::False, Truth::Unknown];
            let all: Vec<Truth> = all.collect();
            possible.into_iter().filter(|truth| all.contains(truth)).collect()
        })
    };
    let of_field = |field: Option<&str>| match field.map(level_of) {
        Some(RESPONSE) => vec![Truth::Unknown],
        _ => vec![Truth::True, Truth::False],
    };
    match condition {
        Expr::All(parts) => combine(parts, Truth::True, Truth::and),
        Expr::Any(parts) => combine(parts, Truth::False, Truth::or),
        Expr::Not(part) => outcomes(part).into_iter().map(|truth| !truth).collect(),
        Expr::Named(_, part) => outcomes(part),
        Expr::Block(block) => of_field(Some(&block.list)),
        Expr::Item(item) => of_field(item.field.as_deref()),
    }
}

/// The rank of the lowest level at which the field can be known.
fn level_of(field: &str) -> usize {
    let is_it = |name: &str| match name.strip_suffix(".*") {
        Some(list) => field == list || field.strip_prefix(list).is_some_and(|rest| rest.starts_with('.')),
        None => name == field,
    };
    let in_table = derived::TABLE.iter().filter(|entry| is_it(entry.name)).map(|entry| entry.level);
    let exact = derived::TABLE.iter().find(|entry| entry.name == field).map(|entry| entry.level);
    let level = exact.or(in_table.into_iter().next()).unwrap_or(match field.split('.').next() {
        Some("requestObject") => "Request",
        Some("responseObject") => "RequestResponse",
        _ => "Metadata",
    });
    LEVELS.iter().position(|known| *known == level).expect("a level of the table")
}

fn runbook(rule: &Rule) -> Vec<String> {
    let steps = custom(rule, "runbook").and_then(Value::as_array).cloned().unwrap_or_default();
    steps.iter().map(|step| step.as_str().unwrap_or_default().to_owned()).collect()
}

/// Every call of `kubectl` in the code of a step.
fn commands(step: &str) -> Vec<String> {
    let code = step.split('`').skip(1).step_by(2);
    let single = code.flat_map(|code| code.split(['|', ';', '&', '(', '\n'])).map(str::trim);
    single.filter(|command| command.starts_with("kubectl ")).map(ToOwned::to_owned).collect()
}

/// Whether a command only reads, judged by its first words that are no options.
fn is_reading(command: &str) -> bool {
    let mut words = command.split_whitespace().skip(1);
    let mut plain = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "-n" | "--namespace" | "--context" | "--kubeconfig" | "--as" | "-s" | "--server" => {
                _ = words.next();
            }
            option if option.starts_with('-') => {}
            word => plain.push(word),
        }
    }
    let two = plain.iter().take(2).copied().collect::<Vec<_>>().join(" ");
    READING.contains(&two.as_str()) || plain.first().is_some_and(|word| READING.contains(word))
}

#[test]
fn commands_that_change_something_are_seen() {
    assert!(is_reading("kubectl -n NAMESPACE get pods -o wide"));
    assert!(is_reading("kubectl auth can-i --list --as=NAME"));
    assert!(is_reading("kubectl get --raw /metrics"));
    for command in ["kubectl delete pod x", "kubectl -n get delete pod", "kubectl auth reconcile -f x"] {
        assert!(!is_reading(command), "{command}");
    }
    assert_eq!(commands("look: `kubectl get x | kubectl delete -f -`, then `date`").len(), 2);
}

fn is_random_uuid(id: &str) -> bool {
    let groups: Vec<&str> = id.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.chars().all(|c| c.is_ascii_hexdigit()))
        && groups[2].starts_with('4')
        && groups[3].starts_with(['8', '9', 'a', 'b'])
}

fn custom<'r>(rule: &'r Rule, name: &str) -> Option<&'r Value> {
    rule.custom.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

fn place(rule: &Rule) -> String {
    format!("{} ({})", rule.path.display(), rule.title)
}

#[track_caller]
fn none(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}
