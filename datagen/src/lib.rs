//! A shop for Beckon that is not there: records as SPEC §1 has them, from a seed or from real sessions, to files or to
//! Kafka, and an ESP that fails in every way that one can.
//!
//! This crate knows the wire format and nothing else of Beckon: what it writes is what any shop would.
//!
//! | module | in | out |
//! |---|---|---|
//! | [`shop`] | a seed | an iterator of records |
//! | [`otto`] | the OTTO dataset's sessions | the same |
//! | [`files`] | records | `NAME.jsonl` for each stream |
//! | [`produce`] | records | Kafka topics, at a pace |
//! | [`esp`] | HTTP requests | answers, faults, and a count of both |
//! | [`load`] | a rate, and a service that runs | what it did, as a report |

pub mod cli;
pub mod esp;
pub mod files;
pub mod load;
pub mod otto;
pub mod produce;
pub mod shop;
pub mod stream;
pub mod wire;
pub mod written;

pub use stream::{Event, STREAMS};
