//! The oracle: SPEC §1 to §5 recomputed naively, tick by tick, from the whole history and on plain maps. In: a world,
//! which is a configuration and the lines of each stream. Out: every decision, and the whole trigger set at every tick
//! at which it changed. It shares nothing with the engine, so that where the two differ, one of them is wrong.
//!
//! ```text
//! lines → records (decode) → time (ticks) → writes (facts) → state (as of a tick) → triggers → gates → decisions
//!                                                                     (similar; audience, quiet hours)
//! ```

pub mod audience;
mod bad_lines;
pub mod campaigns;
mod config;
mod gates;
mod horizon;
pub mod identity_cases;
pub mod kpis;
mod quiet;
mod records;
mod similar;
pub mod state;
mod time;
mod triggers;
pub mod world;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use config::Config;
use gates::{Asked, Ruling, Send};
use horizon::Horizon;
use records::{Bad, Record, STREAMS, Who};
use similar::Without;
use state::{OpenCart, OrderState, State};
use time::{Stamped, round_up};
use triggers::{Episode, Found};
use writes::Fact;

pub use world::random_world;

/// What a replay is given: a configuration, and each stream's lines. A stream that is not there has no file.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    pub seed: u64,
    pub config_toml: String,
    /// When it begins, or shortly before, epoch ms.
    pub begin_ms: i64,
    pub streams: BTreeMap<&'static str, Vec<String>>,
}

/// Where a replay ends (SPEC §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The tick at which the last record takes effect.
    LastEvent,
    /// No deadline is pending.
    Drain,
    /// The last tick that is no later than this, epoch ms.
    Time(i64),
}

/// A member of the trigger set: campaign, customer, subject, anchor in epoch ms.
pub type Member = (String, String, String, i64);

/// Records by stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    pub bad: BTreeMap<&'static str, usize>,
    pub late: BTreeMap<&'static str, usize>,
    /// Those that were never the state of their key; `superseded` among them.
    pub stale: BTreeMap<&'static str, usize>,
    /// Those that lost only to a greater record of their own tick.
    pub superseded: BTreeMap<&'static str, usize>,
    pub duplicates: BTreeMap<&'static str, usize>,
}

/// What the oracle found.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// SPEC §5's objects, sorted by (`as_of`, `customer_id`, `campaign`, `subject`).
    pub decisions: Vec<Value>,
    /// The whole trigger set at every tick (epoch ms) at which it changed.
    pub trigger_set: BTreeMap<i64, BTreeSet<Member>>,
    pub counts: Counts,
    /// The open carts at the end.
    pub open_carts: BTreeSet<OpenCart>,
    /// How often each thing that a random world should contain came to pass.
    pub occurred: BTreeMap<String, usize>,
}

/// Which ticks are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Ticks at which a record takes effect or a deadline falls.
    WhereNeeded,
    /// Every tick from the first record on.
    EveryTick,
}

/// Runs the world.
pub fn run(world: &World, until: Until) -> Outcome {
    run_looking(world, until, Look::WhereNeeded)
}

/// Runs the world, evaluating the ticks that `look` says.
pub fn run_looking(world: &World, until: Until, look: Look) -> Outcome {
    run_following(world, until, look, None)
}

/// Runs the world, and follows what came of its decisions, of which the mails of these were accepted at these times, epoch ms:
/// the whole table of KPIs at every tick at which it changed.
pub fn run_and_follow(
    world: &World,
    until: Until,
    accepted: &[(i64, String)],
) -> (Outcome, BTreeMap<i64, kpis::Table>) {
    let config = config::parse(&world.config_toml);
    let at = |(time_ms, id): &(i64, String)| (round_up(*time_ms, config.tick_ms), id.clone());
    let mut history = kpis::History { accepted: accepted.iter().map(at).collect(), ..Default::default() };
    let outcome = run_following(world, until, Look::WhereNeeded, Some(&mut history));
    let terms =
        kpis::Terms { tick_ms: config.tick_ms, attribution_ms: config.attribution_ms, horizon: Horizon::of(&config) };
    (outcome, kpis::follow(&history, &terms))
}

