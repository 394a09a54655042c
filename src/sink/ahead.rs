//! Enrichment ahead of the send (SPEC §10). In: the queue's sends that want it. Out: the same with what was fetched, a little before
//! it is their turn: so no attempt, no permit of the rate and no connection waits for a stranger. Those that want nothing pass
//! by, and each campaign has room of its own, so that a slow enrichment delays no other campaign. Cannot fail.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::attempt::Verdict;
use super::delivery::Ports;
use super::queue::{Enrichment, Job, Queue};

/// Sends of a campaign that are being enriched, or are and wait for their turn.
const AHEAD_MAX: usize = 64;

/// What was fetched longer ago is fetched anew.
const FRESH_FOR: Duration = Duration::from_secs(60);

/// What was fetched for a send.
pub(super) struct Fetched {
    pub values: Map<String, Value>,
    at: Instant,
    /// Given back when the send is made.
    _room: OwnedSemaphorePermit,
}

impl Fetched {
    pub fn is_stale(&self, now: Instant) -> bool {
        now.duration_since(self.at) > FRESH_FOR
    }
}

/// The sends that are being enriched.
#[derive(Default)]
pub(super) struct Ahead {
    /// By campaign.
    rooms: HashMap<u16, Arc<Semaphore>>,
    fetching: JoinSet<Job>,
}

impl Ahead {
    /// Begins with those that go first, as far as there is room. Nothing is asked of anybody for those that are not to be sent any more.
    pub fn begin(&mut self, ports: &Arc<Ports>, queue: &mut Queue) {
        for campaign in queue.campaigns_to_enrich() {
            let room = self.rooms.entry(campaign).or_insert_with(|| Arc::new(Semaphore::new(AHEAD_MAX)));
            while let Ok(permit) = room.clone().try_acquire_owned()
                && let Some(mut job) = queue.pop_bare(campaign)
            {
                if Verdict::of(ports, &job).is_some() {
                    job.enrichment = Enrichment::Unwanted;
                    queue.push(job);
                } else {
                    self.fetching.spawn(fetch(ports.clone(), job, permit));
                }
            }
        }
    }

    /// The next that is enriched; none when there are none under way.
    pub async fn next(&mut self) -> Option<Job> {
        match self.fetching.join_next().await? {
            Ok(job) => Some(job),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

async fn fetch(ports: Arc<Ports>, mut job: Job, room: OwnedSemaphorePermit) -> Job {
    let values = match &ports.enrich {
        Some(enrich) => enrich.fetch(&job.owed).await,
        None => Map::new(),
    };
    job.enrichment = Enrichment::Fetched(Fetched { values, at: Instant::now(), _room: room });
    job
}
