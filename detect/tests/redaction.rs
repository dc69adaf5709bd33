//! Nothing secret is in an alert: not in its event, not in its sentence, not in what matched.

// The functions around the tests are tests as well.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use detect::alert::{RawEvent, id_of};
use detect::field::Settings;
use detect::redact::{MARK, Redactor};
use detect::{Engine, Event, sigma};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

/// Fields that show what is planted, each matched by a rule of its own.
const FIELDS: &[&str] = &[
    "requestURI",
    "userAgent",
    "exec.command",
    "container.command_line",
    "container.env.value",
    "container.args",
    "pod.containers.env.value",
    "written.data.password",
    "written.stringData.password",
    "written.spec.password",
    "written.metadata.annotations.kubectl.kubernetes.io/last-applied-configuration",
    "requestObject.data.password",
    "requestObject.value",
    "requestObject.spec.password",
    "requestObject.items.data.password",
    "requestObject.rows.object.data.password",
    "responseObject.status.token",
    "responseObject.data.password",
    "responseObject.items.data.password",
    "responseStatus.message",
];

/// Where a secret is planted that may hold any character.
fn planted_as_value(place: usize, secret: &str) -> Value {
    let encoded = STANDARD.encode(secret);
    let manifest = json!({ "kind": "Secret", "data": { "password": secret } });
    match place {
        0 => body("secrets", &manifest),
        1 => body("widgets", &manifest),
        2 => body("secrets", &json!({ "data": { "password": encoded } })),
        3 => body("secrets", &json!({ "stringData": { "password": secret } })),
        4 => body("secrets", &json!({ "items": [manifest, { "data": { "password": secret } }] })),
        5 => body("widgets", &json!({ "kind": "SecretList", "items": [{ "data": { "password": secret } }] })),
        6 => body("secrets", &json!({ "kind": "Table", "rows": [{ "object": manifest }] })),
        7 => body("secrets", &json!([{ "op": "add", "path": "/data/password", "value": secret }])),
        8 => {
            body("secrets", &json!([{ "value": { "password": encoded }, "op": "replace", "path": "/data" }]))
        }
        9 => body("widgets", &json!({ "status": { "token": secret } })),
        10 => body("widgets", &json!({ "spec": { "password": secret, "clientSecret": [secret] } })),
        11 => body(
            "widgets",
            &json!({ "metadata": { "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": json!({ "x": secret }).to_string() } } }),
        ),
        12 => body(
            "pods",
            &json!({ "spec": { "containers": [
            { "env": [{ "name": "APP_TOKEN", "value": secret }], "image": "a" }] } }),
        ),
        13 => body(
            "pods",
            &json!([
            { "op": "add", "path": "/spec/containers/0/env/0/value", "value": secret },
            { "op": "add", "path": "/spec/containers/0/env/-", "value": { "value": secret, "name": "PASSWORD" } }]),
        ),
        14 => body("widgets", &json!({ "spec": { "raw": manifest.to_string() } })),
        15 => body("widgets", &json!({ "spec": { "raw": STANDARD.encode(manifest.to_string()) } })),
        16 => {
            body("pods", &json!({ "spec": { "containers": [{ "command": ["app", "--password", secret] }] } }))
        }
        17 => body(
            "pods",
            &json!({ "spec": { "containers": [{ "args": ["-u", format!("me:{secret}")], "command": ["/bin/curl"] }] } }),
        ),
        18 => exec(&["mysql", &format!("-p{secret}"), "db"]),
        19 => exec(&["app", "--token", secret]),
        20 => exec(&["app", &format!("--api-key={secret}")]),
        _ => {
            json!({ "verb": "get", "requestURI": format!("/x?access_token={}&a=b", percent(secret)), "objectRef": {} })
        }
    }
}

/// Where a secret of letters and digits is planted in a text.
fn planted_in_text(place: usize, secret: &str) -> Value {
    let text = match place {
        0 => format!("password={secret}"),
        1 => format!("db:\n  password: {secret} x\n  user: y\n"),
        2 => format!("apiVersion: v1\nkind: Secret\ndata:\n  x: {secret}\n"),
        3 => format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----"),
        4 => format!("postgres://app:{secret}@db/x"),
        5 => format!("curl -H \"Authorization: Basic {secret}\" https://host"),
        6 => format!("sh -c 'PGPASSWORD={secret} psql'"),
        7 => format!("{{'token': '{secret}',"),
        8 => format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{secret}"),
        9 => format!("ghp_{secret}{secret}{secret}"),
        10 => format!("mysqldump -p'{secret}' db"),
        11 => format!("https://host/x?sig={secret}&y=z"),
        _ => format!("echo '{{\"kind\":\"Secret\",\"data\":{{\"a\":\"{secret}\"}}}}' | kubectl apply -f -"),
    };
    json!({
        "verb": "create", "userAgent": text, "requestURI": format!("/a?command=sh&command=-c&command={}", percent(&text)),
        "objectRef": { "resource": "pods", "subresource": "exec" },
        "responseStatus": { "message": text },
        "requestObject": {
            "data": { "file": text }, "spec": { "containers": [
                { "command": ["sh", "-c", text], "env": [{ "name": "X", "value": text }], "image": "i" }] },
            "metadata": { "annotations": { "x": text } },
        },
    })
}

