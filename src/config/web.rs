//! What Beckon answers over HTTP (SPEC §8). In: the `[web]` section. Out: [`Web`]. Fails into the report.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::secret::{self, SecretSource};
use super::section::{Section, Value};

/// Where Beckon answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    /// Address and port; 127.0.0.1:8080 unless set. A proxy with TLS belongs in front of it.
    pub listen: SocketAddr,
    /// The token of those who may read; without it nobody may.
    pub api_token: Option<SecretSource>,
    /// Whether figures in which nobody is named are told without the token; not so unless set.
    pub open_figures: bool,
    /// How many of the mails that were sent are kept for who may read; 10,000 unless set.
    pub mails_kept: usize,
}

/// How many mails are kept unless that is set: some 50 MB.
const MAILS_KEPT: u32 = 10_000;

/// The most mails that are kept, each a file.
const MAILS_KEPT_MAX: u32 = 1_000_000;

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
    let open_figures = section.get("open_figures").and_then(Value::boolean).unwrap_or(false);
    let mails_kept = section.get("mails_kept").and_then(|value| value.count(0..=MAILS_KEPT_MAX)).unwrap_or(MAILS_KEPT);
    section.finish();
    let mails_kept = mails_kept as usize;
    Web { api_token, open_figures, mails_kept, listen: listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080))) }
}
