//! Draws a plot as SVG: for each window a step of the average and a band from minimum to maximum, in the page's
//! colours.
//!
//! Only as many lines as can be distinguished have a colour and a name in the legend. The others are grey, so that a
//! plot of a thousand instances stays readable.

use maud::{Markup, Render, html};

use super::grouping::Plot;
use super::markup::{Coordinate, value};
use super::model::{Metric, Window};
use super::scale::{Axis, LARGEST, times};

/// Maximum lines with a colour.
const COLOURS: usize = 8;

/// Maximum bands at full opacity; more of them would hide each other.
const OPAQUE_BANDS: usize = 3;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 190.0;
const TOP: f64 = 8.0;
const RIGHT: f64 = 10.0;
const BOTTOM: f64 = 24.0;

/// The colours, as classes of page.css.
const CLASSES: [&str; COLOURS] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];

/// Maps times and values to coordinates.
struct Frame<'a> {
    axis: &'a Axis,
    from: i64,
    to: i64,
    left: f64,
}

impl Frame<'_> {
    fn x(&self, at: i64) -> f64 {
        let part = (at - self.from) as f64 / (self.to - self.from).max(1) as f64;
        self.left + part.clamp(0.0, 1.0) * (WIDTH - RIGHT - self.left)
    }

    fn y(&self, value: f64) -> f64 {
        let value = value.clamp(-LARGEST, LARGEST);
        let part = (value - self.axis.low) / (self.axis.high - self.axis.low);
        TOP + (1.0 - part.clamp(0.0, 1.0)) * (HEIGHT - TOP - BOTTOM)
    }
}

/// The commands of an SVG path.
#[derive(Default)]
struct Path(String);

impl Path {
    fn move_to(&mut self, x: f64, y: f64) {
        self.0.push('M');
        Coordinate(x).render_to(&mut self.0);
        self.0.push(' ');
        Coordinate(y).render_to(&mut self.0);
    }

    fn horizontal_to(&mut self, x: f64) {
        self.0.push('H');
        Coordinate(x).render_to(&mut self.0);
    }

    fn vertical_to(&mut self, y: f64) {
        self.0.push('V');
        Coordinate(y).render_to(&mut self.0);
    }
}

/// Splits the metrics of a plot into those with a colour and the others, both in the order of the plot. Metrics without
/// an instance, which stand for all instances, have a colour first, then those with the largest averages.
fn coloured<'a>(plot: &Plot<'a>) -> (Vec<&'a Metric>, Vec<&'a Metric>) {
    let ranks: Vec<_> = plot
        .metrics
        .iter()
        .map(|metric| (metric.instance().is_some(), metric.average().abs()))
        .collect();
    let mut coloured: Vec<usize> = (0..plot.metrics.len()).collect();
    coloured.sort_by(|a, b| {
        let (a, b) = (ranks[*a], ranks[*b]);
        a.0.cmp(&b.0).then_with(|| b.1.total_cmp(&a.1))
    });
    let mut others = coloured.split_off(coloured.len().min(COLOURS));
    coloured.sort_unstable();
    others.sort_unstable();
    let metrics = |list: Vec<usize>| list.into_iter().map(|at| plot.metrics[at]).collect();
    (metrics(coloured), metrics(others))
}

/// Returns the drawing of a plot from one time to another, and its legend.
pub fn draw(plot: &Plot, from: i64, to: i64) -> Markup {
    let (coloured, others) = coloured(plot);
    let metrics = plot.metrics.iter();
    let start = (f64::INFINITY, f64::NEG_INFINITY);
    let (low, high) = metrics.fold(start, |(low, high), metric| {
        (low.min(metric.minimum()), high.max(metric.maximum()))
    });
    let first = plot.metrics[0];
    let axis = match first.is_duration() {
        true => Axis::over_seconds(low, high),
        false => Axis::over(low, high),
    };
    let longest = axis.ticks.iter().map(|(_, label)| label.chars().count());
    let frame = Frame {
        axis: &axis,
        from,
        to,
        left: 10.0 + 7.0 * longest.max().unwrap_or(0) as f64,
    };
    let range = format!(
        "{}: from {} to {}",
        plot.measurement,
        value(first, low),
        value(first, high)
    );
    let band_class = match coloured.len() > OPAQUE_BANDS {
        true => "band faint",
        false => "band",
    };
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(range) {
            (grid(&frame))
            @for metric in &others { (line(&frame, metric, "rest")) }
            // Bands first, so that they cover no line.
            @for (metric, colour) in coloured.iter().zip(CLASSES) {
                path class={ (band_class) " " (colour) } d=(band(&frame, metric)) {}
            }
            @for (metric, colour) in coloured.iter().zip(CLASSES) { (line(&frame, metric, colour)) }
        }
        (legend(plot, &coloured, &others))
    }
}

fn grid(frame: &Frame) -> Markup {
    let bottom = HEIGHT - BOTTOM;
    html! {
        g.grid {
            @for (value, label) in &frame.axis.ticks {
                @let y = frame.y(*value);
                path d={ "M" (Coordinate(frame.left)) " " (Coordinate(y)) "H" (Coordinate(WIDTH - RIGHT)) } {}
                text.y x=(Coordinate(frame.left - 5.0)) y=(Coordinate(y + 4.0)) { (label) }
            }
            @for (at, label) in times(frame.from, frame.to) {
                @let x = frame.x(at);
                path d={ "M" (Coordinate(x)) " " (Coordinate(bottom)) "v4" } {}
                // Moved inwards at the edges, where half of the label would be cut off.
                @let half = 3.5 * label.chars().count() as f64;
                text.x x=(Coordinate(x.clamp(half, WIDTH - half))) y=(Coordinate(HEIGHT - 6.0)) { (label) }
            }
        }
    }
}

