//! Series of nodes as lines of the text format: a bounded set of them, and their families.
//!
//! # Invariants
//!
//! - A key is a family, `{`, labels and `}`. Sorted keys have the series of a family together, as no family contains a
//!   `{`.
//! - A set has the smallest of the keys that were added, whatever their order. Of equal keys it has the one that was added
//!   first, and the others do not count for the limit.

use crate::web::metrics::exposition::{Exposition, escape};

/// A series with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The family and the labels as they are written.
    pub key: Box<str>,
    /// The value.
    pub value: f64,
}

/// The most series of a limited number that have the smallest keys.
pub struct SeriesSet {
    limit: usize,
    series: Vec<Series>,
    left_out: u64,
    duplicates: u64,
}

impl SeriesSet {
    /// Creates a set of at most so many series.
    pub fn new(limit: usize) -> SeriesSet {
        SeriesSet {
            limit,
            series: Vec::new(),
            left_out: 0,
            duplicates: 0,
        }
    }

    /// Adds a series.
    pub fn add(&mut self, key: Box<str>, value: f64) {
        self.series.push(Series { key, value });
        // A quarter more than the limit, so that sorting costs a few steps for each series that is added.
        if self.series.len() >= self.limit + self.limit / 4 + 16 {
            self.shrink();
        }
    }

    /// Adds all series of another set.
    pub fn extend(&mut self, other: SeriesSet) {
        self.left_out += other.left_out;
        self.duplicates += other.duplicates;
        for series in other.series {
            self.add(series.key, series.value);
        }
    }

    /// Sorts the series, and removes duplicates and those beyond the limit.
    fn shrink(&mut self) {
        // Stable, so that the first of equal keys stays the first.
        self.series.sort_by(|one, other| one.key.cmp(&other.key));
        let before = self.series.len();
        self.series.dedup_by(|one, other| one.key == other.key);
        self.duplicates += (before - self.series.len()) as u64;
        let surplus = self.series.len().saturating_sub(self.limit);
        self.series.truncate(self.limit);
        self.left_out += surplus as u64;
    }

    /// Returns the series, sorted by key and each once, with how many were left out and how many were duplicates.
    pub fn finish(mut self) -> (Vec<Series>, u64, u64) {
        self.shrink();
        (self.series, self.left_out, self.duplicates)
    }
}

/// The contents of a family of a node's metrics, which its suffix names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suffix {
    /// The last value of a gauge.
    Last,
    /// The sum of all increases of a counter.
    Total,
    /// Percentiles.
    Quantile,
}

impl Suffix {
    const ALL: [Suffix; 3] = [Suffix::Last, Suffix::Total, Suffix::Quantile];

    /// Returns the end of the names of such families.
    pub fn as_str(self) -> &'static str {
        match self {
            Suffix::Last => "_last",
            Suffix::Total => "_total",
            Suffix::Quantile => "_quantile",
        }
    }

    fn kind_and_help(self) -> (&'static str, &'static str) {
        match self {
            Suffix::Last => ("gauge", "Last value."),
            Suffix::Total => ("counter", "Sum of all increases."),
            Suffix::Quantile => (
                "summary",
                "Percentiles of the newest short window. Of counters they are of rates per second.",
            ),
        }
    }
}

/// The program's own families of nodes: name, type and help.
pub const NODE_FAMILIES: [(&str, &str, &str); 11] = [
    (
        "agg_node_dropped_records_total",
        "counter",
        "Records that left the queues of the node undelivered.",
    ),
    ("agg_node_errors", "gauge", "Errors that the node has."),
    (
        "agg_node_late_samples_total",
        "counter",
        "Samples that were too late for all windows.",
    ),
    ("agg_node_memory_bytes", "gauge", "Memory of the node."),
    ("agg_node_metrics", "gauge", "Metrics that the node has."),
    (
        "agg_node_newest_sample_timestamp_seconds",
        "gauge",
        "Time of the newest sample of the metrics that are read.",
    ),
    ("agg_node_objects", "gauge", "Objects that the node has."),
    (
        "agg_node_queue_oldest_seconds",
        "gauge",
        "Age of the oldest record in the queues of the node.",
    ),
    (
        "agg_node_queue_records",
        "gauge",
        "Records in the queues of the node.",
    ),
    (
        "agg_node_refused_reports_total",
        "counter",
        "Reports that the server refused.",
    ),
    (
        "agg_node_suspect_diff_total",
        "counter",
        "Short windows of counters to which several processes seem to report their totals.",
    ),
];

