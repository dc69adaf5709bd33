//! What the parser says about whole files: places, conditions, hostile input.

// The tests read files so that the library need not.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use detect::sigma::{Code, Expr, Level, Parsed, Place, RuleError, Severity, link, lint, lint_filter, parse};

#[test]
fn every_broken_rule_is_pointed_at() {
    let files = rule_files(&workspace().join("tests/broken_rules"));
    assert!(files.len() >= 25, "only {} broken rules", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let problems = all_problems(&parse(&file, &text));
        assert!(!problems.is_empty(), "{} has no problem", file.display());
        for problem in &problems {
            assert_is_inside(&text, problem);
        }
    }
}

#[test]
fn every_code_has_a_broken_rule() {
    let mut missing: Vec<Code> = Code::ALL.to_vec();
    // Mistakes of pipelines, which have tests of their own.
    missing.retain(|code| !code.id().starts_with("MH7"));
    for file in rule_files(&workspace().join("tests/broken_rules")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let found: Vec<Code> = all_problems(&parse(&file, &text)).iter().map(RuleError::code).collect();
        missing.retain(|code| !found.contains(code));
    }
    assert_eq!(missing, [], "codes without an example");
}

#[test]
fn the_rules_of_others_load() {
    let folder = workspace().join("../shared/peers/sigma");
    if !folder.is_dir() {
        assert!(std::env::var_os("MASTHEAD_REQUIRE_CORPUS").is_none(), "{} is missing", folder.display());
        println!("skipped: {} is not there", folder.display());
        return;
    }
    let files = rule_files(&folder);
    assert_eq!(files.len(), 16);
    for file in files {
        let parsed = parse(&file, &std::fs::read_to_string(&file).unwrap());
        assert_eq!(
            (parsed.rules.len(), parsed.problems.as_slice()),
            (1, [].as_slice()),
            "{}",
            file.display()
        );
    }
}

