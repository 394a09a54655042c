//! oha, the load tool. In: where to send, and how much. Out: what it measured. Fails where it is missing, or any request is not answered
//! with 200.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Different bodies, of which each request has one.
const BODIES: u32 = 500;

/// How to load.
pub struct Load<'a> {
    pub oha: &'a str,
    pub url: &'a str,
    pub key: &'a str,
    /// Where the bodies are written.
    pub folder: &'a Path,
    pub connections: u32,
    /// Requests a second at most.
    pub rate: Option<u32>,
}

/// What came of it.
pub struct Loaded {
    /// Requests that were answered with 200.
    pub requests: u64,
    pub requests_s: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// As oha tells it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    summary: Summary,
    latency_percentiles: Percentiles,
    status_code_distribution: BTreeMap<String, u64>,
    error_distribution: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    requests_per_sec: f64,
}

/// Seconds.
#[derive(Deserialize)]
struct Percentiles {
    p50: f64,
    p99: f64,
}

impl Load<'_> {
    /// Sends batches of so many messages for so many seconds.
    pub fn run(&self, seconds: u32, batch: u32) -> Result<Loaded> {
        let bodies = self.folder.join("bodies");
        std::fs::write(&bodies, (0..BODIES).map(|number| body(number, batch) + "\n").collect::<String>())?;
        let mut oha = Command::new(self.oha);
        oha.args(["--no-tui", "--output-format", "json", "--wait-ongoing-requests-after-deadline", "-m", "POST"]);
        oha.args(["-z", &format!("{seconds}s"), "-c", &self.connections.to_string()]);
        oha.args(["-a", &format!("{}:", self.key), "-T", "application/json"]);
        oha.arg("-Z").arg(&bodies);
        if let Some(rate) = self.rate {
            oha.args(["-q", &rate.to_string(), "--latency-correction"]);
        }
        let ran = oha.arg(self.url).stdin(Stdio::null()).output();
        let ran = ran.with_context(|| format!("{} does not run; `cargo install oha` brings it", self.oha))?;
        ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let told: Told = serde_json::from_slice(&ran.stdout).context("oha says what is not understood")?;
        let requests = told.status_code_distribution.get("200").copied().unwrap_or_default();
        let refused = told.status_code_distribution.len() > 1 || !told.error_distribution.is_empty();
        ensure!(!refused, "{:?}, {:?}", told.status_code_distribution, told.error_distribution);
        let Percentiles { p50, p99 } = told.latency_percentiles;
        let requests_s = told.summary.requests_per_sec;
        Ok(Loaded { requests, requests_s, p50_ms: p50 * 1e3, p99_ms: p99 * 1e3 })
    }
}

/// One line: a batch as a shop's page sends it.
fn body(number: u32, messages: u32) -> String {
    let mut batch = String::new();
    for message in 0..messages {
        let (user, id) = (number * 7 + message, format!("{number:08x}{messages:08x}{message:08x}"));
        let separator = if message == 0 { "" } else { "," };
        let _ = write!(
            batch,
            r#"{separator}{{"type":"track","event":"Product Viewed","messageId":"{id}","anonymousId":"visitor-{user}","userId":"u{user}","timestamp":"2026-01-01T10:00:00.000Z","context":{{"library":{{"name":"beckon.js"}},"userAgent":"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"}},"properties":{{"product_id":"p{id}","sku":"sku-{message}","name":"Alpine Jacket","price":"119.90","currency":"EUR","url":"https://shop.example/p/{message}"}}}}"#
        );
    }
    format!(r#"{{"batch":[{batch}],"sentAt":"2026-01-01T10:00:00.000Z"}}"#)
}
