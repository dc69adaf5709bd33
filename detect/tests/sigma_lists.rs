//! Lists: what `%name%` means under `expand`, and what is wrong with a list.

#![allow(clippy::unwrap_used, clippy::panic)]

mod show;

use std::path::Path;

use detect::field::Settings;
use detect::sigma::{Code, Expr, Lists, Parsed, RuleError, Setup, Severity, parse_with};
use detect::{Engine, Truth};
use serde_json::{Value, json};

const REGISTRIES: &str = "# registries\nghcr.io/*\n  docker.io  # the default\n\nissue#7\na\\*b\n";
const NETWORKS: &str = "10.0.0.0/8\n192.0.2.7\n2001:db8::/32\n10.1.*\n";

/// Key, value, and what the item comes to.
#[test]
fn placeholders_stand_for_the_lines_of_a_list() {
    let cases = [
        (
            "f|expand",
            "'%registries%'",
            json!([["text ghcr.io/*", "text docker.io", "text issue#7", r"text a\*b"]]),
        ),
        ("f|expand", "'a%two%b'", json!([["text axb", "text ayb"]])),
        ("f|expand", "'%two%-%two%'", json!([["text x-x", "text x-y", "text y-x", "text y-y"]])),
        ("f|expand", "['%two%', z]", json!([["text x", "text y", "text z"]])),
        ("f|contains|expand", "'%two%'", json!([["text *x*", "text *y*"]])),
        ("f|expand|contains", "'%two%'", json!([["text *x*", "text *y*"]])),
        (
            "f|expand|startswith",
            "'%registries%'",
            json!([["text ghcr.io/*", "text docker.io*", "text issue#7*", r"text a\*b*"]]),
        ),
        ("f|cased|expand", "'%two%'", json!([["cased x", "cased y"]])),
        ("f|expand|cased", "'%two%'", json!([["cased x", "cased y"]])),
        ("f|expand|base64", "'%two%'", json!([["text eA==", "text eQ=="]])),
        ("f|expand|all", "['%two%', z]", json!([["text x"], ["text y"], ["text z"]])),
        ("f|contains|all|expand", "'%two%'", json!([["text *x*"], ["text *y*"]])),
        ("f|expand|neq", "'%two%'", json!({"not": [["text x", "text y"]]})),
        ("f|re|expand", "'^(%two%)$'", json!([["regex  ^(x)$", "regex  ^(y)$"]])),
        (
            "f|re|i|expand",
            "'%registries%'",
            json!([["regex i ghcr.io/*", "regex i docker.io", "regex i issue#7", r"regex i a\*b"]]),
        ),
        (
            "f|expand",
            "'%networks%'",
            json!([[
                "text 10.0.0.0/8",
                "cidr 10.0.0.0/8",
                "text 192.0.2.7",
                "text 2001:db8::/32",
                "cidr 2001:db8::/32",
                "text 10.1.*"
            ]]),
        ),
        (
            "f|expand|all",
            "['%networks%', z]",
            json!([
                ["text 10.0.0.0/8", "cidr 10.0.0.0/8"],
                ["text 192.0.2.7"],
                ["text 2001:db8::/32", "cidr 2001:db8::/32"],
                ["text 10.1.*"],
                ["text z"]
            ]),
        ),
        (
            "f|startswith|expand",
            "'%networks%'",
            json!([["text 10.0.0.0/8*", "text 192.0.2.7*", "text 2001:db8::/32*", "text 10.1.*"]]),
        ),
        ("f|expand", "'%none%'", json!([[]])),
        ("f|expand|all", "['%none%', z]", json!([[], ["text z"]])),
        ("f|expand", "'100% of it'", json!([["text 100% of it"]])),
        (
            "f|windash|expand",
            "'-a %two%'",
            json!([[
                "text -a x",
                "text -a y",
                "text /a x",
                "text /a y",
                "text \u{2013}a x",
                "text \u{2013}a y",
                "text \u{2014}a x",
                "text \u{2014}a y",
                "text \u{2015}a x",
                "text \u{2015}a y"
            ]]),
        ),
        ("f|base64|expand", "'%two%'", json!([["text JXR3byU="]])),
        ("f|expand|fieldref", "'%two%'", json!([["field whole x", "field whole y"]])),
        (
            "'|expand'",
            "'%networks%'",
            json!([["text 10.0.0.0/8", "text 192.0.2.7", "text 2001:db8::/32", "text 10.1.*"]]),
        ),
    ];
    for (key, value, expected) in cases {
        let parsed = parse_with(Path::new("r.yml"), &rule(key, value), &setup());
        let errors: Vec<String> = parsed.problems.iter().map(ToString::to_string).collect();
        assert_eq!(errors, [""; 0], "{key}: {value}");
        assert_eq!(groups(parsed.rules[0].condition().unwrap()), expected, "{key}: {value}");
    }
}

