//! A load test of a running service, as its users run it. In: a rate, brokers, and where the service's HTTP is. Out: what it did and what that
//! cost, as a [`Report`]. Fails before anything is measured where the service, the brokers or a port cannot be had; later on
//! whatever goes wrong is in the report.
//!
//! The service is watched from outside alone, so it may be on another machine.
//!
//! | file | idea |
//! |---|---|
//! | `course` | what comes next: warm-up, measuring, the last of it |
//! | `selling` | the shop, on a thread of its own |
//! | `watch`, `exposition` | what the service says of itself at `/metrics` |
//! | `lag` | how far it is behind |
//! | `mails` | what comes to an ESP of our own, and how soon |
//! | `latency` | times as HDR histograms |
//! | `series` | samples over time, in steps |
//! | `report`, `notes` | figures, and sentences |
//! | `page`, `charts` | the same to be looked at |

mod charts;
mod course;
mod exposition;
mod lag;
mod latency;
mod mails;
mod notes;
mod page;
mod report;
mod selling;
mod series;
mod watch;

pub use course::Window;
pub use latency::{Latencies, Percentiles};
pub use report::{Cpu, Mailed, Memory, Records, Report, Throughput};
pub use reqwest::Url;
pub use series::Sample;
pub use watch::{Counts, Look, Terms, WatchError};

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::time::MissedTickBehavior;

use crate::esp::EspConfig;
use crate::produce::ProduceError;
use crate::shop::{Mix, ShopConfig};
use course::{Course, Phase, Situation};
use lag::Lag;
use mails::Mails;
use report::Seen;
use selling::Selling;
use watch::Watch;

/// How often the service is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long no mail comes after the last of the measured time.
const QUIET: Duration = Duration::from_secs(2);

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The brokers, as Kafka's clients name them.
    pub kafka: String,
    /// Where the service's HTTP is.
    pub beckon: Url,
    /// The shop; when it opens, and from which number it counts, is set here.
    pub shop: ShopConfig,
    /// How long it sells before anything is measured.
    pub warm: Duration,
    /// How long is measured.
    pub lasting: Duration,
    /// An ESP of our own, that the service sends to.
    pub esp: Option<EspConfig>,
    /// What must not be exceeded.
    pub limits: Limits,
}

/// What must not be exceeded.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// By the 99th percentile of latency.
    pub p99: Option<Duration>,
    /// By the greatest lag.
    pub lag: Option<Duration>,
}

/// What was asked for, as it is in the report.
#[derive(Debug, Clone, Serialize)]
pub struct Asked {
    /// Records a second.
    pub rate: f64,
    /// How long was to be measured.
    pub seconds: f64,
    /// How long it was warmed up before.
    pub warm_seconds: f64,
    /// What happens in the shop.
    pub mix: &'static str,
    /// Its customers.
    pub customers: u32,
    /// Its products.
    pub skus: u32,
    /// What it was drawn from.
    pub seed: u64,
    /// The brokers.
    pub kafka: String,
    /// The service's address, without a password.
    pub beckon: String,
    /// The address of the ESP of this test.
    pub esp: Option<String>,
}

