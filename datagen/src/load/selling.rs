//! The shop of a load test. In: brokers, and what the shop is drawn from. Out: its records in Kafka when the wall clock shows their times,
//! from a thread of its own, and how far that is. Fails as [`produce`] does, which is told in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::produce::{Pace, ProduceError, Progress, produce};
use crate::shop::{Shop, ShopConfig};

/// See the module.
#[derive(Debug)]
pub struct Selling {
    progress: Arc<Progress>,
    stop: Arc<AtomicBool>,
    /// Taken when it is waited for.
    thread: Option<JoinHandle<Result<(), ProduceError>>>,
}

impl Selling {
    /// Opens the shop.
    pub fn start(brokers: String, shop: ShopConfig) -> Selling {
        let (progress, stop) = (Arc::new(Progress::default()), Arc::new(AtomicBool::new(false)));
        let (progress_of, stop_of) = (progress.clone(), stop.clone());
        let thread = std::thread::spawn(move || produce(&brokers, Shop::new(shop), Pace::Live, &stop_of, &progress_of));
        Selling { progress, stop, thread: Some(thread) }
    }

    /// Records handed to Kafka's client.
    pub fn said(&self) -> u64 {
        self.progress.said_total()
    }

    /// Records that the brokers have acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.progress.acknowledged.load(Ordering::Relaxed)
    }

    /// How late the newest record was said, ms.
    pub fn behind_ms(&self) -> u64 {
        self.progress.behind_ms.load(Ordering::Relaxed).max(0) as u64
    }

    /// Says no more; what was said is still acknowledged.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it has ended, whyever.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until all is acknowledged.
    pub fn end(&mut self) -> Result<(), ProduceError> {
        self.stop();
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(produced)) => produced,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Selling {
    fn drop(&mut self) {
        self.stop();
    }
}
