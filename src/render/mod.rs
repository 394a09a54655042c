//! Mails from templates. In: a template's three files (`NAME.subject.hbs`, `NAME.html.hbs`, `NAME.txt.hbs`) and a
//! [`Context`]. Out: a [`Message`]. Fails when a template names what is not there: in strict mode a typing error is a
//! fault, not a gap in a customer's mail; `{{default customer.attributes.city "your town"}}` is for what may be missing.
//!
//! Handlebars, with its own helpers (`if`, `each`, `lt`, …) and those of `wording`. Files that begin with `_` are partials:
//! `_layout.html.hbs` is `{{> _layout}}` in every HTML part, `_why.hbs` is `{{> _why}}` in all parts; `_styles.css` has the styles
//! that elements get by their class. HTML is escaped unless a template asks for `{{{…}}}`; the subject is one line.

mod clean;
mod context;
mod enrichments;
mod expand;
mod links;
pub mod live;
mod load;
mod sample;
mod stylesheet;
mod tree;
mod wording;

use std::collections::{BTreeSet, HashMap};

use handlebars::Handlebars;
use serde_json::{Map, Value};

pub use context::{Context, Customer, Discount, Line, Trigger};
pub use links::{Links, MailLinks};
pub use load::{TemplateFault, TemplateFaults};

use crate::decision::{DecisionId, Mailbox, MailboxFault, Message, Percent};

/// The longest subject, in characters; what is longer is cut.
const SUBJECT_CHARS_MAX: usize = 250;

/// What was fetched for a mail, or stands in for it, by the enrichment's name.
pub type Enrichments = Map<String, Value>;

/// Checked templates, ready to render.
pub struct Templates {
    /// HTML parts; escapes.
    html: Handlebars<'static>,
    /// Subjects and plain parts, by file name; does not escape.
    plain: Handlebars<'static>,
    /// Which enrichments each template names.
    enrichments: HashMap<String, BTreeSet<String>>,
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
    /// The enrichments that a template's mails want; none of a template that was not loaded.
    pub fn enrichments(&self, template: &str) -> Option<&BTreeSet<String>> {
        self.enrichments.get(template).filter(|names| !names.is_empty())
    }

    /// Renders `template` for the customer of `context`. The same input gives the same message.
    pub fn render(&self, template: &str, context: &Context, from: &Mailbox) -> Result<Message, RenderError> {
        let to: Mailbox = context.customer.email.as_deref().unwrap_or_default().parse()?;
        let unfit = |error: &handlebars::RenderError| RenderError::Template {
            file: template.to_owned(),
            fault: load::fault_of(error),
        };
        let values = handlebars::Context::wraps(context).map_err(|error| unfit(&error))?;
        let part = |registry: &Handlebars<'_>, file: String| {
            if !registry.has_template(&file) {
                return Err(RenderError::NoTemplate(template.to_owned()));
            }
            let rendered = registry.render_with_context(&file, &values);
            rendered.map_err(|error| RenderError::Template { file, fault: load::fault_of(&error) })
        };
        Ok(Message {
            to,
            from: from.clone(),
            subject: clean::line(&part(&self.plain, format!("{template}.subject.hbs"))?, SUBJECT_CHARS_MAX),
            html: part(&self.html, format!("{template}.html.hbs"))?,
            text: part(&self.plain, format!("{template}.txt.hbs"))?,
            message_id: message_id(context.decision_id, from),
            headers: Vec::new(),
        })
    }
}

impl Context {
    /// A made-up decision of a campaign on `trigger`, without a discount: for previews.
    pub fn sample(trigger: &str) -> Context {
        sample::usual(trigger)
    }
}

impl Discount {
    /// A discount of `percent` with what looks like a code and is none: for previews, so that nobody has one for free.
    pub fn sample(percent: Percent) -> Discount {
        Discount { percent, code: sample::SAMPLE_CODE.into() }
    }
}

/// `<DECISION_ID@DOMAIN>`: the same in every attempt, so that a mailbox can tell a second copy.
fn message_id(id: DecisionId, from: &Mailbox) -> String {
    format!("<{id}@{}>", from.domain())
}
