//! What came of a load test. In: all that was seen. Out: figures for programs (`report.json`), for whoever plots (`*.hgrm`), for people
//! (a table, and the page), and what is wrong in sentences. Fails where a file cannot be written.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::course::Window;
use super::latency::{Latencies, Percentiles};
use super::notes;
use super::page;
use super::series::{self, Sample};
use super::watch::{Counts, Terms};
use super::{Asked, Limits};
use crate::produce::ProduceError;
use crate::written::{counted, grouped, lasting, mib};

/// See the module.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The version of this format.
    pub format: u32,
    /// What was asked for.
    pub asked: Asked,
    /// By what the service goes.
    pub terms: Terms,
    /// The time that was measured, epoch ms.
    pub measured: Window,
    /// Records a second of the measured time.
    pub throughput: Throughput,
    /// From when a mail could be decided to when it was at the ESP, ms; of the ticks of the measured time.
    pub latency_ms: Option<Percentiles>,
    /// For how long the next tick was overdue, ms; of all looks of the measured time.
    pub lag_ms: Option<Percentiles>,
    /// Memory resident in the measured time, where the service tells.
    pub memory_bytes: Option<Memory>,
    /// CPU time in the measured time, where the service tells.
    pub cpu: Option<Cpu>,
    /// Records of the whole run, from the first of the shop's opening to the last.
    pub records: Records,
    /// Mails of the whole run.
    pub mails: Mailed,
    /// By how many milliseconds the shop was late at most, in the measured time.
    pub behind_ms: u64,
    /// What is worth knowing, in sentences.
    pub notes: Vec<String>,
    /// What failed or exceeded its limit, in sentences.
    pub faults: Vec<String>,
    /// All looks.
    pub samples: Vec<Sample>,
    /// The latencies.
    #[serde(skip)]
    pub latencies: Latencies,
    /// The lags.
    #[serde(skip)]
    pub lags: Latencies,
}

/// Records a second.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Throughput {
    /// As asked for.
    pub asked: f64,
    /// As the shop said them.
    pub said: f64,
    /// As the service read them.
    pub read: f64,
}

/// Memory resident, bytes.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Memory {
    /// At the first look.
    pub first: u64,
    /// The most.
    pub most: u64,
    /// At the last look.
    pub last: u64,
}

/// CPU time.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cpu {
    /// All of it, s.
    pub seconds: f64,
    /// On average, cores.
    pub cores: f64,
    /// For each record read, µs.
    pub us_a_record: f64,
}

/// How many records.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Records {
    /// Handed to Kafka's client.
    pub said: u64,
    /// Acknowledged by the brokers.
    pub acknowledged: u64,
    /// Read by the service.
    pub read: u64,
    /// Of those, of no use.
    pub dead_letters: u64,
    /// Of those, too late for their tick.
    pub late: u64,
}

/// How many mails.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Mailed {
    /// Decisions of any outcome.
    pub decisions: u64,
    /// Those to send a mail.
    pub decided: u64,
    /// Taken by an ESP, as the service has heard.
    pub accepted: u64,
    /// Taken by the ESP of this test, if it has one.
    pub taken: Option<u64>,
    /// Taken more than once.
    pub twice: Option<u64>,
}

impl Mailed {
    /// As the service tells.
    pub(super) fn of(counts: Counts) -> Mailed {
        let Counts { decisions, sends, accepted, .. } = counts;
        Mailed { decisions, decided: sends, accepted, ..Mailed::default() }
    }
}

/// What was seen, of which a report is made.
pub(super) struct Seen {
    pub asked: Asked,
    pub terms: Terms,
    pub measured: Window,
    /// It was ended before its time.
    pub cut_short: bool,
    /// All ticks of the measured time were closed in the end.
    pub closed: bool,
    /// How many times the service was started again.
    pub restarts: u32,
    pub records: Records,
    pub mails: Mailed,
    /// Mails that do not say which tick decided them, and those that came sooner than they could.
    pub undated: u64,
    pub early: u64,
    pub behind_ms: u64,
    pub samples: Vec<Sample>,
    pub latencies: Latencies,
    pub lags: Latencies,
    /// Why the shop ended before it was told to.
    pub failed: Option<ProduceError>,
}

