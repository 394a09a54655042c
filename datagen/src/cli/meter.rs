//! Progress of a shop on standard error: over its records where their number is known, else over its virtual time,
//! else only a count. Silent where standard error is no terminal.

use indicatif::{ProgressBar, ProgressStyle};

use crate::shop::ShopConfig;
use crate::written::{grouped, written_time};

/// See the module.
pub(super) struct Meter {
    bar: ProgressBar,
    /// When the bar began, in epoch milliseconds, if it is over virtual time.
    time_from_ms: Option<i64>,
}

impl Meter {
    pub(super) fn new(config: &ShopConfig) -> Meter {
        let (bar, template, time_from_ms) = match (config.records, config.until_ms) {
            (Some(records), _) => {
                (ProgressBar::new(records), "{bar:30} {percent:>3} %  {per_sec}, {eta} left  {msg}", None)
            }
            (None, Some(until_ms)) => {
                let length_ms = until_ms.saturating_sub(config.start_ms).max(0) as u64;
                (ProgressBar::new(length_ms), "{bar:30} {percent:>3} %  {eta} left  {msg}", Some(config.start_ms))
            }
            (None, None) => (ProgressBar::new_spinner(), "{spinner} {elapsed}  {msg}", None),
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        Meter { bar: bar.with_style(style), time_from_ms }
    }

    /// Shows that so many records were said, up to this time.
    pub(super) fn show(&self, records: u64, time_ms: i64) {
        let position = self.time_from_ms.map_or(records, |from_ms| (time_ms - from_ms).max(0) as u64);
        self.bar.set_position(position);
        self.bar.set_message(format!("{} records, {}", grouped(records), written_time(time_ms)));
    }

    /// Takes the bar off the terminal.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
