//! Backpressure: 10,000 sends are decided a second, and the ESP takes 50. What must hold: memory stays where it is, nothing is lost,
//! the ESP is pressed no harder than configured, and no less: it gets what is still in time; and what waits longer than `send_within`
//! expires. Prints a line
//! every few seconds, lets the backlog come to its end, and fails when a sum or a state is wrong.
//!
//! The way is the service's from the ledger on: ledger, sender, HTTP, simulated ESP; the decisions are made up.
//!
//! `cargo bench --bench backpressure [-- --seconds N --decisions N --requests N --send-within SECONDS]`

#[path = "replay/cost.rs"]
#[allow(dead_code)] // only memory is asked
mod cost;

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use beckon::decision::{
    self, Decision, DecisionId, DeliveryRecord, DeliveryState, Errand, Message, Outcome, Payload, PayloadLine,
};
use beckon::ledger::{Ledger, Owing};
use beckon::sink::delivery::{Limits, Owed, Ports, run};
use beckon::sink::{
    Backlog, BoxFuture, DeliveryLog, Due, LogFault, client,
    http::{Differs, Http},
};
use beckon_dataflows::model::{Episode, Id, Namespace};
use beckon_datagen::esp::{Esp, EspConfig, EspHandle};
use clap::Parser;
use tokio::sync::mpsc;

/// As in the `beckon` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often a line is printed.
const LOOK: Duration = Duration::from_secs(5);

/// Requests under way: each waits for two commits, and those for a tick's decisions.
const IN_FLIGHT: usize = 256;

/// Of what the ESP takes, it must be sent so much in the end.
const PACE_MIN: f64 = 0.8;

/// Of memory's growth from the first third of the run to the last, MiB.
const GROWTH_MIB_MAX: f64 = 64.0;

