//! Beckon decides, at the moment it matters, which customer of a shop gets which e-mail, and never sends one that has stopped
//! being true. [`pipeline`] is the way through it.

pub mod allocator;
pub mod authorities;
pub mod body_template;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod coupon;
pub mod decide;
pub mod decision;
pub mod decode;
pub mod durable;
pub mod enrich;
pub mod experiment;
pub mod json_lines;
pub mod kpis;
pub mod ledger;
pub mod mails;
pub mod meter;
pub mod pipeline;
pub mod reclock;
pub mod render;
pub mod secret;
pub mod signing;
pub mod sink;
pub mod snapshot;
pub mod source;
pub mod state;
pub mod telemetry;
pub mod tracking;
pub mod trigger;
pub mod watchdog;
pub mod web;
pub mod worker;
