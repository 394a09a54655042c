//! Memory of this process and of the machine, by Linux's own account. Out: KiB. Fails where there is no `/proc`.

use std::time::Duration;

use super::cost::kib;

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
    kib("/proc/meminfo", "MemAvailable:")
}

fn now_kib() -> anyhow::Result<u64> {
    kib("/proc/self/status", "VmRSS:")
}