/// The arguments of the bench.
#[derive(Clone, Parser)]
#[command(name = "backpressure")]
struct Arguments {
    /// For how long sends are decided
    #[arg(long, default_value_t = 90)]
    seconds: u64,
    /// Sends decided a second, all at one tick
    #[arg(long, default_value_t = 10_000)]
    decisions: u64,
    /// Requests a second
    #[arg(long, default_value_t = 50)]
    requests: u32,
    /// After how many seconds a send is not made any more
    #[arg(long, default_value_t = 20)]
    send_within: u64,
    /// What Cargo passes
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let dir = tempfile::tempdir()?;
    let ledger = Arc::new(Ledger::open(dir.path())?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let esp = runtime.block_on(Esp::start(EspConfig { messages_kept: 0, ..EspConfig::default() }))?;
    let (wake, woken) = mpsc::channel(1);
    let sending = runtime.spawn(run(ports(&arguments, &ledger, &esp)?, woken, std::future::pending()));
    let done = AtomicBool::new(false);
    let (decided, looks) = std::thread::scope(|scope| {
        let looking = scope.spawn(|| look_on(&ledger, dir.path(), &done));
        let decided = decide(&arguments, &ledger, &wake);
        drop(wake);
        // It ends by itself once everything is settled.
        let sent = runtime.block_on(sending);
        done.store(true, Ordering::Relaxed);
        let looks = looking.join().map_err(|_| anyhow::anyhow!("nobody looked on"))??;
        sent?.context("the sender")?;
        anyhow::Ok((decided?, looks))
    })?;
    check(&arguments, &decided, &ledger, &esp)?;
    check_pace(&arguments, &decided, &ledger)?;
    check_memory(&looks)
}

/// Decides for as long as asked, a tick a second, and wakes the sender. Returns all ids.
fn decide(arguments: &Arguments, ledger: &Ledger, wake: &mpsc::Sender<()>) -> anyhow::Result<Vec<DecisionId>> {
    let began = Instant::now();
    let mut ids = Vec::new();
    let mut commits = Vec::new();
    for second in 0..arguments.seconds {
        let as_of = now_ms();
        let first = second * arguments.decisions;
        let entries: Vec<_> = (first..first + arguments.decisions).map(|n| entry(n, as_of)).collect();
        ids.extend(entries.iter().map(|(decision, _)| decision.decision_id));
        let before = Instant::now();
        ledger.record(&entries)?;
        commits.push(before.elapsed().as_millis());
        let _ = wake.try_send(());
        std::thread::sleep(Duration::from_secs(second + 1).saturating_sub(began.elapsed()));
    }
    commits.sort_unstable();
    println!(
        "decided {} in {:.0} s; a tick's {} were durable after {} ms (median), {} ms at most",
        ids.len(),
        began.elapsed().as_secs_f64(),
        arguments.decisions,
        commits[commits.len() / 2],
        commits[commits.len() - 1]
    );
    Ok(ids)
}

/// The `n`th send.
fn entry(n: u64, as_of: u64) -> (Decision, Option<Errand>) {
    let (customer, subject) = (format!("customer-{n}"), format!("cart-{n}"));
    let line = PayloadLine {
        sku: format!("sku-{}", n % 1000).into(),
        quantity: Some(1),
        price: None,
        name: Some("A pair of shoes".into()),
        image: Some("https://shop.example/shoes.jpg".into()),
        url: Some("https://shop.example/shoes".into()),
        on_hand: Some(3),
    };
    let errand = Errand {
        customer: Id::of(Namespace::User, &customer).0,
        subject: Id::of(Namespace::Cart, &subject).0,
        currency: Some("EUR".into()),
        priority: 0,
        esp: None,
    };
    let decision = Decision {
        decision_id: DecisionId::of("cart-abandonment", &customer, &subject, as_of),
        campaign: "cart-abandonment".into(),
        customer_id: customer.into(),
        trigger: "cart_abandonment".into(),
        subject: subject.into(),
        anchor: as_of,
        as_of,
        outcome: Outcome::Send,
        reason: None,
        variant: None,
        payload: Payload { lines: vec![line], ..Payload::default() },
    };
    (decision, Some(errand))
}

fn ports(arguments: &Arguments, ledger: &Arc<Ledger>, esp: &EspHandle) -> anyhow::Result<Ports> {
    let send_within_ms = arguments.send_within * 1000;
    Ok(Ports {
        name: "bench".into(),
        esp: Arc::new(Http::new(client(5_000)?, &esp.base_url(), None, true, Differs::default())?),
        log: Arc::new(Log { ledger: ledger.clone(), send_within_ms }),
        still_true: Box::new(|_| true),
        enrich: None,
        compose: Box::new(|send, _| Ok(message(send))),
        now_ms: Box::new(now_ms),
        limits: Limits {
            requests_per_second: NonZeroU32::new(arguments.requests).unwrap_or(NonZeroU32::MIN),
            concurrency: IN_FLIGHT,
            ..Limits::default()
        },
    })
}

fn message(send: &decision::Send) -> Message {
    let address = |text: &str| text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    Message {
        to: address("ada@example.org"),
        from: address("Example Shop <shop@example.com>"),
        subject: "Your cart".into(),
        html: "<p>Your cart &amp; you</p>".into(),
        text: "Your cart & you".into(),
        message_id: format!("<{}@example.com>", send.decision.decision_id),
        headers: Vec::new(),
    }
}

/// The ledger as the service's sender has it, for one campaign.
struct Log {
    ledger: Arc<Ledger>,
    send_within_ms: u64,
}

impl DeliveryLog for Log {
    fn write(&self, id: DecisionId, record: DeliveryRecord) -> BoxFuture<'_, Result<(), LogFault>> {
        Box::pin(async move { self.ledger.advance(id, record).await.map_err(|error| LogFault(error.into())) })
    }

    fn owed(&self, due: Due, now_ms: u64, count: usize, in_hand: &HashSet<DecisionId>) -> Result<Backlog, LogFault> {
        let since = |_| now_ms.saturating_sub(self.send_within_ms);
        let owing = match due {
            Due::InTime => Owing::Since(&since),
            Due::Overdue => Owing::Before(&since),
        };
        let owed = self.ledger.owed_by(None, owing, count, |id| !in_hand.contains(&id));
        let (open, more) = owed.map_err(|error| LogFault(error.into()))?;
        let owed = open.into_iter().map(|open| {
            let episode = Episode {
                campaign: 0,
                customer: open.errand.customer,
                subject: open.errand.subject,
                anchor: open.decision.anchor,
            };
            let send = decision::Send {
                decision: Arc::new(open.decision),
                episode,
                currency: open.errand.currency,
                send_within_ms: Some(self.send_within_ms),
                priority: open.errand.priority,
                template: "cart_abandonment".into(),
            };
            Owed { send, delivery: open.delivery }
        });
        Ok(Backlog { owed: owed.collect(), more })
    }

    fn bury_unanswered(&self, _before_ms: u64) -> BoxFuture<'_, Result<(), LogFault>> {
        Box::pin(async { Ok(()) })
    }
}

