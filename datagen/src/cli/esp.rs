//! `datagen esp`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{ArgAction, Args};

use super::values;
use crate::esp::{Esp, EspConfig, FaultShares, Totals};
use crate::written::grouped;

/// An ESP simulator with faults, that counts by idempotency key
///
/// Takes messages as SendGrid, Postmark, Mailgun, Amazon SES and Resend do, or as plain JSON (POST /send); fails by a seed, and counts by
/// key: the Idempotency-Key header, else the decision_id in the message's metadata. The counts are printed at the
/// end, and at GET /stats; GET /messages?limit=N gives the latest messages. Point `base_url` of any such `[esp]` at it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct EspArgs {
    /// Where to listen
    #[arg(long, default_value_t = 9090)]
    port: u16,
    /// On which address
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Faults are drawn from this, the key and the attempt
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long an answer takes
    #[arg(long, value_name = "DURATION", default_value = "20ms", value_parser = values::duration)]
    delay: Duration,
    /// Requests a second beyond which it answers 429
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate_limit: Option<u32>,
    /// The share of attempts answered 429 with Retry-After; nothing is taken
    #[arg(long = "fail-429", value_name = "SHARE", default_value = "0", value_parser = values::share)]
    fail_429: f64,
    /// The share of attempts answered 503 with Retry-After; nothing is taken
    #[arg(long = "fail-503", value_name = "SHARE", default_value = "0", value_parser = values::share)]
    fail_503: f64,
    /// The share of attempts answered 500; nothing is taken
    #[arg(long = "fail-500", value_name = "SHARE", default_value = "0", value_parser = values::share)]
    fail_500: f64,
    /// The share of attempts whose message is taken and that get no answer
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = values::share)]
    timeout_after_accept: f64,
    /// How long such a connection is held open before it is closed
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = values::duration)]
    hold: Duration,
    /// The share of keys refused with 400 at every attempt
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = values::share)]
    refuse: f64,
    /// Whether a repeated Idempotency-Key is answered as before, and is no second message
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    honour_idempotency: bool,
    /// End after this long [default: at Ctrl-C]
    #[arg(long = "for", value_name = "DURATION", value_parser = values::duration)]
    lasting: Option<Duration>,
}

const EXAMPLES: &str = "\
Examples:
  Takes everything, on port 9090:
    datagen esp
  Is busy now and then, fails, or takes a message and never says so:
    datagen esp --fail-429 0.02 --fail-500 0.01 --timeout-after-accept 0.01
  Honours no key, so that who retries what timed out sends twice, and is counted:
    datagen esp --honour-idempotency false --timeout-after-accept 0.05 --hold 2s
  What it has seen so far:
    curl -s localhost:9090/stats";

pub(super) fn run(args: EspArgs) -> Result<()> {
    let config = EspConfig {
        listen: SocketAddr::new(args.host, args.port),
        seed: args.seed,
        delay: args.delay,
        rate_limit: args.rate_limit,
        faults: FaultShares {
            too_many: args.fail_429,
            unavailable: args.fail_503,
            failed: args.fail_500,
            timeout_after_accept: args.timeout_after_accept,
            refuse: args.refuse,
        },
        hold: args.hold,
        honour_idempotency: args.honour_idempotency,
        ..EspConfig::default()
    };
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let totals = runtime.block_on(serve(config, args.lasting))?;
    values::print(&table(&totals))
}

async fn serve(config: EspConfig, lasting: Option<Duration>) -> Result<Totals> {
    let (listen, seed) = (config.listen, config.seed);
    let esp =
        Esp::start(config).await.with_context(|| format!("cannot listen on {listen}; is another program there?"))?;
    eprintln!("esp: listening on {}, seed {seed}; Ctrl-C ends it", esp.base_url());
    let ended = async {
        match lasting {
            Some(lasting) => tokio::time::sleep(lasting).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = ended => {}
        signal = tokio::signal::ctrl_c() => signal.context("cannot watch for Ctrl-C")?,
    }
    Ok(esp.stop().await)
}

fn table(totals: &Totals) -> String {
    let rows = [
        ("requests", totals.requests),
        ("accepted", totals.accepted),
        ("distinct keys accepted", totals.distinct_keys),
        ("keys accepted more than once", totals.keys_accepted_more_than_once),
        ("replays of an accepted key", totals.replays),
        ("accepted without a key", totals.accepted_without_key),
        ("answered 429", totals.too_many),
        ("answered 503", totals.unavailable),
        ("answered 500", totals.failed),
        ("accepted, not answered", totals.timed_out),
        ("refused for good (400)", totals.refused),
        ("malformed (400)", totals.malformed),
    ];
    rows.iter().map(|(name, count)| format!("{name:<30} {:>12}\n", grouped(*count))).collect()
}
