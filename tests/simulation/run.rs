//! One seed, whole: the shop's day with faults and crashes (safety), then the same with none (liveness), then the audit. In: a seed.
//! Out: all that happened, and the first breach of a rule.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use beckon::config::{Config, Purpose};
use beckon::ledger::Ledger;
use beckon::reclock::Timeline;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::audit;
use super::broker::Broker;
use super::disk::Platter;
use super::esp::{Manners, Provider};
use super::oracle::world::{CONTENTS, Contents, ERASING, EVERY_TRIGGER, EVERYTHING, FORGETFUL, random_arrivals};
use super::process::{Letters, Process, SWEEP_MS, Surroundings};
use super::trace::{Told, Trace};

/// At most so many processes die in a seed, so that it comes to an end.
const DEATHS_MAX: u32 = 6;

/// So many turns a seed, more or less: each costs about a millisecond.
const TURNS: u64 = 120;

/// The oracle is asked about one seed in so many.
const ORACLE_EVERY: u64 = 5;

/// How long after healing everything must be settled, beside what is configured, ms: waits between attempts, silences that began
/// before, two sweeps.
pub const SETTLES_WITHIN_MS: u64 = 300_000;

/// What a seed draws.
struct Fate {
    rng: ChaCha8Rng,
    /// How likely a write or sync fails.
    disk_fault: f64,
    /// After about how many writes and syncs a process dies, if at all.
    dies_after: Option<u64>,
    /// Whether it may die at any moment, too.
    dies_any_time: bool,
    manners: Manners,
    broker_faulty: bool,
    contents: Contents<'static>,
}

/// Runs the world of `seed`.
pub fn run(seed: u64) -> Told {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(live(seed))
}

impl Fate {
    fn draw(seed: u64) -> Fate {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5151_5151);
        let unknown_after_ms = [30_000, 120_000, 600_000][rng.random_range(0..3)];
        let manners = Manners {
            honours_keys: rng.random_bool(0.6),
            fault: [0.0, 0.1, 0.3, 0.6][rng.random_range(0..4)],
            deadly: [0.0, 0.02, 0.1][rng.random_range(0..3)],
            unknown_after_ms,
            // A request that was given up may come later, and so may its repetition.
            keys_kept_ms: unknown_after_ms + 90_000,
            send_within_ms: rng.random_bool(0.4).then(|| rng.random_range(5..120) * 1_000),
            tick_ms: 0,
        };
        let contents = [CONTENTS, EVERY_TRIGGER, EVERYTHING, EVERYTHING, FORGETFUL, ERASING][rng.random_range(0..6)];
        Fate {
            disk_fault: [0.0, 0.0, 0.002, 0.02][rng.random_range(0..4)],
            dies_after: [None, Some(30), Some(100), Some(300)][rng.random_range(0..4)],
            dies_any_time: rng.random_bool(0.5),
            manners,
            broker_faulty: rng.random_bool(0.7),
            contents,
            rng,
        }
    }
}

/// The folder of the one template that all campaigns use.
fn templates() -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        for part in ["subject", "html", "txt"] {
            let text = r#"Hello {{default customer.first_name "there"}}"#;
            std::fs::write(folder.path().join(format!("mail.{part}.hbs")), text).unwrap();
        }
        folder
    });
    folder.path().to_owned()
}

