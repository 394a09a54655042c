//! What is answered over HTTP, asked over a real connection.

#[path = "web/answer.rs"]
mod answer;
#[path = "web/service.rs"]
mod service;
#[path = "web/track.rs"]
mod track;
