//! Mail templates (SPEC §10). In: the names in the configuration, and their folder. Out: the faults of every template that
//! is missing or does not compile, the latter at their place in the template itself.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use handlebars::Handlebars;

use super::fault::Fault;
use super::section::{Report, Value};

/// What is appended to a template's name for the files that make up a mail: subject line, HTML part, text part.
pub const PARTS: [&str; 3] = ["subject.hbs", "html.hbs", "txt.hbs"];

/// The folder of the templates, and which of them have been looked at.
pub(super) struct Templates {
    /// None when nothing is going to be rendered: then only the names are checked.
    folder: Option<PathBuf>,
    checked: RefCell<HashSet<String>>,
}

impl Templates {
    /// Templates in `folder`, none looked at yet.
    pub(super) fn new(folder: Option<PathBuf>) -> Templates {
        Templates { folder, checked: RefCell::default() }
    }

    /// Reads a template's name, the stem of three files, so no path; and checks them where it is named first.
    pub(super) fn read(&self, value: Value<'_>) -> Option<String> {
        let name = value.clone().name()?;
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            let hint = "letters, digits, `_` and `-`: the stem of NAME.subject.hbs, NAME.html.hbs and NAME.txt.hbs";
            value.fault(format!("`{name}` cannot be a template's name"), hint);
            return None;
        }
        if let Some(folder) = &self.folder
            && self.checked.borrow_mut().insert(name.to_owned())
        {
            check(folder, name, &value);
        }
        Some(name.to_owned())
    }
}

/// Checks the files of the template `name` in `folder`; what is missing is reported at `value`, which names it.
fn check(folder: &Path, name: &str, value: &Value<'_>) {
    let mut missing = Vec::new();
    for part in PARTS {
        let file = folder.join(format!("{name}.{part}"));
        match fs::read_to_string(&file) {
            Ok(text) => check_compiles(value.report(), &file, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(file.display().to_string()),
            Err(error) => {
                let hint = "templates are UTF-8 text that this process may read".to_owned();
                value.report().keep(Fault::of_file(&file, format!("cannot be read: {error}"), Some(hint)));
            }
        }
    }
    if !missing.is_empty() {
        value.fault(format!("template `{name}` is incomplete"), format!("write {}", missing.join(", ")));
    }
}

fn check_compiles(report: &Report<'_>, file: &Path, text: &str) {
    let mut registry = Handlebars::new();
    registry.set_strict_mode(true);
    let Err(error) = registry.register_template_string("", text) else { return };
    // The engine counts lines and columns from 1, and may point one past the end.
    let (line, column) = error.pos().unwrap_or((1, 1));
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = &text[start..];
    let offset = rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(offset, _)| offset);
    let at = start + offset;
    let what = format!("the template does not compile: {}", shorten(&error.reason().to_string()));
    let hint = Some("Handlebars: {{customer.first_name}}, {{#each lines}} … {{/each}}".to_owned());
    report.keep(Fault::at(file, text, at..at + 1, what, hint).last());
}

/// The engine lists every token that could have come; the list helps nobody.
fn shorten(reason: &str) -> &str {
    match reason.split_once(": expected ") {
        Some((what, expected)) if expected.contains(", ") => what,
        _ => reason,
    }
}
