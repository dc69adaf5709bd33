//! Random conditions and events, small enough to meet often.

use std::fmt::Write as _;

use detect::sigma::{
    Anchor, Block, Comparison, Expr, Item, Part, Pattern, Place, Quantifier, Regex, Test, TimePart,
};
use proptest::prelude::*;
use proptest::sample::select;

const FIELDS: &[&str] = &[
    "verb",
    "verb",
    "objectRef.resource",
    "objectRef.resource",
    "objectRef.subresource",
    "objectRef.namespace",
    "objectRef.name",
    "objectRef",
    "user.uid",
    "annotation.name",
    "user.username",
    "user.groups",
    "level",
    "stage",
    "sourceIPs",
    "responseStatus.code",
    "requestReceivedTimestamp",
    "annotations.authorization.k8s.io/decision",
    "annotations.a.b",
    "requestObject.spec.containers.image",
    "requestObject.spec",
    "requestObject",
    "responseObject.metadata.name",
    "custom.a.b",
    "outcome",
    "actor.name",
    "actor.kind",
    "source.ip",
    "object.name",
    "container.image",
    "rbac.role",
    "written.spec.a",
    "written.spec",
    "removed.spec.a",
];

const LISTS: &[&str] = &[
    "requestObject.spec.containers",
    "requestObject.spec",
    "requestObject.metadata",
    "requestObject",
    "user",
    "user.groups",
    "objectRef",
    "sourceIPs",
    "annotations.a.b",
    "custom.a.b",
    "custom",
    "objectRef.resource",
    "container",
    "container",
    "container",
    "container.a",
    "pod.containers",
    "pod.a",
    "written.spec.containers",
    "written.spec",
    "rbac.subject",
    "rbac.subject",
    "rbac.rule",
    "rbac.rule.a",
    "actor.groups",
    "actor.name",
    "container.image.tag",
];

/// What blocks ask about: fields of elements.
const PARTS: &[&str] = &[
    ".",
    "verb",
    ".",
    "uid",
    "a",
    "b",
    "a.b",
    "name",
    "kind",
    "image",
    "image.tag",
    "image.repository",
    "command_line",
    "spec",
];

const WORDS: &[&str] = &[
    "create",
    "get",
    "GET",
    "patch",
    "delete",
    "pods",
    "Pods",
    "secrets",
    "exec",
    "",
    "a",
    "ab",
    "a.b",
    "b",
    "nginx",
    "ngİnx",
    "STRASSE",
    "straße",
    "Σίσυφος",
    "Ⅷ",
    "403",
    "201",
    "1.0",
    "1",
    "-0",
    "true",
    "null",
    "10.0.0.1",
    "::ffff:10.0.0.1",
    "fe80::1",
    "2026-11-21T02:22:51.709023Z",
    "2026-01-01T00:30:00+05:30",
    "line\nbreak",
    "tab\t",
    "\"quoted\"",
    "back\\slash",
    "\u{1F600}",
    "Metadata",
    "Request",
    "RequestResponse",
    "RequestReceived",
    "ResponseComplete",
    "forbid",
    "allow",
    "system:anonymous",
    "a*b",
    "a?b",
    "kube-system",
    "cluster-admin",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![9 => select(WORDS).prop_map(str::to_owned), 1 => "[a-cA-C .*?\\\\]{0,6}"]
}

pub(crate) fn condition() -> impl Strategy<Value = Expr> {
    let item = (prop::option::weighted(0.93, select(FIELDS)), prop::collection::vec(test(), 1..4)).prop_map(
        |(field, tests)| {
            let is_keyword = field.is_none();
            let tests: Vec<Test> = tests
                .into_iter()
                .filter(|test| !is_keyword || matches!(test, Test::Text(_) | Test::Regex(_)))
                .collect();
            Expr::Item(Item { field: field.map(str::to_owned), tests: tests.into(), place: Place::default() })
        },
    );
    prop_oneof![4 => item, 1 => block()].prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            4 => prop::collection::vec(inner.clone(), 0..4).prop_map(Expr::All),
            3 => prop::collection::vec(inner.clone(), 0..4).prop_map(Expr::Any),
            2 => inner.clone().prop_map(|part| Expr::Not(Box::new(part))),
            1 => inner.prop_map(|part| Expr::Named("selection".into(), Box::new(part))),
        ]
    })
}

