//! What the simulator has seen. In: one request after another. Out: what to answer, and counts by key. Cannot fail.
//! Knows no HTTP; time comes in with the request.
//!
//! Keeps a small entry for every key ever seen (about 100 bytes), and the latest messages whole.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::Sender;
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::esp::EspConfig;
use crate::esp::draw::{FaultShares, Verdict, verdict};

/// Everything that was counted, since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Requests to send a message, whatever became of them.
    pub requests: u64,
    /// Messages taken; a replay is none.
    pub accepted: u64,
    /// Keys of messages taken.
    pub distinct_keys: u64,
    /// Keys under which more than one message was taken: what an ESP that is asked twice sends twice.
    pub keys_accepted_more_than_once: u64,
    /// Requests that repeated a key already taken, and were answered as then.
    pub replays: u64,
    /// Messages taken without any key.
    pub accepted_without_key: u64,
    /// Answered 429, be it by the draw or by the rate limit.
    pub too_many: u64,
    /// Answered 503.
    pub unavailable: u64,
    /// Answered 500.
    pub failed: u64,
    /// Taken (or replayed) and never answered.
    pub timed_out: u64,
    /// Answered 400 by the draw.
    pub refused: u64,
    /// Answered 400 because the request was no message.
    pub malformed: u64,
}

/// What was counted of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct KeyCounts {
    /// Requests.
    pub attempts: u64,
    /// Messages taken.
    pub accepted: u64,
    /// The `X-Message-Id` of the first of them.
    pub message_id: Option<String>,
}

/// A message that was taken.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// As answered in `X-Message-Id`.
    pub message_id: String,
    /// The idempotency key, where there was one.
    pub key: Option<String>,
    /// Where it was posted to.
    pub path: &'static str,
    /// When it was taken, in epoch milliseconds.
    pub received_ms: i64,
    /// The request's body, whole.
    pub body: Value,
}

/// That a message was taken, and how old its decision was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// When it was taken, in epoch milliseconds.
    pub received_ms: i64,
    /// `as_of` of the body, where it has such a text: the tick that decided it.
    pub as_of: Option<String>,
}

/// A request to send one message.
#[derive(Debug)]
pub struct Request {
    /// Where it was posted to.
    pub path: &'static str,
    /// From the `Idempotency-Key` header.
    pub header_key: Option<String>,
    /// The decision's id in the message's metadata: counted by, but never honoured.
    pub body_key: Option<String>,
    /// The body.
    pub body: Value,
}

/// What to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Taken, now or before.
    Accepted {
        /// For `X-Message-Id`.
        message_id: String,
        /// Not to be answered at all.
        hang: bool,
    },
    /// 429.
    TooMany,
    /// 503.
    Unavailable,
    /// 500.
    Failed,
    /// 400.
    Refused,
}

impl Answer {
    /// Whether there is to be none.
    pub fn hangs(&self) -> bool {
        matches!(self, Answer::Accepted { hang: true, .. })
    }
}

/// See the module.
#[derive(Debug)]
pub struct Inbox {
    config: EspConfig,
    totals: Totals,
    keys: HashMap<String, KeyCounts>,
    latest: VecDeque<Message>,
    /// Requests that the rate limit still lets through, and when that was so.
    allowance: (f64, Instant),
    /// Who hears of each message that is taken, if anybody does.
    telling: Option<Sender<Arrival>>,
}

impl Inbox {
    /// An empty inbox.
    pub fn new(config: EspConfig) -> Inbox {
        let allowance = (config.rate_limit.map_or(0.0, f64::from), Instant::now());
        Inbox {
            config,
            totals: Totals::default(),
            keys: HashMap::new(),
            latest: VecDeque::new(),
            allowance,
            telling: None,
        }
    }

    /// The same, which tells of each message that it takes.
    pub fn telling(self, to: Sender<Arrival>) -> Inbox {
        Inbox { telling: Some(to), ..self }
    }

