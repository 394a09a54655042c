//! Dead letters, to be looked at and said again (SPEC §1, "Bad input"). In: the files `state/dead_letters*.jsonl`, and a letter's record as
//! somebody has corrected it. Out: the letters, the newest first; and the record on its stream's topic, once the decoder would take it.
//! Fails when a file cannot be read or the broker does not acknowledge.
//!
//! A letter's id is a hash of its line: a letter that is written again after a restart is the same one. That one was said again is
//! itself a line, in `dead_letters-replayed.jsonl`: none is said twice by mistake.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use beckon_dataflows::model::Stream;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::xxh3_128;

use crate::config::Kafka;
use crate::decision::Moment;
use crate::decode::Check;
use crate::json_lines::JsonLines;
use crate::pipeline::live::WallClock;
use crate::web::letters::{Letters, Replayed, Said};
use crate::web::publish::{Publish, Topic};

/// How much of each file is looked at, from its end, bytes.
const TAIL_BYTES: u64 = 4 << 20;

/// How many letters are told of.
const LETTERS_MAX: usize = 200;

/// How much of a record a list shows, characters; the letter by itself shows all.
const SHOWN_CHARS: usize = 400;

/// Where it stands what was said again.
const REPLAYED: &str = "dead_letters-replayed.jsonl";

/// Whoever deals with dead letters.
pub struct Desk {
    state: PathBuf,
    kafka: Kafka,
    clock: WallClock,
    check: Check,
    /// The topics that were said again on.
    topics: Mutex<HashMap<&'static str, Arc<Topic>>>,
    /// One letter is said again at a time.
    saying: tokio::sync::Mutex<JsonLines>,
}

/// A line of the file of those said again.
#[derive(Serialize, Deserialize)]
struct Again {
    id: String,
    at: u64,
}

impl Desk {
    /// That of a service with this folder and these brokers. Fails when the folder cannot be written to.
    pub fn open(state: &Path, kafka: &Kafka, clock: WallClock) -> anyhow::Result<Desk> {
        let saying = tokio::sync::Mutex::new(JsonLines::append_to(&state.join(REPLAYED))?);
        let topics = Mutex::default();
        Ok(Desk { state: state.to_owned(), kafka: kafka.clone(), clock, check: Check::new(), topics, saying })
    }

    /// All letters that are looked at, of each file the newest first.
    fn letters(&self) -> anyhow::Result<Vec<Map<String, Value>>> {
        let again = self.again()?;
        let (mut letters, mut known) = (Vec::new(), hashbrown::HashSet::new());
        for file in self.files()? {
            let text = tail(&file).with_context(|| format!("cannot read {}", file.display()))?;
            for line in text.lines().rev() {
                // A line that was cut off is none.
                let Ok(Value::Object(mut letter)) = serde_json::from_str(line) else { continue };
                let id = format!("{:032x}", xxh3_128(line.as_bytes()));
                if known.insert(id.clone()) {
                    letter.insert("replayed_at".into(), json!(again.get(&id).map(|at| Moment(*at))));
                    letter.insert("can_replay".into(), stream_of(&letter).is_some().into());
                    letter.insert("id".into(), id.into());
                    letters.push(letter);
                }
            }
        }
        Ok(letters)
    }

    fn letter(&self, id: &str) -> anyhow::Result<Option<Map<String, Value>>> {
        Ok(self.letters()?.into_iter().find(|letter| letter.get("id").is_some_and(|own| own == id)))
    }

