//! Decisions handed to another channel by a topic. The broker is librdkafka's own mock.

use std::time::Duration;

use beckon::decision::DeliveryState;
use beckon::sink::kafka::Kafka;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;

use crate::world::{World, send};

#[tokio::test]
async fn a_send_is_a_record_of_its_customer() {
    let broker = MockCluster::new(1).unwrap();
    broker.create_topic("push", 1, 1).unwrap();
    let world = World::new();
    let kafka = Kafka::new(&broker.bootstrap_servers(), "push", 5_000, true).unwrap();
    let cart = send("cart-9");
    world.deliver(kafka, vec![cart.clone()]).await.unwrap();
    assert_eq!(world.outcome(&cart), (DeliveryState::Accepted, 1));
    let note = world.ledger.delivery(cart.decision.decision_id).unwrap().unwrap().note;
    assert_eq!(note.as_deref(), Some("push partition 0 offset 0"));

    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap_servers())
        .set("group.id", "test")
        .create()
        .unwrap();
    let mut from_the_start = TopicPartitionList::new();
    from_the_start.add_partition_offset("push", 0, Offset::Beginning).unwrap();
    consumer.assign(&from_the_start).unwrap();
    let record = consumer.poll(Duration::from_secs(10)).unwrap().unwrap();
    assert_eq!(record.key(), Some(&b"u1"[..]));
    let header = record.headers().unwrap().get(0);
    let id = cart.decision.decision_id.to_string();
    assert_eq!((header.key, header.value), ("decision_id", Some(id.as_bytes())));
    let body: Value = serde_json::from_slice(record.payload().unwrap()).unwrap();
    assert_eq!(body["decision"], serde_json::to_value(&*cart.decision).unwrap());
    assert_eq!((&body["message"]["subject"], &body["message"]["to"]), (&"cart-9".into(), &"ada@example.org".into()));
}
