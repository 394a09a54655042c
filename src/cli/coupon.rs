//! `beckon coupon`: whether a discount's code is genuine, what it takes off, and which decision it came from (SPEC §6).

use std::fmt;

use serde::Serialize;

use crate::config::{Config, Purpose, TriggerKinds};
use crate::coupon::{Codes, Coupon};
use crate::decision::{Decision, Percent};
use crate::ledger::Ledger;

/// What no code can say of itself.
const SINGLE_USE: &str =
    "Whether it was used before is not known here: that each code is used once is for the shop to enforce.";

/// The arguments of `beckon coupon`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The code, as the customer gives it: capitals, dashes and blanks do not matter
    code: String,
    #[command(flatten)]
    file: super::ConfigFile,
    /// Answer in one line of JSON
    #[arg(long)]
    json: bool,
}

/// Verifies a code. Fails when it is not genuine, or its secret is not to be had.
pub fn run(arguments: &Arguments, kinds: &TriggerKinds) -> anyhow::Result<()> {
    let config = arguments.file.load(Purpose::Coupon, kinds)?;
    let coupons = config.coupons.as_ref().ok_or_else(|| anyhow::anyhow!("no [coupons] is configured"))?;
    let secret = coupons.secret().map_err(anyhow::Error::msg)?;
    match Codes::of(&secret).verify(&arguments.code) {
        Ok(coupon) => {
            let genuine = Genuine::of(coupon, &config);
            if arguments.json {
                println!("{}", serde_json::to_string(&genuine)?)
            } else {
                print!("{genuine}")
            }
            Ok(())
        }
        Err(fault) => {
            if arguments.json {
                println!("{}", serde_json::json!({"valid": false, "reason": fault.to_string()}));
            }
            Err(anyhow::anyhow!("not valid: {fault}"))
        }
    }
}

/// A genuine code, and what is known of the decision that it came from.
#[derive(Serialize)]
struct Genuine {
    valid: bool,
    percent: Percent,
    /// The first 16 hex digits of the decision's id.
    decision_prefix: String,
    /// As the ledger has it; one, but for a chance of 2^-64.
    decisions: Vec<Decision>,
    /// Why the ledger says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<String>,
}

impl Genuine {
    fn of(coupon: Coupon, config: &Config) -> Genuine {
        let (decisions, ledger) = match look_up(coupon, config) {
            Ok(decisions) if decisions.is_empty() => (decisions, Some("the ledger has no such decision".to_owned())),
            Ok(decisions) => (decisions, None),
            Err(why) => (Vec::new(), Some(why.to_string())),
        };
        let decision_prefix = coupon.decision_prefix().to_string();
        Genuine { valid: true, percent: coupon.percent, decision_prefix, decisions, ledger }
    }
}

/// The decision in the ledger, if there is one.
fn look_up(coupon: Coupon, config: &Config) -> anyhow::Result<Vec<Decision>> {
    Ok(Ledger::open_existing(&config.state)?.decisions_of_prefix(coupon.decision)?)
}

impl fmt::Display for Genuine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "valid: {} % off", self.percent)?;
        writeln!(out, "decision  {}…", self.decision_prefix)?;
        for decision in &self.decisions {
            writeln!(out, "campaign  {}", decision.campaign)?;
            writeln!(out, "customer  {}", decision.customer_id)?;
            writeln!(out, "decided   {}", super::time(decision.as_of))?;
        }
        if let Some(why) = &self.ledger {
            writeln!(out, "(no more is known: {why})")?;
        }
        writeln!(out, "{SINGLE_USE}")
    }
}