impl Report {
    pub(super) fn of(seen: Seen, limits: &Limits) -> Report {
        let notes = notes::of(&seen);
        let faults = seen.failed.iter().map(ToString::to_string).collect();
        let Seen { asked, terms, measured, records, mails, behind_ms, samples, latencies, lags, .. } = seen;
        let ends = series::ends(&samples, measured);
        let measures = ends.map(|(first, last)| Measures::between(first, last));
        let Measures { said, read, cpu } = measures.unwrap_or_default();
        let mut report = Report {
            format: 1,
            throughput: Throughput { asked: asked.rate, said, read },
            latency_ms: latencies.percentiles(),
            lag_ms: lags.percentiles(),
            memory_bytes: memory(&samples, measured),
            cpu,
            asked,
            terms,
            measured,
            records,
            mails,
            behind_ms,
            notes,
            faults,
            samples,
            latencies,
            lags,
        };
        report.judge(limits);
        report
    }

    /// Says what is wrong, and what exceeds its limit.
    fn judge(&mut self, limits: &Limits) {
        let over = |name: &str, option: &str, is: Option<u64>, most: Option<Duration>| {
            let most_ms = most?.as_millis() as u64;
            match is {
                None => Some(format!("{name} was not measured, so {option} cannot be judged")),
                Some(ms) if ms > most_ms => {
                    Some(format!("{name} was {}, more than {option} {}", lasting(ms), lasting(most_ms)))
                }
                Some(_) => None,
            }
        };
        let p99 = self.latency_ms.map(|latency| latency.p99);
        let lag = self.lag_ms.map(|lag| lag.max);
        self.faults.extend(over("the 99th percentile of latency", "--p99-most", p99, limits.p99));
        self.faults.extend(over("the greatest lag", "--lag-most", lag, limits.lag));
        if let Some(twice) = self.mails.twice.filter(|twice| *twice > 0) {
            self.faults.push(format!("{} came more than once", counted(twice, "mail")));
        }
    }

    /// Writes the files of the report into a folder, over those of a report before.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("report.json"), serde_json::to_vec_pretty(self)?)?;
        fs::write(folder.join("lag.hgrm"), self.lags.hgrm())?;
        let latency = folder.join("latency.hgrm");
        match self.asked.esp {
            Some(_) => fs::write(latency, self.latencies.hgrm())?,
            None if latency.exists() => fs::remove_file(latency)?,
            None => {}
        }
        fs::write(folder.join("index.html"), page::page(self))
    }

    /// The figures as a table for a terminal.
    pub fn table(&self) -> String {
        let mut table = String::new();
        let mut row = |name: &str, cells: &[String]| {
            let _ = write!(table, "{name:<18}");
            for cell in cells {
                let _ = write!(table, " {cell:>12}");
            }
            table.push('\n');
        };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let Throughput { asked, said, read } = self.throughput;
        row("", &words(&["asked", "said", "read"]));
        row("records/s", &[asked, said, read].map(|rate| grouped(rate.round() as u64)));
        row("", &words(&["p50", "p90", "p99", "p99.9", "max"]));
        for (name, times) in [("latency, ms", self.latency_ms), ("lag, ms", self.lag_ms)] {
            if let Some(Percentiles { p50, p90, p99, p99_9, max, .. }) = times {
                row(name, &[p50, p90, p99, p99_9, max].map(grouped));
            }
        }
        if let Some(Memory { first, most, last }) = self.memory_bytes {
            row("", &words(&["first", "most", "last"]));
            row("memory, MiB", &[first, most, last].map(|bytes| grouped(mib(bytes).round() as u64)));
        }
        if let Some(cpu) = self.cpu {
            row("", &words(&["µs a record", "cores"]));
            row("CPU", &[format!("{:.1}", cpu.us_a_record), format!("{:.2}", cpu.cores)]);
        }
        let Records { said, read, dead_letters, late, .. } = self.records;
        row("", &words(&["said", "read", "dead letters", "late"]));
        row("records, in all", &[said, read, dead_letters, late].map(grouped));
        row("", &words(&["decided", "accepted", "at the ESP", "twice"]));
        let (known, unknown) = ([self.mails.decided, self.mails.accepted].map(grouped), || "unknown".to_owned());
        let ours = [self.mails.taken, self.mails.twice].map(|count| count.map_or_else(unknown, grouped));
        row("mails, in all", &[known, ours].concat());
        for note in &self.notes {
            let _ = writeln!(table, "note: {note}");
        }
        table
    }
}

