//! The data of a report page. No I/O.
//!
//! # Invariants
//! Texts that a server sent contain no hidden characters other than line feeds and tabs: replies.rs replaces them.
//! Times are Unix milliseconds by the server's clock.

use std::cmp::Ordering;

use aggregator_protocol::natural;

use crate::stats::NodeStats;

/// Everything that a page shows.
#[derive(Debug, Default)]
pub struct Report {
    pub node: String,
    /// The server's address.
    pub endpoint: String,
    /// The time at which the node was read.
    pub now: i64,
    /// Start of the requested time.
    pub from: i64,
    pub info: Info,
    /// Ordered by name.
    pub metrics: Listing<Metric>,
    /// The requested patterns of metric names; empty: all metrics.
    pub patterns: Vec<String>,
    /// Latest first.
    pub errors: Listing<ErrorReport>,
    /// Ordered by model and key.
    pub objects: Listing<Object>,
    /// The latest pending log entries, latest first.
    pub log: Vec<LogEntry>,
    /// The parts that could not be read, each with its reason.
    pub notes: Vec<String>,
}

impl Report {
    /// Returns the start of the plots: of the requested time, or of the first window in it.
    pub fn plots_from(&self) -> i64 {
        let metrics = self.metrics.shown.iter();
        let first = metrics.filter_map(|metric| metric.windows.first());
        let first = first.map(|window| window.start).min();
        first.map_or(self.from, |first| first.clamp(self.from, self.now))
    }
}

/// The items of a kind that are shown, and how many exist.
#[derive(Debug)]
pub struct Listing<T> {
    pub shown: Vec<T>,
    pub total: usize,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Listing {
            shown: Vec::new(),
            total: 0,
        }
    }
}

impl<T> Listing<T> {
    /// Adds an item and keeps the first `limit` of all in `order`.
    ///
    /// Up to twice the limit is kept in between, so that items are sorted seldom.
    pub fn add(&mut self, item: T, limit: usize, order: impl Fn(&T, &T) -> Ordering) {
        self.total += 1;
        self.shown.push(item);
        if self.shown.len() >= limit.saturating_mul(2).max(64) {
            self.finish(limit, order);
        }
    }

    /// Sorts the items after the last one was added.
    pub fn finish(&mut self, limit: usize, order: impl Fn(&T, &T) -> Ordering) {
        self.shown.sort_by(order);
        self.shown.truncate(limit);
    }
}

/// The node itself, from AGG.INFO.
#[derive(Debug, Default)]
pub struct Info {
    pub stats: NodeStats,
    /// Late samples that counted in the hour window only.
    pub late_min: u64,
    /// Late samples that counted in the short window only.
    pub late_hour: u64,
    /// Length of a short window, ms; never 0.
    pub min_window_ms: i64,
    /// Length of a long window, ms; never 0.
    pub hour_window_ms: i64,
}

/// A metric.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metric {
    pub name: String,
    /// True if its windows hold rates per second, as those of DIFF and INC metrics do.
    pub is_rate: bool,
    pub tags: Vec<(String, String)>,
    /// The last value to arrive; of an INC metric the last increment.
    pub last_value: String,
    /// The sum of all increases of a DIFF or an INC metric, if the server sends it.
    pub total: Option<f64>,
    /// Time of the last sample.
    pub last_seen: i64,
    pub samples: u64,
    /// Oldest first, without overlap.
    pub windows: Vec<Window>,
}

/// A window, or the part of one that is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Start of the part that is drawn.
    pub start: i64,
    /// End of the part that is drawn.
    pub end: i64,
    /// Samples of the whole window.
    pub count: u64,
    pub avg: f64,
    pub min: f64,
    pub max: f64,
    pub percentiles: Percentiles,
}

/// The percentiles of a window, each with its percentage. Empty without a histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Percentiles(pub Vec<(f64, f64)>);