/// A condition on elements, with conditions on elements of elements in it.
fn block() -> impl Strategy<Value = Expr> {
    let item = (select(PARTS), prop::collection::vec(test_of(PARTS), 1..3)).prop_map(|(field, tests)| {
        Expr::Item(Item { field: Some(field.to_owned()), tests: tests.into(), place: Place::default() })
    });
    let body = item.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            2 => prop::collection::vec(inner.clone(), 1..3).prop_map(Expr::All),
            1 => prop::collection::vec(inner.clone(), 1..3).prop_map(Expr::Any),
            2 => inner.clone().prop_map(|part| Expr::Not(Box::new(part))),
            2 => quantified(PARTS, inner),
        ]
    });
    quantified(LISTS, body)
}

fn quantified(
    lists: &'static [&'static str],
    body: impl Strategy<Value = Expr>,
) -> impl Strategy<Value = Expr> {
    let quantifier = prop_oneof![
        2 => Just(Quantifier::Any),
        2 => Just(Quantifier::All),
        2 => Just(Quantifier::AllOrEmpty),
        2 => Just(Quantifier::None),
        1 => (-3..3i64).prop_map(Quantifier::At),
    ];
    (select(lists), quantifier, body).prop_map(|(list, quantifier, body)| {
        let (list, body) = (list.to_owned(), Box::new(body));
        Expr::Block(Block { list, quantifier, body, place: Place::default() })
    })
}

fn test() -> impl Strategy<Value = Test> {
    test_of(FIELDS)
}

/// A test; one that compares with another field takes it from `fields`.
fn test_of(fields: &'static [&'static str]) -> impl Strategy<Value = Test> {
    prop_oneof![
        10 => (pattern_parts(), any::<bool>()).prop_map(|(parts, is_cased)| Test::Text(Pattern { parts, is_cased })),
        1 => select(&["403", "1", "1.0", "-0", "9007199254740993"][..]).prop_map(|number| Test::Number(number.to_owned())),
        2 => Just(Test::Null),
        1 => any::<bool>().prop_map(Test::Exists),
        1 => select(&["^a", "(?i)PODS", "n.i?nx$", ".", "^$", r"\d{3}"][..]).prop_map(regex),
        1 => select(&["10.0.0.0/8", "0.0.0.0/0", "fe80::/10"][..]).prop_map(|net| Test::Cidr(net.parse().unwrap())),
        1 => (comparison(), select(&[0.0, 1.0, 402.5, 403.0][..])).prop_map(|(comparison, limit)| Test::Compare(comparison, limit)),
        1 => (select(fields), anchor()).prop_map(|(field, anchor)| Test::FieldRef(field.to_owned(), anchor)),
        1 => (time_part(), select(&[0, 2, 19, 21, 22, 30, 47, 2026][..])).prop_map(|(part, number)| Test::Time(part, number)),
    ]
}

fn pattern_parts() -> impl Strategy<Value = Vec<Part>> {
    let part = prop_oneof![4 => word().prop_map(Part::Literal), 2 => Just(Part::Many), 1 => Just(Part::One)];
    prop_oneof![
        5 => word().prop_map(|text| if text.is_empty() { vec![] } else { vec![Part::Literal(text)] }),
        4 => prop::collection::vec(part, 0..4).prop_map(merged),
    ]
}

/// As the parser leaves patterns: no empty literals, no two literals in a row.
fn merged(parts: Vec<Part>) -> Vec<Part> {
    let mut merged: Vec<Part> = Vec::new();
    for part in parts {
        match (merged.last_mut(), part) {
            (_, Part::Literal(text)) if text.is_empty() => {}
            (Some(Part::Literal(before)), Part::Literal(text)) => before.push_str(&text),
            (_, part) => merged.push(part),
        }
    }
    merged
}

