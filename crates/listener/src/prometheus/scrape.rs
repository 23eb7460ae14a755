//! The properties and the outcome of a scrape.

use crate::report::Attribute;

/// The format of a scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The text format, with times in milliseconds.
    #[default]
    Text,
    /// OpenMetrics, with times in seconds, exemplars, and `# EOF` at the end.
    OpenMetrics,
}

impl Format {
    /// Returns the format of an answer with this `Content-Type`.
    pub fn of_content_type(content_type: &str) -> Format {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("application/openmetrics-text") {
            Format::OpenMetrics
        } else {
            Format::Text
        }
    }
}

/// The properties of a scrape besides its content.
#[derive(Clone, Copy, Debug)]
pub struct Scrape<'a> {
    /// The format.
    pub format: Format,
    /// The labels of the target, such as `job` and `instance`, which all samples have.
    pub labels: &'a [Attribute<'a>],
    /// A label of a sample replaces the target's label of the same name. Otherwise it is passed on with `exported_` before
    /// its name. As `honor_labels` of Prometheus.
    pub honor_labels: bool,
    /// The times of samples are passed on. As `honor_timestamps` of Prometheus.
    pub honor_timestamps: bool,
    /// The time of the scrape, milliseconds. It is only compared with that of other scrapes.
    pub now_ms: i64,
}

/// The number of samples and errors of a scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The number of samples passed on. A histogram of which something was added is one, besides its `_count` and `_sum`.
    pub samples: u64,
    /// The number of samples and comments that cannot be used.
    pub invalid: u64,
    /// The number of samples without a value (NaN).
    pub skipped_nan: u64,
    /// The number of times of creation.
    pub skipped_created: u64,
    /// The end was received. Always `true` for [`Format::Text`], which has no mark of the end.
    pub is_complete: bool,
}
