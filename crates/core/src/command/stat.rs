//! AGG.STAT: one sample.

use super::args::{Args, value};
use super::samples::SampleOptions;
use crate::context::WriteContext;
use crate::counters::Counters;
use crate::error::CommandError;
use crate::model::Sequence;
use crate::node::{CostedSample, Node, SampleError};
use crate::reply::Reply;
use crate::settings::Settings;
use aggregator_protocol::number::Number;

const NAME: &str = "AGG.STAT";

/// The arguments of AGG.STAT.
pub(super) struct Stat<'a> {
    metric: &'a [u8],
    value: Number,
    options: SampleOptions<'a>,
}

impl<'a> Stat<'a> {
    pub fn parse(args: &mut Args<'a, '_>) -> Result<Stat<'a>, CommandError> {
        let metric = args.name("metric")?;
        let text = args.word("value")?;
        let mut options = SampleOptions::new(args);
        while !args.is_empty() {
            let option = args.option()?;
            options.read(option, args)?;
        }
        options.check(args)?;
        let value = value(text, options.kind).map_err(|detail| args.reject(detail))?;
        Ok(Stat {
            metric,
            value,
            options,
        })
    }

    pub fn sequence(&self) -> Option<Sequence<'a>> {
        self.options.sequence
    }

    pub fn cost(&self, node: Option<&Node>, closely: bool, settings: &Settings) -> u64 {
        let bound = self.options.bound(node, self.metric.len(), 1);
        if !closely {
            return bound;
        }
        let sample = CostedSample {
            name: self.metric,
            metric_type: self.options.kind.metric_type(),
            at: self.options.at,
            hist: self.options.hist,
            reopened: None,
        };
        let tags = self.options.tags.as_deref();
        let samples = std::iter::once(sample);
        bound.min(match node {
            Some(node) => node.samples_cost(samples, tags, self.options.now_ms, settings),
            None => Node::first_samples_cost(samples, tags, settings),
        })
    }

    pub fn is_replayable(&self, node: &Node, settings: &Settings) -> bool {
        node.sample_error(
            self.metric,
            self.options.kind.metric_type(),
            0,
            settings.max_series,
        )
        .is_none()
    }

    pub fn replay(&self, node: &mut Node, mono_ms: u64, counters: &mut Counters) {
        let sample = self.options.sample(self.value);
        node.replay_samples(std::iter::once((self.metric, sample)), mono_ms, counters);
    }

    pub fn run(
        &self,
        node: &mut Node,
        ctx: &mut WriteContext<'_>,
        reply: &mut dyn Reply,
    ) -> Result<(), CommandError> {
        let mut sample = self.options.sample(self.value);
        let is_matched = !sample.hist && node.is_matched(self.metric, ctx);
        sample.hist |= is_matched;
        if ctx.memory_pressure {
            if !node.has_metric(self.metric) {
                return Err(ctx.memory_error(NAME));
            }
            // A sample that is rejected frees no memory.
            let (metric_type, max_series) = (sample.kind.metric_type(), ctx.settings.max_series);
            if let Some(error) = node.sample_error(self.metric, metric_type, 0, max_series) {
                return Err(self.reject(error, ctx));
            }
            sample = node.reduce_for_pressure(self.metric, &sample, ctx);
        }
        let outcome = node
            .sample(self.metric, &sample, ctx)
            .map_err(|error| self.reject(error, ctx))?;
        if outcome.has_counted() {
            if ctx.is_verbatim() && !is_matched {
                ctx.effects.set_verbatim();
            } else {
                ctx.effects.sample(self.metric, &sample);
            }
        }
        reply.int(outcome.has_counted().into());
        Ok(())
    }

    #[cold]
    fn reject(&self, error: SampleError, ctx: &mut WriteContext<'_>) -> CommandError {
        ctx.count_rejected(error.reason());
        let detail = error.detail(self.metric, self.options.kind, ctx.settings.max_series);
        CommandError::new(error.code(), error.reason(), NAME, detail)
    }
}
