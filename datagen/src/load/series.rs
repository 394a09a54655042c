//! What was seen over time. In: a sample at each look. Out: the same in as many even steps as a chart has room for: rates between the ends
//! of steps, the worst of what must not be missed. Cannot fail.

use serde::Serialize;

use super::course::Window;
use super::watch::Look;

/// One look at all there is.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// When, epoch ms.
    pub at_ms: u64,
    /// Records handed to Kafka's client so far.
    pub said: u64,
    /// Mails taken so far, by an ESP of our own.
    pub mails: u64,
    /// The longest latency of the mails that came since the sample before.
    pub latency_ms: Option<u64>,
    /// How far the service is behind.
    pub lag_ms: Option<u64>,
    /// What the service says; nothing where it did not answer.
    pub service: Option<Look>,
}

/// One step of a chart. What was not seen in it is missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// Its middle, in seconds from the beginning.
    pub at_s: f64,
    /// Records said, a second.
    pub said: Option<f64>,
    /// Records read, a second.
    pub read: Option<f64>,
    /// CPU time, in cores.
    pub cores: Option<f64>,
    /// The greatest lag, ms.
    pub lag_ms: Option<f64>,
    /// The longest latency, ms.
    pub latency_ms: Option<f64>,
    /// The most memory, bytes.
    pub resident_bytes: Option<f64>,
}

/// The samples in steps of at least a second, and at most so many.
pub fn steps(samples: &[Sample], count_max: usize) -> Vec<Step> {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return Vec::new();
    };
    let (began_ms, lasted_ms) = (first.at_ms, last.at_ms - first.at_ms);
    let width_ms = lasted_ms.div_ceil(count_max as u64).max(1_000).next_multiple_of(1_000);
    let (mut steps, mut before, mut rest) = (Vec::new(), first, samples);
    // A service that was away is told from by the last look that it answered.
    let mut answered = first.service.map(|look| (first.at_ms, look));
    for end_ms in (began_ms + width_ms..).step_by(width_ms as usize) {
        let (within, later) = rest.split_at(rest.partition_point(|sample| sample.at_ms < end_ms));
        if let Some(end) = within.last() {
            let mut step = Step { at_s: (end_ms - began_ms - width_ms / 2) as f64 / 1_000.0, ..worst(within) };
            step.said = rate(before.said, end.said, end.at_ms - before.at_ms);
            let seen = within.iter().rev().find_map(|sample| Some((sample.at_ms, sample.service?)));
            if let (Some((then_ms, then)), Some((now_ms, now))) = (answered, seen) {
                let (then, now) = (then.counts, now.counts);
                step.read = rate(then.records, now.records, now_ms - then_ms);
                let has_cpu = now.cpu_ms > 0;
                step.cores = rate(then.cpu_ms, now.cpu_ms, now_ms - then_ms).filter(|_| has_cpu).map(|ms| ms / 1_000.0);
            }
            (before, answered) = (end, seen.or(answered));
            steps.push(step);
        }
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    steps
}

fn rate(before: u64, after: u64, lasting_ms: u64) -> Option<f64> {
    (lasting_ms > 0).then(|| after.saturating_sub(before) as f64 * 1_000.0 / lasting_ms as f64)
}

fn worst(samples: &[Sample]) -> Step {
    let most = |of: &dyn Fn(&Sample) -> Option<u64>| samples.iter().filter_map(of).max().map(|most| most as f64);
    Step {
        lag_ms: most(&|sample| sample.lag_ms),
        latency_ms: most(&|sample| sample.latency_ms),
        resident_bytes: most(&|sample| sample.service?.resident_bytes),
        ..Step::default()
    }
}

/// The spans, in seconds from the beginning, in which a service did not answer.
pub fn silences(samples: &[Sample]) -> Vec<(f64, f64)> {
    let began_ms = samples.first().map_or(0, |sample| sample.at_ms);
    let seconds = |at_ms: u64| (at_ms - began_ms) as f64 / 1_000.0;
    let (mut silences, mut since) = (Vec::new(), None);
    for sample in samples {
        match (sample.service, since) {
            (None, None) => since = Some(sample.at_ms),
            (Some(_), Some(since_ms)) => {
                silences.push((seconds(since_ms), seconds(sample.at_ms)));
                since = None;
            }
            _ => {}
        }
    }
    // One that never came back was silent to the end.
    silences.extend(since.zip(samples.last()).map(|(since_ms, last)| (seconds(since_ms), seconds(last.at_ms))));
    silences
}

/// The first and the last sample of a part of the time in which the service answered.
pub fn ends(samples: &[Sample], of: Window) -> Option<(&Sample, &Sample)> {
    let mut answered = samples.iter().filter(|sample| of.holds(sample.at_ms) && sample.service.is_some());
    let first = answered.next()?;
    Some((first, answered.next_back()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::watch::Counts;

    /// Four looks a second at a service that reads 1,000 records a second with half a core.
    fn sample(nth: u64) -> Sample {
        let counts = Counts { records: nth * 250, cpu_ms: nth * 125, ..Counts::default() };
        let service = Some(Look { counts, closed_ms: 1, resident_bytes: Some(nth) });
        let (at_ms, said) = (1_000_000 + nth * 250, nth * 500);
        Sample { at_ms, said, mails: 0, latency_ms: (nth % 4 == 1).then_some(nth), lag_ms: Some(nth % 3), service }
    }

    #[test]
    fn a_step_has_rates_and_the_worst() {
        let samples: Vec<Sample> = (0..=40).map(sample).collect();
        let steps = steps(&samples, 300);
        assert_eq!(steps.len(), 11);
        let expected = Step {
            at_s: 1.5,
            said: Some(2_000.0),
            read: Some(1_000.0),
            cores: Some(0.5),
            lag_ms: Some(2.0),
            latency_ms: Some(5.0),
            resident_bytes: Some(7.0),
        };
        assert_eq!(steps[1], expected);
        assert_eq!(super::steps(&samples, 4).len(), 4);
        assert_eq!(super::steps(&[], 4), []);
        assert_eq!(super::steps(&samples[..1], 4).len(), 1);
    }

    #[test]
    fn a_service_that_is_away_leaves_a_gap() {
        let mut samples: Vec<Sample> = (0..=40).map(sample).collect();
        samples[10..30].iter_mut().for_each(|sample| sample.service = None);
        let steps = steps(&samples, 300);
        let read: Vec<_> = steps.iter().map(|step| step.read.map(f64::round)).collect();
        assert_eq!(read[3..7], [None, None, None, None], "{read:?}");
        assert_eq!((read[2], read[7]), (Some(1_000.0), Some(1_000.0)), "{read:?}");
        assert!(steps.iter().all(|step| step.said.is_some()));
        assert_eq!(silences(&samples), [(2.5, 7.5)]);
        assert_eq!(silences(&samples[..20]), [(2.5, 4.75)]);
    }

    #[test]
    fn the_ends_of_a_time_are_those_that_were_answered() {
        let mut samples: Vec<Sample> = (0..=40).map(sample).collect();
        samples[4].service = None;
        let of = Window { from_ms: 1_001_000, until_ms: 1_005_000 };
        let (first, last) = ends(&samples, of).unwrap();
        assert_eq!((first.at_ms, last.at_ms), (1_001_250, 1_004_750));
        assert!(ends(&samples, Window { from_ms: 0, until_ms: 1 }).is_none());
    }
}