/// Key, value, and the place and text of the problem.
#[test]
fn what_no_list_defines_is_refused() {
    let cases = [
        (
            "f|expand",
            "'a%tow%b'",
            "9:17: placeholder `%tow%` is not defined",
            "did you mean `%two%`? otherwise write its values into a list `tow.txt`, one a line",
        ),
        (
            "f|re|expand",
            "'%unheard%'",
            "9:19: placeholder `%unheard%` is not defined",
            "write its values into a list `unheard.txt`, one a line",
        ),
        (
            "f|expand|base64",
            "'%unheard%'",
            "9:23: placeholder `%unheard%` is not defined",
            "write its values into a list `unheard.txt`, one a line",
        ),
    ];
    for (key, value, expected, help) in cases {
        let problem = only_problem(parse_with(Path::new("r.yml"), &rule(key, value), &setup()));
        assert_eq!(problem.code(), Code::MH212);
        assert_eq!(problem.to_string(), format!("r.yml:{expected}"));
        assert_eq!(problem.help().unwrap(), help);
    }
}

#[test]
fn mistakes_that_a_list_brings_into_a_rule_are_told_at_the_value() {
    let mut setup = setup();
    assert!(setup.lists.add("broken", Path::new("l"), "(").is_empty());
    let problem = only_problem(parse_with(Path::new("r.yml"), &rule("f|re|expand", "'%broken%'"), &setup));
    assert_eq!((problem.code(), problem.place.line), (Code::MH206, 9));
    let problem = only_problem(parse_with(Path::new("r.yml"), &rule("f|expand|lt", "'%two%'"), &setup));
    assert_eq!((problem.code(), problem.place.line), (Code::MH203, 9));
    let problem = only_problem(parse_with(Path::new("r.yml"), &rule("f|expand", "1"), &setup));
    assert_eq!(problem.code(), Code::MH203);
}

#[test]
fn lines_that_are_no_values_are_reported_with_their_place() {
    let mut lists = Lists::default();
    let long = "x".repeat(5000);
    let text = format!("10.0.0.1/8\nfine\n  10.0.0.0/33 # too long\n{long}\n::1/x\n");
    let problems = lists.add("l", Path::new("l.txt"), &text);
    let found: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "l.txt:1:1: `10.0.0.1/8` is not a network: it has host bits set, the network is `10.0.0.0/8`",
            "l.txt:3:3: `10.0.0.0/33` is not a network: the prefix is too long",
            "l.txt:4:1: the number of bytes of a line exceeds the limit of 4096",
            "l.txt:5:1: `::1/x` is not a network: the prefix length is no number",
        ]
    );
    let setup = Setup { lists, ..Setup::default() };
    let parsed = parse_with(Path::new("r.yml"), &rule("f|expand", "'%l%'"), &setup);
    assert_eq!(groups(parsed.rules[0].condition().unwrap()), json!([["text fine"]]), "the rest is kept");
}