/// Returns type and help of a family.
fn kind_and_help(family: &str) -> (&'static str, &'static str) {
    if let Ok(at) = NODE_FAMILIES.binary_search_by_key(&family, |(name, ..)| name) {
        return (NODE_FAMILIES[at].1, NODE_FAMILIES[at].2);
    }
    let mut suffixes = Suffix::ALL.into_iter();
    let suffix = suffixes.find(|suffix| family.ends_with(suffix.as_str()));
    suffix.unwrap_or(Suffix::Last).kind_and_help()
}

/// Writes series that are sorted by key, each family with its type.
pub fn write(series: &[Series], text: &mut Exposition) {
    let mut last = "";
    for Series { key, value } in series {
        let family = key.split('{').next().unwrap_or_default();
        if family != last {
            let (kind, help) = kind_and_help(family);
            text.metric(family, kind, help);
            last = family;
        }
        text.line(key, *value);
    }
}

/// The labels of a series as they are written, without braces.
pub fn labels<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        escape(value, &mut text);
        text.push('"');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(series: &[Series]) -> Vec<&str> {
        series.iter().map(|series| &*series.key).collect()
    }

    #[test]
    fn smallest_keys_stay_whatever_the_order() {
        let all: Vec<String> = (0..1000)
            .map(|n| format!("f{:03}{{}}", n * 7 % 1000))
            .collect();
        let expected: Vec<String> = (0..100).map(|n| format!("f{n:03}{{}}")).collect();
        for reversed in [false, true] {
            let mut set = SeriesSet::new(100);
            let mut order: Vec<&String> = all.iter().collect();
            if reversed {
                order.reverse();
            }
            // In two parts, as of two servers.
            let (one, other) = order.split_at(400);
            for part in [one, other] {
                let mut of_part = SeriesSet::new(100);
                part.iter()
                    .for_each(|key| of_part.add(key.as_str().into(), 1.0));
                set.extend(of_part);
            }
            let (series, left_out, duplicates) = set.finish();
            assert_eq!(keys(&series), expected);
            assert_eq!((left_out, duplicates), (900, 0));
        }
    }

    #[test]
    fn equal_keys_are_one_series() {
        let mut set = SeriesSet::new(10);
        set.add("a{}".into(), 1.0);
        set.add("b{}".into(), 2.0);
        set.add("a{}".into(), 3.0);
        let (series, left_out, duplicates) = set.finish();
        assert_eq!(
            (keys(&series), left_out, duplicates),
            (vec!["a{}", "b{}"], 0, 1)
        );
        assert_eq!(series[0].value, 1.0, "that of the first server");
    }

    #[test]
    fn first_of_equal_keys_stays_at_the_limit() {
        let mut set = SeriesSet::new(10);
        for value in [1.0, 2.0] {
            for n in 0..200 {
                set.add(format!("f{n:03}{{}}").into(), value);
            }
        }
        let (series, _, duplicates) = set.finish();
        let expected: Vec<String> = (0..10).map(|n| format!("f{n:03}{{}}")).collect();
        assert_eq!(keys(&series), expected);
        assert!(series.iter().all(|series| series.value == 1.0));
        assert!(duplicates >= 10);
    }

    #[test]
    fn families_are_written_together() {
        let mut set = SeriesSet::new(10);
        for key in [
            "a_last{node=\"2\"}",
            "a_last_last{node=\"1\"}",
            "a_last{node=\"1\"}",
            "a_total{node=\"1\"}",
            "agg_node_errors{node=\"1\"}",
        ] {
            set.add(key.into(), 1e300);
        }
        let mut text = Exposition::default();
        write(&set.finish().0, &mut text);
        let text = text.into_string();
        let types: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("# TYPE"))
            .collect();
        assert_eq!(
            types,
            [
                "# TYPE a_last_last gauge",
                "# TYPE a_last gauge",
                "# TYPE a_total counter",
                "# TYPE agg_node_errors gauge"
            ]
        );
        assert!(text.contains("a_last{node=\"2\"} 1e300\n"), "{text}");
    }

    #[test]
    fn own_families_are_sorted_for_the_search() {
        assert!(NODE_FAMILIES.is_sorted_by_key(|(name, ..)| name));
    }
}
