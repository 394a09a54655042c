//! What several processes cost: one replay by one, two, four processes of this machine, which stand in for as many machines. In: the shop,
//! and how many. Out: a table of what all of them cost together, and in a further run, over wires that count, what goes between
//! them. Fails when they decide otherwise than one process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};

use super::cost::Cost;
use super::shop::Shop;
use super::wire::Wire;
use super::{CONTESTANT, hosts, median, same_lines};

/// What a replay by some processes cost.
struct Run {
    wall_s: f64,
    /// Of each process.
    costs: Vec<Cost>,
}

/// Lets as many processes as each of `counts` says replay the shop, in turn, so often.
pub fn compare(shop: &Shop, counts: &[u16], runs: usize) -> anyhow::Result<ExitCode> {
    let counts: Vec<usize> = counts.iter().map(|processes| usize::from(*processes)).collect();
    let mut measured: Vec<Vec<Run>> = counts.iter().map(|_| Vec::new()).collect();
    let mut expected: Option<Vec<u8>> = None;
    let mut check = |decisions: Vec<u8>, processes: usize| {
        ensure!(!decisions.is_empty(), "nothing was decided, so nothing was compared; let it span more --minutes");
        let expected = expected.get_or_insert_with(|| decisions.clone());
        same_lines(expected, &decisions).with_context(|| format!("{processes} processes differ from {}", counts[0]))
    };
    for run in 0..runs {
        for (processes, measured) in counts.iter().zip(&mut measured) {
            let hosts = hosts::free(*processes)?;
            let of_all = vec![hosts; *processes];
            let (cost, decisions) = replay(shop, &of_all)?;
            eprintln!("run {}, {processes} processes: {:.2} s of CPU", run + 1, cost.cpu_s());
            check(decisions, *processes)?;
            measured.push(cost);
        }
    }
    println!("{shop}\na worker each, {runs} runs; the files of the streams are dealt out in turn\n");
    println!(
        "| processes | records/s | CPU µs a record | wall, s | peak of the first, MiB | of the next | bytes between, a record |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (processes, runs) in counts.iter().zip(&measured) {
        let (bytes, decisions) = bytes_between(shop, *processes)?;
        check(decisions, *processes)?;
        print_line(shop.total, *processes, runs, bytes);
    }
    Ok(ExitCode::SUCCESS)
}

fn print_line(records: u64, processes: usize, runs: &[Run], bytes: u64) {
    let of = |measure: &dyn Fn(&Run) -> f64| median(runs.iter().map(measure));
    let peak = |process: usize| of(&|run| run.costs.get(process).map_or(0.0, |cost| cost.peak_kib as f64 / 1_024.0));
    let wall_s = of(&|run| run.wall_s);
    println!(
        "| {processes} | {:.0} | {:.2} | {wall_s:.2} | {:.0} | {} | {:.0} |",
        records as f64 / wall_s,
        of(&Run::cpu_s) * 1e6 / records as f64,
        peak(0),
        if processes > 1 { format!("{:.0}", peak(1)) } else { String::new() },
        bytes as f64 / records as f64
    );
}

impl Run {
    /// Of all together.
    fn cpu_s(&self) -> f64 {
        self.costs.iter().map(Cost::cpu_s).sum()
    }
}

/// The bytes that go between the processes, and what they decide meanwhile.
fn bytes_between(shop: &Shop, processes: usize) -> anyhow::Result<(u64, Vec<u8>)> {
    let hosts = hosts::free(processes)?;
    let (mut of_all, mut wires) = (Vec::new(), Vec::new());
    for process in 0..processes {
        // Each calls those before it, and listens to the others.
        let mut own = hosts.clone();
        for before in &mut own[..process] {
            let wire = Wire::to(before.clone())?;
            *before = wire.host.clone();
            wires.push(wire);
        }
        of_all.push(own);
    }
    let (_, decisions) = replay(shop, &of_all)?;
    Ok((wires.iter().map(Wire::bytes).sum(), decisions))
}

/// Replays the shop with as many processes as there are lists of hosts, one each. What that cost, and what was decided.
fn replay(shop: &Shop, hosts: &[Vec<String>]) -> anyhow::Result<(Run, Vec<u8>)> {
    let output = shop.directory.join("decisions.jsonl");
    let began = Instant::now();
    let mut running = Vec::new();
    for (process, own) in hosts.iter().enumerate() {
        let cluster = (hosts.len() > 1).then(|| listed(shop, process, own)).transpose()?;
        running.push(start(shop, &output, cluster.as_deref().map(|file| (process, file)))?);
    }
    let mut costs = Vec::new();
    for process in running {
        let done = process.wait_with_output()?;
        ensure!(done.status.success(), "a process ended with {}", done.status);
        costs.push(String::from_utf8_lossy(&done.stdout).trim().parse()?);
    }
    Ok((Run { wall_s: began.elapsed().as_secs_f64(), costs }, std::fs::read(output)?))
}

/// Starts one process, which is alone or one of a cluster.
fn start(shop: &Shop, output: &Path, cluster: Option<(usize, &Path)>) -> anyhow::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(CONTESTANT, "engine").stdout(Stdio::piped()).args(["replay", "--quiet", "--input"]);
    command.arg(&shop.directory).arg("--config").arg(shop.config()).arg("--output").arg(output);
    if let Some((process, hosts)) = cluster {
        command.arg("--process").arg(process.to_string()).arg("--hosts").arg(hosts);
    }
    Ok(command.spawn()?)
}

/// The file of hosts of a process.
fn listed(shop: &Shop, process: usize, hosts: &[String]) -> anyhow::Result<PathBuf> {
    let file = shop.directory.join(format!("hosts-{process}"));
    std::fs::write(&file, hosts.join("\n") + "\n")?;
    Ok(file)
}
