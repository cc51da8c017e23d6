//! Plots as SVG: bars of ratios and lines of times, both on logarithmic axes.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const COLOURS: [&str; 4] = ["#2563eb", "#c2410c", "#15803d", "#7e22ce"];
const INK: &str = "#1f2937";
const GRID: &str = "#d1d5db";

/// A bar, and the mark that it should reach.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bar {
    pub(super) label: String,
    /// Above zero.
    pub(super) value: f64,
    pub(super) mark: Option<f64>,
}

/// Points of one colour, in the order that they are joined.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) label: String,
    /// Both coordinates above zero.
    pub(super) points: Vec<(f64, f64)>,
}

/// Horizontal bars from 1 to the right, under `title`; a mark is a vertical stroke.
pub(super) fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    const LEFT: f64 = 300.0;
    const ROW: f64 = 30.0;
    let values = bars
        .iter()
        .flat_map(|bar| [Some(bar.value), bar.mark])
        .flatten();
    let axis = Axis::over(values.chain([1.0]), LEFT, WIDTH - 70.0);
    let mut y = 50.0;
    let mut body = String::new();
    for bar in bars {
        let (from, to) = (axis.at(1.0), axis.at(bar.value));
        let (left, width) = (from.min(to), (to - from).abs());
        text(&mut body, (LEFT - 10.0, y + 14.0), "end", &bar.label);
        element(
            &mut body,
            &format!(
                r#"<rect x="{left:.1}" y="{y:.1}" width="{width:.1}" height="20" fill="{}"/>"#,
                COLOURS[0]
            ),
        );
        let shown = format!("{}{unit}", super::table::digits(bar.value));
        text(&mut body, (from.max(to) + 6.0, y + 15.0), "start", &shown);
        if let Some(mark) = bar.mark {
            stroke(&mut body, axis.at(mark), (y - 4.0, y + 24.0), COLOURS[1]);
        }
        y += ROW;
    }
    document(title, y + 10.0, &body)
}

/// Lines over logarithmic axes with these names.
pub(super) fn lines(title: &str, names: [&str; 2], lines: &[Line]) -> String {
    const HEIGHT: f64 = 400.0;
    let all = || lines.iter().flat_map(|line| line.points.iter());
    let x = Axis::over(all().map(|point| point.0), 70.0, WIDTH - 30.0);
    let y = Axis::over(all().map(|point| point.1), HEIGHT - 60.0, 50.0);
    let mut body = String::new();
    for tick in x.ticks() {
        let at = x.at(tick);
        stroke(&mut body, at, (y.start, y.end), GRID);
        text(&mut body, (at, HEIGHT - 42.0), "middle", &short(tick));
    }
    for tick in y.ticks() {
        let at = y.at(tick);
        element(
            &mut body,
            &format!(
                r#"<path d="M{:.1} {at:.1}H{:.1}" stroke="{GRID}"/>"#,
                x.start, x.end
            ),
        );
        text(&mut body, (62.0, at + 4.0), "end", &short(tick));
    }
    text(
        &mut body,
        (f64::midpoint(x.start, x.end), HEIGHT - 20.0),
        "middle",
        names[0],
    );
    text(&mut body, (10.0, 42.0), "start", names[1]);
    for ((line, colour), row) in lines.iter().zip(COLOURS.iter().cycle()).zip(0u32..) {
        let points: Vec<_> = line
            .points
            .iter()
            .map(|point| format!("{:.1},{:.1}", x.at(point.0), y.at(point.1)))
            .collect();
        element(
            &mut body,
            &format!(
                r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
                points.join(" ")
            ),
        );
        let at = 66.0 + 18.0 * f64::from(row);
        element(
            &mut body,
            &format!(
                r#"<rect x="84" y="{:.1}" width="12" height="12" fill="{colour}"/>"#,
                at - 10.0
            ),
        );
        text(&mut body, (102.0, at), "start", &line.label);
    }
    document(title, HEIGHT, &body)
}

/// A logarithmic axis from `start` to `end`, in pixels.
struct Axis {
    low: f64,
    high: f64,
    start: f64,
    end: f64,
}

impl Axis {
    /// Holds all of `values`, from a power of ten to another.
    fn over(values: impl Iterator<Item = f64>, start: f64, end: f64) -> Self {
        let logs: Vec<f64> = values
            .filter(|value| *value > 0.0)
            .map(f64::log10)
            .collect();
        let low = logs.iter().copied().fold(f64::INFINITY, f64::min);
        let high = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = match low <= high {
            true => (low.floor(), high.ceil()),
            false => (0.0, 1.0),
        };
        Self {
            low,
            high: high.max(low + 1.0),
            start,
            end,
        }
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value.log10() - self.low) / (self.high - self.low);
        self.start + share.clamp(0.0, 1.0) * (self.end - self.start)
    }

    /// The powers of ten on it.
    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (low, high) = (self.low, self.high);
        (-12..=12)
            .map(f64::from)
            .filter(move |power| (low..=high).contains(power))
            .map(|power| 10f64.powf(power))
    }
}

fn short(value: f64) -> String {
    match value >= 0.1 {
        true => super::table::digits(value),
        false => format!("{value}"),
    }
}

fn document(title: &str, height: f64, body: &str) -> String {
    let mut head = String::new();
    element(
        &mut head,
        &format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">"#
        ),
    );
    element(
        &mut head,
        r#"<rect width="100%" height="100%" fill="white"/>"#,
    );
    text(&mut head, (WIDTH / 2.0, 24.0), "middle", title);
    format!("{head}{body}</svg>\n")
}

fn stroke(body: &mut String, x: f64, y: (f64, f64), colour: &str) {
    let (top, bottom) = y;
    element(
        body,
        &format!(r#"<path d="M{x:.1} {top:.1}V{bottom:.1}" stroke="{colour}" stroke-width="2"/>"#),
    );
}

fn text(body: &mut String, at: (f64, f64), anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let (x, y) = at;
    element(
        body,
        &format!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="{INK}">{words}</text>"#
        ),
    );
}

fn element(body: &mut String, element: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(body, "{element}");
}

#[cfg(test)]
mod tests;
