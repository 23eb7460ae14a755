//! A plot as SVG: for each window a step of the average and a band from minimum to maximum. Its colours are the page's.
//!
//! What holds: as many lines as can be told apart have colours and a name below, the others are grey, so that a plot of
//! a thousand instances is still one that can be read.

use super::model::{Metric, Plot, Window};
use super::page::figure;
use super::scale::{Axis, LARGEST, times};
use crate::html::Html;

/// Lines with a colour.
pub const NAMED: usize = 8;

/// Bands that can be seen through each other.
const FEW: usize = 3;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 190.0;
const TOP: f64 = 8.0;
const RIGHT: f64 = 10.0;
const BOTTOM: f64 = 24.0;

/// Colours, as the classes of page.css; literals, as nothing else may be written unescaped.
const CLASSES: [&str; NAMED] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];

/// Where values and times are in the drawing.
struct Place<'a> {
    axis: &'a Axis,
    from: i64,
    to: i64,
    left: f64,
}

impl Place<'_> {
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

/// Which lines have a colour: those without an instance, which stand for all, and those with the largest averages.
/// In the order of names.
pub fn named<'a>(plot: &Plot<'a>) -> (Vec<&'a Metric>, Vec<&'a Metric>) {
    let mut order: Vec<usize> = (0..plot.metrics.len()).collect();
    let all: Vec<_> = plot
        .metrics
        .iter()
        .map(|metric| (metric.instance().is_some(), metric.average().abs()))
        .collect();
    order.sort_by(|a, b| {
        let (a, b) = (all[*a], all[*b]);
        a.0.cmp(&b.0).then_with(|| b.1.total_cmp(&a.1))
    });
    let (mut named, mut others) = (order.clone(), Vec::new());
    if named.len() > NAMED {
        others = named.split_off(NAMED);
    }
    named.sort_unstable();
    others.sort_unstable();
    let of = |list: Vec<usize>| list.into_iter().map(|at| plot.metrics[at]).collect();
    (of(named), of(others))
}

/// Draws it, for a time.
pub fn draw(html: &mut Html, plot: &Plot, from: i64, to: i64) {
    let (named, others) = named(plot);
    let ends = plot.metrics.iter();
    let ends = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), metric| {
        (low.min(metric.least()), high.max(metric.most()))
    });
    let first = plot.metrics[0];
    let axis = match first.is_time() {
        true => Axis::over_seconds(ends.0, ends.1),
        false => Axis::over(ends.0, ends.1),
    };
    let longest = axis.ticks.iter().map(|(_, label)| label.chars().count());
    let place = Place {
        axis: &axis,
        from,
        to,
        left: 10.0 + 7.0 * longest.max().unwrap_or(0) as f64,
    };
    html.raw("<svg viewBox=\"0 0 480 190\" role=img aria-label=\"");
    html.text(plot.measurement).raw(": from ");
    html.text(&figure(first, ends.0)).raw(" to ");
    html.text(&figure(first, ends.1));
    html.raw("\">");
    grid(html, &place);
    for metric in &others {
        line(html, &place, metric, "rest");
    }
    // Bands first, so that they cover no line.
    for (metric, class) in named.iter().zip(CLASSES) {
        html.raw(if named.len() > FEW {
            "<path class=\"band faint "
        } else {
            "<path class=\"band "
        });
        html.raw(class).raw("\" d=\"");
        for run in runs(&metric.windows) {
            band(html, &place, run);
        }
        html.raw("\"/>");
    }
    for (metric, class) in named.iter().zip(CLASSES) {
        line(html, &place, metric, class);
    }
    html.raw("</svg>");
    legend(html, plot, &named, &others);
}

