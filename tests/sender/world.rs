//! What surrounds the sender in these tests: a real ledger, a clock that stands, and a trigger set that can be changed.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use beckon::decision::{
    self, Decision, DecisionId, DeliveryRecord, DeliveryState, Errand, Header, Message, Outcome, Payload,
};
use beckon::ledger::{Ledger, Owing};
use beckon::sink::delivery::{Drained, Limits, Owed, Ports, Unsendable, run};
use beckon::sink::http::{Differs, Http};
use beckon::sink::mailgun::Mailgun;
use beckon::sink::postmark::Postmark;
use beckon::sink::resend::Resend;
use beckon::sink::sendgrid::SendGrid;
use beckon::sink::ses::{Account, Ses};
use beckon::sink::{Accepted, ApiKey, Backlog, BoxFuture, DeliveryLog, Due, Enrich, Esp, LogFault, SendError, client};
use beckon_dataflows::model::{Episode, Id};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

/// What happened, in order: durable states and requests.
pub type Events = Arc<Mutex<Vec<String>>>;

/// An ESP waits this long for an answer.
pub const TIMEOUT_MS: u64 = 400;

/// When every decision of these tests was made, epoch ms.
pub const AS_OF_MS: u64 = 1_767_261_600_000;

type StillTrue = Box<dyn Fn(&Episode) -> bool + Send + Sync>;

pub struct World {
    _dir: tempfile::TempDir,
    pub ledger: Arc<Ledger>,
    pub events: Events,
    pub now_ms: Arc<AtomicU64>,
    pub limits: Limits,
    pub still_true: Mutex<Option<StillTrue>>,
    pub unsendable: Option<Unsendable>,
    pub enrich: Option<Arc<dyn Enrich>>,
}

impl World {
    pub fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        World {
            ledger: Arc::new(Ledger::open(dir.path()).unwrap()),
            _dir: dir,
            events: Events::default(),
            now_ms: Arc::new(AtomicU64::new(AS_OF_MS)),
            limits: Limits {
                requests_per_second: NonZeroU32::new(10_000).unwrap(),
                backoff_base_ms: 4,
                backoff_cap_ms: 20,
                drain_ms: 50,
                ..Limits::default()
            },
            still_true: Mutex::new(None),
            unsendable: None,
            enrich: None,
        }
    }

    /// Records the sends and delivers them, until everything is settled.
    pub async fn deliver(&self, esp: impl Esp + 'static, sends: Vec<decision::Send>) -> Result<Drained, LogFault> {
        self.record(&sends);
        self.deliver_until(esp, sends, std::future::pending()).await
    }

    pub fn record(&self, sends: &[decision::Send]) {
        let entry = |send: &decision::Send| {
            let Episode { customer, subject, .. } = send.episode;
            let errand =
                Errand { customer, subject, currency: send.currency.clone(), priority: send.priority, esp: None };
            ((*send.decision).clone(), Some(errand))
        };
        self.ledger.record(&sends.iter().map(entry).collect::<Vec<_>>()).unwrap();
    }

    /// Deliveries that are owed.
    pub fn owed(&self) -> usize {
        self.ledger.owed(usize::MAX, |_| true).unwrap().0.len()
    }

    /// Delivers what the ledger says is owed, until everything is settled or `shutdown`.
    pub async fn deliver_until(
        &self,
        esp: impl Esp + 'static,
        sends: Vec<decision::Send>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Drained, LogFault> {
        let (wake, woken) = mpsc::channel(1);
        wake.send(()).await.unwrap();
        drop(wake);
        self.deliver_woken(esp, sends, woken, shutdown).await
    }

    /// Delivers what the ledger says is owed whenever it is woken, until nobody is left to wake it and everything is settled, or
    /// `shutdown`.
    pub async fn deliver_woken(
        &self,
        esp: impl Esp + 'static,
        sends: Vec<decision::Send>,
        woken: mpsc::Receiver<()>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Drained, LogFault> {
        run(self.ports(esp, sends), woken, shutdown).await
    }

    fn ports(&self, esp: impl Esp + 'static, sends: Vec<decision::Send>) -> Ports {
        let now_ms = Arc::clone(&self.now_ms);
        let unsendable = self.unsendable.clone();
        Ports {
            name: "test".into(),
            esp: Arc::new(esp),
            log: Arc::new(LedgerLog {
                ledger: Arc::clone(&self.ledger),
                sends: sends.into_iter().map(|send| (send.decision.decision_id, send)).collect(),
                events: Arc::clone(&self.events),
            }),
            still_true: self.still_true.lock().unwrap().take().unwrap_or(Box::new(|_| true)),
            enrich: self.enrich.clone(),
            compose: Box::new(move |send, fetched| match &unsendable {
                None => Ok(message(send, &fetched)),
                Some(fault) => Err(fault.clone()),
            }),
            now_ms: Box::new(move || now_ms.load(Ordering::SeqCst)),
            limits: self.limits.clone(),
        }
    }

    pub fn events(&self) -> Vec<String> {
        self.events.lock().unwrap().clone()
    }

    /// The state in the ledger and the number of requests.
    pub fn outcome(&self, send: &decision::Send) -> (DeliveryState, u32) {
        let delivery = self.ledger.delivery(send.decision.decision_id).unwrap().unwrap();
        (delivery.state, delivery.attempts)
    }
}

/// The ledger as the sender's log; it refuses a step that a delivery may not take.
struct LedgerLog {
    ledger: Arc<Ledger>,
    sends: HashMap<DecisionId, decision::Send>,
    events: Events,
}

impl LedgerLog {
    fn timely_since(&self, now_ms: u64) -> u64 {
        let longest_ms = self.sends.values().map(|send| send.send_within_ms.unwrap_or(u64::MAX)).max();
        now_ms.saturating_sub(longest_ms.unwrap_or(u64::MAX))
    }
}

impl DeliveryLog for LedgerLog {
    fn write(&self, id: DecisionId, record: DeliveryRecord) -> BoxFuture<'_, Result<(), LogFault>> {
        Box::pin(async move {
            let event = format!("{} {}", record.state, record.attempts);
            self.ledger.advance(id, record).await.map_err(|error| LogFault(error.into()))?;
            self.events.lock().unwrap().push(event);
            Ok(())
        })
    }

    fn owed(&self, due: Due, now_ms: u64, count: usize, in_hand: &HashSet<DecisionId>) -> Result<Backlog, LogFault> {
        let since = |_| self.timely_since(now_ms);
        let owing = match due {
            Due::InTime => Owing::Since(&since),
            Due::Overdue => Owing::Before(&since),
        };
        let owed = self.ledger.owed_by(None, owing, count, |id| !in_hand.contains(&id));
        let (open, more) = owed.map_err(|error| LogFault(error.into()))?;
        let owed = open.into_iter().map(|open| {
            let send = self.sends[&open.decision.decision_id].clone();
            Owed { send, delivery: open.delivery }
        });
        Ok(Backlog { owed: owed.collect(), more })
    }

    fn bury_unanswered(&self, before_ms: u64) -> BoxFuture<'_, Result<(), LogFault>> {
        Box::pin(async move {
            for id in self.ledger.unanswered(before_ms).map_err(|error| LogFault(error.into()))? {
                self.events.lock().unwrap().push(format!("buried {id}"));
                self.ledger.bury(id).await.map_err(|error| LogFault(error.into()))?;
            }
            Ok(())
        })
    }
}

