//! What this process costs, under the names that Prometheus' own clients give it. In: Linux's account in `/proc/self`. Out: gauges
//! and a counter. Cannot fail: what the system does not tell, as where there is no `/proc`, is not told.

/// Linux tells CPU time in hundredths of a second, on every architecture.
const TICKS_A_SECOND: f64 = 100.0;

/// Brings the metrics up to now.
pub fn sample() {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).ok();
    if let Some(bytes) = read("status").as_deref().and_then(resident_bytes) {
        metrics::gauge!("process_resident_memory_bytes").set(bytes as f64);
    }
    // A gauge to the recorder, whose counters are whole numbers; it only grows all the same.
    if let Some(seconds) = read("stat").as_deref().and_then(cpu_seconds) {
        metrics::gauge!("process_cpu_seconds_total").set(seconds);
    }
}

/// The line `VmRSS:     1234 kB` of `status`.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

/// User and system time of all threads, the 14th and 15th field of `stat`.
fn cpu_seconds(stat: &str) -> Option<f64> {
    // The second field, the command's name, may hold anything but ends at the last parenthesis.
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some((next()? + next()?) as f64 / TICKS_A_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_s_account_is_read_whatever_the_command_is_called() {
        assert_eq!(resident_bytes("Name:\tbeckon\nVmHWM:\t  9 kB\nVmRSS:\t    2048 kB\n"), Some(2_097_152));
        assert_eq!(resident_bytes("VmRSS:\t many kB\n"), None);
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194304 900 0 3 0 250 175 0 0 20 0 9 0 1234 5 6";
        assert_eq!(cpu_seconds(stat), Some(4.25));
        assert_eq!(cpu_seconds("7 (beckon) S 1"), None);
    }
}
