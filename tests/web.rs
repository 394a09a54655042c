//! What is answered over HTTP, asked over a real connection.

#[path = "web/answer.rs"]
mod answer;
#[path = "web/attacks.rs"]
mod attacks;
#[path = "web/browser.rs"]
mod browser;
#[path = "web/chosen.rs"]
mod chosen;
#[path = "web/collect.rs"]
mod collect;
#[path = "web/complained.rs"]
mod complained;
mod fetched;
#[path = "web/letters.rs"]
mod letters;
#[path = "web/live.rs"]
mod live;
#[path = "web/script.rs"]
mod script;
#[path = "web/second_carts.rs"]
mod second_carts;
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