/// What is so now, for whoever looks on.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// How much of warm-up and measuring is over, and of how much, ms.
    pub over_ms: (u64, u64),
    /// In words.
    pub phase: &'static str,
    /// Records said, and read, a second.
    pub said: f64,
    /// None where the service does not answer.
    pub read: Option<f64>,
    /// How far the service is behind.
    pub lag_ms: Option<u64>,
    /// Its memory.
    pub resident_bytes: Option<u64>,
    /// Mails that have come to the ESP of this test.
    pub mails: Option<u64>,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no runtime.
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
    /// The service cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The ESP's address is taken.
    #[error("the ESP cannot listen on {listen}; is another program there?")]
    Esp {
        /// The address.
        listen: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Nothing could be said.
    #[error(transparent)]
    Produce(#[from] ProduceError),
    /// It was ended before.
    #[error("ended before the warm-up was over; nothing was measured")]
    Nothing,
}

/// Runs a load test, until it is over or `stop` is set; then with what was measured by then. Blocks.
pub fn run(plan: &Plan, stop: &AtomicBool, show: &dyn Fn(&Now)) -> Result<Report, LoadError> {
    // One thread answers as an ESP beside this one, which looks on.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(LoadError::Runtime)?;
    runtime.block_on(async {
        let (watch, terms) = Watch::start(&plan.beckon).await?;
        let mails = match plan.esp.clone() {
            None => None,
            Some(config) => {
                let listen = config.listen;
                Some(Mails::listen(config, terms).await.map_err(|source| LoadError::Esp { listen, source })?)
            }
        };
        Run::start(plan, watch, terms, mails).follow(stop, show).await
    })
}

/// A load test that goes on.
struct Run<'p> {
    plan: &'p Plan,
    began_ms: u64,
    course: Course,
    terms: Terms,
    watch: Watch,
    lag: Lag,
    mails: Option<Mails>,
    selling: Selling,
    samples: Vec<Sample>,
    /// What the service last answered.
    last: Look,
    behind_ms: u64,
}

impl<'p> Run<'p> {
    fn start(plan: &'p Plan, watch: Watch, terms: Terms, mails: Option<Mails>) -> Run<'p> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let began_ms = now.as_millis() as u64;
        // Its ids and versions are new in every run, so that nothing is stale.
        let (start_ms, numbered_from) = (began_ms as i64, now.as_micros() as u64);
        let shop = ShopConfig { start_ms, numbered_from, until_ms: None, records: None, ..plan.shop.clone() };
        let from_ms = began_ms + plan.warm.as_millis() as u64;
        let measured = Window { from_ms, until_ms: from_ms + plan.lasting.as_millis() as u64 };
        Run {
            plan,
            began_ms,
            course: Course::new(measured, terms.tick_ms + terms.allowed_lateness_ms),
            terms,
            watch,
            lag: Lag::new(terms),
            mails,
            selling: Selling::start(plan.kafka.clone(), shop),
            samples: Vec::new(),
            last: Look::default(),
            behind_ms: 0,
        }
    }

    async fn follow(mut self, stop: &AtomicBool, show: &dyn Fn(&Now)) -> Result<Report, LoadError> {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut measures = false;
        while self.course.phase != Phase::Over {
            looks.tick().await;
            // What comes next is known before the look, which is of it.
            let situation = self.situation(stop.load(Ordering::Relaxed));
            self.course.go_on(situation);
            if !self.course.phase.sells() {
                self.selling.stop();
            }
            measures |= self.course.phase == Phase::Measuring;
            self.look().await;
            show(&self.now());
        }
        let produced = self.selling.end();
        if !measures {
            produced?;
            return Err(LoadError::Nothing);
        }
        Ok(self.report(produced.err()).await)
    }

    /// Looks at everything once.
    async fn look(&mut self) {
        let answered = self.watch.look().await;
        // A clock that is set back does not turn what was seen around.
        let at_ms = now_ms().max(self.samples.last().map_or(self.began_ms, |sample| sample.at_ms));
        let measured = self.course.window();
        // Before the first tick is closed there is nothing to be behind of.
        let closing = answered.filter(|look| look.closed_ms > 0);
        let lag_ms = closing.map(|look| self.lag.see(at_ms, look.closed_ms, measured));
        let latency_ms = self.mails.as_mut().and_then(|mails| mails.take(measured));
        let mails = self.mails.as_ref().map_or(0, |mails| mails.seen().accepted);
        let said = self.selling.said();
        if measured.holds(at_ms) {
            self.behind_ms = self.behind_ms.max(self.selling.behind_ms());
        }
        self.last = answered.unwrap_or(self.last);
        self.samples.push(Sample { at_ms, said, mails, latency_ms, lag_ms, service: answered });
    }