fn regex(source: &str) -> Test {
    Test::Regex(Regex::new(source).unwrap())
}

fn comparison() -> impl Strategy<Value = Comparison> {
    select(&[Comparison::Less, Comparison::LessOrEqual, Comparison::Greater, Comparison::GreaterOrEqual][..])
}

fn anchor() -> impl Strategy<Value = Anchor> {
    select(&[Anchor::Whole, Anchor::Start, Anchor::End, Anchor::Anywhere][..])
}

fn time_part() -> impl Strategy<Value = TimePart> {
    select(
        &[TimePart::Minute, TimePart::Hour, TimePart::Day, TimePart::Week, TimePart::Month, TimePart::Year][..],
    )
}

/// The text of an event: known keys with likely and unlikely values, in any order, some
/// twice, with escapes and white space where JSON allows them.
pub(crate) fn event() -> impl Strategy<Value = String> {
    prop::collection::vec(entry(), 0..12).prop_map(|entries| object_of(&entries))
}

/// Events that differ only in what is new with every request: bodies, names and keys of no meaning.
pub(crate) fn siblings(count: usize) -> impl Strategy<Value = Vec<String>> {
    let body = prop_oneof![
        object(&["spec", "metadata", "roleRef", "name", "kind", "subjects", "rules"]),
        listed(),
        json_patch(),
        value(),
    ];
    let rest = prop_oneof![
        5 => (Just("requestObject"), body),
        1 => (Just("objectRef"), value().prop_map(|name| format!(r#"{{"resource":"pods","name":{name}}}"#))),
        1 => (Just("user"), value().prop_map(|uid| format!(r#"{{"username":"a","uid":{uid}}}"#))),
        1 => (Just("annotations"), value().prop_map(|value| format!(r#"{{"a":{value}}}"#))),
        1 => (Just("responseObject"), object(&["metadata", "roleRef"])),
        1 => (Just("custom"), object(&["a", "a.b", "b"])),
        1 => (Just("requestReceivedTimestamp"), value()),
    ];
    let rests = prop::collection::vec(prop::collection::vec(rest, 0..3), count);
    (prop::collection::vec(entry(), 0..10), rests).prop_map(|(shared, rests)| {
        rests.into_iter().map(|rest| object_of(&[shared.as_slice(), &rest].concat())).collect()
    })
}

fn object_of(entries: &[(&'static str, String)]) -> String {
    let entries: Vec<String> =
        entries.iter().map(|(key, value)| format!("{}: {value}", quoted(key, 0))).collect();
    format!("{{{}}}", entries.join(" ,\n"))
}

fn entry() -> impl Strategy<Value = (&'static str, String)> {
    prop_oneof![
        3 => (Just("verb"), string(&["create", "get", "patch", "delete", "GET", "a"])),
        4 => (Just("objectRef"), object(&["resource", "subresource", "namespace", "name"])),
        2 => (Just("user"), object(&["username", "groups"])),
        1 => (Just("level"), string(&["Metadata", "Request", "RequestResponse", "None"])),
        1 => (Just("stage"), string(&["RequestReceived", "ResponseStarted", "ResponseComplete"])),
        1 => (Just("responseStatus"), object(&["code", "status"])),
        1 => (Just("annotations"), object(&["authorization.k8s.io/decision", "a.b", "a", "audit.k8s.io/truncated"])),
        2 => (Just("requestObject"), object(&["spec", "metadata", "roleRef", "name", "kind", "subjects", "rules"])),
        3 => (Just("requestObject"), listed()),
        2 => (Just("objectRef"), target()),
        1 => (Just("requestObject"), json_patch()),
        1 => (Just("responseObject"), object(&["metadata", "roleRef"])),
        1 => (Just("sourceIPs"), value()),
        1 => (Just("requestReceivedTimestamp"), value()),
        1 => (Just("custom"), object(&["a", "a.b", "b"])),
        1 => (Just("custom.a"), object(&["b"])),
        1 => (select(&["verb", "objectRef", "level", "requestObject", "user"][..]), value()),
    ]
}

/// What lists are written to.
fn target() -> impl Strategy<Value = String> {
    select(&["pods", "deployments", "clusterrolebindings", "roles", "widgets"][..])
        .prop_map(|resource| format!(r#"{{"resource":"{resource}"}}"#))
}

/// An object with the lists that rules ask about.
fn listed() -> impl Strategy<Value = String> {
    let list =
        || prop::collection::vec(value(), 0..4).prop_map(|elements| format!("[{}]", elements.join(",")));
    (list(), list(), list()).prop_map(|(first, second, third)| {
        let pod = format!(r#"{{"containers":{first},"initContainers":{second}}}"#);
        format!(r#"{{"spec":{{"containers":{first},"a":{third},"template":{{"spec":{pod}}}}},"subjects":{second},"rules":{third}}}"#)
    })
}

/// A JSON Patch: parts of it are hidden without a response.
fn json_patch() -> impl Strategy<Value = String> {
    let paths = &[
        "/spec/containers/0/image",
        "/spec/containers/-",
        "/spec/containers/0/a",
        "/spec/containers/1",
        "/spec/containers",
        "/spec",
        "/subjects/0",
        "/subjects/0/name",
        "/subjects/-",
        "/rules/0/a/1",
        "/roleRef/name",
        "/metadata/name",
    ][..];
    let operation = (select(&["add", "replace", "copy", "move", "remove"][..]), select(paths), value())
        .prop_map(|(op, path, value)| {
            format!(r#"{{"op":"{op}","path":"{path}","from":"/a","value":{value}}}"#)
        });
    prop::collection::vec(operation, 0..4).prop_map(|operations| format!("[{}]", operations.join(",")))
}

fn string(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop_oneof![8 => (select(words), 0..12usize).prop_map(|(word, escaped)| quoted(word, escaped)), 1 => value()]
}

fn object(keys: &'static [&'static str]) -> impl Strategy<Value = String> {
    let entry = (select(keys), value(), 0..12usize)
        .prop_map(|(key, value, escaped)| format!("{}:{value}", quoted(key, escaped)));
    let object = prop::collection::vec(entry, 0..5).prop_map(|entries| format!("{{{}}}", entries.join(",")));
    prop_oneof![8 => object, 1 => value()]
}

fn value() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        8 => (word(), 0..12usize).prop_map(|(word, escaped)| quoted(&word, escaped)),
        1 => select(&["403", "201", "1.0", "-0", "1e3", "9007199254740993", "1e999", "true", "false"][..]).prop_map(str::to_owned),
        1 => Just("null".to_owned()),
    ];
    scalar.prop_recursive(4, 16, 4, |inner| {
        let keys = &["verb", "spec", "containers", "image", "a", "b", "a.b", "name", "kind", "roleRef", "template"][..];
        let entry = (select(keys), inner.clone()).prop_map(|(key, value)| format!("{}: {value}", quoted(key, 0)));
        prop_oneof![
            2 => prop::collection::vec(inner, 0..4).prop_map(|elements| format!("[{}]", elements.join(" , "))),
            2 => prop::collection::vec(entry, 0..4).prop_map(|entries| format!("{{{}}}", entries.join(","))),
        ]
    })
}

/// A JSON string; the character at `escaped`, if there is one, is written as `\uXXXX`.
fn quoted(text: &str, escaped: usize) -> String {
    let mut written = String::from("\"");
    for (number, character) in text.chars().enumerate() {
        if number == escaped && number > 0 {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(written, "\\u{unit:04x}").unwrap();
            }
        } else {
            let one = serde_json::to_string(&character).unwrap();
            written.push_str(&one[1..one.len() - 1]);
        }
    }
    written.push('"');
    written
}
