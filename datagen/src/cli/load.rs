//! `datagen load`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::shop::MixArg;
use super::{stop, values};
use crate::esp::EspConfig;
use crate::load::{self, Limits, Now, Plan, Url};
use crate::shop::{FaultShares, ShopConfig};
use crate::written::{grouped, lasting, mib};

/// A load test of a running `beckon run`, with a report
///
/// Sells at a steady rate into Kafka, live, and watches the service through its HTTP address, on this machine or another: throughput,
/// lag, memory, CPU. With --esp it is also the ESP that the service sends to, and measures how soon mails come. At the end there are
/// a table on standard output, and in --report a page with charts (index.html), all figures (report.json), and the times
/// as HDR histograms (*.hgrm). The service's topics must be there; they may hold earlier runs.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct LoadArgs {
    /// Records a second
    #[arg(long, value_name = "N", value_parser = values::positive)]
    rate: f64,
    /// How long is measured
    #[arg(long = "for", value_name = "DURATION", value_parser = some_time, default_value = "60s")]
    lasting: Duration,
    /// How long the shop sells before that
    #[arg(long, value_name = "DURATION", value_parser = values::duration, default_value = "10s")]
    warm: Duration,
    /// The brokers; topics are named as the streams
    #[arg(long, value_name = "BROKERS", default_value = "localhost:9092")]
    kafka: String,
    /// Where the service's [web] listens; of a cluster, the first process's
    #[arg(long, value_name = "URL", value_parser = http_url, default_value = "http://127.0.0.1:8080")]
    beckon: Url,
    /// Listen here as an ESP; `base_url` in the service's [esp] must name it
    #[arg(long, value_name = "ADDR")]
    esp: Option<SocketAddr>,
    /// How long that ESP takes to answer
    #[arg(long, value_name = "DURATION", value_parser = values::duration, default_value = "20ms", requires = "esp")]
    esp_delay: Duration,
    /// What happens in the shop: `bench` is steady to the record, `shop` on average
    #[arg(long, value_enum, default_value = "bench")]
    mix: MixArg,
    /// Customers with an account
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    customers: u32,
    /// Products
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    skus: u32,
    /// The share of each kind of fault: duplicates, stale versions, out of order, bad input
    #[arg(long, value_name = "SHARE", value_parser = values::share, default_value = "0")]
    faults: f64,
    /// Everything random comes from this
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The folder of the report
    #[arg(long, value_name = "DIR", default_value = "load-report")]
    report: PathBuf,
    /// Fail when the 99th percentile of latency is more than this
    #[arg(long, value_name = "DURATION", value_parser = values::duration, requires = "esp")]
    p99_most: Option<Duration>,
    /// Fail when the lag is ever more than this
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    lag_most: Option<Duration>,
}

const EXAMPLES: &str = "\
Examples:
  20,000 records a second for a minute, on what this machine runs:
    datagen load --rate 20000 --for 60s
  With the ESP, so that mails are timed; campaigns/load.toml is made for it:
    beckon run --config campaigns/load.toml
    datagen load --rate 20000 --for 60s --esp 127.0.0.1:9090
  A service elsewhere, failing when it is too slow:
    datagen load --rate 5000 --for 10m --kafka kafka:9092 --beckon http://beckon:8080 \\
        --esp 0.0.0.0:9090 --p99-most 500ms --lag-most 5s

Lag: for how long the next tick was overdue. Latency: from when a mail could be decided,
which is when records were past its tick by the allowed lateness, to when it was at the ESP.
Whatever came late counts in full, and so does what did not come while it was looked at.

Ends with 0; with 1 where something failed, a mail came twice, or a limit was exceeded.
Ctrl-C ends it early, with a report of what was measured.";

pub(super) fn run(args: LoadArgs) -> Result<()> {
    let plan = plan(&args);
    // Found out now, and not after an hour.
    std::fs::create_dir_all(&args.report)
        .with_context(|| format!("cannot make the folder of the report, {}", args.report.display()))?;
    let stop = stop::on_signal()?;
    let bar = bar();
    let result = load::run(&plan, &stop, &|now| show(&bar, now));
    bar.finish_and_clear();
    let report = result?;
    report.write(&args.report).with_context(|| format!("cannot write the report to {}", args.report.display()))?;
    values::print(&report.table())?;
    eprintln!("load: the report is {}", args.report.join("index.html").display());
    match &report.faults[..] {
        [] => Ok(()),
        faults => bail!("{}", faults.join("; ")),
    }
}

fn plan(args: &LoadArgs) -> Plan {
    let shop = ShopConfig {
        seed: args.seed,
        customers: args.customers,
        skus: args.skus,
        records_per_second: args.rate,
        mix: args.mix.into(),
        preamble: true,
        faults: FaultShares::each(args.faults),
        ..ShopConfig::default()
    };
    let esp = |listen| EspConfig { listen, seed: args.seed, delay: args.esp_delay, ..EspConfig::default() };
    Plan {
        kafka: args.kafka.clone(),
        beckon: args.beckon.clone(),
        shop,
        warm: args.warm,
        lasting: args.lasting,
        esp: args.esp.map(esp),
        limits: Limits { p99: args.p99_most, lag: args.lag_most },
    }
}

/// Silent where standard error is no terminal.
fn bar() -> ProgressBar {
    let template = "{bar:24} {percent:>3} %  {msg}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}

fn show(bar: &ProgressBar, now: &Now) {
    let (over_ms, of_ms) = now.over_ms;
    bar.set_length(of_ms);
    bar.set_position(over_ms);
    let rate = |rate: f64| grouped(rate.round() as u64);
    let read =
        now.read.map_or_else(|| "the service does not answer".to_owned(), |read| format!("{} read/s", rate(read)));
    let mut words = vec![now.phase.to_owned(), format!("{} said/s", rate(now.said)), read];
    words.extend(now.lag_ms.map(|lag_ms| format!("lag {}", lasting(lag_ms))));
    words.extend(now.resident_bytes.map(|bytes| format!("{:.0} MiB", mib(bytes))));
    words.extend(now.mails.map(|mails| format!("{} mails", grouped(mails))));
    bar.set_message(words.join(", "));
}

/// A duration of a second or more: less is no rate.
fn some_time(text: &str) -> Result<Duration, String> {
    let lasting = values::duration(text)?;
    if lasting < Duration::from_secs(1) {
        return Err(format!("'{text}' is less than a second"));
    }
    Ok(lasting)
}

/// An address of HTTP; one without a scheme is meant as `http://`.
fn http_url(text: &str) -> Result<Url, String> {
    let written = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let fault = || format!("'{text}' is no address such as http://127.0.0.1:8080");
    let url: Url = written.parse().map_err(|_| fault())?;
    if !["http", "https"].contains(&url.scheme()) || url.host_str().is_none() {
        return Err(fault());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_times_are_read_as_they_are_written_in_the_help() {
        assert_eq!(http_url("beckon:8080").unwrap().as_str(), "http://beckon:8080/");
        assert_eq!(http_url("https://shop.example/b").unwrap().as_str(), "https://shop.example/b");
        for bad in ["", "ftp://h", "http://", "file:///etc/passwd", "h h"] {
            assert!(http_url(bad).is_err(), "{bad}");
        }
        assert_eq!(some_time("90s"), Ok(Duration::from_secs(90)));
        assert!(some_time("900ms").is_err() && some_time("soon").is_err());
    }
}
