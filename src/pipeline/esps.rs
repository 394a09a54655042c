//! The configured ESPs, ready to be sent to. In: an [`Esp`](config::Esp) of the configuration. Out: one of the sink. Fails when its key
//! or its `ca_file` is not there, or it cannot be set up.

use std::sync::Arc;

use crate::authorities::Authorities;
use crate::config::{self, Encryption, EspKind, KeySource, Own};
use crate::sink::http::{Differs, Http};
use crate::sink::kafka::Kafka;
use crate::sink::mailgun::Mailgun;
use crate::sink::postmark::Postmark;
use crate::sink::resend::Resend;
use crate::sink::sendgrid::SendGrid;
use crate::sink::ses::{Account, Ses};
use crate::sink::smtp::{Login, Smtp};
use crate::sink::{ApiKey, Esp, client_trusting};

/// Sets up the ESP.
pub fn esp(esp: &config::Esp) -> anyhow::Result<Arc<dyn Esp>> {
    set_up(esp).map_err(|error| error.context(format!("the ESP `{}`", esp.name)))
}

fn set_up(esp: &config::Esp) -> anyhow::Result<Arc<dyn Esp>> {
    let key = esp.key.as_ref().map(read).transpose()?;
    let lacking = |what: &str| anyhow::anyhow!("{what} is missing");
    let required = || key.clone().ok_or_else(|| lacking("its key"));
    let base_url = || esp.base_url.as_ref().ok_or_else(|| lacking("`base_url`"));
    let authorities =
        esp.ca_file.as_deref().map(Authorities::read).transpose().map_err(anyhow::Error::msg)?.unwrap_or_default();
    let client = || client_trusting(esp.timeout_ms, &authorities);
    Ok(match (&esp.own, esp.kind) {
        (Own::Nothing, EspKind::Resend) => Arc::new(Resend::new(client()?, base_url()?.as_str(), required()?)?),
        (Own::Nothing, _) => Arc::new(SendGrid::new(client()?, base_url()?.as_str(), required()?)?),
        (Own::Postmark { stream }, _) => Arc::new(Postmark::new(client()?, base_url()?.as_str(), required()?, stream)?),
        (Own::Mailgun { domain }, _) => Arc::new(Mailgun::new(client()?, base_url()?.as_str(), required()?, domain)?),
        (Own::Ses { region, access_key_id, session_token, configuration_set }, _) => {
            let account = Account {
                region: region.clone(),
                access_key_id: access_key_id.read().map_err(anyhow::Error::msg)?.trim().to_owned(),
                secret: required()?,
                session_token: session_token.as_ref().map(read).transpose()?,
                configuration_set: configuration_set.clone(),
            };
            Arc::new(Ses::new(client()?, base_url()?.as_str(), account)?)
        }
        (Own::Smtp { username, encryption }, _) => {
            let login = username.clone().zip(key).map(|(username, password)| Login { username, password });
            let domain = esp.from.address.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
            let in_the_clear = *encryption == Encryption::None;
            Arc::new(Smtp::new(base_url()?, in_the_clear, &authorities, login, domain, esp.timeout_ms)?)
        }
        (Own::Http { path, auth_header, body }, _) => {
            let differs = Differs { path: path.clone(), auth_header: auth_header.clone(), body: body.clone() };
            let honours = esp.honours_idempotency_key;
            Arc::new(Http::new(client()?, base_url()?.as_str(), key, honours, differs)?)
        }
        (Own::Kafka { brokers, topic }, _) => {
            Arc::new(Kafka::new(brokers, topic, esp.timeout_ms, esp.honours_idempotency_key)?)
        }
    })
}

fn read(source: &KeySource) -> anyhow::Result<ApiKey> {
    let key = source.read().map_err(anyhow::Error::msg)?;
    Ok(ApiKey::new(&key, &source.origin())?)
}
