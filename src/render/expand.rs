//! Partials, put where they are used. In: a template, and the partials of its registry. Out: the same template, which no longer looks
//! them up. Done when templates are loaded: the engine copies the whole context for each partial that it meets in a mail, which
//! costs several times what all else does.
//!
//! A partial's arguments take the place of their names. What could come to mean something else that way stays a partial: one that
//! looks up (`../`) or defines partials; one with arguments other than literals that changes what names mean (`each`, `with`), or
//! that holds partials which stay. Cannot fail.

use std::collections::HashMap;

use handlebars::template::{DecoratorTemplate, HelperTemplate, Parameter, TemplateElement};
use handlebars::{Handlebars, JsonRender, Template};

use super::tree::{all, parameters, written};

/// How deep partials in partials are put in; a partial within itself stays what it is.
const DEPTH_MAX: usize = 16;

/// Where a partial has what its caller has written into it.
const BLOCK: &str = "@partial-block";

type Arguments = HashMap<String, Parameter>;

/// What partials are taken from, and how text is written that an argument says.
pub(super) struct Expand<'r> {
    pub registry: &'r Handlebars<'static>,
    pub escape: fn(&str) -> String,
}

impl Expand<'_> {
    /// The template with its partials in it.
    pub fn template(&self, template: &Template) -> Template {
        self.at_depth(template, 0)
    }

    fn at_depth(&self, template: &Template, depth: usize) -> Template {
        let mut out = Template::new();
        out.name.clone_from(&template.name);
        out.elements = template.elements.iter().flat_map(|element| self.element(element, depth)).collect();
        out
    }

    fn element(&self, element: &TemplateElement, depth: usize) -> Vec<TemplateElement> {
        let put_in = match element {
            TemplateElement::PartialExpression(partial) | TemplateElement::PartialBlock(partial)
                if depth < DEPTH_MAX =>
            {
                self.put_in(partial, depth)
            }
            _ => None,
        };
        put_in.unwrap_or_else(|| vec![map(element.clone(), &mut |template| self.at_depth(template, depth))])
    }

    /// The elements of a partial that can be put in.
    fn put_in(&self, partial: &DecoratorTemplate, depth: usize) -> Option<Vec<TemplateElement>> {
        if !partial.params.is_empty() || partial.indent.is_some() {
            return None;
        }
        let found = self.registry.get_template(partial.name.as_name()?)?;
        let body = self.at_depth(found, depth + 1);
        let block = partial.template.as_ref().map(|block| self.at_depth(block, depth));
        let whole = with_block(&body, block.as_ref());
        self.may_be_put_in(&whole, &partial.hash).then(|| self.with(&whole, &partial.hash).elements)
    }

    /// Whether names mean the same where it is put as they did in the partial.
    fn may_be_put_in(&self, template: &Template, arguments: &Arguments) -> bool {
        let are_literals = arguments.values().all(|value| matches!(value, Parameter::Literal(_)));
        let sound = |parameter: &Parameter| match parameter {
            Parameter::Path(path) => {
                let path = written(path);
                !path.contains("..") && !arguments.keys().any(|name| is_member(path, name))
            }
            _ => true,
        };
        all(template, &mut |element| match element {
            TemplateElement::DecoratorExpression(_) | TemplateElement::DecoratorBlock(_) => false,
            TemplateElement::PartialExpression(_) | TemplateElement::PartialBlock(_) => arguments.is_empty(),
            TemplateElement::HelperBlock(helper) => {
                (are_literals || matches!(helper.name.as_name(), Some("if" | "unless")))
                    && parameters(helper).all(sound)
            }
            TemplateElement::Expression(helper) | TemplateElement::HtmlExpression(helper) => {
                parameters(helper).all(sound)
            }
            _ => true,
        })
    }

    /// The template with the arguments in place of their names.
    fn with(&self, template: &Template, arguments: &Arguments) -> Template {
        let mut out = template.clone();
        if arguments.is_empty() {
            return out;
        }
        for element in &mut out.elements {
            match element {
                TemplateElement::Expression(helper) => *element = self.said(helper, arguments, true),
                TemplateElement::HtmlExpression(helper) => *element = self.said(helper, arguments, false),
                TemplateElement::HelperBlock(helper) => {
                    substitute(helper, arguments);
                    helper.template = helper.template.as_ref().map(|template| self.with(template, arguments));
                    helper.inverse = helper.inverse.as_ref().map(|template| self.with(template, arguments));
                }
                _ => {}
            }
        }
        out
    }

    /// What an expression becomes: what the argument says whose name it is, or the same with arguments for its parameters.
    fn said(&self, helper: &HelperTemplate, arguments: &Arguments, is_escaped: bool) -> TemplateElement {
        let expression = |helper: HelperTemplate| {
            let helper = Box::new(helper);
            if is_escaped { TemplateElement::Expression(helper) } else { TemplateElement::HtmlExpression(helper) }
        };
        let is_name = helper.params.is_empty() && helper.hash.is_empty();
        let argument = helper.name.as_name().filter(|_| is_name).and_then(|name| arguments.get(name));
        match argument {
            Some(Parameter::Literal(value)) if is_escaped => TemplateElement::RawString((self.escape)(&value.render())),
            Some(Parameter::Literal(value)) => TemplateElement::RawString(value.render()),
            Some(Parameter::Subexpression(inner)) => match inner.as_element() {
                TemplateElement::Expression(inner) => expression((**inner).clone()),
                other => other.clone(),
            },
            Some(name) => {
                let mut named = helper.clone();
                named.name = name.clone();
                expression(named)
            }
            None => {
                let mut helper = helper.clone();
                substitute(&mut helper, arguments);
                expression(helper)
            }
        }
    }
}