fn run_following(world: &World, until: Until, look: Look, history: Option<&mut kpis::History>) -> Outcome {
    let config = config::parse(&world.config_toml);
    let mut run = Run { history, ..Run::new(&config) };
    let stamped = run.read(world);
    let last_event_ms = stamped.iter().map(|record| record.decoded.time_ms).max();
    let end = match until {
        Until::LastEvent => round_up(last_event_ms.unwrap_or(0), config.tick_ms),
        Until::Drain => i64::MAX,
        Until::Time(time_ms) => time_ms,
    };
    let ticks: BTreeSet<i64> = stamped.iter().map(|record| record.tick).collect();
    let (facts, without) = writes::facts(stamped, &Horizon::of(&config), config.tick_ms);
    run.count(without);
    run.observe_facts(&facts);
    run.follow_engagement(&facts, end);
    run.evaluate(&facts, &ticks, end, look);
    run.finish()
}

/// The event time of a line, epoch ms; none of a bad one.
pub fn event_time_ms(stream: &str, line: &str) -> Option<i64> {
    records::decode(stream, line).ok().map(|decoded| decoded.time_ms)
}

/// The tick at which each line of a stream takes effect, epoch ms, when they arrive in this order; the bad ones left out.
pub fn bound_ticks(world: &World, stream: &str, order: &[usize]) -> BTreeMap<usize, i64> {
    let config = config::parse(&world.config_toml);
    let lines = &world.streams[stream];
    let good = order.iter().filter_map(|line| Some((*line, records::decode(stream, &lines[*line]).ok()?)));
    let stamped = time::stamp(0, good.collect(), config.tick_ms, config.lateness_ms);
    stamped.into_iter().map(|record| (record.position.line, record.tick)).collect()
}

/// A run in progress.
struct Run<'a> {
    config: &'a Config,
    outcome: Outcome,
    /// The keys by which the decisions are sorted at the end.
    decisions: Vec<((i64, Episode), Value)>,
    decided: BTreeSet<Episode>,
    /// Those that wait for the end of quiet hours, and the ticks at which they are asked again.
    waiting: BTreeMap<Episode, i64>,
    sends: Vec<Send>,
    set: BTreeSet<Episode>,
    /// What the KPIs are made from, where anybody asks.
    history: Option<&'a mut kpis::History>,
}

impl<'a> Run<'a> {
    fn new(config: &'a Config) -> Self {
        Run {
            config,
            outcome: Outcome {
                decisions: Vec::new(),
                trigger_set: BTreeMap::new(),
                counts: Counts::default(),
                open_carts: BTreeSet::new(),
                occurred: BTreeMap::new(),
            },
            decisions: Vec::new(),
            decided: BTreeSet::new(),
            waiting: BTreeMap::new(),
            sends: Vec::new(),
            set: BTreeSet::new(),
            history: None,
        }
    }

    /// Decodes and stamps every line, counting the bad and the late.
    fn read(&mut self, world: &World) -> Vec<Stamped> {
        let mut all = Vec::new();
        for (index, stream) in STREAMS.into_iter().enumerate() {
            let Some(lines) = world.streams.get(stream) else {
                self.occur("missing stream");
                continue;
            };
            let mut good = Vec::new();
            for (line, text) in (1..).zip(lines) {
                match records::decode(stream, text) {
                    Ok(decoded) => good.push((line, decoded)),
                    Err(bad) => self.dead_letter(stream, bad),
                }
            }
            let stamped = time::stamp(index, good, self.config.tick_ms, self.config.lateness_ms);
            let late = stamped.iter().filter(|record| record.late).count();
            if late > 0 {
                self.outcome.counts.late.insert(stream, late);
            }
            all.extend(stamped);
        }
        all
    }

    fn dead_letter(&mut self, stream: &'static str, bad: Bad) {
        *self.outcome.counts.bad.entry(stream).or_default() += 1;
        self.occur(&format!("bad: {bad:?}"));
    }

    fn count(&mut self, without: writes::Without) {
        self.outcome.counts.stale = without.stale;
        self.outcome.counts.superseded = without.superseded;
        self.outcome.counts.duplicates = without.duplicates;
        self.occur_times("repeated after a day", without.repeated_after_a_day);
        self.occur_times("position decides", without.position_decides);
        self.occur_times("write of a key that is forgotten", without.after_forgotten);
    }

