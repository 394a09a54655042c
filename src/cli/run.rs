//! `beckon run`: the live service, on Kafka (SPEC §7).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;

use crate::cluster::{self, Cluster};
use crate::config::{Purpose, TriggerKinds};
use crate::pipeline::lanes::{Bury, dead_letters};
use crate::pipeline::service::Service;
use crate::pipeline::site::{Behind, Site};
use crate::watchdog::Stall;

/// The arguments of `beckon run`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    file: super::ConfigFile,
    /// Worker threads of the dataflow; in a cluster of each process, and the same number in all
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    #[command(flatten)]
    place: super::Place,
    /// End when standard input does: how whoever started this process stops it
    #[arg(long, hide = true)]
    leashed: bool,
    /// Show the live summary even if standard error is no terminal
    #[arg(long)]
    summary: bool,
}

/// Runs until interrupted.
pub fn run(arguments: &Arguments, kinds: &TriggerKinds) -> anyhow::Result<()> {
    let config = arguments.file.load(Purpose::Run, kinds)?;
    let cluster = arguments.place.cluster()?;
    cluster.iter().for_each(cluster::end_with_peers);
    std::fs::create_dir_all(&config.state).with_context(|| format!("cannot make {}", config.state.display()))?;
    let mut letters = dead_letters(&config.state, cluster.as_ref().map_or(0, Cluster::process))?;
    let bury: Bury<'static> = Box::new(move |letter| letters.write(&letter.json()));
    let service = Service::open_among(&config, arguments.workers.into(), cluster.as_ref(), Arc::new(wall_clock))?;
    let decides = cluster.as_ref().is_none_or(Cluster::decides);
    let site = if decides { Site::start(&config, 1, Behind::of(&service), Arc::new(wall_clock))? } else { None };
    if let Some(site) = &site {
        eprintln!("answering on http://{}", site.address());
    }
    super::on_interrupt(service.stop())?;
    if let Some(tick) = service.resumed_from() {
        eprintln!("going on from the snapshot of {}", super::summary::time(tick));
    }
    if arguments.leashed {
        end_with_standard_input(service.stop());
    }
    let hosts = cluster.as_ref().map_or(Vec::new(), |cluster| cluster.hosts().to_vec());
    service.watch(move |stall| bark(&stall, &hosts))?;
    let readings = service.readings();
    let summary = super::summary::Shown::start(arguments.summary, readings.clone());
    let left = service.run(bury);
    summary.finish();
    let stopped = site.map_or(Ok(()), Site::stop);
    let cut_off = left?.cut_off;
    stopped?;
    if decides {
        let (records, open) = (readings.meter.records(), readings.deliveries().open());
        eprintln!(
            "stopped after {records} records; {open} deliveries are not settled, {cut_off} were cut off; the ledger has all of them"
        );
    }
    Ok(())
}

/// Ends the process, so that whoever started it starts it again: what stands still cannot be stopped in good order.
fn bark(stall: &Stall, hosts: &[String]) {
    let host = hosts.get(stall.process()).map_or(String::new(), |host| format!(" (at {host})"));
    eprintln!("{stall}{host}\n  this process ends with code 1; start all again, and see the log of the one named");
    std::process::exit(1);
}

/// Sets `stop` when standard input ends.
fn end_with_standard_input(stop: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        // Whatever comes is no message; that nothing more can come is one.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        stop.store(true, Ordering::Relaxed);
    });
}

/// Epoch ms.
pub(super) fn wall_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
