//! What each ESP's API looks like. In: a request's body, or what became of it. Out: the message with the decision's id that its metadata
//! carries; or an answer in that ESP's words: status, body, rate headers. What is no message is refused as that ESP does.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::esp::inbox::Answer;

/// Whose API is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Twilio SendGrid, v3 Mail Send.
    Sendgrid,
    /// Postmark, `/email`.
    Postmark,
    /// Mailgun, v3; the form is urlencoded.
    Mailgun,
    /// Amazon SES, v2 SendEmail, `Simple` content. The signature is not looked at.
    Ses,
    /// Resend.
    Resend,
    /// Any JSON object.
    Plain,
}

/// Why a request is no message.
#[derive(Debug)]
pub struct MessageFault {
    field: Option<&'static str>,
    message: String,
}

fn fault(field: Option<&'static str>, message: impl Into<String>) -> MessageFault {
    MessageFault { field, message: message.into() }
}

/// A JSON text that is not empty.
fn is_there(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

/// Refuses a message that lacks one of these fields; a field is a JSON pointer.
fn require(body: &Value, fields: &[&'static str]) -> Result<(), MessageFault> {
    match fields.iter().find(|field| !body.pointer(field).is_some_and(is_there)) {
        Some(field) => Err(fault(Some(field), format!("`{field}` is required"))),
        None => Ok(()),
    }
}

impl Dialect {
    /// All there are.
    pub const ALL: [Dialect; 6] =
        [Dialect::Sendgrid, Dialect::Postmark, Dialect::Mailgun, Dialect::Ses, Dialect::Resend, Dialect::Plain];

    /// Where messages are posted to.
    pub fn path(self) -> &'static str {
        match self {
            Dialect::Sendgrid => "/v3/mail/send",
            Dialect::Postmark => "/email",
            Dialect::Mailgun => "/v3/{domain}/messages",
            Dialect::Ses => "/v2/email/outbound-emails",
            Dialect::Resend => "/emails",
            Dialect::Plain => "/send",
        }
    }

    /// The message, and the decision's id in its metadata.
    pub fn read(self, body: &[u8]) -> Result<(Value, Option<String>), MessageFault> {
        let body = if self == Dialect::Mailgun { read_form(body) } else { read_json(body)? };
        let key = match self {
            Dialect::Sendgrid => read_sendgrid(&body)?,
            Dialect::Postmark => {
                require(&body, &["/From", "/To"])?;
                body["Metadata"]["decision_id"].as_str()
            }
            Dialect::Mailgun => {
                require(&body, &["/from", "/to", "/subject"])?;
                body["v:decision_id"].as_str()
            }
            Dialect::Ses => {
                require(&body, &["/FromEmailAddress", "/Destination/ToAddresses/0", "/Content/Simple/Subject/Data"])?;
                named(&body["EmailTags"], "Name", "Value")
            }
            Dialect::Resend => {
                require(&body, &["/from", "/to/0", "/subject"])?;
                named(&body["tags"], "name", "value")
            }
            Dialect::Plain => None,
        };
        let key = key.map(str::to_owned);
        Ok((body, key))
    }

    /// What is said of a request that is no message.
    pub fn malformed(self, MessageFault { field, message }: &MessageFault) -> Response {
        match self {
            Dialect::Sendgrid | Dialect::Plain => (StatusCode::BAD_REQUEST, errors(*field, message)).into_response(),
            Dialect::Postmark => {
                (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({"ErrorCode": 300, "Message": message}))).into_response()
            }
            Dialect::Mailgun => (StatusCode::BAD_REQUEST, Json(json!({"message": message}))).into_response(),
            Dialect::Ses => amazon(StatusCode::BAD_REQUEST, "BadRequestException", message),
            Dialect::Resend => resend(StatusCode::UNPROCESSABLE_ENTITY, "missing_required_field", message),
        }
    }

    /// What is said of a message.
    pub fn answer(self, answer: &Answer, retry_after_s: u64) -> Response {
        let (status, name, message) = match answer {
            Answer::Accepted { message_id, .. } => return self.accepted(message_id),
            Answer::TooMany => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException", "too many requests"),
            Answer::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "service unavailable"),
            Answer::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure", "internal server error"),
            Answer::Refused => (StatusCode::BAD_REQUEST, "MessageRejected", "Does not contain a valid address."),
        };
        let is_refusal = *answer == Answer::Refused;
        let mut response = match self {
            Dialect::Sendgrid | Dialect::Plain => {
                let field = is_refusal.then_some("personalizations.0.to.0.email");
                (status, errors(field, message)).into_response()
            }
            Dialect::Postmark => {
                let status = if is_refusal { StatusCode::UNPROCESSABLE_ENTITY } else { status };
                let code = if is_refusal { 406 } else { u32::from(status.as_u16()) };
                (status, Json(json!({"ErrorCode": code, "Message": message}))).into_response()
            }
            Dialect::Mailgun => (status, Json(json!({"message": message}))).into_response(),
            Dialect::Ses => amazon(status, name, message),
            Dialect::Resend if is_refusal => resend(StatusCode::UNPROCESSABLE_ENTITY, "validation_error", message),
            Dialect::Resend => resend(status, "rate_limit_exceeded", message),
        };
        // Amazon says when in no way.
        let says_when = matches!(answer, Answer::TooMany | Answer::Unavailable) && self != Dialect::Ses;
        if says_when {
            response.headers_mut().insert("retry-after", HeaderValue::from(retry_after_s));
        }
        response
    }

    fn accepted(self, id: &str) -> Response {
        match self {
            Dialect::Sendgrid => (StatusCode::ACCEPTED, [("x-message-id", id.to_owned())]).into_response(),
            Dialect::Plain => {
                let named = [("x-message-id", id.to_owned())];
                (StatusCode::ACCEPTED, named, Json(json!({"message_id": id}))).into_response()
            }
            Dialect::Postmark => Json(json!({"ErrorCode": 0, "Message": "OK", "MessageID": id})).into_response(),
            Dialect::Mailgun => {
                Json(json!({"id": format!("<{id}@mailgun.test>"), "message": "Queued. Thank you."})).into_response()
            }
            Dialect::Ses => Json(json!({"MessageId": id})).into_response(),
            Dialect::Resend => Json(json!({"id": id})).into_response(),
        }
    }

    /// Says what is left of the allowance, where the ESP does.
    pub fn tell_rate(self, headers: &mut HeaderMap, limit: u32, left: u32, now_ms: i64) {
        let mut tell = |name: &'static str, value: i64| headers.insert(name, HeaderValue::from(value));
        match self {
            Dialect::Sendgrid | Dialect::Mailgun => {
                tell("x-ratelimit-limit", limit.into());
                tell("x-ratelimit-remaining", left.into());
                tell("x-ratelimit-reset", now_ms / 1000 + 1);
            }
            Dialect::Resend => {
                tell("ratelimit-limit", limit.into());
                tell("ratelimit-remaining", left.into());
                tell("ratelimit-reset", 1);
            }
            Dialect::Postmark | Dialect::Ses | Dialect::Plain => {}
        }
    }
}

