//! Every form that is known, and what hostile ones do.

use detect::event::Key;
use serde_json::{Value, json};

use super::{KEPT_BYTES_MAX, NotAnEnvelope, Opener, Refused, WRAPPERS_MAX};

/// An event with escapes, keys that come twice, and bodies that look like wrappers.
const EVENT: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"a-1","verb":"create","message":"{\"verb\":\"get\"}","log":{"verb":"get"},"records":[{"verb":"get"}],"userAgent":"\u00e9\ud800\"x\\","requestObject":{"a":1,"a":2},"verb":"patch"}"#;

/// What an envelope gave.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    events: Vec<String>,
    hints: Vec<Option<String>>,
    skipped_count: u64,
    refused: Option<Refused>,
}

fn open(envelope: &str) -> Result<Outcome, NotAnEnvelope> {
    let mut opener = Opener::default();
    let opened = opener.open(envelope.as_bytes())?;
    let mut outcome =
        Outcome { skipped_count: opened.skipped_count, refused: opened.refused, ..Outcome::default() };
    while opener.advance() {
        let event = opener.event().expect("one was gone on to");
        assert_eq!(event.complaint(), None);
        outcome.events.push(String::from_utf8(event.raw().to_vec()).expect("these are UTF-8"));
        outcome.hints.push(opener.cluster_hint().map(str::to_owned));
    }
    assert_eq!(outcome.events.len(), opened.event_count);
    Ok(outcome)
}

/// An envelope holds `EVENT` so often, byte for byte, and nothing else.
#[track_caller]
fn holds(envelope: &str, count: usize) {
    let outcome = open(envelope).expect(envelope);
    assert_eq!(outcome.events, vec![EVENT; count], "{envelope}");
    assert_eq!((outcome.skipped_count, outcome.refused), (0, None), "{envelope}");
}

/// What is refused in an envelope, as people read it.
#[track_caller]
fn refused(envelope: &str) -> String {
    let outcome = open(envelope).expect(envelope);
    assert_eq!(outcome.events, Vec::<String>::new());
    outcome.refused.expect("something").to_string()
}

