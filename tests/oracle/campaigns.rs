//! Random configurations. In: a random number generator. Out: a valid `beckon.toml`, and what a world needs to know of
//! it to hit its deadlines. Cannot fail.

use std::fmt::Write;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::audience::AUDIENCES;

/// What a profile may name as its zone.
pub const ZONES: [Option<&str>; 8] = [
    None,
    None,
    Some("Europe/Berlin"),
    Some("Europe/Berlin"),
    Some("America/New_York"),
    Some("Australia/Lord_Howe"),
    Some("Asia/Kolkata"),
    Some("Mars/Olympus"),
];

/// 2026-01-05T08:00:00Z.
const BEGIN_MS: i64 = 1_767_600_000_000;

/// When the clocks of these zones are put forward or back.
const CHANGES: [(&str, &str); 6] = [
    ("Europe/Berlin", "2026-03-29T01:00:00Z"),
    ("Europe/Berlin", "2026-10-25T01:00:00Z"),
    ("America/New_York", "2026-03-08T07:00:00Z"),
    ("America/New_York", "2026-11-01T06:00:00Z"),
    ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
];

const MINUTE_MS: i64 = 60_000;

/// A configuration drawn.
pub struct Drawn {
    pub config_toml: String,
    pub tick_ms: i64,
    pub lateness_ms: i64,
    /// The world begins within the hour after.
    pub begin_ms: i64,
    /// Every W, X, cooldown and window in it: steps that a world takes to arrive right at a deadline.
    pub waits_ms: Vec<i64>,
    /// Whether a campaign has a subject that is no cart of one customer's.
    pub shared_subjects: bool,
}

/// What campaigns are called.
pub const NAMES: [&str; 7] = ["welcome-back", "cart", "cart-2", "Basket", "restock", "back", "zz"];

/// Draws one; with `forget`, one under which things are forgotten soon, and with `erasure`, one that forgets the erased.
pub fn draw(rng: &mut ChaCha8Rng, triggers: &[&str], forget: bool, erasure: bool) -> Drawn {
    let tick_ms = pick(rng, &[1000, 1000, 1000, 250, 500, 10_000]);
    let lateness_ms = pick(rng, &[5000, 5000, 0, 1000, 2000, 30_000]);
    let mut draw = Draw { rng, tick_ms, forget, begin_ms: BEGIN_MS, text: String::new(), waits_ms: Vec::new() };
    if tick_ms != 1000 || draw.chance(0.5) {
        let tick = draw.duration(tick_ms);
        draw.line(&format!("tick = \"{tick}\""));
    }
    if lateness_ms != 5000 || draw.chance(0.5) {
        let lateness = draw.duration(lateness_ms);
        draw.line(&format!("allowed_lateness = \"{lateness}\""));
    }
    if forget {
        let after = draw.wait(&[3, 10, 40, 120, 400]);
        draw.line(&format!("forget_after = {after}"));
    }
    if erasure {
        let erasure = pick(draw.rng, &["forget", "forget", "forget", "suppress"]);
        draw.line(&format!("erasure = \"{erasure}\""));
    }
    draw.limits();
    draw.similar();
    let mut names = NAMES.to_vec();
    let mut shared_subjects = false;
    for _ in 0..draw.rng.random_range(1..=5) {
        let name = names.swap_remove(draw.rng.random_range(0..names.len()));
        let trigger = pick(draw.rng, triggers);
        shared_subjects |= trigger != "cart_abandonment";
        draw.campaign(name, trigger);
    }
    let Draw { begin_ms, text: config_toml, waits_ms, .. } = draw;
    Drawn { config_toml, tick_ms, lateness_ms, begin_ms, waits_ms, shared_subjects }
}

fn pick<T: Copy>(rng: &mut ChaCha8Rng, choices: &[T]) -> T {
    *choices.choose(rng).expect("there is something to choose")
}

/// A configuration being drawn.
struct Draw<'a> {
    rng: &'a mut ChaCha8Rng,
    tick_ms: i64,
    forget: bool,
    begin_ms: i64,
    text: String,
    waits_ms: Vec<i64>,
}

