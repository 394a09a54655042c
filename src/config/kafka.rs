//! Kafka (SPEC §1, §10). In: the `[kafka]` section. Out: [`Kafka`]. Fails into the report.

use std::ops::Range;

use beckon_dataflows::model::Stream;

use super::section::{Section, Value, hint_for};

/// Where the streams are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kafka {
    /// The brokers to begin with, `host:port` with commas between them (SPEC §10).
    pub brokers: String,
    /// Topics in the order of [`Stream::ALL`]; no two alike.
    topics: [String; Stream::ALL.len()],
    /// What the names of the topics begin with to which the ledger is mirrored, `PREFIX.decisions` and `PREFIX.deliveries`;
    /// `beckon` unless set, none with `mirror = false`.
    pub mirror_prefix: Option<String>,
}

impl Kafka {
    /// The topic of a stream: the stream's own name unless set (SPEC §10).
    pub fn topic(&self, stream: Stream) -> &str {
        &self.topics[stream as usize]
    }

    /// Every stream with its topic.
    pub fn topics(&self) -> Vec<(Stream, String)> {
        Stream::ALL.into_iter().map(|stream| (stream, self.topic(stream).to_owned())).collect()
    }
}

/// Reads the section.
pub(super) fn read(section: Section<'_>) -> Kafka {
    let brokers = section.required("brokers", "such as: brokers = \"localhost:9092\"").and_then(read_brokers);
    let mut topics = Stream::ALL.map(|stream| stream.name().to_owned());
    if let Some(table) = section.get("topics").and_then(|value| value.section("kafka.topics")) {
        let entries = table.entries();
        for (name, span, value) in &entries {
            read_topic(&mut topics, name, span, value);
        }
        for (name, _, value) in &entries {
            refuse_shared(&topics, name, value);
        }
    }
    let is_mirrored = section.get("mirror").and_then(Value::boolean).unwrap_or(true);
    let prefix = section.get("mirror_prefix").and_then(read_topic_name);
    section.finish();
    let mirror_prefix = is_mirrored.then(|| prefix.unwrap_or_else(|| "beckon".to_owned()));
    Kafka { brokers: brokers.unwrap_or_default(), topics, mirror_prefix }
}

pub(super) fn read_brokers(value: Value<'_>) -> Option<String> {
    let text = value.clone().text()?;
    let brokers: Vec<&str> = text.split(',').map(str::trim).collect();
    if let Some(wrong) = brokers.iter().find(|broker| !is_host_and_port(broker)) {
        value.fault(format!("`{wrong}` is not a broker's address"), "host:port, with commas between several");
        return None;
    }
    Some(brokers.join(","))
}

fn is_host_and_port(broker: &str) -> bool {
    let Some((host, port)) = broker.rsplit_once(':') else { return false };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let host_is_good = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:".contains(c));
    host_is_good && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn read_topic(topics: &mut [String; 7], name: &str, span: &Range<usize>, value: &Value<'_>) {
    let Ok(stream) = name.parse::<Stream>() else {
        let hint = hint_for(name, &Stream::ALL.map(Stream::name));
        value.report().fault(span.clone(), format!("unknown stream `{name}`"), Some(hint));
        return;
    };
    if let Some(topic) = read_topic_name(value.clone()) {
        topics[stream as usize] = topic;
    }
}

pub(super) fn read_topic_name(value: Value<'_>) -> Option<String> {
    let topic = value.clone().text()?;
    let well_formed = topic.len() <= 249 && topic.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if !well_formed || topic == "." || topic == ".." {
        let hint = "letters, digits, `.`, `_` and `-`, at most 249 of them";
        value.fault(format!("`{topic}` cannot be a topic's name"), hint);
        return None;
    }
    Some(topic.to_owned())
}

/// Which stream a record is of is known by its topic alone, so no two streams may share one.
fn refuse_shared(topics: &[String; 7], name: &str, value: &Value<'_>) {
    let Ok(stream) = name.parse::<Stream>() else { return };
    let topic = &topics[stream as usize];
    if let Some(other) = Stream::ALL.into_iter().find(|other| *other != stream && topics[*other as usize] == *topic) {
        let what = format!("topic `{topic}` is that of stream `{other}` too");
        value.fault(what, "every stream needs a topic of its own; the default is the stream's name");
    }
}