impl Percentiles {
    /// Returns the percentile of a percentage.
    pub fn get(&self, percentage: f64) -> Option<f64> {
        let found = self.0.iter().find(|(other, _)| *other == percentage);
        found.map(|(_, value)| *value)
    }
}

/// An error that the node keeps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorReport {
    pub key: String,
    pub message: String,
    pub public: String,
    pub level: u64,
    pub kind: String,
    pub code: String,
    pub function: String,
    pub file: String,
    pub backtrace: String,
    pub tags: Vec<(String, String)>,
    pub occurrences: u64,
    pub first: i64,
    pub last: i64,
}

impl ErrorReport {
    /// Orders errors by their last occurrence, latest first.
    pub fn latest_first(a: &ErrorReport, b: &ErrorReport) -> Ordering {
        b.last.cmp(&a.last).then_with(|| a.key.cmp(&b.key))
    }
}

/// An object that the node keeps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    pub key: String,
    pub model: String,
    pub json: String,
    pub tags: Vec<(String, String)>,
    pub changed: i64,
    pub last_seen: i64,
    pub gone: bool,
}

impl Object {
    /// Orders objects by model and key.
    pub fn by_model(a: &Object, b: &Object) -> Ordering {
        by_name(&a.model, &b.model).then_with(|| by_name(&a.key, &b.key))
    }
}

/// A log entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogEntry {
    pub at: i64,
    pub level: u64,
    pub message: String,
    pub tags: Vec<(String, String)>,
}

impl Metric {
    /// Returns the part of the name that the instances of a measurement share.
    pub fn measurement(&self) -> &str {
        self.name.split('@').next().unwrap_or_default()
    }

    /// Returns the part of the name after the `@`.
    pub fn instance(&self) -> Option<&str> {
        self.name.split_once('@').map(|(_, instance)| instance)
    }

    /// Returns the value of the tag `unit`.
    pub fn unit(&self) -> &str {
        let unit = self.tags.iter().find(|(name, _)| name == "unit");
        unit.map_or("", |(_, unit)| unit)
    }

    /// Returns whether values are durations in seconds, rather than rates of seconds.
    pub fn is_duration(&self) -> bool {
        !self.is_rate && matches!(self.unit(), "seconds" | "s")
    }

    pub fn minimum(&self) -> f64 {
        let all = self.windows.iter().map(|window| window.min);
        all.fold(f64::INFINITY, f64::min)
    }

    pub fn maximum(&self) -> f64 {
        let all = self.windows.iter().map(|window| window.max);
        all.fold(f64::NEG_INFINITY, f64::max)
    }

    /// Returns whether any window has percentiles.
    pub fn has_percentiles(&self) -> bool {
        let mut windows = self.windows.iter();
        windows.any(|window| !window.percentiles.0.is_empty())
    }

    /// Returns the percentages of which windows have percentiles, ascending. The server's setting may have changed from
    /// one window to the next.
    pub fn percentages(&self) -> Vec<f64> {
        let mut all: Vec<f64> = Vec::new();
        for (percentage, _) in self.windows.iter().flat_map(|window| &window.percentiles.0) {
            if !all.contains(percentage) {
                all.push(*percentage);
            }
        }
        all.sort_by(f64::total_cmp);
        all
    }

    /// Returns the smallest and the largest of the windows' percentiles of a percentage.
    ///
    /// The percentile of all samples together lies between the two; it cannot be computed from those of the windows.
    pub fn percentile_range(&self, percentage: f64) -> Option<(f64, f64)> {
        let windows = self.windows.iter();
        let values = windows.filter_map(|window| window.percentiles.get(percentage));
        values.fold(None, |range, value| {
            let (low, high) = range.unwrap_or((value, value));
            Some((f64::min(low, value), f64::max(high, value)))
        })
    }

