//! What the table says (SPEC §9). In: the table and the campaigns' arms. Out: figures and rates by campaign × arm and by day, and each arm
//! beside those held out. Cannot fail.

use std::collections::BTreeMap;

use beckon_dataflows::kpis::{AMOUNTS_A_UNIT, Cell, Measure, Tally};
use beckon_dataflows::model::Tick;
use differential_dataflow::difference::Semigroup;
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Table;
use crate::config::Config;
use crate::experiment::{Arm, Comparison, NARROWEST_AT, Outcome, Sample, SampleRatio};

/// What those are called who are held out.
const HOLDOUT: &str = "holdout";

/// What the arm of a campaign without variants is called.
const SEND: &str = "send";

/// The arms of a campaign: those held out, and the variants in the order written.
#[derive(Clone, Debug, PartialEq)]
pub struct Arms {
    /// The campaign's name.
    pub campaign: String,
    /// By place: the name, and the share of all customers.
    pub arms: Vec<(String, f64)>,
}

/// The names behind the table's rows, in the order of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Names(pub Vec<Arms>);

impl Names {
    /// Those of the configured campaigns.
    pub fn of(config: &Config) -> Names {
        Names(config.campaigns.iter().map(Arms::of).collect())
    }

    /// The place of an arm in its campaign: 0 for those held out, with `variant` that variant's. None of one that is not configured.
    pub fn place(&self, campaign: u16, variant: Option<&str>) -> Option<u16> {
        let arms = &self.0.get(usize::from(campaign))?.arms;
        let place = match variant {
            None => Some(1),
            Some(name) => arms.iter().skip(1).position(|(arm, _)| arm == name).map(|place| place + 1),
        };
        place.and_then(|place| u16::try_from(place).ok())
    }
}

impl Arms {
    fn of(campaign: &crate::config::Campaign) -> Arms {
        let rest = 1.0 - campaign.holdout;
        let weights: f64 = campaign.variants.iter().map(|variant| variant.weight).sum();
        let variant = |variant: &crate::config::Variant| (variant.name.clone(), rest * variant.weight / weights);
        let mut arms = vec![(HOLDOUT.to_owned(), campaign.holdout)];
        arms.extend(campaign.variants.iter().map(variant));
        if campaign.variants.is_empty() {
            arms.push((SEND.to_owned(), rest));
        }
        Arms { campaign: campaign.name.clone(), arms }
    }
}

/// The KPIs as of a closed tick.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The tick, RFC 3339.
    pub as_of: String,
    /// How long a decision is followed, ms.
    pub attribution_ms: u64,
    /// The campaigns, in the order of the configuration.
    pub campaigns: Vec<CampaignReport>,
}

/// A campaign's.
#[derive(Clone, Debug, Serialize)]
pub struct CampaignReport {
    /// Its name.
    pub campaign: String,
    /// Each of its arms: `holdout`, then the variants, or `send` where there are none.
    pub arms: Vec<ArmReport>,
    /// Whether the arms have the sizes that the configuration gives them; none where there is only one.
    pub sample_ratio: Option<SampleRatio>,
    /// Each arm beside those held out; with several variants first all of them together, as `send`.
    pub against_holdout: Vec<Against>,
}

/// An arm's.
#[derive(Clone, Debug, Serialize)]
pub struct ArmReport {
    /// Its name.
    pub arm: String,
    /// Of all days.
    #[serde(flatten)]
    pub whole: Figures,
    /// By the day of the decision, in UTC; the earliest first.
    pub days: Vec<DayReport>,
}

/// A day's.
#[derive(Clone, Debug, Serialize)]
pub struct DayReport {
    /// The day, such as 2026-01-31.
    pub day: String,
    /// What came of its decisions.
    #[serde(flatten)]
    pub figures: Figures,
}

/// An arm beside those held out.
#[derive(Clone, Debug, Serialize)]
pub struct Against {
    /// Its name.
    pub arm: String,
    /// Whether the sample-ratio check lets anything be believed of it.
    pub is_believable: bool,
    /// Converted customers of those decided about.
    pub conversion: Comparison,
    /// Revenue per customer decided about, in the currency's major unit.
    pub revenue: Comparison,
}

/// What is counted, and the rates made of it.
#[derive(Clone, Debug)]
pub struct Figures(Tally);

impl Figures {
    /// How many.
    pub fn count(&self, measure: Measure) -> i64 {
        self.0.count(measure)
    }

    /// Sum of the orders that count, less refunds, in the currency's major unit.
    pub fn revenue(&self) -> Decimal {
        // What no decimal holds is as good as any other absurd sum.
        let revenue = Decimal::try_from_i128_with_scale(self.0.revenue, AMOUNTS_A_UNIT.ilog10());
        revenue.unwrap_or(Decimal::MAX).normalize()
    }

    /// The share of `one` among `of`; none among none.
    pub fn rate(&self, one: Measure, of: Measure) -> Option<f64> {
        let (one, of) = (self.count(one), self.count(of));
        (of > 0).then(|| one as f64 / of as f64)
    }

    /// Revenue per customer decided about.
    pub fn revenue_per_decided(&self) -> Option<f64> {
        let decided = self.count(Measure::Decided);
        (decided > 0).then(|| self.0.revenue as f64 / AMOUNTS_A_UNIT as f64 / decided as f64)
    }

