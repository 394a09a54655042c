//! Whether a request was made by a person's mail program or by a machine on its own: a security scanner, a link preview, a privacy
//! prefetch. In: the request's method and `User-Agent`. Out: yes or no. A guess, as it must be; what it takes for a machine is
//! kept, and only not counted (SPEC §9, "machine events apart").

use axum::http::{HeaderMap, Method, header};

/// What such programs call themselves, in small letters. Apple's privacy prefetch says `Mozilla/5.0` and nothing more.
const NAMES: [&str; 16] = [
    "bot",
    "crawl",
    "spider",
    "preview",
    "scan",
    "barracuda",
    "proofpoint",
    "mimecast",
    "safelinks",
    "urldefense",
    "facebookexternalhit",
    "slack",
    "whatsapp",
    "python-requests",
    "go-http-client",
    "headlesschrome",
];

/// Whether nobody looked.
pub(super) fn is_machine(method: &Method, headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let is_prefetch = [("purpose", "prefetch"), ("sec-purpose", "prefetch"), ("x-moz", "prefetch")];
    let is_prefetch = is_prefetch.iter().any(|(name, value)| {
        headers.get(*name).and_then(|header| header.to_str().ok()).is_some_and(|header| header.starts_with(value))
    });
    method == Method::HEAD || is_prefetch || is_machine_agent(agent)
}

/// Whether who calls itself so is no person's mail program.
pub(super) fn is_machine_agent(agent: &str) -> bool {
    let agent = agent.trim().to_ascii_lowercase();
    agent.is_empty() || agent == "mozilla/5.0" || NAMES.iter().any(|name| agent.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_s_mail_program_is_told_from_a_scanner() {
        let by = |agent: &str| {
            let headers = HeaderMap::from_iter([(header::USER_AGENT, agent.parse().unwrap())]);
            is_machine(&Method::GET, &headers)
        };
        for person in [
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/129.0 Safari/537.36",
            "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
        ] {
            assert!(!by(person), "{person}");
        }
        for machine in ["Mozilla/5.0", "", "Googlebot/2.1", "BarracudaCentral", "python-requests/2.32", "Slackbot 1.0"]
        {
            assert!(by(machine), "{machine}");
        }
        assert!(is_machine(
            &Method::HEAD,
            &HeaderMap::from_iter([(header::USER_AGENT, "Thunderbird".parse().unwrap())])
        ));
        let prefetch = [(header::USER_AGENT, "Thunderbird"), ("sec-purpose".parse().unwrap(), "prefetch;anonymous")];
        let prefetch = prefetch.map(|(name, value)| (name, value.parse().unwrap()));
        assert!(is_machine(&Method::GET, &HeaderMap::from_iter(prefetch)));
    }
}
