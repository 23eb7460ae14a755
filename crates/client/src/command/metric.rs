//! Metrics as a node holds them, and the command that reads their windows: AGG.RANGE.

use std::collections::BTreeMap;

use super::fields::Fields;
use super::{Cmd, Command, option};
use crate::reply::{self, Value};

/// A length of windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// Short windows, 5 minutes by default.
    Min,
    /// Long windows, an hour by default.
    Hour,
}

impl Window {
    /// Returns the word of the commands.
    pub fn as_str(self) -> &'static str {
        match self {
            Window::Min => "MIN",
            Window::Hour => "HOUR",
        }
    }
}

/// The type of a metric that a node holds.
///
/// A newer server may have further types; its replies are read all the same, as [`StoredType::Other`]. Treat the
/// values of such a metric like those of a gauge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredType {
    /// A gauge.
    Abs,
    /// A counter, of which one reporter sends the total.
    Diff,
    /// A sum of increments, which any number of reporters send.
    Inc,
    /// A type that this version does not know, by the word of the server.
    Other(String),
}

impl StoredType {
    /// Returns the type of this word.
    pub fn from_name(name: &str) -> StoredType {
        match name {
            "ABS" => StoredType::Abs,
            "DIFF" => StoredType::Diff,
            "INC" => StoredType::Inc,
            other => StoredType::Other(other.to_owned()),
        }
    }

    /// Returns the word of the server.
    pub fn as_str(&self) -> &str {
        match self {
            StoredType::Abs => "ABS",
            StoredType::Diff => "DIFF",
            StoredType::Inc => "INC",
            StoredType::Other(other) => other,
        }
    }

    /// Returns whether `avg`, `min`, `max`, `last` and the percentiles of a window are rates per second.
    pub fn is_rate(&self) -> bool {
        matches!(self, StoredType::Diff | StoredType::Inc)
    }
}

/// The samples of a metric in one window.
///
/// Of a DIFF or an INC metric `sum` is the increase; `avg`, `min`, `max`, `last` and the percentiles are rates per
/// second.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricWindow {
    /// The beginning, Unix milliseconds.
    pub start: i64,
    /// The end, Unix milliseconds; it belongs to the next window.
    pub end: i64,
    /// The number of samples.
    pub count: u64,
    /// The sum of the values.
    pub sum: f64,
    /// The mean of the values.
    pub avg: f64,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
    /// The last value.
    pub last: f64,
    /// The percentiles, such as `p99` and `p99_9`, in the order of the server, which is ascending. Empty if the metric
    /// has no histogram, or if the server is older than histograms.
    pub percentiles: Vec<(String, f64)>,
    /// True if the window is closed, so that nothing changes it.
    pub closed: bool,
}

impl MetricWindow {
    /// Returns a percentile by its name, such as `p99` or `p99_9`.
    pub fn percentile(&self, name: &str) -> Option<f64> {
        let found = self.percentiles.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| *value)
    }

    fn read(reply: Value) -> Option<MetricWindow> {
        let mut fields = Fields::read(reply)?;
        Some(MetricWindow {
            start: fields.int("start")?,
            end: fields.int("end")?,
            count: fields.count("count")?,
            sum: fields.float("sum")?,
            avg: fields.float("avg")?,
            min: fields.float("min")?,
            max: fields.float("max")?,
            last: fields.float("last")?,
            percentiles: fields.percentiles()?,
            closed: fields.int("closed")? == 1,
        })
    }

    fn read_all(reply: Value) -> Option<Vec<MetricWindow>> {
        let windows = reply::items(reply)?.into_iter();
        windows.map(MetricWindow::read).collect()
    }
}

/// A metric as a node holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// The name.
    pub name: String,
    /// The type.
    pub metric_type: StoredType,
    /// The tags; a tag without a value has the text `true`.
    pub tags: BTreeMap<String, String>,
    /// The last value to arrive, in decimal; of an INC metric the last increment.
    pub last: String,
    /// The time of the newest sample, Unix milliseconds.
    pub at: i64,
    /// The sum of all increases since the metric exists. None of an ABS metric, and if the server is older than totals.
    pub total: Option<f64>,
    /// The open short windows.
    pub min: Vec<MetricWindow>,
    /// The open long windows.
    pub hour: Vec<MetricWindow>,
    /// The number of samples.
    pub samples: u64,
    /// The number of samples that were too late for all windows.
    pub late: u64,
    /// The number of samples that were too late for the short window alone.
    pub late_min: u64,
    /// The number of samples that were too late for the long window alone.
    pub late_hour: u64,
    /// The number of restarts of a counter.
    pub restarts: u64,
    /// The number of gaps of a counter.
    pub gaps: u64,
    /// The number of changes of the tags.
    pub tag_changes: u64,
}

