//! A sample of a metric.

use aggregator_protocol::number::Number;

/// Whether the value itself counts or the growth of a total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricType {
    /// An absolute measurement (a gauge).
    Abs,
    /// A differential one (a counter).
    Diff,
}

impl MetricType {
    /// The word of the commands.
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

/// A checked sample; `tags` in canonical form, `None` where it named none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample<'a> {
    pub metric_type: MetricType,
    pub value: Number,
    pub at: i64,
    pub tags: Option<&'a [u8]>,
    /// Their id, where the caller has a reference to them: then no sample of many looks at a long list.
    pub tag_id: Option<TagId>,
}

/// A list in a [`TagPool`]; the empty list is in none. Whoever holds one holds a reference, given back by `release`.
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

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SampleOutcome {
    Counted,
    /// It counted in its HOUR window alone.
    LateMin,
    /// It counted in its MIN window alone.
    LateHour,
    /// It changed nothing.
    Late,
}

impl SampleOutcome {
    /// Whether the sample counted in a window.
    pub fn has_counted(self) -> bool {
        self != SampleOutcome::Late
    }
}
