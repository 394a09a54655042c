//! What is answered over HTTP, asked over a real connection.

#[path = "web/attacks.rs"]
mod attacks;
#[path = "web/collect.rs"]
mod collect;
#[path = "web/script.rs"]
mod script;
mod skip;
#[path = "web/track.rs"]
mod track;
