//! An export. In: a file of JSON lines, or CSV with a line of names, of all rows of a stream as its source has them now. Out: what they
//! say. Fails with every line that cannot be used, or that says a key twice: a truth with holes would be no truth.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use beckon_dataflows::model::{Position, Stream, Tick};
use beckon_dataflows::reconcile::{self, Content, Key};
use serde_json::{Map, Value, json};

use super::maintained::Names;
use super::row_of;

/// The most faults that are said.
const FAULTS_MAX: usize = 20;

/// An export that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be compared with: {count} of its rows cannot be used\n{faults}")]
pub struct TruthFault {
    path: String,
    count: usize,
    faults: String,
}

/// A row of the export.
pub(super) struct Row {
    pub json: Map<String, Value>,
    pub version: Option<i64>,
    pub updated_ms: Option<u64>,
    content: Content,
}

/// The whole export.
pub(super) struct Truth(HashMap<Key, Row>);

impl Truth {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Row> {
        self.0.get(key)
    }

    pub(super) fn rows(&self) -> Vec<reconcile::Row> {
        self.0.iter().map(|(key, row)| (*key, row.content.clone())).collect()
    }
}

/// Reads the file.
pub(super) fn read(path: &Path, stream: Stream, as_of: Tick, names: &mut Names) -> anyhow::Result<Truth> {
    let unread = || format!("cannot read {}", path.display());
    let is_csv = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
    let lines = if is_csv { of_csv(path, stream).with_context(unread)? } else { of_json(path).with_context(unread)? };
    let (mut rows, mut faults, mut count) = (HashMap::<Key, Row>::new(), Vec::new(), 0);
    for (line, parsed) in lines {
        let read = parsed.and_then(|json| row(json, (stream, line), as_of, names));
        let fault = match read {
            Ok((key, row)) if !rows.contains_key(&key) => {
                rows.insert(key, row);
                continue;
            }
            Ok(_) => "an earlier row has the same key".to_owned(),
            Err(fault) => fault,
        };
        count += 1;
        if faults.len() < FAULTS_MAX {
            faults.push(format!("  line {line}: {fault}"));
        }
    }
    if count == 0 {
        return Ok(Truth(rows));
    }
    if count > faults.len() {
        faults.push("  …".to_owned());
    }
    Err(TruthFault { path: path.display().to_string(), count, faults: faults.join("\n") }.into())
}

/// A line's number, and what it says.
type Parsed = (u64, Result<Map<String, Value>, String>);

fn of_json(path: &Path) -> anyhow::Result<Vec<Parsed>> {
    let text = fs::read_to_string(path)?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    Ok(lines.map(|(number, line)| (number, serde_json::from_str(line).map_err(|fault| fault.to_string()))).collect())
}

/// Of CSV, a name with a dot is a member of a member, as in `consent.email`; what is empty is not there.
fn of_csv(path: &Path, stream: Stream) -> anyhow::Result<Vec<Parsed>> {
    anyhow::ensure!(stream != Stream::Carts, "a cart has lines, which CSV has no place for: export JSON lines");
    let mut reader = csv::Reader::from_path(path)?;
    let names = reader.headers()?.clone();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        let mut row = Map::new();
        for (name, text) in names.iter().zip(&record).filter(|(_, text)| !text.is_empty()) {
            put(&mut row, name.trim(), typed(name.trim(), text.trim()));
        }
        rows.push((line, Ok(row)));
    }
    Ok(rows)
}

fn put(row: &mut Map<String, Value>, name: &str, value: Value) {
    match name.split_once('.') {
        None => drop(row.insert(name.to_owned(), value)),
        Some((outer, inner)) => {
            if let Value::Object(members) = row.entry(outer).or_insert_with(|| json!({})) {
                put(members, inner, value);
            }
        }
    }
}

/// What is no text in a record is none here.
fn typed(name: &str, text: &str) -> Value {
    let is_text = matches!(name, "sku" | "location" | "user_id" | "email" | "first_name" | "locale" | "timezone");
    let other = || match text.to_ascii_lowercase().as_str() {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
    };
    if is_text { text.into() } else { other() }
}

fn row(
    mut json: Map<String, Value>,
    (stream, line): (Stream, u64),
    as_of: Tick,
    names: &mut Names,
) -> Result<(Key, Row), String> {
    let is_dated = json.get("updated_at").is_some_and(|time| !time.is_null());
    // An export need not say when a row was written.
    if !is_dated {
        json.insert("updated_at".to_owned(), as_of.into());
    }
    let bytes = serde_json::to_vec(&json).map_err(|fault| fault.to_string())?;
    let decoded = names.decode(Position::new(stream, 0, line), &bytes).map_err(|fault| fault.to_string())?;
    let (key, content) = row_of(&decoded.record).ok_or("it is of another stream")?;
    let version = json.get("version").and_then(Value::as_i64);
    Ok((key, Row { json, version, updated_ms: is_dated.then_some(decoded.event_ms), content }))
}