fn body(resource: &str, body: &Value) -> Value {
    json!({
        "verb": "create", "requestURI": "/x", "user": { "username": "eve" }, "objectRef": { "resource": resource },
        "requestObject": body, "responseObject": body,
    })
}

fn exec(words: &[&str]) -> Value {
    let query: Vec<_> = words.iter().map(|word| format!("command={}", percent(word))).collect();
    json!({
        "verb": "create", "requestURI": format!("/api/v1/namespaces/n/pods/p/exec?{}", query.join("&")),
        "objectRef": { "resource": "pods", "subresource": "exec", "name": "p" },
        "requestObject": { "command": words },
    })
}

fn percent(text: &str) -> String {
    text.bytes().flat_map(|byte| ['%', digit(byte >> 4), digit(byte & 15)]).collect()
}

fn digit(half: u8) -> char {
    char::from_digit(u32::from(half), 16).unwrap()
}

/// Writes JSON with escapes, spaces and duplicate keys where `choices` say so.
fn written(value: &Value, choices: &mut impl FnMut(usize) -> usize) -> String {
    match value {
        Value::String(text) => escaped(text, choices),
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(|value| written(value, choices)).collect();
            format!("[{}]", values.join([",", " ,\n"][choices(2)]))
        }
        Value::Object(members) => {
            let mut all = Vec::new();
            for (key, value) in members {
                // Of an event itself the API server writes each key once.
                let copies = if choices(4) == 0 && !members.contains_key("verb") { 2 } else { 1 };
                for _ in 0..copies {
                    all.push(format!(
                        "{}{}{}",
                        escaped(key, choices),
                        [":", " : "][choices(2)],
                        written(value, choices)
                    ));
                }
            }
            if choices(2) == 0 {
                all.reverse();
            }
            format!("{{{}}}", all.join(","))
        }
        other => other.to_string(),
    }
}

fn escaped(text: &str, choices: &mut impl FnMut(usize) -> usize) -> String {
    if choices(3) > 0 {
        return Value::from(text).to_string();
    }
    let units = text.encode_utf16().map(|unit| match (u8::try_from(unit), choices(2)) {
        (Ok(byte @ (b'a'..=b'z' | b'0'..=b'9' | b'.')), 0) => char::from(byte).to_string(),
        _ => format!("\\u{unit:04x}"),
    });
    format!("\"{}\"", units.collect::<String>())
}

/// An engine with a rule for each field, one for elements, and one that looks everywhere.
fn engine(secret: &str) -> Engine {
    let rule = |number: usize, detection: &str| {
        format!(
            "title: t{number}\nid: 1d2c3b4a-0000-4000-8000-{number:012}\nlevel: low\n\
            logsource: {{product: kubernetes, service: audit}}\ndetection: {{a: {detection}, condition: a}}\n"
        )
    };
    let start: String = secret.chars().take_while(char::is_ascii_alphanumeric).collect();
    let mut rules: Vec<_> = FIELDS
        .iter()
        .enumerate()
        .map(|(number, field)| rule(number, &format!("{{'{field}': '*'}}")))
        .collect();
    rules.push(rule(90, "{'container[any]': {image: '*', env.value: '*'}}"));
    rules.push(rule(91, &format!("['{start}']")));
    rules.push(rule(92, "{verb: '*'}"));
    let parsed = rules.iter().map(|rule| sigma::parse(std::path::Path::new("t.yml"), rule));
    let rules = parsed.flat_map(|parsed| {
        assert_eq!(parsed.rules.len(), 1, "{:?}", parsed.problems);
        parsed.rules
    });
    Engine::new(rules.collect(), Settings::default())
}

/// The alerts for an event, redacted, and how many of them are not about what it is.
fn alerts(engine: &Engine, event: &str) -> Vec<Value> {
    let redactor = Redactor::new([3; 32]);
    let event = Event::parse(event.as_bytes()).unwrap();
    let redacted = redactor.redact(&event);
    let mut alerts = Vec::new();
    engine.evaluate(&event, &mut engine.scratch(), |found| {
        let rule = &engine.rules()[found.rule];
        let id = format!("{:032x}", id_of(rule, "c", &event));
        let alert = redacted.alert(engine, &found, &event, "c", DateTime::UNIX_EPOCH, RawEvent::Include);
        assert_eq!(alert.id, id);
        let json = serde_json::to_string(&alert).unwrap();
        alerts.push(serde_json::from_str(&json).unwrap());
    });
    alerts
}

/// Every text in a value, keys included.
fn texts<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(values) => values.iter().for_each(|value| texts(value, found)),
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            found.push(key);
            texts(value, found);
        }),
        _ => {}
    }
}

