//! Draws a plot as SVG: for each window a step of the line and of its bands, which shape.rs chooses, in the page's
//! colours.
//!
//! Only as many lines as can be distinguished have a colour and a name in the legend. The others are grey, so that a
//! plot of a thousand instances stays readable.

use maud::{Markup, Render, html};

use super::grouping::Plot;
use super::markup::{Coordinate, range, value};
use super::model::Metric;
use super::scale::{Axis, LARGEST, times};
use super::shape::{Shape, Step};

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

    /// Draws steps without a gap between them from left to right.
    fn edge(&mut self, frame: &Frame, steps: impl Iterator<Item = Step<f64>>) {
        for (index, (start, end, value)) in steps.enumerate() {
            let y = frame.y(value);
            match index {
                0 => self.move_to(frame.x(start), y),
                _ => self.vertical_to(y),
            }
            self.horizontal_to(frame.x(end));
        }
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
    let shape = Shape::of(plot);
    let (low, high) = shape.range(plot);
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
    let label = format!(
        "{}: from {} to {}",
        plot.measurement,
        value(first, low),
        value(first, high)
    );
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(label) {
            (grid(&frame))
            @for metric in &others { (lines(&frame, shape, metric, "rest")) }
            // Bands first, so that they cover no line.
            @for (metric, colour) in coloured.iter().zip(CLASSES) {
                @let bands = shape.bands(metric);
                @let classes = band_classes(bands.len(), coloured.len());
                @for (band, class) in bands.iter().zip(classes) {
                    path class={ (class) " " (colour) } d=(area(&frame, band)) {}
                }
            }
            @for (metric, colour) in coloured.iter().zip(CLASSES) {
                (lines(&frame, shape, metric, colour))
            }
        }
        (legend(plot, shape, &coloured, &others))
    }
}

/// Returns the classes of the bands of a metric, the lowest band first.
fn band_classes(bands: usize, metrics: usize) -> [&'static str; 2] {
    match bands {
        2 => ["band inner", "band outer"],
        _ if metrics > OPAQUE_BANDS => ["band faint"; 2],
        _ => ["band"; 2],
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

/// Returns the runs of steps without a gap between them.
fn runs<T>(steps: &[Step<T>]) -> impl Iterator<Item = &[Step<T>]> {
    steps.chunk_by(|before, after| before.1 == after.0)
}

fn lines(frame: &Frame, shape: Shape, metric: &Metric, colour: &str) -> Markup {
    let (line, averages) = shape.lines(metric);
    html! {
        @if !averages.is_empty() {
            path class={ "line dotted " (colour) } d=(path(frame, &averages)) {
                title { (metric.name) ": average" }
            }
        }
        path class={ "line " (colour) } d=(path(frame, &line)) { title { (metric.name) } }
    }
}

fn path(frame: &Frame, steps: &[Step<f64>]) -> String {
    let mut path = Path::default();
    for run in runs(steps) {
        path.edge(frame, run.iter().copied());
    }
    path.0
}

fn area(frame: &Frame, steps: &[Step<(f64, f64)>]) -> String {
    let mut path = Path::default();
    for run in runs(steps) {
        let upper = run
            .iter()
            .map(|(start, end, (_, upper))| (*start, *end, *upper));
        path.edge(frame, upper);
        for (start, _, (lower, _)) in run.iter().rev() {
            path.vertical_to(frame.y(*lower));
            path.horizontal_to(frame.x(*start));
        }
        path.0.push('Z');
    }
    path.0
}

fn legend(plot: &Plot, shape: Shape, coloured: &[&Metric], others: &[&Metric]) -> Markup {
    html! {
        ul.legend {
            @match plot.metrics.as_slice() {
                [metric] => (legend_of_one(metric, shape)),
                _ => {
                    @for (metric, colour) in coloured.iter().zip(CLASSES) {
                        li {
                            (legend_key(&format!("line {colour}")))
                            span.name { (metric.instance().unwrap_or("(all)")) }
                            @if shape == Shape::Average {
                                " " small { "avg" } " " (value(metric, metric.average()))
                            }
                            @for percentage in shape.percentages() { " " (percentile(metric, percentage)) }
                        }
                    }
                }
            }
            @if !others.is_empty() {
                li { (legend_key("line rest")) (others.len()) " with lower averages" }
            }
        }
    }
}

/// Returns the legend of a plot of one metric, which explains the line and the bands.
fn legend_of_one(metric: &Metric, shape: Shape) -> Markup {
    let colour = CLASSES[0];
    let bands = band_classes(shape.percentages().count().saturating_sub(1), 1);
    let classes = ["line"].into_iter().chain(bands);
    html! {
        @if shape == Shape::Average {
            li {
                (legend_key(&format!("line {colour}")))
                small { "avg" } " " (value(metric, metric.average()))
                " " small { "min" } " " (value(metric, metric.minimum()))
                " " small { "max" } " " (value(metric, metric.maximum()))
            }
        } @else {
            @for (percentage, class) in shape.percentages().zip(classes) {
                li {
                    (legend_key(&format!("{class} {colour}")))
                    (percentile(metric, percentage))
                }
            }
            li { small { "max" } " " (value(metric, metric.maximum())) }
        }
    }
}

/// Returns the name of a percentile and its range.
fn percentile(metric: &Metric, percentage: f64) -> Markup {
    html! { small { "p" (percentage) } " " (range(metric, percentage)) }
}

/// Returns the sample of a line or, for the class of a band, of an area.
fn legend_key(class: &str) -> Markup {
    let sample = match class.starts_with("line") {
        true => "M1 5H21",
        false => "M1 0H21V10H1Z",
    };
    html! {
        svg.key viewBox="0 0 22 10" aria-hidden="true" { path class=(class) d=(sample) {} }
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::fixtures::{metric, window, with_percentiles};
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
    fn percentiles_have_two_bands_above_the_median() {
        let mut one = with_percentiles(metric("m", "x"));
        one.windows.push(window(20, 30, 1.0));
        let svg = drawn(&[one.clone()], 0, 30);
        let [inner, outer] =
            ["band inner s0", "band outer s0"].map(|class| paths(&svg, class)[0].to_owned());
        assert_eq!(
            (inner.matches('H').count(), outer.matches('H').count()),
            (4, 4)
        );
        assert_eq!(paths(&svg, "line s0")[0].matches('H').count(), 2);
        assert_eq!(paths(&svg, "line dotted s0")[0].matches('H').count(), 1);
        for part in [
            "<small>p50</small> 5–7",
            "<small>p90</small> 6–8",
            "<small>p99</small> 7–9",
        ] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
        // The larger maximum, of a single sample, does not set the scale.
        one.windows[0].max = 1e6;
        let svg = drawn(&[one.clone()], 0, 30);
        assert!(svg.contains("aria-label=\"m: from 1 to 9\""), "{svg}");
        assert!(svg.contains("<small>max</small> 1M"));
        let other = with_percentiles(metric("m@1", "x"));
        let svg = drawn(&[one, other], 0, 30);
        assert!(paths(&svg, "band inner s0").is_empty());
        assert_eq!(paths(&svg, "band s1").len(), 1);
        assert!(
            svg.contains(
                "<span class=\"name\">1</span> <small>p50</small> 5–7 <small>p99</small> 7–9"
            ),
            "{svg}"
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