#[test]
fn a_list_ends_at_its_limit_and_files_of_one_name_add_up() {
    let mut lists = Lists::default();
    let many = (0..6000).map(|number| number.to_string()).collect::<Vec<_>>().join("\n");
    assert_eq!(lists.add("l", Path::new("a.txt"), &many), []);
    let problems = lists.add("l", Path::new("b.txt"), &many);
    assert_eq!(problems.len(), 1);
    assert_eq!(
        problems[0].to_string(),
        "b.txt:4001:1: the number of values of the list exceeds the limit of 10000"
    );
    assert_eq!(lists.names().collect::<Vec<_>>(), ["l"]);
    let setup = Setup { lists, ..Setup::default() };
    let parsed = parse_with(Path::new("r.yml"), &rule("f|expand", "'%l%'"), &setup);
    assert_eq!(groups(parsed.rules[0].condition().unwrap())[0].as_array().unwrap().len(), 10_000);
    let problem = only_problem(parse_with(Path::new("r.yml"), &rule("f|expand", "'%l%%l%'"), &setup));
    assert_eq!(problem.code(), Code::MH003, "{problem}");
}

#[test]
fn lists_decide_about_events() {
    let cases = [
        ("source.ip|expand: '%networks%'", true),
        ("user.username|expand: '%people%'", true),
        ("user.username|expand: '%none%'", false),
        ("user.username|expand|neq: '%none%'", true),
        ("user.username|expand|all: ['%none%', '%people%']", false),
    ];
    let mut setup = setup();
    setup.lists.add("people", Path::new("l"), "al?ce");
    let event =
        br#"{"user":{"username":"alice"},"sourceIPs":["10.9.8.7"],"stage":"ResponseComplete","auditID":"1"}"#;
    for (item, expected) in cases {
        let (key, value) = item.split_once(": ").unwrap();
        let parsed = parse_with(Path::new("r.yml"), &rule(key, value), &setup);
        let engine = Engine::new(parsed.rules, Settings::default());
        let event = detect::event::Event::parse(event).unwrap();
        let mut is_found = Truth::False;
        engine.evaluate(&event, &mut engine.scratch(), |_| is_found = Truth::True);
        assert_eq!(is_found == Truth::True, expected, "{item}");
    }
}

fn setup() -> Setup {
    let mut setup = Setup::default();
    for (name, text) in [
        ("registries", REGISTRIES),
        ("networks", NETWORKS),
        ("two", "x\n"),
        ("two", "y"),
        ("none", "# nobody\n"),
    ] {
        assert_eq!(setup.lists.add(name, Path::new("list.txt"), text), []);
    }
    setup
}

fn rule(key: &str, value: &str) -> String {
    format!(
        "title: t\nid: 0f6f4a0a-6a7b-4f6e-9d1b-2c33a6a7e001\nlevel: low\nstatus: test\n\
         logsource: {{product: kubernetes}}\ndetection:\n  condition: s\n  s:\n    {key}: {value}\n"
    )
}

fn only_problem(parsed: Parsed) -> RuleError {
    assert!(parsed.rules.is_empty());
    let errors: Vec<_> =
        parsed.problems.into_iter().filter(|problem| problem.severity() == Severity::Error).collect();
    let [problem] = &errors[..] else { panic!("{errors:?}") };
    problem.clone()
}

/// The groups of alternatives that all must hold.
fn groups(expr: &Expr) -> Value {
    match expr {
        Expr::Named(_, part) => groups(part),
        Expr::Not(part) => json!({"not": groups(part)}),
        Expr::All(parts) => parts.iter().flat_map(|part| groups(part).as_array().unwrap().clone()).collect(),
        Expr::Item(item) => json!([item.tests.iter().map(show::test).collect::<Vec<_>>()]),
        Expr::Any(_) | Expr::Block(_) => panic!("{expr:?}"),
    }
}
