//! Events with secrets in every place and shape, and what becomes of them.

use proptest::prelude::*;

use super::{MARK, NESTED_MAX, Redactor};
use crate::Event;
use crate::json::{Json, Kind};

fn redactor() -> Redactor {
    Redactor::new([7; 32])
}

/// What becomes of an event; it has the same keys and shape, or the test fails.
#[track_caller]
fn redacted(event: &str) -> String {
    let parsed = Event::parse(event.as_bytes()).unwrap();
    let redacted = redactor().event(&parsed);
    assert_eq!(shape(&redacted), shape(event), "{redacted}");
    assert!(!redacted.contains('\n'));
    redacted
}

/// Keys and brackets, with a dot for each scalar.
fn shape(json: &str) -> String {
    use super::tokens::{Token, Tokens};
    let shape = Tokens::new(json.as_bytes()).map(|token| match token {
        Token::Object => "{".to_owned(),
        Token::Array => "[".to_owned(),
        Token::Close => "}".to_owned(),
        Token::Key(key) => format!("{:?}:", key.text().unwrap_or_default()),
        Token::Scalar(_) => ".".to_owned(),
    });
    shape.collect()
}

/// The event of a request with this body on this resource.
fn with_body(resource: &str, body: &str) -> String {
    format!(
        r#"{{"kind":"Event","verb":"create","objectRef":{{"resource":"{resource}","name":"x"}},"requestObject":{body}}}"#
    )
}

#[track_caller]
fn hidden(resource: &str, body: &str) {
    let redacted = redacted(&with_body(resource, body));
    assert!(!redacted.contains("hunter") && redacted.contains(MARK), "{redacted}");
}

#[track_caller]
fn shown(resource: &str, body: &str) {
    let event = with_body(resource, body);
    assert_eq!(redacted(&event), event);
}

#[test]
fn secrets_are_hidden_in_every_shape_of_a_request() {
    for body in [
        r#"{"kind":"Secret","data":{"password":"hunter2"}}"#,
        r#"{"data":{"a":"hunter2"},"kind":"Secret"}"#,
        r#"{"\u0064ata":{"a":"\u0068unter2"}}"#,
        r#"{"Data":{"a":"hunter2"}}"#,
        r#"{"data":{"a":"hunter2"},"data":{"a":"hunter3"}}"#,
        r#"{"data":{"a":"hunter2","a":"hunter3"}}"#,
        r#"{"stringData":{"a":"hunter2"}}"#,
        r#"{"data":"hunter2"}"#,
        r#"{"data":["hunter2",{"x":["hunter3"]}]}"#,
        r#"{"items":[{"data":{"a":"hunter2"}},{"metadata":{},"data":{"a":"hunter3"}}]}"#,
        r#"{"kind":"Table","rows":[{"cells":["x"],"object":{"kind":"Secret","data":{"a":"hunter2"}}}]}"#,
        r#"[{"op":"add","path":"/data/x","value":"hunter2"}]"#,
        r#"[{"value":"hunter2","op":"replace","path":"/data/x"}]"#,
        r#"[{"op":"add","path":"/data","value":{"x":"hunter2"}}]"#,
        r#"[{"op":"add","path":"","value":{"data":{"x":"hunter2"}}}]"#,
        r#"[{"op":"add","path":"junk/st\u0072ingData/x","value":["hunter2"]}]"#,
        r#"[{"op":"test","path":"/data/x","value":"hunter2"}]"#,
    ] {
        hidden("secrets", body);
    }
}