    fn customers(&self) -> u64 {
        self.count(Measure::Decided).try_into().unwrap_or(0)
    }

    fn conversion(&self) -> Sample {
        Sample::of_rate(self.count(Measure::Converted).try_into().unwrap_or(0), self.customers())
    }

    fn revenues(&self) -> Sample {
        let unit = AMOUNTS_A_UNIT as f64;
        Sample::of_sums(self.customers(), self.0.revenue as f64 / unit, self.0.revenue_squares as f64 / (unit * unit))
    }

    fn and(mut self, other: &Figures) -> Figures {
        self.0.plus_equals(&other.0);
        self
    }
}

/// The rates of SPEC §9, each of which among which.
const RATES: [(&str, Measure, Measure); 4] = [
    ("open_rate", Measure::Opened, Measure::Delivered),
    ("click_rate", Measure::Clicked, Measure::Delivered),
    ("click_to_open", Measure::Clicked, Measure::Opened),
    ("conversion_rate", Measure::Converted, Measure::Decided),
];

impl Serialize for Figures {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = Map::new();
        for measure in Measure::ALL {
            members.insert(measure.name().into(), self.count(measure).into());
        }
        members.insert("revenue".into(), self.revenue().to_string().into());
        for (name, one, of) in RATES {
            members.insert(name.into(), self.rate(one, of).into());
        }
        members.insert("revenue_per_decided".into(), self.revenue_per_decided().into());
        Value::Object(members).serialize(serializer)
    }
}

impl Report {
    /// What the table says. Campaigns about which nothing was decided are there too.
    pub fn of(table: &Table, names: &Names, attribution_ms: u64) -> Report {
        let mut by_arm: BTreeMap<(u16, u16), BTreeMap<Option<u32>, Figures>> = BTreeMap::new();
        for (Cell { campaign, arm, day }, tally) in table.rows() {
            by_arm.entry((*campaign, *arm)).or_default().insert(*day, Figures(tally.clone()));
        }
        let campaigns = (0u16..).zip(&names.0).map(|(campaign, arms)| {
            let arms = (0u16..).zip(&arms.arms).map(|(place, arm)| {
                let days = by_arm.remove(&(campaign, place)).unwrap_or_default();
                (arm, ArmReport::of(&arm.0, days))
            });
            CampaignReport::of(&names.0[usize::from(campaign)].campaign, arms.collect())
        });
        Report { as_of: time(table.as_of()), attribution_ms, campaigns: campaigns.collect() }
    }
}

impl ArmReport {
    fn of(arm: &str, mut days: BTreeMap<Option<u32>, Figures>) -> ArmReport {
        let whole = days.remove(&None).unwrap_or(Figures(Tally::default()));
        let days = days.into_iter().filter_map(|(day, figures)| Some(DayReport { day: date(day?), figures }));
        ArmReport { arm: arm.to_owned(), whole, days: days.collect() }
    }
}

impl CampaignReport {
    fn of(campaign: &str, arms: Vec<(&(String, f64), ArmReport)>) -> CampaignReport {
        let size = |((name, weight), arm): &(&(String, f64), ArmReport)| Arm {
            name: name.clone(),
            n: arm.whole.customers(),
            weight: *weight,
        };
        let sample_ratio = SampleRatio::of(arms.iter().map(size).collect());
        // Nobody is held out where nobody should be: then there is nothing to compare with.
        let sizes = arms.iter().filter(|((_, weight), arm)| *weight > 0.0 || arm.whole.customers() > 0);
        let arms: Vec<ArmReport> = sizes.map(|(_, arm)| arm.clone()).collect();
        let is_believable = !sample_ratio.as_ref().is_some_and(|ratio| ratio.is_mismatch);
        let against_holdout = against_holdout(&arms, is_believable);
        CampaignReport { campaign: campaign.to_owned(), arms, sample_ratio, against_holdout }
    }
}

/// Each arm beside those held out; several also together.
fn against_holdout(arms: &[ArmReport], is_believable: bool) -> Vec<Against> {
    let Some((control, sends)) = arms.split_first().filter(|(first, _)| first.arm == HOLDOUT) else {
        return Vec::new();
    };
    let together = sends.iter().map(|arm| arm.whole.clone()).reduce(|all, arm| all.and(&arm));
    let together = together.filter(|_| sends.len() > 1).map(|figures| (SEND.to_owned(), figures));
    let each = sends.iter().map(|arm| (arm.arm.clone(), arm.whole.clone()));
    let against = |(arm, figures): (String, Figures)| {
        let compare = |outcome, of: fn(&Figures) -> Sample| {
            Comparison::of(outcome, of(&figures), of(&control.whole), NARROWEST_AT)
        };
        Against {
            arm,
            is_believable,
            conversion: compare(Outcome::Rate, Figures::conversion),
            revenue: compare(Outcome::Mean, Figures::revenues),
        }
    };
    together.into_iter().chain(each).map(against).collect()
}

/// A tick as RFC 3339 in UTC.
fn time(tick: Tick) -> String {
    let time = i64::try_from(tick).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| tick.to_string(), |time| format!("{time:.3}"))
}

/// A day, counted from 1970-01-01, as RFC 3339.
fn date(day: u32) -> String {
    let date = jiff::civil::date(1970, 1, 1).checked_add(jiff::Span::new().days(day));
    date.map_or_else(|_| day.to_string(), |date| date.to_string())
}
