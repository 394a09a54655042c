//! Styles, written once and put where mail programs look for them: into each element's `style`. In: `_styles.css`, of rules for
//! classes, and a template's text. Out: the text in which each element of such a class has its declarations. Done when
//! templates are loaded, so that a mail costs nothing more. Fails on a style sheet that says more than that; what belongs into
//! a `<style>`, such as media queries, is written there.
//!
//! An element's own `style` comes last, so that it wins. Classes that the sheet does not know are left for the `<style>`.

use std::ops::Range;

/// The rules of a style sheet, in their order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct StyleSheet(Vec<Rule>);

#[derive(Debug, PartialEq)]
struct Rule {
    classes: Vec<String>,
    /// `color:#fff;margin:0;`, without double quotes.
    declarations: String,
}

/// What is wrong with a style sheet, and in which line.
#[derive(Debug, PartialEq)]
pub(super) struct StyleFault {
    /// From 1.
    pub line: usize,
    pub fault: String,
}

impl StyleSheet {
    /// Reads a style sheet.
    pub fn read(css: &str) -> Result<StyleSheet, StyleFault> {
        let css = without_comments(css);
        let (mut rules, mut at) = (Vec::new(), 0);
        while !css[at..].trim().is_empty() {
            let start = at + css[at..].len() - css[at..].trim_start().len();
            let fault = |fault: String| StyleFault { line: 1 + css[..start].matches('\n').count(), fault };
            let open = css[start..].find('{').ok_or_else(|| fault("a rule without {".into()))? + start;
            let close = css[open..].find('}').ok_or_else(|| fault("a rule without }".into()))? + open;
            let classes = css[start..open].split(',').map(|selector| class(selector.trim()));
            let classes = classes.collect::<Result<Vec<_>, _>>().map_err(fault)?;
            rules.push(Rule { classes, declarations: declarations(&css[open + 1..close]).map_err(fault)? });
            at = close + 1;
        }
        Ok(StyleSheet(rules))
    }

    /// The text with the styles in place. It has as many lines as before.
    pub fn inline(&self, html: &str) -> String {
        let mut out = String::with_capacity(2 * html.len());
        let mut done = 0;
        for tag in (Tags { html, at: 0 }) {
            let Some(class) = tag.class else { continue };
            let style = self.style_of(&html[class.clone()]);
            if style.is_empty() {
                continue;
            }
            match tag.style {
                Some(own) => {
                    out.push_str(&html[done..own.start]);
                    out.push_str(&style);
                    done = own.start;
                }
                None => {
                    out.push_str(&html[done..class.end + 1]);
                    out.push_str(&format!(" style=\"{style}\""));
                    done = class.end + 1;
                }
            }
        }
        out.push_str(&html[done..]);
        out
    }

    fn style_of(&self, classes: &str) -> String {
        let is_of = |rule: &&Rule| classes.split_whitespace().any(|class| rule.classes.iter().any(|one| one == class));
        self.0.iter().filter(is_of).map(|rule| rule.declarations.as_str()).collect()
    }
}

/// Comments become blanks, and their lines stay.
fn without_comments(css: &str) -> String {
    let mut out = String::new();
    let mut rest = css;
    while let Some(start) = rest.find("/*") {
        let end = rest[start..].find("*/").map_or(rest.len(), |end| start + end + 2);
        out.push_str(&rest[..start]);
        out.extend(rest[start..end].matches('\n'));
        rest = &rest[end..];
    }
    out + rest
}

fn class(selector: &str) -> Result<String, String> {
    let name = selector.strip_prefix('.').unwrap_or_default();
    let sound = !name.is_empty() && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '-' || char == '_');
    if sound {
        return Ok(name.to_owned());
    }
    Err(format!(
        "`{selector}` is no class such as .button; what else there is to say belongs into a <style> of the layout"
    ))
}

fn declarations(block: &str) -> Result<String, String> {
    let mut out = String::new();
    for declaration in block.split(';').map(str::trim).filter(|declaration| !declaration.is_empty()) {
        let Some((property, value)) = declaration.split_once(':') else {
            return Err(format!("`{declaration}` is no declaration such as color: #fff"));
        };
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ").replace('"', "'");
        out.push_str(&format!("{}:{value};", property.trim()));
    }
    Ok(out)
}

/// A start tag, or a call of `image` or `live`, which becomes one: where the values of its `class` and `style` stand.
struct Tag {
    class: Option<Range<usize>>,
    style: Option<Range<usize>>,
}

