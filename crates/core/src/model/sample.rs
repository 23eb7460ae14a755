//! A sample of a metric.

use super::Aggregate;
use super::sum::weighted;
use aggregator_protocol::number::Number;

/// The type of a metric: what is aggregated of its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricType {
    /// A gauge: the value counts.
    Abs,
    /// A counter: the growth of the total counts.
    Diff,
    /// A sum of increments: they count together, by slots.
    Inc,
}

impl MetricType {
    /// Returns the keyword of the commands.
    pub const fn name(self) -> &'static str {
        match self {
            MetricType::Abs => "ABS",
            MetricType::Diff => "DIFF",
            MetricType::Inc => "INC",
        }
    }

    /// Returns the number of the type in records and saved nodes.
    pub(crate) fn number(self) -> u8 {
        match self {
            MetricType::Abs => 0,
            MetricType::Diff => 1,
            MetricType::Inc => 2,
        }
    }

    /// Returns the type of a number that [`MetricType::number`] returned.
    pub(crate) fn from_number(number: u8) -> Option<MetricType> {
        match number {
            0 => Some(MetricType::Abs),
            1 => Some(MetricType::Diff),
            2 => Some(MetricType::Inc),
            _ => None,
        }
    }
}

/// What a sample says, which is the option of its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SampleKind {
    /// The value of a gauge.
    Abs,
    /// The change of a gauge since its last value.
    Add,
    /// The total of a counter.
    Diff,
    /// An increment.
    Inc,
}

impl SampleKind {
    /// All kinds.
    pub const ALL: [SampleKind; 4] = [
        SampleKind::Abs,
        SampleKind::Add,
        SampleKind::Diff,
        SampleKind::Inc,
    ];

    /// Returns the keyword of the commands.
    pub const fn name(self) -> &'static str {
        match self {
            SampleKind::Add => "ADD",
            kind => kind.metric_type().name(),
        }
    }

    /// Returns the type of the metrics that take such samples.
    #[inline]
    pub const fn metric_type(self) -> MetricType {
        match self {
            SampleKind::Abs | SampleKind::Add => MetricType::Abs,
            SampleKind::Diff => MetricType::Diff,
            SampleKind::Inc => MetricType::Inc,
        }
    }

    /// Returns `true` if its value may be below 0.
    pub fn may_be_negative(self) -> bool {
        self.metric_type() == MetricType::Abs
    }
}

/// The largest number of occurrences of one sample.
pub(crate) const MAX_TIMES: u64 = 1 << 32;

/// A sample whose arguments have been checked. `tags` are in canonical form; `None`: the sample has none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample<'a> {
    pub kind: SampleKind,
    pub value: Number,
    /// The number of occurrences of the value: 1 to [`MAX_TIMES`].
    pub times: u64,
    /// Samples of a gauge that the reporter has aggregated: then `value` is the last of them, and `times` their number.
    pub aggregate: Option<&'a Aggregate>,
    pub at: i64,
    pub tags: Option<&'a [u8]>,
    /// The id of the tags, if the caller has a reference to them. Then a long list is looked up once for many samples.
    pub tag_id: Option<TagId>,
    /// From now on the windows of the metric have histograms.
    pub hist: bool,
}

impl Sample<'_> {
    /// Returns what all occurrences of a value add to a sum.
    #[inline]
    pub fn weighted(&self, value: f64) -> f64 {
        weighted(value, self.times)
    }
}

/// The id of a tag list in the tag pool of a node; the empty list is in no pool. Each holder of an id has a reference,
/// which `release` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TagId(pub(crate) u32);

impl Default for TagId {
    fn default() -> TagId {
        TagId::NONE
    }
}

impl TagId {
    /// No tags.
    pub const NONE: TagId = TagId(u32::MAX);
}