    /// The files that have letters.
    fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.state).with_context(|| format!("cannot read {}", self.state.display()))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with("dead_letters") && name.ends_with(".jsonl") && name != REPLAYED {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    /// What was said again, and when.
    fn again(&self) -> anyhow::Result<HashMap<String, u64>> {
        let text = std::fs::read_to_string(self.state.join(REPLAYED))?;
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Again>(line).ok());
        Ok(lines.map(|again| (again.id, again.at)).collect())
    }

    /// Says a letter again, as it was recorded or as it is `corrected`.
    async fn say(&self, id: &str, corrected: Option<String>) -> anyhow::Result<Replayed> {
        let mut saying = self.saying.lock().await;
        let Some(letter) = self.letter(id)? else { return Ok(Replayed::NotThere) };
        if letter.get("replayed_at").is_some_and(|at| !at.is_null()) {
            return Ok(Replayed::Already);
        }
        let recorded = letter.get("record").and_then(Value::as_str);
        let Some((stream, recorded)) = stream_of(&letter).zip(recorded) else { return Ok(Replayed::NoRecord) };
        let text = corrected.unwrap_or_else(|| recorded.to_owned());
        if let Err(fault) = self.check.check(stream, text.as_bytes()) {
            return Ok(Replayed::StillBad(fault.to_string()));
        }
        let topic = self.topic(stream)?;
        topic.publish(&key_of(stream, &text), text.as_bytes()).await?;
        saying.write(&Again { id: id.to_owned(), at: (self.clock)() })?;
        tracing::info!(id, %stream, "a dead letter was said again");
        Ok(Replayed::Done)
    }

    /// The producer of a stream's topic.
    fn topic(&self, stream: Stream) -> anyhow::Result<Arc<Topic>> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = topics.get(stream.name()) {
            return Ok(topic.clone());
        }
        let topic = Arc::new(Topic::open(&self.kafka.brokers, self.kafka.topic(stream))?);
        topics.insert(stream.name(), topic.clone());
        Ok(topic)
    }
}

impl Letters for Desk {
    fn list(&self) -> anyhow::Result<String> {
        let mut letters = self.letters()?;
        let count = letters.len();
        letters.truncate(LETTERS_MAX);
        for letter in &mut letters {
            let record = letter.get("record").and_then(Value::as_str);
            let shown = record.map(|record| record.chars().take(SHOWN_CHARS).collect::<String>());
            letter.insert("record".into(), json!(shown));
        }
        Ok(json!({ "count": count, "letters": letters }).to_string())
    }

    fn one(&self, id: &str) -> anyhow::Result<Option<String>> {
        Ok(self.letter(id)?.map(|letter| Value::Object(letter).to_string()))
    }

    fn replay(&self, id: String, corrected: Option<String>) -> Said<'_> {
        Box::pin(async move { self.say(&id, corrected).await })
    }
}

/// The stream that the record of a letter belongs to; none of a delivery that was never answered.
fn stream_of(letter: &Map<String, Value>) -> Option<Stream> {
    letter.get("record")?.as_str()?;
    letter.get("stream")?.as_str()?.parse().ok()
}

/// The key that a record's partition is found by (SPEC §1); empty where it has none.
fn key_of(stream: Stream, record: &str) -> String {
    let fields: &[&str] = match stream {
        Stream::Clickstream => &["userId", "anonymousId"],
        Stream::Carts => &["cart_id"],
        Stream::Inventory | Stream::Catalog => &["sku"],
        Stream::Orders => &["order_id"],
        Stream::Profiles => &["user_id"],
        Stream::Engagement => &["event_id"],
    };
    let record: Value = serde_json::from_str(record).unwrap_or_default();
    let text = |field: &&str| match &record[*field] {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    fields.iter().find_map(text).unwrap_or_default()
}

/// The whole lines at the end of a file.
fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // The first line is whole only at the beginning of the file.
    let whole = if from == 0 { Some(0) } else { text.find('\n').map(|end| end + 1) };
    Ok(whole.map_or_else(String::new, |start| text[start..].to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_goes_where_others_of_its_key_are() {
        for (stream, record, key) in [
            (Stream::Clickstream, r#"{"anonymousId":"a","userId":"u"}"#, "u"),
            (Stream::Clickstream, r#"{"anonymousId":"a","userId":""}"#, "a"),
            (Stream::Carts, r#"{"cart_id":7}"#, "7"),
            (Stream::Inventory, r#"{"sku":"s","location":"x"}"#, "s"),
            (Stream::Orders, "[]", ""),
        ] {
            assert_eq!(key_of(stream, record), key, "{record}");
        }
    }

    #[test]
    fn of_a_long_file_the_last_whole_lines_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "one\ntwo\n").unwrap();
        assert_eq!(tail(&path).unwrap(), "one\ntwo\n");
        let long = "ü".repeat(1000) + "\n";
        let lines = TAIL_BYTES as usize / long.len() + 10;
        std::fs::write(&path, long.repeat(lines)).unwrap();
        let read = tail(&path).unwrap();
        assert!(read.len() as u64 <= TAIL_BYTES && read.lines().all(|line| line.len() == 2000), "{}", read.len());
    }
}
