//! What Beckon answers over HTTP (SPEC §8). In: the `[web]` section. Out: [`Web`]. Fails into the report.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::secret::{self, SecretSource};
use super::section::Section;

/// Where Beckon answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    /// Address and port; 127.0.0.1:8080 unless set. A proxy with TLS belongs in front of it.
    pub listen: SocketAddr,
    /// The token of those who may read; without it nobody may.
    pub api_token: Option<SecretSource>,
}

/// Reads the section; `beside` makes a relative path one beside the configuration. With `needed`, a token that is named must be there.
pub(super) fn read(section: Section<'_>, beside: impl Fn(&str) -> PathBuf, needed: bool) -> Web {
    let api_token = secret::read_optional(&section, ["api_token_env", "api_token_file"], beside, needed);
    let listen = section.get("listen").and_then(|value| {
        let text = value.clone().text()?;
        let address = text.parse().ok();
        if address.is_none() {
            value.fault(format!("`{text}` is no address to listen on"), "such as: listen = \"127.0.0.1:8080\"");
        }
        address
    });
    section.finish();
    Web { api_token, listen: listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080))) }
}
