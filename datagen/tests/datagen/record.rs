//! SPEC §1's table as a check: whether a line is a record of its stream. Written from the page, not from the code.

use beckon_datagen::Event;
use serde_json::Value;

/// What is wrong with an event, if anything.
pub fn fault(event: &Event) -> Option<String> {
    let record: Value = match serde_json::from_slice(&event.json) {
        Ok(record) => record,
        Err(error) => return Some(format!("not JSON: {error}")),
    };
    let faults: Vec<String> = match event.stream {
        "clickstream" => clickstream(&record),
        "carts" => {
            [text(&record, &["cart_id", "currency"]), owner(&record), versioned(&record), lines(&record)].concat()
        }
        "inventory" => [text(&record, &["sku"]), whole(&record, "on_hand"), versioned(&record)].concat(),
        "catalog" => {
            let texts = ["sku", "name", "category", "brand", "currency", "image_url", "url"];
            [text(&record, &texts), money(&record, "price"), versioned(&record)].concat()
        }
        "orders" => {
            let status = one_of(&record, "status", &["placed", "cancelled", "refunded"]);
            let texts = text(&record, &["order_id", "currency"]);
            let times = [time(&record, "placed_at"), versioned(&record)].concat();
            [texts, owner(&record), status, times, money(&record, "total"), lines(&record)].concat()
        }
        "profiles" => profile(&record),
        "engagement" => {
            let kind = one_of(&record, "type", &["unsubscribed", "bounced"]);
            [text(&record, &["event_id", "user_id"]), kind, time(&record, "occurred_at")].concat()
        }
        other => vec![format!("no stream '{other}'")],
    };
    let wrong_key =
        (key(event.stream, &record).as_deref() != Some(&event.key)).then(|| "the key is not the record's".to_owned());
    let faults: Vec<String> = faults.into_iter().chain(wrong_key).collect();
    (!faults.is_empty()).then(|| faults.join(", "))
}

/// The record's own time, in epoch milliseconds.
pub fn time_ms(event: &Event) -> i64 {
    let record: Value = serde_json::from_slice(&event.json).unwrap();
    let field = ["timestamp", "updated_at", "occurred_at"].into_iter().find(|field| !record[field].is_null()).unwrap();
    read_time(&record[field]).unwrap()
}

fn key(stream: &str, record: &Value) -> Option<String> {
    let field = |name: &str| record[name].as_str().map(str::to_owned);
    match stream {
        "clickstream" => field("userId").or_else(|| field("anonymousId")),
        "carts" => field("cart_id"),
        "inventory" => match field("location") {
            Some(location) => Some(format!("{}:{location}", field("sku")?)),
            None => field("sku"),
        },
        "catalog" => field("sku"),
        "orders" => field("order_id"),
        "profiles" => field("user_id"),
        _ => field("event_id"),
    }
}

fn clickstream(record: &Value) -> Vec<String> {
    let kind = one_of(record, "type", &["track", "page", "screen", "identify", "alias"]);
    let common = [kind, text(record, &["messageId"]), time(record, "timestamp")].concat();
    let of_kind = match record["type"].as_str() {
        Some("track") => track(record),
        Some("alias") => text(record, &["userId", "previousId"]),
        Some("identify") => text(record, &["userId", "anonymousId"]),
        _ => Vec::new(),
    };
    let nobody = record["userId"].as_str().or(record["anonymousId"].as_str()).is_none();
    common.into_iter().chain(of_kind).chain(nobody.then(|| "of nobody".to_owned())).collect()
}

fn track(record: &Value) -> Vec<String> {
    let properties = &record["properties"];
    match record["event"].as_str() {
        Some("Product Viewed" | "Product Clicked" | "Product Added to Wishlist" | "Product Removed from Wishlist") => {
            [text(properties, &["sku", "product_id"]), money(properties, "price")].concat()
        }
        Some("Product Added" | "Product Removed") => {
            [text(properties, &["sku"]), money(properties, "price"), whole(properties, "quantity")].concat()
        }
        Some("Products Searched") => text(properties, &["query"]),
        Some("Product List Viewed") => text(properties, &["list_id", "category"]),
        Some("Checkout Started") => text(properties, &["order_id"]),
        Some("Cart Viewed") => Vec::new(),
        other => vec![format!("event {other:?}")],
    }
}

fn profile(record: &Value) -> Vec<String> {
    let texts = text(record, &["user_id", "first_name", "locale", "timezone"]);
    let attributes = &record["attributes"];
    let attributes = [one_of(attributes, "tier", &["gold", "silver", "bronze"]), text(attributes, &["city"])].concat();
    let flags = record["consent"]["email"].is_boolean() && record["deleted"].is_boolean();
    let email = record["email"].as_str().is_none_or(|email| email.is_ascii() && email.ends_with("@example.com"));
    let zone = jiff::tz::TimeZone::get(record["timezone"].as_str().unwrap_or_default()).is_ok();
    let others = [(flags, "consent or deleted"), (email, "email"), (zone, "timezone")];
    let others = others.iter().filter(|(good, _)| !good).map(|(_, what)| (*what).to_owned()).collect();
    [texts, attributes, versioned(record), others].concat()
}

fn complaint(good: bool, field: &str) -> Vec<String> {
    if good { Vec::new() } else { vec![field.to_owned()] }
}

fn text(record: &Value, fields: &[&str]) -> Vec<String> {
    fields
        .iter()
        .flat_map(|field| complaint(record[field].as_str().is_some_and(|text| !text.is_empty()), field))
        .collect()
}

fn one_of(record: &Value, field: &str, allowed: &[&str]) -> Vec<String> {
    complaint(record[field].as_str().is_some_and(|text| allowed.contains(&text)), field)
}

fn whole(record: &Value, field: &str) -> Vec<String> {
    complaint(record[field].is_i64() || record[field].is_u64(), field)
}

fn owner(record: &Value) -> Vec<String> {
    let ids = [&record["user_id"], &record["anonymous_id"]];
    complaint(ids.iter().filter(|id| id.is_string()).count() == 1, "owner")
}

fn versioned(record: &Value) -> Vec<String> {
    [whole(record, "version"), time(record, "updated_at")].concat()
}

fn money(record: &Value, field: &str) -> Vec<String> {
    let good = match &record[field] {
        Value::Number(number) => number.as_f64().is_some_and(|amount| amount >= 0.0),
        Value::String(text) => text.split_once('.').is_some_and(|(whole, cents)| {
            cents.len() == 2
                && !whole.is_empty()
                && format!("{whole}{cents}").bytes().all(|digit| digit.is_ascii_digit())
        }),
        _ => false,
    };
    complaint(good, field)
}

fn lines(record: &Value) -> Vec<String> {
    let Some(lines) = record["lines"].as_array() else {
        return vec!["lines".to_owned()];
    };
    let of_line = |line| [text(line, &["sku"]), whole(line, "quantity"), money(line, "price")].concat();
    lines.iter().flat_map(of_line).collect()
}

fn read_time(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| Some(value.as_str()?.parse::<jiff::Timestamp>().ok()?.as_millisecond()))
}

fn time(record: &Value, field: &str) -> Vec<String> {
    let sane = 946_684_800_000..4_102_444_800_000;
    complaint(read_time(&record[field]).is_some_and(|ms| sane.contains(&ms)), field)
}