impl Draw<'_> {
    fn chance(&mut self, of: f64) -> bool {
        self.rng.random_bool(of)
    }

    fn line(&mut self, line: &str) {
        writeln!(self.text, "{line}").expect("writing to a string");
    }

    /// `ms` in one of the units that can say it.
    fn duration(&mut self, ms: i64) -> String {
        let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
        let fitting: Vec<(&str, i64)> =
            units.into_iter().filter(|(_, unit_ms)| ms % unit_ms == 0 && (ms > 0 || *unit_ms <= 1000)).collect();
        let (unit, unit_ms) = pick(self.rng, &fitting);
        format!("{}{unit}", ms / unit_ms)
    }

    /// A wait of a few ticks, not always whole ones, in TOML's quotes.
    fn wait(&mut self, ticks: &[i64]) -> String {
        let ticks = pick(self.rng, ticks);
        let odd_ms = match self.chance(0.2) {
            true => self.tick_ms / 2,
            false => 0,
        };
        let wait_ms = (ticks * self.tick_ms - odd_ms).max(1);
        self.waits_ms.push(wait_ms);
        format!("\"{}\"", self.duration(wait_ms))
    }

    fn limits(&mut self) {
        let (caps, quiet) = (self.chance(0.5), self.chance(0.5));
        if caps || quiet {
            self.line("[limits]");
        }
        if caps {
            let caps: Vec<String> = (0..self.rng.random_range(1..=2))
                .map(|_| {
                    let sends = self.rng.random_range(1..=3);
                    let per = self.wait(&[3, 10, 60, 600]);
                    format!("{{ sends = {sends}, per = {per} }}")
                })
                .collect();
            self.line(&format!("frequency_cap = [{}]", caps.join(", ")));
        }
        if quiet {
            self.quiet_hours();
        }
    }

    /// What makes SKUs similar: a short window and few SKUs, so that both cut something off.
    fn similar(&mut self) {
        let (window, recent) = (self.chance(0.5), self.chance(0.7));
        if window || recent {
            self.line("[similar]");
        }
        if window {
            let window = self.wait(&[5, 20, 120, 600]);
            self.line(&format!("window = {window}"));
        }
        if recent {
            let recent = self.rng.random_range(1..=4);
            self.line(&format!("recent = {recent}"));
        }
    }

    /// Hours that begin or end while the world goes on, by the clock of some zone, often on a day of its change.
    fn quiet_hours(&mut self) {
        let (mut zone, mut about_ms) = (pick(self.rng, &ZONES[2..6]).unwrap_or("UTC"), BEGIN_MS + 60 * MINUTE_MS);
        if self.chance(0.7) {
            let (changing, change) = pick(self.rng, &CHANGES);
            (zone, about_ms) = (changing, change.parse::<Timestamp>().expect("a time").as_millisecond());
        }
        self.begin_ms = about_ms - self.rng.random_range(10..=70) * MINUTE_MS;
        let from_ms = about_ms + self.rng.random_range(-90..=0) * MINUTE_MS;
        let time = Timestamp::from_millisecond(from_ms).expect("a time within range");
        let from = TimeZone::get(zone).expect("the zone exists").to_datetime(time).time();
        let hour_and_minute = |time: Time| format!("{:02}:{:02}", time.hour(), time.minute());
        let minutes = pick(self.rng, &[10, 30, 60, 90, 120, 240, 660]);
        let to = from.wrapping_add(minutes.minutes());
        let default = match self.chance(0.7) {
            true => format!(", default_timezone = \"{zone}\""),
            false => String::new(),
        };
        let (from, to) = (hour_and_minute(from), hour_and_minute(to));
        self.line(&format!("quiet_hours = {{ from = \"{from}\", to = \"{to}\"{default} }}"));
        self.waits_ms.push(minutes * MINUTE_MS);
    }

    fn campaign(&mut self, name: &str, trigger: &str) {
        self.line("\n[[campaign]]");
        self.line(&format!("name = \"{name}\"\ntrigger = \"{trigger}\""));
        match trigger {
            "cart_abandonment" => self.cart_abandonment(),
            "back_in_stock" => self.lookback(),
            "low_stock" => {
                let threshold = self.rng.random_range(1..=5);
                self.line(&format!("threshold = {threshold}"));
            }
            "price_drop" => {
                let percent = pick(self.rng, &["1", "10", "50"]);
                self.line(&format!("percent = {percent}"));
                self.lookback();
            }
            "browse_abandonment" => {
                let min_views = self.rng.random_range(1..=3);
                self.line(&format!("min_views = {min_views}"));
                self.after();
                self.lookback();
            }
            _ => self.after(),
        }
        // What does not expire is not forgotten.
        let expires = if self.forget { 0.95 } else { 0.5 };
        if self.chance(expires) {
            let expires = self.wait(&[0, 1, 2, 5, 20]);
            self.line(&format!("expires = {expires}"));
        }
        if self.chance(0.6) {
            let priority = pick(self.rng, &[1, 2, 100, 0, -1]);
            self.line(&format!("priority = {priority}"));
        }
        if self.chance(0.45) {
            let cooldown = self.wait(&[1, 5, 20, 60]);
            self.line(&format!("cooldown = {cooldown}"));
        }
        if self.chance(0.3) {
            let (audience, _) = pick(self.rng, &AUDIENCES);
            self.line(&format!("audience = \"{audience}\""));
        }
        if self.chance(0.25) {
            let budget = pick(self.rng, &["1", "0.5", "1.5", "2"]);
            self.line(&format!("stock_budget = {budget}"));
        }
        if self.chance(0.4) {
            let count = self.rng.random_range(1..=3);
            self.line(&format!("similar = {count}"));
        }
        self.discounts();
        self.experiment();
    }

    /// Drawn apart, so that a world stays what it was but for its discounts.
    fn discounts(&mut self) {
        let mut rng = self.rng.clone();
        rng.set_stream(1);
        let discounts: Vec<String> = (0..rng.random_range(0..=3))
            .map(|_| {
                let (when, _) = pick(&mut rng, &AUDIENCES);
                let percent = pick(&mut rng, &["15", "10", "12.5", "0.05", "7.50", "20.0", "100"]);
                format!("{{ when = \"{when}\", percent = {percent} }}")
            })
            .collect();
        if !discounts.is_empty() {
            self.line(&format!("discount = [{}]", discounts.join(", ")));
        }
    }

    fn after(&mut self) {
        let after = self.wait(&[1, 2, 3, 5, 10, 30]);
        self.line(&format!("after = {after}"));
    }

    fn cart_abandonment(&mut self) {
        self.after();
        let stock = pick(self.rng, &["", "any", "all", "ignore"]);
        if !stock.is_empty() {
            self.line(&format!("stock = \"{stock}\""));
        }
        if self.chance(0.3) {
            let total = pick(self.rng, &["20.00", "39.80", "5", "100.00"]);
            self.line(&format!("min_total = \"{total}\""));
        }
    }

    fn lookback(&mut self) {
        let lookback = if self.forget { 0.97 } else { 0.6 };
        if self.chance(lookback) {
            let lookback = self.wait(&[1, 5, 20, 120]);
            self.line(&format!("lookback = {lookback}"));
        }
    }

    fn experiment(&mut self) {
        if self.chance(0.4) {
            let holdout = pick(self.rng, &["0.1", "0.25", "0.5"]);
            self.line(&format!("holdout = {holdout}"));
        }
        if self.chance(0.25) {
            self.line("experiment = \"shared\"");
        }
        if self.chance(0.5) {
            let variants: Vec<String> = ["plain", "urgent", "kind"]
                .into_iter()
                .take(self.rng.random_range(1..=3))
                .map(|name| {
                    let weight = self.rng.random_range(1..=3);
                    format!("{{ name = \"{name}\", weight = {weight} }}")
                })
                .collect();
            self.line(&format!("variants = [{}]", variants.join(", ")));
        }
    }
}
