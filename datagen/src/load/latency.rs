//! Times, kept as an HDR histogram: to three digits whatever their size, in the same few kilobytes however many there are. In: times
//! in whole milliseconds. Out: percentiles, the curve of all of them, and HdrHistogram's own text. Cannot fail: what is longer
//! than a day counts as a day.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest time that is told from a longer one: a day.
const MOST_MS: u64 = 24 * 3_600 * 1_000;

/// Digits that are kept.
const DIGITS: u8 = 3;

/// What HdrHistogram calls sub-buckets, with so many digits.
const SUB_BUCKETS: u32 = 2_048;

/// How finely the text and the curve are told: steps in each half of what is left of the percentiles.
const STEPS: u32 = 5;

/// See the module.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

/// The percentiles that are asked for, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    /// How many times there are.
    pub count: u64,
    /// The least.
    pub min: u64,
    /// Their mean.
    pub mean: f64,
    /// Half of them are no longer than this.
    pub p50: u64,
    /// 90 % of them.
    pub p90: u64,
    /// 99 % of them.
    pub p99: u64,
    /// 99.9 % of them.
    pub p99_9: u64,
    /// The longest.
    pub max: u64,
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies(Histogram::new_with_bounds(1, MOST_MS, DIGITS).expect("these bounds are those of a histogram"))
    }
}

impl Latencies {
    /// One more.
    pub fn record(&mut self, ms: u64) {
        self.0.saturating_record(ms);
    }

    /// The percentiles; none of no times.
    pub fn percentiles(&self) -> Option<Percentiles> {
        let times = &self.0;
        (!times.is_empty()).then(|| Percentiles {
            count: times.len(),
            min: times.min(),
            mean: (times.mean() * 1_000.0).round() / 1_000.0,
            p50: times.value_at_quantile(0.5),
            p90: times.value_at_quantile(0.9),
            p99: times.value_at_quantile(0.99),
            p99_9: times.value_at_quantile(0.999),
            max: times.max(),
        })
    }

    /// Points of the curve of percentiles: how many nines (2 is 99 %), and the time. The last is the longest, at as many nines
    /// as there are times to tell them apart.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let most = (self.0.len().max(1) as f64).log10();
        let steps = self.0.iter_quantiles(STEPS).map(|step| {
            let nines = -(1.0 - step.quantile_iterated_to()).log10();
            (nines.clamp(0.0, most), step.value_iterated_to() as f64)
        });
        steps.collect()
    }

    /// The distribution as `HistogramLogProcessor` and the plotters of <https://hdrhistogram.github.io> have it.
    pub fn hgrm(&self) -> String {
        let times = &self.0;
        let mut text =
            format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
        let mut count = 0;
        for step in times.iter_quantiles(STEPS) {
            count += step.count_since_last_iteration();
            let (value, quantile) = (step.value_iterated_to() as f64, step.quantile_iterated_to());
            let _ = write!(text, "{value:>12.3} {quantile:>14.12} {count:>10}");
            // 1 of 0 is no number.
            let _ = if quantile < 1.0 { writeln!(text, " {:>14.2}", 1.0 / (1.0 - quantile)) } else { writeln!(text) };
        }
        let (mean, deviation) = if times.is_empty() { (0.0, 0.0) } else { (times.mean(), times.stdev()) };
        let _ = writeln!(text, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]");
        let _ = writeln!(text, "#[Max     = {:>12.3}, Total count    = {:>12}]", times.max() as f64, times.len());
        let _ = writeln!(text, "#[Buckets = {:>12}, SubBuckets     = {SUB_BUCKETS:>12}]", times.buckets());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::default();
        times.into_iter().for_each(|ms| latencies.record(ms));
        latencies
    }

    #[test]
    fn percentiles_are_those_of_a_sorted_list() {
        assert_eq!(Latencies::default().percentiles(), None);
        let told = of(1..=1_000).percentiles().unwrap();
        assert_eq!((told.count, told.min, told.p50, told.p90), (1_000, 1, 500, 900));
        assert_eq!((told.p99, told.p99_9, told.max), (990, 999, 1_000));
        assert_eq!(told.mean, 500.5);
        // Three digits of what is large; no time at all is a time, too.
        let told = of([0, 123_456]).percentiles().unwrap();
        assert_eq!((told.min, told.p50), (0, 0));
        assert!(told.max.abs_diff(123_456) <= 123, "{told:?}");
        assert!(of([u64::MAX]).percentiles().unwrap().max >= MOST_MS);
    }

    #[test]
    fn the_curve_rises_to_the_longest() {
        let curve = of(1..=10_000).curve();
        assert!(curve.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1), "{curve:?}");
        let (nines, longest) = curve.last().copied().unwrap();
        assert!((nines - 4.0).abs() < 1e-9 && (longest - 10_000.0).abs() < 10.0, "{curve:?}");
        assert!(curve.iter().all(|(nines, ms)| nines.is_finite() && ms.is_finite()));
        assert_eq!(of([7]).curve().last(), Some(&(0.0, 7.0)));
        assert!(Latencies::default().curve().iter().all(|point| point.0 == 0.0));
    }

    #[test]
    fn the_text_is_hdrhistogram_s_own() {
        let text = of((1..=99).chain([500])).hgrm();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!((lines[1], lines[2]), ("", "       1.000 0.000000000000          1           1.00"));
        assert!(lines.contains(&"      50.000 0.500000000000         50           2.00"), "{text}");
        assert!(lines.contains(&"     500.000 1.000000000000        100"), "{text}");
        assert_eq!(lines[lines.len() - 2], "#[Max     =      500.000, Total count    =          100]");
        assert!(Latencies::default().hgrm().contains("Total count    =            0]"));
    }
}
