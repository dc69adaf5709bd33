//! Processing pipelines change rules as pySigma's do, and say what they cannot do.
//!
//! `data/pipelines.txt` holds pipelines, a rule, and what pySigma 2.0.1 makes of them, as
//! `tests/conformance/pipelines.py` wrote it down. Where this means something else on
//! purpose, the case says what and why.

// The tests read files so that the library need not.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

mod show;

use std::path::Path;

use detect::sigma::{Code, Expr, Lists, Parsed, Pipeline, RuleError, Setup, Severity, parse_with};
use serde_json::{Value, json};

#[test]
fn pipelines_mean_what_they_mean_in_pysigma() {
    let same_count = compare(include_str!("data/pipelines.txt"));
    assert!(same_count >= 90, "only {same_count} cases agree with pySigma");
}

/// Cases that `tests/conformance/random_pipelines.py` made up, where there are any.
#[test]
fn random_pipelines_mean_what_they_mean_in_pysigma() {
    let Some(path) = std::env::var_os("MASTHEAD_PIPELINES") else {
        println!("skipped: MASTHEAD_PIPELINES names no file");
        return;
    };
    let same_count = compare(&std::fs::read_to_string(path).unwrap());
    assert!(same_count > 0, "the file holds no case");
}

/// Counts the cases that agree with pySigma; panics where others do not.
fn compare(cases: &str) -> usize {
    let mut differences = Vec::new();
    let mut same_count = 0;
    for case in cases.split("=== ").skip(1) {
        let mut parts = case.split("\n--- ");
        let name = parts.next().unwrap();
        let parts: Vec<(&str, &str)> = parts.map(|part| part.split_once('\n').unwrap()).collect();
        let part = |wanted: &str| parts.iter().find(|(title, _)| *title == wanted).map(|(_, text)| *text);
        let pipelines = parts.iter().filter(|(title, _)| *title == "pipeline").map(|(_, text)| *text);
        let found = outcome(&pipelines.collect::<Vec<_>>(), part("rule").unwrap());
        let (pysigma, masthead) = (part("pysigma").unwrap().trim(), part("masthead").map(after_reason));
        same_count += usize::from(masthead.is_none());
        let expected = masthead.unwrap_or(pysigma);
        if found != normal(expected) || masthead == Some(pysigma) {
            differences.push(format!("{name}\n  expected {expected}\n  masthead {found}"));
        }
    }
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
    same_count
}

/// What stands after the line with the reason.
fn after_reason(text: &str) -> &str {
    let (reason, expected) = text.trim().split_once('\n').unwrap();
    assert!(reason.starts_with("# "), "{text}");
    expected
}

fn normal(json: &str) -> String {
    if json == "error" { json.to_owned() } else { serde_json::from_str::<Value>(json).unwrap().to_string() }
}

