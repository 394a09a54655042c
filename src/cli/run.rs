//! `beckon run`: the live service, on Kafka (SPEC §7).

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;

use crate::config::{Purpose, TriggerKinds};
use crate::pipeline::lanes::{Bury, dead_letters};
use crate::pipeline::service::Service;
use crate::pipeline::site::Site;

/// The arguments of `beckon run`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    file: super::ConfigFile,
    /// Worker threads of the dataflow
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// Show the live summary even if standard error is no terminal
    #[arg(long)]
    summary: bool,
}

/// Runs until interrupted.
pub fn run(arguments: &Arguments, kinds: &TriggerKinds) -> anyhow::Result<()> {
    let config = arguments.file.load(Purpose::Run, kinds)?;
    std::fs::create_dir_all(&config.state).with_context(|| format!("cannot make {}", config.state.display()))?;
    let mut letters = dead_letters(&config.state)?;
    let bury: Bury<'static> = Box::new(move |letter| letters.write(&letter.json()));
    let service = Service::open(&config, arguments.workers.into(), Arc::new(wall_clock))?;
    let site = Site::start(&config, Arc::new(wall_clock))?;
    if let Some(site) = &site {
        eprintln!("answering on http://{}", site.address());
    }
    super::on_interrupt(service.stop())?;
    let readings = service.readings();
    let summary = super::summary::Shown::start(arguments.summary, readings.clone());
    let left = service.run(bury);
    summary.finish();
    let stopped = site.map_or(Ok(()), Site::stop);
    let cut_off = left?.cut_off;
    stopped?;
    let open = readings.deliveries().open();
    eprintln!("stopped; {open} deliveries are not settled, {cut_off} were cut off; the ledger has all of them");
    Ok(())
}

/// Epoch ms.
fn wall_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
