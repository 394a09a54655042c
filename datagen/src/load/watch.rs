//! A running service, looked at from outside. In: where its HTTP is. Out: each time, what its `/metrics` say that it has done since the
//! first look, and what it costs. Fails at the first look alone, and then says what to do; later on a service that does not answer
//! is a look at nothing, and one that was started again goes on from where it was.

use std::time::Duration;

use reqwest::{Client, Url};
use serde::Serialize;

use super::exposition;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The most that an answer may have: a service with a thousand partitions has a tenth of it.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// By what a service goes, as it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Terms {
    /// The length of a tick.
    pub tick_ms: u64,
    /// How late a record may be.
    pub allowed_lateness_ms: u64,
}

impl Terms {
    /// The first tick after this time: where ticks are closed up to it, the next to be closed.
    pub fn next_tick(self, closed_ms: u64) -> u64 {
        let tick_ms = self.tick_ms.max(1);
        (closed_ms / tick_ms + 1) * tick_ms
    }
}

/// What has been done since the first look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Records read.
    pub records: u64,
    /// Those of them that were of no use.
    pub dead_letters: u64,
    /// Those of them that came when their tick was closed.
    pub late: u64,
    /// Decisions.
    pub decisions: u64,
    /// Those of them that are to send a mail.
    pub sends: u64,
    /// Mails that an ESP has taken.
    pub accepted: u64,
    /// CPU time; 0 where the service does not tell.
    pub cpu_ms: u64,
}

/// One look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Look {
    /// What was done.
    #[serde(flatten)]
    pub counts: Counts,
    /// Ticks are closed up to this time, epoch ms; 0 while none is.
    pub closed_ms: u64,
    /// Memory resident, where the service tells.
    pub resident_bytes: Option<u64>,
}

/// Why nothing can be measured.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// There is no client.
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
    /// Nobody answers.
    #[error(
        "no answer from {url} ({why}); start the service first (`beckon run`, with `listen` in its [web]), or name it \
         with --beckon"
    )]
    Unreachable {
        /// What was asked.
        url: Url,
        /// Why there is none.
        why: String,
    },
    /// It does not say what is needed.
    #[error(
        "{url} does not tell {missing}; is it a `beckon run`, of this version? (of a cluster the first process answers)"
    )]
    Silent {
        /// What was asked.
        url: Url,
        /// The metric.
        missing: &'static str,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    url: Url,
    /// What the process had counted at the last look.
    last: Counts,
    /// What the first look had, or is to be added for processes that have ended.
    base: Counts,
    before: Counts,
    /// How many times it was started again.
    pub restarts: u32,
}

impl Watch {
    /// The first look.
    pub async fn start(service: &Url) -> Result<(Watch, Terms), WatchError> {
        // Another one is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().timeout(ANSWER_WITHIN).redirect(reqwest::redirect::Policy::none());
        let client = client.build().map_err(WatchError::Client)?;
        let url = metrics_url(service);
        let silent = |missing| WatchError::Silent { url: shown(&url), missing };
        let answered = ask(&client, &url).await;
        let text = answered
            .map_err(|error| WatchError::Unreachable { url: shown(&url), why: root_of(&error) })?
            .ok_or_else(|| silent("its metrics"))?;
        let raw = Raw::of(&text);
        let tick_ms = raw.tick_ms.ok_or_else(|| silent("beckon_tick_seconds"))?;
        let allowed_lateness_ms = raw.allowed_lateness_ms.ok_or_else(|| silent("beckon_allowed_lateness_seconds"))?;
        raw.closed_ms.ok_or_else(|| silent("beckon_tick_closed_seconds"))?;
        let (last, base) = (raw.counts, raw.counts);
        let watch = Watch { client, url, last, base, before: Counts::default(), restarts: 0 };
        Ok((watch, Terms { tick_ms, allowed_lateness_ms }))
    }

    /// The next look; none when the service does not answer as it should.
    pub async fn look(&mut self) -> Option<Look> {
        let text = ask(&self.client, &self.url).await.ok()??;
        let raw = Raw::of(&text);
        let closed_ms = raw.closed_ms?;
        Some(Look { counts: self.since(raw.counts), closed_ms, resident_bytes: raw.resident_bytes })
    }

    /// What was done since the first look, of a process that has counted `now`. One that has counted less than it had is another.
    fn since(&mut self, now: Counts) -> Counts {
        if now.cpu_ms < self.last.cpu_ms || now.records < self.last.records {
            self.before = self.before.with(self.last.with(self.base, u64::saturating_sub), u64::saturating_add);
            self.base = Counts::default();
            self.restarts += 1;
        }
        self.last = now;
        self.before.with(now.with(self.base, u64::saturating_sub), u64::saturating_add)
    }
}

impl Counts {
    fn with(self, other: Counts, join: fn(u64, u64) -> u64) -> Counts {
        Counts {
            records: join(self.records, other.records),
            dead_letters: join(self.dead_letters, other.dead_letters),
            late: join(self.late, other.late),
            decisions: join(self.decisions, other.decisions),
            sends: join(self.sends, other.sends),
            accepted: join(self.accepted, other.accepted),
            cpu_ms: join(self.cpu_ms, other.cpu_ms),
        }
    }
}

