//! What is answered over HTTP, asked over a real connection.

#[path = "web/track.rs"]
mod track;
