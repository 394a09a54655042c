//! Prometheus' text format, read (its documentation, "Text-based format", version 0.0.4). In: what a service answers at
//! `/metrics`. Out: its values, with their labels. Cannot fail: a line that is none is passed over, for a later version
//! of a service may tell more than is known here.

/// One value of one series.
#[derive(Debug, PartialEq)]
pub struct Told<'t> {
    /// The metric.
    pub name: &'t str,
    labels: Vec<(&'t str, String)>,
    /// What it is now.
    pub value: f64,
}

impl Told<'_> {
    /// Whether the series has this label.
    pub fn has(&self, name: &str, value: &str) -> bool {
        self.labels.iter().any(|(of, is)| *of == name && is == value)
    }

    /// The value as a count of things.
    pub fn count(&self) -> u64 {
        // What is no number, or below 0, becomes 0.
        self.value as u64
    }
}

/// Reads all values.
pub fn read(text: &str) -> impl Iterator<Item = Told<'_>> {
    text.lines().filter_map(|line| read_line(line.trim()))
}

fn read_line(line: &str) -> Option<Told<'_>> {
    let end = line.find(|c: char| c == '{' || c.is_whitespace()).filter(|_| !line.starts_with('#'))?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => read_labels(rest)?,
        None => (Vec::new(), rest),
    };
    // A time may stand behind it.
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Told { name, labels, value })
}

type Labels<'t> = Vec<(&'t str, String)>;

/// The labels, and what stands behind their brace.
fn read_labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, behind) = read_quoted(quoted)?;
        labels.push((name, value));
        rest = behind;
    }
}

/// A text up to its closing quote, and what stands behind that.
fn read_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_with_and_without_labels() {
        let text = "# HELP a_total What it is.\n# TYPE a_total counter\na_total{stream=\"carts\",partition=\"0\"} 12\n\
                    \nb_seconds 0.25 1767225600000\nc{of=\"a \\\"quoted\\\" \\\\ \\n}\"} +Inf\n";
        let told: Vec<Told<'_>> = read(text).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].has("stream", "carts") && told[0].has("partition", "0") && !told[0].has("stream", "orders"));
        assert_eq!((told[0].name, told[0].count()), ("a_total", 12));
        assert_eq!((told[1].name, told[1].value), ("b_seconds", 0.25));
        assert!(told[2].has("of", "a \"quoted\" \\ \n}") && told[2].value.is_infinite());
    }

    #[test]
    fn what_is_no_value_is_passed_over() {
        for line in
            ["", "#", "name", "name{", "name{a=\"b} 1", "name{a=\"b\\", "name{a} 1", "name{} x", "{", "é{\"=\"é"]
        {
            assert_eq!(read(line).count(), 0, "{line:?}");
        }
        assert_eq!(read("name{} NaN\nname -3").map(|told| told.count()).collect::<Vec<_>>(), [0, 0]);
        assert_eq!(read("<html>\n<p>Not Found</p>\n</html>").count(), 0);
    }
}