#[test]
fn mappings_merge_as_yaml_1_1_says() {
    let rule = |selection: &str| {
        let text = format!(
            "title: t\nid: 0f6f4a0a-6a7b-4f6e-9d1b-2c33a6a7e002\nlevel: low\nlogsource: {{product: kubernetes}}\n\
             parts: [&a {{verb: get, stage: Panic}}, &b {{verb: list, level: None}}]\n\
             detection:\n  s: {selection}\n  condition: s\n"
        );
        parse(Path::new("merge.yml"), &text)
    };
    let fields = |selection: &str| {
        let parsed = rule(selection);
        assert!(parsed.problems.is_empty(), "{selection}: {:?}", parsed.problems);
        let shown = format!("{:?}", parsed.rules[0].condition());
        let written = ["get", "list", "create", "Panic", "None"];
        written.into_iter().filter(|text| shown.contains(&format!("{text:?}"))).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(fields("{<<: *a}"), "get Panic");
    assert_eq!(fields("{<<: *a, verb: create}"), "create Panic");
    assert_eq!(fields("{verb: create, <<: *a}"), "create Panic");
    assert_eq!(fields("{<<: [*a, *b]}"), "get Panic None");
    assert_eq!(fields("{<<: [*b, *a]}"), "list Panic None");
    let codes = |selection: &str| rule(selection).problems.iter().map(RuleError::code).collect::<Vec<_>>();
    assert_eq!(codes("{<<: text, verb: get}"), [Code::MH102]);
    assert_eq!(codes("{<<: [*a, 5]}"), [Code::MH102]);
    assert_eq!(codes("{<<: *a, <<: *b}"), [Code::MH002]);
    // In quotes it is the name of a field, as it is for PyYAML.
    assert_eq!(fields("{'<<': create}"), "create");
}

#[test]
fn a_rule_holds_what_was_written() {
    let text = "\u{feff}title: Something happened\r\nid: 0F6F4A0A-6a7b-4f6e-9d1b-2c33a6a7e001\r\nlevel: High\r\nstatus: test\r\n\
        description: >\r\n  In two\r\n  lines.\r\ntags: [attack.t1609]\r\nfalsepositives: Backups\r\nreferences: [https://kubernetes.io]\r\n\
        date: 2026-01-31\r\nlogsource: {product: kubernetes, service: audit}\r\nrunbook: {url: 'https://x', minutes: 5, urgent: true}\r\n\
        detection:\r\n  s:\r\n    verb: get\r\n  condition: s\r\n";
    let parsed = parse(Path::new("rule.yml"), text);
    assert_eq!(parsed.problems, []);
    let rule = &parsed.rules[0];
    assert_eq!((rule.title.as_str(), rule.level), ("Something happened", Level::High));
    assert_eq!(rule.id, "0f6f4a0a-6a7b-4f6e-9d1b-2c33a6a7e001");
    assert_eq!(rule.description, "In two lines.");
    assert_eq!(
        (rule.tags.join(" "), rule.falsepositives.join(" ")),
        ("attack.t1609".into(), "Backups".into())
    );
    assert_eq!(rule.logsource.product.as_deref(), Some("kubernetes"));
    let runbook = serde_json::json!({"url": "https://x", "minutes": 5, "urgent": true});
    assert_eq!(rule.custom, [("runbook".to_owned(), runbook)]);
}

#[test]
fn a_rule_without_id_keeps_the_one_made_from_its_title() {
    let without_id = |title: &str| {
        let text = format!(
            "title: {title}\nlevel: low\nlogsource: {{product: k}}\ndetection: {{s: {{a: b}}, condition: s}}\n"
        );
        parse(Path::new("rule.yml"), &text).rules[0].id.clone()
    };
    assert_eq!(without_id("one"), without_id("one"));
    assert_ne!(without_id("one"), without_id("two"));
}

#[test]
fn conditions_bind_as_in_pysigma() {
    for (condition, expected) in [
        ("a", "a"),
        ("not a", "!a"),
        ("not not a", "a"),
        ("a or b and c", "(a|(b&c))"),
        ("(a or b) and c", "((a|b)&c)"),
        ("not a and b", "(!a&b)"),
        ("not (a and b)", "!(a&b)"),
        ("((a))", "a"),
        ("1 of b*", "(b|b2)"),
        ("any of b*", "(b|b2)"),
        ("all of b*", "(b&b2)"),
        ("1 of a", "a"),
        ("1 of them", "(a|b|b2|c|all)"),
        ("all of them and not a", "((a&b&b2&c&all)&!a)"),
        ("1 of _*", "_hidden"),
        ("all of *2", "b2"),
        ("all and a", "(all&a)"),
        ("[a, b]", "(a|b)"),
    ] {
        let parsed = parse(Path::new("rule.yml"), &with_condition(condition));
        let rule = parsed.rules.first().unwrap_or_else(|| panic!("{condition}: {:?}", parsed.problems));
        assert_eq!(show(rule.condition().unwrap()), expected, "{condition}");
    }
}

#[test]
fn mistakes_of_conditions_are_pointed_at() {
    for (condition, expected) in [
        ("a and d", "16:20 MH301"),
        ("'a and  d'", "16:22 MH301"),
        (r#""a \x61nd d""#, "16:24 MH301"),
        ("a and (b or c", "16:20 MH303"),
        ("a and b)", "16:21 MH303"),
        ("a and", "16:16 MH304"),
        ("and a", "16:14 MH304"),
        ("a b", "16:16 MH304"),
        ("a not b", "16:16 MH304"),
        ("a AND b", "16:16 MH304"),
        ("NOT a", "16:14 MH304"),
        ("()", "16:15 MH304"),
        ("2 of b*", "16:14 MH304"),
        ("1 of x*", "16:19 MH302"),
        ("1 of", "16:16 MH304"),
        ("a & b", "16:16 MH304"),
        ("a | count() > 5", "16:16 MH305"),
        ("''", "16:14 MH304"),
        ("[]", "16:14 MH304"),
        ("{a: b}", "16:15 MH102"),
        ("|\n    a and\n    d", "18:5 MH301"),
        (">-\n    a\n\n    and\n      d", "20:7 MH301"),
    ] {
        let parsed = parse(Path::new("rule.yml"), &with_condition(condition));
        let found: Vec<String> = parsed
            .problems
            .iter()
            .filter(|problem| problem.severity() == Severity::Error)
            .map(brief)
            .collect();
        assert_eq!(found, [expected], "{condition}");
        assert!(parsed.rules.is_empty());
    }
}

#[test]
fn selections_are_grouped_as_in_pysigma() {
    for (selection, expected) in [
        ("{f: x, g: y}", "(f&g)"),
        ("[{f: x}, {g: y, h: z}]", "(f|(g&h))"),
        ("[x, y]", "*"),
        ("x", "*"),
        ("[{f: x}, word]", "(f|*)"),
        ("[{f: x}, [word, other]]", "(f|*)"),
        ("{'|all': [x, y]}", "(*&*)"),
        ("{'|contains': x, f: y}", "(*&f)"),
        ("{f|all: [x, y], g|neq: z}", "((f&f)&!g)"),
    ] {
        let text = with_selection(selection);
        let parsed = parse(Path::new("rule.yml"), &text);
        let rule = parsed.rules.first().unwrap_or_else(|| panic!("{selection}: {:?}", parsed.problems));
        let Some(Expr::Named(_, expr)) = rule.condition() else { panic!() };
        assert_eq!(show(expr), expected, "{selection}");
    }
}

#[test]
fn one_bad_document_leaves_the_others() {
    let good = with_selection("{f: x}");
    for bad in [
        "a: [",
        "a: 'x",
        "\tb: c",
        "- x\ny: z",
        "a: *b",
        "a: b: c",
        "%BAD\na: b",
        "{",
        "a: |\n b\n c: d: e\n  - f",
    ] {
        let parsed = parse(Path::new("rule.yml"), &format!("{good}---\n{bad}\n---\n{good}"));
        assert_eq!(parsed.rules.len(), 2, "{bad}: {:?}", parsed.problems);
        assert!(!parsed.problems.is_empty(), "{bad}");
    }
    assert_eq!(parse(Path::new("r"), &format!("%YAML 1.2\n---\n{good}...\n---\n{good}")).rules.len(), 2);
}

#[test]
fn hostile_files_end_in_a_complaint() {
    let many = |count: usize, text: &str| text.repeat(count);
    let deep_condition = format!("{}a{}", many(100_000, "("), many(100_000, ")"));
    let cases = [
        ("nested lists", with_selection(&format!("{}x{}", many(100_000, "["), many(100_000, "]")))),
        ("open lists", many(100_000, "[")),
        ("nested mappings", many(100_000, "{a: ")),
        ("nested blocks", many(2_000, "- ")),
        ("parentheses", with_condition(&deep_condition)),
        ("open parentheses", with_condition(&many(100_000, "("))),
        ("encodings", with_selection(&format!("{{f{}: x}}", many(64, "|wide")))),
        ("dashes", with_selection(&format!("{{f{}: -a -b -c}}", many(64, "|windash")))),
        ("offsets", with_selection(&format!("{{f{}: x}}", many(64, "|base64offset")))),
        ("size", many(5 << 20, "#")),
        ("unknown names", with_condition(&format!("{}a", many(10_000, "x and ")))),
        ("self", with_selection("&a [*a]")),
        ("nul", with_selection("\0")),
    ];
    for (name, text) in cases {
        let parsed = parse(Path::new("rule.yml"), &text);
        assert!(parsed.problems.iter().any(|problem| problem.severity() == Severity::Error), "{name}");
        for problem in &parsed.problems {
            assert_is_inside(&text, problem);
        }
    }
}

#[test]
fn many_negations_are_one_or_none() {
    let parsed = parse(Path::new("rule.yml"), &with_condition(&format!("{}a", "not ".repeat(100_001))));
    assert_eq!(show(parsed.rules[0].condition().unwrap()), "!a");
}

#[test]
fn a_selection_may_not_be_repeated_without_end() {
    let values = (0..5_000).map(|number| format!("value{number}, ")).collect::<Vec<_>>().concat();
    let text = with_selection(&format!("{{verb: [{values} x]}}"));
    let condition = format!("condition: {}s", "s and ".repeat(10_000));
    let parsed = parse(Path::new("rule.yml"), &text.replace("condition: s", &condition));
    assert_eq!(parsed.problems.iter().map(RuleError::code).collect::<Vec<_>>(), [Code::MH003]);
}

#[test]
fn cut_rules_never_panic() {
    let mut seeds: Vec<String> = rule_files(&workspace().join("tests/broken_rules"))
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    seeds.push(with_selection("\u{1}\u{7f}\u{85}\u{2028}"));
    seeds.push(with_condition("1 of them and not (a or 'b')"));
    for text in seeds {
        for (end, _) in text.char_indices().step_by(7) {
            for cut in [&text[..end], &text[end..]] {
                let parsed = parse(Path::new("rule.yml"), cut);
                for problem in all_problems(&parsed) {
                    assert_is_inside(cut, &problem);
                }
            }
        }
    }
}

#[test]
fn lints_tell_a_lost_value_from_a_lost_rule() {
    for (selection, expected) in [
        ("{verb: create}", ""),
        ("{verb: CREATE}", ""),
        ("{verb: '*'}", ""),
        ("{verb: [replace, create]}", "MH402"),
        ("{verb: replace}", "MH403"),
        ("{verb|cased: GET}", "MH403"),
        ("{verb|neq: replace}", "MH402"),
        ("[{verb: replace}, {verb: get}]", "MH402"),
        ("[{verb: replace}, {verb: connect}]", "MH403 MH402"),
        ("{verb|re: '^(get|list)$'}", ""),
        ("{verb|re: '^put-'}", "MH403"),
        ("{responseStatus.code: 403}", ""),
        ("{responseStatus.code|startswith: '4'}", ""),
        ("{responseStatus.code: ALLOW}", "MH403"),
        ("{responseStatus.code|gt: 599}", "MH403"),
        ("{responseStatus.code: 999}", "MH403"),
        ("{stage: ResponseComplete, level: [Metadata, request]}", ""),
        ("{outcome: success}", "MH403"),
        ("{actor.kind: human}", ""),
        ("{objectRef.resource: pods}", ""),
        ("{objectRef.resourc: pods}", "MH403"),
        ("{objectRef.resourc: null}", "MH401"),
        ("{objectRef.resourc|neq: pods}", "MH401"),
        ("{user.extra.scopes: x, user.name: y}", "MH403"),
        ("{impersonatedUser.username|exists: true}", ""),
        ("{requestObject.spec.anything: x, annotations.a.b/c: d}", ""),
        ("{'annotations.\"authorization.k8s.io/decision\"': allow}", ""),
        ("{sourceIPs: 10.0.0.1, userAgent: x}", ""),
        ("{verb.x: y}", "MH403"),
        ("{requestReceivedTimestamp|hour: 25}", "MH403"),
        ("{requestReceivedTimestamp|hour|gt: 23}", "MH403"),
        ("{actor.name|fieldref: user.usrname}", "MH403"),
        ("{actor.name|fieldref: user.username}", ""),
        ("[words, only]", ""),
    ] {
        let parsed = parse(Path::new("rule.yml"), &with_selection(selection));
        let [rule] = parsed.rules.as_slice() else { panic!("{selection}: {:?}", parsed.problems) };
        let codes: Vec<&str> =
            lint(rule, &parsed.value_places).iter().map(|warning| warning.code().id()).collect();
        assert_eq!(codes.join(" "), expected, "{selection}");
    }
}

#[test]
fn right_names_are_suggested() {
    for (selection, expected) in [
        ("{objectRef.resourc: pods}", "did you mean `objectRef.resource`?"),
        ("{objectref.resource: pods}", "did you mean `objectRef.resource`?"),
        ("{requestURL: x}", "did you mean `requestURI`?"),
        ("{outcom: x}", "did you mean `outcome`?"),
        ("{stage: ResponseCompleted}", "did you mean `ResponseComplete`?"),
        ("{verb: replace}", "the API server logs a replacement (PUT) as `update`"),
    ] {
        let parsed = parse(Path::new("rule.yml"), &with_selection(selection));
        let warnings = lint(&parsed.rules[0], &parsed.value_places);
        assert_eq!(warnings[0].help().unwrap_or_default(), expected, "{selection}");
    }
}

fn all_problems(parsed: &Parsed) -> Vec<RuleError> {
    let of_rules = parsed.rules.iter().flat_map(|rule| lint(rule, &parsed.value_places));
    let of_filters = parsed.filters.iter().flat_map(|filter| lint_filter(filter, &parsed.value_places));
    let linked = link(&mut parsed.rules.clone(), &parsed.filters).problems;
    parsed.problems.iter().cloned().chain(of_rules).chain(of_filters).chain(linked).collect()
}

const HEAD: &str = "title: t\nid: 0f6f4a0a-6a7b-4f6e-9d1b-2c33a6a7e001\nlevel: low\nlogsource: {product: kubernetes}\ndetection:\n";

fn with_condition(condition: &str) -> String {
    let selections = ["a", "b", "b2", "c", "all", "_hidden"].map(|name| format!("  {name}: {{f: x}}\n"));
    let padding = "# Lines up the places.\n".repeat(4);
    format!("{padding}{HEAD}{}  condition: {condition}\n", selections.concat())
}

fn with_selection(selection: &str) -> String {
    format!("{HEAD}  s: {selection}\n  condition: s\n")
}

fn show(expr: &Expr) -> String {
    let list = |parts: &[Expr], separator: &str| {
        format!("({})", parts.iter().map(show).collect::<Vec<_>>().join(separator))
    };
    match expr {
        Expr::All(parts) => list(parts, "&"),
        Expr::Any(parts) => list(parts, "|"),
        Expr::Not(part) => format!("!{}", show(part)),
        Expr::Named(name, _) => name.clone(),
        Expr::Block(block) => format!("{}[{}]({})", block.list, block.quantifier, show(&block.body)),
        Expr::Item(item) => item.field.clone().unwrap_or_else(|| "*".to_owned()),
    }
}

fn brief(problem: &RuleError) -> String {
    format!("{}:{} {}", problem.place.line, problem.place.column, problem.code())
}

/// The caret of a problem, and that of its label, must fall on its line, or right after it.
#[track_caller]
fn assert_is_inside(text: &str, problem: &RuleError) {
    let lines: Vec<&str> = text.trim_start_matches('\u{feff}').split('\n').collect();
    for place in [Some(problem.place), problem.label.as_ref().map(|label| label.place)].into_iter().flatten()
    {
        let Place { line, column, width } = place;
        let mut message = format!("{problem}: {place:?}");
        let found = lines.get(line as usize - 1).unwrap_or_else(|| panic!("{message}"));
        let _ = write!(message, " in {} characters", found.chars().count());
        assert!(width > 0 && column as usize + width as usize <= found.chars().count() + 2, "{message}");
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn rule_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yml"));
    files.sort();
    files
}

#[test]
fn aliases_cannot_nest_without_end() {
    let nested = |inner: &str| format!("{}{inner}{}", "[".repeat(50), "]".repeat(50));
    let mut text = format!("a0: &a0 {}\n", nested("x"));
    for number in 1..50 {
        let inner = nested(&format!("*a{}", number - 1));
        writeln!(text, "a{number}: &a{number} {inner}").unwrap();
    }
    let problems = parse(Path::new("deep.yml"), &text).problems;
    assert_eq!(problems.iter().map(RuleError::code).collect::<Vec<_>>(), [Code::MH003]);
}

#[test]
fn what_rules_share_and_hold_together_is_limited() {
    let detection = "level: low\nlogsource: {product: kubernetes}\n\
         detection: {selection: {verb: get}, condition: selection}\n";
    let long = "x".repeat(1 << 20);
    let mut text = format!("action: global\ndescription: {long}\n{detection}");
    for number in 0..20 {
        writeln!(text, "---\ntitle: t{number}\nid: 00000000-0000-4000-8000-{number:012}").unwrap();
    }
    let parsed = parse(Path::new("global.yml"), &text);
    assert_eq!(parsed.problems.iter().map(RuleError::code).collect::<Vec<_>>(), [Code::MH003]);
    assert_eq!(parsed.rules.len(), 15);
    let value = format!("{} -a -b -c", "x".repeat(1_000));
    let varied = format!("      - {value}\n").repeat(300);
    let text = format!(
        "title: t\nlevel: low\nlogsource: {{product: kubernetes}}\n\
         detection:\n  selection:\n    exec.command|windash:\n{varied}  condition: selection\n"
    );
    let problems = parse(Path::new("varied.yml"), &text).problems;
    assert!(problems.iter().any(|problem| problem.code() == Code::MH003), "{problems:?}");
}

#[test]
fn actions_lose_no_rule_without_a_word() {
    let rule = "title: t\nlevel: low\nlogsource: {product: kubernetes}\n\
         detection: {selection: {verb: get}, condition: selection}\n";
    for (action, code) in [("global", Code::MH008), ("reset", Code::MH602)] {
        let parsed = parse(Path::new("actions.yml"), &format!("action: {action}\n{rule}"));
        assert!(parsed.rules.is_empty());
        assert!(parsed.problems.iter().any(|problem| problem.code() == code), "{action}");
    }
}

#[test]
fn actions_share_parts_of_rules() {
    let rule = |title: &str, id: u8, verb: &str| {
        format!(
            "title: {title}\nid: 00000000-0000-4000-8000-{id:012}\n\
             detection: {{selection: {{verb: {verb}}}}}\n"
        )
    };
    let text = [
        "action: global\nlevel: high\nlogsource: {product: kubernetes}\n\
         detection: {selection: {objectRef.resource: pods}, condition: selection}\n"
            .to_owned(),
        rule("first", 1, "get"),
        format!("action: repeat\n{}", rule("second", 2, "list")),
        "action: reset\n".to_owned(),
        rule("third", 3, "watch") + "logsource: {product: kubernetes}\n",
    ]
    .join("---\n");
    let parsed = parse(Path::new("actions.yml"), &text);
    let shown: Vec<_> = parsed
        .rules
        .iter()
        .map(|rule| {
            let condition = format!("{:?}", rule.condition());
            let has = ["pods", "get", "list"].map(|text| condition.contains(&format!("{text:?}")));
            (rule.title.as_str(), rule.level, has)
        })
        .collect();
    let expected =
        [("first", Level::High, [true, true, false]), ("second", Level::High, [true, false, true])];
    assert_eq!(shown, expected);
    let problems: Vec<String> = parsed.problems.iter().map(ToString::to_string).collect();
    assert!(problems.iter().any(|problem| problem.contains("missing key `condition`")), "{problems:?}");
}
