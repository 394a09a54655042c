//! The paths that a Rust file names. In: its text. Out: every path of two or more parts, `use` trees spread out, each
//! with its line and the inline modules around it; and every module it declares. Comments and literals name nothing.
//! Cannot fail: text that is not Rust gives few paths or none. It reads words, not types: a path that a macro puts
//! together is not seen.

/// A path as it is written: `["super", "sink", "Sink"]`.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    pub line: usize,
    pub parts: Vec<String>,
    /// The inline modules of this file that the path stands in, outermost first.
    pub within: Vec<String>,
}

/// What a file says about other files.
#[derive(Debug, Default)]
pub struct Paths {
    pub named: Vec<Named>,
    /// Each `mod NAME`, with its line.
    pub modules: Vec<(usize, String)>,
}

/// Reads `text`.
pub fn read(text: &str) -> Paths {
    let mut reader = Reader { tokens: tokens(text), at: 0, depth: 0, within: Vec::new(), paths: Paths::default() };
    reader.read_file();
    reader.paths
}

/// Words that may stand before a path that begins with `::`, and are no part of it.
const KEYWORDS: [&str; 12] = ["as", "dyn", "else", "for", "if", "impl", "in", "match", "mut", "return", "use", "where"];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Colons,
    Other(char),
}

struct Reader {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
    /// The open inline modules, each with the depth of braces outside it.
    within: Vec<(String, usize)>,
    paths: Paths,
}

impl Reader {
    fn token(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead).map(|(_, token)| token)
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |(line, _)| *line)
    }

    fn read_file(&mut self) {
        while let Some(token) = self.token(0).cloned() {
            match token {
                Token::Word(word) if word == "mod" => self.read_module(),
                Token::Word(word) if KEYWORDS.contains(&word.as_str()) => self.at += 1,
                Token::Word(_) => self.read_tree(&[]),
                Token::Other('{') => {
                    self.depth += 1;
                    self.at += 1;
                }
                Token::Other('}') => {
                    self.depth = self.depth.saturating_sub(1);
                    self.within.retain(|(_, outside)| *outside < self.depth);
                    self.at += 1;
                }
                Token::Colons if self.follows_a_value() => self.at += 2, // `Vec::<T>::new`, `<T>::new`: no new path
                Token::Colons | Token::Other(_) => self.at += 1,         // `::beckon` is `beckon`
            }
        }
    }

    /// Whether the `::` here goes on from a type, so that the word after it begins no path.
    fn follows_a_value(&self) -> bool {
        self.at > 0 && self.tokens[self.at - 1].1 == Token::Other('>') && matches!(self.token(1), Some(Token::Word(_)))
    }

    fn read_module(&mut self) {
        let line = self.line();
        self.at += 1;
        let Some(Token::Word(name)) = self.token(0).cloned() else {
            return;
        };
        self.paths.modules.push((line, name.clone()));
        self.at += 1;
        if self.token(0) == Some(&Token::Other('{')) {
            self.within.push((name, self.depth));
        }
    }

    /// Reads a path or a `use` tree that continues `stem`, and keeps each of its leaves.
    fn read_tree(&mut self, stem: &[String]) {
        let line = self.line();
        let mut parts = stem.to_vec();
        while let Some(Token::Word(word)) = self.token(0).cloned() {
            parts.push(word);
            self.at += 1;
            if self.token(0) != Some(&Token::Colons) {
                break;
            }
            match self.token(1) {
                Some(Token::Word(_)) => self.at += 1,
                Some(Token::Other('*')) => {
                    parts.push("*".into());
                    self.at += 2;
                    break;
                }
                Some(Token::Other('{')) => {
                    self.at += 2;
                    return self.read_group(&parts);
                }
                _ => break, // `Vec::<T>`: the main loop goes on behind it
            }
        }
        self.keep(line, parts);
    }

    fn read_group(&mut self, stem: &[String]) {
        while let Some(token) = self.token(0).cloned() {
            match token {
                Token::Other('}') => {
                    self.at += 1;
                    return;
                }
                Token::Other('*') => {
                    self.keep(self.line(), [stem, &["*".into()]].concat());
                    self.at += 1;
                }
                Token::Word(word) if word == "as" => self.at += 2, // the new name is no path
                Token::Word(_) => self.read_tree(stem),
                Token::Colons | Token::Other(_) => self.at += 1,
            }
        }
    }

    fn keep(&mut self, line: usize, parts: Vec<String>) {
        let is_import = parts.len() > 1 || self.stands_in_use();
        if is_import {
            let within = self.within.iter().map(|(name, _)| name.clone()).collect();
            self.paths.named.push(Named { line, parts, within });
        }
    }

    /// Whether the single word just read is a whole import: `use beckon;`, `use ::beckon;`, `extern crate beckon;`.
    fn stands_in_use(&self) -> bool {
        let mut before = self.tokens[..self.at - 1].iter().rev().map(|(_, token)| token);
        let before = before.find(|token| **token != Token::Colons);
        matches!(before, Some(Token::Word(word)) if word == "use" || word == "crate")
    }
}