/// What the two ends of the measured time say.
#[derive(Default)]
struct Measures {
    said: f64,
    read: f64,
    cpu: Option<Cpu>,
}

impl Measures {
    fn between(first: &Sample, last: &Sample) -> Measures {
        let counts = |sample: &Sample| sample.service.map_or_else(Counts::default, |look| look.counts);
        let (before, after) = (counts(first), counts(last));
        let seconds = (last.at_ms - first.at_ms) as f64 / 1_000.0;
        let read = after.records.saturating_sub(before.records);
        let cpu_s = after.cpu_ms.saturating_sub(before.cpu_ms) as f64 / 1_000.0;
        let cpu = || Cpu { seconds: cpu_s, cores: cpu_s / seconds, us_a_record: cpu_s * 1e6 / read.max(1) as f64 };
        Measures {
            said: last.said.saturating_sub(first.said) as f64 / seconds,
            read: read as f64 / seconds,
            cpu: (after.cpu_ms > 0).then(cpu),
        }
    }
}

fn memory(samples: &[Sample], measured: Window) -> Option<Memory> {
    let of_time = samples.iter().filter(|sample| measured.holds(sample.at_ms));
    let resident: Vec<u64> = of_time.filter_map(|sample| sample.service?.resident_bytes).collect();
    let (first, last) = (resident.first().copied()?, resident.last().copied()?);
    Some(Memory { first, most: resident.iter().copied().max()?, last })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::load::watch::Look;

    /// Ten seconds at 2,000 records a second, of which the first two are no more than a warm-up, of a service that is well.
    pub(in crate::load) fn seen() -> Seen {
        let sample = |nth: u64| {
            let counts = Counts { records: nth * 500, cpu_ms: nth * 5, sends: nth, ..Counts::default() };
            let service = Some(Look { counts, closed_ms: 1, resident_bytes: Some((200 + nth % 7) << 20) });
            let (at_ms, said) = (1_767_225_600_000 + nth * 250, nth * 500);
            Sample { at_ms, said, mails: nth, latency_ms: Some(nth % 9), lag_ms: Some(nth % 5 * 10), service }
        };
        let (mut latencies, mut lags) = (Latencies::default(), Latencies::default());
        (1..=1_000).for_each(|ms| latencies.record(ms / 5));
        (0..40).for_each(|nth| lags.record(nth % 5 * 10));
        let asked = Asked {
            rate: 2_000.0,
            seconds: 8.0,
            warm_seconds: 2.0,
            mix: "bench",
            customers: 1_000,
            skus: 500,
            seed: 1,
            kafka: "localhost:9092".into(),
            beckon: "http://127.0.0.1:8080/".into(),
            esp: Some("http://127.0.0.1:9090".into()),
        };
        let (from_ms, until_ms) = (1_767_225_602_000, 1_767_225_610_000);
        Seen {
            asked,
            terms: Terms { tick_ms: 1_000, allowed_lateness_ms: 1_000 },
            measured: Window { from_ms, until_ms },
            cut_short: false,
            closed: true,
            restarts: 0,
            records: Records { said: 20_000, acknowledged: 20_000, read: 20_000, dead_letters: 0, late: 0 },
            mails: Mailed { decisions: 50, decided: 40, accepted: 40, taken: Some(40), twice: Some(0) },
            undated: 0,
            early: 0,
            behind_ms: 3,
            samples: (0..=40).map(sample).collect(),
            latencies,
            lags,
            failed: None,
        }
    }

    fn report(seen: Seen) -> Report {
        Report::of(seen, &Limits::default())
    }

    #[test]
    fn figures_are_those_of_the_measured_time() {
        let told = report(seen());
        assert!((told.throughput.read - 2_000.0).abs() < 1e-9 && (told.throughput.said - 2_000.0).abs() < 1e-9);
        let cpu = told.cpu.unwrap();
        assert!((cpu.us_a_record - 10.0).abs() < 1e-9 && (cpu.cores - 0.02).abs() < 1e-9, "{cpu:?}");
        let memory = told.memory_bytes.unwrap();
        assert_eq!([memory.first, memory.most, memory.last].map(mib), [201.0, 206.0, 204.0]);
        assert_eq!((told.latency_ms.unwrap().p99, told.lag_ms.unwrap().max), (198, 40));
        assert!(told.notes.is_empty() && told.faults.is_empty(), "{told:?}");
        let table = told.table();
        for line in ["records/s                 2,000        2,000        2,000", "latency, ms                 100"] {
            assert!(table.contains(line), "{table}");
        }
    }

    #[test]
    fn what_exceeds_its_limit_is_a_fault_in_a_sentence() {
        let limits = |p99: u64, lag: u64| Limits {
            p99: Some(Duration::from_millis(p99)),
            lag: Some(Duration::from_millis(lag)),
        };
        assert!(Report::of(seen(), &limits(198, 40)).faults.is_empty());
        let faults = Report::of(seen(), &limits(100, 39)).faults;
        let expected = [
            "the 99th percentile of latency was 198 ms, more than --p99-most 100 ms",
            "the greatest lag was 40 ms, more than --lag-most 39 ms",
        ];
        assert_eq!(faults, expected);
        let twice = Mailed { twice: Some(2), ..seen().mails };
        assert_eq!(report(Seen { mails: twice, ..seen() }).faults, ["2 mails came more than once"]);
        let unmeasured = Report::of(Seen { latencies: Latencies::default(), ..seen() }, &limits(100, 100)).faults;
        assert_eq!(unmeasured, ["the 99th percentile of latency was not measured, so --p99-most cannot be judged"]);
    }

    #[test]
    fn what_is_worth_knowing_is_said() {
        let notes = |seen: Seen| report(seen).notes.join("\n");
        let records = |read, late| Records { read, late, ..seen().records };
        assert!(notes(Seen { cut_short: true, ..seen() }).contains("ended after 8 s of 8 s"));
        assert!(notes(Seen { behind_ms: 250, ..seen() }).contains("250 ms late"));
        assert!(notes(Seen { records: records(19_000, 0), ..seen() }).contains("19,000 records read, of 20,000"));
        assert!(notes(Seen { records: records(20_001, 0), ..seen() }).contains("somebody else"));
        assert!(notes(Seen { records: records(20_000, 1), ..seen() }).contains("1 record came when"));
        assert!(notes(Seen { restarts: 2, closed: false, ..seen() }).contains("again, 2 times"));
        let later = Window { from_ms: seen().measured.from_ms + 5_000, ..seen().measured };
        assert!(notes(Seen { measured: later, ..seen() }).contains("waited for for 5 s more"));
        assert!(notes(Seen { undated: 3, ..seen() }).contains("as_of = \"{{as_of}}\""));
        assert!(notes(Seen { latencies: Latencies::default(), ..seen() }).contains("No mail of the measured time"));
        let mut silent = seen();
        silent.samples[12..20].iter_mut().for_each(|sample| sample.service = None);
        assert!(notes(silent).contains("did not answer for 2 s, 3 s after the beginning"));
    }

    #[test]
    fn the_files_replace_those_of_the_report_before() {
        let folder = std::env::temp_dir().join(format!("beckon-load-{}", std::process::id()));
        report(seen()).write(&folder).unwrap();
        let there = |name: &str| folder.join(name).is_file();
        assert!(["report.json", "latency.hgrm", "lag.hgrm", "index.html"].into_iter().all(there));
        let mut without = seen();
        without.asked.esp = None;
        report(without).write(&folder).unwrap();
        assert!(there("lag.hgrm") && !there("latency.hgrm"));
        fs::remove_dir_all(folder).unwrap();
    }
}