#[test]
fn a_secret_is_known_by_its_kind_whatever_it_lies_in() {
    for body in [
        r#"{"kind":"Secret","data":{"a":"hunter2"}}"#,
        r#"{"data":{"a":"hunter2"},"kind":" secret"}"#,
        r#"{"kind":"List","items":[{"data":{"a":"hunter2"},"kind":"Secret"}]}"#,
        r#"{"kind":"SecretList","items":[{"data":{"a":"hunter2"}}]}"#,
        r#"{"spec":{"templates":[{"raw":"{\"kind\":\"Secret\",\"data\":{\"a\":\"hunter2\"}}"}]}}"#,
        r#"{"data":{"x.yaml":"apiVersion: v1\nkind: Secret\ndata:\n  a: hunter2\n  b: |\n    hunter: 3\n    hunter\nx: y\n"}}"#,
        r#"{"data":{"x.yaml":"- kind: Secret\n  stringData:\n    a: hunter2\n"}}"#,
        r#"{"spec":{"containers":[{"command":["sh","-c","echo '{\"kind\":\"Secret\",\"data\":{\"a\":\"hunter2\"}}' | kubectl apply -f -"]}]}}"#,
        // `{"kind":"Secret","data":{"a":"hunter2"}}`
        r#"{"spec":{"blob":"eyJraW5kIjoiU2VjcmV0IiwiZGF0YSI6eyJhIjoiaHVudGVyMiJ9fQ=="}}"#,
    ] {
        let event = with_body("widgets", body);
        let redacted = redacted(&event);
        let encoded = redacted.contains("aHVudGVyMi");
        assert!(!redacted.contains("hunter") && !encoded && redacted.contains(MARK), "{redacted}");
    }
}

