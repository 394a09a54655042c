//! Reads templates and finds every fault before the first mail. In: a folder, and the templates that campaigns use, each with its
//! campaign's trigger. Out: [`Templates`], or all faults with file, line and column.
//!
//! Besides reading them, each template is rendered with everything known, with as little as can be known, and with that in
//! which all that is not known is not there at all. So what a template names and nobody can know is found now, and so is what
//! may be unknown and would leave a hole.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use handlebars::{Context, Handlebars, RenderError, RenderErrorReason, Template, TemplateError, TemplateErrorReason};
use serde_json::{Value, json};

use super::enrichments;
use super::expand::Expand;
use super::stylesheet::StyleSheet;
use super::wording::Missing;
use super::{Enrichments, Templates, clean, sample, wording};

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

/// Every fault of the templates that were asked for, one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateFaults(pub Vec<TemplateFault>);

impl fmt::Display for TemplateFaults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        out.write_str(&faults.join("\n"))
    }
}

impl std::error::Error for TemplateFaults {}

fn place(at: Option<(usize, usize)>) -> String {
    at.map_or_else(String::new, |(line, column)| format!(":{line}:{column}"))
}

/// A part of a mail: its file's ending, and whether what it says is HTML.
pub(super) const PARTS: [(&str, bool); 3] = [(".subject.hbs", false), (".html.hbs", true), (".txt.hbs", false)];

/// The styles that are put into the HTML parts of a folder, if there are any.
const STYLES: &str = "_styles.css";

/// The trigger of who names none: a user's own could be anything, so this has one line at least.
const ANY: &str = "back_in_stock";

impl Templates {
    /// Loads the templates `names` from `dir`, with all its partials, for triggers about products. Reports every fault, not only
    /// the first.
    pub fn load<N: AsRef<str>>(dir: &Path, names: &[N]) -> Result<Templates, Vec<TemplateFault>> {
        let wanted: Vec<(&str, &str)> = names.iter().map(|name| (name.as_ref(), ANY)).collect();
        Templates::load_for(dir, &wanted, &Enrichments::new())
    }

    /// The same, for the triggers that go with the names, and with the enrichments that there are: what stands in for each is what
    /// a template can count on.
    pub fn load_for(
        dir: &Path,
        wanted: &[(&str, &str)],
        fallbacks: &Enrichments,
    ) -> Result<Templates, Vec<TemplateFault>> {
        let templates = Templates::empty(Missing::IsFault);
        let mut loading = Loading { dir, templates, fallbacks, html: Vec::new(), faults: Vec::new() };
        // Who sends nothing needs no folder.
        if wanted.is_empty() {
            return Ok(loading.templates);
        }
        loading.partials();
        let mut names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        names.iter().for_each(|name| loading.template(name));
        // A template that does not parse would only fail again when rendered.
        if loading.faults.is_empty() {
            wanted.iter().for_each(|(name, trigger)| loading.rehearse(name, trigger));
        }
        loading.put_styles();
        loading.put_partials();
        loading.find_enrichments(&names);
        if loading.faults.is_empty() { Ok(loading.templates) } else { Err(loading.faults) }
    }

    fn empty(missing: Missing) -> Templates {
        let registry = |html| {
            let mut registry = Handlebars::new();
            registry.set_strict_mode(true);
            registry.set_prevent_indent(true);
            registry.register_escape_fn(if html { clean::html } else { clean::plain });
            wording::register(&mut registry, html, missing);
            registry
        };
        Templates { html: registry(true), plain: registry(false), enrichments: HashMap::new() }
    }

    fn registry(&mut self, html: bool) -> &mut Handlebars<'static> {
        if html { &mut self.html } else { &mut self.plain }
    }

    /// The same templates, whose helpers take what is missing for unknown.
    fn lenient(&self) -> Templates {
        let (html, plain) = (self.html.clone(), self.plain.clone());
        let mut lenient = Templates { html, plain, enrichments: HashMap::new() };
        wording::register(&mut lenient.html, true, Missing::IsNull);
        wording::register(&mut lenient.plain, false, Missing::IsNull);
        lenient
    }
}

