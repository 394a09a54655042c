//! A broker process on a leash: it ends when the test process ends, however that ends. In: a command and the directory
//! it writes to. Out: the running process, to be stopped or killed. Fails when there is no `sh`, or when the process
//! does not end in time. `leash.sh` is the other half, and says how it works.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a clean shutdown may take.
const STOP_WAIT_MAX: Duration = Duration::from_secs(30);

/// A running process. Its directory is removed with it only if this is neither stopped, killed nor dropped: that is
/// when the test process itself has gone.
pub struct Leashed {
    child: Child,
    /// The other end of the watcher's input. Not left in `child`, whose `wait` would close it.
    orders: ChildStdin,
}

impl Leashed {
    /// Starts `program`, which writes to `log` and under `directory`.
    pub fn run<A: AsRef<OsStr>>(program: &Path, args: &[A], directory: &Path, log: File) -> Result<Leashed> {
        let mut child = Command::new("sh")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/leash.sh"))
            .arg(directory)
            .arg(program)
            .args(args)
            .process_group(0) // Ctrl-C ends the test, and the test's end the broker: never the watcher alone
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("sh, which watches over the broker, does not run")?;
        let orders = child.stdin.take().context("the broker's watcher has no input")?;
        Ok(Leashed { child, orders })
    }

    /// How the process ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Asks the process to shut down (SIGTERM) and waits for its end.
    pub fn stop(mut self) -> Result<()> {
        writeln!(self.orders, "stop").context("the broker's watcher has gone")?;
        let deadline = Instant::now() + STOP_WAIT_MAX;
        while self.ended()?.is_none() {
            if Instant::now() > deadline {
                bail!("the broker did not shut down in {STOP_WAIT_MAX:?} and was killed");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Kills the process (SIGKILL) and waits for its end.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Leashed {
    /// Kills what still runs, then lets the watcher go, in this order: released first, it could not kill any more.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = writeln!(self.orders, "leave");
    }
}
