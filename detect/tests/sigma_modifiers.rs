//! Values and modifiers mean what they mean in pySigma.
//!
//! `data/modifiers.tsv` holds a key, a value as JSON, and what pySigma 2.0.1 makes of them:
//! each row was printed by a script that called `SigmaDetectionItem.from_mapping(key, value)`
//! and wrote down the values it then held, or `error` where it raised an exception.
//! Lists under `all` are alternatives; expansions are flattened into them.

#![allow(clippy::unwrap_used, clippy::panic)]

mod show;

use std::path::Path;

use detect::sigma::{Expr, Item, parse};
use serde_json::{Value, json};

#[test]
fn every_modifier_means_what_it_means_in_pysigma() {
    let mut differences = Vec::new();
    let mut count = 0;
    for row in include_str!("data/modifiers.tsv").lines() {
        let mut columns = row.split('\t');
        let (key, value) = (columns.next().unwrap(), columns.next().unwrap());
        let expected = columns.next().unwrap();
        count += 1;
        let found = found(key, value).map_or("error".into(), |value| value.to_string());
        let expected = match expected {
            "error" => "error".to_owned(),
            json => serde_json::from_str::<Value>(json).unwrap().to_string(),
        };
        if found != expected {
            differences.push(format!("{key}: {value}\n  pysigma  {expected}\n  masthead {found}"));
        }
    }
    assert!(count > 150, "the table has only {count} rows");
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}

/// Where this is on purpose not what pySigma does.
#[test]
fn an_expression_held_to_an_end_is_anchored_there() {
    // pySigma appends or prepends `.*` for engines that match whole values; expressions
    // here are searched for, so the ends that stay fixed are anchored instead.
    assert_eq!(found("f|re|startswith", r#""a|b""#).unwrap(), json!({"all": [["regex  \\A(?:a|b)"]]}));
    assert_eq!(found("f|re|endswith", r#""a""#).unwrap(), json!({"all": [["regex  (?:a)\\z"]]}));
    assert_eq!(found("f|re|contains", r#""a|b""#).unwrap(), json!({"all": [["regex  a|b"]]}));
}

#[test]
fn cased_stays_whatever_follows() {
    assert_eq!(found("f|cased|base64", r#""A""#).unwrap(), json!({"all": [["cased QQ=="]]}));
    let dashes = found("f|cased|windash", r#""-a""#).unwrap().to_string();
    assert_eq!(dashes.matches("cased ").count(), 5, "{dashes}");
}

#[test]
fn a_comparison_of_a_time_part_lists_its_numbers() {
    assert_eq!(found("f|hour|lt", "3").unwrap(), json!({"all": [["hour 0", "hour 1", "hour 2"]]}));
    assert_eq!(found("f|month|gte", "12").unwrap(), json!({"all": [["month 12"]]}));
}

#[test]
fn utf16le_is_another_name_of_wide() {
    assert_eq!(found("f|utf16le", r#""ab""#), found("f|wide", r#""ab""#));
}

#[test]
fn an_unresolved_placeholder_is_refused() {
    assert_eq!(found("f|expand", r#""a%list%""#), None);
    assert_eq!(found("f|re|expand", r#""a%list%""#), None);
}

/// What a rule with one item holds; nothing when it is refused. The only place that touches
/// the API.
fn found(key: &str, value: &str) -> Option<Value> {
    let text = format!(
        "title: t\nid: 0f6f4a0a-6a7b-4f6e-9d1b-2c33a6a7e001\nlevel: low\nlogsource: {{product: kubernetes}}\n\
         detection:\n  s:\n    {}: {value}\n  condition: s\n",
        serde_json::to_string(key).unwrap()
    );
    let parsed = parse(Path::new("rule.yml"), &text);
    let rule = parsed.rules.into_iter().next()?;
    let Some(Expr::Named(_, expr)) = rule.condition().cloned() else { panic!("{text}") };
    let (is_negated, expr) = match *expr {
        Expr::Not(expr) => (true, *expr),
        expr => (false, expr),
    };
    let groups = match expr {
        Expr::All(items) => items.iter().map(alternatives).collect::<Vec<_>>(),
        item => vec![alternatives(&item)],
    };
    Some(if is_negated { json!({"not": true, "all": groups}) } else { json!({"all": groups}) })
}

fn alternatives(expr: &Expr) -> Vec<String> {
    let Expr::Item(Item { tests, .. }) = expr else { panic!("{expr:?}") };
    tests.iter().map(show::test).collect()
}
