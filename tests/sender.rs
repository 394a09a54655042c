//! The sender from end to end: templates, requests on the wire, and what becomes of a delivery in the ledger.

#[path = "sender/authority.rs"]
mod authority;
#[path = "sender/delivery.rs"]
mod delivery;
#[path = "sender/enrich.rs"]
mod enrich;
#[path = "sender/enriched.rs"]
mod enriched;
#[path = "sender/erasure.rs"]
mod erasure;
#[path = "sender/esp.rs"]
mod esp;
mod fetched;
#[path = "sender/hostile.rs"]
mod hostile;
#[path = "sender/http_tls.rs"]
mod http_tls;
#[path = "sender/kafka.rs"]
mod kafka;
#[path = "sender/mail_server.rs"]
mod mail_server;
#[path = "sender/moto.rs"]
mod moto;
#[path = "sender/outage.rs"]
mod outage;
#[path = "sender/render.rs"]
mod render;
#[path = "sender/several.rs"]
mod several;
#[path = "sender/shop.rs"]
mod shop;
mod skip;
#[path = "sender/smtp.rs"]
mod smtp;
#[path = "sender/smtp_tls.rs"]
mod smtp_tls;
#[path = "sender/wire.rs"]
mod wire;
#[path = "sender/world.rs"]
mod world;
