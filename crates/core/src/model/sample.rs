//! A sample of a metric.

use aggregator_protocol::number::Number;

/// The type of a metric: whether its values count, or the growth of its total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricType {
    /// A gauge: the value counts.
    Abs,
    /// A counter: the growth of the total counts.
    Diff,
}

impl MetricType {
    /// Returns the keyword of the commands.
    pub fn name(self) -> &'static str {
        match self {
            MetricType::Abs => "ABS",
            MetricType::Diff => "DIFF",
        }
    }

    pub(crate) fn from_bit(diff: bool) -> MetricType {
        if diff {
            MetricType::Diff
        } else {
            MetricType::Abs
        }
    }
}

/// A sample whose arguments have been checked. `tags` are in canonical form; `None`: the sample has none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample<'a> {
    pub metric_type: MetricType,
    pub value: Number,
    pub at: i64,
    pub tags: Option<&'a [u8]>,
    /// The id of the tags, if the caller has a reference to them. Then a long list is looked up once for many samples.
    pub tag_id: Option<TagId>,
    /// From now on the windows of the metric have histograms.
    pub hist: bool,
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

/// The outcome of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SampleOutcome {
    Counted,
    /// The sample counted in its HOUR window only.
    LateMin,
    /// The sample counted in its MIN window only.
    LateHour,
    /// The sample changed nothing.
    Late,
}

impl SampleOutcome {
    /// Returns `true` if the sample counted in a window.
    pub fn has_counted(self) -> bool {
        self != SampleOutcome::Late
    }
}
