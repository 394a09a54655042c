//! What is worth knowing about a load test, in sentences that say what to do. In: all that was seen. Out: sentences; none where
//! everything was as it should be. Cannot fail.

use super::report::Seen;
use super::series;
use crate::written::{counted, grouped, lasting};

/// By how much the shop may be late before that is worth a word, ms.
const BEHIND_MS_MAX: u64 = 100;

/// How much longer than asked the warm-up may last before that is.
const WAITED_MS_MAX: u64 = 1_000;

/// All of them.
pub(super) fn of(seen: &Seen) -> Vec<String> {
    let parts = [of_time(seen), of_service(seen), of_records(seen), of_mails(seen)];
    parts.into_iter().flatten().flatten().collect()
}

type Notes = Vec<Option<String>>;

fn of_time(seen: &Seen) -> Notes {
    let measured = lasting((seen.measured.seconds() * 1_000.0) as u64);
    let asked = lasting((seen.asked.seconds * 1_000.0) as u64);
    let behind = lasting(seen.behind_ms);
    let warmed_ms = seen.measured.from_ms.saturating_sub(seen.samples.first().map_or(u64::MAX, |first| first.at_ms));
    let waited_ms = warmed_ms.saturating_sub((seen.asked.warm_seconds * 1_000.0) as u64);
    vec![
        (waited_ms > WAITED_MS_MAX).then(|| {
            let waited = lasting(waited_ms);
            format!("The first mail was waited for for {waited} more than the warm-up. A service that has found its ESP away tries again within a minute.")
        }),
        seen.cut_short.then(|| format!("It was ended after {measured} of {asked}.")),
        (seen.behind_ms > BEHIND_MS_MAX).then(|| {
            format!("The shop came up to {behind} late: the rate is more than this machine or the brokers take. The latencies count from when its records were due.")
        }),
    ]
}

fn of_service(seen: &Seen) -> Notes {
    let silence = |(from_s, to_s): (f64, f64)| {
        let (long, after) = (lasting(((to_s - from_s) * 1_000.0) as u64), lasting((from_s * 1_000.0) as u64));
        format!(
            "The service did not answer for {long}, {after} after the beginning; the lag counts as if it had done nothing meanwhile."
        )
    };
    let mut notes: Notes = series::silences(&seen.samples).into_iter().map(|span| Some(silence(span))).collect();
    notes.extend([
        (seen.restarts > 0).then(|| {
            let restarts = if seen.restarts == 1 { "once".to_owned() } else { counted(seen.restarts.into(), "time") };
            format!("The service was started again, {restarts}: what it read and decided anew is counted again, and what it did between the last look and its end is not.")
        }),
        (!seen.closed).then(|| {
            "Not all ticks of the measured time were closed in the end: the service cannot keep up, so the latencies lack the worst.".to_owned()
        }),
    ]);
    notes
}

fn of_records(seen: &Seen) -> Notes {
    let records = seen.records;
    let (read, acknowledged) = (grouped(records.read), grouped(records.acknowledged));
    vec![
        (records.read < records.acknowledged).then(|| {
            format!("The service tells of {read} records read, of {acknowledged} that Kafka has. Of a cluster the first process tells of its own partitions alone; one that is alone has not kept up.")
        }),
        (records.read > records.acknowledged && seen.restarts == 0).then(|| {
            format!("The service read {read} records, but only {acknowledged} are of this test: somebody else writes to its topics too, or it was still reading what was there before.")
        }),
        (records.late > 0).then(|| {
            let late = counted(records.late, "record");
            format!("{late} came when their tick was closed already, and counted for a later one.")
        }),
    ]
}

fn of_mails(seen: &Seen) -> Notes {
    let Some(esp) = &seen.asked.esp else { return Vec::new() };
    let (undated, early) = (counted(seen.undated, "mail"), counted(seen.early, "mail"));
    let none = seen.latencies.percentiles().is_none() && seen.undated == 0;
    vec![
        (seen.undated > 0).then(|| {
            format!("{undated} did not say which tick decided them, and are in no latency: an [esp] of kind \"http\" says it, if it has no `body` of its own or that has as_of = \"{{{{as_of}}}}\".")
        }),
        (seen.early > 0).then(|| {
            format!("{early} came before they could be decided: the clocks of this machine and the service's differ, or another shop sells too.")
        }),
        (none && seen.mails.decided == 0).then(|| {
            "The service decided to send no mail: a campaign that waits for longer than the test lasts decides nothing in it.".to_owned()
        }),
        (none && seen.mails.decided > 0).then(|| {
            format!("No mail of the measured time came to {esp}: does `base_url` in the service's [esp] name it?")
        }),
    ]
}
