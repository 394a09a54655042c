//! The picture of what stays in memory. In: the looks. Out: an SVG, readable on light ground and on dark.

use std::fmt::Write;

use super::Look;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 150.0;
const PANEL: f64 = 170.0;
const GAP: f64 = 70.0;
const TOP: f64 = 58.0;

const STYLE: &str = "
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600; font-size: 15px }
  .grid { stroke: #d0d7de; stroke-width: 1 }
  .memory { stroke: #0969da; fill: none; stroke-width: 2.5 }
  .under { fill: #0969da; opacity: .12 }
  .ever { stroke: #8c6b1f; fill: none; stroke-width: 2.5; stroke-dasharray: 6 4 }
  .kept { stroke: #1a7f37; fill: none; stroke-width: 2.5 }
  .memory-text { fill: #0969da } .ever-text { fill: #8c6b1f } .kept-text { fill: #1a7f37 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .grid { stroke: #3d444d }
    .memory { stroke: #58a6ff } .under { fill: #58a6ff; opacity: .18 }
    .ever { stroke: #d4a72c } .kept { stroke: #3fb950 }
    .memory-text { fill: #58a6ff } .ever-text { fill: #d4a72c } .kept-text { fill: #3fb950 }
  }
";

/// Draws two panels over the days: memory; and the names ever read beside those kept.
pub fn draw(looks: &[Look]) -> String {
    let days = looks.last().map_or(1.0, |look| look.day.ceil());
    let ever = |look: &Look| (look.said.visitors + look.said.carts + look.said.orders) as f64;
    let memory = Panel { top: TOP, days, most: nice(looks.iter().map(|look| look.resident_mib)) };
    let names = Panel { top: TOP + PANEL + GAP, days, most: nice(looks.iter().map(ever)) };
    let height = names.top + PANEL + 46.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<title>Memory over simulated days: it grows until the first things are forgotten, and is flat from then on</title>\n<style>{STYLE}</style>\n"
    );
    memory.frame(&mut svg, "Memory resident, MiB", |most| format!("{most:.0}"));
    let line = memory.line(looks, |look| look.resident_mib);
    let (first, last) = (memory.x(looks.first().map_or(0.0, |it| it.day)), memory.x(days));
    let ground = memory.top + PANEL;
    push(&mut svg, format!("<path class=\"under\" d=\"{line} L{last:.1} {ground} L{first:.1} {ground} Z\"/>"));
    push(&mut svg, format!("<path class=\"memory\" d=\"{line}\"/>"));
    names.frame(&mut svg, "Visitors, carts and orders", |most| format!("{:.0}k", most / 1000.0));
    push(&mut svg, format!("<path class=\"ever\" d=\"{}\"/>", names.line(looks, ever)));
    push(&mut svg, format!("<path class=\"kept\" d=\"{}\"/>", names.line(looks, |look| look.names as f64)));
    if let Some(end) = looks.last() {
        let mib = format!("{:.0} MiB", end.resident_mib);
        memory.label(&mut svg, end.resident_mib, "memory-text", &mib);
        names.label(&mut svg, ever(end), "ever-text", &format!("{:.0}k ever told", ever(end) / 1000.0));
        names.label(&mut svg, end.names as f64, "kept-text", &format!("{:.0}k names kept", end.names as f64 / 1000.0));
    }
    push(
        &mut svg,
        format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">simulated days</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            height - 8.0
        ),
    );
    svg.push_str("</svg>\n");
    svg
}

/// One of the two.
struct Panel {
    top: f64,
    days: f64,
    most: f64,
}

impl Panel {
    fn x(&self, day: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * day / self.days
    }

    fn y(&self, value: f64) -> f64 {
        self.top + PANEL * (1.0 - value / self.most)
    }

    fn frame(&self, svg: &mut String, title: &str, say: impl Fn(f64) -> String) {
        push(svg, format!("<text class=\"title\" x=\"{LEFT}\" y=\"{:.1}\">{title}</text>", self.top - 16.0));
        for part in 0..=4 {
            let value = self.most * f64::from(part) / 4.0;
            let (y, right) = (self.y(value), WIDTH - RIGHT);
            push(svg, format!("<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"));
            let text = say(value);
            push(svg, format!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>", LEFT - 8.0, y + 4.0));
        }
        let step = if self.days > 12.0 { 5 } else { 1 };
        for day in (0..=self.days as u32).step_by(step) {
            let (x, y) = (self.x(f64::from(day)), self.top + PANEL + 18.0);
            push(svg, format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{day}</text>"));
        }
    }

    fn line(&self, looks: &[Look], value: impl Fn(&Look) -> f64) -> String {
        let points = looks.iter().enumerate().map(|(place, look)| {
            let letter = if place == 0 { 'M' } else { 'L' };
            format!("{letter}{:.1} {:.1}", self.x(look.day), self.y(value(look)))
        });
        points.collect::<Vec<_>>().join(" ")
    }

    fn label(&self, svg: &mut String, value: f64, class: &str, text: &str) {
        let (x, y) = (WIDTH - RIGHT + 8.0, self.y(value) + 4.0);
        push(svg, format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"));
    }
}

/// A round number above all of `values`.
fn nice(values: impl Iterator<Item = f64>) -> f64 {
    let most = values.fold(1.0, f64::max) * 1.05;
    let power = 10f64.powf(most.log10().floor());
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|round| *round >= most).unwrap_or(most)
}

fn push(svg: &mut String, line: impl AsRef<str>) {
    let _ = writeln!(svg, "{}", line.as_ref());
}
