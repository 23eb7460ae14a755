//! Which values of a metric's windows a plot shows. No I/O.

use super::grouping::Plot;
use super::model::{Metric, Window};

/// The percentages of the line and of the edges of the bands, where windows have them.
const MIDDLE: f64 = 50.0;
const INNER: f64 = 90.0;
const OUTER: f64 = 99.0;

/// The values of a window that a plot shows.
///
/// The maximum is not shown of metrics with a histogram: it is a single sample, often far above all others, and would
/// set the scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// A line of averages, and a band from minimum to maximum.
    Average,
    /// A line of one percentile, and bands from there to higher ones.
    Percentiles {
        middle: f64,
        /// The edge between two bands.
        inner: Option<f64>,
        outer: Option<f64>,
    },
}

/// A part of a window, or several of equal value: start, end and value.
pub type Step<T> = (i64, i64, T);

impl Shape {
    /// Returns the shape that suits a plot.
    pub fn of(plot: &Plot) -> Shape {
        let all = plot.metrics.iter().flat_map(|metric| metric.percentages());
        let mut all: Vec<f64> = all.collect();
        all.sort_by(f64::total_cmp);
        all.dedup();
        let preferred = |percentage: f64| all.contains(&percentage).then_some(percentage);
        let Some(middle) = preferred(MIDDLE).or(all.first().copied()) else {
            return Shape::Average;
        };
        let above =
            |low: f64, percentage: Option<f64>| percentage.filter(|percentage| *percentage > low);
        let outer = above(middle, preferred(OUTER)).or(above(middle, all.last().copied()));
        let between = |percentage: &f64| *percentage > middle && Some(*percentage) < outer;
        let inner = preferred(INNER).filter(between);
        let inner = inner.or(all.iter().copied().find(between));
        // Instances that share a plot have one band each.
        let inner = inner.filter(|_| plot.metrics.len() == 1);
        Shape::Percentiles {
            middle,
            inner,
            outer,
        }
    }

    /// Returns the percentages of the line and of the edges of the bands.
    pub fn percentages(self) -> impl Iterator<Item = f64> {
        let all = match self {
            Shape::Average => [None; 3],
            Shape::Percentiles {
                middle,
                inner,
                outer,
            } => [Some(middle), inner, outer],
        };
        all.into_iter().flatten()
    }

    /// Returns the steps of the line, and those of the windows without a histogram of a metric that has one in others:
    /// their averages.
    pub fn lines(self, metric: &Metric) -> (Vec<Step<f64>>, Vec<Step<f64>>) {
        let (mut line, mut averages) = (Vec::new(), Vec::new());
        for window in &metric.windows {
            let value = match self {
                Shape::Average => Some(window.avg),
                Shape::Percentiles { middle, .. } => window.percentiles.get(middle),
            };
            match value {
                Some(value) => line.push((window.start, window.end, value)),
                None => averages.push((window.start, window.end, window.avg)),
            }
        }
        (line, averages)
    }

    /// Returns the steps of the bands, the lowest band first: the values of their lower and upper edges.
    pub fn bands(self, metric: &Metric) -> Vec<Vec<Step<(f64, f64)>>> {
        let band = |edges: &dyn Fn(&Window) -> Option<(f64, f64)>| {
            let windows = metric.windows.iter();
            let steps =
                windows.filter_map(|window| Some((window.start, window.end, edges(window)?)));
            steps.collect::<Vec<_>>()
        };
        if self == Shape::Average {
            return vec![band(&|window| Some((window.min, window.max)))];
        }
        let percentages: Vec<f64> = self.percentages().collect();
        let pairs = percentages.windows(2);
        let bands = pairs.map(|pair| {
            band(&|window| {
                window
                    .percentiles
                    .get(pair[0])
                    .zip(window.percentiles.get(pair[1]))
            })
        });
        bands.collect()
    }

    /// Returns the smallest and the largest value that a plot shows.
    pub fn range(self, plot: &Plot) -> (f64, f64) {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        let mut cover = |value: f64| (low, high) = (low.min(value), high.max(value));
        for metric in &plot.metrics {
            let (line, averages) = self.lines(metric);
            line.iter().chain(&averages).for_each(|step| cover(step.2));
            for (_, _, (lower, upper)) in self.bands(metric).into_iter().flatten() {
                cover(lower);
                cover(upper);
            }
        }
        (low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::Percentiles;
    use super::super::model::fixtures::{metric, window, with_percentiles};
    use super::*;

    fn shape(percentages: &[f64], instances: usize) -> Shape {
        let mut one = metric("m", "");
        let all = percentages.iter().map(|percentage| (*percentage, 1.0));
        one.windows[0].percentiles = Percentiles(all.collect());
        let plot = Plot {
            measurement: "m",
            metrics: vec![&one; instances],
        };
        Shape::of(&plot)
    }

    #[test]
    fn line_and_bands_follow_the_percentiles_that_windows_have() {
        let percentiles = |middle, inner, outer| Shape::Percentiles {
            middle,
            inner,
            outer,
        };
        for (percentages, expected) in [
            (&[][..], Shape::Average),
            (
                &[50.0, 90.0, 95.0, 99.0],
                percentiles(50.0, Some(90.0), Some(99.0)),
            ),
            (&[50.0, 99.0, 99.9], percentiles(50.0, None, Some(99.0))),
            (
                &[50.0, 75.0, 95.0],
                percentiles(50.0, Some(75.0), Some(95.0)),
            ),
            (&[50.0], percentiles(50.0, None, None)),
            (&[90.0, 99.9], percentiles(90.0, None, Some(99.9))),
            (&[99.0], percentiles(99.0, None, None)),
            (&[99.0, 100.0], percentiles(99.0, None, Some(100.0))),
        ] {
            assert_eq!(shape(percentages, 1), expected, "{percentages:?}");
        }
        let all = [50.0, 90.0, 95.0, 99.0];
        assert_eq!(shape(&all, 2), percentiles(50.0, None, Some(99.0)));
    }

    #[test]
    fn windows_without_a_histogram_show_their_average() {
        let mut one = with_percentiles(metric("m", ""));
        one.windows.push(window(20, 30, 100.0));
        let plot = Plot {
            measurement: "m",
            metrics: vec![&one],
        };
        let shape = Shape::of(&plot);
        let (line, averages) = shape.lines(&one);
        assert_eq!(line, [(0, 10, 5.0), (10, 20, 7.0)]);
        assert_eq!(averages, [(20, 30, 100.0)]);
        let bands = shape.bands(&one);
        assert_eq!(bands[0], [(0, 10, (5.0, 6.0)), (10, 20, (7.0, 8.0))]);
        assert_eq!(bands[1], [(0, 10, (6.0, 7.0)), (10, 20, (8.0, 9.0))]);
        // The maximum of the last window is 101.
        assert_eq!(shape.range(&plot), (5.0, 100.0));
        assert_eq!(Shape::Average.range(&plot), (4.0, 101.0));
    }
}