    /// Looks at every tick up to `end` at which something may change.
    fn evaluate(&mut self, facts: &[Fact], ticks: &BTreeSet<i64>, end: i64, look: Look) {
        let (tick_ms, horizon) = (self.config.tick_ms, Horizon::of(self.config));
        let Some(&first) = ticks.first() else {
            return;
        };
        let mut state = State::at(first, tick_ms, &horizon, facts);
        while state.tick <= end {
            let mut deadlines = self.look(&state);
            deadlines.extend(state.forgets.iter().filter(|tick| **tick < horizon::NEVER));
            let after = state.tick + 1;
            let effect = ticks.range(after..).next().copied();
            let deadline = deadlines.into_iter().filter(|tick| *tick >= after).min();
            let needed = effect.into_iter().chain(deadline).min();
            let next = match look {
                Look::WhereNeeded => needed,
                Look::EveryTick => needed.map(|_| state.tick + tick_ms),
            };
            if next.is_none_or(|next| next > end) {
                self.outcome.open_carts = state.open_carts();
            }
            match next {
                None => break,
                Some(tick) if ticks.contains(&tick) || state.forgets.range(after..=tick).next().is_some() => {
                    state = State::at(tick, tick_ms, &horizon, facts);
                }
                // With nothing new and nothing forgotten, only the tick is another.
                Some(tick) => state.tick = tick,
            }
        }
    }

    /// Finds the trigger set at the state's tick, decides what enters, and gives the deadlines ahead.
    fn look(&mut self, state: &State) -> Vec<i64> {
        let mut found = Found::default();
        for campaign in &self.config.campaigns {
            triggers::by_name(&campaign.trigger)(state, campaign, &mut found);
        }
        let set: BTreeSet<Episode> = found.episodes.keys().cloned().collect();
        let again = set.iter().filter(|it| self.decided.contains(it));
        let again = again.filter(|it| !self.set.contains(it)).count();
        self.occur_times("re-entry with the same anchor", again);
        self.observe(state);
        let gone = self.waiting.len();
        self.waiting.retain(|episode, _| set.contains(episode));
        self.occur_times("waited and gone", gone - self.waiting.len());
        let waits = |episode: &Episode| self.waiting.get(episode).is_some_and(|wake| *wake > state.tick);
        let is_asked = |(episode, _): &(Episode, Value)| !self.decided.contains(episode) && !waits(episode);
        let mut asked: Vec<_> = found.episodes.into_iter().filter(is_asked).collect();
        for (episode, payload) in &mut asked {
            self.suggest(episode, payload, state);
        }
        self.decide(&asked, state);
        self.follow(state);
        if set != self.set {
            let members = set.iter().map(member).collect();
            self.outcome.trigger_set.insert(state.tick, members);
        }
        self.set = set;
        found.deadlines.extend(self.waiting.values());
        found.deadlines
    }

    /// Adds the similar SKUs to the payload, where the campaign asks for them.
    fn suggest(&mut self, episode: &Episode, payload: &mut Value, state: &State) {
        let Some(terms) = gates::campaign_of(self.config, episode).similar else {
            return;
        };
        let similar = |without| similar::similar(state, &episode.customer, payload, terms, without);
        let skus = similar(Without::Nothing);
        let differing: Vec<Without> = Without::PARTS.into_iter().filter(|part| similar(*part) != skus).collect();
        self.occur(if skus.is_empty() { "similar: none" } else { "similar: some" });
        for part in differing {
            self.occur(&format!("similar: {part:?} matters"));
        }
        payload["similar"] = skus.iter().map(|sku| triggers::product_json(state, sku)).collect();
    }

