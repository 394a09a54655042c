//! The frame that a bench draws its curves into: a panel with a grid, a title and labels. In: points. Out: lines of SVG, readable on
//! light ground and on dark. Cannot fail.

use std::fmt::Write;

/// Of the whole picture.
pub const WIDTH: f64 = 860.0;
/// Of a panel.
pub const HEIGHT: f64 = 170.0;
/// Room for the numbers of a grid.
pub const LEFT: f64 = 64.0;
/// Room for labels.
pub const RIGHT: f64 = 150.0;

const STYLE: &str = "
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600; font-size: 15px }
  .grid { stroke: #d0d7de; stroke-width: 1 }
  .line { stroke-width: 2.5 } .dashed { stroke-dasharray: 6 4 } .under { opacity: .12 }
  .line.blue { stroke: #0969da } .line.ochre { stroke: #8c6b1f } .line.green { stroke: #1a7f37 }
  .blue { fill: #0969da } .ochre { fill: #8c6b1f } .green { fill: #1a7f37 } .line { fill: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .grid { stroke: #3d444d } .under { opacity: .18 }
    .line.blue { stroke: #58a6ff } .line.ochre { stroke: #d4a72c } .line.green { stroke: #3fb950 }
    .blue { fill: #58a6ff } .ochre { fill: #d4a72c } .green { fill: #3fb950 } .line { fill: none }
  }
";

/// A picture of this height and of what its panels draw.
pub fn picture(height: f64, title: &str, drawn: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<title>{title}</title>\n<style>{STYLE}</style>\n{drawn}</svg>\n"
    )
}

/// How values lie along the panel.
#[derive(Clone, Copy)]
pub enum Along {
    /// From 0 to this, evenly.
    Even(f64),
    /// Between these, tenfold by tenfold.
    Tenfold(f64, f64),
}

/// One panel. What is drawn into it goes to `svg`.
pub struct Panel {
    /// Where it begins.
    pub top: f64,
    /// What lies along it.
    pub along: Along,
    /// The value at its upper edge.
    pub most: f64,
}

impl Panel {
    /// Where a value along it is.
    pub fn x(&self, value: f64) -> f64 {
        let share = match self.along {
            Along::Even(end) => value / end,
            Along::Tenfold(from, to) => (value / from).ln() / (to / from).ln(),
        };
        LEFT + (WIDTH - LEFT - RIGHT) * share
    }

    /// Where a value up it is.
    pub fn y(&self, value: f64) -> f64 {
        self.top + HEIGHT * (1.0 - value / self.most)
    }

    /// Title and grid, with what `say` makes of the values of its lines.
    pub fn frame(&self, svg: &mut String, title: &str, say: impl Fn(f64) -> String) {
        push(svg, format!("<text class=\"title\" x=\"{LEFT}\" y=\"{:.1}\">{title}</text>", self.top - 16.0));
        for part in 0..=4 {
            let value = self.most * f64::from(part) / 4.0;
            let (y, right) = (self.y(value), WIDTH - RIGHT);
            push(svg, format!("<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"));
            let text = say(value);
            push(svg, format!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>", LEFT - 8.0, y + 4.0));
        }
    }

    /// What stands below a value along it.
    pub fn below(&self, svg: &mut String, value: f64, text: &str) {
        let (x, y) = (self.x(value), self.top + HEIGHT + 18.0);
        push(svg, format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{text}</text>"));
    }

    /// A line in a colour of the style.
    pub fn line(&self, svg: &mut String, colour: &str, points: &[(f64, f64)]) {
        push(svg, format!("<path class=\"line {colour}\" d=\"{}\"/>", self.path(points)));
    }

    /// The area under a line.
    pub fn under(&self, svg: &mut String, colour: &str, points: &[(f64, f64)]) {
        let ground = self.top + HEIGHT;
        let [first, .., last] = points else { return };
        let (first, last) = (self.x(first.0), self.x(last.0));
        let line = self.path(points);
        push(svg, format!("<path class=\"under {colour}\" d=\"{line} L{last:.1} {ground} L{first:.1} {ground} Z\"/>"));
    }

    /// The points themselves.
    pub fn dots(&self, svg: &mut String, colour: &str, points: &[(f64, f64)]) {
        for (along, value) in points {
            let (x, y) = (self.x(*along), self.y(*value));
            push(svg, format!("<circle class=\"{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>"));
        }
    }

    /// What stands beside a line's end.
    pub fn label(&self, svg: &mut String, value: f64, colour: &str, text: &str) {
        let (x, y) = (WIDTH - RIGHT + 8.0, self.y(value) + 4.0);
        push(svg, format!("<text class=\"{colour}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"));
    }

    fn path(&self, points: &[(f64, f64)]) -> String {
        let path = points.iter().enumerate().map(|(place, (along, value))| {
            let letter = if place == 0 { 'M' } else { 'L' };
            format!("{letter}{:.1} {:.1}", self.x(*along), self.y(*value))
        });
        path.collect::<Vec<_>>().join(" ")
    }
}

/// What stands in the middle of the picture's foot.
pub fn foot(svg: &mut String, height: f64, text: &str) {
    let x = (LEFT + WIDTH - RIGHT) / 2.0;
    push(svg, format!("<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>", height - 8.0));
}

/// A round number above all of `values`.
pub fn round_above(values: impl Iterator<Item = f64>) -> f64 {
    let most = values.fold(1.0, f64::max) * 1.05;
    let power = 10f64.powf(most.log10().floor());
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|round| *round >= most).unwrap_or(most)
}

fn push(svg: &mut String, line: impl AsRef<str>) {
    let _ = writeln!(svg, "{}", line.as_ref());
}