    /// Returns the average weighted by the length of the windows.
    pub fn average(&self) -> f64 {
        let (mut average, mut time) = (0.0, 0.0);
        for window in &self.windows {
            let length = (window.end - window.start) as f64;
            time += length;
            // Weighted in each step, so that no sum exceeds the largest double.
            average = average * (1.0 - length / time) + window.avg * (length / time);
        }
        average
    }
}

/// Orders metric names by measurement, then by instance, with the numbers in them by value.
pub fn by_name(a: &str, b: &str) -> Ordering {
    let parts = |name| str::split_once(name, '@').unwrap_or((name, ""));
    let ((a_name, a_instance), (b_name, b_instance)) = (parts(a), parts(b));
    natural(a_name, b_name).then_with(|| natural(a_instance, b_instance))
}

#[cfg(test)]
pub mod fixtures {
    use super::*;

    pub fn window(start: i64, end: i64, avg: f64) -> Window {
        Window {
            start,
            end,
            count: 1,
            avg,
            min: avg - 1.0,
            max: avg + 1.0,
            percentiles: Percentiles::default(),
        }
    }

    /// Adds a p50, a p90 and a p99 to each window: its average, and 1 and 2 above it.
    pub fn with_percentiles(mut metric: Metric) -> Metric {
        for window in &mut metric.windows {
            let all = [(50.0, 0.0), (90.0, 1.0), (99.0, 2.0)];
            let all = all.map(|(percentage, above)| (percentage, window.avg + above));
            window.percentiles = Percentiles(all.into());
        }
        metric
    }

    pub fn metric(name: &str, unit: &str) -> Metric {
        Metric {
            name: name.into(),
            tags: vec![("unit".into(), unit.into())],
            windows: vec![window(0, 10, 5.0), window(10, 20, 7.0)],
            ..Metric::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::{metric, window, with_percentiles};
    use super::*;

    #[test]
    fn percentiles_of_the_windows_have_a_range() {
        let mut metric = with_percentiles(metric("m", ""));
        metric.windows[1].percentiles.0[2].0 = 99.9;
        metric.windows.push(window(20, 30, 1000.0));
        assert_eq!(metric.percentages(), [50.0, 90.0, 99.0, 99.9]);
        assert_eq!(metric.percentile_range(50.0), Some((5.0, 7.0)));
        assert_eq!(metric.percentile_range(99.9), Some((9.0, 9.0)));
        assert_eq!(metric.percentile_range(95.0), None);
        assert!(metric.has_percentiles());
        metric.windows.drain(..2);
        assert!(!metric.has_percentiles() && metric.percentages().is_empty());
    }

    #[test]
    fn average_is_weighted_by_time() {
        let mut metric = metric("m", "");
        metric.windows[1].end = 40;
        assert_eq!(metric.average(), (5.0 * 10.0 + 7.0 * 30.0) / 40.0);
        assert_eq!((metric.minimum(), metric.maximum()), (4.0, 8.0));
        metric.windows = vec![window(0, 10, f64::MAX), window(10, 20, f64::MAX)];
        assert_eq!(metric.average(), f64::MAX);
        metric.windows[1].avg = -f64::MAX;
        assert_eq!(metric.average(), 0.0);
    }

    #[test]
    fn names_are_ordered_by_the_numbers_in_them() {
        let mut names = [
            "c@10",
            "c@9",
            "c.x@1",
            "c",
            "c@",
            "c@09",
            "b@é",
            "c@99999999999999999999",
        ];
        names.sort_by(|a, b| by_name(a, b));
        assert_eq!(
            names,
            [
                "b@é",
                "c",
                "c@",
                "c@09",
                "c@9",
                "c@10",
                "c@99999999999999999999",
                "c.x@1"
            ]
        );
    }

    #[test]
    fn listing_keeps_the_first_items() {
        let mut listing = Listing::default();
        for n in (0..1000).rev() {
            listing.add(n, 3, i32::cmp);
        }
        listing.finish(3, i32::cmp);
        assert_eq!((listing.shown, listing.total), (vec![0, 1, 2], 1000));
    }
}