/// The tags of a template. Expressions inside of a tag belong to it, whatever characters they have.
struct Tags<'t> {
    html: &'t str,
    at: usize,
}

impl Iterator for Tags<'_> {
    type Item = Tag;

    fn next(&mut self) -> Option<Tag> {
        loop {
            let rest = &self.html[self.at..];
            let start = rest.find(['<', '{'])?;
            let (start, rest) = (self.at + start, &rest[start..]);
            let is_tag =
                rest.strip_prefix('<').is_some_and(|rest| rest.starts_with(|char: char| char.is_ascii_alphabetic()));
            let end = match () {
                _ if is_tag => self.end_of_tag(start),
                _ if rest.starts_with("{{image ") || rest.starts_with("{{live ") => self.after("}}", start),
                _ if rest.starts_with("<!--") => {
                    self.at = self.after("-->", start);
                    continue;
                }
                _ => {
                    self.at = if rest.starts_with("{{") { self.after("}}", start) } else { start + 1 };
                    continue;
                }
            };
            self.at = end;
            return Some(Tag { class: self.value_of("class", start..end), style: self.value_of("style", start..end) });
        }
    }
}

impl Tags<'_> {
    /// Right after the next `what`, or the end.
    fn after(&self, what: &str, from: usize) -> usize {
        self.html[from..].find(what).map_or(self.html.len(), |at| from + at + what.len())
    }

    /// Right after the `>` that ends the tag: one within an expression or in quotes does not.
    fn end_of_tag(&self, start: usize) -> usize {
        let mut at = start;
        while let Some(found) = self.html[at..].find(['>', '{', '"']) {
            at += found;
            match self.html.as_bytes()[at] {
                b'>' => return at + 1,
                b'{' if self.html[at..].starts_with("{{") => at = self.after("}}", at),
                b'"' => at = self.after("\"", at + 1),
                _ => at += 1,
            }
        }
        self.html.len()
    }

    /// The value of a double-quoted attribute.
    fn value_of(&self, name: &str, tag: Range<usize>) -> Option<Range<usize>> {
        let start = self.html[tag.clone()].find(&format!(" {name}=\""))? + tag.start + name.len() + 3;
        let end = self.html[start..tag.end].find('"')? + start;
        Some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSS: &str =
        "/* a shop's\n own */\n.a, .b { color: #111;\n margin: 0 }\n.b{font-family:\"Segoe UI\", Arial}\n";

    #[test]
    fn styles_are_put_in_by_class_and_the_own_ones_win() {
        let sheet = StyleSheet::read(CSS).unwrap();
        let check = |html: &str, expected: &str| assert_eq!(sheet.inline(html), expected);
        check("<p class=\"a x\">1 < 2</p>", "<p class=\"a x\" style=\"color:#111;margin:0;\">1 < 2</p>");
        check("<p style=\"top:0\" class=\"a\">", "<p style=\"color:#111;margin:0;top:0\" class=\"a\">");
        check(
            "<a title=\">\" {{#if (gt a \">\")}}x{{/if}}\n class=\"b\">",
            "<a title=\">\" {{#if (gt a \">\")}}x{{/if}}\n class=\"b\" style=\"color:#111;margin:0;font-family:'Segoe UI', Arial;\">",
        );
        check("{{image url name class=\"a\"}}", "{{image url name class=\"a\" style=\"color:#111;margin:0;\"}}");
        for untouched in
            ["<p class=\"x\">", "<!-- <p class=\"a\"> -->", "{{> a class=\"a\"}}", "<p class=\"a", "a < b {", "</p>"]
        {
            check(untouched, untouched);
        }
    }

    #[test]
    fn a_sheet_that_says_more_is_refused_with_its_line() {
        let fault = |css: &str| StyleSheet::read(css).unwrap_err();
        assert_eq!(fault("/*\n*/\n\n.a{}\n@media print {.a{}}").line, 5);
        assert!(fault("p { margin: 0 }").fault.contains("`p` is no class"));
        assert!(fault(".a { margin }").fault.contains("`margin` is no declaration"));
        assert_eq!(fault(".a").fault, "a rule without {");
        assert_eq!(fault(".a { margin: 0").fault, "a rule without }");
        assert_eq!(StyleSheet::read(" /* none"), Ok(StyleSheet::default()));
    }
}
