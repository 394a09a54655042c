//! Starts the processes of a cluster on one machine, and all of them anew when one ends. In: what to run, and how often. Out: when
//! asked to stop, all have ended in good order. Fails when they end again and again, or with a fault that a new start cannot cure.
//!
//! Each child has a pipe from here as its standard input and stops when that ends; so none outlives this process, however that
//! ends.

use std::ffi::OsString;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tempfile::NamedTempFile;

/// Between two looks at the children.
const LOOK: Duration = Duration::from_millis(50);

/// A cluster that ran so long before one ended had been well.
const WELL_AFTER: Duration = Duration::from_secs(60);

/// How long the others have to notice that one has ended, and to say so.
const NOTICE_WAIT: Duration = Duration::from_secs(2);

/// How long all have to stop in good order.
const STOP_WAIT: Duration = Duration::from_secs(90);

/// Before the second start in a row, and at most before any.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// The exit code of bad use or a bad configuration, which the next start would find again.
const BAD_USE: i32 = 2;

/// What to run.
pub struct Crew {
    /// The program.
    pub program: PathBuf,
    /// Its arguments; `--process`, `--hosts` and `--leashed` are added.
    pub arguments: Vec<OsString>,
    /// How many processes.
    pub processes: usize,
    /// Where they listen; free ports of this machine when not given.
    pub hosts: Option<PathBuf>,
    /// After so many starts in a row that did not last it is given up.
    pub starts_max: usize,
}

/// Runs them until `stop` is set.
pub fn run(crew: &Crew, stop: &AtomicBool) -> anyhow::Result<()> {
    let mut starts = 0;
    loop {
        let began = Instant::now();
        let mut running = Running::start(crew)?;
        let Some((process, status)) = running.wait_for_first(stop)? else { return running.stop() };
        running.end();
        if status.code() == Some(BAD_USE) {
            anyhow::bail!("process {process} cannot be started: {status}; its message is above");
        }
        starts = if began.elapsed() >= WELL_AFTER { 1 } else { starts + 1 };
        if starts >= crew.starts_max {
            anyhow::bail!(
                "given up after {starts} starts in a row: process {process} ended, {status}; its log says why"
            );
        }
        let pause = backoff(starts);
        eprintln!("process {process} ended, {status}; all {} start again in {} ms", crew.processes, pause.as_millis());
        let until = Instant::now() + pause;
        while Instant::now() < until && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK.min(pause));
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
    }
}

/// The pause before the next start, after so many that did not last: each twice the one before.
fn backoff(starts: usize) -> Duration {
    let doublings = u32::try_from(starts.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    (BACKOFF_MIN * (1 << doublings)).min(BACKOFF_MAX)
}

/// The processes of one start.
struct Running {
    children: Vec<Child>,
    /// Removed when they have ended.
    _hosts: Option<NamedTempFile>,
}

impl Running {
    fn start(crew: &Crew) -> anyhow::Result<Running> {
        let own = if crew.hosts.is_none() { Some(free_hosts(crew.processes)?) } else { None };
        let hosts = own.as_ref().map(|file| file.path()).or(crew.hosts.as_deref()).context("no file of hosts")?;
        let mut running = Running { children: Vec::new(), _hosts: None };
        for process in 0..crew.processes {
            let mut command = Command::new(&crew.program);
            command.args(&crew.arguments).args(["--process", &process.to_string(), "--leashed", "--hosts"]).arg(hosts);
            // Ctrl-C at a terminal comes to this process alone, which then stops the others.
            #[cfg(unix)]
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
            let child = command.stdin(Stdio::piped()).spawn();
            running.children.push(child.with_context(|| format!("cannot start {}", crew.program.display()))?);
        }
        running._hosts = own;
        Ok(running)
    }

    /// Waits until one ends, and says which and how; none when asked to stop before.
    fn wait_for_first(&mut self, stop: &AtomicBool) -> anyhow::Result<Option<(usize, ExitStatus)>> {
        while !stop.load(Ordering::Relaxed) {
            for (process, child) in self.children.iter_mut().enumerate() {
                if let Some(status) = child.try_wait()? {
                    return Ok(Some((process, status)));
                }
            }
            std::thread::sleep(LOOK);
        }
        Ok(None)
    }

    /// Whether all have ended within `wait`.
    fn all_end_within(&mut self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        loop {
            if self.children.iter_mut().all(|child| !matches!(child.try_wait(), Ok(None))) {
                return true;
            }
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Ends those that are left when one has ended.
    fn end(mut self) {
        self.all_end_within(NOTICE_WAIT);
    }

    /// Stops all in good order. Fails when one does not.
    fn stop(mut self) -> anyhow::Result<()> {
        self.children.iter_mut().for_each(|child| drop(child.stdin.take()));
        anyhow::ensure!(self.all_end_within(STOP_WAIT), "not all processes stopped within {} s", STOP_WAIT.as_secs());
        for (process, child) in self.children.iter_mut().enumerate() {
            let status = child.wait()?;
            anyhow::ensure!(status.success(), "process {process} ended, {status}, when it was to stop");
        }
        Ok(())
    }
}

impl Drop for Running {
    /// What has not ended by now is killed: all that must last is durable.
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A file of hosts with ports of this machine that are free now.
fn free_hosts(count: usize) -> anyhow::Result<NamedTempFile> {
    let held = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    let mut file = NamedTempFile::new()?;
    for listener in &held {
        writeln!(file, "{}", listener.local_addr()?)?;
    }
    file.flush()?;
    Ok(file)
}

#[cfg(all(test, unix))]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        assert_eq!([1, 2, 3, 9, 1000].map(|starts| backoff(starts).as_millis()), [500, 1000, 2000, 30_000, 30_000]);
    }

    /// Processes that are shells and run `script` in `directory`.
    fn shells(directory: &Path, script: &str, starts_max: usize) -> Crew {
        let script = format!("cd {} && {script}", directory.display());
        let arguments = vec!["-c".into(), script.into(), "shell".into()];
        Crew { program: "/bin/sh".into(), arguments, processes: 2, hosts: None, starts_max }
    }

    #[test]
    fn when_one_ends_all_start_again_and_stop_together() {
        let directory = tempfile::tempdir().unwrap();
        // The first to come in the first start ends; all others wait for the end of their standard input.
        let crew = shells(directory.path(), "echo $* >> started; mkdir first 2> /dev/null && exit 3; cat", 3);
        let stop = AtomicBool::new(false);
        let started = || std::fs::read_to_string(directory.path().join("started")).unwrap_or_default();
        std::thread::scope(|scope| {
            let running = scope.spawn(|| run(&crew, &stop));
            while started().lines().count() < 4 && !running.is_finished() {
                std::thread::sleep(LOOK);
            }
            stop.store(true, Ordering::Relaxed);
            running.join().unwrap().unwrap();
        });
        let started = started();
        assert_eq!(started.matches("--process 0 --leashed --hosts /").count(), 2, "{started}");
        assert_eq!(started.matches("--process 1 --leashed --hosts /").count(), 2, "{started}");
    }

    #[test]
    fn what_never_lasts_is_given_up_and_what_cannot_be_started_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let end = |script| run(&shells(directory.path(), script, 2), &AtomicBool::new(false)).unwrap_err().to_string();
        let said = end("exit 7");
        assert!(said.starts_with("given up after 2 starts in a row: process 0 ended, exit status: 7"), "{said}");
        let said = end("exit 2");
        assert!(said.starts_with("process 0 cannot be started: exit status: 2"), "{said}");
    }
}