/// The partial with what its caller has written into it.
fn with_block(body: &Template, block: Option<&Template>) -> Template {
    let mut out = Template::new();
    for element in &body.elements {
        let is_place =
            matches!(element, TemplateElement::PartialExpression(partial) if partial.name.as_name() == Some(BLOCK));
        match block.filter(|_| is_place) {
            Some(block) => out.elements.extend(block.elements.iter().cloned()),
            None => out.elements.push(map(element.clone(), &mut |inner| with_block(inner, block))),
        }
    }
    out
}

/// The element with `change` made to the templates within it.
fn map(mut element: TemplateElement, change: &mut dyn FnMut(&Template) -> Template) -> TemplateElement {
    match &mut element {
        TemplateElement::HelperBlock(helper) => {
            helper.template = helper.template.as_ref().map(&mut *change);
            helper.inverse = helper.inverse.as_ref().map(&mut *change);
        }
        TemplateElement::PartialBlock(partial) => partial.template = partial.template.as_ref().map(&mut *change),
        _ => {}
    }
    element
}

/// Puts arguments in place of their names among a call's parameters.
fn substitute(helper: &mut HelperTemplate, arguments: &Arguments) {
    for parameter in helper.params.iter_mut().chain(helper.hash.values_mut()) {
        match parameter {
            Parameter::Path(path) => {
                if let Some(argument) = arguments.get(written(path)) {
                    *parameter = argument.clone();
                }
            }
            Parameter::Subexpression(inner) => {
                if let TemplateElement::Expression(helper) = inner.element.as_mut() {
                    substitute(helper, arguments);
                }
            }
            _ => {}
        }
    }
}

/// `name.…`, `this.name` and the like: the argument, but not by its bare name.
fn is_member(path: &str, name: &str) -> bool {
    path != name && path.split(['.', '/']).any(|part| part == name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::render::clean;

    /// Renders `text` with its partials put in and without, and says whether any partial is left.
    #[track_caller]
    fn check(partials: &[(&str, &str)], text: &str, is_left: bool) {
        let mut registry = Handlebars::new();
        registry.register_escape_fn(clean::html);
        for (name, text) in partials {
            registry.register_template_string(name, text).unwrap();
        }
        let template = Template::compile(text).unwrap();
        let expanded = Expand { registry: &registry, escape: clean::html }.template(&template);
        let is_partial = |element: &TemplateElement| {
            matches!(element, TemplateElement::PartialExpression(_) | TemplateElement::PartialBlock(_))
        };
        assert_eq!(!all(&expanded, &mut |element| !is_partial(element)), is_left, "{text}");
        let context = json!({"a": "<A>", "list": [{"a": 1}, {"a": 2}], "o": {"a": "O", "x": "X"}});
        registry.register_template("written", template);
        registry.register_template("expanded", expanded);
        let (written, expanded) = (registry.render("written", &context), registry.render("expanded", &context));
        assert_eq!(written.unwrap(), expanded.unwrap(), "{text}");
    }

    #[test]
    fn partials_are_put_in_and_say_the_same() {
        check(
            &[("p", "[{{a}}]")],
            "x{{> p}}{{#each list}}{{> p}}{{/each}}{{#if a}}{{> p}}{{else}}{{> p}}{{/if}}",
            false,
        );
        check(&[("p", "{{> q}}{{> q}}"), ("q", "{{a}}")], "{{> p}}", false);
        check(&[("p", "{{x}}{{{x}}}{{#if x}}{{lookup o x}}{{/if}}{{#if y}}no{{/if}}")], "{{> p x=\"a\"}}", false);
        check(&[("p", "{{#each list}}{{x}}{{a}}{{/each}}")], "{{> p x=\"<\"}}{{> p x=7}}", false);
        check(&[("p", "{{x}}{{#if x}}{{{x}}}{{/if}}")], "{{> p x=o.a}}{{> p x=(lookup o \"a\")}}{{> p x=none}}", false);
        check(
            &[("p", "<{{t}}>{{> @partial-block}}</{{t}}>"), ("q", "{{a}}")],
            "{{#> p t=\"b\"}}{{a}}{{> q}}{{/p}}",
            false,
        );
    }

    #[test]
    fn what_could_come_to_mean_something_else_stays_a_partial() {
        check(&[("p", "{{#each list}}{{../a}}{{/each}}")], "{{> p}}", true);
        check(&[("p", "{{#each list}}{{x}}{{/each}}")], "{{> p x=a}}", true);
        check(&[("p", "{{x.a}}")], "{{> p x=o}}", true);
        check(&[("p", "{{this.x}}")], "{{> p x=1}}", true);
        check(&[("p", "{{x}}")], "{{> p o}}", true);
        check(&[("p", "{{#*inline \"q\"}}{{a}}{{/inline}}{{> q}}")], "{{> p}}", true);
    }
}
