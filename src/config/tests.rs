//! What files are understood as, and what is said of those that are not.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use chrono::{Datelike, Days, Utc};
use detect::sigma::Severity;
use rcgen::{CertificateParams, KeyPair};

use super::mistake::Mistake;
use super::*;

/// The example that people begin with.
const EXAMPLE: &str = include_str!("../../deploy/masthead.yml");

#[test]
fn the_shortest_file_is_the_default() {
    let config = load("# nothing\n").expect("a configuration");
    assert_eq!(config.sources.len(), 1);
    assert_eq!(config.sinks.len(), 1);
    assert!(config.rules.default);
}

#[cfg(feature = "kafka")]
#[test]
fn all_mistakes_are_told_at_once_each_at_its_place() {
    let yaml = "\
state_dir: state
sources:
  clusters:
    type: webhok
    listen: 0.0.0.0:9880
  node:
    type: file
    path: [/var/log/audit.log]
  managed: { type: kafka, brokers: [a], topic: [b] }
sinks:
  siem: { type: http, url: 'https://u:hunter2@siem.corp', token: s3cret, timeout: 90 }
routes:
  - { match: { level: hgih+ }, to: [siem] }
retention: { age: 90d, sise: 4GiB }
checkpoint_evry: 1h
admin:
";
    let mistakes = load(yaml).expect_err("mistakes");
    let told: Vec<String> = mistakes.list.iter().map(line).collect();
    let expected = [
        "4:11 unknown value `webhok`",
        "8:5 unknown key `path`",
        "9:41 unknown key `topic`",
        "11:28 a user or password does not belong into a URL: use `user` with `password_file` or `password_env`",
        "11:59 `token` holds a secret, which does not belong into this file",
        "11:83 expected a duration with its unit, such as `90s`, `5m` or `12h`",
        "13:23 unknown level `hgih`: expected one of `informational`, `low`, `medium`, `high`, `critical`, with `+` for that and above",
        "14:24 unknown key `sise`",
        "15:1 unknown key `checkpoint_evry`",
        "16:1 expected a mapping, found nothing",
    ];
    assert_eq!(told, expected);
    let help = |number: usize| mistakes.list[number].help().unwrap_or_default();
    assert_eq!(help(0), "did you mean `webhook`?");
    assert_eq!(help(1), "did you mean `paths`?");
    assert_eq!(help(2), "did you mean `topics`?");
    assert!(help(4).contains("`token_file` or `token_env`"));
    let shown = format!("{mistakes:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("s3cret"), "{shown}");
}

#[cfg(feature = "kafka")]
#[test]
fn the_example_is_right_and_says_the_defaults() {
    let folder = Folder::new();
    for file in ["siem.token", "siem.hmac", "siem.key", "kafka.password"] {
        folder.write(file, "s3cret\n", 0o600);
    }
    folder.write("chat.url", "https://chat.example.com/hooks/s3cret", 0o600);
    for file in ["rules", "lists"] {
        fs::create_dir(folder.path(file)).expect("a folder");
    }
    let pair = Folder::pair(90);
    folder.write("tls.crt", &pair.0, 0o644);
    folder.write("tls.key", &pair.1, 0o600);
    folder.write("kafka.crt", &pair.0, 0o644);
    folder.write("kafka.key", &pair.1, 0o600);
    folder.write("kafka-ca.crt", &Folder::pair(90).0, 0o644);
    folder.write("clusters-ca.crt", &Folder::pair(90).0, 0o644);
    folder.write("siem-ca.crt", &Folder::pair(90).0, 0o644);
    folder.write(
        "prod.sha256",
        &format!("{}  -\n\n# the next\n{}\n", "ab".repeat(32), "CD".repeat(32)),
        0o644,
    );
    folder.write("lab.sha256", &"ef".repeat(32), 0o644);
    // The environment of tests is not theirs to change.
    let config = folder.load(&EXAMPLE.replace("CHAT_PASSWORD", "PATH")).expect("a configuration");
    let default = Config::default();
    let Source::Webhook(webhook) = &config.sources["clusters"] else { panic!("a webhook") };
    assert_eq!(webhook.limits, Limits::default());
    assert_eq!(webhook.tokens[0].hashes().expect("hashes"), [[0xab; 32], [0xcd; 32]]);
    assert!(
        webhook.tokens.iter().all(|token| token.sha256.is_none()),
        "whoever knows the example could log in"
    );
    assert_eq!(webhook.tls.as_ref().expect("tls").key_file.0, folder.path("tls.key"));
    let Sink::Http(siem) = &config.sinks["siem"] else { panic!("an http sink") };
    assert_eq!(siem.token().expect("a token").read().expect("readable").expose(), "s3cret");
    let Sink::Http(chat) = &config.sinks["chat"] else { panic!("an http sink") };
    assert_eq!(chat.url.as_str(), "https://chat.example.com/hooks/s3cret");
    assert_eq!(siem.batch, Some(Batch::default()));
    assert_eq!(config.admin, default.admin);
    assert_eq!(config.retention, default.retention);
    assert_eq!(config.silence, default.silence);
    assert_eq!(config.checkpoint_every, default.checkpoint_every);
    assert_eq!(config.log, default.log);
    assert_eq!(config.routes.0.len(), 4);
    assert_eq!(config.rules.paths[0].0, folder.path("rules"));
    for file in [
        "masthead.yml",
        "siem.key",
        "chat.url",
        "tls.key",
        "kafka.key",
        "kafka.password",
        "prod.sha256",
        "rules",
        "lists",
    ] {
        assert!(config.files().contains(&folder.path(file)), "{file} is watched");
    }
    assert!(!format!("{config:?}").contains("s3cret"));
    let doubts = config.doubts.expect("from a file");
    let others =
        doubts.list.iter().map(Mistake::message).filter(|message| !message.contains("kubernetes/audit"));
    assert_eq!(others.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn the_example_shows_every_key() {
    let schema = schema();
    let mut shapes = vec![&schema];
    while let Some(shape) = shapes.pop() {
        for (key, value) in shape.as_object().into_iter().flatten() {
            if key == "properties" {
                for name in value.as_object().expect("keys").keys() {
                    assert!(EXAMPLE.contains(name.as_str()), "deploy/masthead.yml does not show `{name}`");
                }
            }
            shapes.push(value);
        }
        shapes.extend(shape.as_array().into_iter().flatten());
    }
}

#[test]
fn a_secret_is_blotted_out_however_it_is_written() {
    let forms = [
        "token: s3cret # of the siem",
        "token: 's3cret'",
        "token: {\n    'Grüße': s3cret, a: [s3cret, s3cret] }",
        "token: |\n      s3cret\n      s3cret",
        "token: >-\n\n      s3cret\n\n      s3cret s3cret",
        "token: \"s3cret\n      s3cret\\\n      s3cret\"",
        "token: s3cret\n      s3cret\n      s3cret",
        "token: !!str s3cret",
        "headers: { Authorization: s3cret }",
        "url: https://a:s3cret@b",
        "headers: { X-Routing: s3cret, X-Of: [s3cret] }",
        "headers: s3cret",
        "token: &anchor s3cret\n    user: *anchor",
    ];
    for form in forms {
        let yaml = format!("sinks:\n  siem:\n    type: http\n    {form}\n    tiemout: 9s\n");
        let mistakes = load(&yaml).expect_err("a secret");
        let text = format!("{mistakes:?}");
        assert!(!text.contains("s3cret") && text.contains("tiemout: 9s"), "{form}\n{}", mistakes.text);
        assert_eq!(mistakes.text.lines().count(), yaml.lines().count());
    }
}

#[test]
fn what_does_not_fit_together_is_told() {
    let cases = [
        ("sinks: { a: { type: stdout } }\nroutes: [{ to: [b] }]", "2:17 there is no sink `b`"),
        ("routes: [{ match: { level: high } }]", "1:12 this route does nothing"),
        (
            "routes:\n- { to: [stdout], stop: true }\n- { match: { level: high }, to: [stdout] }",
            "3:5 this route never gets an alert: the one in line 2 takes them all and stops",
        ),
        (
            "sources: { a: { type: webhook, tokens: [{ cluster: prod, sha256: HASH }] } }\n\
             routes: [{ match: { cluster: prdo }, to: [stdout] }]",
            "2:30 there is no cluster `prdo`",
        ),
        (
            "sources: { a: { type: webhook, listen: '0.0.0.0:9881', insecure: true } }",
            "1:40 source `a` and `admin` listen on the same address",
        ),
        (
            "sources: { a: { type: webhook, listen: '0.0.0.0:9880' } }",
            "1:40 anybody who can reach this address could send events",
        ),
        (
            "sources: { a: { type: webhook, tokens: [{ cluster: prod }] } }",
            "1:43 nothing says the hash of this token",
        ),
        (
            "sources: { a: { type: webhook, tokens: [{ cluster: a, sha256: HASH }, { cluster: b, sha256: HASH }] } }",
            "1:153 this is the token of cluster `a` too",
        ),
        ("sources: { a: { type: file, paths: [/a, /a] } }", "1:41 source `a` reads this file already"),
        (
            "sinks: { a: { type: file, path: /no/such/folder/a } }",
            "1:33 there is no folder `/no/such/folder`",
        ),
        (
            "sinks: { a: { type: http, url: 'http://a', user: u } }",
            "1:44 a user without a password, or the other way round",
        ),
        (
            "sinks: { a: { type: http, url: 'http://a', headers: { X-Api-Key: s3cret } } }",
            "1:55 `X-Api-Key` holds a secret, which does not belong into this file",
        ),
        (
            "sinks: { a: { type: http, url: 'http://a', token_env: NO_SUCH_VARIABLE } }",
            "1:55 the environment variable `NO_SUCH_VARIABLE` is not set",
        ),
        (
            "sinks: { a: { type: http, url: 'http://a', template: '{{ a b }}' } }",
            "1:54 `a b` names no part of an alert",
        ),
        (
            "sinks: { a: { type: http, url: 'http://a', template: '{{ a }} b' } }",
            "1:54 the template does not give JSON",
        ),
        ("sinks: { a: { type: http, url: 'http://a', template_file: no_such_file } }", "1:59 cannot read `"),
        // The configuration itself, which gives no JSON.
        (
            "sinks: { a: { type: http, url: 'http://a', template_file: masthead.yml } }",
            "1:59 the template does not give JSON",
        ),
        (
            "sinks: { a: { type: http, url: 'http://a', batch: { count: 0 } } }",
            "1:60 a batch cannot have 0 alerts",
        ),
        (
            "sinks: { a: { type: http, url: 'http://a', headers: { Host: b } } }",
            "1:55 the header `Host` is set for each request",
        ),
        ("sources: { a: { type: file, paths: ['/a/[b'] } }", "1:37 "),
        ("sources: { a: { type: file, paths: [] } }", "1:36 no file is named"),
        (
            "sinks: { a: { type: http, url: 'ftp://a' } }",
            "1:32 expected a URL such as `https://siem.example/ingest`",
        ),
        (
            "sinks: { a: { type: http, url: { env: NO_SUCH_VARIABLE } } }",
            "1:34 the environment variable `NO_SUCH_VARIABLE` is not set",
        ),
        ("sinks: { a: { type: http, url: { fil: a } } }", "1:34 unknown value `fil`"),
        ("sinks: { a: { type: http } }", "1:15 key `url` is missing"),
        ("retention: { size: 10 }", "1:20 expected a size with its unit, such as `64KiB`, `4MiB` or `10GiB`"),
        ("state_dir: ~/masthead", "1:12 `~` means nothing here"),
        ("rules: { default: yes }", "1:19 expected `true` or `false`, found a text"),
        ("rules: { default: false }", "1:19 there are no rules to look for"),
        ("sources: { 'a b': { type: webhook } }", "1:12 a name begins with a letter or digit"),
        ("log: { level: info }\nlog: { level: warn }", "2:1 key `log` is given twice"),
        ("log: { level: info", "1:6 unclosed bracket"),
        ("routes: [{ match: { actor: [] }, to: [stdout] }]", "1:28 an empty list matches nothing"),
    ];
    check_told(&cases);
}

#[test]
fn what_works_against_its_purpose_is_told() {
    check_told(&[
        ("retention: { size: 0B }", "1:20 hardly an alert could be kept"),
        ("retention: { age: 59m }", "1:19 alerts would be forgotten before"),
        ("checkpoint_every: 1s", "1:19 there would be more checkpoints than alerts"),
        ("silence: { cluster_after: 1s }", "1:27 every pause would be an alert"),
        (
            "sources: { a: { type: webhook, limits: { requests: 1 } } }",
            "1:52 one client could shut out all others",
        ),
        (
            "sources: { a: { type: webhook, limits: { connections: 0 } } }",
            "1:55 one client could shut out all others",
        ),
        ("sources: { a: { type: webhook, limits: { memory: 64KiB } } }", "1:50 hardly a body could be held"),
        (
            "sources: { a: { type: webhook, limits: { body: 0B } } }",
            "1:48 hardly a batch would be taken whole",
        ),
        (
            "sources: { a: { type: webhook, limits: { decoded: 0B } } }",
            "1:51 hardly a batch would be taken whole",
        ),
        (
            "state_dir: .\nsinks: { a: { type: file, path: a, rotate: { size: 1B } } }",
            "2:52 each alert would have a file of its own",
        ),
        (
            "state_dir: .\nsinks: { a: { type: file, path: a, rotate: { age: 0s } } }",
            "2:51 there would be more files than alerts",
        ),
        (
            "sources: { a: { type: webhook, limits: { connection_age: 1s } } }",
            "1:58 connections would do little but begin",
        ),
        (
            "sinks: { a: { type: http, url: 'http://a', timeout: 1ms } }",
            "1:53 hardly a request would be answered in time",
        ),
    ]);
}

#[cfg(feature = "kafka")]
#[test]
fn what_does_not_fit_together_for_kafka_is_told() {
    check_told(&[
        ("sources: { a: { type: kafka, brokers: [a], topics: [] } }", "1:52 no topic is named"),
        (
            "sources: { a: { type: kafka, brokers: [a], topics: ['a b'] } }",
            "1:52 `a b` is no name of a topic",
        ),
        (
            "sources: { a: { type: kafka, brokers: [a], topics: [t], cluster_from: { topic: t } } }",
            "1:80 nothing is captured",
        ),
        (
            "sources: { a: { type: kafka, brokers: [a], topics: [t], cluster_from: { key: true, header: h } } }",
            "1:73 this does not say what the cluster is",
        ),
        (
            "sources: { a: { type: kafka, brokers: [a], topics: [t], dead_letter_topic: t } }",
            "1:76 this topic is read, so letters would come back",
        ),
        (
            "sources: { a: { type: kafka, brokers: [a], topics: ['^t-.+'], dead_letter_topic: t-x } }",
            "1:82 this topic is read, so letters would come back",
        ),
        (
            "sources: { a: { type: kafka, brokers: [a], topics: [t], session_timeout: 1ms } }",
            "1:74 sessions cannot last so long",
        ),
        (
            "sources: { a: { type: kafka, brokers: [a], topics: [t], limits: { memory: 1B } } }",
            "1:75 reading would stop behind every batch",
        ),
        (
            "sources: { a: { type: kafka, brokers: [a], topics: [t], limits: { workers: 0 } } }",
            "1:76 there cannot be so many workers",
        ),
        (
            "sources: { a: { type: kafka, brokers: [a], topics: [t], group: '' } }",
            "1:64 no group can have this name",
        ),
        ("sinks: { a: { type: kafka, brokers: [], topic: t } }", "1:37 there are no brokers to ask"),
        (
            "sinks: { a: { type: kafka, brokers: [a/b], topic: t } }",
            "1:38 expected a host and a port, such as `kafka-0:9092`",
        ),
        ("sinks: { a: { type: kafka, brokers: [a], topic: 'a b' } }", "1:49 a topic has at most 249"),
        (
            "sinks: { a: { type: kafka, brokers: [a], topic: t, sasl: { mechanism: PLAIN, user: u, password_env: PATH } } }",
            "1:71 the password could be read on its way",
        ),
        (
            "sinks: { a: { type: kafka, brokers: [a], topic: t, tls: {}, sasl: { mechanism: SCRAM-SHA-256 } } }",
            "1:80 `SCRAM-SHA-256` takes a user and a password",
        ),
        (
            "sinks: { a: { type: kafka, brokers: [a], topic: t, tls: {}, sasl: { mechanism: OAUTHBEARER, user: u } } }",
            "1:80 `OAUTHBEARER` takes a token, not a user",
        ),
        (
            "sinks: { a: { type: kafka, brokers: [a], topic: t, tls: { key_file: k } } }",
            "1:59 a certificate without its key, or the other way round",
        ),
        (
            "sinks: { a: { type: kafka, brokers: [a], topic: t, message_max: 1KiB } }",
            "1:65 messages cannot have this size",
        ),
        (
            "sinks: { a: { type: kafka, brokers: [a], topic: t, sasl: { mechanism: PLAIN, user: u, password: s3cret } } }",
            "1:87 `password` holds a secret, which does not belong into this file",
        ),
    ]);
}

/// Checks that each configuration has the one mistake that is expected.
#[track_caller]
fn check_told(cases: &[(&str, &str)]) {
    let mut differing = Vec::new();
    for (yaml, expected) in cases {
        let mistakes = Folder::new().load(&yaml.replace("HASH", &"ab".repeat(32))).expect_err(yaml);
        let errors = mistakes.list.iter().filter(|mistake| mistake.severity() == Severity::Error);
        let told: Vec<String> = errors.map(line).collect();
        if told.len() != 1 || !told[0].starts_with(expected) {
            differing
                .push(format!("{yaml}\n  expected {expected}\n  found    {}", told.join("\n           ")));
        }
        assert!(!mistakes.text.contains("s3cret"), "{}", mistakes.text);
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn nothing_that_is_written_makes_it_panic() {
    const PIECES: [&str; 12] = ["{", "}", "[", "]", ": ", "- ", "\n", "&a ", "*a", "'", "\t", "é"];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("31 bits") % below
    };
    let folder = Folder::new();
    let lines: Vec<&str> = EXAMPLE.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    for _ in 0..200 {
        let mut text: Vec<char> = lines[..=next(lines.len())].join("\n").chars().collect();
        for _ in 0..=next(4) {
            let at = next(text.len() + 1);
            let end = (at + next(6)).min(text.len());
            text.splice(at..end, PIECES[next(PIECES.len())].chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(mistakes) = folder.load(&text) {
            assert!(!mistakes.list.is_empty() && !mistakes.to_string().is_empty(), "{text}");
        }
    }
}

#[test]
fn certificates_are_tried_before_they_are_used() {
    let (pair, other) = (Folder::pair(90), Folder::pair(90));
    let cases = [
        ((&pair.0, &pair.1, 0o600), ""),
        (
            (&pair.0, &other.1, 0o600),
            "the key cannot be used with the certificate: keys may not be consistent",
        ),
        ((&pair.0, &pair.1, 0o640), "can be read by others (mode 0640)"),
        ((&pair.0, &pair.1, 0o604), "can be read by others (mode 0604)"),
        ((&pair.1, &pair.1, 0o600), "has no certificate as PEM"),
        ((&pair.0, &pair.0, 0o600), "has no private key as PEM"),
    ];
    for ((certificate, key, mode), expected) in cases {
        let told = Folder::new().tls(certificate, key, mode);
        // A group may read what root owns, as in a mounted Secret.
        let is_as_mounted = mode == 0o640 && fs::metadata("/proc/self").is_ok_and(|own| is_root(&own));
        let expected = if is_as_mounted { "" } else { expected };
        assert!(told.contains(expected) && expected.is_empty() == told.is_empty(), "{expected}: {told}");
    }
    let expired = Folder::pair(-2);
    assert!(Folder::new().tls(&expired.0, &expired.1, 0o600).contains("has a certificate that expired on"));
    let ending = Folder::pair(7);
    assert!(Folder::new().tls(&ending.0, &ending.1, 0o600).contains("has a certificate that expires on"));
}

fn is_root(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::uid(metadata) == 0
}

fn line(mistake: &Mistake) -> String {
    format!("{}:{} {}", mistake.place.line, mistake.place.column, mistake.message())
}

/// Loads a text as a file in a folder of its own.
fn load(yaml: &str) -> Result<Config, Mistakes> {
    Folder::new().load(yaml)
}

/// A folder for a configuration and what it names.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        fs::write(self.path(name), text).expect("writable");
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).expect("permissions");
    }

    fn load(&self, yaml: &str) -> Result<Config, Mistakes> {
        self.write("masthead.yml", yaml, 0o644);
        Config::load(&self.path("masthead.yml"))
    }

    /// A certificate and its key that expire in so many days.
    fn pair(days: i64) -> (String, String) {
        let end =
            if days < 0 { Utc::now() - Days::new(2) } else { Utc::now() + Days::new(days.unsigned_abs()) };
        let part = |number: u32| u8::try_from(number).expect("a part of a date");
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(end.year(), part(end.month()), part(end.day()));
        let key = KeyPair::generate().expect("a key");
        (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
    }

    /// What is said of a certificate and its key.
    fn tls(&self, certificate: &str, key: &str, mode: u32) -> String {
        self.write("tls.crt", certificate, 0o644);
        self.write("tls.key", key, mode);
        let yaml = "sources: { a: { type: webhook, tls: { certificate_file: tls.crt, key_file: tls.key } } }";
        let doubts = |config: Config| config.doubts.map(|doubts| doubts.to_string()).unwrap_or_default();
        self.load(yaml).map_or_else(|mistakes| mistakes.to_string(), doubts)
    }
}
