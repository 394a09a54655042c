//! The record that makes what is maintained of a key equal to the truth. In: the last write, and the row of the export, of which one may not
//! be. Out: the record, and its key in Kafka. Fails when the last write does not read as it was read before.

use beckon_dataflows::model::{Stream, Tick};
use serde_json::{Map, Value, json};

use super::maintained::Kept;
use super::truth::Row;

/// The correction: no lesser a write than the last one, and dated when the export was made.
pub(super) fn of(
    stream: Stream,
    old: Option<&Kept>,
    new: Option<&Row>,
    as_of: Tick,
) -> anyhow::Result<(String, Value)> {
    let mut record = match (old, new) {
        (_, Some(row)) => row.json.clone(),
        (Some(kept), None) => removed(stream, &kept.json()?),
        (None, None) => Map::new(),
    };
    let version = old.map_or(0, |kept| kept.written.version).max(new.and_then(|row| row.version).unwrap_or(0));
    let exported = new.and_then(|row| row.updated_ms);
    let before = old.map_or(0, |kept| kept.written.updated_ms);
    // Of a row that says when it was written, that is when it became true; but it has to go before the last write.
    let updated_ms = exported.filter(|exported| *exported > before).unwrap_or(as_of.max(before));
    record.insert("version".to_owned(), version.into());
    record.insert("updated_at".to_owned(), updated_ms.into());
    let key = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let key = match stream {
        Stream::Inventory => key("sku"),
        Stream::Carts => key("cart_id"),
        _ => key("user_id"),
    };
    Ok((key, Value::Object(record)))
}

/// What says that there is nothing more of this key.
fn removed(stream: Stream, last: &Value) -> Map<String, Value> {
    let members: Vec<(&str, Value)> = match stream {
        Stream::Inventory => {
            vec![("sku", last["sku"].clone()), ("location", last["location"].clone()), ("on_hand", json!(0))]
        }
        Stream::Carts => {
            // Of a cart without a record this is a message of the clickstream.
            let cart = [&last["cart_id"], &last["properties"]["cart_id"]].into_iter().find(|it| !it.is_null());
            let either = |own: &str, message: &str| {
                [&last[own], &last[message]].into_iter().find(|it| !it.is_null()).cloned().unwrap_or_default()
            };
            vec![
                ("cart_id", cart.cloned().unwrap_or_default()),
                ("user_id", either("user_id", "userId")),
                ("anonymous_id", either("anonymous_id", "anonymousId")),
                ("currency", last["currency"].clone()),
                ("lines", json!([])),
            ]
        }
        _ => vec![("user_id", last["user_id"].clone()), ("deleted", json!(true))],
    };
    members.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.to_owned(), value)).collect()
}