fn grid(html: &mut Html, place: &Place) {
    html.raw("<g class=grid>");
    for (value, label) in &place.axis.ticks {
        let y = place.y(*value);
        html.raw("<path d=\"M")
            .at(place.left)
            .raw(" ")
            .at(y)
            .raw("H");
        html.at(WIDTH - RIGHT).raw("\"/><text class=y x=\"");
        html.at(place.left - 5.0).raw("\" y=\"").at(y + 4.0);
        html.raw("\">").text(label).raw("</text>");
    }
    let bottom = HEIGHT - BOTTOM;
    for (at, label) in times(place.from, place.to) {
        let x = place.x(at);
        html.raw("<path d=\"M")
            .at(x)
            .raw(" ")
            .at(bottom)
            .raw("v4\"/>");
        // Half of a label at an end would be cut off.
        let half = 3.5 * label.chars().count() as f64;
        let middle = x.clamp(half, WIDTH - half);
        html.raw("<text class=x x=\"").at(middle).raw("\" y=\"");
        html.at(HEIGHT - 6.0).raw("\">").text(&label).raw("</text>");
    }
    html.raw("</g>");
}

/// Windows without a gap between them.
fn runs(windows: &[Window]) -> impl Iterator<Item = &[Window]> {
    windows.chunk_by(|before, after| before.end == after.start)
}

fn line(html: &mut Html, place: &Place, metric: &Metric, class: &'static str) {
    html.raw("<path class=\"line ").raw(class).raw("\" d=\"");
    for run in runs(&metric.windows) {
        for (index, window) in run.iter().enumerate() {
            let y = place.y(window.avg);
            if index == 0 {
                html.raw("M").at(place.x(window.start)).raw(" ").at(y);
            } else {
                html.raw("V").at(y);
            }
            html.raw("H").at(place.x(window.end));
        }
    }
    html.raw("\"><title>")
        .text(&metric.name)
        .raw("</title></path>");
}

fn band(html: &mut Html, place: &Place, run: &[Window]) {
    let Some(first) = run.first() else { return };
    html.raw("M").at(place.x(first.start)).raw(" ");
    html.at(place.y(first.max));
    for (index, window) in run.iter().enumerate() {
        if index > 0 {
            html.raw("V").at(place.y(window.max));
        }
        html.raw("H").at(place.x(window.end));
    }
    for window in run.iter().rev() {
        html.raw("V").at(place.y(window.min));
        html.raw("H").at(place.x(window.start));
    }
    html.raw("Z");
}

fn legend(html: &mut Html, plot: &Plot, named: &[&Metric], others: &[&Metric]) {
    html.raw("<ul class=legend>");
    for (metric, class) in named.iter().zip(CLASSES) {
        html.raw("<li><svg viewBox=\"0 0 22 10\" class=key aria-hidden=true><path class=\"line ");
        html.raw(class).raw("\" d=\"M1 5H21\"/></svg>");
        if plot.metrics.len() > 1 {
            html.raw("<span class=name>");
            html.text(metric.instance().unwrap_or("(all)"))
                .raw("</span> ");
        }
        html.raw("<small>avg</small> ")
            .text(&figure(metric, metric.average()));
        if plot.metrics.len() == 1 {
            html.raw(" <small>min</small> ")
                .text(&figure(metric, metric.least()));
            html.raw(" <small>max</small> ")
                .text(&figure(metric, metric.most()));
        }
        html.raw("</li>");
    }
    if !others.is_empty() {
        html.raw("<li><svg viewBox=\"0 0 22 10\" class=key aria-hidden=true>");
        html.raw("<path class=\"line rest\" d=\"M1 5H21\"/></svg>");
        html.count(others.len()).raw(" with lower averages</li>");
    }
    html.raw("</ul>");
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::{metric, window};
    use super::*;

    fn drawn(metrics: &[Metric], from: i64, to: i64) -> String {
        let mut html = Html::default();
        let plot = Plot {
            measurement: metrics[0].measurement(),
            metrics: metrics.iter().collect(),
        };
        draw(&mut html, &plot, from, to);
        html.0
    }

    fn paths<'a>(svg: &'a str, class: &str) -> Vec<&'a str> {
        let begin = format!("<path class=\"{class}\" d=\"");
        let parts = svg.split(&*begin).skip(1);
        parts.map(|part| part.split('"').next().unwrap()).collect()
    }

    #[test]
    fn a_step_for_each_window_and_a_gap_between_runs() {
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
    fn many_lines_are_grey_but_for_the_largest() {
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
        assert!(svg.contains("<span class=name>(all)</span>"));
        assert!(svg.contains("<span class=name>19</span>") && !svg.contains("name>5</span>"));
    }

    #[test]
    fn all_lies_within_the_drawing() {
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