/// In half of the worlds episodes hold until something ends them: otherwise most would be over before their mail can leave.
fn patient(toml: &str, fate: &mut Fate) -> String {
    let keep = fate.rng.random_bool(0.5);
    let lines = toml.lines().filter(|line| keep || !line.starts_with("expires"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// The world's configuration, with an ESP, and limits that let things happen within minutes.
fn configuration(toml: &str, fate: &mut Fate) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("beckon.toml");
    let rate = fate.rng.random_range(1..=20);
    let esp = format!(
        "[esp]\nkind = \"http\"\nbase_url = \"http://127.0.0.1:9\"\nfrom = \"Shop <shop@example.com>\"\n\
         requests_per_second = {rate}\nunknown_after = \"{}ms\"\nmax_in_flight = {}\n",
        fate.manners.unknown_after_ms,
        fate.rng.random_range(1..=8),
    );
    std::fs::write(&path, format!("{toml}\n{esp}")).unwrap();
    let mut config = Config::load(&path, Purpose::Replay).unwrap_or_else(|faults| panic!("{faults}"));
    (config.state, config.templates) = ("state".into(), templates());
    config.idle_after_ms = [500, 2_000, 10_000][fate.rng.random_range(0..3)];
    for campaign in &mut config.campaigns {
        campaign.template = Some("mail".into());
        campaign.variants.iter_mut().for_each(|variant| variant.template = Some("mail".into()));
        campaign.send_within_ms = fate.manners.send_within_ms;
    }
    fate.manners.tick_ms = config.tick_ms;
    config
}

async fn live(seed: u64) -> Told {
    let mut fate = Fate::draw(seed);
    let arrivals = random_arrivals(seed, fate.contents);
    let config_toml = patient(&arrivals.config_toml, &mut fate);
    let config = configuration(&config_toml, &mut fate);
    let begin_ms = arrivals.lines.iter().map(|line| line.arrives_ms).min().unwrap_or(arrivals.begin_ms).unsigned_abs();
    let trace = Trace::new(begin_ms);
    let broker = Broker::new(fate.rng.random(), fate.broker_faulty, arrivals.lines, trace.clone());
    let around = Surroundings {
        broker,
        platter: Platter::new(fate.rng.random(), fate.disk_fault, trace.clone()),
        provider: Provider::new(fate.rng.random(), fate.manners, trace.clone()),
        trace: trace.clone(),
        letters: Letters::default(),
        identities: fate.contents.identity,
        config_toml,
        begin_ms: arrivals.begin_ms,
        ask_oracle: seed.is_multiple_of(ORACLE_EVERY),
        config,
    };
    let mut day = Day { seed, around, fate, deaths: 0, healed: false, is_sound: false, process: None };
    day.pass().await;
    std::mem::take(&mut *trace.told())
}

/// The time from the first record to the end.
struct Day {
    seed: u64,
    around: Surroundings,
    fate: Fate,
    deaths: u32,
    healed: bool,
    /// Whether the process was started after healing.
    is_sound: bool,
    process: Option<Process>,
}

impl Day {
    async fn pass(&mut self) {
        let (trace, begin_ms) = (self.around.trace.clone(), self.around.trace.now_ms());
        let ends_ms = self.around.broker.ends_ms() + self.fate.rng.random_range(0..300_000);
        let gap_ms = ((ends_ms - begin_ms) / TURNS).clamp(200, 30_000);
        while trace.now_ms() < ends_ms && !trace.is_broken() {
            self.step(gap_ms).await;
        }
        self.heal();
        let settled_ms = trace.now_ms() + self.fate.manners.unknown_after_ms + 2 * SWEEP_MS + SETTLES_WITHIN_MS;
        let mut gap_ms = 500;
        while trace.now_ms() < settled_ms && !trace.is_broken() {
            self.step(gap_ms).await;
            // Nearly everything happens at once.
            gap_ms = (gap_ms + gap_ms / 4).min(30_000);
        }
        if trace.is_broken() {
            return;
        }
        let settled_before_ms = settled_ms - self.fate.manners.unknown_after_ms - 2 * SWEEP_MS;
        if let Err(breach) = self.audit(settled_before_ms).await {
            trace.breach(breach);
        }
    }

    /// Ends the service, and looks at what it has left, on a disk whose power has failed.
    async fn audit(&mut self, settled_before_ms: u64) -> Result<(), String> {
        let (process, around) = (self.process.take().ok_or("the service does not come up")?, &self.around);
        let (open, state) = (process.open(), &around.config.state);
        let noted = Timeline::read_on(&process.disk, state).map_err(|error| error.to_string())?;
        if let Some(fault) = process.stop().await {
            return Err(format!("the sender failed after healing: {fault}"));
        }
        around.platter.unmount();
        around.platter.lose_power();
        let disk = Arc::new(around.platter.mount(None));
        let ledger = Ledger::open_in_line(disk, state).map_err(|error| error.to_string())?;
        audit::audit(around, &ledger, noted, open, settled_before_ms)
    }

    /// Everything works from now on.
    fn heal(&mut self) {
        let Surroundings { broker, platter, provider, trace, .. } = &self.around;
        trace.tell("healed", self.seed);
        broker.heal();
        platter.heal();
        provider.heal();
        self.healed = true;
    }

    /// One turn of the service, if there is one, else its start; then some time passes.
    async fn step(&mut self, gap_ms: u64) {
        match self.process.take() {
            None => self.start().await,
            Some(mut process) => {
                let turned = process.turn();
                if !self.around.platter.is_alive() {
                    return self.bury(process).await;
                }
                if let Err(fault) = turned {
                    return self.end(process, &format!("{fault:#}")).await;
                }
                if process.has_ended() {
                    return self.end(process, "the sender ended").await;
                }
                if self.stops_in_order() {
                    return self.end(process, "told to").await;
                }
                self.wait(gap_ms).await;
                if self.dies_now() {
                    self.around.platter.die("any time");
                }
                if !self.around.platter.is_alive() {
                    return self.bury(process).await;
                }
                self.process = Some(process);
            }
        }
    }

    fn dies_now(&mut self) -> bool {
        let may = !self.healed && self.fate.dies_any_time && self.deaths < DEATHS_MAX;
        may && self.around.platter.is_alive() && self.fate.rng.random_bool(0.01)
    }

    fn stops_in_order(&mut self) -> bool {
        !self.healed && self.deaths < DEATHS_MAX && self.fate.rng.random_bool(0.003)
    }

    /// Time passes until the next turn: less when something dies meanwhile, more when nothing comes.
    async fn wait(&mut self, gap_ms: u64) {
        let Surroundings { broker, platter, trace, .. } = &self.around;
        let now_ms = trace.now_ms();
        let quiet_ms = broker.next_ms(now_ms).map_or(0, |next_ms| next_ms - now_ms);
        let rng = &mut self.fate.rng;
        let wait_ms = match rng.random_range(0..10) {
            0..=2 => rng.random_range(20..500),
            3..=8 => rng.random_range(gap_ms / 2..gap_ms * 2),
            _ => rng.random_range(gap_ms..gap_ms * 5),
        };
        let wait_ms = if quiet_ms > 20 * gap_ms && rng.random_bool(0.7) { quiet_ms / 3 } else { wait_ms };
        tokio::select! {
            biased;
            () = platter.died.notified() => {}
            () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
        }
    }

    async fn start(&mut self) {
        let Fate { rng, dies_after, .. } = &mut self.fate;
        let may_die = !self.healed && self.deaths < DEATHS_MAX;
        let dies_in = dies_after.filter(|_| may_die).map(|after| rng.random_range(0..2 * after));
        self.is_sound = self.healed;
        let (disk, seed) = (self.around.platter.mount(dies_in), rng.random());
        self.around.trace.tell("start", "");
        match Process::start(&self.around, disk, seed) {
            Ok(process) => self.process = Some(process),
            Err(fault) if !self.healed => {
                self.around.trace.tell("start failed", format!("{fault:#}"));
                self.deaths += 1;
                self.lie_down().await;
            }
            Err(fault) => self.around.trace.breach(format!("it cannot be started again: {fault:#}")),
        }
    }

    /// The process is dead.
    async fn bury(&mut self, process: Process) {
        drop(process);
        self.deaths += 1;
        self.lie_down().await;
    }

    /// The process ends by itself, in order.
    async fn end(&mut self, process: Process, why: &str) {
        if self.is_sound {
            return self.around.trace.breach(format!("the service ended though all is well: {why}"));
        }
        self.deaths += 1;
        self.around.trace.tell("ended", why);
        let fault = process.stop().await;
        self.around.trace.tell("stopped", fault.map(|fault| fault.to_string()).unwrap_or_default());
        self.lie_down().await;
    }

    /// Nothing runs for a while; the power may fail meanwhile.
    async fn lie_down(&mut self) {
        self.around.platter.unmount();
        // What was under way is cut off before anything else happens.
        tokio::time::sleep(Duration::from_millis(1)).await;
        if self.fate.rng.random_bool(0.5) {
            self.around.platter.lose_power();
        }
        let down_ms = match self.fate.rng.random_range(0..4) {
            0 => self.fate.rng.random_range(0..300_000),
            _ => self.fate.rng.random_range(0..10_000),
        };
        tokio::time::sleep(Duration::from_millis(down_ms)).await;
    }
}
