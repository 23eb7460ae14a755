//! AGG.STAT: one sample.

use super::args::{Args, value};
use super::samples::{SampleOptions, run_one};
use crate::context::WriteContext;
use crate::counters::Counters;
use crate::error::CommandError;
use crate::model::Sequence;
use crate::node::Node;
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
    #[inline(always)]
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

    #[inline(always)]
    pub fn sequence(&self) -> Option<Sequence<'a>> {
        self.options.sequence
    }

    #[inline(always)]
    pub fn cost(&self, node: Option<&Node>, closely: bool, settings: &Settings) -> u64 {
        let options = &self.options;
        options.cost_of_one(self.metric, options.times, node, closely, settings)
    }

    pub fn is_replayable(&self, node: &Node, settings: &Settings) -> bool {
        self.options.is_replayable(self.metric, node, settings)
    }

    pub fn replay(&self, node: &mut Node, mono_ms: u64, counters: &mut Counters) {
        let sample = self.options.sample(self.value);
        node.replay_samples(std::iter::once((self.metric, sample)), mono_ms, counters);
    }

    #[inline(always)]
    pub fn run(
        &self,
        node: &mut Node,
        ctx: &mut WriteContext<'_>,
        reply: &mut dyn Reply,
    ) -> Result<(), CommandError> {
        let sample = self.options.sample(self.value);
        let counted = run_one(NAME, self.metric, sample, node, ctx)?;
        reply.int(counted.into());
        Ok(())
    }
}
