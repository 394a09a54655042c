//! The records that are replayed: drawn once from a seed into `target/bench`, found there by later runs. Fails when the disk
//! does.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use beckon_datagen::files::{Compression, StreamFiles};
use beckon_datagen::shop::{Mix, ShopConfig};

/// One campaign, and no gate but those that every decision passes.
const CONFIG: &str = r#"tick = "1s"
allowed_lateness = "5s"

[[campaign]]
name = "cart-abandonment"
trigger = "cart_abandonment"
after = "30m"
expires = "24h"
stock = "any"
"#;

/// A shop's records as files.
pub struct Shop {
    /// Where they are.
    pub directory: PathBuf,
    /// How many there are, the preamble included.
    pub total: u64,
    config: ShopConfig,
    minutes: u32,
}

impl Shop {
    /// Draws the shop, unless it is there already.
    pub fn drawn(mix: Mix, records: u64, customers: u32, skus: u32, minutes: u32) -> anyhow::Result<Shop> {
        let config = ShopConfig {
            customers,
            skus,
            records_per_second: records as f64 / (f64::from(minutes) * 60.0),
            records: Some(records),
            mix,
            preamble: true,
            faults: ShopConfig::default_faults(mix),
            ..ShopConfig::default()
        };
        let name = match mix {
            Mix::Bench => format!("replay-{records}-{customers}-{skus}-{minutes}"),
            Mix::Shop => format!("shop-{records}-{customers}-{skus}-{minutes}"),
        };
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench").join(name);
        let total = match fs::read_to_string(directory.join("total")) {
            Ok(total) => total.parse()?,
            Err(_) => write(&directory, config.clone()).with_context(|| format!("drawing {}", directory.display()))?,
        };
        Ok(Shop { directory, total, config, minutes })
    }

    /// The configuration.
    pub fn config(&self) -> PathBuf {
        self.directory.join("beckon.toml")
    }
}

/// Writes all records; the answer is how many.
fn write(directory: &Path, config: ShopConfig) -> anyhow::Result<u64> {
    eprintln!("drawing the records into {}", directory.display());
    let mut files = StreamFiles::create(directory, Compression::None)?;
    for event in beckon_datagen::shop::Shop::new(config) {
        files.write(&event)?;
    }
    let total = files.finish()?.total();
    fs::write(directory.join("beckon.toml"), CONFIG)?;
    // Last, so that a shop that was not drawn to the end is drawn again.
    fs::write(directory.join("total"), total.to_string())?;
    Ok(total)
}

impl fmt::Display for Shop {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records = self.config.records.unwrap_or_default();
        match self.config.mix {
            Mix::Bench => writeln!(out, "{records} records, 70 % views, 15 % carts, 10 % inventory, 5 % orders,")?,
            Mix::Shop => writeln!(out, "{records} records of visitors who browse, search, fill carts, buy and leave,")?,
        }
        writeln!(out, "after {} of catalog, stock and profiles;", self.total - records)?;
        writeln!(
            out,
            "{} customers, {} products, seed {};",
            self.config.customers, self.config.skus, self.config.seed
        )?;
        write!(
            out,
            "{} min of event time at {:.0} records a second, ticks of 1 s, up to the last event;",
            self.minutes, self.config.records_per_second
        )
    }
}
