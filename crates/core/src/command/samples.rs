//! Code that AGG.STAT and AGG.MSTAT share: the options of samples, their cost, and the texts of their errors.

use super::args::Args;
use super::sequence;
use crate::counters::RejectReason;
use crate::error::{CommandError, ErrorCode};
use crate::model::{MetricType, Sample, Sequence};
use crate::node::{HIST_RESERVE, Node, SampleError};
use crate::settings::Settings;
use aggregator_protocol::number::Number;
use aggregator_protocol::quote::quoted;
use std::borrow::Cow;

/// The options that apply to all samples of a command.
pub(super) struct SampleOptions<'a> {
    pub metric_type: MetricType,
    pub tags: Option<Cow<'a, [u8]>>,
    pub at: i64,
    pub sequence: Option<Sequence<'a>>,
    pub hist: bool,
    /// `hist-match` is not empty.
    has_patterns: bool,
    /// The server's clock, Unix milliseconds.
    now_ms: i64,
    has_type: bool,
}

impl<'a> SampleOptions<'a> {
    /// The options of a command that gives none.
    pub fn new(args: &Args<'a, '_>) -> SampleOptions<'a> {
        SampleOptions {
            metric_type: MetricType::Abs,
            tags: None,
            at: args.now_ms(),
            sequence: None,
            hist: false,
            has_patterns: !args.settings.hist_match.is_empty(),
            now_ms: args.now_ms(),
            has_type: false,
        }
    }

    /// Reads the rest of an option whose word has been read.
    pub fn read(&mut self, option: &str, args: &mut Args<'a, '_>) -> Result<(), CommandError> {
        match option {
            "ABS" => self.set_type(MetricType::Abs, args),
            "DIFF" => self.set_type(MetricType::Diff, args),
            "HIST" => {
                self.hist = true;
                Ok(())
            }
            "TAGS" => {
                self.tags = Some(args.tags()?);
                Ok(())
            }
            "SEQ" => {
                self.sequence = Some(sequence::read(args)?);
                Ok(())
            }
            _ => {
                self.at = args.at()?;
                Ok(())
            }
        }
    }

    /// ABS and DIFF are two words of one option.
    fn set_type(
        &mut self,
        metric_type: MetricType,
        args: &Args<'_, '_>,
    ) -> Result<(), CommandError> {
        if std::mem::replace(&mut self.has_type, true) {
            return Err(args.reject("ABS and DIFF are both given: a metric is one of them"));
        }
        self.metric_type = metric_type;
        Ok(())
    }

    /// A sample with these options.
    pub fn sample(&self, value: Number) -> Sample<'_> {
        Sample {
            metric_type: self.metric_type,
            value,
            at: self.at,
            tags: self.tags.as_deref(),
            tag_id: None,
            hist: self.hist,
        }
    }

    /// The cost of samples of these metrics, for a node or for a new one. Looks at each metric.
    pub fn cost<'n>(
        &self,
        node: Option<&Node>,
        names: impl Iterator<Item = &'n [u8]> + Clone,
        settings: &Settings,
    ) -> u64 {
        let sample = self.sample(Number::Int(0));
        match node {
            Some(node) => node.samples_cost(names, &sample, self.now_ms, settings),
            None => {
                let tags = sample.tags.map_or(0, <[u8]>::len);
                Node::first_samples_cost(names, tags, self.hist, settings)
            }
        }
    }

    /// An upper bound of the cost of `samples` samples whose names have `names` bytes together.
    pub fn bound(&self, node: Option<&Node>, names: usize, samples: usize) -> u64 {
        let tags = self.tags.as_ref().map_or(0, |tags| tags.len());
        let closings = node.map_or(0, |node| node.closing_bound(samples));
        // Which metrics are new and selected by a pattern is not known here.
        let hist = match self.hist || self.has_patterns {
            true => samples as u64 * HIST_RESERVE,
            false => 0,
        };
        samples as u64 * Node::sample_bound(0, 0)
            + Node::sample_bound(names, tags)
            + closings
            + hist
    }
}

impl SampleError {
    /// The reason, for the counters.
    pub(super) fn reason(self) -> RejectReason {
        match self {
            SampleError::MetricType(_) => RejectReason::Type,
            SampleError::Series => RejectReason::Series,
        }
    }

    /// The code of a command that is rejected because of it.
    pub(super) fn code(self) -> ErrorCode {
        match self {
            SampleError::MetricType(_) => ErrorCode::Err,
            SampleError::Series => ErrorCode::Full,
        }
    }

    /// Describes the error of a sample of this metric.
    pub(super) fn detail(self, metric: &[u8], max_series: u32) -> String {
        let metric = quoted(metric);
        match self {
            SampleError::MetricType(expected) => {
                let (expected, found) = (expected.name(), expected.other().name());
                format!(
                    "metric {metric} is {expected}, the sample {found}: \
                     use AGG.FORGET node METRIC name to reset the metric"
                )
            }
            SampleError::Series => format!(
                "cannot create metric {metric}: the node has reached agg.max-series ({max_series})"
            ),
        }
    }
}
