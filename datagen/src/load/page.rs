//! The page of a load test. In: the report. Out: one file of HTML that asks for nothing else: its style is in it, its charts are drawn, there is
//! no script, and its own policy forbids what might come in with a name. Cannot fail.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::charts::{Axis, Chart, Line};
use super::latency::Percentiles;
use super::report::{Memory, Report};
use super::series::{self, Step};
use crate::written::{grouped, lasting, mib};

const STYLE: &str = include_str!("page.css");

/// How many steps a chart over time has room for.
const STEPS_MAX: usize = 240;

/// The page.
pub fn page(report: &Report) -> String {
    let parts = [opening(report), verdict(report), tiles(report), charts(report), tables(report), meaning(report)];
    let rate = grouped(report.asked.rate.round() as u64);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Load test: {rate} records a second</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{}</main>\n</body>\n</html>\n",
        parts.concat()
    )
}

/// A text as HTML, also between double quotes.
pub(super) fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}

fn opening(report: &Report) -> String {
    let asked = &report.asked;
    let (rate, seconds) = (grouped(asked.rate.round() as u64), lasting((report.measured.seconds() * 1_000.0) as u64));
    let from = i64::try_from(report.measured.from_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let at = from.map_or_else(String::new, |from| from.strftime("%-d %B %Y, %H:%M:%S UTC").to_string());
    let beckon = escaped(&asked.beckon);
    format!("<h1>{rate} records a second for {seconds}</h1>\n<p class=\"soft\">Load test of {beckon}, {at}</p>\n")
}

/// What is wrong, what is worth knowing, or that all is well.
fn verdict(report: &Report) -> String {
    let list = |class: &str, sentences: &[String]| {
        let said: Vec<String> = sentences.iter().map(|sentence| escaped(&capital(sentence))).collect();
        let said = match &said[..] {
            [alone] => alone.clone(),
            all => format!("<ul><li>{}</li></ul>", all.join("</li><li>")),
        };
        format!("<div class=\"verdict {class}\">{said}</div>\n")
    };
    let mut html = String::new();
    if !report.faults.is_empty() {
        html += &list("bad", &report.faults);
    }
    if !report.notes.is_empty() {
        html += &list("warn", &report.notes);
    }
    if html.is_empty() {
        let mails = if report.mails.twice.is_some() { ", and no mail came twice" } else { "" };
        html = list("good", &[format!("All {} records were read{mails}.", grouped(report.records.said))]);
    }
    html
}

/// A sentence begins with a capital letter; what is read on a terminal behind a name does not.
fn capital(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn tiles(report: &Report) -> String {
    let mut html = "<dl class=\"tiles\">\n".to_owned();
    let mut tile = |name: &str, figure: String, beside: String| {
        let [name, figure, beside] = [name, &figure, &beside].map(escaped);
        let _ = writeln!(
            html,
            "<div class=\"tile\"><dt>{name}</dt><dd class=\"figure\">{figure}</dd><dd class=\"beside\">{beside}</dd></div>"
        );
    };
    let unknown = || ("–".to_owned(), "not known".to_owned());
    let share = 100.0 * report.throughput.read / report.throughput.asked;
    tile(
        "Read a second",
        grouped(report.throughput.read.round() as u64),
        format!("{share:.1} % of what was asked for"),
    );
    if let Some(latency) = report.latency_ms {
        tile("Latency, p99", lasting(latency.p99), format!("half within {}", lasting(latency.p50)));
    }
    let (lag, beside) =
        report.lag_ms.map_or_else(unknown, |lag| (lasting(lag.max), format!("p99 {}", lasting(lag.p99))));
    tile("Lag, greatest", lag, beside);
    let memory =
        |memory: Memory| (format!("{:.0} MiB", mib(memory.most)), format!("{:.0} MiB at the end", mib(memory.last)));
    let (most, beside) = report.memory_bytes.map_or_else(unknown, memory);
    tile("Memory, most", most, beside);
    let cpu = report.cpu.map(|cpu| (format!("{:.1} µs", cpu.us_a_record), format!("{:.2} cores", cpu.cores)));
    let (cpu, beside) = cpu.unwrap_or_else(unknown);
    tile("CPU a record", cpu, beside);
    let mails = report.mails.taken.unwrap_or(report.mails.accepted);
    let twice = report
        .mails
        .twice
        .map_or_else(|| "as the service tells".to_owned(), |twice| format!("{} twice", grouped(twice)));
    tile("Mails", grouped(mails), twice);
    html + "</dl>\n"
}

fn charts(report: &Report) -> String {
    let steps = series::steps(&report.samples, STEPS_MAX);
    let (began_ms, ended_ms) = (report.samples.first(), report.samples.last());
    let began_ms = began_ms.map_or(0, |sample| sample.at_ms);
    let seconds = ended_ms.map_or(0.0, |sample| (sample.at_ms - began_ms) as f64 / 1_000.0);
    let into = |at_ms: u64| at_ms.saturating_sub(began_ms) as f64 / 1_000.0;
    let shades = vec![(0.0, into(report.measured.from_ms)), (into(report.measured.until_ms), seconds)];
    let over_time = OverTime { steps: &steps, seconds, shades };
    let drawn = [throughput(report, &over_time), lag(report, &over_time), curve(report)];
    let costs = [memory(report, &over_time), cpu(report, &over_time)];
    let figures: String = drawn.into_iter().chain(costs.into_iter().flatten()).map(|chart| chart.figure()).collect();
    // An odd one has the first row for itself.
    let wide = if figures.matches("<figure").count() % 2 == 1 { "card wide" } else { "card" };
    format!("<div class=\"cards\">\n{}</div>\n", figures.replacen("class=\"card\"", &format!("class=\"{wide}\""), 1))
}

/// What charts over time share.
struct OverTime<'s> {
    steps: &'s [Step],
    seconds: f64,
    /// Not measured.
    shades: Vec<(f64, f64)>,
}

impl OverTime<'_> {
    fn line<'c>(&self, name: &'c str, colour: u8, filled: bool, of: fn(&Step) -> Option<f64>) -> Line<'c> {
        Line {
            name,
            colour,
            filled,
            dashed: !filled,
            points: self.steps.iter().map(|step| (step.at_s, of(step))).collect(),
        }
    }

    fn chart<'c>(
        &self,
        title: &'c str,
        words: (String, String),
        say: fn(f64) -> String,
        lines: Vec<Line<'c>>,
    ) -> Chart<'c> {
        let (under, told) = words;
        Chart { title, under, told, across: Axis::of_time(self.seconds), say, lines, shades: self.shades.clone() }
    }
}

