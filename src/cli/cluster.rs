//! `beckon cluster`: the live service as several processes of one machine.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::cluster::Cluster;
use crate::cluster::supervise::{self, Crew};
use crate::config::{Purpose, TriggerKinds};

/// The arguments of `beckon cluster`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    file: super::ConfigFile,
    /// How many processes
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u16).range(1..=64))]
    processes: u16,
    /// Worker threads of the dataflow in each
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// Where they listen for each other, one host:port a line; any free ports of this machine unless set
    #[arg(long, value_name = "FILE")]
    hosts: Option<PathBuf>,
    /// Give up after so many starts in a row that lasted less than a minute
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    starts: u16,
}

/// Runs until interrupted: then all are stopped in good order; a second interrupt ends them at once.
pub fn run(arguments: &Arguments, kinds: &TriggerKinds) -> anyhow::Result<()> {
    // What is wrong is said once, and not by each process.
    arguments.file.load(Purpose::Run, kinds)?;
    if let Some(hosts) = &arguments.hosts {
        let (listed, processes) = (Cluster::of(0, hosts)?.hosts().len(), usize::from(arguments.processes));
        anyhow::ensure!(listed == processes, "{} lists {listed} hosts, for {processes} processes", hosts.display());
    }
    let stop = Arc::new(AtomicBool::new(false));
    super::on_interrupt(stop.clone())?;
    let workers = arguments.workers.to_string();
    let config = arguments.file.config.as_os_str();
    let crew = Crew {
        program: std::env::current_exe()?,
        arguments: vec!["run".into(), "--config".into(), config.into(), "--workers".into(), workers.into()],
        processes: arguments.processes.into(),
        hosts: arguments.hosts.clone(),
        starts_max: arguments.starts.into(),
    };
    supervise::run(&crew, &stop)
}
