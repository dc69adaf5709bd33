use super::*;

#[test]
fn brokers_are_hosts_with_ports() {
    for (text, is_local) in [
        ("kafka-0", false),
        ("kafka-0.kafka:9092", false),
        ("10.0.0.7:9092", false),
        ("127.0.0.1:9092", true),
        ("localhost:9092", true),
        ("[::1]:9092", true),
        ("[fd00::1]", false),
    ] {
        let broker: BrokerAddress = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(broker.is_local(), is_local, "{text}");
    }
    for text in
        ["", ":9092", "kafka:", "kafka:0", "kafka:99999", "PLAINTEXT://kafka:9092", "a,b", "a b", "[::1]9"]
    {
        assert!(text.parse::<BrokerAddress>().is_err(), "{text}");
    }
}

#[test]
fn a_topic_is_named_as_brokers_allow() {
    assert!("k8s-audit_1.all".parse::<Topic>().is_ok());
    for text in ["", ".", "..", "a/b", "ä", &"a".repeat(250)] {
        assert!(text.parse::<Topic>().is_err(), "{text}");
    }
}

/// A secret file with a text.
fn secret_file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn connection(sasl: Option<Sasl>) -> Connection {
    Connection {
        brokers: vec!["kafka-0:9093".parse().unwrap(), "kafka-1:9093".parse().unwrap()],
        tls: Some(KafkaTls::default()),
        sasl,
        insecure: false,
    }
}

#[test]
fn a_password_is_read_anew_and_never_shown() {
    let file = secret_file("first\n");
    let connection = connection(Some(Sasl {
        mechanism: Mechanism::ScramSha512,
        user: Some("masthead".to_owned()),
        password_file: Some(file.path().to_path_buf().into()),
        password_env: None,
        token_file: None,
    }));
    let value = |name: &str| {
        let properties = connection.properties().unwrap();
        properties.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    };
    assert_eq!(value("bootstrap.servers").as_deref(), Some("kafka-0:9093,kafka-1:9093"));
    assert_eq!(value("security.protocol").as_deref(), Some("sasl_ssl"));
    assert_eq!(value("ssl.ca.location").as_deref(), Some("probe"));
    assert_eq!(value("sasl.mechanisms").as_deref(), Some("SCRAM-SHA-512"));
    assert_eq!(value("sasl.password").as_deref(), Some("first"));
    std::fs::write(file.path(), "second").unwrap();
    assert_eq!(value("sasl.password").as_deref(), Some("second"));
    assert!(!format!("{connection:?}").contains("second"));
    std::fs::write(file.path(), "a\0b").unwrap();
    assert!(matches!(connection.properties(), Err(ConnectionError::Nul { what: "password" })));
}

#[test]
fn a_token_says_until_when_it_is_good() {
    let payload = |text: &str| format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(text));
    let file = secret_file(&payload(r#"{"sub":"sensor","exp":2000}"#));
    let token = bearer_token(file.path(), 1000).unwrap();
    assert_eq!((token.principal.as_str(), token.ends_ms), ("sensor", 2_000_000));
    let ended = bearer_token(file.path(), 2500).unwrap_err();
    assert!(matches!(ended, ConnectionError::Ended { seconds: 500, .. }), "{ended}");
    assert!(!format!("{token:?}").contains("e30"));
    for opaque in ["opaque", "a.b.c", &payload("[]"), &payload(r#"{"exp":"soon"}"#)] {
        std::fs::write(file.path(), opaque).unwrap();
        assert_eq!(bearer_token(file.path(), 1000).unwrap().ends_ms, 1_300_000, "{opaque}");
    }
    std::fs::write(file.path(), payload(r#"{"exp":1e300}"#)).unwrap();
    assert_eq!(bearer_token(file.path(), 1000).unwrap().ends_ms, (1000 + TOKEN_SECONDS_MAX) * 1000);
}

#[test]
fn the_example_of_a_broker_beside_it_is_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kafka/masthead.yml");
    let config = super::super::Config::load(&path).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let doubts = config.doubts.expect("from a file");
    assert_eq!(doubts.to_string(), "");
}
