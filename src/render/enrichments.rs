//! Which enrichments a template names: only those are fetched for its mails. In: a template, with its partials in it. Out: names of
//! those that are known. Names one too many rather than one too few: where a template goes through all of them, or still looks
//! up a partial, it names each. Cannot fail.

use std::collections::BTreeSet;

use handlebars::Template;
use handlebars::template::{Parameter, TemplateElement};

use super::tree::{all, parameters, written};

/// Where templates have them.
const ENRICH: &str = "enrich";

/// Those of the `known` that `template` names.
pub(super) fn named_in<'k>(template: &Template, known: &BTreeSet<&'k str>) -> BTreeSet<&'k str> {
    let mut named = BTreeSet::new();
    all(template, &mut |element| {
        match element {
            TemplateElement::Expression(call)
            | TemplateElement::HtmlExpression(call)
            | TemplateElement::HelperBlock(call) => {
                parameters(call).for_each(|parameter| named.extend(named_by(parameter, known)));
            }
            TemplateElement::RawString(_) | TemplateElement::Comment(_) => {}
            _ => named.extend(known),
        }
        true
    });
    named
}

fn named_by<'k>(parameter: &Parameter, known: &BTreeSet<&'k str>) -> BTreeSet<&'k str> {
    let path = match parameter {
        Parameter::Path(path) => written(path),
        Parameter::Name(name) => name,
        _ => return BTreeSet::new(),
    };
    let mut steps = path.split(['.', '/', '[', ']']).filter(|step| !step.is_empty());
    if !steps.by_ref().any(|step| step == ENRICH) {
        return BTreeSet::new();
    }
    match steps.next() {
        Some(name) => known.get(name).copied().into_iter().collect(),
        None => known.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let template = Template::compile(text).unwrap();
        let named = named_in(&template, &BTreeSet::from(["news", "weather"]));
        assert_eq!(named.into_iter().collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn what_a_template_names_is_found_wherever_it_stands() {
        check("{{customer.first_name}} {{weather.text}} enrich.weather", &[]);
        check("{{enrich.weather.text}}", &["weather"]);
        check("{{{enrich.weather}}}{{@root.enrich.news.[0].title}}", &["news", "weather"]);
        check("{{#if customer.email}}{{else}}{{default enrich.news.title \"x\"}}{{/if}}", &["news"]);
        check("{{#each enrich.news}}{{title}}{{/each}}{{enrich.other}}", &["news"]);
        check("{{#with enrich.[weather]}}{{text}}{{/with}}", &["weather"]);
        check("{{money (default enrich.news.price \"1\") currency=enrich.weather.c}}", &["news", "weather"]);
    }

    #[test]
    fn where_it_cannot_be_known_it_is_all() {
        check("{{#with enrich}}{{weather.text}}{{/with}}", &["news", "weather"]);
        check("{{lookup enrich customer.id}}", &["news", "weather"]);
        check("{{> _other}}", &["news", "weather"]);
    }
}