fn throughput(report: &Report, over_time: &OverTime<'_>) -> Chart<'static> {
    let [said, read] = [report.throughput.said, report.throughput.read].map(|rate| grouped(rate.round() as u64));
    let lines = vec![
        over_time.line("read by the service", 0, true, |step| step.read),
        over_time.line("said by the shop", 1, false, |step| step.said),
    ];
    let words = (
        "Records a second. Shaded: the opening and the warm-up, and the wait for what was left; neither is measured."
            .to_owned(),
        format!("Records a second over time: {said} said and {read} read on average"),
    );
    over_time.chart("Throughput", words, |rate| grouped(rate.round() as u64), lines)
}

fn lag(report: &Report, over_time: &OverTime<'_>) -> Chart<'static> {
    let mut lines = vec![over_time.line("lag: how long the next tick was overdue", 0, true, |step| step.lag_ms)];
    if report.latency_ms.is_some() {
        lines.push(over_time.line("latency: the slowest mail", 3, false, |step| step.latency_ms));
    }
    let most = report.lag_ms.map_or(0, |lag| lag.max);
    let words = ("The worst in each step.".to_owned(), format!("Lag over time: at most {}", lasting(most)));
    over_time.chart("Lag", words, in_ms, lines)
}

fn curve(report: &Report) -> Chart<'static> {
    let mut lines = Vec::new();
    let mut nines: f64 = 0.0;
    let named = [("lag", 0, &report.lags, report.lag_ms), ("latency", 3, &report.latencies, report.latency_ms)];
    for (name, colour, times, told) in named {
        if told.is_some() {
            let curve = times.curve();
            nines = nines.max(curve.last().map_or(0.0, |point| point.0));
            let points = curve.into_iter().map(|(nines, ms)| (nines, Some(ms))).collect();
            lines.push(Line { name, colour, filled: false, dashed: false, points });
        }
    }
    let (title, of) = match report.latency_ms.or(report.lag_ms) {
        Some(Percentiles { p50, p99, max, .. }) => {
            let words = format!(
                "Percentiles: half within {}, 99 % within {}, all within {}",
                lasting(p50),
                lasting(p99),
                lasting(max)
            );
            ("Percentiles", words)
        }
        None => ("Percentiles", "Nothing was measured".to_owned()),
    };
    let (under, across) = ("So many were no longer than this.".to_owned(), Axis::of_percentiles(nines));
    Chart { title, under, told: of, across, say: in_ms, lines, shades: Vec::new() }
}

fn memory(report: &Report, over_time: &OverTime<'_>) -> Option<Chart<'static>> {
    let most = report.memory_bytes?.most;
    let words = ("Resident, MiB.".to_owned(), format!("Memory over time: at most {:.0} MiB", mib(most)));
    let line = over_time.line("memory", 2, true, |step| step.resident_bytes.map(|bytes| mib(bytes as u64)));
    Some(over_time.chart("Memory", words, |mib| grouped(mib.round() as u64), vec![line]))
}

fn cpu(report: &Report, over_time: &OverTime<'_>) -> Option<Chart<'static>> {
    let cores = report.cpu?.cores;
    let words = ("Of the service, in cores.".to_owned(), format!("CPU over time: {cores:.2} cores on average"));
    let line = over_time.line("CPU", 1, true, |step| step.cores);
    Some(over_time.chart("CPU", words, few_digits, vec![line]))
}

fn in_ms(ms: f64) -> String {
    lasting(ms.round() as u64)
}

/// `0.25`, `1.5`, `2`.
fn few_digits(value: f64) -> String {
    format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn tables(report: &Report) -> String {
    let lists = [list("What came of it", &came(report)), list("What was run", &was_run(report))];
    format!("<div class=\"thirds\">\n{}{}</div>\n", times(report), lists.concat())
}

/// One of the percentiles, in words.
type Figure = fn(&Percentiles) -> String;

fn times(report: &Report) -> String {
    let columns = [("Latency", report.latency_ms), ("Lag", report.lag_ms)];
    let columns: Vec<_> = columns.into_iter().filter_map(|(name, times)| Some((name, times?))).collect();
    let rows: [(&str, Figure); 7] = [
        ("Half within", |times| lasting(times.p50)),
        ("90 %", |times| lasting(times.p90)),
        ("99 %", |times| lasting(times.p99)),
        ("99.9 %", |times| lasting(times.p99_9)),
        ("All", |times| lasting(times.max)),
        ("Mean", |times| lasting(times.mean.round() as u64)),
        ("Of so many", |times| grouped(times.count)),
    ];
    let heads: String = columns.iter().map(|(name, _)| format!("<th>{name}</th>")).collect();
    let row = |(name, of): &(&str, Figure)| {
        let cells: String = columns.iter().map(|(_, times)| format!("<td>{}</td>", of(times))).collect();
        format!("<tr><th>{name}</th>{cells}</tr>\n")
    };
    let rows: String = rows.iter().map(row).collect();
    format!(
        "<section class=\"card\"><h2>Times</h2><table>\n<thead><tr><th></th>{heads}</tr></thead>\n<tbody>{rows}</tbody></table></section>\n"
    )
}

fn came(report: &Report) -> Vec<(&'static str, String)> {
    let (records, mails) = (report.records, report.mails);
    let mut rows = vec![
        ("Records said", grouped(records.said)),
        ("Records acknowledged", grouped(records.acknowledged)),
        ("Records read", grouped(records.read)),
        ("Dead letters", grouped(records.dead_letters)),
        ("Records late", grouped(records.late)),
        ("Decisions", grouped(mails.decisions)),
        ("Decisions to send", grouped(mails.decided)),
        ("Mails accepted", grouped(mails.accepted)),
    ];
    rows.extend(mails.taken.map(|taken| ("Mails at this ESP", grouped(taken))));
    rows.extend(mails.twice.map(|twice| ("Mails twice", grouped(twice))));
    rows.push(("Shop late by", lasting(report.behind_ms)));
    rows
}

fn was_run(report: &Report) -> Vec<(&'static str, String)> {
    let asked = &report.asked;
    let seconds = |seconds: f64| lasting((seconds * 1_000.0) as u64);
    let warmed_ms = report.samples.first().map(|first| report.measured.from_ms.saturating_sub(first.at_ms) / 100 * 100);
    let warmed = warmed_ms.map_or_else(|| seconds(asked.warm_seconds), lasting);
    let mut rows = vec![
        ("Rate", format!("{} records/s", grouped(asked.rate.round() as u64))),
        ("Measured", format!("{}, after {warmed}", seconds(report.measured.seconds()))),
        ("Shop", format!("mix {}, seed {}", asked.mix, asked.seed)),
        ("", format!("{} customers, {} products", grouped(asked.customers.into()), grouped(asked.skus.into()))),
        ("Tick", lasting(report.terms.tick_ms)),
        ("Lateness", lasting(report.terms.allowed_lateness_ms)),
        ("Kafka", asked.kafka.clone()),
        ("Beckon", asked.beckon.clone()),
    ];
    rows.extend(asked.esp.clone().map(|esp| ("ESP", esp)));
    rows.push(("datagen", env!("CARGO_PKG_VERSION").to_owned()));
    rows
}

fn list(title: &str, rows: &[(&str, String)]) -> String {
    let rows: String =
        rows.iter().map(|(name, value)| format!("<dt>{}</dt><dd>{}</dd>", escaped(name), escaped(value))).collect();
    format!("<section class=\"card\"><h2>{title}</h2><dl class=\"list\">{rows}</dl></section>\n")
}

fn meaning(report: &Report) -> String {
    let (tick, lateness) = (lasting(report.terms.tick_ms), lasting(report.terms.allowed_lateness_ms));
    let mut html = format!(
        "<section class=\"card words\"><h2>What these figures are</h2>\n\
         <p><b>Lag</b> is for how long the next tick has been overdue. Ticks are {tick} long, and one can be closed once records are {lateness} \
         past it, the allowed lateness, which is always waited for and is not in it. It is looked at four times a second; where the service \
         did not answer, it counts as if nothing had been done since.</p>\n"
    );
    if report.asked.esp.is_some() {
        html += "<p><b>Latency</b> is the time from when a mail could be decided (the tick that decided it, and the allowed lateness) to \
                 when its request was at the ESP, by one clock. Kafka, reading, deciding, the ledger, rendering, and the wait for its \
                 turn are in it, and also what the shop was late. All mails count whose tick is of the measured time, whenever they came.</p>\n";
    }
    html + "<p><b>CPU</b> and <b>memory</b> are those of the one process that answered. <code>report.json</code> has all of this, and \
            every look; the <code>.hgrm</code> files are for any plotter of HdrHistogram's.</p></section>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Limits;
    use crate::load::report::Seen;
    use crate::load::report::tests::seen;

    fn of(seen: Seen) -> String {
        page(&Report::of(seen, &Limits::default()))
    }

    /// The elements that are opened and not closed, in order.
    fn open_elements(html: &str) -> Vec<String> {
        const EMPTY: [&str; 4] = ["meta", "!doctype", "path", "rect"];
        let mut open: Vec<String> = Vec::new();
        for tag in html.split('<').skip(1) {
            let name: String = tag.chars().take_while(|c| !c.is_whitespace() && *c != '>').collect();
            match name.strip_prefix('/') {
                Some(closed) => assert_eq!(open.pop().as_deref(), Some(closed), "before {tag}"),
                None if EMPTY.contains(&name.as_str()) => {}
                None => open.push(name),
            }
        }
        open
    }

    #[test]
    fn the_page_is_whole_and_asks_for_nothing() {
        let html = of(seen());
        assert!(open_elements(&html).is_empty());
        assert_eq!((html.matches("<svg").count(), html.matches("class=\"card wide\"").count()), (5, 1), "{html}");
        assert!(html.contains("All 20,000 records were read, and no mail came twice."), "{html}");
        for outside in ["src=", "href=", "url(", "@import", "<script", "<link", "NaN", "inf"] {
            assert!(!html.contains(outside), "{outside}: {html}");
        }
    }

    #[test]
    fn what_comes_from_outside_is_text() {
        let mut hostile = seen();
        hostile.asked.kafka = "\"><script>alert(1)</script>&'".into();
        hostile.asked.esp = Some("<img src=x onerror=alert(1)>".into());
        hostile.latencies = Default::default();
        let html = of(hostile);
        assert!(open_elements(&html).is_empty() && !html.contains("<script") && !html.contains("<img"), "{html}");
        assert!(html.contains("&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;&#39;"), "{html}");
    }

    #[test]
    fn what_was_not_seen_is_left_out() {
        let mut bare = seen();
        (bare.asked.esp, bare.latencies, bare.lags) = (None, Default::default(), Default::default());
        bare.samples.clear();
        let html = of(bare);
        assert!(open_elements(&html).is_empty() && html.contains("not known") && !html.contains("NaN"), "{html}");
        assert_eq!(html.matches("<svg").count(), 3);
    }
}
