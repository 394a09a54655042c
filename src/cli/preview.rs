//! `beckon preview`: a campaign's mail, as a customer would get it (SPEC §7).

use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::json;

use super::{progress_bar, set_share};
use crate::config::{Campaign, Config, Purpose, TriggerKinds};
use crate::decision::{Decision, DecisionId, Mailbox, Message, Outcome, Payload};
use crate::pipeline::esps;
use crate::pipeline::preview::{self, Origin};
use crate::render::Context;

/// The arguments of `beckon preview`.
#[derive(clap::Args)]
#[command(after_long_help = HELP)]
pub struct Arguments {
    /// The campaign's name
    campaign: String,
    /// The customer, by the shop's id: their newest decision of this campaign, with the products and the profile of now where
    /// the log is given, else from the ledger
    #[arg(long, value_name = "ID", required_unless_present = "sample")]
    customer: Option<String>,
    /// A made-up customer and made-up products
    #[arg(long, conflicts_with_all = ["customer", "input", "kafka"])]
    sample: bool,
    /// The log: a directory of NAME.jsonl, NAME.jsonl.gz or NAME.jsonl.zst, one file a stream
    #[arg(long, value_name = "DIR")]
    input: Option<PathBuf>,
    /// The log: what the configured topics retain
    #[arg(long, conflicts_with = "input")]
    kafka: bool,
    #[command(flatten)]
    file: super::ConfigFile,
    /// The variant whose mail is shown; else the decision's, else the first
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// Fetch no enrichment: the mail has their fallbacks
    #[arg(long)]
    offline: bool,
    /// Write the HTML part to a file, to be opened in a browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print one JSON object, with all parts
    #[arg(long)]
    json: bool,
    /// Send it there through the configured ESP, with [Test] in front of its subject
    #[arg(long, value_name = "ADDRESS")]
    send_to: Option<Mailbox>,
    /// Print no progress
    #[arg(long)]
    quiet: bool,
}

const HELP: &str = "\
Nothing is decided and nothing is written down: a test that is sent has no decision behind it, and is in
no ledger. Its links are tagged but not tracked, the one that unsubscribes is void, and the code of a
discount is a made-up one that no shop takes.

Examples:
  beckon preview welcome --sample --html welcome.html
  beckon preview cart-abandonment --customer u548 --input streams --config campaigns/all.toml
  beckon preview cart-abandonment --customer u548 --kafka --variant urgent --send-to me@example.com";

/// Shows the mail, and sends it where it is asked to.
pub fn run(arguments: &Arguments, kinds: &TriggerKinds) -> anyhow::Result<()> {
    let config = arguments.file.load(Purpose::Check, kinds)?;
    let campaign = config.campaigns.iter().find(|campaign| campaign.name == arguments.campaign).with_context(|| {
        let names: Vec<&str> = config.campaigns.iter().map(|campaign| campaign.name.as_str()).collect();
        format!("there is no campaign `{}`; there is {}", arguments.campaign, names.join(", "))
    })?;
    let (mut context, origin) = found(arguments, &config, campaign)?;
    let template = template(campaign, arguments.variant.as_deref(), &mut context)?;
    if let Some(to) = &arguments.send_to {
        // Whoever it is about, it goes there, and under a name that no decision has.
        context.customer.email = Some(to.address.clone());
        context.decision_id = DecisionId(rand::random());
    }
    let is_unaddressed = context.customer.email.is_none();
    context.customer.email.get_or_insert_with(|| "customer@example.com".into());
    let esp = config.esp_of(campaign);
    let from = esp.map(|esp| Mailbox { name: esp.from.name.clone(), address: esp.from.address.clone() });
    let from = from.unwrap_or_else(|| Mailbox { name: Some("Shop".into()), address: "shop@example.com".into() });
    let decision = decision(campaign, &context);
    let mut message = preview::mail(&config, &template, (context.clone(), &decision), &from, !arguments.offline)?;
    if !arguments.quiet {
        eprintln!("{}", told(origin, is_unaddressed));
    }
    if let Some(to) = &arguments.send_to {
        message.to = to.clone();
        message.subject = format!("[Test] {}", message.subject);
    }
    show(arguments, &message, &context, &template, origin)?;
    arguments.send_to.as_ref().map_or(Ok(()), |_| send(&config, campaign, &message, &decision))
}

