//! Where an ESP's key is (SPEC §10). In: `api_key_env` or `api_key_file`. Out: a [`KeySource`]. Fails into the report.

use std::env;
use std::fs;
use std::path::PathBuf;

use super::Wanted;
use crate::config::section::{Section, Value};

/// Where a key is. It is read when it is needed, and never kept here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In this environment variable.
    Variable(String),
    /// In this file; white space around it does not count.
    File(PathBuf),
}

impl KeySource {
    /// The key. Fails with a sentence when there is none.
    pub fn read(&self) -> Result<String, String> {
        let key = match self {
            KeySource::Variable(name) => {
                env::var(name).map_err(|_| format!("the environment variable `{name}` is not set"))?
            }
            KeySource::File(path) => {
                fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?
            }
        };
        if key.trim().is_empty() { Err(format!("{} is empty", self.origin())) } else { Ok(key) }
    }

    /// Where it is, for people.
    pub fn origin(&self) -> String {
        match self {
            KeySource::Variable(name) => format!("the environment variable `{name}`"),
            KeySource::File(path) => format!("the file {}", path.display()),
        }
    }
}

/// Reads where the key is; when mails are going to be sent it must be there.
pub(super) fn read(section: &Section<'_>, is_needed: bool, wanted: Wanted<'_>) -> Option<KeySource> {
    let hint = "the name of the environment variable with the key, such as: api_key_env = \"SENDGRID_API_KEY\"";
    if let Some(value) = section.get("api_key_file") {
        if let Some(variable) = section.get("api_key_env") {
            variable.fault("`api_key_env` is set beside `api_key_file`", "leave one out");
        }
        let path = wanted.folder.join(value.clone().text()?);
        return there(KeySource::File(path), &value, wanted);
    }
    let value = if is_needed { section.required("api_key_env", hint) } else { section.get("api_key_env") }?;
    variable(&value, hint, wanted)
}

/// Reads the name of a variable.
pub(super) fn variable(value: &Value<'_>, hint: &str, wanted: Wanted<'_>) -> Option<KeySource> {
    let name = value.clone().env_name(hint)?;
    there(KeySource::Variable(name.to_owned()), value, wanted)
}

/// The source, if what it names is there or is not needed now.
fn there(source: KeySource, value: &Value<'_>, wanted: Wanted<'_>) -> Option<KeySource> {
    let fault = wanted.mailing.then(|| source.read().err()).flatten();
    let Some(fault) = fault else { return Some(source) };
    let hint = match &source {
        KeySource::Variable(name) => format!("export {name}=…"),
        KeySource::File(_) => "the key alone, on one line".to_owned(),
    };
    value.fault(fault, hint);
    None
}