#[test]
fn a_patch_of_a_secret_in_base64_is_hidden() {
    // `{"data":{"a":"hunter2"}}`
    let redacted = redacted(&with_body("secrets", r#"{"raw":"eyJkYXRhIjp7ImEiOiJodW50ZXIyIn19"}"#));
    assert!(!redacted.contains("eyJkYXRh") && redacted.contains(MARK), "{redacted}");
}

#[test]
fn a_copy_of_secret_data_is_hidden_wherever_a_patch_puts_it() {
    hidden(
        "secrets",
        r#"{"data":{"a":"hunter2hunter2hunter2"},"metadata":{"labels":{"a":"hunter2hunter2hunter2"}}}"#,
    );
}

#[test]
fn values_of_episodes_are_redacted() {
    use crate::correlate::{Episode, Phase};
    let rules = "title: t\nid: 1d2c3b4a-0000-4000-8000-000000000001\nname: base\nlevel: low\n\
        logsource: {product: kubernetes, service: audit}\ndetection: {a: {verb: get}, condition: a}\n---\n\
        title: u\nid: 1d2c3b4a-0000-4000-8000-000000000002\nlevel: low\ncorrelation: {type: value_count, rules: [base],\n\
        \x20 group-by: [user.username, exec.command], timespan: 5m, condition: {field: requestObject.data.x, gte: 2}}\n";
    let parsed = crate::sigma::parse(std::path::Path::new("t.yml"), rules);
    assert_eq!(parsed.rules.len(), 2, "{:?}", parsed.problems);
    let time = chrono::DateTime::UNIX_EPOCH;
    let episode = Episode {
        rule: 1,
        id: 7,
        group: vec![
            ("user.username".into(), Some("eve".into())),
            ("exec.command".into(), Some("mysql -phunter2 db".into())),
        ],
        started_at: time,
        ended_at: time,
        request_count: 2,
        audit_ids: vec!["a".into()],
        number: 2.0,
        values: vec!["hunter3".into(), "hunter4".into()],
        rules: vec![0],
        phase: Phase::Over,
    };
    let redacted = redactor().episode(&parsed.rules, &episode);
    let alert = crate::Alert::of_episode(&parsed.rules, &redacted, "c", time).unwrap();
    let json = serde_json::to_string(&alert).unwrap();
    assert!(
        !json.contains("hunter") && json.contains("eve") && json.contains("mysql -predacted:b3:"),
        "{json}"
    );
    assert_eq!(redacted.id, episode.id);
}

#[test]
fn tokens_copies_and_credentials_of_custom_resources_are_hidden() {
    for body in [
        r#"{"kind":"TokenRequest","status":{"token":"hunter2"}}"#,
        r#"{"kind":"TokenReview","spec":{"token":"hunter2"}}"#,
        r#"{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"hunter2"}}}"#,
        r#"[{"op":"add","path":"/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration","value":"hunter2"}]"#,
        r#"{"spec":{"password":"hunter2","clientSecret":"hunter2","apiKey":"hunter2","privateKey":"hunter2","connectionString":"hunter2","tokens":1,"token":"hunter 2"}}"#,
        r#"{"spec":{"PASSWORD":["hunter2","hunter3"]}}"#,
        r#"[{"op":"replace","path":"/spec/db/password","value":"hunter2"}]"#,
        r#"[{"op":"replace","path":"/spec/db/passwords/0","value":"hunter2"}]"#,
        r#"{"data":{"password":"hunter2"}}"#,
        r#"{"spec":{"password":{"value":"hunter2"},"token":{"Inline":["hunter3"]}}}"#,
        r#"{"spec":{"raw":"\"{\\\"password\\\":\\\"hunter2\\\"}\""}}"#,
        r#"{"data":{"app.properties":"a=b\ndb.password=hunter2\nc=d"}}"#,
        r#"{"data":{"config.yaml":"db:\n  password: hunter 2\n  user: root\n"}}"#,
        r#"{"data":{"config.yaml":"token: |\n  hunter2\n  hunter3\nuser: root\n"}}"#,
        r#"{"data":{"config.json":"{\"db\":{\"password\":\"hunter2\"}}"}}"#,
        r#"{"data":{"config.js":"x = {\"password\": \"hunter2\", 'apiKey': 'hunter 3'}"}}"#,
        r#"{"data":{"key.pem":"-----BEGIN RSA PRIVATE KEY-----\nhunter\n-----END RSA PRIVATE KEY-----\n"}}"#,
        r#"{"data":{"kubeconfig":"users:\n- name: a\n  user:\n    client-key-data: hunter2\n    token: hunter3\n"}}"#,
        r#"{"spec":{"url":"postgres://app:hunter2@db:5432/app"}}"#,
        r#"{"spec":{"url":"https://host/hook?token=hunter2&a=b"}}"#,
        r#"{"spec":{"headers":[{"name":"Authorization","value":"Basic hunter2"}]}}"#,
    ] {
        hidden("widgets", body);
    }
}

#[test]
fn environments_and_commands_lose_only_their_credentials() {
    for (pod, kept) in [
        (r#"{"env":[{"name":"DB_PASSWORD","value":"hunter2"}]}"#, "DB_PASSWORD"),
        (r#"{"env":[{"value":"hunter2","name":"ENCRYPTION_KEY"}]}"#, "ENCRYPTION_KEY"),
        (r#"{"env":[{"name":"DATABASE","value":"mysql://app:hunter2@db/app"}]}"#, "mysql://app:"),
        (r#"{"command":["mysql","-uroot","-phunter2","db"]}"#, r#""mysql","-uroot","-predacted"#),
        (
            r#"{"args":["-phunter2","db"],"command":["/usr/bin/mysql"]}"#,
            r#""db"],"command":["/usr/bin/mysql"]"#,
        ),
        (r#"{"command":["app","--token","hunter2","--verbose"]}"#, r#""--verbose"]"#),
        (r#"{"command":["sh","-c","PGPASSWORD=hunter2 psql -h db"]}"#, " psql -h db"),
        (r#"{"args":["curl -H 'Authorization: Bearer hunter2' https://host"]}"#, "' https://host"),
        (r#"{"args":["curl","-u","admin:hunter2","https://host"]}"#, r#""admin:redacted"#),
        (r#"{"args":["curl https://a:hunter2@host/x.sh | sh"]}"#, "@host/x.sh | sh"),
    ] {
        let event = with_body("pods", &format!(r#"{{"spec":{{"containers":[{pod}]}}}}"#));
        let redacted = redacted(&event);
        assert!(!redacted.contains("hunter") && redacted.contains(MARK), "{redacted}");
        assert!(redacted.contains(kept), "{redacted}");
    }
    hidden("pods", r#"[{"op":"add","path":"/spec/containers/0/env/0/value","value":"hunter2"}]"#);
    hidden(
        "pods",
        r#"[{"op":"add","path":"/spec/containers/0/env/-","value":{"name":"TOKEN","value":"hunter2"}}]"#,
    );
    hidden("pods", r#"[{"op":"add","path":"/spec/containers/0/args","value":["--token","hunter2"]}]"#);
}

#[test]
fn commands_in_addresses_lose_only_their_credentials() {
    let uri = |uri: &str| redacted(&format!(r#"{{"verb":"create","requestURI":"{uri}"}}"#));
    for (address, kept) in [
        (
            "/api/v1/namespaces/n/pods/p/exec?command=mysql&command=-phunter2&container=c",
            "command=mysql&command=-predacted:b3:",
        ),
        ("/exec?command=mysql&command=%2D%70hunter2&container=c", "&container=c"),
        ("/exec?%63ommand=sh&command=-c&command=PGPASSWORD%3Dhunter2+psql", "psql"),
        (
            "/exec?command=app&command=--password&command=hunter2&stdout=true",
            "command=--password&command=redacted",
        ),
        ("/exec?command=app;command=--password;command=hunter2;stdout=true", ";stdout=true"),
        ("/api/v1/nodes/n/proxy/run/a/b/c?cmd=mysql+-phunter2+db", "mysql%20-predacted"),
        ("/api/v1/namespaces/n/services/s/proxy/x?access_token=hunter2&a=b", "&a=b"),
        ("/proxy/https:%2F%2Fuser:hunter2@host/x", "@host/x"),
        ("/x?a=%7B%22password%22%3A%22hunter2%22%7D", "/x?a="),
    ] {
        let redacted = uri(address);
        assert!(
            !redacted.contains("hunter") && redacted.contains("redacted:b3:") && redacted.contains(kept),
            "{redacted}"
        );
    }
    for address in [
        "/api/v1/namespaces/kube-system/secrets?limit=500&resourceVersion=0",
        "/api/v1/pods?labelSelector=app%3Dx&fieldSelector=metadata.name%3Dy",
        "/exec?command=cat&command=/var/run/secrets/kubernetes.io/serviceaccount/token&container=c",
        "/api/v1/pods?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MTIzLCJzdGFydCI6ImEifQ",
    ] {
        assert!(uri(address).contains(address), "{address}");
    }
}

#[test]
fn what_a_responder_needs_stays() {
    for body in [
        r#"{"kind":"ConfigMap","data":{"a":"b","ca.crt":"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"}}"#,
        r#"{"webhooks":[{"clientConfig":{"caBundle":"LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUI="}}]}"#,
        r#"{"spec":{"containers":[{"image":"registry.local/a:v1","command":["sh","-c","mkdir -p /tmp/x && nc -l -p 4444"],"env":[{"name":"SECRET_NAME","value":"x"},{"name":"TOKEN","valueFrom":{"secretKeyRef":{"name":"s","key":"token"}}}]}]}}"#,
        r#"{"rules":[{"resources":["secrets","serviceaccounts/token"],"verbs":["get"]}]}"#,
        r#"{"spec":{"secretName":"tls","tokenExpirationSeconds":3600,"automountServiceAccountToken":false,"volumes":[{"secret":{"secretName":"x"}}]}}"#,
        r#"{"kind":"ServiceAccount","secrets":[{"name":"default-token-abcde"}],"imagePullSecrets":[{"name":"x"}]}"#,
        r#"{"message":"serviceaccounts \"x\" is forbidden: User \"y\" cannot create resource \"serviceaccounts/token\""}"#,
        r#"{"data":{"x":null,"y":""}}"#,
        r#"{"kind":"RoleBinding","subjects":[{"kind":"User","name":"system:serviceaccount:external-secrets:vault-token"}]}"#,
        r#"{"message":"failed to fetch token: serviceaccounts not found; secret: not found"}"#,
        r#"{"spec":{"args":["TOKEN=$(cat /var/run/secrets/kubernetes.io/serviceaccount/token); curl -H \"Authorization: Bearer $TOKEN\" https://x"]}}"#,
        r#"{"spec":{"image":"registry.local/vault-token:v1","secret":{"name":"x","key":"password"}}}"#,
    ] {
        shown("widgets", body);
    }
    shown("secrets", r#"{"kind":"Secret","metadata":{"name":"x"},"type":"Opaque","data":{"x":null}}"#);
}

#[test]
fn equal_secrets_look_equal_and_only_under_the_same_key() {
    let mark = redactor().mark("hunter2");
    assert!(mark.starts_with(MARK) && mark.ends_with(":7") && mark.len() == MARK.len() + 18, "{mark}");
    assert_eq!(mark, redactor().mark("hunter2"));
    assert_ne!(mark, redactor().mark("hunter3"));
    assert_ne!(mark, Redactor::new([8; 32]).mark("hunter2"));
    assert!(!format!("{:?}", redactor()).contains('7'));
}

#[test]
fn hostile_nesting_is_walked_and_not_recursed_into() {
    let depth = crate::scan::DEPTH_MAX - 8;
    let objects = format!(
        r#"{}{{"password":"hunter2"}}{}"#,
        r#"{"kind":"Secret","command":["x",{"data":"#.repeat(depth / 3),
        "}]}".repeat(depth / 3)
    );
    hidden("widgets", &objects);
    let lists = format!("{}\"password=hunter2\"{}", "[".repeat(depth), "]".repeat(depth));
    hidden("widgets", &lists);
}

#[test]
fn texts_within_texts_are_hidden_at_any_depth() {
    let mut text = r#"{"password":"hunter2"}"#.to_owned();
    for _ in 0..NESTED_MAX + 3 {
        text = serde_json::json!({ "x": text }).to_string();
        hidden("widgets", &text);
    }
    let mut query = "x?password=hunter2".to_owned();
    for _ in 0..3 {
        query = format!("x?a={}", query.replace('%', "%25").replace('=', "%3D").replace('?', "%3F"));
        let redacted = redacted(&format!(r#"{{"verb":"get","requestURI":"{query}"}}"#));
        assert!(!redacted.contains("hunter"), "{redacted}");
    }
    // Many question marks are not many levels.
    redacted(&format!(r#"{{"verb":"get","requestURI":"{}"}}"#, "?=".repeat(200_000)));
}

#[test]
fn what_cannot_be_decoded_is_written_as_it_is_understood() {
    let event = b"{\"verb\":\"get\",\"userAgent\":\"a\xff\\ud800b\",\"requestObject\":{\"\\ud800password\":\"hunter2\\udfff\"}}";
    let parsed = Event::parse(event).unwrap();
    let redacted = redactor().event(&parsed);
    let value: serde_json::Value = serde_json::from_str(&redacted).unwrap();
    assert_eq!(value["userAgent"], "a\u{FFFD}\u{FFFD}b");
    assert!(value["requestObject"]["\u{FFFD}password"].as_str().unwrap().starts_with(MARK), "{redacted}");
}

#[test]
fn fragments_show_no_string_of_a_body_that_is_quoted() {
    let fragment = br#"{"records":[{"log":"{\"requestObject\":{\"data\":{\"db\":\"hunter2\"}}}"},{"log":{"requestObject":{"a":"b"}}}"#;
    let redacted = String::from_utf8(redactor().fragment(fragment)).unwrap();
    assert!(!redacted.contains("hunter2"), "{redacted}");
}

#[test]
fn fragments_show_no_string_of_a_body() {
    let fragment = br#"{"kind":"Event","verb":"create","requestObject":{"data":{"a":"hunter2","b":["hunter3"]},"x":"hunte"#;
    let redacted = String::from_utf8(redactor().fragment(fragment)).unwrap();
    assert!(!redacted.contains("hunte") && redacted.contains(r#""verb":"create""#), "{redacted}");
    assert!(redacted.contains(r#"{"data":{"a":"redacted"#), "{redacted}");
}

#[test]
fn values_of_fields_are_redacted_without_their_event() {
    for (field, value) in [
        ("requestObject.data.password", "hunter2"),
        ("container.env.value", "hunter2"),
        ("exec.command", "mysql -phunter2"),
        ("requestURI", "/exec?command=mysql&command=-phunter2"),
    ] {
        let text = redactor().text(field, value).into_owned();
        assert!(!text.contains("hunter") && text.contains(MARK), "{text}");
    }
    assert_eq!(redactor().text("user.username", "system:serviceaccount:a:b"), "system:serviceaccount:a:b");
}

/// Any JSON, with what looks like secrets and their names among it.
fn hostile() -> impl Strategy<Value = String> {
    let string = prop_oneof![
        "[ -~]{0,12}".prop_map(|text| serde_json::Value::from(text).to_string()),
        proptest::sample::select(
            &[
                "\"kind\"",
                "\"Secret\"",
                "\"data\"",
                "\"\\u0064ata\"",
                "\"path\"",
                "\"/data/x\"",
                "\"value\"",
                "\"command\"",
                "\"args\"",
                "\"mysql\"",
                "\"-p\"",
                "\"--password\"",
                "\"name\"",
                "\"TOKEN\"",
                "\"password='\\\"\"",
                "\"token: |\\n  a\\n\"",
                "\"\\ud800\"",
                "\"?a=?b=;c=%3d\"",
                "\"{\\\"a\\\":\\\"b\\\"}\"",
                "\"kind: Secret\\ndata:\\n a: b\\n  c\\nd\"",
                "\"-----BEGIN PRIVATE KEY-----\"",
                "\"://:@\"",
                "\"é=password:é\"",
                "\"password:\\u00e9\\u2028 \\u00a0x\"",
                "\"authorization: Basic\\u00a0é\"",
                "\"{data:{kind:Secret\"",
            ][..]
        )
        .prop_map(str::to_owned),
    ];
    let scalar =
        prop_oneof![string.clone(), Just("1".to_owned()), Just("null".to_owned()), Just("true".to_owned())];
    scalar.prop_recursive(6, 60, 6, move |inner| {
        let member = (string.clone(), inner.clone()).prop_map(|(key, value)| format!("{key}: {value}"));
        prop_oneof![
            proptest::collection::vec(inner, 0..6).prop_map(|values| format!("[{}]", values.join(",\n"))),
            proptest::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(" ,"))),
        ]
    })
}

proptest! {
    #[test]
    fn any_event_keeps_its_shape(body in hostile(), annotations in hostile()) {
        redacted(&format!(r#"{{"requestObject":{body},"annotations":{annotations},"requestURI":"?"}}"#));
    }

    #[test]
    fn any_text_is_redacted_without_panic(text in "(?s).{0,80}", marked in "[-a-zé\"'\\\\=:?&;{}|>\n /%@$]{0,60}") {
        for text in [&text, &marked, &format!("kind: Secret\ndata:\n{marked}"), &format!("password{marked}")] {
            let _ = redactor().text("x", text);
            let _ = redactor().fragment(format!("\"requestObject\"{text}").as_bytes());
        }
    }
}

#[test]
fn whatever_is_a_string_in_secret_data_is_gone() {
    let event = with_body("secrets", r#"{"data":{"a":"x","b":{"c":[1,true,"y"]}}}"#);
    let redacted = redacted(&event);
    let body = Event::parse(redacted.as_bytes()).unwrap();
    let data = body.at(crate::event::Key::RequestObject, &["data"]).unwrap();
    for scalar in crate::scan::Scalars::new(data.bytes()) {
        let text = Json::text(scalar).unwrap();
        assert!(scalar.kind() == Kind::String && (text.len() == 1 || text.starts_with(MARK)), "{text}");
    }
}

#[test]
fn what_is_redacted_stays_as_it_is() {
    let event =
        with_body("secrets", r#"{"data":{"a":"hunter2"},"env":[{"name":"TOKEN","value":"hunter3"}]}"#);
    let once = redacted(&event);
    assert_eq!(redacted(&once), once);
    // What only looks like a mark is none.
    hidden("secrets", r#"{"data":{"a":"redacted:b3:0123456789abcdef:7 hunter2"}}"#);
    hidden("secrets", r#"{"data":{"a":"redacted:b3:0123456789hunter:7"}}"#);
}

#[test]
fn what_was_clean_in_one_place_is_looked_at_in_every_other() {
    let event = |part: &str| format!(r#"{{"kind":"Event","verb":"get",{part}}}"#);
    for (shows, hides) in [
        // What says who did what shows all but what is a credential by its shape.
        (r#""user":{"note":"password=hunter2"}"#, r#""annotations":{"note":"password=hunter2"}"#),
        (r#""\u0075ser":{"note":"password=hunter4"}"#, r#""annot\u0061tions":{"note":"password=hunter4"}"#),
        (r#""auditID":"token=hunter2""#, r#""userAgent":"token=hunter2""#),
        (r#""stage":"password=hunter3""#, r#""requestObject":{"a":"password=hunter3"}"#),
        // In an address, signs may be encoded.
        (r#""requestObject":{"a":"/x/password%3Dhunter2"}"#, r#""requestURI":"/x/password%3Dhunter2""#),
        (r#""annotations":["/x/password%3Dhunter5"]"#, r#""requestURI":["/x/password%3Dhunter5"]"#),
        // What a Secret holds is one, also in a text.
        (
            r#""annotations":{"a":"{\"data\":\"hunter2\"}"}"#,
            r#""annotations":{"a":"{\"data\":\"hunter2\"}"},"objectRef":{"resource":"secrets"}"#,
        ),
        (
            r#""requestObject":{"a":"{\"data\":\"hunter2\"}"}"#,
            r#""requestObject":{"a":"{\"data\":\"hunter2\"}"},"objectRef":{"resource":"secrets"}"#,
        ),
        // What is a secret in one body is one in the other.
        (
            r#""requestObject":{"a":{"b":"hunter2-hunter2-hunter2"}}"#,
            r#""requestObject":{"a":{"b":"hunter2-hunter2-hunter2"}},"responseObject":{"kind":"Secret","data":{"c":"hunter2-hunter2-hunter2"}}"#,
        ),
    ] {
        for _ in 0..2 {
            assert_eq!(redacted(&event(shows)), event(shows));
            assert!(!redacted(&event(hides)).contains("hunter"), "{hides}");
        }
    }
    // JSON is redacted whole where it lies in too many texts.
    let mut nested = "[1]".to_owned();
    for _ in 0..NESTED_MAX {
        shown("configmaps", &serde_json::json!({ "a": nested }).to_string());
        nested = serde_json::json!([nested]).to_string();
    }
    let body = with_body("configmaps", &serde_json::json!({ "a": nested }).to_string());
    assert!(redacted(&body).contains(MARK), "{body}");
    // What is not written as it came is written so each time.
    for _ in 0..2 {
        assert_eq!(redacted(&event(r#""user":{"a":"\ud800"}"#)), event("\"user\":{\"a\":\"\u{fffd}\"}"));
    }
}

#[test]
fn an_event_that_calls_itself_a_secret_hides_what_one_holds() {
    for kind in [r#""kind":"Secret","kind":"Event""#, r#""kind":"Event","Kind":" secretlist ""#] {
        let event = format!(r#"{{{kind},"verb":"create","requestObject":{{"data":{{"a":"hunter2"}}}}}}"#);
        assert!(!redacted(&event).contains("hunter"), "{event}");
    }
}

#[test]
fn commands_in_commands_are_redacted_at_some_depth() {
    let nested = format!("{}hunter2", "password=$(".repeat(100_000));
    let text = redactor().text("x", &nested).into_owned();
    assert!(!text.contains("hunter"));
}

#[test]
fn tricks_do_not_show_a_secret() {
    for body in [
        // What a shell runs holds credentials of its own.
        r#"{"data":{"x":"password=\"$(curl --token=hunter2 x)\""}}"#,
        r#"{"data":{"x":"password=$(x;token=hunter2)"}}"#,
        r#"{"spec":{"args":["echo 'root:hunter2' | chpasswd"]}}"#,
        r#"{"spec":{"args":["echo hunter2 | docker login -u x --password-stdin"]}}"#,
        r#"{"spec":{"a":["docker","login","-u","x","-p","hunter2"]}}"#,
        // Names and values in other places than usual.
        r#"{"spec":{"env":[{"name":"TOKEN","value":{"a":"b"}},{"name":"TOKEN","value":["hunter2"]}]}}"#,
        r#"{"data":{"x":"kind: \"Secret\"\r\ndata:\r\n  a: hunter2\r\n"}}"#,
        r#"{"data":{"x":"{kind: Secret, data: {a: hunter2}}"}}"#,
        r#"{"data":{"x":"stringData:\n  a: |-\n    hunter2: x\n    hunter3\n"}}"#,
        r#"{"data":{"x":"password:\n    hunter2\nuser: x\n"}}"#,
        r#"{"data":{"x":"  - password: hunter2 # hunter3\n"}}"#,
        r#"{"data":{"x":"export DB_PASSWORD='hunter 2'\nexport TOKEN=\"hunter\\\" 3\"\n"}}"#,
        r#"{"data":{"x":"<password>hunter2</password><add key=\"ApiKey\" value=\"hunter3\"/>"}}"#,
        r#"{"data":{"x":"Server=db;User Id=sa;Password=hunter2;"}}"#,
        r#"{"data":{"x":"machine host login me password hunter2"}}"#,
        r#"{"data":{"x":"//registry.local/:_authToken=hunter2"}}"#,
        r#"{"data":{"x":"requirepass hunter2\nmasterauth hunter3\n"}}"#,
        r#"{"data":{"config.json":"{\"auths\":{\"r\":{\"auth\":\"hunter2hunter\"}}}"}}"#,
        r#"{"spec":{"a":["docker","login","-u","x","-p","hunter2"],"command":["sh","-c","docker login -u x -p hunter2"]}}"#,
    ] {
        hidden("widgets", body);
    }
}
