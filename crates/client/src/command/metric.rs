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

/// The samples of a metric in one window.
///
/// Of a DIFF metric `sum` is the increase; `avg`, `min`, `max` and `last` are rates per second.
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
    /// True if the window is closed, so that nothing changes it.
    pub closed: bool,
}

impl MetricWindow {
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
    /// `ABS` or `DIFF`.
    pub metric_type: String,
    /// The tags; a tag without a value has the text `true`.
    pub tags: BTreeMap<String, String>,
    /// The last value, in decimal.
    pub last: String,
    /// The time of the last value, Unix milliseconds.
    pub at: i64,
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
            metric_type: fields.text("type")?,
            tags: fields.tags("tags")?,
            last: fields.text("last")?,
            at: fields.int("at")?,
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
