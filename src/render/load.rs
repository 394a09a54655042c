//! Reads templates and finds every fault before the first mail. In: a folder and the names that campaigns use. Out:
//! [`Templates`], or all faults with file, line and column. Besides reading them, each template is rendered twice, with
//! everything known and with as little as possible, so that a mail that cannot be made is found now.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use handlebars::{Handlebars, RenderError, RenderErrorReason, Template, TemplateError, TemplateErrorReason, no_escape};
use serde_json::{Value, json};

use super::{Context, Customer, Discount, Line, Templates, wording};
use crate::decision::{DecisionId, Percent};

/// What is wrong with a template, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {fault}", file.display(), place(*at))]
pub struct TemplateFault {
    /// The file.
    pub file: PathBuf,
    /// Line and column, from 1, where known.
    pub at: Option<(usize, usize)>,
    /// What is wrong.
    pub fault: String,
}

fn place(at: Option<(usize, usize)>) -> String {
    at.map_or_else(String::new, |(line, column)| format!(":{line}:{column}"))
}

/// A part of a mail: its file's ending, and whether what it says is HTML.
const PARTS: [(&str, bool); 3] = [(".subject.hbs", false), (".html.hbs", true), (".txt.hbs", false)];

impl Templates {
    /// Loads the templates `names` from `dir`, with all its partials. Reports every fault, not only the first.
    pub fn load<N: AsRef<str>>(dir: &Path, names: &[N]) -> Result<Templates, Vec<TemplateFault>> {
        let mut loading = Loading { dir, templates: Templates::empty(), faults: Vec::new() };
        loading.partials();
        for name in names {
            loading.template(name.as_ref());
        }
        // A template that does not parse would only fail again when rendered.
        if loading.faults.is_empty() {
            names.iter().for_each(|name| loading.rehearse(name.as_ref()));
        }
        if loading.faults.is_empty() { Ok(loading.templates) } else { Err(loading.faults) }
    }

    fn empty() -> Templates {
        let registry = || {
            let mut registry = Handlebars::new();
            registry.set_strict_mode(true);
            registry.set_prevent_indent(true);
            wording::register(&mut registry);
            registry
        };
        let mut plain = registry();
        plain.register_escape_fn(no_escape);
        Templates { html: registry(), plain }
    }

    fn registry(&mut self, html: bool) -> &mut Handlebars<'static> {
        if html { &mut self.html } else { &mut self.plain }
    }
}

struct Loading<'d> {
    dir: &'d Path,
    templates: Templates,
    faults: Vec<TemplateFault>,
}

impl Loading<'_> {
    /// Every file of the folder that begins with `_`: known by its stem, to the parts of its own ending.
    fn partials(&mut self) {
        let entries = match fs::read_dir(self.dir) {
            Ok(entries) => entries,
            Err(error) => return self.fault("", None, format!("cannot read the folder: {error}")),
        };
        let mut files: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|file| file.starts_with('_'))
            .collect();
        files.sort();
        for file in files {
            for (ending, html) in PARTS {
                if let Some(stem) = file.strip_suffix(ending) {
                    self.part(&file, stem, html);
                }
            }
        }
    }

    fn template(&mut self, name: &str) {
        if name.is_empty() || name.starts_with('_') || name.contains(['/', '\\']) {
            let fault = "a template's name is a file's beginning: no folder, no `_` in front, not empty";
            return self.fault(name, None, fault.to_owned());
        }
        for (ending, html) in PARTS {
            let file = format!("{name}{ending}");
            self.part(&file, &file, html);
        }
    }

    /// Reads one file and registers it under `known_as`.
    fn part(&mut self, file: &str, known_as: &str, html: bool) {
        let text = match fs::read_to_string(self.dir.join(file)) {
            Ok(text) => text,
            Err(error) => return self.fault(file, None, unreadable(&error)),
        };
        match Template::compile_with_name(&text, file.to_owned()) {
            Ok(template) => self.templates.registry(html).register_template(known_as, template),
            Err(error) => self.fault(file, error.pos(), syntax_fault(&error)),
        }
    }

    fn rehearse(&mut self, name: &str) {
        for context in [everything(), as_little_as_possible()] {
            for (ending, html) in PARTS {
                let file = format!("{name}{ending}");
                if let Err(error) = rehearse_part(self.templates.registry(html), &file, context.clone()) {
                    let at = error.line_no.zip(error.column_no);
                    let within = error.template_name.clone().filter(|within| within.ends_with(".hbs")).unwrap_or(file);
                    self.fault(&within, at, fault_of(&error));
                }
            }
        }
    }

    fn fault(&mut self, file: &str, at: Option<(usize, usize)>, fault: String) {
        let fault = TemplateFault { file: self.dir.join(file), at, fault };
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }
}