    fn decide(&mut self, asked: &[(Episode, Value)], state: &State) {
        let rulings = gates::decide(asked, self.config, state, &self.sends);
        for ((episode, payload), ruling) in asked.iter().zip(rulings) {
            let about = Asked::new((episode, payload), self.config, state, &self.sends);
            for note in notes(&about, &ruling) {
                self.occur(note);
            }
            let waited = self.waiting.remove(episode).is_some();
            let decided = match ruling {
                Ruling::Waits(wake) => {
                    self.occur(if waited { "waited again" } else { "waited" });
                    self.waiting.insert(episode.clone(), wake);
                    continue;
                }
                Ruling::Decided(decided) => decided,
            };
            self.occur_times(&format!("released: {}", decided.decision["outcome"]), usize::from(waited));
            self.sends.extend(decided.sent);
            self.observe_decision(episode, asked, &decided.decision);
            self.decided.insert(episode.clone());
            self.follow_decision(episode, &decided.decision, state.tick);
            let key = (state.tick, episode.clone());
            self.decisions.push((key, decided.decision));
        }
    }

    /// Notes what the KPIs are made from.
    fn follow(&mut self, state: &State) {
        let Some(history) = &mut self.history else { return };
        let row = |order: &OrderState| kpis::Row {
            owner: order.owner.clone(),
            placed: order.placed,
            status: order.order.status,
            total: order.order.total,
        };
        let orders = state.orders.iter().map(|(id, order)| (id.clone(), row(order))).collect();
        let owner = |made: &kpis::Made| (made.customer.clone(), state.now(&made.customer));
        let owners = history.made.iter().map(owner).collect();
        history.moments.push(kpis::Moment { tick: state.tick, orders, owners });
    }

    fn follow_decision(&mut self, episode: &Episode, decision: &Value, tick: i64) {
        let Some(history) = &mut self.history else { return };
        let arm = match decision["outcome"].as_str() {
            Some("holdout") => ("holdout", None),
            Some("send") => ("send", decision["variant"].as_str().map(str::to_owned)),
            _ => return,
        };
        let id = decision["decision_id"].as_str().expect("a text").to_owned();
        let (campaign, customer) = (episode.campaign.clone(), episode.customer.clone());
        history.made.push(kpis::Made { tick, id, campaign, customer, arm });
    }

    fn follow_engagement(&mut self, facts: &[Fact], end: i64) {
        let Some(history) = &mut self.history else { return };
        for fact in facts.iter().filter(|fact| fact.tick <= end) {
            if let Record::Engagement(engagement) = &fact.record {
                history.engagement.push((fact.tick, engagement.clone()));
            }
        }
    }

    fn finish(mut self) -> Outcome {
        self.decisions.sort_by(|((a_tick, a), _), ((b_tick, b), _)| {
            let a = (a_tick, a.customer.id(), &a.campaign, &a.subject, a.anchor);
            let b = (b_tick, b.customer.id(), &b.campaign, &b.subject, b.anchor);
            a.cmp(&b)
        });
        self.outcome.decisions = self.decisions.into_iter().map(|(_, it)| it).collect();
        self.outcome
    }

    fn occur(&mut self, what: &str) {
        self.occur_times(what, 1);
    }

    fn occur_times(&mut self, what: &str, times: usize) {
        *self.outcome.occurred.entry(what.to_owned()).or_default() += times;
    }

    /// Notes what the facts show.
    fn observe_facts(&mut self, facts: &[Fact]) {
        let mut owners: BTreeMap<&str, &Who> = BTreeMap::new();
        let (mut users, mut visitors) = (BTreeSet::new(), BTreeSet::new());
        for fact in facts {
            let who = match &fact.record {
                Record::Cart(cart) => {
                    let before = owners.insert(&cart.cart_id, &cart.who);
                    if before.is_some_and(|before| *before != cart.who) {
                        self.occur("cart that changed its owner");
                    }
                    &cart.who
                }
                Record::Order(order) => &order.who,
                Record::Message(message) => &message.who,
                _ => continue,
            };
            users.extend(&who.user);
            visitors.extend(&who.anonymous);
        }
        for (case, times) in identity_cases::count(facts) {
            self.occur_times(case, times);
        }
        let same = users.intersection(&visitors).count();
        self.occur_times("user and visitor of one id", same);
    }