struct Loading<'d> {
    dir: &'d Path,
    templates: Templates,
    fallbacks: &'d Enrichments,
    /// The HTML parts, as they are written: their names and texts.
    html: Vec<(String, String)>,
    faults: Vec<TemplateFault>,
}

impl Loading<'_> {
    /// Every template of the folder that begins with `_`, known by its stem: `_line.html.hbs` to the HTML parts, `_line.txt.hbs`
    /// and `_line.subject.hbs` to the other two, `_line.hbs` to all.
    fn partials(&mut self) {
        let entries = match fs::read_dir(self.dir) {
            Ok(entries) => entries,
            Err(error) => return self.fault("", None, format!("cannot read the folder: {error}")),
        };
        let mut files: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|file| file.starts_with('_') && file.ends_with(".hbs"))
            .collect();
        files.sort();
        for file in files {
            let part = PARTS.iter().find_map(|(ending, html)| Some((file.strip_suffix(ending)?, *html)));
            match part {
                Some((stem, html)) => self.part(&file, stem, html),
                None => {
                    [true, false].into_iter().for_each(|html| self.part(&file, file.trim_end_matches(".hbs"), html))
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
        // What all parts share is a piece of a line: the line's end in its file is none of it.
        let text = if file == format!("{known_as}.hbs") { text.trim_end().to_owned() } else { text };
        match compiled(&text, file) {
            Ok(template) => self.templates.registry(html).register_template(known_as, template),
            Err(error) => return self.fault(file, error.pos(), syntax_fault(&error)),
        }
        if html {
            self.html.push((known_as.to_owned(), text));
        }
    }

    /// Puts the styles into the HTML parts. This comes last, so that faults are told at the places where they are written.
    fn put_styles(&mut self) {
        let css = match fs::read_to_string(self.dir.join(STYLES)) {
            Ok(css) => css,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.fault(STYLES, None, format!("cannot read it: {error}")),
        };
        let sheet = match StyleSheet::read(&css) {
            Ok(sheet) => sheet,
            Err(fault) => return self.fault(STYLES, Some((fault.line, 1)), fault.fault),
        };
        for (known_as, text) in std::mem::take(&mut self.html) {
            match compiled(&sheet.inline(&text), &known_as) {
                Ok(template) => self.templates.html.register_template(&known_as, template),
                Err(error) => self.fault(&known_as, error.pos(), syntax_fault(&error)),
            }
        }
    }

    /// Puts the partials into the templates that use them. Like the styles, after all faults are told.
    fn put_partials(&mut self) {
        for (html, escape) in [(true, clean::html as fn(&str) -> String), (false, clean::plain)] {
            let registry = self.templates.registry(html);
            let expand = Expand { registry, escape };
            let whole: Vec<(String, Template)> = registry
                .get_templates()
                .iter()
                .filter(|(name, _)| name.ends_with(".hbs"))
                .map(|(name, template)| (name.clone(), expand.template(template)))
                .collect();
            whole.into_iter().for_each(|(name, template)| registry.register_template(&name, template));
        }
    }

    /// Notes which enrichments each template names, of those that there are.
    fn find_enrichments(&mut self, names: &[&str]) {
        let known: BTreeSet<&str> = self.fallbacks.keys().map(String::as_str).collect();
        for name in names {
            let parts = PARTS.iter().filter_map(|(ending, html)| {
                let registry = if *html { &self.templates.html } else { &self.templates.plain };
                registry.get_template(&format!("{name}{ending}"))
            });
            let named = parts.flat_map(|template| enrichments::named_in(template, &known)).map(str::to_owned).collect();
            self.templates.enrichments.insert((*name).to_owned(), named);
        }
    }

    fn rehearse(&mut self, name: &str, trigger: &str) {
        let little = sample::as_little_as_possible(trigger);
        let enriched = |context: super::Context| json!(context.enriched(self.fallbacks.clone()));
        let known: Vec<Value> = std::iter::once(sample::everything(trigger)).chain(little).map(enriched).collect();
        let lenient = self.templates.lenient();
        for (ending, html) in PARTS {
            let file = format!("{name}{ending}");
            let registry = if html { &self.templates.html } else { &self.templates.plain };
            let mut faults: Vec<RenderError> =
                known.iter().filter_map(|context| rehearse_part(registry, &file, context.clone()).err()).collect();
            if faults.is_empty() {
                let registry = if html { &lenient.html } else { &lenient.plain };
                let holes = known.iter().map(|context| without_nulls(context.clone()));
                faults.extend(holes.filter_map(|context| rehearse_part(registry, &file, context).err()));
            }
            for error in faults {
                let at = error.line_no.zip(error.column_no);
                let within = error.template_name.clone().filter(|within| within.ends_with(".hbs"));
                self.fault(within.as_deref().unwrap_or(&file), at, fault_of(&error));
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

/// Parses a template. A partial is not indented as it stands: what stands before it is before its first line. That can be asked of a registry
/// only, and one that is indented could not be put in its place.
fn compiled(text: &str, name: &str) -> Result<Template, Box<TemplateError>> {
    let mut registry = Handlebars::new();
    registry.set_prevent_indent(true);
    registry.register_template_string(name, text)?;
    Ok(registry.get_template(name).cloned().unwrap_or_default())
}

/// What no template can know beforehand: a profile's attributes.
const OPEN: &str = "customer.attributes.";

/// Renders a part. Which attributes a profile has is not known before it comes: each that is missed is supplied, so that
/// faults behind it are found too.
fn rehearse_part(registry: &Handlebars<'_>, file: &str, mut context: Value) -> Result<(), RenderError> {
    loop {
        let Err(error) = registry.render_with_context(file, &Context::wraps(&context)?) else { return Ok(()) };
        let RenderErrorReason::MissingVariable(Some(path)) = error.reason() else { return Err(error) };
        let Some((_, attribute)) = path.split_once(OPEN) else { return Err(error) };
        if !supply(&mut context, &format!("{OPEN}{attribute}")) {
            return Err(error);
        }
    }
}

/// The same, in which what is not known is not there at all.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let known = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(known.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        value => value,
    }
}

/// Puts a text at the dotted `path`, and says whether there was none.
fn supply(context: &mut Value, path: &str) -> bool {
    let mut at = context;
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
        RenderErrorReason::MissingVariable(Some(path)) => format!("there is no `{path}`, or not always"),
        RenderErrorReason::MissingVariable(None) => "names what is not there".to_owned(),
        RenderErrorReason::ParamNotFoundForIndex(helper, at) => format!("`{helper}` lacks its parameter {}", at + 1),
        reason => reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use handlebars::template::TemplateElement;

    use super::*;
    use crate::config::{Config, Purpose};
    use crate::render::tree::all;

    #[test]
    fn no_partial_is_left_in_the_shipped_templates_to_be_looked_up_for_each_mail() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("campaigns/all.toml");
        let config = Config::load(&path, Purpose::Check).unwrap();
        let campaigns = config.campaigns.iter();
        let wanted: Vec<(&str, &str)> = campaigns
            .flat_map(|it| it.templates().into_iter().flatten().map(|name| (name, it.trigger.name())))
            .collect();
        let templates = Templates::load_for(&config.templates, &wanted, &Enrichments::new()).unwrap();
        let parts = wanted.iter().flat_map(|(name, _)| PARTS.map(|(ending, html)| (format!("{name}{ending}"), html)));
        let mut left = Vec::new();
        for (name, html) in parts {
            let registry = if html { &templates.html } else { &templates.plain };
            all(registry.get_template(&name).unwrap(), &mut |element| {
                if let TemplateElement::PartialExpression(partial) | TemplateElement::PartialBlock(partial) = element {
                    left.push(format!("{name}: {:?}", partial.name));
                }
                true
            });
        }
        assert_eq!(left, Vec::<String>::new());
    }
}
