//! An explanation for people: who got what and why, the gates as a table, and the records in the order in which they took
//! effect. In: an explanation. Out: text for the terminal.

use std::fmt;

use beckon_dataflows::model::Position;
use comfy_table::{ContentArrangement, Table, presets};

use crate::decision::{Decision, Moment, Outcome, PayloadLine};
use crate::pipeline::explain::{Explanation, Kept};

/// An explanation as text.
pub struct Story<'a> {
    /// What is told.
    pub explanation: &'a Explanation,
    /// Whether the log is files: then an offset is a line.
    pub is_files: bool,
}

impl fmt::Display for Story<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explanation { decision, records, .. } = self.explanation;
        writeln!(out, "{}\n", headline(decision))?;
        writeln!(out, "{}\n", table(facts(decision)))?;
        self.gates(out)?;
        writeln!(out, "{}", self.count())?;
        records.iter().try_for_each(|record| self.record(out, record))
    }
}

impl Story<'_> {
    fn gates(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for asking in &self.explanation.askings {
            writeln!(out, "Gates, asked at {}", Moment(asking.tick))?;
            let replies = asking.replies.iter();
            let rows =
                replies.map(|reply| [reply.gate.name().into(), reply.answer.name().into(), reply.why.to_string()]);
            writeln!(out, "{}\n", table(rows))?;
        }
        Ok(())
    }

    /// What the records below are, and what they are not.
    fn count(&self) -> String {
        let Explanation { records, considered, minimal, trials, depends_on_others, .. } = self.explanation;
        let others = depends_on_others.join(", ");
        let (shown, changes_nothing) = (records.len(), considered - records.len());
        if *minimal && depends_on_others.is_empty() {
            return format!(
                "Made by {shown} records: they alone give this decision, and without any one of them it is another, or none, or\n\
                 made for another reason.\n\
                 {changes_nothing} more could have had a say, and change nothing.\n"
            );
        }
        let shown = match (minimal, trials) {
            (true, _) => {
                format!("Made by {shown} records; {changes_nothing} more could have had a say, and change nothing.")
            }
            (false, 0) => format!("{shown} records may have had a say; none was taken away."),
            (false, _) => format!(
                "{shown} records are left after {trials} trials, and give this decision alone; fewer might, too: try more --trials.\n\
                 {changes_nothing} more change nothing."
            ),
        };
        match others.is_empty() {
            true => format!("{shown}\n"),
            false => format!("{shown}\nOther customers had a say as well: these records alone do not give {others}.\n"),
        }
    }

    fn record(&self, out: &mut fmt::Formatter<'_>, kept: &Kept) -> fmt::Result {
        let text = String::from_utf8_lossy(&kept.bytes);
        writeln!(out, "{}  {}\n  {}\n", Moment(kept.tick), place(kept.position, self.is_files), spaced(&text))
    }
}

fn headline(decision: &Decision) -> String {
    let Decision { decision_id, campaign, customer_id, outcome, reason, variant, .. } = decision;
    let whom = format!("{campaign} to {customer_id}");
    match (outcome, reason, variant) {
        (Outcome::Send, _, Some(variant)) => format!("{decision_id}: send {whom}, variant {variant}"),
        (Outcome::Send, _, None) => format!("{decision_id}: send {whom}"),
        (Outcome::Holdout, ..) => format!("{decision_id}: hold out of {whom}"),
        (Outcome::Suppress, Some(reason), _) => format!("{decision_id}: suppress {whom}: {}", reason.name()),
        (Outcome::Suppress, None, _) => format!("{decision_id}: suppress {whom}"),
    }
}

/// What the decision is about.
fn facts(decision: &Decision) -> Vec<[String; 2]> {
    let mut facts = vec![
        ["customer".into(), decision.customer_id.to_string()],
        ["trigger".into(), decision.trigger.to_string()],
        ["subject".into(), decision.subject.to_string()],
        ["anchor".into(), Moment(decision.anchor).to_string()],
        ["as of".into(), Moment(decision.as_of).to_string()],
    ];
    let lines = decision.payload.lines.iter().enumerate();
    facts.extend(lines.map(|(index, line)| [if index == 0 { "payload".into() } else { String::new() }, said(line)]));
    let similar = decision.payload.similar.iter().flatten().enumerate();
    facts.extend(similar.map(|(index, line)| [if index == 0 { "similar".into() } else { String::new() }, said(line)]));
    facts.extend(decision.payload.discount.map(|discount| ["discount".into(), format!("{} %", discount.percent)]));
    facts
}

fn said(line: &PayloadLine) -> String {
    let quantity = line.quantity.map(|quantity| format!("{quantity} × ")).unwrap_or_default();
    let name = line.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let price = line.price.map(|price| format!(" at {price}")).unwrap_or_default();
    let on_hand = line.on_hand.map(|on_hand| format!(", {on_hand} on hand")).unwrap_or_default();
    format!("{quantity}{}{name}{price}{on_hand}", line.sku)
}

/// Columns without lines between them, wrapped to the terminal where it is one.
fn table<const COLUMNS: usize>(rows: impl IntoIterator<Item = [String; COLUMNS]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.add_rows(rows);
    table.trim_fmt()
}

fn place(position: Position, is_files: bool) -> String {
    match is_files {
        true => format!("{} line {}", position.stream(), position.offset()),
        false => format!("{} partition {} offset {}", position.stream(), position.partition(), position.offset()),
    }
}

/// JSON on one line with room to breathe; nothing else about it changes, so that a price keeps its digits.
fn spaced(json: &str) -> String {
    let mut spaced = String::with_capacity(json.len() * 9 / 8);
    let (mut quoted, mut escaped) = (false, false);
    for letter in json.chars() {
        if quoted || !letter.is_ascii_whitespace() {
            spaced.push(letter);
        }
        if !quoted && matches!(letter, ':' | ',') {
            spaced.push(' ');
        }
        (quoted, escaped) = match letter {
            '"' if !escaped => (!quoted, false),
            '\\' if quoted => (quoted, !escaped),
            _ => (quoted, false),
        };
    }
    spaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_breathes_and_keeps_its_digits() {
        assert_eq!(spaced("{ \"a\\\"b:c\" :19.90,\n\"d\":[1,2]}"), r#"{"a\"b:c": 19.90, "d": [1, 2]}"#);
    }
}