fn read_json(body: &[u8]) -> Result<Value, MessageFault> {
    match serde_json::from_slice(body) {
        Ok(body @ Value::Object(_)) => Ok(body),
        Ok(_) => Err(fault(None, "the body is no JSON object")),
        Err(error) => Err(fault(None, format!("the body is not JSON: {error}"))),
    }
}

/// A form as an object; of a field that comes twice the last counts.
fn read_form(body: &[u8]) -> Value {
    let fields = form_urlencoded::parse(body).map(|(name, value)| (name.into_owned(), Value::from(value)));
    Value::Object(fields.collect::<Map<String, Value>>())
}

/// `custom_args.decision_id` of a SendGrid message.
fn read_sendgrid(body: &Value) -> Result<Option<&str>, MessageFault> {
    let first = &body["personalizations"][0];
    if !is_there(&first["to"][0]["email"]) {
        return Err(fault(Some("personalizations.0.to.0.email"), "The to email is required."));
    }
    if !is_there(&body["from"]["email"]) {
        return Err(fault(Some("from.email"), "The from email is required."));
    }
    let has_template = is_there(&body["template_id"]);
    if !has_template && !is_there(&body["subject"]) && !is_there(&first["subject"]) {
        return Err(fault(Some("subject"), "The subject is required."));
    }
    if !has_template && !is_there(&body["content"][0]["value"]) {
        return Err(fault(Some("content"), "The content is required."));
    }
    let args = [&body["custom_args"], &first["custom_args"]];
    Ok(args.into_iter().find_map(|args| args["decision_id"].as_str()))
}

/// The value of the tag `decision_id`.
fn named<'a>(tags: &'a Value, name: &str, value: &str) -> Option<&'a str> {
    let ours = tags.as_array()?.iter().find(|tag| tag[name] == "decision_id")?;
    ours[value].as_str()
}

/// An error as SendGrid writes it.
fn errors(field: Option<&str>, message: &str) -> Json<Value> {
    Json(json!({ "errors": [{ "message": message, "field": field, "help": null }] }))
}

/// An error as Amazon writes it.
fn amazon(status: StatusCode, name: &'static str, message: &str) -> Response {
    (status, [("x-amzn-errortype", name)], Json(json!({"message": message}))).into_response()
}

/// An error as Resend writes it.
fn resend(status: StatusCode, name: &'static str, message: &str) -> Response {
    let name = if status.is_server_error() { "application_error" } else { name };
    (status, Json(json!({"statusCode": status.as_u16(), "name": name, "message": message}))).into_response()
}
