//! Charts for a page: lines as SVG, which stretches to whatever room there is, and the words around it as HTML, which keeps its size on
//! a phone. In: lines of points, and two axes. Out: HTML without a script. Cannot fail: what is no number is no point.

use std::fmt::Write as _;

use super::page::escaped;

/// How many steps a vertical axis has, at most.
const STEPS_MAX: f64 = 5.0;

/// How many words a horizontal axis has room for, on a phone too.
const TIMES_MAX: f64 = 6.0;

/// The lines' own measure: a drawing is a square of so much, stretched.
const SIDE: f64 = 1_000.0;

/// A chart.
pub struct Chart<'c> {
    /// What it shows.
    pub title: &'c str,
    /// In which unit, and what else there is to say.
    pub under: String,
    /// The same for who cannot see it.
    pub told: String,
    /// The horizontal axis.
    pub across: Axis,
    /// How values are written.
    pub say: fn(f64) -> String,
    /// The lines.
    pub lines: Vec<Line<'c>>,
    /// Parts of the horizontal axis that are of less interest: lines may go beyond the chart there.
    pub shades: Vec<(f64, f64)>,
}

/// A line.
pub struct Line<'c> {
    /// What it is.
    pub name: &'c str,
    /// Which of the page's colours it has.
    pub colour: u8,
    /// Whether what is under it is filled.
    pub filled: bool,
    /// Whether it has gaps, so that a line below it shows.
    pub dashed: bool,
    /// Its points; one without a value parts it.
    pub points: Vec<(f64, Option<f64>)>,
}

/// A horizontal axis, from 0 on.
pub struct Axis {
    /// Where it ends.
    pub end: f64,
    /// Places on it, and what is written there.
    pub marks: Vec<(f64, String)>,
}

impl Axis {
    /// Over so many seconds.
    pub fn of_time(seconds: f64) -> Axis {
        const STEPS: [u32; 16] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 86_400];
        let end = seconds.max(1.0);
        let fitting = STEPS.into_iter().map(f64::from).find(|step| end / step <= TIMES_MAX);
        let step = fitting.unwrap_or(end / TIMES_MAX);
        let marks = (0..).map(|nth| f64::from(nth) * step).take_while(|at| *at <= end);
        Axis { end, marks: marks.map(|at| (at, seconds_in_words(at))).collect() }
    }

    /// Over percentiles, by their nines: 90 % is at 1, 99 % at 2, and so on up to 100 %.
    pub fn of_percentiles(nines: f64) -> Axis {
        let end = nines.max(1.0);
        let median = (2.0_f64.log10(), "50 %".to_owned());
        let further = (1..).map(f64::from).take_while(|at| *at <= end + 1e-9).map(|at| (at, percent(at)));
        Axis { end, marks: std::iter::once(median).chain(further).collect() }
    }
}

fn seconds_in_words(seconds: f64) -> String {
    match seconds as u64 {
        0 => "0".to_owned(),
        of if of < 60 => format!("{of} s"),
        of if of < 3_600 && of % 60 == 0 => format!("{} min", of / 60),
        of if of < 3_600 => format!("{}:{:02} min", of / 60, of % 60),
        of if of % 3_600 == 0 => format!("{} h", of / 3_600),
        of => format!("{}:{:02} h", of / 3_600, of % 3_600 / 60),
    }
}

/// `99.9 %`, of three nines.
fn percent(nines: f64) -> String {
    let places = (nines - 2.0).max(0.0) as usize;
    format!("{:.places$} %", 100.0 * (1.0 - 10_f64.powf(-nines)))
}

/// Round steps that reach above all values: the length of one, and how many.
fn scale(values: impl Iterator<Item = f64>) -> (f64, u32) {
    let most = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
    if most <= 0.0 {
        return (1.0, 1);
    }
    let power = 10_f64.powf((most / STEPS_MAX).log10().floor());
    let round = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|step| step * power);
    let step = round.into_iter().find(|step| most / step <= STEPS_MAX).unwrap_or(10.0 * power);
    (step, (most / step).ceil().max(1.0) as u32)
}