    fn situation(&self, stop: bool) -> Situation {
        let now_ms = now_ms();
        let settles_ms =
            if let Phase::Settling(since_ms) = self.course.phase { now_ms.saturating_sub(since_ms) } else { 0 };
        let is_quiet = |mails: &Mails| settles_ms >= QUIET.as_millis() as u64 && mails.are_quiet(QUIET);
        let is_over = self.selling.is_over();
        Situation {
            now_ms,
            stopped: stop || self.course.phase.sells() && is_over,
            mailed: self.last.counts.sends == 0 || self.mails.as_ref().is_none_or(|mails| mails.have_come_for(QUIET)),
            closed: self.terms.next_tick(self.last.closed_ms) >= self.course.measured.until_ms,
            quiet: self.mails.as_ref().is_none_or(is_quiet),
            read: is_over && self.last.counts.records >= self.selling.acknowledged(),
        }
    }

    fn now(&self) -> Now {
        let planned_ms = self.course.measured.until_ms - self.began_ms;
        let sample = self.samples.last();
        // A second ago, or so.
        let before = self.samples.iter().rev().nth(4);
        let rate = |of: fn(&Sample) -> Option<u64>| {
            let (before, sample) = (before?, sample?);
            let seconds = sample.at_ms.saturating_sub(before.at_ms).max(1) as f64 / 1_000.0;
            Some(of(sample)?.saturating_sub(of(before)?) as f64 / seconds)
        };
        Now {
            over_ms: (now_ms().saturating_sub(self.began_ms).min(planned_ms), planned_ms),
            phase: match self.course.phase {
                Phase::Warming => "warming up",
                Phase::Awaiting(_) => "waiting for the first mail",
                Phase::Measuring => "measuring",
                Phase::Closing => "the last ticks",
                Phase::Settling(_) | Phase::Over => "the last mails",
            },
            said: rate(|sample| Some(sample.said)).unwrap_or(0.0),
            read: rate(|sample| Some(sample.service?.counts.records)),
            lag_ms: sample.and_then(|sample| sample.lag_ms),
            resident_bytes: sample.and_then(|sample| sample.service?.resident_bytes),
            mails: self.mails.as_ref().and(sample).map(|sample| sample.mails),
        }
    }

    async fn report(self, failed: Option<ProduceError>) -> Report {
        let closed = self.situation(true).closed;
        let counts = self.last.counts;
        let (mut asked, mut mails) = (asked(self.plan), Mailed::of(counts));
        let (mut latencies, mut undated, mut early) = (Latencies::default(), 0, 0);
        if let Some(ours) = self.mails {
            asked.esp = Some(ours.base_url());
            (latencies, undated, early) = (ours.times.clone(), ours.undated, ours.early);
            let totals = ours.stop().await;
            (mails.taken, mails.twice) = (Some(totals.accepted), Some(totals.keys_accepted_more_than_once));
        }
        let records = Records {
            said: self.selling.said(),
            acknowledged: self.selling.acknowledged(),
            read: counts.records,
            dead_letters: counts.dead_letters,
            late: counts.late,
        };
        let seen = Seen {
            asked,
            terms: self.terms,
            measured: self.course.measured,
            cut_short: self.course.cut_short,
            closed,
            restarts: self.watch.restarts,
            records,
            mails,
            undated,
            early,
            behind_ms: self.behind_ms,
            samples: self.samples,
            latencies,
            lags: self.lag.times,
            failed,
        };
        Report::of(seen, &self.plan.limits)
    }
}

fn asked(plan: &Plan) -> Asked {
    let shop = &plan.shop;
    Asked {
        rate: shop.records_per_second,
        seconds: plan.lasting.as_secs_f64(),
        warm_seconds: plan.warm.as_secs_f64(),
        mix: match shop.mix {
            Mix::Shop => "shop",
            Mix::Bench => "bench",
        },
        customers: shop.customers,
        skus: shop.skus,
        seed: shop.seed,
        kafka: plan.kafka.clone(),
        beckon: watch::shown(&plan.beckon).to_string(),
        esp: None,
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