pub fn key(text: &str) -> ApiKey {
    ApiKey::new(text, "the environment variable `KEY`").unwrap()
}

pub fn http(base_url: &str) -> Http {
    Http::new(client(TIMEOUT_MS).unwrap(), base_url, Some(key("shop-key")), true, Differs::default()).unwrap()
}

pub fn sendgrid(base_url: &str) -> SendGrid {
    SendGrid::new(client(TIMEOUT_MS).unwrap(), base_url, key("SG.key")).unwrap()
}

/// An ESP of whatever kind.
pub struct Any(Box<dyn Esp>);

impl Esp for Any {
    fn send<'a>(&'a self, message: &'a Message, decision: &'a Decision) -> BoxFuture<'a, Result<Accepted, SendError>> {
        self.0.send(message, decision)
    }

    fn honours_idempotency(&self) -> bool {
        self.0.honours_idempotency()
    }
}

/// The ESP of a kind that speaks HTTP.
pub fn speaks(kind: &str, base_url: &str) -> Any {
    let client = client(TIMEOUT_MS).unwrap();
    Any(match kind {
        "http" => Box::new(http(base_url)),
        "sendgrid" => Box::new(sendgrid(base_url)),
        "postmark" => Box::new(Postmark::new(client, base_url, key("pm-token"), "outbound").unwrap()),
        "mailgun" => Box::new(Mailgun::new(client, base_url, key("mg-key"), "mg.example.com").unwrap()),
        "resend" => Box::new(Resend::new(client, base_url, key("re_key")).unwrap()),
        "ses" => {
            let account = Account {
                region: "eu-west-1".into(),
                access_key_id: "AKIDEXAMPLE".into(),
                secret: key("secret"),
                session_token: None,
                configuration_set: Some("shop".into()),
            };
            Box::new(Ses::new(client, base_url, account).unwrap())
        }
        other => panic!("{other} does not speak HTTP"),
    })
}

/// A send about `subject`, which is also its mail's subject.
pub fn send(subject: &str) -> decision::Send {
    let decision = Decision {
        decision_id: DecisionId::of("cart-abandonment", "u1", subject, AS_OF_MS),
        campaign: "cart-abandonment".into(),
        customer_id: "u1".into(),
        trigger: "cart_abandonment".into(),
        subject: subject.into(),
        anchor: AS_OF_MS,
        as_of: AS_OF_MS,
        outcome: Outcome::Send,
        reason: None,
        variant: None,
        payload: Payload::default(),
    };
    decision::Send {
        decision: Arc::new(decision),
        episode: Episode { campaign: 0, customer: Id(1), subject: Id(2), anchor: AS_OF_MS },
        currency: Some("EUR".into()),
        send_within_ms: Some(60_000),
        priority: 0,
        template: "cart_abandonment".into(),
    }
}

/// The mail of a send, with what was fetched for it.
pub fn message(send: &decision::Send, fetched: &Map<String, Value>) -> Message {
    let said: String = fetched.values().map(|value| format!(", {value}")).collect();
    Message {
        to: "ada@example.org".parse().unwrap(),
        from: "Example Shop <shop@example.com>".parse().unwrap(),
        subject: send.decision.subject.to_string(),
        html: "<p>Your cart &amp; you</p>".into(),
        text: format!("Your cart & you{said}"),
        message_id: format!("<{}@example.com>", send.decision.decision_id),
        headers: vec![Header::new("List-Unsubscribe", "<https://shop.example/u/1>").unwrap()],
    }
}
