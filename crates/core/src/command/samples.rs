//! Code that AGG.STAT, AGG.MSTAT and AGG.HIST share: the options of samples, their cost, how one is taken, and the texts
//! of errors.

use super::args::Args;
use super::sequence;
use crate::context::WriteContext;
use crate::counters::RejectReason;
use crate::error::{CommandError, ErrorCode};
use crate::model::{MAX_TIMES, Sample, SampleKind, Sequence};
use crate::node::{CostedSample, HIST_BEYOND_RESERVE, HIST_RESERVE, Node, SampleError};
use crate::settings::Settings;
use aggregator_protocol::number::Number;
use aggregator_protocol::quote::quoted;
use std::borrow::Cow;

/// The words of the kinds, for patterns.
mod word {
    use crate::model::SampleKind;

    pub const ABS: &str = SampleKind::Abs.name();
    pub const ADD: &str = SampleKind::Add.name();
    pub const DIFF: &str = SampleKind::Diff.name();
    pub const INC: &str = SampleKind::Inc.name();
}

/// The options that apply to all samples of a command.
pub(super) struct SampleOptions<'a> {
    pub kind: SampleKind,
    pub times: u64,
    pub tags: Option<Cow<'a, [u8]>>,
    pub at: i64,
    pub sequence: Option<Sequence<'a>>,
    pub hist: bool,
    /// `hist-match` is not empty.
    has_patterns: bool,
    /// The server's clock, Unix milliseconds.
    pub now_ms: i64,
    has_type: bool,
}

