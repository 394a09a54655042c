//! Where spans go. In: the `[telemetry]` section. Out: the collector's address. Fails into the report.

use reqwest::Url;

use super::section::Section;

/// Reads the section.
pub(super) fn read(section: Section<'_>) -> Option<Url> {
    let example = "where a collector takes OTLP over HTTP, such as: otlp_endpoint = \"http://localhost:4318\"";
    let endpoint = section.required("otlp_endpoint", example).and_then(|value| {
        let text = value.clone().text()?;
        let is_web = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none();
        let url = Url::parse(text).ok().filter(is_web);
        if url.is_none() {
            value.fault(format!("`{text}` is no http or https address"), example);
        }
        url
    });
    section.finish();
    endpoint
}
