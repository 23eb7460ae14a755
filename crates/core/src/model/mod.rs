//! The values that commands report, effects carry and queues hold. Nothing here depends on nodes.

mod aggregate;
mod closed_window;
pub mod histogram;
pub(crate) mod imported_record;
mod item_kind;
mod log_entry;
mod object_report;
mod occurrence;
mod sample;
mod sample_outcome;
mod sequence;
mod sum;
mod window;
mod window_percentiles;
mod window_record;

pub(crate) use aggregate::{Aggregate, MAX_SAMPLES};
pub use aggregator_protocol::{Queue, RecordFormat};
pub(crate) use closed_window::{ClosedWindow, CompactForm, finite, mean, rate};
pub(crate) use item_kind::ItemKind;
pub(crate) use log_entry::LogEntry;
pub(crate) use object_report::ObjectReport;
pub(crate) use occurrence::{Delivery, ErrorType, Occurrence};
pub use sample::MetricType;
pub(crate) use sample::{MAX_TIMES, Sample, SampleKind, TagId};
pub(crate) use sample_outcome::SampleOutcome;
pub(crate) use sequence::{MAX_NUMBER, MAX_SOURCE, Sequence};
pub(crate) use sum::{Sum, narrow};
pub(crate) use window::{Lengths, PerWindow, Window};
pub(crate) use window_percentiles::WindowPercentiles;
pub(crate) use window_record::WindowRecord;
