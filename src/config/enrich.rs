//! What is fetched from elsewhere when a mail is rendered (SPEC §10). In: the `[enrich.NAME]` sections. Out: [`Enrichment`]s
//! in the order of the file. Fails into the report.

use handlebars::Handlebars;
use reqwest::Url;

use super::section::{Section, Value};

/// `timeout` unless set, in milliseconds.
const TIMEOUT_MS: u64 = 300;

/// One `[enrich.NAME]`, to be had in templates as `enrich.NAME`.
#[derive(Clone, Debug, PartialEq)]
pub struct Enrichment {
    /// Letters, digits and `_`, not beginning with a digit.
    pub name: String,
    /// A Handlebars template of an `http` or `https` URL.
    pub url: String,
    /// How long to wait for an answer, in milliseconds; 300 unless set.
    pub timeout_ms: u64,
    /// How long an answer may be used again for the same URL, in milliseconds; 0 (not at all) unless set.
    pub cache_ms: u64,
    /// What the template gets when there is no answer.
    pub fallback: serde_json::Value,
}

/// Reads every enrichment.
pub(super) fn read_all(table: Section<'_>) -> Vec<Enrichment> {
    table
        .entries()
        .into_iter()
        .filter_map(|(name, span, value)| {
            let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                let hint = "letters, digits and `_`, so that a template can say enrich.NAME";
                value.report().fault(span, format!("`{name}` cannot be an enrichment's name"), Some(hint.to_owned()));
            }
            read(name, value.section("enrich")?)
        })
        .collect()
}

fn read(name: &str, section: Section<'_>) -> Option<Enrichment> {
    let url = section.required("url", "such as: url = \"https://api.example.com/now\"").and_then(read_url);
    let fallback = section.required("fallback", "what to use without an answer, such as: fallback = { text = \"\" }");
    let fallback = fallback.and_then(Value::json);
    let timeout_ms = section.get("timeout").and_then(Value::positive_ms).unwrap_or(TIMEOUT_MS);
    let cache_ms = section.get("cache").and_then(Value::duration_ms).unwrap_or(0);
    section.finish();
    Some(Enrichment { name: name.to_owned(), url: url?, timeout_ms, cache_ms, fallback: fallback? })
}

fn read_url(value: Value<'_>) -> Option<String> {
    let text = value.clone().text()?;
    // Rendered with nothing in it, the template must already be a URL: no customer may choose the host.
    let rendered = Handlebars::new().render_template(text, &());
    let rendered = match rendered {
        Ok(rendered) => rendered,
        Err(error) => {
            let hint = "such as: \"https://api.example.com/now?city={{customer.attributes.city}}\"";
            value.fault(format!("the URL's template does not render: {error}"), hint);
            return None;
        }
    };
    let url = Url::parse(&rendered).ok().filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
    if url.is_none() {
        value.fault(format!("`{text}` is not a URL"), "an http or https URL whose host is not in {{ }}");
        return None;
    }
    Some(text.to_owned())
}
