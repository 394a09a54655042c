//! Ctrl-C. In: the signal. Out: a flag that is set by the first; a second one ends the process at once. Fails where signals
//! cannot be watched for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

/// The flag.
pub(super) fn on_signal() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot watch for Ctrl-C")?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                flag.store(true, Ordering::Relaxed);
            }
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(1);
            }
        });
    });
    Ok(stop)
}