/// Renders a part. Which attributes a profile has is not known before it comes: each that is missed is supplied, so that
/// faults behind it are found too.
fn rehearse_part(registry: &Handlebars<'_>, file: &str, mut context: Context) -> Result<(), RenderError> {
    loop {
        let Err(error) = registry.render(file, &context) else { return Ok(()) };
        let RenderErrorReason::MissingVariable(Some(path)) = error.reason() else { return Err(error) };
        let Some((_, attribute)) = path.split_once("customer.attributes.") else { return Err(error) };
        if !supply(&mut context.customer.attributes, attribute) {
            return Err(error);
        }
    }
}

/// Puts a text at the dotted `path`, and says whether there was none.
fn supply(attributes: &mut Value, path: &str) -> bool {
    let mut at = attributes;
    for name in path.split('.') {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[name];
    }
    let missing = at.is_null();
    *at = json!("text");
    missing
}

fn unreadable(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        return "there is no such file; a template has NAME.subject.hbs, NAME.html.hbs and NAME.txt.hbs".to_owned();
    }
    format!("cannot read it: {error}")
}

fn syntax_fault(error: &TemplateError) -> String {
    match error.reason() {
        // What the parser would have liked instead names its grammar's rules, which helps nobody.
        TemplateErrorReason::InvalidSyntax(_) => {
            "no valid template from here on; is a block or a {{ not closed?".to_owned()
        }
        reason => reason.to_string(),
    }
}

/// What went wrong while rendering, without the place.
pub(super) fn fault_of(error: &RenderError) -> String {
    match error.reason() {
        RenderErrorReason::MissingVariable(Some(path)) => format!("there is no `{path}`"),
        RenderErrorReason::MissingVariable(None) => "names what is not there".to_owned(),
        RenderErrorReason::ParamNotFoundForIndex(helper, at) => format!("`{helper}` lacks its parameter {}", at + 1),
        reason => reason.to_string(),
    }
}

fn everything() -> Context {
    let line = |sku: &str| Line {
        sku: sku.into(),
        quantity: Some(2),
        price: Some("19.90".into()),
        total: Some("39.80".into()),
        discounted: Some("16.92".into()),
        name: "Product".into(),
        image: Some("https://shop.example/image.jpg".into()),
        url: Some("https://shop.example/product".into()),
        on_hand: Some(3),
    };
    Context {
        customer: Customer {
            id: "u1".into(),
            first_name: Some("Ada".into()),
            email: Some("ada@example.com".into()),
            locale: Some("en".into()),
            attributes: json!({}),
        },
        lines: vec![line("s1"), line("s2")],
        similar: vec![Line { quantity: None, ..line("s3") }],
        total: Some("79.60".into()),
        discounted: Some("67.68".into()),
        discount: Percent::of_hundredths(1500).map(|percent| Discount { percent, code: "0000-0000".into() }),
        currency: Some("EUR".into()),
        campaign: "campaign".into(),
        variant: Some(Arc::from("variant")),
        decision_id: DecisionId(1),
        unsubscribe_url: Some("https://mail.shop.example/u/token".into()),
        enrich: json!({}),
    }
}

fn as_little_as_possible() -> Context {
    Context {
        customer: Customer { id: "u1".into(), attributes: json!({}), ..Customer::default() },
        lines: vec![Line { sku: "s1".into(), name: "s1".into(), ..Line::default() }],
        similar: Vec::new(),
        total: None,
        discounted: None,
        discount: None,
        currency: None,
        campaign: "campaign".into(),
        variant: None,
        decision_id: DecisionId(1),
        unsubscribe_url: None,
        enrich: json!({}),
    }
}