/// Prints how things stand every few seconds until it is done. Returns what memory was resident, MiB.
fn look_on(ledger: &Ledger, dir: &Path, done: &AtomicBool) -> anyhow::Result<Vec<f64>> {
    let began = Instant::now();
    println!(
        "{:>6} {:>10} {:>10} {:>10} {:>10} {:>9} {:>12} {:>10}",
        "second", "decided", "pending", "in_flight", "accepted", "expired", "resident MiB", "ledger MiB"
    );
    let mut looks = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let counts = ledger.counts()?;
        let of = |state| counts.deliveries.get(&state).copied().unwrap_or(0);
        let resident = resident_mib()?;
        looks.push(resident);
        println!(
            "{:>6.0} {:>10} {:>10} {:>10} {:>10} {:>9} {:>12.0} {:>10.0}",
            began.elapsed().as_secs_f64(),
            counts.decisions,
            of(DeliveryState::Pending),
            of(DeliveryState::InFlight),
            of(DeliveryState::Accepted),
            of(DeliveryState::Expired),
            resident,
            std::fs::metadata(dir.join("ledger.redb"))?.len() as f64 / f64::from(1 << 20),
        );
        let looked = Instant::now();
        while looked.elapsed() < LOOK && !done.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(looks)
}

/// Every decided send is either taken, once, or expired, and then by rule.
fn check(arguments: &Arguments, decided: &[DecisionId], ledger: &Ledger, esp: &EspHandle) -> anyhow::Result<()> {
    let (mut accepted, mut expired, mut last_accepted_ms) = (0_u64, 0_u64, 0);
    for id in decided {
        let delivery = ledger.delivery(*id)?.with_context(|| format!("{id} is lost"))?;
        let decision = ledger.decision(*id)?.with_context(|| format!("{id} is lost"))?;
        let waited_ms = delivery.since_ms.saturating_sub(decision.as_of);
        let limit_ms = arguments.send_within * 1000;
        match delivery.state {
            DeliveryState::Accepted => {
                accepted += 1;
                last_accepted_ms = last_accepted_ms.max(waited_ms);
                let taken = esp.seen_key(&id.to_string()).map(|counts| counts.accepted);
                ensure!(taken == Some(1), "{id} was taken {taken:?} times");
            }
            DeliveryState::Expired => {
                expired += 1;
                ensure!(waited_ms >= limit_ms, "{id} expired after {waited_ms} ms");
                ensure!(esp.seen_key(&id.to_string()).is_none(), "{id} expired, and was requested");
            }
            state => anyhow::bail!("{id} is {state}"),
        }
    }
    let seen = esp.seen();
    println!(
        "{} decided = {accepted} accepted + {expired} expired; {} requests at the ESP; the longest wait of one accepted: {:.1} s",
        decided.len(),
        seen.requests,
        last_accepted_ms as f64 / 1000.0
    );
    ensure!(accepted + expired == decided.len() as u64, "the sum is wrong");
    ensure!(seen.accepted == accepted, "the ESP took {}", seen.accepted);
    Ok(())
}

/// To the last, the ESP is sent about as much as it takes.
fn check_pace(arguments: &Arguments, decided: &[DecisionId], ledger: &Ledger) -> anyhow::Result<()> {
    let began_ms = decided.first().map_or(Ok(None), |id| ledger.decision(*id))?.map_or(0, |decision| decision.as_of);
    let third_s = arguments.seconds / 3;
    let mut accepted = [0_u64; 3];
    for id in decided {
        let delivery = ledger.delivery(*id)?.with_context(|| format!("{id} is lost"))?;
        let third = delivery.since_ms.saturating_sub(began_ms) / (third_s * 1000).max(1);
        if delivery.state == DeliveryState::Accepted && third < 3 {
            accepted[third as usize] += 1;
        }
    }
    let per_second = accepted.map(|count| count as f64 / third_s.max(1) as f64);
    println!("accepted per second, in each third of the run: {per_second:.0?}");
    ensure!(per_second[2] > PACE_MIN * f64::from(arguments.requests), "the ESP is idle while mails wait");
    Ok(())
}

/// Memory does not grow with the backlog, nor with what was settled.
fn check_memory(looks: &[f64]) -> anyhow::Result<()> {
    let third = looks.len() / 3;
    ensure!(third > 0, "too short a run to say anything of memory");
    let mean = |looks: &[f64]| looks.iter().sum::<f64>() / looks.len() as f64;
    let (first, last) = (mean(&looks[third..2 * third]), mean(&looks[2 * third..]));
    println!("resident: {first:.0} MiB in the second third of the run, {last:.0} MiB in the last");
    ensure!(last - first < GROWTH_MIB_MAX, "memory grows");
    Ok(())
}

fn resident_mib() -> anyhow::Result<f64> {
    let kib = cost::kib("/proc/self/status", "VmRSS:").context("memory is read from /proc: Linux only")?;
    Ok(kib as f64 / 1024.0)
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64)
}
