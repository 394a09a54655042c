//! `beckon ingest`: takes messages in over HTTP and writes them to Kafka, at an edge, without a worker (SPEC §8).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;

use super::run::wall_clock;
use crate::config::{Purpose, TriggerKinds};
use crate::pipeline::site::{Behind, Site};

/// How often it is looked whether to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The arguments of `beckon ingest`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    file: super::ConfigFile,
    /// Threads that answer; one for each processor unless set
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
}

/// Runs until interrupted.
pub fn run(arguments: &Arguments, kinds: &TriggerKinds) -> anyhow::Result<()> {
    let mut config = arguments.file.load(Purpose::Ingest, kinds)?;
    // The links of mails, and what ESPs say of them, are answered where the ledger is.
    (config.tracking, config.webhooks) = (None, None);
    std::fs::create_dir_all(&config.state).with_context(|| format!("cannot make {}", config.state.display()))?;
    let processors = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = arguments.threads.map_or_else(processors, usize::from);
    let site =
        Site::start(&config, threads, Behind::default(), Arc::new(wall_clock))?.context("no [web] is configured")?;
    eprintln!("taking in on http://{}", site.address());
    let stop = Arc::new(AtomicBool::new(false));
    super::on_interrupt(stop.clone())?;
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK_EVERY);
    }
    site.stop()
}
