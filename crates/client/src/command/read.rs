//! Commands that read what a node holds: AGG.GET, AGG.RANGE, AGG.SCAN, AGG.INFO.

use std::collections::BTreeMap;

use redis::{Cmd, Value};

use super::fields::Fields;
use super::{Command, Kind, option};
use crate::reply;

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
    /// Whether the window is closed, so that nothing changes it.
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
    fn read(reply: Value) -> Option<Metric> {
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
            late_hour: fields.count_or_0("late-hour")?,
            restarts: fields.count("restarts")?,
            gaps: fields.count("gaps")?,
            tag_changes: fields.count("tag-changes")?,
        })
    }
}

/// An error as a node holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredError {
    /// The id in the queue ERROR; 0 while the error is not queued.
    pub id: i64,
    /// The key.
    pub key: String,
    /// The message.
    pub message: String,
    /// The text that users may see.
    pub public: String,
    /// The level, 0 to 9.
    pub level: u64,
    /// `BUG`, `PERF`, `OPS` or `UNKNOWN`.
    pub error_type: String,
    /// The tags; a tag without a value has the text `true`.
    pub tags: BTreeMap<String, String>,
    /// The code.
    pub code: String,
    /// The function.
    pub func: String,
    /// The file.
    pub file: String,
    /// The backtrace.
    pub backtrace: String,
    /// How often the error has occurred.
    pub occurrences: u64,
    /// The time of the first occurrence, Unix milliseconds.
    pub first: i64,
    /// The time of the last occurrence, Unix milliseconds.
    pub last: i64,
    /// When the last report came in, Unix milliseconds.
    pub seen: i64,
}

impl StoredError {
    fn read(reply: Value) -> Option<StoredError> {
        let mut fields = Fields::read(reply)?;
        Some(StoredError {
            id: fields.int("id")?,
            key: fields.text("key")?,
            message: fields.text("message")?,
            public: fields.text("public")?,
            level: fields.count("level")?,
            error_type: fields.text("type")?,
            tags: fields.tags("tags")?,
            code: fields.text("code")?,
            func: fields.text("func")?,
            file: fields.text("file")?,
            backtrace: fields.text("backtrace")?,
            occurrences: fields.count("occurrences")?,
            first: fields.int("first")?,
            last: fields.int("last")?,
            seen: fields.int("seen")?,
        })
    }
}

/// An object as a node holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// The id in the queue REALITY; 0 while the object is not queued.
    pub id: i64,
    /// The key.
    pub key: String,
    /// The model.
    pub model: String,
    /// The state, JSON.
    pub json: String,
    /// The tags; a tag without a value has the text `true`.
    pub tags: BTreeMap<String, String>,
    /// The time of the state, Unix milliseconds.
    pub epoch: i64,
    /// Whether the object is gone.
    pub gone: bool,
    /// When the last report came in, Unix milliseconds.
    pub seen: i64,
}

impl StoredObject {
    fn read(reply: Value) -> Option<StoredObject> {
        let mut fields = Fields::read(reply)?;
        Some(StoredObject {
            id: fields.int("id")?,
            key: fields.text("key")?,
            model: fields.text("model")?,
            json: fields.text("json")?,
            tags: fields.tags("tags")?,
            epoch: fields.int("epoch")?,
            gone: fields.int("gone")? == 1,
            seen: fields.int("seen")?,
        })
    }
}

/// Reads what may not be there, which is a nil.
fn maybe<T>(reply: Value, read: impl FnOnce(Value) -> Option<T>) -> Option<Option<T>> {
    match reply {
        Value::Nil => Some(None),
        reply => read(reply).map(Some),
    }
}

macro_rules! get {
    ($(#[$doc:meta])* $name:ident, $kind:expr, $output:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name<'a> {
            node: &'a [u8],
            name: &'a [u8],
        }

        impl<'a> $name<'a> {
            /// Reads what has this name.
            pub fn new(
                node: &'a (impl AsRef<[u8]> + ?Sized),
                name: &'a (impl AsRef<[u8]> + ?Sized),
            ) -> Self {
                $name { node: node.as_ref(), name: name.as_ref() }
            }
        }

        impl Command for $name<'_> {
            type Output = Option<$output>;
            const NAME: &'static str = "AGG.GET";

            fn write_args(&self, cmd: &mut Cmd) {
                cmd.arg(self.node).arg($kind.as_str()).arg(self.name);
            }

            fn read_reply(&self, reply: Value) -> Option<Option<$output>> {
                maybe(reply, $output::read)
            }
        }
    };
}

get!(
    /// AGG.GET METRIC: reads a metric with its open windows.
    GetMetric,
    Kind::Metric,
    Metric
);
get!(
    /// AGG.GET ERROR: reads an error.
    GetError,
    Kind::Error,
    StoredError
);
get!(
    /// AGG.GET REALITY: reads an object.
    GetObject,
    Kind::Reality,
    StoredObject
);

/// AGG.RANGE: reads the windows of a metric, the oldest first.
///
/// A reply has 5,000 windows at most: continue with [`Range::from`] at the end of the last.
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

