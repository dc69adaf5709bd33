//! The broker of the tests is what they take it for: it keeps what it was given.
#![cfg(feature = "kafka")]

mod broker;

use broker::{Broker, Message};

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let mut broker = Broker::start().await;
    broker.make_topic("events", 3, &[("cleanup.policy", "delete")]).await;
    let message = |number: u8| Message {
        partition: Some(i32::from(number) % 3),
        key: Some(vec![number]),
        payload: vec![number; 100],
        headers: vec![("number".to_owned(), number.to_string().into_bytes())],
    };
    broker.write("events", (0..30).map(message).collect()).await;
    broker.kill();
    broker.restart().await;
    let got = broker.read("events").await;
    assert_eq!(got.len(), 30);
    assert!(got.iter().all(|one| one.header("number").unwrap() == one.key.as_ref().unwrap()[0].to_string()));
    assert_eq!(broker.lag("nobody", "events").await, 30);
}
