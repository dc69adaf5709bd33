use std::io;

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::*;
use crate::outbox::Route;

fn options(link: Link) -> Options {
    Options {
        link,
        topic: "alerts".to_owned(),
        key: Key::Id,
        compression: Compression::default(),
        message_bytes_max: 4096,
    }
}

fn link(properties: &[(&str, &str)]) -> Link {
    let properties: Vec<_> =
        properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Link::new(move || Ok(properties.clone()))
}

fn alert(number: u64, bytes: usize) -> Arc<Outgoing> {
    let route = Route { cluster: "lab".to_owned(), ..Route::default() };
    Arc::new(Outgoing { number, id: u128::from(number), route, json: "x".repeat(bytes) })
}

#[test]
fn what_a_broker_says_decides_what_becomes_of_an_alert() {
    let options = options(link(&[]));
    let trouble = |code| Failure::new(code, "said so").trouble(&options, &alert(1, 5000));
    for code in [Code::MessageSizeTooLarge, Code::PolicyViolation, Code::InvalidRecord] {
        assert!(matches!(trouble(code), Trouble::Refused { .. }), "{code}");
    }
    for code in [Code::TopicAuthorizationFailed, Code::ClusterAuthorizationFailed, Code::Authentication] {
        assert!(matches!(trouble(code), Trouble::Denied { .. }), "{code}");
    }
    for code in [Code::UnknownTopicOrPartition, Code::NotEnoughReplicas, Code::Fatal, Code::QueueFull] {
        assert!(matches!(trouble(code), Trouble::Temporary { .. }), "{code}");
    }
    assert!(trouble(Code::MessageSizeTooLarge).reason().contains("5000 bytes"));
    assert!(trouble(Code::UnknownTopic).reason().contains("`alerts`"));
}

#[test]
fn only_a_new_producer_recovers_from_what_the_old_one_cannot() {
    for (code, is_needed) in
        [(Code::Fatal, true), (Code::Authentication, true), (Code::BrokerTransportFailure, false)]
    {
        assert_eq!(Failure::new(code, "").needs_new_producer(), is_needed, "{code}");
    }
}

#[tokio::test]
async fn what_is_configured_wrongly_is_said_without_its_value() {
    let mut kafka =
        Kafka::new(options(link(&[("sasl.password", "s3cret"), ("security.protocol", "s3cret")])));
    let trouble = kafka.open(None).await.unwrap_err();
    assert!(trouble.reason().contains("`security.protocol`"), "{trouble:?}");
    assert!(!format!("{trouble:?} {:?}", kafka.options).contains("s3cret"), "{trouble:?}");
    let unreadable = Link::new(|| Err(io::Error::other("`password` cannot be read")));
    let trouble = Kafka::new(options(unreadable)).open(None).await.unwrap_err();
    assert!(matches!(trouble, Trouble::Temporary { ref reason, .. } if reason.contains("`password`")));
}

/// Nobody listens at the discard port of this machine.
fn nowhere() -> Link {
    link(&[("bootstrap.servers", "127.0.0.1:9")])
}

#[tokio::test]
async fn without_a_broker_it_is_said_why_and_nothing_is_sent_twice() {
    let mut kafka = Kafka::new(options(nowhere()));
    kafka.open(None).await.unwrap();
    for _ in 0..2 {
        let delivery = kafka.deliver(&[alert(1, 10), alert(2, 10)]).await;
        assert_eq!(delivery.delivered_count, 0);
        let Some(Trouble::Temporary { reason, .. }) = delivery.trouble else { panic!("{delivery:?}") };
        assert!(reason.contains("refused"), "{reason}");
        assert_eq!(kafka.flights.count(), 2);
    }
}

#[tokio::test]
async fn what_is_larger_than_allowed_is_refused_at_once() {
    let mut kafka = Kafka::new(options(nowhere()));
    let delivery = kafka.deliver(&[alert(1, 5000)]).await;
    assert!(matches!(delivery.trouble, Some(Trouble::Refused { .. })), "{delivery:?}");
    assert_eq!(kafka.alone_count, ALONE_COUNT);
}

#[test]
fn a_failed_flight_is_forgotten_and_a_landed_one_is_not() {
    let mut flights = Flights::default();
    for number in 1..=3 {
        flights.begin(number);
    }
    flights.report(context::Report { number: 1, outcome: Ok(()) });
    let error = KafkaError::MessageProduction(Code::UnknownTopic);
    flights.report(context::Report { number: 2, outcome: Err(Failure::of(&error)) });
    flights.forget_failed();
    assert!(matches!(flights.state(1), Some(State::Landed)));
    assert!(flights.state(2).is_none());
    assert!(matches!(flights.state(3), Some(State::UnderWay)));
    flights.end(1);
    assert_eq!(flights.count(), 1);
}