/// What a text says, and what it says to those who undo what hides it.
fn unwrapped(text: &str) -> Vec<String> {
    let mut all = vec![text.to_owned()];
    let bytes = text.as_bytes();
    let mut decoded = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = text.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(hex.filter(|_| *byte == b'%').unwrap_or(*byte));
        at += if *byte == b'%' && hex.is_some() { 3 } else { 1 };
    }
    all.push(String::from_utf8_lossy(&decoded).into_owned());
    for run in text.split(|letter: char| !(letter.is_ascii_alphanumeric() || "+/=".contains(letter))) {
        all.extend(STANDARD.decode(run).ok().and_then(|bytes| String::from_utf8(bytes).ok()));
    }
    all
}

#[track_caller]
fn check(event: &str, secret: &str) {
    let engine = engine(secret);
    let alerts = alerts(&engine, event);
    assert!(!alerts.is_empty());
    for alert in &alerts {
        let mut all = Vec::new();
        texts(alert, &mut all);
        for text in all.iter().flat_map(|text| unwrapped(text)) {
            assert!(!text.contains(secret), "{secret} is in {text}\n{alert}\nof {event}");
        }
        assert!(alert["event"].to_string().contains(MARK), "{alert}\nof {event}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_secrets_are_in_an_alert_however_they_are_written(
        place in 0..22_usize,
        secret in "cnry[A-Za-z0-9]{4}[ -~é]{0,12}[A-Za-z0-9]",
        choices in proptest::collection::vec(any::<Index>(), 16),
    ) {
        let mut turn = 0;
        let mut choose = |count: usize| {
            turn += 1;
            choices[turn % choices.len()].index(count)
        };
        check(&written(&planted_as_value(place, &secret), &mut choose), &secret);
    }

    #[test]
    fn no_secrets_are_in_an_alert_whatever_text_they_are_in(
        place in 0..13_usize,
        secret in "cnry[A-Za-z0-9]{8,30}",
        choices in proptest::collection::vec(any::<Index>(), 16),
    ) {
        let mut turn = 0;
        let mut choose = |count: usize| {
            turn += 1;
            choices[turn % choices.len()].index(count)
        };
        check(&written(&planted_in_text(place, &secret), &mut choose), &secret);
    }
}

/// The rules whose alerts show a text where nothing is redacted.
fn shows(engine: &Engine, event: &str, text: &str) -> Vec<String> {
    let event = Event::parse(event.as_bytes()).unwrap();
    let mut titles = Vec::new();
    engine.evaluate(&event, &mut engine.scratch(), |found| {
        let now = DateTime::UNIX_EPOCH;
        let alert = detect::Alert::new(engine, &found, &event, "c", now, RawEvent::LeaveOut);
        let value = alert.matched.iter().any(|evidence| evidence.value.contains(text));
        if value || alert.summary.contains(text) {
            titles.push(alert.rule.title);
        }
    });
    titles
}

#[test]
fn an_alert_says_what_was_done_without_the_secret() {
    let event = exec(&["mysql", "-uroot", "-phunter2", "-e", "select 1"]).to_string();
    let engine = engine("hunter2");
    assert_eq!(shows(&engine, &event, "hunter2"), vec!["t0", "t2", "t91", "t92"]);
    let alerts = alerts(&engine, &event);
    let of = |title: &str| alerts.iter().find(|alert| alert["rule"]["title"] == title).unwrap();
    let matched = &of("t2")["matched"][0];
    assert_eq!(matched["field"], "exec.command");
    let command = matched["value"].as_str().unwrap();
    assert!(
        command.starts_with("mysql -uroot -predacted:b3:") && command.ends_with(":7 -e select 1"),
        "{command}"
    );
    let summary = of("t92")["summary"].as_str().unwrap();
    assert!(summary.contains("`mysql -uroot -predacted:b3:"), "{summary}");
}

#[test]
fn what_is_not_secret_is_in_the_alert_as_without_redaction() {
    let event = json!({
        "auditID": "a", "verb": "create", "requestURI": "/api/v1/namespaces/n/pods/p/exec?command=id",
        "user": { "username": "eve", "groups": ["g"] }, "sourceIPs": ["192.0.2.1"], "userAgent": "kubectl/v1.36",
        "objectRef": { "resource": "pods", "subresource": "exec", "namespace": "n", "name": "p" },
        "requestObject": { "spec": { "containers": [{ "image": "a", "env": [{ "name": "A", "value": "b" }] }] } },
        "responseStatus": { "code": 101 },
    });
    let event = event.to_string();
    let engine = engine("x");
    let redacted = alerts(&engine, &event);
    let event = Event::parse(event.as_bytes()).unwrap();
    let mut plain: Vec<Value> = Vec::new();
    engine.evaluate(&event, &mut engine.scratch(), |found| {
        let alert = detect::Alert::new(&engine, &found, &event, "c", DateTime::UNIX_EPOCH, RawEvent::Include);
        plain.push(serde_json::from_str(&serde_json::to_string(&alert).unwrap()).unwrap());
    });
    assert_eq!(redacted, plain);
    assert!(plain.len() > 4);
}
