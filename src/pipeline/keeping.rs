//! An ESP whose messages are kept as they are handed over. In: messages. Out: the same, to the ESP, and a copy to the mails that are kept.
//! Fails as the ESP does.

use std::sync::Arc;

use super::live::WallClock;
use crate::decision::{Decision, Message};
use crate::mails::{Mail, Mails};
use crate::sink::{Accepted, BoxFuture, Esp, SendError};

/// The ESP, and where its messages are kept.
pub struct Keeping {
    /// Where messages go.
    pub esp: Arc<dyn Esp>,
    /// Where they are kept.
    pub mails: Arc<Mails>,
    /// Says when.
    pub clock: WallClock,
}

impl Esp for Keeping {
    fn send<'a>(&'a self, message: &'a Message, decision: &'a Decision) -> BoxFuture<'a, Result<Accepted, SendError>> {
        // What is sent again is the same message.
        self.mails.keep(decision.decision_id, Mail::of(message, (self.clock)()));
        self.esp.send(message, decision)
    }

    fn honours_idempotency(&self) -> bool {
        self.esp.honours_idempotency()
    }
}
