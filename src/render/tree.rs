//! Walking through a parsed template: its elements, and what its calls name. Cannot fail.

use handlebars::template::{HelperTemplate, Parameter, TemplateElement};
use handlebars::{Path, Template};

/// Whether `holds` of each element, those within others too.
pub(super) fn all(template: &Template, holds: &mut dyn FnMut(&TemplateElement) -> bool) -> bool {
    template.elements.iter().all(|element| {
        let inner = match element {
            TemplateElement::HelperBlock(helper) => [helper.template.as_ref(), helper.inverse.as_ref()],
            TemplateElement::PartialBlock(partial) => [partial.template.as_ref(), None],
            _ => [None, None],
        };
        holds(element) && inner.into_iter().flatten().all(|inner| all(inner, holds))
    })
}

/// All that a call names: itself, its parameters, and those of the calls within them.
pub(super) fn parameters(helper: &HelperTemplate) -> Box<dyn Iterator<Item = &Parameter> + '_> {
    let own = std::iter::once(&helper.name).chain(&helper.params).chain(helper.hash.values());
    Box::new(own.flat_map(|parameter| -> Box<dyn Iterator<Item = &Parameter>> {
        match parameter {
            Parameter::Subexpression(inner) => match inner.as_element() {
                TemplateElement::Expression(helper) => parameters(helper),
                _ => Box::new(std::iter::empty()),
            },
            parameter => Box::new(std::iter::once(parameter)),
        }
    }))
}

/// The path as it is written.
pub(super) fn written(path: &Path) -> &str {
    let (Path::Relative((_, written)) | Path::Local((_, _, written))) = path;
    written
}
