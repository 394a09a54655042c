//! What of a configuration the state depends on. In: the document. Out: a hash that is another one when any of that is written
//! otherwise. Cannot fail.
//!
//! What the graph keeps and what the gates remember follow from the log and from the keys below; how mails look, when they expire and
//! who sends them does not matter to it. A value that is written in another way with the same meaning counts as another: the log is
//! read once more, and nothing is wrong.

use toml::de::{DeTable, DeValue};
use xxhash_rust::xxh3::Xxh3Default;

/// The keys of the document that matter; of `kafka` those of [`OF_KAFKA`].
const KEYS: [&str; 8] =
    ["tick", "allowed_lateness", "forget_after", "erasure", "limits", "similar", "campaign", "kafka"];

/// What says which log it is.
const OF_KAFKA: [&str; 2] = ["brokers", "topics"];

/// What of a campaign does not matter to it.
const NOT_OF_CAMPAIGN: [&str; 3] = ["title", "template", "send_within"];

/// The hash.
pub(super) fn of(document: &DeTable<'_>) -> u64 {
    let mut hash = Xxh3Default::new();
    for key in KEYS {
        let Some(value) = document.get(key) else { continue };
        match (key, value.get_ref()) {
            ("kafka", DeValue::Table(kafka)) => {
                table(&mut hash, kafka, &|key| OF_KAFKA.contains(&key));
            }
            ("campaign", DeValue::Array(campaigns)) => {
                for campaign in campaigns.iter() {
                    match campaign.get_ref() {
                        DeValue::Table(campaign) => {
                            table(&mut hash, campaign, &|key| !NOT_OF_CAMPAIGN.contains(&key));
                        }
                        other => value_of(&mut hash, other),
                    }
                }
            }
            (key, other) => {
                text(&mut hash, key);
                value_of(&mut hash, other);
            }
        }
    }
    hash.digest()
}

/// A table's entries, by key, of those keys that `count`.
fn table(hash: &mut Xxh3Default, table: &DeTable<'_>, count: &dyn Fn(&str) -> bool) {
    let mut entries: Vec<(&str, &DeValue<'_>)> =
        table.iter().map(|(key, value)| (key.get_ref().as_ref(), value.get_ref())).collect();
    entries.retain(|(key, _)| count(key));
    entries.sort_unstable_by_key(|(key, _)| *key);
    hash.update(b"{");
    for (key, value) in entries {
        text(hash, key);
        value_of(hash, value);
    }
    hash.update(b"}");
}

fn value_of(hash: &mut Xxh3Default, value: &DeValue<'_>) {
    match value {
        DeValue::String(string) => text(hash, string),
        DeValue::Integer(integer) => text(hash, integer.as_str()),
        DeValue::Float(float) => text(hash, float.as_str()),
        DeValue::Boolean(boolean) => text(hash, if *boolean { "true" } else { "false" }),
        DeValue::Datetime(time) => text(hash, &time.to_string()),
        DeValue::Array(values) => {
            hash.update(b"[");
            values.iter().for_each(|value| value_of(hash, value.get_ref()));
            hash.update(b"]");
        }
        DeValue::Table(entries) => table(hash, entries, &|_| true),
    }
}

/// A text with its length, so that no two run together.
fn text(hash: &mut Xxh3Default, text: &str) {
    hash.update(&(text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Config, Purpose};

    fn fingerprint(text: &str) -> u64 {
        Config::parse(Path::new("beckon.toml"), text, Purpose::Replay).unwrap().state_fingerprint
    }

    const CAMPAIGN: &str = "[[campaign]]\nname = \"a\"\ntrigger = \"welcome\"\nafter = \"1h\"\n";

    #[test]
    fn what_the_state_depends_on_makes_another_and_nothing_else_does() {
        let plain = fingerprint(CAMPAIGN);
        let same = ["# a comment\n", "idle_after = \"3s\"\n", "snapshot_every = \"off\"\n", "state = \"elsewhere\"\n"];
        for before in same {
            assert_eq!(fingerprint(&format!("{before}{CAMPAIGN}")), plain, "{before}");
        }
        assert_eq!(fingerprint(&format!("{CAMPAIGN}send_within = \"2h\"\n")), plain);
        let others = [
            "tick = \"2s\"\n",
            "allowed_lateness = \"9s\"\n",
            "limits.frequency_cap = [{ sends = 1, per = \"1d\" }]\n",
        ];
        for before in others {
            assert_ne!(fingerprint(&format!("{before}{CAMPAIGN}")), plain, "{before}");
        }
        assert_ne!(fingerprint(&format!("{CAMPAIGN}holdout = 0.5\n")), plain);
        assert_ne!(fingerprint(&CAMPAIGN.replace("1h", "2h")), plain);
    }
}