/// Returns the runs of windows without a gap between them.
fn runs(windows: &[Window]) -> impl Iterator<Item = &[Window]> {
    windows.chunk_by(|before, after| before.end == after.start)
}

fn line(frame: &Frame, metric: &Metric, colour: &str) -> Markup {
    let mut path = Path::default();
    for run in runs(&metric.windows) {
        for (index, window) in run.iter().enumerate() {
            let y = frame.y(window.avg);
            match index {
                0 => path.move_to(frame.x(window.start), y),
                _ => path.vertical_to(y),
            }
            path.horizontal_to(frame.x(window.end));
        }
    }
    html! {
        path class={ "line " (colour) } d=(path.0) { title { (metric.name) } }
    }
}

fn band(frame: &Frame, metric: &Metric) -> String {
    let mut path = Path::default();
    for run in runs(&metric.windows) {
        for (index, window) in run.iter().enumerate() {
            let y = frame.y(window.max);
            match index {
                0 => path.move_to(frame.x(window.start), y),
                _ => path.vertical_to(y),
            }
            path.horizontal_to(frame.x(window.end));
        }
        for window in run.iter().rev() {
            path.vertical_to(frame.y(window.min));
            path.horizontal_to(frame.x(window.start));
        }
        path.0.push('Z');
    }
    path.0
}

fn legend(plot: &Plot, coloured: &[&Metric], others: &[&Metric]) -> Markup {
    let is_single = plot.metrics.len() == 1;
    html! {
        ul.legend {
            @for (metric, colour) in coloured.iter().zip(CLASSES) {
                li {
                    (legend_key(colour))
                    @if !is_single {
                        span.name { (metric.instance().unwrap_or("(all)")) }
                        " "
                    }
                    small { "avg" } " " (value(metric, metric.average()))
                    @if is_single {
                        " " small { "min" } " " (value(metric, metric.minimum()))
                        " " small { "max" } " " (value(metric, metric.maximum()))
                    }
                }
            }
            @if !others.is_empty() {
                li { (legend_key("rest")) (others.len()) " with lower averages" }
            }
        }
    }
}

fn legend_key(colour: &str) -> Markup {
    html! {
        svg.key viewBox="0 0 22 10" aria-hidden="true" {
            path class={ "line " (colour) } d="M1 5H21" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::fixtures::{metric, window};
    use super::*;

    fn drawn(metrics: &[Metric], from: i64, to: i64) -> String {
        let plot = Plot {
            measurement: metrics[0].measurement(),
            metrics: metrics.iter().collect(),
        };
        draw(&plot, from, to).into_string()
    }

    fn paths<'a>(svg: &'a str, class: &str) -> Vec<&'a str> {
        let begin = format!("<path class=\"{class}\" d=\"");
        let parts = svg.split(&*begin).skip(1);
        parts.map(|part| part.split('"').next().unwrap()).collect()
    }

    #[test]
    fn line_has_a_step_for_each_window_and_a_gap_between_runs() {
        let mut one = metric("m", "x");
        one.windows = vec![
            window(0, 100, 5.0),
            window(100, 200, 9.0),
            window(300, 400, 1.0),
        ];
        let svg = drawn(&[one], 0, 400);
        let line = paths(&svg, "line s0")[0];
        assert_eq!(
            (line.matches('M').count(), line.matches('H').count()),
            (2, 3)
        );
        assert!(line.ends_with("H470"), "{line}");
        let band = paths(&svg, "band s0")[0];
        assert_eq!(
            (band.matches('Z').count(), band.matches('V').count()),
            (2, 4)
        );
    }

    #[test]
    fn all_lines_but_the_largest_are_grey() {
        let mut all = vec![metric("m", "x")];
        for n in 0..20 {
            let mut one = metric(&format!("m@{n}"), "x");
            one.windows = vec![window(0, 10, f64::from(n * 10))];
            all.push(one);
        }
        let svg = drawn(&all, 0, 20);
        assert_eq!(paths(&svg, "line rest").len(), 14);
        assert_eq!(paths(&svg, "line s7").len(), 2);
        assert!(svg.contains("13 with lower averages"));
        assert!(svg.contains("<span class=\"name\">(all)</span>"));
        assert!(svg.contains("<span class=\"name\">19</span>") && !svg.contains("name\">5</span>"));
    }

    #[test]
    fn every_coordinate_lies_within_the_drawing() {
        let mut one = metric("m", "");
        for (low, high) in [
            (-1.7e308, 1.7e308),
            (0.0, 0.0),
            (1e-320, 1e-319),
            (-5.0, -5.0),
        ] {
            one.windows = vec![window(0, 10, low), window(10, 20, high)];
            one.windows[0].min = low;
            one.windows[1].max = high;
            let svg = drawn(std::slice::from_ref(&one), 5, 15);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            for path in paths(&svg, "line s0").into_iter().take(1) {
                for number in path.split(['M', 'H', 'V', ' ']).filter(|n| !n.is_empty()) {
                    let number: f64 = number.parse().unwrap();
                    assert!((0.0..=WIDTH).contains(&number), "{path}");
                }
            }
        }
    }
}