    /// Notes what the state shows, once for each tick looked at.
    fn observe(&mut self, state: &State) {
        for (what, times) in &state.forgotten {
            self.occur_times(&format!("forgotten: {what}"), *times);
        }
        self.occur_times("what is left of forgotten orders", state.past.len());
        for (key, cart) in &state.carts {
            if cart.lines.is_empty() {
                self.occur("emptied cart");
            }
            for line in &cart.lines {
                let closed = state.is_closed(key, cart, line);
                let ordered = state.is_ordered(cart, line);
                let orders = state.orders_of(&cart.owner);
                let tie = orders.filter(|it| it.placed == line.changed).count();
                self.occur_times("closed cart", usize::from(closed));
                self.occur_times("left-out line of an open cart", usize::from(ordered && !closed));
                self.occur_times("order in the tick of a cart's change", tie);
            }
        }
    }

    fn observe_decision(&mut self, episode: &Episode, entering: &[(Episode, Value)], decision: &Value) {
        let text = |member: &str| decision[member].as_str().unwrap_or("none").to_owned();
        self.occur(&format!("outcome: {}", text("outcome")));
        self.occur(&format!("reason: {}", text("reason")));
        self.occur(&format!("trigger: {}", text("trigger")));
        self.occur(&format!("{}: {}", text("trigger"), text("outcome")));
        self.occur(&format!("variant: {}", text("variant")));
        let campaign = |name: &str| {
            let mut campaigns = self.config.campaigns.iter();
            campaigns.find(|it| it.name == name)
        };
        let Some(own) = campaign(&episode.campaign) else {
            return;
        };
        let rivals = entering.iter().map(|(it, _)| it);
        let rivals = rivals.filter(|it| it.customer == episode.customer && *it != episode);
        let ties: Vec<&str> = rivals
            .filter(|_| text("reason") == "outranked")
            .filter_map(|it| match campaign(&it.campaign) {
                Some(other) if other.name == own.name => Some("tie of one campaign's subjects"),
                Some(other) if other.priority == own.priority => Some("tie of priority"),
                _ => None,
            })
            .collect();
        let stock = format!("stock: {:?}", own.stock);
        let cart = own.trigger == "cart_abandonment";
        for tie in ties {
            self.occur(tie);
        }
        if cart {
            self.occur(&stock);
        }
    }
}

/// What is to be noted of an episode that was asked: of which audience nothing can be told, and on what days it waits.
fn notes(asked: &Asked, ruling: &Ruling) -> Vec<&'static str> {
    let mut notes = Vec::new();
    if asked.state.consents(&asked.episode.customer) && gates::declines(asked) {
        notes.push("choice that declines");
    }
    if let Ruling::Decided(decided) = ruling
        && decided.decision["reason"] == "audience"
        && audience::is_undecidable(asked)
    {
        notes.push("undecidable audience");
    }
    if let Ruling::Decided(decided) = ruling {
        notes.extend(discount_notes(asked, &decided.decision));
    }
    if let (Some(quiet), Ruling::Waits(wake)) = (&asked.config.quiet, ruling) {
        let (begins, ends) = (asked.state.tick, *wake);
        let shown = |tick| {
            let (date, time) = quiet.clock(tick, asked.timezone());
            date.to_datetime(time)
        };
        // By how much the clock was put forward or back while it waits.
        let put = shown(ends).duration_since(shown(begins)).as_millis() - i128::from(ends - begins);
        let noted = [
            ("quiet hours: own zone", asked.timezone().is_some()),
            ("quiet hours: over midnight", shown(ends).date() > shown(begins).date()),
            ("quiet hours: clock put forward", put > 0),
            ("quiet hours: clock put back", put < 0),
            ("quiet hours: end that the clock skips", quiet.skips_end(ends, asked.timezone(), asked.config.tick_ms)),
            ("quiet hours: end that the clock shows twice", quiet.is_shown_twice(ends, asked.timezone())),
        ];
        notes.extend(noted.into_iter().filter(|(_, is)| *is).map(|(note, _)| note));
    }
    notes
}