/// Text as JSON.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[test]
fn shippers_are_understood() {
    let text = quoted(EVENT);
    let line = quoted(&format!("{EVENT}\n"));
    let runtime = quoted(&format!("2026-01-31T10:00:00.1Z stdout F {EVENT}"));
    let syslog = quoted(&format!("<134>1 2026-01-31T10:00:00Z node-1 audit 7 - - {EVENT}"));
    for envelope in [
        // Fluent Bit, Fluentd, container runtimes.
        format!(r#"{{"date":1764000000.1,"log":{line}}}"#),
        format!(r#"{{"log":{EVENT},"stream":"stdout","kubernetes":{{"pod_name":"kube-apiserver"}}}}"#),
        format!(r#"{{"log":{runtime},"stream":"stdout"}}"#),
        // Vector.
        format!(
            r#"{{"file":"/var/log/audit.log","host":"h","message":{text},"source_type":"file","timestamp":"t"}}"#
        ),
        format!(r#"{{"message":{EVENT},"source_type":"file"}}"#),
        format!(r#"{{"message":{syslog}}}"#),
        // Filebeat, Elastic's agent, Logstash.
        format!(
            r#"{{"@timestamp":"t","log":{{"file":{{"path":"/a"}},"offset":7}},"message":{text},"agent":{{"type":"filebeat"}}}}"#
        ),
        format!(r#"{{"@timestamp":"t","kubernetes":{{"audit":{EVENT}}},"event":{{"kind":"event"}}}}"#),
        format!(
            r#"{{"@timestamp":"t","event":{{"original":{text}}},"kubernetes":{{"audit":{{"verb":"other"}}}}}}"#
        ),
        format!(r#"{{"@timestamp":"t","@version":"1","message":{line},"host":{{"name":"h"}}}}"#),
        format!(r#"{{"_index":"audit","_source":{{"message":{text}}}}}"#),
        // Promtail, Loki.
        format!(r#"{{"labels":{{"job":"audit"}},"line":{text},"timestamp":"t"}}"#),
        format!(r#"{{"streams":[{{"stream":{{"job":"audit"}},"values":[["1764000000",{line}]]}}]}}"#),
        // Splunk's collector, journald, OpenTelemetry, Kafka Connect.
        format!(r#"{{"time":1764000000,"sourcetype":"kube:apiserver-audit","event":{EVENT}}}"#),
        format!(r#"{{"MESSAGE":{text},"_SYSTEMD_UNIT":"kube-apiserver.service"}}"#),
        format!(
            r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{{"stringValue":{text}}}}}]}}]}}]}}"#
        ),
        format!(r#"{{"schema":{{"type":"string"}},"payload":{text}}}"#),
    ] {
        holds(&envelope, 1);
        holds(&format!(" {envelope}\n"), 1);
    }
}

#[test]
fn text_may_hold_several_events_and_lists() {
    holds(&json!({ "message": format!("{EVENT}\n{EVENT}\r\n{EVENT}\n") }).to_string(), 3);
    let list = format!(r#"{{"kind":"EventList","items":[{EVENT},{EVENT}]}}"#);
    holds(&json!({ "message": list }).to_string(), 2);
    holds(&format!(r#"{{"message":{list}}}"#), 2);
    holds(r#"{"message":{"kind":"EventList","items":null}}"#, 0);
    holds(&json!({ "message": format!("{list}\n{EVENT}") }).to_string(), 3);
}

#[test]
fn records_of_azure_are_opened() {
    let record = |log: &str| {
        format!(
            r#"{{"category":"kube-audit","operationName":"o","properties":{{"log":{log},"pod":"kube-apiserver-1","stream":"stdout"}},"resourceId":"/SUBSCRIPTIONS/S/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/PROD-1","time":"t"}}"#
        )
    };
    let (text, object) = (record(&quoted(EVENT)), record(EVENT));
    holds(&text, 1);
    holds(&object, 1);
    let batch = format!(r#"{{"records":[{text},{object}]}}"#);
    holds(&batch, 2);
    // As text in the message of a shipper.
    holds(&json!({ "@timestamp": "t", "message": batch }).to_string(), 2);
    let hints = open(&batch).expect("a batch").hints;
    assert_eq!(hints, [Some("prod-1".to_owned()), Some("prod-1".to_owned())]);
}

#[test]
fn other_logs_of_azure_are_skipped_and_counted() {
    let record = |category: &str, log: &str| {
        format!(r#"{{"category":"{category}","properties":{{"log":{log}}},"resourceId":"/A/B"}}"#)
    };
    let line = quoted("I0131 started");
    let batch = format!(
        r#"{{"records":[{},{},{}]}}"#,
        record("kube-scheduler", &line),
        record("kube-audit-admin", &quoted(EVENT)),
        record("guard", &line)
    );
    let outcome = open(&batch).expect("a batch");
    assert_eq!((outcome.events.len(), outcome.skipped_count, outcome.refused), (1, 2, None));
    // An event is taken whatever the category says; an audit record without one is refused.
    holds(&record("guard", &quoted(EVENT)), 1);
    assert_eq!(refused(&record("kube-audit", &line)), "in a wrapper: text without a JSON object");
}

#[test]
fn subscriptions_of_cloudwatch_are_opened() {
    let message = |kind: &str, stream: &str, log: &str| {
        format!(
            r#"{{"messageType":"{kind}","owner":"1","logGroup":"/aws/eks/prod-2/cluster","logStream":"{stream}","subscriptionFilters":["f"],"logEvents":[{{"id":"1","timestamp":1,"message":{log}}},{{"id":"2","timestamp":2,"message":{log}}}]}}"#
        )
    };
    let audit = "kube-apiserver-audit-0123";
    let data = message("DATA_MESSAGE", audit, &quoted(EVENT));
    holds(&data, 2);
    assert_eq!(open(&data).expect("a message").hints[1].as_deref(), Some("prod-2"));
    let line = quoted("time=\"2026-01-31T10:00:00Z\" level=info");
    for other in [
        message("CONTROL_MESSAGE", "", &quoted("CWL CONTROL MESSAGE: Checking health of destination.")),
        message("DATA_MESSAGE", "authenticator-0123", &line),
        message("DATA_MESSAGE", "kube-apiserver-0123", &line),
    ] {
        let outcome = open(&other).expect("a message");
        assert_eq!(outcome, Outcome { skipped_count: 2, ..Outcome::default() }, "{other}");
    }
    let broken = message("DATA_MESSAGE", audit, &line);
    assert_eq!(
        refused(&broken),
        "in a wrapper, 2 records are no audit events, one of them: text without a JSON object"
    );
}

#[test]
fn what_is_no_envelope_is_left_alone() {
    for object in [
        "{}",
        r#"{"kind":"Pod"}"#,
        r#"{"log":null,"message":null}"#,
        r#"{"level":"info","logger":{"name":"x"}}"#,
        r#"{"log":{"file":"x"}}"#,
        "not JSON",
        "{\"message\":",
    ] {
        assert_eq!(open(object), Err(NotAnEnvelope), "{object}");
    }
}

#[test]
fn an_event_is_never_opened() {
    let outcome = open(EVENT).expect("the event");
    assert_eq!(outcome.events, [EVENT]);
    // Not in a wrapper either.
    holds(&json!({ "log": EVENT, "message": r#"{"verb":"get"}"# }).to_string(), 1);
}

#[test]
fn a_verb_does_not_make_a_wrapper_an_event() {
    for wrapper in [
        json!({ "verb": "get", "log": EVENT }),
        json!({ "verb": "get", "requestURI": "/", "kind": "Event", "level": "info", "message": EVENT }),
        json!({ "verb": "x", "records": [{ "verb": "y", "properties": { "log": EVENT, "requestURI": "/" } }] }),
        // What looks like an event in one place hides none in another.
        json!({ "requestURI": "/", "event": { "original": EVENT } }),
    ] {
        holds(&wrapper.to_string(), 1);
    }
    let decoy = r#"{"verb":"get"}"#;
    for wrapper in
        [json!({ "log": decoy, "message": EVENT }), json!({ "verb": "x", "log": decoy, "line": EVENT })]
    {
        assert_eq!(open(&wrapper.to_string()).expect("a wrapper").events, [decoy, EVENT], "{wrapper}");
    }
    let cut = &EVENT[..30];
    for unclear in [
        json!({ "verb": "x", "log": cut }),
        json!({ "verb": "x", "log": format!("{{}}\n{cut}") }),
        json!({ "verb": "x", "records": [{ "a": 1 }, { "log": cut }] }),
    ] {
        let outcome = open(&unclear.to_string()).expect("a wrapper");
        assert_eq!(outcome.events, [unclear.to_string()]);
        let refused = outcome.refused.expect("what is cut").to_string();
        assert_eq!(refused, "in a wrapper: the JSON ends in the middle", "{unclear}");
    }
    let beside = open(&json!({ "log": decoy, "message": cut }).to_string()).expect("a wrapper");
    assert_eq!((beside.events, beside.refused.expect("what is cut").count), (vec![decoy.to_owned()], 1));
}

#[test]
fn text_in_an_event_does_not_hide_it() {
    let user = json!({ "username": "ann" });
    for event in [
        json!({ "verb": "get", "user": user, "message": "hello" }),
        json!({ "verb": "get", "user": user, "kubernetes": { "pod_name": "x" } }),
        json!({ "verb": "get", "message": "{\"a\":1}" }),
        json!({ "verb": "get", "records": [{ "a": 1 }, 7] }),
        json!({ "requestURI": "/", "records": [] }),
    ] {
        let event = event.to_string();
        let outcome = open(&event).expect(&event);
        assert_eq!((outcome.events, outcome.refused), (vec![event], None));
    }
    // It says who did something and holds an event: both are looked at.
    let both = json!({ "verb": "delete", "user": user, "message": EVENT }).to_string();
    assert_eq!(open(&both).expect("both").events, [EVENT.to_owned(), both]);
    let certain = json!({ "verb": "delete", "stage": "Panic", "message": EVENT }).to_string();
    assert_eq!(open(&certain).expect("the event").events, [certain]);
    let mut deep = EVENT.to_owned();
    for _ in 0..=WRAPPERS_MAX {
        deep = json!({ "verb": "get", "log": deep }).to_string();
    }
    let outcome = open(&deep).expect("wrappers");
    assert_eq!(outcome.events.len(), 1, "the innermost that was opened, taken for an event");
    assert!(outcome.refused.expect("what is too deep").to_string().ends_with("more than 4 deep"));
}

#[test]
fn of_wrapper_keys_that_come_twice_the_last_one_counts() {
    let other = quoted(r#"{"verb":"get"}"#);
    holds(&format!(r#"{{"log":{other},"log":{}}}"#, quoted(EVENT)), 1);
    holds(&format!(r#"{{"log":{other},"\u006cog":{}}}"#, quoted(EVENT)), 1);
    // `null` is nothing, also where it comes last.
    holds(&format!(r#"{{"log":{other},"log":null,"message":{}}}"#, quoted(EVENT)), 1);
}

#[test]
fn what_is_broken_is_told() {
    let cut = |length: usize| json!({ "log": EVENT[..length] }).to_string();
    assert_eq!(refused(&cut(EVENT.len() - 1)), "in a wrapper: the JSON ends in the middle");
    assert_eq!(refused(&cut(30)), "in a wrapper: the JSON ends in the middle");
    assert_eq!(refused(&cut(0)), "in a wrapper: text without a JSON object");
    assert_eq!(refused(r#"{"log":7}"#), "in a wrapper: neither text nor an object");
    assert_eq!(
        refused(r#"{"log":"{\"kind\":\"Pod\"}"}"#),
        "in a wrapper: the object in the text is not an audit event: `kind` is not `Event`"
    );
    assert_eq!(refused(r#"{"log":"{x"}"#), "in a wrapper: expected `\"` at byte 1 of the text");
    // The place that should hold an event is told, not another one that never does.
    assert_eq!(
        refused(r#"{"log":{"file":"x"},"message":"{\"verb\":","host":"h"}"#),
        "in a wrapper: the JSON ends in the middle"
    );
    let outcome = open(&json!({ "log": format!("{EVENT}\n{{\"kind\":\"Pod\"}}\n{EVENT} tail") }).to_string());
    let outcome = outcome.expect("a wrapper");
    assert_eq!(outcome.events, [EVENT, EVENT]);
    assert_eq!(outcome.refused.map(|refused| refused.count), Some(2));
}

#[test]
fn no_record_of_a_list_goes_unseen() {
    let without = open(r#"{"resourceLogs":[{"other":1},{"scopeLogs":7}]}"#).expect("a wrapper");
    assert_eq!(without.refused.map(|refused| refused.count), Some(2));
    holds(&format!(r#"{{"streams":[{EVENT}]}}"#), 1);
    // A list with nothing in it does not hide what is beside it.
    holds(&format!(r#"{{"records":[],"log":{}}}"#, quoted(EVENT)), 1);
    holds(r#"{"records":[]}"#, 0);
}

#[test]
fn wrappers_in_wrappers_are_limited() {
    let mut envelope = EVENT.to_owned();
    for _ in 0..WRAPPERS_MAX {
        envelope = json!({ "log": envelope }).to_string();
        holds(&envelope, 1);
    }
    let deep = json!({ "log": envelope }).to_string();
    assert_eq!(refused(&deep), "in a wrapper: wrappers in wrappers, more than 4 deep");
    let lists = format!("{}{EVENT}{}", r#"{"kind":"EventList","items":["#.repeat(9), "]}".repeat(9));
    assert!(refused(&lists).ends_with("more than 4 deep"));
    let bottomless = format!("{}1{}", r#"{"log":"#.repeat(9_000), "}".repeat(9_000));
    assert!(refused(&bottomless).ends_with("more than 4 deep"));
    let arrays = format!(r#"{{"log":{}1{}}}"#, "[1,".repeat(9_000), "]".repeat(9_000));
    assert_eq!(refused(&arrays), "in a wrapper: neither text nor an object");
}

#[test]
fn room_is_used_again_and_given_back() {
    let mut opener = Opener::default();
    let large = json!({ "log": format!("{{\"verb\":\"{}\"}}", "x".repeat(3 * KEPT_BYTES_MAX)) }).to_string();
    assert_eq!(opener.open(large.as_bytes()).expect("a wrapper").event_count, 1);
    assert!(opener.advance());
    let small = json!({ "log": EVENT, "cluster": "prod" }).to_string();
    assert_eq!(opener.open(small.as_bytes()).expect("a wrapper").event_count, 1);
    assert!(opener.event().is_none(), "nothing of the last one is left");
    assert!(opener.advance() && opener.cluster_hint() == Some("prod"));
    let held: usize =
        opener.texts.iter().map(Vec::capacity).sum::<usize>() + opener.contents.bytes.capacity();
    assert!(held <= 2 * KEPT_BYTES_MAX, "{held}");
    assert!(!opener.advance() && opener.event().is_none());
}

#[test]
fn hints_are_short_and_plain() {
    for (wrapper, expected) in [
        (json!({ "cluster": "prod" }), Some("prod")),
        (json!({ "cluster_name": "a", "cluster": "b" }), Some("a")),
        (json!({ "orchestrator": { "cluster": { "name": "prod" } } }), Some("prod")),
        (json!({ "cluster": "x\n" }), None),
        (json!({ "cluster": "" }), None),
        (json!({ "cluster": 7 }), None),
        (json!({ "cluster": "x".repeat(254) }), None),
    ] {
        let mut wrapper = wrapper;
        wrapper["log"] = EVENT.into();
        let hints = open(&wrapper.to_string()).expect("a wrapper").hints;
        assert_eq!(hints, [expected.map(str::to_owned)], "{wrapper}");
    }
}

/// A log entry about one request.
fn entry(payload: &Value) -> Value {
    let mut entry = json!({
        "insertId": "i-1",
        "labels": { "authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": "RBAC" },
        "logName": "projects/p/logs/cloudaudit.googleapis.com%2Factivity",
        "operation": { "id": "o-1", "producer": "k8s.io", "first": true, "last": true },
        "protoPayload": {
            "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
            "serviceName": "k8s.io",
            "authenticationInfo": { "principalEmail": "ann@example.org" },
            "authorizationInfo": [{ "granted": true, "permission": "p" }],
            "methodName": "io.k8s.core.v1.pods.create",
            "requestMetadata": { "callerIp": "192.0.2.7", "callerSuppliedUserAgent": "kubectl/v1.30.0" },
            "resourceName": "core/v1/namespaces/shop/pods/web",
            "status": {},
        },
        "resource": { "type": "k8s_cluster", "labels": { "cluster_name": "prod-3", "location": "l" } },
        "timestamp": "2026-01-31T10:00:00.123456Z",
        "receiveTimestamp": "2026-01-31T10:00:05Z",
    });
    for (name, value) in payload.as_object().expect("an object") {
        entry["protoPayload"][name] = value.clone();
    }
    entry
}

/// The event that a log entry becomes.
#[track_caller]
fn composed(entry: &Value) -> Value {
    let outcome = open(&entry.to_string()).expect("an entry");
    assert_eq!((outcome.refused, outcome.skipped_count), (None, 0), "{entry}");
    assert_eq!(outcome.hints, [Some("prod-3".to_owned())]);
    serde_json::from_str(&outcome.events[0]).expect("JSON")
}

#[test]
fn a_log_entry_becomes_an_event() {
    assert_eq!(
        composed(&entry(&json!({}))),
        json!({
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": "o-1",
            "stage": "ResponseComplete",
            "requestURI": "/api/v1/namespaces/shop/pods",
            "verb": "create",
            "user": { "username": "ann@example.org" },
            "sourceIPs": ["192.0.2.7"],
            "userAgent": "kubectl/v1.30.0",
            "objectRef": { "resource": "pods", "namespace": "shop", "name": "web", "apiVersion": "v1" },
            "responseStatus": { "metadata": {}, "code": 201 },
            "requestReceivedTimestamp": "2026-01-31T10:00:00.123456Z",
            "stageTimestamp": "2026-01-31T10:00:00.123456Z",
            "annotations": { "authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": "RBAC" },
        })
    );
}

#[test]
fn bodies_of_a_log_entry_are_kept_and_missing_ones_are_hidden() {
    let pod = json!({ "@type": "core.k8s.io/v1.Pod", "spec": { "hostPID": true } });
    for (payload, level) in [
        (json!({}), "Metadata"),
        (json!({ "request": null, "response": pod }), "Metadata"),
        (json!({ "request": pod }), "Request"),
        (json!({ "request": pod, "response": pod }), "RequestResponse"),
    ] {
        let event = composed(&entry(&payload));
        assert_eq!(event["level"], level);
        let body = |name: &str| payload.get(name).filter(|body| !body.is_null()).cloned().unwrap_or_default();
        assert_eq!(
            (&event["requestObject"], &event["responseObject"]),
            (&body("request"), &body("response"))
        );
    }
}

#[test]
fn codes_of_a_log_entry_become_those_of_http() {
    let status = json!({ "@type": "core.k8s.io/v1.Status", "kind": "Status", "code": 422 });
    for (payload, code) in [
        (json!({ "status": { "code": 7, "message": "no" } }), 403),
        (json!({ "status": { "code": 16 } }), 401),
        (json!({ "status": { "code": 5 } }), 404),
        (json!({ "status": { "code": 10 } }), 409),
        (json!({ "status": { "code": 3 }, "response": status }), 422),
        (json!({ "status": { "code": 99 } }), 500),
        (json!({ "methodName": "io.k8s.core.v1.pods.list" }), 200),
        (
            json!({
                "methodName": "io.k8s.core.v1.pods.exec.create",
                "resourceName": "core/v1/namespaces/shop/pods/web/exec",
            }),
            101,
        ),
    ] {
        assert_eq!(composed(&entry(&payload))["responseStatus"]["code"], code, "{payload}");
    }
    let refused = composed(&entry(&json!({ "status": { "code": 7, "message": "no" } })));
    assert_eq!(
        (&refused["responseStatus"]["status"], &refused["responseStatus"]["message"]),
        (&json!("Failure"), &json!("no"))
    );
    assert_eq!(composed(&entry(&json!({ "status": null })))["responseStatus"], Value::Null);
}

#[test]
fn a_log_entry_without_labels_still_says_who_was_denied() {
    for (granted, decision) in [
        (json!([{ "granted": true }, { "permission": "p" }]), "forbid"),
        (json!([{ "granted": true }]), "allow"),
    ] {
        let mut entry = entry(&json!({ "authorizationInfo": granted }));
        entry["labels"] = json!({ "k8s.io/deprecated": "true" });
        let annotations = json!({ "k8s.io/deprecated": "true", "authorization.k8s.io/decision": decision });
        assert_eq!(composed(&entry)["annotations"], annotations);
    }
}

#[test]
fn the_first_entry_of_a_long_request_is_its_first_stage() {
    let mut first = entry(&json!({ "methodName": "io.k8s.core.v1.pods.watch" }));
    first["operation"] = json!({ "id": "o-1", "first": true });
    assert_eq!(composed(&first)["stage"], "ResponseStarted");
    let mut alone = entry(&json!({}));
    alone["operation"] = Value::Null;
    let alone = composed(&alone);
    assert_eq!((&alone["stage"], &alone["auditID"]), (&json!("ResponseComplete"), &json!("i-1")));
}

#[test]
fn entries_of_other_services_are_skipped_and_unclear_ones_told() {
    let other = entry(&json!({ "serviceName": "compute.googleapis.com" })).to_string();
    assert_eq!(open(&other), Ok(Outcome { skipped_count: 1, ..Outcome::default() }));
    let unclear = entry(&json!({ "methodName": 7 })).to_string();
    assert_eq!(refused(&unclear), "in a wrapper: a log entry without a `methodName` that names a verb");
    let text = json!({ "logName": "l", "textPayload": EVENT }).to_string();
    holds(&text, 1);
}

#[test]
fn text_of_a_log_entry_cannot_break_out() {
    let name = r#"core/v1/namespaces/shop/pods/web","verb":"x"#;
    let event = composed(&entry(&json!({ "methodName": "io.k8s.core.v1.pods.get", "resourceName": name })));
    assert_eq!(event["verb"], "get");
    assert_eq!(event["objectRef"]["name"], r#"web","verb":"x"#);
    let raw = open(&entry(&json!({})).to_string()).expect("an entry").events.remove(0);
    let event = detect::Event::parse(raw.as_bytes()).expect("JSON");
    assert_eq!(event.str(Key::Verb).as_deref(), Some("create"));
}
