//! What a process has cost. In: Linux's own account of it. Out: CPU time and peak memory, as a line of text from the process
//! to whoever started it. Fails where there is no `/proc`.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use anyhow::Context;

/// Linux tells CPU time in hundredths of a second, on every architecture.
const TICKS_A_SECOND: f64 = 100.0;

/// What a process has cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// CPU time in user mode, all threads, s.
    pub user_s: f64,
    /// CPU time in the kernel, all threads, s.
    pub system_s: f64,
    /// Most memory resident at one time, KiB.
    pub peak_kib: u64,
    /// From start to end, s; known to whoever started it.
    pub wall_s: f64,
}

impl Cost {
    /// CPU time, s.
    pub fn cpu_s(&self) -> f64 {
        self.user_s + self.system_s
    }
}

/// What a process, by its number or `self`, has cost so far.
pub fn of_process(process: &str) -> anyhow::Result<Cost> {
    let folder = format!("/proc/{process}");
    let (user_s, system_s) = cpu_s(Path::new(&folder))?;
    let peak_kib = kib(&format!("{folder}/status"), "VmHWM:")?;
    Ok(Cost { user_s, system_s, peak_kib, wall_s: 0.0 })
}

/// What a line of a file of `/proc`, such as `VmRSS:     1234 kB`, says, KiB.
pub fn kib(file: &str, name: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(file)?;
    let value =
        text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("{file} has no {name}"))?;
    Ok(value.trim().trim_end_matches(" kB").parse()?)
}

/// The CPU time in user mode and in the kernel, s, of the process or thread whose folder of `/proc` this is.
pub fn cpu_s(folder: &Path) -> anyhow::Result<(f64, f64)> {
    let stat = std::fs::read_to_string(folder.join("stat"))?;
    // The second field, the command's name, may hold anything but ends at the last parenthesis.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let seconds = |place: usize| -> anyhow::Result<f64> {
        let ticks: f64 = fields.get(place).context("/proc/…/stat is too short")?.parse()?;
        Ok(ticks / TICKS_A_SECOND)
    };
    Ok((seconds(11)?, seconds(12)?))
}

impl fmt::Display for Cost {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} {}", self.user_s, self.system_s, self.peak_kib)
    }
}

impl FromStr for Cost {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Cost> {
        let parts: Vec<&str> = text.split(' ').collect();
        let [user, system, peak] = parts[..] else { anyhow::bail!("no cost: {text:?}") };
        Ok(Cost { user_s: user.parse()?, system_s: system.parse()?, peak_kib: peak.parse()?, wall_s: 0.0 })
    }
}
