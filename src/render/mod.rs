//! Mails from templates. In: a template's three files (`NAME.subject.hbs`, `NAME.html.hbs`, `NAME.txt.hbs`) and a
//! [`Context`]. Out: a [`Message`]. Fails when a template names what is not there: in strict mode a typing error is a
//! fault, not a gap in a customer's mail; `{{default customer.attributes.city "your town"}}` is for what may be missing.
//!
//! Handlebars, with its own helpers (`if`, `each`, `lt`, …) and two more: `money AMOUNT CURRENCY` and `default VALUE ELSE`.
//! Files that begin with `_` are partials: `_layout.html.hbs` is `{{> _layout}}` in every HTML part. HTML is escaped
//! unless a template asks for `{{{…}}}`; the subject loses every character that could end a header line.

mod context;
mod links;
mod load;
mod wording;

use handlebars::Handlebars;

pub use context::{Context, Customer, Discount, Line};
pub use links::{Links, MailLinks};
pub use load::TemplateFault;

use crate::decision::{DecisionId, Mailbox, MailboxFault, Message};

/// Checked templates, ready to render.
pub struct Templates {
    /// HTML parts; escapes.
    html: Handlebars<'static>,
    /// Subjects and plain parts, by file name; does not escape.
    plain: Handlebars<'static>,
}

/// Why no message could be made.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The template names what is not there, or uses it for what it is not.
    #[error("{file}: {fault}; give what may be missing a default: {{{{default NAME \"…\"}}}}")]
    Template {
        /// The template's file.
        file: String,
        /// What is wrong, with line and column.
        fault: String,
    },
    /// No template of this name was loaded.
    #[error("no template {0:?} was loaded; name it in the campaign's `template`")]
    NoTemplate(String),
    /// The customer has no address that a mail could go to.
    #[error("the customer's e-mail address cannot be used: {0}")]
    Address(#[from] MailboxFault),
}

impl Templates {
    /// Renders `template` for the customer of `context`. The same input gives the same message.
    pub fn render(&self, template: &str, context: &Context, from: &Mailbox) -> Result<Message, RenderError> {
        let to: Mailbox = context.customer.email.as_deref().unwrap_or_default().parse()?;
        let part = |registry: &Handlebars<'_>, file: String| {
            if !registry.has_template(&file) {
                return Err(RenderError::NoTemplate(template.to_owned()));
            }
            let rendered = registry.render(&file, context);
            rendered.map_err(|error| RenderError::Template { file, fault: load::fault_of(&error) })
        };
        Ok(Message {
            to,
            from: from.clone(),
            subject: header_line(&part(&self.plain, format!("{template}.subject.hbs"))?),
            html: part(&self.html, format!("{template}.html.hbs"))?,
            text: part(&self.plain, format!("{template}.txt.hbs"))?,
            message_id: message_id(context.decision_id, from),
            headers: Vec::new(),
        })
    }
}

/// `<DECISION_ID@DOMAIN>`: the same in every attempt, so that a mailbox can tell a second copy.
fn message_id(id: DecisionId, from: &Mailbox) -> String {
    format!("<{id}@{}>", from.domain())
}

/// One line without anything that could end it or turn its direction around; runs of white space become one space.
fn header_line(text: &str) -> String {
    let unfit = |char: char| char.is_control() || matches!(char, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let spaced: String = text.chars().map(|char| if unfit(char) { ' ' } else { char }).collect();
    spaced.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_one_line() {
        assert_eq!(header_line(" Hi\r\nBcc: x@y.z\t\u{2028}you\u{202e}!\n"), "Hi Bcc: x@y.z you !");
        assert_eq!(header_line("Noch\u{a0}da"), "Noch\u{a0}da");
    }
}
