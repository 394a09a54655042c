//! Memory of this process and of the machine, by Linux's own account. Out: KiB. Fails where there is no `/proc`.

use std::time::Duration;

use anyhow::Context;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// So many looks alike are rest.
const ALIKE: usize = 5;
/// More looks are not taken.
const LOOKS_MOST: usize = 50;

/// Memory resident once it has come to rest: the allocator gives back in its own time.
pub fn settled_kib() -> anyhow::Result<u64> {
    let (mut last, mut alike) = (now_kib()?, 0);
    for _ in 0..LOOKS_MOST {
        std::thread::sleep(LOOK);
        let now = now_kib()?;
        alike = if now.abs_diff(last) * 1_000 <= last { alike + 1 } else { 0 };
        last = now;
        if alike == ALIKE {
            break;
        }
    }
    Ok(last)
}

/// What could still be had on this machine.
pub fn available_kib() -> anyhow::Result<u64> {
    field("/proc/meminfo", "MemAvailable:")
}

fn now_kib() -> anyhow::Result<u64> {
    field("/proc/self/status", "VmRSS:")
}

fn field(file: &str, name: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(file)?;
    let value =
        text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("{file} has no {name}"))?;
    Ok(value.trim().trim_end_matches(" kB").parse()?)
}
