//! What is answered over HTTP, asked over a real connection.

#[path = "web/answer.rs"]
mod answer;
#[path = "web/attacks.rs"]
mod attacks;
#[path = "web/collect.rs"]
mod collect;
#[path = "web/complained.rs"]
mod complained;
#[path = "web/script.rs"]
mod script;
#[path = "web/service.rs"]
mod service;
mod skip;
#[path = "web/told.rs"]
mod told;
#[path = "web/track.rs"]
mod track;
#[path = "web/vitals.rs"]
mod vitals;
#[path = "web/webhooks.rs"]
mod webhooks;
