//! Enrichment for the sender (SPEC §10): which sends want any, and what URLs can name. In: a send, and the state as of the newest
//! closed tick. Out: what was fetched, or nothing for whom no mail is made.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::compose::Composer;
use super::{SharedState, read};
use crate::decision;
use crate::sink::{BoxFuture, Enrich};

/// What the sender asks before it makes a message.
pub struct Enriching {
    composer: Arc<Composer>,
    state: SharedState,
}

impl Enriching {
    /// Fetches for the composer's templates, about customers as `state` knows them.
    pub fn new(composer: Arc<Composer>, state: SharedState) -> Enriching {
        Enriching { composer, state }
    }
}

impl Enrich for Enriching {
    fn is_wanted(&self, send: &decision::Send) -> bool {
        self.composer.is_enriched(&send.template)
    }

    fn fetch<'a>(&'a self, send: &'a decision::Send) -> BoxFuture<'a, Map<String, Value>> {
        Box::pin(async move {
            // Nobody's data goes anywhere when they get no mail. The state is not held while it is waited.
            let context = self.composer.context(send, &read(&self.state)).map(|context| json!(context));
            match context {
                Ok(context) => self.composer.enrich(&send.template, &context).await,
                Err(_) => Map::new(),
            }
        })
    }
}
