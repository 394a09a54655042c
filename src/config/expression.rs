//! CEL expressions over `customer`, `cart` and `trigger` (SPEC §5). In: a string of the configuration. Out: an
//! [`Expression`] that is compiled and names nothing unknown. Fails into the report, at the place within the string.

use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::{ParseError, Program};

use super::nearest::nearest;
use super::section::Value;

/// What an expression can be about (SPEC §5).
const SUBJECTS: [&str; 3] = ["customer", "cart", "trigger"];

/// The names that CEL itself gives to types.
const TYPES: [&str; 10] = ["bool", "bytes", "double", "duration", "int", "list", "map", "string", "timestamp", "uint"];

/// The longest expression, in bytes. The parser descends once for each operator of a chain such as `a + a + …`, and its
/// stack ends somewhere past ten thousand bytes.
const BYTES_MAX: usize = 2_000;

/// A CEL expression.
#[derive(Clone, Debug)]
pub struct Expression {
    text: String,
    program: Arc<Program>,
}

impl Expression {
    /// The expression as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The expression, compiled.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

/// Reads an expression.
pub(super) fn read(value: Value<'_>) -> Option<Expression> {
    let text = value.clone().text()?;
    if text.len() > BYTES_MAX {
        value.fault(format!("the expression has {} bytes", text.len()), format!("at most {BYTES_MAX} are allowed"));
        return None;
    }
    let program = match Program::compile(text) {
        Ok(program) => program,
        Err(errors) => {
            // What follows the first fault of an expression is mostly its echo.
            if let Some(error) = errors.errors.iter().min_by_key(|error| error.pos) {
                report_syntax(&value, text, error);
            }
            return None;
        }
    };
    let Some(unknown) = first_unknown(program.expression(), &[]) else {
        return Some(Expression { text: text.to_owned(), program: Arc::new(program) });
    };
    let hint = match nearest(unknown, SUBJECTS) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("an expression is about {}; text stands in single quotes", SUBJECTS.join(", ")),
    };
    value.fault(format!("unknown name `{unknown}` in the expression"), hint);
    None
}

fn report_syntax(value: &Value<'_>, text: &str, error: &ParseError) {
    let what = error.msg.trim_start_matches("Syntax error: ");
    // The parser lists every token that could have come; the first words say what did.
    let what = what.split(" expecting ").next().unwrap_or(what).replace("'<EOF>'", "the end");
    let hint = if what.contains("'= ") {
        "equality is `==` (CEL)"
    } else {
        "CEL, such as: customer.attributes.tier == 'gold' || cart.total >= 50.0"
    };
    let mut span = value.span();
    // Where the file holds the text as it is, without escapes, the place within it is known.
    if value.source().get(1..).is_some_and(|rest| rest.starts_with(text)) && error.pos.0 == 1 {
        let column = usize::try_from(error.pos.1 - 1).unwrap_or(0);
        let offset = text.char_indices().nth(column).map_or(text.len(), |(offset, _)| offset);
        span = span.start + 1 + offset..span.start + 2 + offset;
    }
    value.report().fault(span, format!("the expression does not parse: {what}"), Some(hint.to_owned()));
}

/// The first name in `expression` that is neither a subject, a type, nor `bound` by a macro such as `exists` around it.
fn first_unknown<'e>(expression: &'e IdedExpr, bound: &[&'e str]) -> Option<&'e str> {
    let among = |expressions: &[&'e IdedExpr]| expressions.iter().find_map(|inner| first_unknown(inner, bound));
    match &expression.expr {
        Expr::Unspecified | Expr::Literal(_) => None,
        // Names that begin with @ are the macros' own.
        Expr::Ident(name) => {
            let known = name.starts_with('@') || [&SUBJECTS[..], &TYPES[..], bound].concat().contains(&name.as_str());
            (!known).then_some(name)
        }
        Expr::Select(select) => first_unknown(&select.operand, bound),
        Expr::Call(call) => among(&call.target.as_deref().into_iter().chain(&call.args).collect::<Vec<_>>()),
        Expr::List(list) => among(&list.elements.iter().collect::<Vec<_>>()),
        Expr::Map(map) => among(&map.entries.iter().flat_map(|entry| parts(&entry.expr)).collect::<Vec<_>>()),
        Expr::Struct(built) => among(&built.entries.iter().flat_map(|entry| parts(&entry.expr)).collect::<Vec<_>>()),
        Expr::Comprehension(each) => first_unknown(&each.iter_range, bound).or_else(|| {
            let own = [Some(each.iter_var.as_str()), each.iter_var2.as_deref(), Some(each.accu_var.as_str())];
            let bound: Vec<&str> = bound.iter().copied().chain(own.into_iter().flatten()).collect();
            let inner = [&each.accu_init, &each.loop_cond, &each.loop_step, &each.result];
            inner.into_iter().find_map(|inner| first_unknown(inner, &bound))
        }),
    }
}

fn parts(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
        EntryExpr::StructField(field) => vec![&field.value],
    }
}