impl<'a> SampleOptions<'a> {
    /// The options of a command that gives none.
    #[inline]
    pub fn new(args: &Args<'a, '_>) -> SampleOptions<'a> {
        SampleOptions {
            kind: SampleKind::Abs,
            times: 1,
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
            word::ABS => self.set_kind(SampleKind::Abs, args),
            word::ADD => self.set_kind(SampleKind::Add, args),
            word::DIFF => self.set_kind(SampleKind::Diff, args),
            word::INC => self.set_kind(SampleKind::Inc, args),
            "HIST" => {
                self.hist = true;
                Ok(())
            }
            "TIMES" => {
                self.times = args.integer("TIMES", 1..=MAX_TIMES)?;
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

    /// ABS, ADD, DIFF and INC are words of one option.
    fn set_kind(&mut self, kind: SampleKind, args: &Args<'_, '_>) -> Result<(), CommandError> {
        if std::mem::replace(&mut self.has_type, true) {
            let (first, second) = (
                self.kind.name().min(kind.name()),
                self.kind.name().max(kind.name()),
            );
            return Err(args.reject(format_args!(
                "{first} and {second} are both given: a sample has one type"
            )));
        }
        self.kind = kind;
        Ok(())
    }

    /// Checks what depends on more than one option.
    #[inline]
    pub fn check(&self, args: &Args<'_, '_>) -> Result<(), CommandError> {
        check_times(self.kind, self.times).map_err(|detail| args.reject(detail))
    }

    /// A sample with these options.
    #[inline]
    pub fn sample(&self, value: Number) -> Sample<'_> {
        Sample {
            kind: self.kind,
            value,
            times: self.times,
            aggregate: None,
            at: self.at,
            tags: self.tags.as_deref(),
            tag_id: None,
            hist: self.hist,
        }
    }

    /// Returns `true` if a server with these settings would have accepted a sample with these options.
    pub fn is_replayable(&self, metric: &[u8], node: &Node, settings: &Settings) -> bool {
        let metric_type = self.kind.metric_type();
        let error = node.sample_error(metric, metric_type, 0, settings.max_series);
        error.is_none()
    }

    /// An upper bound of the cost of a command with one sample, which stands for `times` samples.
    #[inline]
    pub fn cost_of_one(
        &self,
        metric: &[u8],
        times: u64,
        node: Option<&Node>,
        closely: bool,
        settings: &Settings,
    ) -> u64 {
        let tags_len = self.tags.as_ref().map_or(0, |tags| tags.len());
        let closings = node.map_or(0, Node::closing_bound_of_one);
        let bound = self.bound_with(node, metric.len(), 1, tags_len, self.hist, closings);
        match closely {
            true => self
                .close_cost_of_one(metric, times, node, settings)
                .min(bound),
            false => bound,
        }
    }

    #[cold]
    fn close_cost_of_one(
        &self,
        metric: &[u8],
        times: u64,
        node: Option<&Node>,
        settings: &Settings,
    ) -> u64 {
        let sample = CostedSample {
            name: metric,
            metric_type: self.kind.metric_type(),
            at: self.at,
            hist: self.hist,
            times,
            reopened: None,
        };
        let (tags, samples) = (self.tags.as_deref(), std::iter::once(sample));
        match node {
            Some(node) => node.samples_cost(samples, tags, self.now_ms, settings),
            None => Node::first_samples_cost(samples, tags, settings),
        }
    }

    /// An upper bound of the cost of `samples` samples whose names have `names` bytes together, with tag lists of
    /// `tags` bytes together. `hist`: some of the samples have the option HIST.
    pub fn bound_of(
        &self,
        node: Option<&Node>,
        names: usize,
        samples: usize,
        tags: usize,
        hist: bool,
    ) -> u64 {
        let closings = node.map_or(0, |node| node.closing_bound(samples));
        self.bound_with(node, names, samples, tags, hist, closings)
    }

    /// The same with the bound of the windows that close.
    #[inline]
    fn bound_with(
        &self,
        node: Option<&Node>,
        names: usize,
        samples: usize,
        tags: usize,
        hist: bool,
        closings: u64,
    ) -> u64 {
        // Which metrics have histograms, and which are new and selected by a pattern, is not known here.
        let may_be_hist = hist || self.has_patterns || node.is_some_and(Node::has_histograms);
        let hist = match may_be_hist {
            true => samples as u64 * (HIST_RESERVE + HIST_BEYOND_RESERVE),
            false => 0,
        };
        samples as u64 * Node::sample_bound(0, 0)
            + Node::sample_bound(names, tags)
            + closings
            + hist
    }
}

/// Takes the sample of a command that has one, and propagates it if it has counted. Returns whether it has.
#[inline(always)]
pub(super) fn run_one(
    command: &'static str,
    metric: &[u8],
    mut sample: Sample<'_>,
    node: &mut Node,
    ctx: &mut WriteContext<'_>,
) -> Result<bool, CommandError> {
    let is_matched = !sample.hist && node.is_matched(metric, ctx);
    sample.hist |= is_matched;
    if ctx.memory_pressure {
        if !node.has_metric(metric) {
            return Err(ctx.memory_error(command));
        }
        // A sample that is rejected frees no memory.
        let (metric_type, max_series) = (sample.kind.metric_type(), ctx.settings.max_series);
        if let Some(error) = node.sample_error(metric, metric_type, 0, max_series) {
            return Err(reject(command, metric, sample.kind, error, ctx));
        }
        sample = node.reduce_for_pressure(metric, &sample, ctx);
    }
    let outcome = node
        .sample(metric, &sample, ctx)
        .map_err(|error| reject(command, metric, sample.kind, error, ctx))?;
    if outcome.has_counted() {
        if ctx.is_verbatim() && !is_matched {
            ctx.effects.set_verbatim();
        } else {
            ctx.effects.sample(metric, &sample);
        }
        if ctx.memory_pressure {
            node.limit_histograms_of(metric, ctx);
        }
    }
    Ok(outcome.has_counted())
}

#[cold]
fn reject(
    command: &'static str,
    metric: &[u8],
    found: SampleKind,
    error: SampleError,
    ctx: &mut WriteContext<'_>,
) -> CommandError {
    ctx.count_rejected(error.reason());
    let detail = error.detail(metric, found, ctx.settings.max_series);
    CommandError::new(error.code(), error.reason(), command, detail)
}

/// Checks that values of a type may be repeated.
#[inline]
pub(super) fn check_times(kind: SampleKind, times: u64) -> Result<(), String> {
    if times == 1 || matches!(kind, SampleKind::Abs | SampleKind::Inc) {
        return Ok(());
    }
    let kind = kind.name();
    Err(format!(
        "TIMES is given with {kind}: only values of ABS and INC may be repeated"
    ))
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

    /// Describes the error of a sample of this metric and kind.
    pub(super) fn detail(self, metric: &[u8], found: SampleKind, max_series: u32) -> String {
        let metric = quoted(metric);
        match self {
            SampleError::MetricType(expected) => {
                let (expected, found) = (expected.name(), found.name());
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
