//! The few pages that a recipient sees. Whole HTML documents with nothing from elsewhere and no script; whatever is put into them is
//! escaped.

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:17px/1.5 system-ui,sans-serif;max-width:32rem;margin:12vh auto;padding:0 1.25rem}\
h1{font-size:1.5rem;line-height:1.25}\
button{font:inherit;padding:.7rem 1.4rem;border:0;border-radius:.5rem;background:#1f5eff;color:#fff;cursor:pointer}\
button:focus-visible{outline:3px solid #8fb0ff;outline-offset:2px}";

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{title}</title>\
         <style>{STYLE}</style></head><body><main><h1>{title}</h1>{body}</main></body></html>\n"
    );
    (status, Html(page)).into_response()
}

/// Asks before anything is done: programs that follow every link must unsubscribe nobody (RFC 8058 §3.2).
pub(super) fn ask_to_unsubscribe() -> Response {
    let body = "<p>You will get no more of these mails. Mails about your orders are not concerned.</p>\
                <form method=\"post\"><button type=\"submit\">Unsubscribe</button></form>";
    page(StatusCode::OK, "Unsubscribe?", body)
}

/// It is done.
pub(super) fn unsubscribed() -> Response {
    page(StatusCode::OK, "You are unsubscribed", "<p>We will send you no more of these mails.</p>")
}

/// It could not be done now.
pub(super) fn try_again() -> Response {
    let body = "<p>Something on our side is not working. Please try again in a minute: nothing was changed.</p>";
    page(StatusCode::SERVICE_UNAVAILABLE, "That did not work", body)
}

/// The link is none of ours.
pub(super) fn no_link() -> Response {
    let body = "<p>It may have been cut off when it was copied. Please use the link in the mail itself.</p>";
    page(StatusCode::NOT_FOUND, "This link is not complete", body)
}