impl Chart<'_> {
    /// That of what is of interest; of all where nothing is.
    fn scale(&self) -> (f64, u32) {
        let is_shaded = |at: f64| self.shades.iter().any(|(from, to)| (*from..=*to).contains(&at));
        let points = || self.lines.iter().flat_map(|line| line.points.iter().copied());
        let of_interest: Vec<f64> = points().filter(|(at, _)| !is_shaded(*at)).filter_map(|point| point.1).collect();
        if of_interest.is_empty() {
            return scale(points().filter_map(|point| point.1));
        }
        scale(of_interest.into_iter())
    }

    /// The chart as a figure.
    pub fn figure(&self) -> String {
        let (step, steps) = self.scale();
        let top = step * f64::from(steps);
        let mut html = format!("<figure class=\"card\">\n<figcaption><h2>{}</h2>", escaped(self.title));
        let _ = write!(html, "<p class=\"soft\">{}</p>", escaped(&self.under));
        if self.lines.len() > 1 {
            let key = |line: &Line<'_>| format!("<li class=\"c{}\">{}</li>", line.colour, escaped(line.name));
            let _ = write!(html, "<ul class=\"key\">{}</ul>", self.lines.iter().map(key).collect::<String>());
        }
        let _ =
            writeln!(html, "</figcaption>\n<div class=\"plot\" role=\"img\" aria-label=\"{}\">", escaped(&self.told));
        for nth in 0..=steps {
            let (share, value) = (percents(f64::from(nth) / f64::from(steps)), (self.say)(step * f64::from(nth)));
            let _ = write!(html, "<span class=\"up\" style=\"bottom:{share}\">{}</span>", escaped(&value));
        }
        for (at, words) in &self.across.marks {
            let (share, words) = (percents(at / self.across.end), escaped(words));
            let _ = write!(html, "<span class=\"along\" style=\"left:{share}\">{words}</span>");
        }
        html.push_str(&self.drawing(top, steps));
        html.push_str("</div>\n</figure>\n");
        html
    }

    fn drawing(&self, top: f64, steps: u32) -> String {
        let x = |at: f64| SIDE * (at / self.across.end).clamp(0.0, 1.0);
        // What goes beyond is cut off by the page's style, but a number must stay one that a browser can draw.
        let y = |value: f64| SIDE * (1.0 - (value / top).clamp(0.0, 100.0));
        let mut svg =
            format!("\n<svg viewBox=\"0 0 {SIDE} {SIDE}\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\n");
        for (from, to) in &self.shades {
            let (left, wide) = (x(*from), x(*to) - x(*from));
            let _ =
                writeln!(svg, "<rect class=\"shade\" x=\"{left:.1}\" y=\"0\" width=\"{wide:.1}\" height=\"{SIDE}\"/>");
        }
        for nth in 0..=steps {
            let at = SIDE * f64::from(nth) / f64::from(steps);
            let _ = writeln!(svg, "<path class=\"grid\" d=\"M0 {at:.1}H{SIDE}\"/>");
        }
        for line in &self.lines {
            let (colour, drawn) = (line.colour, stretches(&line.points));
            let dashes = if line.dashed { " dashed" } else { "" };
            for stretch in drawn {
                let points: Vec<String> =
                    stretch.iter().map(|(at, value)| format!("{:.1} {:.1}", x(*at), y(*value))).collect();
                let path = points.join("L");
                if line.filled {
                    let (left, right) = (x(stretch[0].0), x(stretch[stretch.len() - 1].0));
                    let _ = writeln!(
                        svg,
                        "<path class=\"under c{colour}\" d=\"M{path}L{right:.1} {SIDE}L{left:.1} {SIDE}Z\"/>"
                    );
                }
                // A point that stands alone is a line of no length, whose ends are round.
                let _ = writeln!(
                    svg,
                    "<path class=\"line c{colour}{dashes}\" d=\"M{path}{}\"/>",
                    if points.len() == 1 { "h0" } else { "" }
                );
            }
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// The points in stretches without a gap.
fn stretches(points: &[(f64, Option<f64>)]) -> Vec<Vec<(f64, f64)>> {
    let parted = points.split(|(at, value)| !at.is_finite() || !value.is_some_and(f64::is_finite));
    let whole = parted.map(|part| part.iter().filter_map(|(at, value)| Some((*at, (*value)?))).collect::<Vec<_>>());
    whole.filter(|stretch| !stretch.is_empty()).collect()
}

fn percents(share: f64) -> String {
    format!("{:.2}%", 100.0 * share.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_round_and_reaches_above_all() {
        let of = |most: f64| scale([0.0, most].into_iter());
        assert_eq!(of(0.0), (1.0, 1));
        assert_eq!(of(20_000.0), (5_000.0, 4));
        assert_eq!(of(20_001.0), (5_000.0, 5));
        assert_eq!(of(317.0), (100.0, 4));
        assert_eq!(of(1.1), (0.25, 5));
        assert_eq!(scale([f64::NAN, f64::INFINITY].into_iter()), (1.0, 1));
        for most in [0.003, 0.7, 3.0, 12.0, 99.0, 1_234.0, 5e9] {
            let (step, steps) = of(most);
            assert!(step * f64::from(steps) >= most && steps <= 5, "{most}: {steps} of {step}");
        }
    }

    #[test]
    fn what_is_of_less_interest_does_not_make_the_scale() {
        let points = vec![(0.5, Some(9_000.0)), (1.5, Some(90.0)), (2.5, None)];
        let line = |points| Line { name: "a", colour: 0, filled: false, dashed: true, points };
        let (across, say, none) = (|| Axis::of_time(3.0), |value: f64| format!("{value}"), String::new);
        let chart = |points, shades| {
            let lines = vec![line(points)];
            Chart { title: "A", under: none(), told: none(), across: across(), say, lines, shades }
        };
        assert_eq!(chart(points.clone(), vec![(0.0, 1.0)]).scale(), (20.0, 5));
        assert_eq!(chart(points, vec![(0.0, 2.0)]).scale(), (2_000.0, 5));
    }

    #[test]
    fn axes_have_few_words() {
        let words = |axis: Axis| axis.marks.into_iter().map(|mark| mark.1).collect::<Vec<_>>();
        assert_eq!(words(Axis::of_time(3.5)), ["0", "1 s", "2 s", "3 s"]);
        assert_eq!(words(Axis::of_time(75.0)), ["0", "15 s", "30 s", "45 s", "1 min", "1:15 min"]);
        assert_eq!(words(Axis::of_time(3_700.0)), ["0", "15 min", "30 min", "45 min", "1 h"]);
        assert_eq!(words(Axis::of_percentiles(4.2)), ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
        assert!(words(Axis::of_time(1e7)).len() <= 7);
    }

    #[test]
    fn a_gap_parts_a_line_and_strange_values_draw_nothing() {
        let points = [(0.0, Some(1.0)), (1.0, Some(2.0)), (2.0, None), (3.0, Some(4.0)), (4.0, Some(f64::NAN))];
        assert_eq!(stretches(&points), [vec![(0.0, 1.0), (1.0, 2.0)], vec![(3.0, 4.0)]]);
        let lines = vec![Line { name: "a<b", colour: 0, filled: true, dashed: false, points: points.to_vec() }];
        let (across, say) = (Axis::of_time(4.0), |value: f64| format!("{value}"));
        let (under, told) = ("\"under\" & more".to_owned(), "\"told\"".to_owned());
        let figure = Chart { title: "<T>", under, told, across, say, lines, shades: vec![(0.0, 1.0)] }.figure();
        assert!(
            figure.contains("<h2>&lt;T&gt;</h2>") && figure.contains("aria-label=\"&quot;told&quot;\""),
            "{figure}"
        );
        assert!(!figure.contains("NaN") && figure.contains("h0\"/>"), "{figure}");
        assert_eq!(figure.matches("class=\"line c0\"").count(), 2);
    }
}