    /// Counts a request and says what to answer.
    pub fn receive(&mut self, request: Request, now: Instant, now_ms: i64) -> Answer {
        self.totals.requests += 1;
        let key = request.header_key.clone().or_else(|| request.body_key.clone());
        let attempt = key.as_ref().map_or(1, |key| {
            let counts = self.keys.entry(key.clone()).or_default();
            counts.attempts += 1;
            counts.attempts
        });
        if !self.within_rate_limit(now) {
            self.totals.too_many += 1;
            return Answer::TooMany;
        }
        // A request without a key has nothing to be known by but its number.
        let drawn_by = key.clone().unwrap_or_else(|| format!("request {}", self.totals.requests));
        match verdict(self.config.seed, &drawn_by, attempt, &self.config.faults) {
            Verdict::Accept => self.accept(request, key, now_ms, false),
            Verdict::AcceptAndHang => {
                self.totals.timed_out += 1;
                self.accept(request, key, now_ms, true)
            }
            Verdict::TooMany => {
                self.totals.too_many += 1;
                Answer::TooMany
            }
            Verdict::Unavailable => {
                self.totals.unavailable += 1;
                Answer::Unavailable
            }
            Verdict::Fail => {
                self.totals.failed += 1;
                Answer::Failed
            }
            Verdict::Refuse => {
                self.totals.refused += 1;
                Answer::Refused
            }
        }
    }

    /// How many requests the rate limit lets through in a second, and how many of them now; none without a limit.
    pub fn allowance(&self) -> Option<(u32, u32)> {
        self.config.rate_limit.map(|limit| (limit, self.allowance.0 as u32))
    }

    /// Draws from other shares from now on.
    pub fn set_faults(&mut self, faults: FaultShares) {
        self.config.faults = faults;
    }

    /// Counts a request that is no message.
    pub fn receive_malformed(&mut self) {
        self.totals.requests += 1;
        self.totals.malformed += 1;
    }

    /// All counts.
    pub fn totals(&self) -> Totals {
        self.totals.clone()
    }

    /// The counts of one key.
    pub fn key(&self, key: &str) -> Option<KeyCounts> {
        self.keys.get(key).cloned()
    }

    /// The counts of all keys, in no order.
    pub fn keys(&self) -> impl Iterator<Item = (&String, &KeyCounts)> {
        self.keys.iter()
    }

    /// The latest messages taken, newest first.
    pub fn latest(&self, limit: usize) -> Vec<Message> {
        self.latest.iter().rev().take(limit).cloned().collect()
    }

    fn accept(&mut self, request: Request, key: Option<String>, now_ms: i64, hang: bool) -> Answer {
        let honoured = self.config.honour_idempotency && request.header_key.is_some();
        let before = key.as_ref().and_then(|key| self.keys.get(key)).and_then(|counts| counts.message_id.clone());
        if let (true, Some(message_id)) = (honoured, before) {
            self.totals.replays += 1;
            return Answer::Accepted { message_id, hang };
        }
        self.totals.accepted += 1;
        let message_id = self.message_id();
        match &key {
            None => self.totals.accepted_without_key += 1,
            Some(key) => self.count_accepted(key, &message_id),
        }
        let (path, body) = (request.path, request.body);
        if let Some(to) = &self.telling {
            let as_of = body["as_of"].as_str().map(str::to_owned);
            // Whoever hears no more has ended.
            let _ = to.send(Arrival { received_ms: now_ms, as_of });
        }
        self.latest.push_back(Message { message_id: message_id.clone(), key, path, received_ms: now_ms, body });
        if self.latest.len() > self.config.messages_kept {
            self.latest.pop_front();
        }
        Answer::Accepted { message_id, hang }
    }

    fn count_accepted(&mut self, key: &str, message_id: &str) {
        let counts = self.keys.entry(key.to_owned()).or_default();
        counts.accepted += 1;
        match counts.accepted {
            1 => {
                counts.message_id = Some(message_id.to_owned());
                self.totals.distinct_keys += 1;
            }
            2 => self.totals.keys_accepted_more_than_once += 1,
            _ => {}
        }
    }

    fn message_id(&self) -> String {
        format!("{:032x}", xxh3_128_with_seed(&self.totals.accepted.to_le_bytes(), self.config.seed))
    }

    /// A token bucket that holds one second's worth.
    fn within_rate_limit(&mut self, now: Instant) -> bool {
        let Some(limit) = self.config.rate_limit.map(f64::from) else {
            return true;
        };
        let (left, since) = self.allowance;
        let refilled = (left + limit * now.saturating_duration_since(since).as_secs_f64()).min(limit);
        let within = refilled >= 1.0;
        self.allowance = (if within { refilled - 1.0 } else { refilled }, now);
        within
    }
}
