//! The mails that come of the load, and how soon. In: an address on which the ESP of `datagen esp` listens. Out: counts, and the time
//! from when a mail could have been decided to when it was here. Fails where the address is taken.
//!
//! A mail says in `as_of` which tick decided it, and could be decided once there were records of `as_of` + allowed lateness. Its latency is
//! counted from that time, by the clock that the records' times are from: what the records took to Kafka and from there is in it, and
//! so is what the shop was late. So nothing is hidden by a service, a broker or a shop that is too slow to be asked.

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Window;
use super::latency::Latencies;
use super::watch::Terms;
use crate::esp::{Arrival, Esp, EspConfig, EspHandle, Totals};

/// How much sooner than it could be decided a mail may come before somebody's clock is wrong: times are whole milliseconds.
const EARLY_MS_MAX: u64 = 5;

/// See the module.
#[derive(Debug)]
pub struct Mails {
    esp: EspHandle,
    arrivals: Receiver<Arrival>,
    allowed_lateness_ms: u64,
    /// Of the mails of the measured time's ticks.
    pub times: Latencies,
    /// Mails that do not say which tick decided them.
    pub undated: u64,
    /// Mails of the measured time that came sooner than they could.
    pub early: u64,
    /// When the first came.
    first: Option<Instant>,
    /// When the last of the measured time came.
    last: Option<Instant>,
}

impl Mails {
    /// Listens, on the current runtime.
    pub async fn listen(config: EspConfig, terms: Terms) -> std::io::Result<Mails> {
        let (to, arrivals) = channel();
        let esp = Esp::start_telling(config, to).await?;
        let (times, allowed_lateness_ms) = (Latencies::default(), terms.allowed_lateness_ms);
        Ok(Mails { esp, arrivals, allowed_lateness_ms, times, undated: 0, early: 0, first: None, last: None })
    }

    /// Takes up what has come since the last time. Returns the longest latency of what came of the measured time.
    pub fn take(&mut self, measured: Window) -> Option<u64> {
        let (mut longest, mut any) = (None, false);
        while let Ok(arrival) = self.arrivals.try_recv() {
            self.first.get_or_insert_with(Instant::now);
            let as_of = arrival.as_of.and_then(|text| text.parse::<Timestamp>().ok());
            let Some(as_of_ms) = as_of.and_then(|time| u64::try_from(time.as_millisecond()).ok()) else {
                self.undated += 1;
                continue;
            };
            if measured.holds(as_of_ms) {
                let (came_ms, could_ms) = (arrival.received_ms.max(0) as u64, as_of_ms + self.allowed_lateness_ms);
                self.early += u64::from(came_ms + EARLY_MS_MAX < could_ms);
                let ms = came_ms.saturating_sub(could_ms);
                self.times.record(ms);
                longest = longest.max(Some(ms));
                any = true;
            }
        }
        if any {
            self.last = Some(Instant::now());
        }
        longest
    }

    /// Whether mails have been coming for so long: what had waited for this ESP has come by then.
    pub fn have_come_for(&self, lasting: Duration) -> bool {
        self.first.is_some_and(|first| first.elapsed() >= lasting)
    }

    /// Whether no mail of the measured time has come for so long.
    pub fn are_quiet(&self, lasting: Duration) -> bool {
        self.last.is_none_or(|last| last.elapsed() >= lasting)
    }

    /// What the ESP has seen.
    pub fn seen(&self) -> Totals {
        self.esp.seen()
    }

    /// `http://ADDRESS`.
    pub fn base_url(&self) -> String {
        self.esp.base_url()
    }

    /// Listens no more.
    pub async fn stop(self) -> Totals {
        self.esp.stop().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn latency_counts_from_when_a_mail_could_be_decided() {
        let terms = Terms { tick_ms: 1_000, allowed_lateness_ms: 2_000 };
        let mut mails = Mails::listen(EspConfig::default(), terms).await.unwrap();
        let (to, arrivals) = channel();
        mails.arrivals = arrivals;
        let came = |received_ms, as_of: Option<&str>| {
            to.send(Arrival { received_ms, as_of: as_of.map(str::to_owned) }).unwrap();
        };
        came(13_040, Some("1970-01-01T00:00:11.000Z"));
        came(13_900, Some("1970-01-01T00:00:11Z"));
        came(12_000, Some("1970-01-01T00:00:12.000Z"));
        came(9_000, Some("1970-01-01T00:00:01.000Z"));
        came(9_000, None);
        came(9_000, Some("soon"));
        let measured = Window { from_ms: 10_000, until_ms: 20_000 };
        assert!(mails.are_quiet(Duration::from_secs(60)));
        assert_eq!(mails.take(measured), Some(900));
        assert!(!mails.are_quiet(Duration::from_secs(60)));
        assert_eq!((mails.undated, mails.early), (2, 1));
        let told = mails.times.percentiles().unwrap();
        assert_eq!((told.count, told.min, told.p50, told.max), (3, 0, 40, 900));
        assert_eq!(mails.take(measured), None);
        mails.stop().await;
    }
}
