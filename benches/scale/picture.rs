//! The picture of the curves. In: the points. Out: an SVG of three panels: CPU time a record and memory a customer over the number of
//! customers, and CPU time a record over the number of campaigns. Cannot fail.

use beckon_datagen::written::grouped;

use super::panel::{Along, HEIGHT, Panel, foot, picture, round_above};
use super::point::Point;

const TOP: f64 = 42.0;
const GAP: f64 = 76.0;

type Line = Vec<(f64, f64)>;

/// Draws it.
pub fn draw(sizes: &[Point], campaigns: &[Point]) -> String {
    let (mut svg, height) = (String::new(), TOP + 3.0 * HEIGHT + 2.0 * GAP + 52.0);
    let customers = |point: &Point| point.customers as f64;
    let cost = |point: &Point| point.cpu_us(|spent| spent.total_s);
    let panel = |place: f64, points: &[Point], over: fn(&Point) -> f64, value: &dyn Fn(&Point) -> f64| Panel {
        top: TOP + place * (HEIGHT + GAP),
        along: along(points, over),
        most: round_above(points.iter().map(value)),
    };

    let costs = panel(0.0, sizes, customers, &cost);
    costs.frame(&mut svg, "CPU time a record, µs, over the number of customers", short);
    draw_line(&costs, &mut svg, "blue", of(sizes, customers, cost), "in all");
    draw_line(&costs, &mut svg, "green", of(sizes, customers, |it| it.cpu_us(|spent| spent.working_s)), "the graph");
    draw_line(&costs, &mut svg, "ochre", of(sizes, customers, |it| it.cpu_us(|spent| spent.decoding_s)), "decoding");
    name_sizes(&costs, &mut svg, sizes);

    let memory = panel(1.0, sizes, customers, &Point::bytes_a_customer);
    memory.frame(&mut svg, "Memory a customer with an open cart, bytes, over the number of customers", short);
    draw_line(&memory, &mut svg, "blue", of(sizes, customers, Point::bytes_a_customer), "resident");
    draw_line(&memory, &mut svg, "green", of(sizes, customers, Point::payload_a_customer), "live payload");
    name_sizes(&memory, &mut svg, sizes);

    let number = |point: &Point| point.campaigns as f64;
    let counts = panel(2.0, campaigns, number, &cost);
    counts.frame(&mut svg, "CPU time a record, µs, over the number of campaigns", short);
    draw_line(&counts, &mut svg, "blue", of(campaigns, number, cost), "in all");
    let deciding = of(campaigns, number, |it| it.cpu_us(|spent| spent.deciding_s));
    draw_line(&counts, &mut svg, "ochre", deciding, "deciding");
    for point in campaigns {
        let share = point.decisions as f64 * 100.0 / point.records as f64;
        counts.below(&mut svg, number(point), &format!("{} ({share:.1} %)", point.campaigns));
    }
    foot(&mut svg, height, "campaigns (decisions of records)");
    picture(height, "What a record and a customer cost, over the number of customers and of campaigns", &svg)
}

fn along(points: &[Point], over: fn(&Point) -> f64) -> Along {
    let (first, last) = (points.first().map_or(1.0, over), points.last().map_or(10.0, over));
    // A single point has no way to go.
    if last > first { Along::Tenfold(first, last) } else { Along::Tenfold(first, first * 10.0) }
}

fn of(points: &[Point], over: fn(&Point) -> f64, value: impl Fn(&Point) -> f64) -> Line {
    points.iter().map(|point| (over(point), value(point))).collect()
}

/// A line, its points, and beside it what it is and ends at.
fn draw_line(panel: &Panel, svg: &mut String, colour: &str, line: Line, name: &str) {
    panel.line(svg, colour, &line);
    panel.dots(svg, colour, &line);
    if let Some((_, end)) = line.last() {
        panel.label(svg, *end, colour, &format!("{} {name}", short(*end)));
    }
}

fn name_sizes(panel: &Panel, svg: &mut String, points: &[Point]) {
    for point in points {
        let name = match point.customers {
            millions if millions >= 1_000_000 => format!("{} M", millions as f64 / 1e6),
            few => grouped(few),
        };
        panel.below(svg, point.customers as f64, &name);
    }
}

/// A value with as many digits as are worth something.
fn short(value: f64) -> String {
    if value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}
