//! What is wrong with a configuration, each fault with its place. In: a span of a file and words. Out: [`Faults`], which
//! prints each as `file:line:column: what`, the source line with a caret, and a hint. Cannot fail.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One thing that is wrong, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file that has to be changed: the configuration, or a template.
    pub file: PathBuf,
    /// Where in the file; none when the fault is about the file as a whole, such as a section that is missing.
    pub place: Option<Place>,
    /// What is wrong, without a full stop.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Byte offset in the configuration by which faults are sorted; faults of other files come last.
    offset: usize,
}

/// A place in a file, for people: lines and columns (in characters) count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The line itself and how many of its characters are meant; none when it must not be shown (it may hold a secret).
    excerpt: Option<(String, usize)>,
}

impl Place {
    /// The place of `span` (bytes) in `text`. A span over several lines is cut at the end of its first.
    fn of(text: &str, span: &Range<usize>, show: bool) -> Place {
        let start = floor_char_boundary(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |length| start + length);
        let end = floor_char_boundary(text, span.end).clamp(start, line_end);
        let line = text[line_start..line_end].trim_end_matches('\r').to_owned();
        Place {
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            excerpt: show.then(|| (line, text[start..end].chars().count().max(1))),
        }
    }
}

fn floor_char_boundary(text: &str, offset: usize) -> usize {
    (0..=offset.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

impl Fault {
    /// A fault at `span` (bytes) of the configuration `file` that holds `text`.
    pub(super) fn at(file: &Path, text: &str, span: Range<usize>, what: String, hint: Option<String>) -> Fault {
        let place = Some(Place::of(text, &span, true));
        Fault { file: file.to_owned(), place, what, hint, offset: span.start }
    }

    /// The same fault, without the source line: for values that may be a secret written in the wrong place.
    pub(super) fn without_excerpt(mut self) -> Fault {
        if let Some(place) = &mut self.place {
            place.excerpt = None;
        }
        self
    }

    /// A fault about a file as a whole.
    pub(super) fn of_file(file: &Path, what: String, hint: Option<String>) -> Fault {
        Fault { file: file.to_owned(), place: None, what, hint, offset: usize::MAX }
    }

    /// The same fault, after those of the configuration: for those of other files.
    pub(super) fn last(mut self) -> Fault {
        self.offset = usize::MAX;
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:", self.file.display())?;
        if let Some(place) = &self.place {
            write!(out, "{}:{}:", place.line, place.column)?;
        }
        write!(out, " {}", self.what)?;
        if let Some(Place { line, column, excerpt: Some((source, width)) }) = &self.place {
            // Tabs stay tabs, so that the caret stands under what it means whatever a tab's width.
            let before: String = source.chars().take(column - 1).map(|c| if c == '\t' { c } else { ' ' }).collect();
            let margin = " ".repeat(line.to_string().len());
            write!(out, "\n{line} | {source}\n{margin} | {before}{}", "^".repeat(*width))?;
        }
        match &self.hint {
            Some(hint) => write!(out, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Every fault of a configuration, in file order; those of the file as a whole, and of other files, last. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Puts faults in order. Empty only within this module's parents: nothing empty is ever returned as an error.
    pub(super) fn sorted(mut faults: Vec<Fault>) -> Faults {
        faults.sort_by_key(|fault| fault.offset);
        Faults(faults)
    }

    /// A single fault.
    pub(super) fn one(fault: Fault) -> Faults {
        Faults(vec![fault])
    }

    /// The faults, in file order.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in self {
            write!(out, "{fault}\n\n")?;
        }
        write!(out, "{} fault{}", self.0.len(), if self.0.len() == 1 { "" } else { "s" })
    }
}

impl std::error::Error for Faults {}