/// The words and marks of `text`, each with its line from 1.
fn tokens(text: &str) -> Vec<(usize, Token)> {
    let chars: Vec<char> = text.chars().collect();
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    while at < chars.len() {
        let end = end_of_silence(&chars, at);
        if end > at {
            line += chars[at..end].iter().filter(|c| **c == '\n').count();
            at = end;
        } else if is_word(chars[at]) {
            let end = (at..chars.len()).find(|end| !is_word(chars[*end])).unwrap_or(chars.len());
            tokens.push((line, Token::Word(chars[at..end].iter().collect())));
            at = end;
        } else if chars[at..].starts_with(&[':', ':']) {
            tokens.push((line, Token::Colons));
            at += 2;
        } else {
            tokens.push((line, Token::Other(chars[at])));
            at += 1;
        }
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The end of the space, comment or literal that begins at `at`; `at` itself if none does.
fn end_of_silence(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    let end_of = |length: usize| (at + length).min(chars.len());
    match rest {
        [c, ..] if c.is_whitespace() => at + 1,
        ['/', '/', ..] => end_of(rest.iter().position(|c| *c == '\n').unwrap_or(rest.len())),
        ['/', '*', ..] => end_of(block_comment_length(rest)),
        ['"', ..] => end_of(quoted_length(rest, '"')),
        ['\'', '\\', ..] => end_of(quoted_length(rest, '\'')),
        ['\'', _, '\'', ..] => end_of(3),
        ['r', '"' | '#', ..] => end_of(raw_string_length(&rest[1..]).map_or(0, |length| length + 1)),
        ['b' | 'c', 'r', '"' | '#', ..] => end_of(raw_string_length(&rest[2..]).map_or(0, |length| length + 2)),
        ['b' | 'c', '"', ..] => end_of(1 + quoted_length(&rest[1..], '"')),
        _ => at,
    }
}

/// Block comments nest.
fn block_comment_length(rest: &[char]) -> usize {
    let (mut open, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (open, at) = (open + 1, at + 2),
            ['*', '/', ..] => (open, at) = (open - 1, at + 2),
            _ => at += 1,
        }
        if open == 0 {
            break;
        }
    }
    at
}

fn quoted_length(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// `##"…"##`, from the first mark on; `None` for a raw identifier such as `r#type`.
fn raw_string_length(rest: &[char]) -> Option<usize> {
    let marks = rest.iter().take_while(|c| **c == '#').count();
    if rest.get(marks) != Some(&'"') {
        return None;
    }
    let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', marks)).collect();
    let body = marks + 1;
    let length = rest[body..].windows(close.len()).position(|window| window == close);
    Some(length.map_or(rest.len(), |length| body + length + close.len()))
}