impl Metric {
    pub(super) fn read(reply: Value) -> Option<Metric> {
        let mut fields = Fields::read(reply)?;
        Some(Metric {
            name: fields.text("name")?,
            metric_type: StoredType::from_name(&fields.text("type")?),
            tags: fields.tags("tags")?,
            last: fields.text("last")?,
            at: fields.int("at")?,
            total: fields.float_or_none("total")?,
            min: MetricWindow::read_all(fields.take("min")?)?,
            hour: MetricWindow::read_all(fields.take("hour")?)?,
            samples: fields.count("samples")?,
            late: fields.count("late")?,
            late_min: fields.count("late-min")?,
            late_hour: fields.count_or("late-hour", 0)?,
            restarts: fields.count("restarts")?,
            gaps: fields.count("gaps")?,
            tag_changes: fields.count("tag-changes")?,
        })
    }
}

/// AGG.RANGE: reads the windows of a metric, the oldest first.
///
/// A reply has up to 5,000 windows: continue with [`Range::from`] at the end of the last.
#[derive(Clone, Copy, Debug)]
pub struct Range<'a> {
    node: &'a [u8],
    metric: &'a [u8],
    window: Window,
    from: Option<i64>,
    to: Option<i64>,
}

impl<'a> Range<'a> {
    /// Reads the windows of this length.
    pub fn new(
        node: &'a (impl AsRef<[u8]> + ?Sized),
        metric: &'a (impl AsRef<[u8]> + ?Sized),
        window: Window,
    ) -> Self {
        Range {
            node: node.as_ref(),
            metric: metric.as_ref(),
            window,
            from: None,
            to: None,
        }
    }

    /// Sets the beginning, Unix milliseconds.
    pub fn from(mut self, from: i64) -> Self {
        self.from = Some(from);
        self
    }

    /// Sets the end, Unix milliseconds.
    pub fn to(mut self, to: i64) -> Self {
        self.to = Some(to);
        self
    }
}

impl Command for Range<'_> {
    type Output = Vec<MetricWindow>;
    const NAME: &'static str = "AGG.RANGE";

    fn write_args(&self, cmd: &mut Cmd) {
        cmd.arg(self.node)
            .arg(self.metric)
            .arg(self.window.as_str());
        option(cmd, "FROM", self.from);
        option(cmd, "TO", self.to);
    }

    fn read_reply(&self, reply: Value) -> Option<Vec<MetricWindow>> {
        MetricWindow::read_all(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    /// A map of integers, and of texts where the value is not one.
    fn map(pairs: &[(&str, &str)]) -> Vec<Value> {
        let value = |text: &str| text.parse().map_or_else(|_| bulk(text), Value::Int);
        let flat = |(name, text): &(&str, &str)| [bulk(name), value(text)];
        pairs.iter().flat_map(flat).collect()
    }

    fn window(percentiles: &[(&str, &str)]) -> Value {
        let mut pairs = vec![
            ("start", "0"),
            ("end", "300000"),
            ("count", "2"),
            ("sum", "3.0"),
        ];
        pairs.extend([
            ("avg", "1.5"),
            ("min", "1.0"),
            ("max", "2.0"),
            ("last", "2.0"),
        ]);
        pairs.extend(percentiles);
        pairs.push(("closed", "1"));
        Value::Array(map(&pairs))
    }

    fn metric(metric_type: &str, more: &[(&str, &str)]) -> Option<Metric> {
        let mut pairs = vec![
            ("name", "m"),
            ("type", metric_type),
            ("last", "x"),
            ("at", "5"),
        ];
        pairs.extend(more);
        pairs.extend(
            [
                "samples",
                "late",
                "late-min",
                "restarts",
                "gaps",
                "tag-changes",
            ]
            .map(|name| (name, "0")),
        );
        let mut fields = map(&pairs);
        for name in ["tags", "min", "hour"] {
            fields.extend([bulk(name), Value::Array(Vec::new())]);
        }
        Metric::read(Value::Array(fields))
    }

    #[test]
    fn percentiles_keep_their_order_and_may_be_missing() {
        let read = |percentiles| MetricWindow::read(window(percentiles));
        let ordered = read(&[("p99_9", "7.5"), ("p50", "2.0"), ("new", "?")]).unwrap();
        let expected = [("p99_9".to_owned(), 7.5), ("p50".to_owned(), 2.0)];
        assert_eq!(ordered.percentiles, expected);
        assert_eq!(ordered.percentile("p50"), Some(2.0));
        assert_eq!(ordered.percentile("p99"), None);
        assert!(ordered.closed && ordered.last == 2.0);
        assert_eq!(read(&[]).unwrap().percentiles, []);
        assert_eq!(read(&[("p50", "x")]), None);
    }

    #[test]
    fn metric_of_any_version_is_read() {
        let old = metric("DIFF", &[]).unwrap();
        assert_eq!(
            (old.metric_type, old.total, old.late_hour),
            (StoredType::Diff, None, 0)
        );
        let new = metric("INC", &[("total", "7.5"), ("late-hour", "2"), ("new", "?")]).unwrap();
        assert_eq!(
            (&new.metric_type, new.total, new.late_hour),
            (&StoredType::Inc, Some(7.5), 2)
        );
        assert!(new.metric_type.is_rate());
        let newer = metric("SET", &[]).unwrap().metric_type;
        assert_eq!((newer.as_str(), newer.is_rate()), ("SET", false));
        assert_eq!(newer, StoredType::Other("SET".into()));
        assert_eq!(metric("INC", &[("total", "x")]), None);
    }
}
