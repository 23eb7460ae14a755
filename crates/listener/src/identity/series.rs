//! A series that is resolved, or the reason why it is not.

/// A series whose metric and tags are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved<'a> {
    /// The name of the metric, [`MAX_METRIC`] bytes at most.
    pub metric: &'a str,
    /// The tag list in canonical form, [`MAX_TAGS`] bytes at most.
    pub tags: &'a str,
    /// Identifies both.
    pub id: SeriesId,
}

/// Identifies a metric with its tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesId {
    /// The place of the metric in a table, below about twice the number of its metrics. It is used again for another
    /// metric when the metric is forgotten.
    pub place: u32,
    /// A number for the metric with its tags, which is never used again. Several numbers may stand for the same.
    pub number: u64,
    /// The metric is that of the instances beyond the limit.
    pub is_other: bool,
}

/// The reason why a series has no metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// The name is empty.
    EmptyName,
    /// There are too many names.
    TooManyNames,
}

impl Unresolved {
    /// Returns the reason as a text.
    pub fn as_str(self) -> &'static str {
        match self {
            Unresolved::EmptyName => "an empty name",
            Unresolved::TooManyNames => "too many names",
        }
    }
}
