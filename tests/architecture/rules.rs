//! The arrows that must never be. In: the root of a source tree. Out: every breach, with its file and line. Fails when
//! a file can't be read.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::paths::{self, Named};

/// The stages of the pipeline, each a folder or a file of `src/`.
const STAGES: [&str; 9] = ["source", "reclock", "decide", "enrich", "ledger", "sink", "web", "render", "snapshot"];

/// The modules of `src/`, each a file with or without a folder, that may name stages: they put them together.
const WIRING: [&str; 4] = ["pipeline", "main", "cli", "lib"];

/// Module names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 10] =
    ["util", "utils", "helper", "helpers", "manager", "managers", "processor", "processors", "data", "info"];

/// Folders whose Rust files are read.
const ROOTS: [&str; 8] =
    ["src", "dataflows/src", "datagen/src", "tests", "dataflows/tests", "dataflows/benches", "benches", "examples"];

/// A forbidden import or name.
#[derive(Debug, PartialEq, Eq)]
pub struct Breach {
    /// Relative to the root of the tree, with `/`.
    pub file: String,
    pub line: usize,
    pub what: String,
    pub rule: &'static str,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Breach { file, line, what, rule } = self;
        write!(f, "{file}:{line}: `{what}`: {rule}")
    }
}

/// All breaches under `root`, in the order of files and lines.
pub fn breaches(root: &Path) -> io::Result<Vec<Breach>> {
    let mut files = Vec::new();
    for folder in ROOTS {
        collect_rust_files(&root.join(folder), &mut files)?;
    }
    files.sort();
    let mut breaches = Vec::new();
    for path in files {
        let file = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        breaches.extend(breaches_in(&file, &fs::read_to_string(&path)?));
    }
    Ok(breaches)
}

fn collect_rust_files(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect_rust_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn breaches_in(file: &str, text: &str) -> Vec<Breach> {
    let read = paths::read(text);
    let breach = |line, what: String, rule| Breach { file: file.into(), line, what, rule };
    let mut found = Vec::new();
    for (line, name) in read.modules {
        if EMPTY_NAMES.contains(&name.as_str()) {
            found.push(breach(line, format!("mod {name}"), "a module is named after what is in it"));
        }
    }
    for named in read.named {
        if let Some(rule) = broken_rule(file, &resolved(file, &named)) {
            found.push(breach(named.line, named.parts.join("::"), rule));
        }
    }
    found.sort_by_key(|breach| breach.line);
    found
}

/// The rule that an import of `path` by `file` breaks, if any.
fn broken_rule(file: &str, path: &[String]) -> Option<&'static str> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    if file.starts_with("dataflows/") {
        return matches!(path[..], ["beckon" | "beckon_datagen", ..])
            .then_some("dataflows knows nothing of beckon or datagen");
    }
    if file.starts_with("datagen/") {
        return match path[..] {
            ["beckon", ..] => Some("datagen knows nothing of beckon"),
            ["beckon_dataflows", inside, ..] if inside != "model" => Some("datagen knows only dataflows' model"),
            ["beckon_dataflows"] => Some("datagen knows only dataflows' model: name what it needs of that"),
            _ => None,
        };
    }
    if file.starts_with("tests/oracle/") {
        return match path[..] {
            ["beckon" | "beckon_datagen", ..] => Some("the oracle shares only dataflows' model"),
            ["beckon_dataflows", inside, ..] if inside != "model" => Some("the oracle shares only dataflows' model"),
            _ => None,
        };
    }
    let part = part_of_src(file)?;
    if WIRING.contains(&part) {
        return None;
    }
    let own = STAGES.contains(&part).then_some(part);
    match path[..] {
        ["crate" | "beckon", "*", ..] => Some("a glob of the whole crate names every stage"),
        ["crate" | "beckon", other, ..] if STAGES.contains(&other) && own != Some(other) => Some(match own {
            Some(_) => "stages never import each other; pipeline.rs wires them through the model's types",
            None => "only pipeline.rs, main.rs, cli.rs and lib.rs may import a stage",
        }),
        _ => None,
    }
}

/// The top module of `src/` that `file` is part of: `sink` for `src/sink.rs` and all of `src/sink/`.
fn part_of_src(file: &str) -> Option<&str> {
    let first = file.strip_prefix("src/")?.split('/').next()?;
    Some(first.strip_suffix(".rs").unwrap_or(first))
}

/// `named` from the crate's root on: `self` and `super` followed. A path of another kind stays as it is.
fn resolved(file: &str, named: &Named) -> Vec<String> {
    let mut modules = modules_of(file);
    modules.extend(named.within.iter().cloned());
    let mut parts = named.parts.iter().peekable();
    if !parts.peek().is_some_and(|first| ["self", "super"].contains(&first.as_str())) {
        return named.parts.clone();
    }
    while let Some(step) = parts.next_if(|part| ["self", "super"].contains(&part.as_str())) {
        if step == "super" {
            modules.pop();
        }
    }
    let from_root = std::iter::once("crate".to_owned());
    from_root.chain(modules).chain(parts.cloned()).collect()
}

/// The modules that lead to `file`: `src/sink/smtp.rs` is `sink::smtp`; a crate's root is none.
fn modules_of(file: &str) -> Vec<String> {
    let inside = file.split_once("src/").map_or(file, |(_, inside)| inside);
    let inside = inside.strip_suffix(".rs").unwrap_or(inside);
    let mut modules: Vec<String> = inside.split('/').map(str::to_owned).collect();
    let is_root = modules.len() == 1 && ["lib", "main"].contains(&modules[0].as_str());
    if is_root || modules.last().is_some_and(|last| last == "mod") {
        modules.pop();
    }
    modules
}