/// AGG.SCAN: reads names, some at a time. Begin with the cursor `0`, and continue with the cursor of each page until it
/// is `0` again.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a> {
    node: &'a [u8],
    kind: Kind,
    cursor: &'a [u8],
    pattern: Option<&'a [u8]>,
    count: Option<u64>,
}

impl<'a> Scan<'a> {
    /// Reads names of this kind.
    pub fn new(
        node: &'a (impl AsRef<[u8]> + ?Sized),
        kind: Kind,
        cursor: &'a (impl AsRef<[u8]> + ?Sized),
    ) -> Self {
        Scan {
            node: node.as_ref(),
            kind,
            cursor: cursor.as_ref(),
            pattern: None,
            count: None,
        }
    }

    /// Reads only names that match this glob.
    pub fn matching(mut self, pattern: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.pattern = Some(pattern.as_ref());
        self
    }

    /// Sets about how many names a page has.
    pub fn count(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }
}

/// A page of AGG.SCAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The cursor of the next page; `0` if this is the last.
    pub cursor: Vec<u8>,
    /// The names.
    pub names: Vec<Vec<u8>>,
}

impl Page {
    /// Whether this is the last page.
    pub fn is_last(&self) -> bool {
        self.cursor == b"0"
    }
}

impl Command for Scan<'_> {
    type Output = Page;
    const NAME: &'static str = "AGG.SCAN";

    fn write_args(&self, cmd: &mut Cmd) {
        cmd.arg(self.node).arg(self.kind.as_str()).arg(self.cursor);
        option(cmd, "MATCH", self.pattern);
        option(cmd, "COUNT", self.count);
    }

    fn read_reply(&self, reply: Value) -> Option<Page> {
        let (cursor, names) = reply::page(reply)?;
        let names = names.into_iter().map(reply::bytes).collect::<Option<_>>()?;
        Some(Page { cursor, names })
    }
}

/// A queue as AGG.INFO describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueInfo {
    /// The number of records.
    pub length: u64,
    /// The memory of the records, bytes.
    pub bytes: u64,
    /// The age of the oldest record, milliseconds.
    pub oldest_ms: u64,
    /// The number of leased records.
    pub leased: u64,
    /// The number of records that were dropped because the queue was full.
    pub dropped: u64,
}

impl QueueInfo {
    fn read(reply: Value) -> Option<QueueInfo> {
        let mut fields = Fields::read(reply)?;
        Some(QueueInfo {
            length: fields.count("length")?,
            bytes: fields.count("bytes")?,
            oldest_ms: fields.count("oldest")?,
            leased: fields.count("leased")?,
            dropped: fields.count("dropped")?,
        })
    }
}

/// A node as AGG.INFO describes it. Counters count since the server's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInfo {
    /// The number of metrics.
    pub metrics: u64,
    /// The number of errors.
    pub errors: u64,
    /// The number of objects.
    pub realities: u64,
    /// The memory of the node, bytes.
    pub bytes: u64,
    /// The length of short windows, seconds.
    pub min_window_s: u64,
    /// The length of long windows, seconds.
    pub hour_window_s: u64,
    /// The number of samples that were too late for all windows.
    pub late: u64,
    /// The number of samples that were too late for the short window alone.
    pub late_min: u64,
    /// The number of samples that were too late for the long window alone.
    pub late_hour: u64,
    /// How often the server's clock went back.
    pub clock_back: u64,
    /// The number of texts that were truncated.
    pub truncated: u64,
    /// The number of refused reports, by reason.
    pub refused: BTreeMap<String, u64>,
    /// The queues, by name.
    pub queues: BTreeMap<String, QueueInfo>,
}

impl NodeInfo {
    fn read(reply: Value) -> Option<NodeInfo> {
        let mut fields = Fields::read(reply)?;
        let queues = Fields::read(fields.take("queues")?)?;
        let queues = queues
            .rest()
            .map(|(name, queue)| Some((name, QueueInfo::read(queue)?)));
        Some(NodeInfo {
            queues: queues.collect::<Option<_>>()?,
            metrics: fields.count("metrics")?,
            errors: fields.count("errors")?,
            realities: fields.count("realities")?,
            bytes: fields.count("bytes")?,
            min_window_s: fields.count("min-window")?,
            hour_window_s: fields.count("hour-window")?,
            late: fields.count("late")?,
            late_min: fields.count("late-min")?,
            late_hour: fields.count_or_0("late-hour")?,
            clock_back: fields.count("clock-back")?,
            truncated: fields.count("truncated")?,
            refused: fields.counts("refused")?,
        })
    }
}

/// AGG.INFO: describes a node. Answers none if there is no such node.
#[derive(Clone, Copy, Debug)]
pub struct Info<'a> {
    node: &'a [u8],
}

impl<'a> Info<'a> {
    /// Describes this node.
    pub fn new(node: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Info {
            node: node.as_ref(),
        }
    }
}

impl Command for Info<'_> {
    type Output = Option<NodeInfo>;
    const NAME: &'static str = "AGG.INFO";

    fn write_args(&self, cmd: &mut Cmd) {
        cmd.arg(self.node);
    }

    fn read_reply(&self, reply: Value) -> Option<Option<NodeInfo>> {
        maybe(reply, NodeInfo::read)
    }
}