/// What is to be noted of the discount of an episode that was decided.
fn discount_notes(asked: &Asked, decision: &Value) -> Vec<&'static str> {
    let discounts = &asked.campaign.discounts;
    let given = gates::discount(asked);
    let tried = &discounts[..given.unwrap_or(discounts.len())];
    let undecidable = tried.iter().filter(|(when, _)| audience::holds(when, asked).is_none());
    let mut notes: Vec<&str> = undecidable.map(|_| "undecidable discount").collect();
    match given {
        Some(0) => notes.push("discount: the first"),
        Some(_) => notes.push("discount: a later one"),
        None if discounts.is_empty() => {}
        None => notes.push("discount: none holds"),
    }
    if given.is_some() && decision["outcome"] != "send" {
        notes.push("discount: not sent");
    }
    if given.is_some_and(|place| !discounts[place].1.fract().is_zero()) {
        notes.push("discount: of a fraction");
    }
    notes
}

fn member(episode: &Episode) -> Member {
    (episode.campaign.clone(), episode.customer.id().to_owned(), episode.subject.clone(), episode.anchor)
}

/// Writes `NAME.jsonl` for each stream, and `beckon.toml`, into `dir`.
pub fn write_world(world: &World, dir: &Path) -> std::io::Result<()> {
    std::fs::write(dir.join("beckon.toml"), &world.config_toml)?;
    for (stream, lines) in &world.streams {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(dir.join(format!("{stream}.jsonl")), text)?;
    }
    Ok(())
}

/// Says where `got`, a replay's output lines, first differs from the expected decisions.
pub fn first_difference(expected: &Outcome, got: &[String]) -> Option<String> {
    let expected: Vec<String> = expected.decisions.iter().map(Value::to_string).collect();
    let longer = expected.len().max(got.len());
    let index = (0..longer).find(|index| expected.get(*index) != got.get(*index))?;
    let head = format!("decision {} differs ({} expected, {} got)", index + 1, expected.len(), got.len());
    let side = |lines: &[String]| match lines.get(index) {
        Some(line) => line.clone(),
        None => "nothing".to_owned(),
    };
    Some(format!(
        "{head}: {}\n  expected {}\n  got      {}",
        difference(&expected, got, index),
        side(&expected),
        side(got)
    ))
}

/// What kind of difference it is: a decision too few, one too many, or one that differs within.
fn difference(expected: &[String], got: &[String], index: usize) -> String {
    let about = |line: &String| -> Option<String> {
        let decision: Value = serde_json::from_str(line).ok()?;
        let of = |member: &str| decision[member].as_str().unwrap_or("?").to_owned();
        Some(format!("{} of {} about {} since {}", of("campaign"), of("customer_id"), of("subject"), of("anchor")))
    };
    let among = |lines: &[String], wanted: &Option<String>| {
        let mut lines = lines.iter();
        lines.find(|line| about(line) == *wanted).cloned()
    };
    let wanted = expected.get(index).map(about);
    let found = got.get(index).map(about);
    if let Some(found) = &found
        && among(expected, found).is_none()
    {
        let what = found.clone().unwrap_or("a line that is no decision".into());
        return format!("{what} is one too many");
    }
    let (Some(line), Some(wanted)) = (expected.get(index), wanted) else {
        return "a decision comes twice".to_owned();
    };
    let what = wanted.clone().unwrap_or_default();
    match among(got, &wanted) {
        None => format!("{what} is missing"),
        Some(other) => format!("{what}: {}", differing_members(line, &other)),
    }
}

fn differing_members(expected: &str, got: &str) -> String {
    let parse = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_default();
    let (wanted, found) = (parse(expected), parse(got));
    let (Some(wanted), Some(found)) = (wanted.as_object(), found.as_object()) else {
        return "not an object".to_owned();
    };
    let members: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
    let differing: Vec<String> = members
        .into_iter()
        .filter(|member| wanted.get(*member) != found.get(*member))
        .map(|member| {
            let show = |side: Option<&Value>| side.map_or("nothing".to_owned(), Value::to_string);
            let (wanted, found) = (wanted.get(member), found.get(member));
            format!("{member} should be {}, is {}", show(wanted), show(found))
        })
        .collect();
    match differing.is_empty() {
        true => "only its place or the order of its members differs".to_owned(),
        false => differing.join("; "),
    }
}
