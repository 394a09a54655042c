//! The few pages that a recipient sees. Whole HTML documents with nothing from elsewhere and no script; whatever is put into them is
//! escaped.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use handlebars::html_escape;

use super::body::NoBody;
use super::choices::Offer;

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:17px/1.5 system-ui,sans-serif;max-width:32rem;margin:12vh auto;padding:0 1.25rem}\
h1{font-size:1.5rem;line-height:1.25}\
button{font:inherit;padding:.7rem 1.4rem;border:0;border-radius:.5rem;background:#1f5eff;color:#fff;cursor:pointer}\
button:focus-visible,input:focus-visible{outline:3px solid #8fb0ff;outline-offset:2px}\
fieldset{margin:1.5rem 0;padding:0;border:0}\
legend{padding:0;margin-bottom:.5rem;font-weight:600}\
label{display:flex;gap:.75rem;align-items:center;padding:.7rem 0;border-top:1px solid #8884;overflow-wrap:anywhere;cursor:pointer}\
input{flex:none;width:1.3rem;height:1.3rem;margin:0;accent-color:#1f5eff}\
.done{padding:.7rem 1rem;border-radius:.5rem;background:#1a7f3726;border:1px solid #1a7f37}\
.rest{margin-top:2.5rem;padding-top:1.25rem;border-top:1px solid #8884}\
h2{font-size:1.1rem;margin:0}\
.plain{background:none;color:inherit;border:1px solid #8889}";

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

/// Which of the `offers` are wanted, by who has `declined` these campaigns; with a word that it is done, where this was just chosen. Below
/// it, the way out of all of them.
pub(super) fn ask_which(offers: &[Offer], declined: &BTreeSet<String>, done: bool) -> Response {
    let done = if done { "<p class=\"done\" role=\"status\">Saved. It holds for mails from now on.</p>" } else { "" };
    let boxes: String = offers.iter().map(|offer| tick(offer, declined)).collect();
    let body = format!(
        "{done}<form method=\"post\"><fieldset><legend>Send me</legend>{boxes}</fieldset>\
         <button type=\"submit\" name=\"do\" value=\"save\">Save</button></form>\
         <form method=\"post\" class=\"rest\"><h2>None of them</h2>\
         <p>You will get no more of these mails, nor of any that are new, and this page cannot bring them back. \
         Mails about your orders are not concerned.</p>\
         <button type=\"submit\" class=\"plain\">Unsubscribe from all</button></form>"
    );
    page(StatusCode::OK, "Which mails would you like?", &body)
}

/// A box that is ticked if the mails are wanted. That it was shown is said beside it, since a box that is not ticked says nothing.
fn tick(offer: &Offer, declined: &BTreeSet<String>) -> String {
    let (title, ticked) = (html_escape(&offer.title), if offer.is_wanted(declined) { " checked" } else { "" });
    format!(
        "<input type=\"hidden\" name=\"shown\" value=\"{title}\">\
         <label><input type=\"checkbox\" name=\"wanted\" value=\"{title}\"{ticked}>{title}</label>"
    )
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

/// What was posted did not come whole.
pub(super) fn not_read(fault: NoBody) -> Response {
    let status = match fault {
        NoBody::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        NoBody::Broken => StatusCode::BAD_REQUEST,
        NoBody::Slow => StatusCode::REQUEST_TIMEOUT,
        NoBody::Full => StatusCode::TOO_MANY_REQUESTS,
    };
    page(status, "That did not work", "<p>It did not arrive whole. Please try again: nothing was changed.</p>")
}

/// The link is none of ours.
pub(super) fn no_link() -> Response {
    let body = "<p>It may have been cut off when it was copied. Please use the link in the mail itself.</p>";
    page(StatusCode::NOT_FOUND, "This link is not complete", body)
}