/// What is shown, and where it is from.
fn found(arguments: &Arguments, config: &Config, campaign: &Campaign) -> anyhow::Result<(Context, Origin)> {
    let Some(customer) = &arguments.customer else { return Ok((preview::sample(campaign), Origin::Sample)) };
    let log = super::Log { input: arguments.input.clone(), kafka: arguments.kafka };
    if log.input.is_none() && !log.kafka {
        let advice = "the ledger cannot be had; give the log with --input DIR or --kafka, or show a --sample";
        return Ok((preview::from_ledger(config, campaign, customer).context(advice)?, Origin::Ledger));
    }
    let bar = progress_bar(arguments.quiet, "preview {bar:40} {percent:>3}%  {elapsed} (still {eta})");
    let progress = |share| set_share(&bar, share);
    let found = preview::from_log(config, campaign, customer, log.open(config)?, log.noted(config)?, progress);
    bar.finish_and_clear();
    found
}

/// The template that is rendered: of the variant that is asked for, else of the decision's, else of the first.
fn template(campaign: &Campaign, asked: Option<&str>, context: &mut Context) -> anyhow::Result<String> {
    let named = |name: &str| campaign.variants.iter().find(|variant| variant.name == name);
    let variant = match asked {
        Some(name) => Some(named(name).with_context(|| {
            let names: Vec<&str> = campaign.variants.iter().map(|variant| variant.name.as_str()).collect();
            format!("`{}` has no variant `{name}`; it has {}", campaign.name, listed(&names))
        })?),
        None => context.variant.as_deref().and_then(named).or(campaign.variants.first()),
    };
    context.variant = variant.map(|variant| variant.name.as_str().into());
    let template = variant.map_or(&campaign.template, |variant| &variant.template);
    template
        .clone()
        .with_context(|| format!("`{}` has no template: it can be replayed, and sends nothing", campaign.name))
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// Where a preview is from, for people.
fn told(origin: Origin, is_unaddressed: bool) -> String {
    let origin = match origin {
        Origin::Log => "the customer's newest decision, with the state at the end of the log",
        Origin::Profile => "nothing is decided about this customer yet: the profile is theirs, the rest is made up",
        Origin::Ledger => {
            "as it was decided: the ledger knows neither profiles nor currencies; give the log with --input or --kafka"
        }
        Origin::Sample => "a made-up customer and made-up products",
    };
    let address = if is_unaddressed { "; no address is known" } else { "" };
    format!("({origin}{address})")
}

fn show(
    arguments: &Arguments,
    message: &Message,
    context: &Context,
    template: &str,
    origin: Origin,
) -> anyhow::Result<()> {
    if let Some(path) = &arguments.html {
        std::fs::write(path, &message.html).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if arguments.json {
        let origin = match origin {
            Origin::Log => "log",
            Origin::Profile => "profile",
            Origin::Ledger => "ledger",
            Origin::Sample => "sample",
        };
        let shown = json!({
            "campaign": context.campaign, "variant": context.variant, "template": template, "origin": origin,
            "customer_id": context.customer.id, "from": message.from.to_string(), "to": message.to.to_string(),
            "subject": message.subject, "message_id": message.message_id, "headers": headers(message),
            "text": message.text, "html": message.html,
        });
        println!("{shown}");
        return Ok(());
    }
    println!("From: {}\nTo: {}\nSubject: {}", message.from, message.to, message.subject);
    println!("Message-ID: {}", message.message_id);
    message.headers.iter().for_each(|header| println!("{}: {}", header.name(), header.value()));
    println!("\n{}", message.text.trim_end());
    match &arguments.html {
        Some(path) => println!("\nThe HTML part is in {}: open it in a browser.", path.display()),
        None => println!("\nThe HTML part goes to a file with --html FILE."),
    }
    Ok(())
}

/// Its further headers, by name.
fn headers(message: &Message) -> serde_json::Map<String, serde_json::Value> {
    message.headers.iter().map(|header| (header.name().to_owned(), header.value().into())).collect()
}

/// What the mail's links and the ESP name it by, though nothing is decided.
fn decision(campaign: &Campaign, context: &Context) -> Decision {
    Decision {
        decision_id: context.decision_id,
        campaign: campaign.name.as_str().into(),
        customer_id: context.customer.id.clone(),
        trigger: campaign.trigger.name().into(),
        subject: "".into(),
        anchor: 0,
        as_of: 0,
        outcome: Outcome::Send,
        reason: None,
        variant: context.variant.clone(),
        payload: Payload::default(),
    }
}

/// Sends it, once: what it came to is for whoever asked to judge.
fn send(config: &Config, campaign: &Campaign, message: &Message, decision: &Decision) -> anyhow::Result<()> {
    let esp = config.esp_of(campaign).context("no [esp] is configured: nothing can be sent")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sent = runtime.block_on(async { anyhow::Ok(esps::esp(esp)?.send(message, decision).await?) });
    sent.with_context(|| format!("the test to {} was not taken", message.to))?;
    eprintln!("sent to {}", message.to);
    Ok(())
}