/// Where the metrics are, of whoever is named by any address of theirs.
fn metrics_url(service: &Url) -> Url {
    let mut url = service.clone();
    if !url.path().ends_with("/metrics") {
        let path = format!("{}/metrics", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    url
}

/// An address without a password.
pub(super) fn shown(url: &Url) -> Url {
    let mut url = url.clone();
    // Only of addresses that can have none.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.set_query(None);
    url
}

/// What is at the bottom of an error, which says most: "Connection refused".
fn root_of(error: &reqwest::Error) -> String {
    let mut root: &dyn std::error::Error = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}

/// What is answered; none where that is no success, or too much.
async fn ask(client: &Client, url: &Url) -> reqwest::Result<Option<String>> {
    let mut answer = client.get(url.clone()).send().await?;
    if !answer.status().is_success() {
        return Ok(None);
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Ok(None);
        }
    }
    Ok(Some(String::from_utf8_lossy(&body).into_owned()))
}

/// What one answer says.
#[derive(Debug, Default)]
struct Raw {
    counts: Counts,
    closed_ms: Option<u64>,
    resident_bytes: Option<u64>,
    tick_ms: Option<u64>,
    allowed_lateness_ms: Option<u64>,
}

impl Raw {
    fn of(text: &str) -> Raw {
        let mut raw = Raw::default();
        for told in exposition::read(text) {
            let ms = (told.value * 1_000.0).round() as u64;
            let counts = &mut raw.counts;
            match told.name {
                "beckon_records_total" => counts.records += told.count(),
                "beckon_dead_letters_total" => counts.dead_letters += told.count(),
                "beckon_records_late_total" => counts.late += told.count(),
                "beckon_decisions_total" => {
                    counts.decisions += told.count();
                    counts.sends += if told.has("outcome", "send") { told.count() } else { 0 };
                }
                "beckon_delivery_states_total" if told.has("state", "accepted") => counts.accepted += told.count(),
                "process_cpu_seconds_total" => counts.cpu_ms = ms,
                "process_resident_memory_bytes" => raw.resident_bytes = Some(told.count()),
                "beckon_tick_closed_seconds" => raw.closed_ms = Some(ms),
                "beckon_tick_seconds" => raw.tick_ms = Some(ms),
                "beckon_allowed_lateness_seconds" => raw.allowed_lateness_ms = Some(ms),
                _ => {}
            }
        }
        raw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "beckon_records_total{stream=\"carts\"} 7\nbeckon_records_total{stream=\"orders\"} 5\n\
        beckon_dead_letters_total{stream=\"carts\",reason=\"missing\"} 1\n\
        beckon_decisions_total{outcome=\"send\",reason=\"none\"} 3\n\
        beckon_decisions_total{outcome=\"suppress\",reason=\"cooldown\"} 2\n\
        beckon_delivery_states_total{state=\"accepted\"} 3\nbeckon_delivery_states_total{state=\"pending\"} 9\n\
        beckon_tick_closed_seconds 1767225600.1\nbeckon_tick_seconds 0.1\nprocess_cpu_seconds_total 1.25\n";

    fn watch(last: Counts) -> Watch {
        let (client, url) = (Client::new(), "http://localhost".parse().unwrap());
        Watch { client, url, last, base: last, before: Counts::default(), restarts: 0 }
    }

    #[test]
    fn an_answer_is_summed_over_streams_and_reasons() {
        let raw = Raw::of(ANSWER);
        assert_eq!((raw.counts.records, raw.counts.dead_letters, raw.counts.decisions), (12, 1, 5));
        assert_eq!((raw.counts.sends, raw.counts.accepted, raw.counts.cpu_ms), (3, 3, 1_250));
        assert_eq!((raw.closed_ms, raw.tick_ms), (Some(1_767_225_600_100), Some(100)));
        assert_eq!((raw.resident_bytes, raw.allowed_lateness_ms), (None, None));
    }

    #[test]
    fn the_next_tick_is_after_what_is_closed_however_a_service_counts() {
        let terms = Terms { tick_ms: 1_000, allowed_lateness_ms: 5_000 };
        assert_eq!([9_999, 10_000, 10_999].map(|closed_ms| terms.next_tick(closed_ms)), [10_000, 11_000, 11_000]);
    }

    #[test]
    fn a_service_that_is_started_again_goes_on() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let of = |records, cpu_ms| Counts { records, cpu_ms, ..Counts::default() };
        let mut watch = watch(of(100, 1_000));
        assert_eq!(watch.since(of(150, 1_200)), of(50, 200));
        assert_eq!((watch.since(of(30, 100)), watch.restarts), (of(80, 300), 1));
        assert_eq!((watch.since(of(45, 150)), watch.restarts), (of(95, 350), 1));
    }

    #[test]
    fn any_address_of_a_service_leads_to_its_metrics_and_shows_no_password() {
        let of = |text: &str| metrics_url(&text.parse().unwrap()).to_string();
        assert_eq!(of("http://127.0.0.1:8080"), "http://127.0.0.1:8080/metrics");
        assert_eq!(of("http://127.0.0.1:8080/metrics"), "http://127.0.0.1:8080/metrics");
        assert_eq!(of("https://shop.example/beckon/"), "https://shop.example/beckon/metrics");
        assert_eq!(shown(&"http://u:p@h/metrics?key=1".parse().unwrap()).as_str(), "http://h/metrics");
    }
}
