//! What Beckon answers over HTTP (SPEC §8). In: the `[web]` section. Out: [`Web`]. Fails into the report.

use std::net::SocketAddr;

use super::section::Section;

/// Where Beckon answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    /// Address and port; 127.0.0.1:8080 unless set. A proxy with TLS belongs in front of it.
    pub listen: SocketAddr,
}

/// Reads the section.
pub(super) fn read(section: Section<'_>) -> Web {
    let listen = section.get("listen").and_then(|value| {
        let text = value.clone().text()?;
        let address = text.parse().ok();
        if address.is_none() {
            value.fault(format!("`{text}` is no address to listen on"), "such as: listen = \"127.0.0.1:8080\"");
        }
        address
    });
    section.finish();
    Web { listen: listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080))) }
}