/// `data/pipeline_mistakes.tsv` holds a pipeline, the code, place and message of its only
/// mistake, and the help.
#[test]
fn mistakes_in_pipelines_are_pointed_at() {
    let mut differences = Vec::new();
    for row in include_str!("data/pipeline_mistakes.tsv").lines() {
        let columns: Vec<&str> = row.split('\t').collect();
        let [text, code, expected, help] = columns[..] else { panic!("{row}") };
        let text = &text.replace(r"\n", "\n").replace(r"\\", r"\");
        let problems = Pipeline::parse(Path::new("p"), text).unwrap_err();
        let [problem] = &problems[..] else { panic!("{text}: {problems:?}") };
        let found = (problem.code().id(), problem.to_string(), problem.help().unwrap_or_default());
        if found != (code, format!("p:{expected}"), help.to_owned()) {
            differences.push(format!("{text}\n  {found:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Steps, the item of a rule, and the place and message of what becomes of it.
#[test]
fn what_a_pipeline_does_not_let_pass_is_told_at_the_rule() {
    let cases = [
        (
            "[{type: rule_failure, message: use something else}]",
            "f: 1",
            Code::MH704,
            "1:1: a pipeline refuses the rule: use something else",
        ),
        (
            "[{type: detection_item_failure, message: not this field}]",
            "f: 1",
            Code::MH704,
            "8:5: a pipeline refuses the rule: not this field",
        ),
        (
            "[{type: drop_detection_item}]",
            "f: 1",
            Code::MH705,
            "9:14: a pipeline cannot be applied: it drops everything that the rule looks at",
        ),
        (
            "[{type: set_state, key: a, val: b}]",
            "f|expand: 'x%y%'",
            Code::MH212,
            "8:17: placeholder `%y%` is not defined",
        ),
        (
            "[{type: add_condition, conditions: {f|expand: '%y%'}}]",
            "f: 1",
            Code::MH212,
            "7:3: placeholder `%y%` is not defined",
        ),
        (
            "[{type: add_condition, template: true, conditions: {'f|windash': '-x -x -x -$product'}}]",
            "f: 1",
            Code::MH705,
            "7:3: a pipeline cannot be applied: a condition that it adds is wrong: `windash` varies at most 3 dashes, found 4",
        ),
        (
            "[{type: map_string, mapping: {'*a*': []}}]",
            "'|contains': a",
            Code::MH213,
            "8:5: the value `null` needs a field",
        ),
        ("[{type: replace_string, regex: x, replacement: '('}]", "f|re: ok", Code::MH001, ""),
    ];
    for (steps, item, code, expected) in cases {
        let setup = setup(&[&format!("transformations: {steps}")], Lists::default());
        let text = format!("{HEADER}{LOGSOURCE}detection:\n  s:\n    {item}\n  condition: s\n");
        let errors = errors(&parse_with(Path::new("r"), &text, &setup));
        if expected.is_empty() {
            assert_eq!(errors, [], "{steps}");
            continue;
        }
        let [problem] = &errors[..] else { panic!("{steps}: {errors:?}") };
        assert_eq!((problem.code(), problem.to_string()), (code, format!("r:{expected}")), "{steps}");
    }
}

#[test]
fn lists_come_before_the_values_of_pipelines() {
    let mut lists = Lists::default();
    lists.add("people", Path::new("l"), "alice\nbob");
    let pipeline = "vars: {people: mallory, others: eve}\n\
                    transformations: [{type: value_placeholders}, {type: map_string, mapping: {bob: robert}}]";
    let setup = setup(&[pipeline], lists);
    let text = format!(
        "{HEADER}{LOGSOURCE}detection:\n  s:\n    f|expand: ['%people%', '%others%']\n  condition: s\n"
    );
    let parsed = parse_with(Path::new("r"), &text, &setup);
    assert_eq!(
        tree(parsed.rules[0].condition().unwrap()),
        json!({"any": ["f: text alice", "f: text robert", "f: text eve"]})
    );
}

#[test]
fn steps_that_multiply_end_at_a_limit() {
    let doubled = "{type: field_name_mapping, mapping: {f: [f, f]}},";
    let grown = r"{type: replace_string, regex: '(.+)', replacement: '\1\1'},";
    let nested =
        format!("{}{{type: drop_detection_item}}{}", "{type: nest, items: [".repeat(9), "]}".repeat(9));
    for (steps, value) in [(doubled.repeat(40), "1"), (grown.repeat(60), "abc")] {
        let setup = setup(&[&format!("transformations: [{steps}]")], Lists::default());
        let text = format!("{HEADER}{LOGSOURCE}detection:\n  s:\n    f: {value}\n  condition: s\n");
        let errors = errors(&parse_with(Path::new("r"), &text, &setup));
        assert_eq!(errors.iter().map(RuleError::code).collect::<Vec<_>>(), [Code::MH003], "{errors:?}");
    }
    for steps in [doubled.repeat(1001), nested] {
        let problems = Pipeline::parse(Path::new("p"), &format!("transformations: [{steps}]")).unwrap_err();
        assert_eq!(problems.iter().map(RuleError::code).collect::<Vec<_>>(), [Code::MH003], "{problems:?}");
    }
}

/// Prefixes of every pipeline of the table are read, or refused, without panic.
#[test]
fn cut_pipelines_never_panic() {
    for case in include_str!("data/pipelines.txt").split("=== ").skip(1) {
        for part in case.split("\n--- ").filter_map(|part| part.strip_prefix("pipeline\n")) {
            for end in (0..part.len()).step_by(3).filter(|end| part.is_char_boundary(*end)) {
                if let Err(problems) = Pipeline::parse(Path::new("p"), &part[..end]) {
                    assert!(!problems.is_empty(), "{}", &part[..end]);
                    assert!(problems.iter().all(|problem| problem.place.line >= 1), "{}", &part[..end]);
                }
            }
        }
    }
}

const HEADER: &str = "title: t\nid: 0f6f4a0a-6a7b-4f6e-9d1b-2c33a6a7e001\nlevel: low\nstatus: test\n";
const LOGSOURCE: &str = "logsource: {product: kubernetes, service: audit}\n";

fn setup(pipelines: &[&str], lists: Lists) -> Setup {
    let parse = |text: &&str| {
        Pipeline::parse(Path::new("p"), text).unwrap_or_else(|found| panic!("{text}: {found:?}"))
    };
    Setup { lists, pipelines: pipelines.iter().map(parse).collect(), ..Setup::default() }
}

fn errors(parsed: &Parsed) -> Vec<RuleError> {
    parsed.problems.iter().filter(|problem| problem.severity() == Severity::Error).cloned().collect()
}

/// The rule as JSON after pipelines, or `error`.
fn outcome(pipelines: &[&str], rule: &str) -> String {
    let header = if rule.contains("level:") { HEADER.split("level").next().unwrap() } else { HEADER };
    let logsource = if rule.contains("logsource:") { "" } else { LOGSOURCE };
    let setup = setup(pipelines, Lists::default());
    let parsed = parse_with(Path::new("r"), &format!("{header}{logsource}{rule}\n"), &setup);
    let Some(rule) = parsed.rules.first() else {
        assert!(!errors(&parsed).is_empty());
        return "error".to_owned();
    };
    let logsource = &rule.logsource;
    let keys =
        [("category", &logsource.category), ("product", &logsource.product), ("service", &logsource.service)];
    let logsource: Value =
        keys.iter().filter_map(|(key, value)| Some(((*key).to_owned(), json!(value.as_ref()?)))).collect();
    let custom: Value = rule.custom.iter().cloned().collect();
    json!({"condition": tree(rule.condition().unwrap()), "custom": custom, "logsource": logsource})
        .to_string()
}

/// A condition in which groups of the same sort are one, and single parts stand alone.
fn tree(expr: &Expr) -> Value {
    match expr {
        Expr::All(parts) => join("all", parts.iter().map(tree).collect()),
        Expr::Any(parts) => join("any", parts.iter().map(tree).collect()),
        Expr::Not(part) => json!({"not": tree(part)}),
        Expr::Named(_, part) => tree(part),
        Expr::Block(_) => panic!("{expr:?}"),
        Expr::Item(item) => {
            let field = item.field.as_deref().unwrap_or("keyword");
            join(
                "any",
                item.tests.iter().map(|test| json!(format!("{field}: {}", show::test(test)))).collect(),
            )
        }
    }
}

fn join(how: &str, parts: Vec<Value>) -> Value {
    let mut flat: Vec<Value> = Vec::new();
    for part in parts {
        match part.get(how).and_then(Value::as_array) {
            Some(parts) => flat.extend(parts.iter().cloned()),
            None => flat.push(part),
        }
    }
    if flat.len() == 1 { flat.remove(0) } else { json!({ how: flat }) }
}
