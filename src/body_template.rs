//! The body of a request in the words of whoever takes it (`body` of an ESP of kind `http`). In: JSON of any shape whose texts are
//! Handlebars templates. Out: that JSON, filled from a message and its decision. A text goes in as text, whatever is in it, so no mail can
//! change the shape of a request. Fails when a template does not compile or names what there is not: at the start, not at a mail.
//!
//! Names: `to.address`, `to.name`, `from.address`, `from.name`, `subject`, `text`, `html`, `message_id`, `headers` (an object), `decision_id`,
//! `campaign`, `customer_id`, `trigger`, `as_of` (the tick that decided it, as RFC 3339). A text that is one `{{name}}` and nothing else
//! becomes its value; what is not known is empty.

use std::sync::Arc;

use handlebars::Handlebars;
use serde_json::{Map, Value, json};

use crate::decision::{Decision, Mailbox, Message, Moment};

/// A template that was tried.
#[derive(Clone, Debug)]
pub struct BodyTemplate {
    source: Value,
    engine: Arc<Handlebars<'static>>,
}

/// A template that cannot be filled.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} cannot be filled: {fault}")]
pub struct BodyFault {
    text: String,
    fault: String,
}

impl BodyTemplate {
    /// Tries every text of `source` with an empty message.
    pub fn new(source: Value) -> Result<BodyTemplate, BodyFault> {
        let mut engine = Handlebars::new();
        engine.set_strict_mode(true);
        engine.register_escape_fn(handlebars::no_escape);
        let nobody = || json!({"address": "", "name": ""});
        let empty = json!({
            "to": nobody(), "from": nobody(), "subject": "", "text": "", "html": "", "message_id": "", "headers": {},
            "decision_id": "", "campaign": "", "customer_id": "", "trigger": "", "as_of": "",
        });
        register(&mut engine, &source)?;
        let template = BodyTemplate { source, engine: Arc::new(engine) };
        template.filled(&template.source, &empty)?;
        Ok(template)
    }

    /// The body of one message.
    pub fn fill(&self, message: &Message, decision: &Decision) -> Result<Value, BodyFault> {
        let mailbox = |of: &Mailbox| json!({"address": of.address, "name": of.name.as_deref().unwrap_or_default()});
        let headers = message.headers.iter().map(|header| (header.name().to_owned(), header.value().into()));
        let known = json!({
            "to": mailbox(&message.to),
            "from": mailbox(&message.from),
            "subject": message.subject,
            "text": message.text,
            "html": message.html,
            "message_id": message.message_id,
            "headers": headers.collect::<Map<String, Value>>(),
            "decision_id": decision.decision_id.to_string(),
            "campaign": decision.campaign,
            "customer_id": decision.customer_id,
            "trigger": decision.trigger,
            "as_of": Moment(decision.as_of),
        });
        self.filled(&self.source, &known)
    }

    fn filled(&self, source: &Value, known: &Value) -> Result<Value, BodyFault> {
        Ok(match source {
            Value::String(text) => match named(text).and_then(|name| known.pointer(&name)) {
                Some(value) => value.clone(),
                None => self.engine.render(text, known).map_err(|error| fault(text, error.reason()))?.into(),
            },
            Value::Array(list) => {
                list.iter().map(|item| self.filled(item, known)).collect::<Result<Vec<_>, _>>()?.into()
            }
            Value::Object(members) => {
                let filled = members.iter().map(|(name, value)| Ok((name.clone(), self.filled(value, known)?)));
                Value::Object(filled.collect::<Result<_, BodyFault>>()?)
            }
            other => other.clone(),
        })
    }
}

impl PartialEq for BodyTemplate {
    fn eq(&self, other: &BodyTemplate) -> bool {
        self.source == other.source
    }
}

/// Compiles every text, under itself as its name.
fn register(engine: &mut Handlebars<'static>, source: &Value) -> Result<(), BodyFault> {
    match source {
        Value::String(text) => engine.register_template_string(text, text).map_err(|error| fault(text, error.reason())),
        Value::Array(list) => list.iter().try_for_each(|item| register(engine, item)),
        Value::Object(members) => members.values().try_for_each(|value| register(engine, value)),
        _ => Ok(()),
    }
}

fn fault(text: &str, fault: &impl ToString) -> BodyFault {
    BodyFault { text: text.to_owned(), fault: fault.to_string() }
}

/// The JSON pointer of a text that is one name in braces.
fn named(text: &str) -> Option<String> {
    let name = text.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim();
    let plain = name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_' || char == '.');
    (plain && !name.is_empty()).then(|| format!("/{}", name.replace('.', "/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{DecisionId, Header, Outcome, Payload};

    fn message() -> Message {
        Message {
            to: "ada@example.org".parse().unwrap(),
            from: "Shop <shop@example.com>".parse().unwrap(),
            subject: "A \"B\" {{html}}".into(),
            html: "<p>&amp;</p>".into(),
            text: "\u{1}\n".into(),
            message_id: "<1@example.com>".into(),
            headers: vec![Header::new("X-A", "b").unwrap()],
        }
    }

    fn decision() -> Decision {
        Decision {
            decision_id: DecisionId(1),
            campaign: "c".into(),
            customer_id: "u1".into(),
            trigger: "welcome".into(),
            subject: "u1".into(),
            anchor: 0,
            as_of: 0,
            outcome: Outcome::Send,
            reason: None,
            variant: None,
            payload: Payload::default(),
        }
    }

    #[test]
    fn texts_are_filled_and_no_mail_changes_the_shape() {
        let source = json!({
            "recipients": [{"email": "{{to.address}}", "name": "{{to.name}}"}],
            "sender": "{{from.name}} <{{from.address}}>",
            "subject": "{{subject}}", "body": {"html": "{{html}}", "plain": "{{ text }}"},
            "headers": "{{headers}}", "track": false, "ref": "beckon/{{campaign}}/{{customer_id}}/{{decision_id}}",
        });
        let filled = BodyTemplate::new(source).unwrap().fill(&message(), &decision()).unwrap();
        let expected = json!({
            "recipients": [{"email": "ada@example.org", "name": ""}],
            "sender": "Shop <shop@example.com>",
            "subject": "A \"B\" {{html}}", "body": {"html": "<p>&amp;</p>", "plain": "\u{1}\n"},
            "headers": {"X-A": "b"}, "track": false, "ref": format!("beckon/c/u1/{}", DecisionId(1)),
        });
        assert_eq!(filled, expected);
    }

    #[test]
    fn what_cannot_be_filled_is_known_at_the_start() {
        for (text, part) in [("{{to.adress}}", "adress"), ("a {{nobody}}", "nobody"), ("{{#if", "{{#if")] {
            let fault = BodyTemplate::new(json!({"a": [text]})).unwrap_err().to_string();
            assert!(fault.contains(part), "{fault}");
        }
    }
}
