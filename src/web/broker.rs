//! Whether the broker can be reached, and has the topics that are written to and read. In: their names. Out: nothing, or what is wrong.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;

use super::vitals::Check;

/// How long the broker has to answer about one topic.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);

/// A check that the broker answers and has `topics`. Asking makes none of them. Fails when there can be no client.
pub fn check(brokers: &str, topics: Vec<String>) -> Result<Check, KafkaError> {
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("allow.auto.create.topics", "false").create()?;
    let known = Arc::new((client, topics));
    let ask = move || {
        let known = known.clone();
        let asked = tokio::task::spawn_blocking(move || known.1.iter().try_for_each(|topic| has(&known.0, topic)));
        Box::pin(async move { asked.await.map_err(|fault| fault.to_string())? }) as _
    };
    Ok(Check { name: "broker", ask: Box::new(ask) })
}

fn has(client: &BaseConsumer, topic: &str) -> Result<(), String> {
    let answer = client.fetch_metadata(Some(topic), ANSWER_WITHIN).map_err(|fault| fault.to_string())?;
    let found = answer.topics().iter().find(|found| found.name() == topic);
    match found {
        Some(found) if found.error().is_none() && !found.partitions().is_empty() => Ok(()),
        _ => Err(format!("the broker has no topic {topic}")),
    }
}
