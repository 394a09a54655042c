//! Where a secret is (SPEC §6, §8). In: a section with `secret_env` or `secret_file`. Out: a [`SecretSource`], which never holds the
//! secret itself. Fails into the report.

use std::env;
use std::fs;
use std::path::PathBuf;

use super::section::{Section, Value};
use crate::secret::Secret;

/// Where a secret comes from. A line end at its end is no part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// The environment variable of this name.
    Env(String),
    /// This file.
    File(PathBuf),
}

impl SecretSource {
    /// Reads the secret. Fails with what is wrong with it, which never shows any of it.
    pub fn secret(&self) -> Result<Secret, String> {
        let bytes = match self {
            SecretSource::Env(name) => {
                let value = env::var_os(name).filter(|value| !value.is_empty());
                value.ok_or_else(|| format!("the environment variable `{name}` is not set"))?.into_encoded_bytes()
            }
            SecretSource::File(path) => {
                fs::read(path).map_err(|error| format!("the secret in {} cannot be read: {error}", path.display()))?
            }
        };
        let secret = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        Secret::new(secret.strip_suffix(b"\r").unwrap_or(secret)).map_err(|fault| match self {
            SecretSource::Env(name) => format!("the environment variable `{name}` {fault}"),
            SecretSource::File(path) => format!("the file {} {fault}", path.display()),
        })
    }

    /// How to make one.
    fn recipe(&self) -> String {
        match self {
            SecretSource::Env(name) => {
                format!("{} bytes or more, such as: export {name}=$(openssl rand -hex 32)", Secret::BYTES_MIN)
            }
            SecretSource::File(path) => {
                format!("{} bytes or more, such as: openssl rand -hex 32 > {}", Secret::BYTES_MIN, path.display())
            }
        }
    }
}

/// Reads `secret_env` or `secret_file` of the section; `beside` makes a relative path one beside the configuration. With `needed`, the
/// secret must be there.
pub(super) fn read(
    section: &Section<'_>,
    example: &str,
    beside: impl Fn(&str) -> PathBuf,
    needed: bool,
) -> Option<SecretSource> {
    read_keys(section, ["secret_env", "secret_file"], example, beside, needed)
}

/// Reads one of two keys, of which one must be there: the first names a variable, the second a file.
pub(super) fn read_keys(
    section: &Section<'_>,
    keys: [&'static str; 2],
    example: &str,
    beside: impl Fn(&str) -> PathBuf,
    needed: bool,
) -> Option<SecretSource> {
    if !keys.iter().any(|key| section.has(key)) {
        section.fault(format!("neither `{}` nor `{}` is set", keys[0], keys[1]), example);
    }
    read_named(section, keys, example, beside, needed)
}

/// Reads one of two keys, of which neither need be there: the first names a variable, the second a file.
pub(super) fn read_optional(
    section: &Section<'_>,
    keys: [&'static str; 2],
    beside: impl Fn(&str) -> PathBuf,
    needed: bool,
) -> Option<SecretSource> {
    read_named(section, keys, &format!("such as: {} = \"BECKON_API_TOKEN\"", keys[0]), beside, needed)
}

fn read_named(
    section: &Section<'_>,
    [env_key, file_key]: [&'static str; 2],
    example: &str,
    beside: impl Fn(&str) -> PathBuf,
    needed: bool,
) -> Option<SecretSource> {
    let by_env = section.get(env_key);
    let by_file = section.get(file_key);
    if let (Some(_), Some(file)) = (&by_env, &by_file) {
        file.fault(format!("`{file_key}` is set beside `{env_key}`"), "there is one secret: leave one out");
    }
    let value = by_env.clone().or(by_file.clone())?;
    let source = match by_env {
        Some(value) => SecretSource::Env(value.env_name(example)?.to_owned()),
        None => SecretSource::File(beside(by_file.and_then(Value::text)?)),
    };
    if needed && let Err(what) = source.secret() {
        value.fault(what, source.recipe());
    }
    Some(source)
}
