//! Requests that report samples: AGG.STAT, AGG.MSTAT.

use super::args::{Args, value};
use super::memory_error;
use crate::context::WriteContext;
use crate::counters::Counters;
use crate::error::{CommandError, RejectReason};
use crate::model::{MetricType, Sample};
use crate::node::{Node, SampleError};
use crate::reply::Reply;
use crate::settings::Settings;
use crate::text::number::Number;
use crate::text::quote::quoted;
use std::borrow::Cow;
use std::collections::HashSet;

/// AGG.STAT.
pub(super) struct Stat<'a> {
    metric: &'a [u8],
    value: Number,
    common: Common<'a>,
}

/// What samples of one command share.
struct Common<'a> {
    metric_type: MetricType,
    tags: Option<Cow<'a, [u8]>>,
    at: i64,
    /// The clock.
    now_ms: i64,
}

impl Common<'_> {
    fn sample(&self, value: Number) -> Sample<'_> {
        Sample {
            metric_type: self.metric_type,
            value,
            at: self.at,
            tags: self.tags.as_deref(),
            tag_id: None,
        }
    }

    /// What samples of these metrics may cost this node, or a new one, looking at each.
    fn cost<'n>(
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
                Node::first_samples_cost(names, tags, settings)
            }
        }
    }

    /// The most that `samples` whose names have `names` bytes can cost.
    fn bound(&self, node: Option<&Node>, names: usize, samples: usize) -> u64 {
        let tags = self.tags.as_ref().map_or(0, |tags| tags.len());
        let closings = node.map_or(0, |node| node.closing_bound(samples));
        samples as u64 * Node::sample_bound(0, 0) + Node::sample_bound(names, tags) + closings
    }

    /// Reads one option.
    fn take<'a>(
        option: &str,
        common: &mut Common<'a>,
        args: &mut Args<'a, '_>,
    ) -> Result<(), CommandError> {
        match option {
            "ABS" => common.metric_type = MetricType::Abs,
            "DIFF" => common.metric_type = MetricType::Diff,
            "TAGS" => common.tags = Some(args.tags()?),
            _ => common.at = args.at()?,
        }
        Ok(())
    }

    /// ABS and DIFF are two words for one option.
    fn check(seen: &[&str], args: &Args<'_, '_>) -> Result<(), CommandError> {
        if seen.contains(&"ABS") && seen.contains(&"DIFF") {
            return Err(args.reject("ABS and DIFF are both given: a metric is one of them"));
        }
        Ok(())
    }
}

impl<'a> Stat<'a> {
    pub fn parse(args: &mut Args<'a, '_>) -> Result<Stat<'a>, CommandError> {
        let metric = args.name("metric")?;
        let text = args.next("value")?;
        args.check_size("value", text)?;
        let mut common = Common {
            metric_type: MetricType::Abs,
            tags: None,
            at: args.now_ms(),
            now_ms: args.now_ms(),
        };
        let mut both = 0;
        while !args.is_empty() {
            let option = args.option(&["ABS", "DIFF", "TAGS", "AT"])?;
            both += usize::from(matches!(option, "ABS" | "DIFF"));
            Common::take(option, &mut common, args)?;
        }
        if both > 1 {
            Common::check(&["ABS", "DIFF"], args)?;
        }
        let value =
            value(text, common.metric_type == MetricType::Diff).map_err(|why| args.reject(why))?;
        Ok(Stat {
            metric,
            value,
            common,
        })
    }

    pub fn cost(&self, node: Option<&Node>, closely: bool, settings: &Settings) -> u64 {
        let bound = self.common.bound(node, self.metric.len(), 1);
        if !closely {
            return bound;
        }
        let names = std::iter::once(self.metric);
        bound.min(self.common.cost(node, names, settings))
    }

    pub fn is_replayable(&self, node: &Node, settings: &Settings) -> bool {
        let kind = self.common.metric_type;
        node.refuses(self.metric, kind, 0, settings.max_series)
            .is_none()
    }

    pub fn replay(&self, node: &mut Node, mono_ms: u64, counters: &mut Counters) {
        let sample = self.common.sample(self.value);
        node.replay_sample(self.metric, &sample, mono_ms, counters);
    }

    pub fn run(
        &self,
        node: &mut Node,
        ctx: &mut WriteContext<'_>,
        reply: &mut dyn Reply,
    ) -> Result<(), CommandError> {
        let mut sample = self.common.sample(self.value);
        if ctx.memory_pressure {
            if !node.has_metric(self.metric) {
                return Err(memory_error("AGG.STAT", node, ctx));
            }
            // What is refused makes no room.
            if let Some(rejected) =
                node.refuses(self.metric, sample.metric_type, 0, ctx.settings.max_series)
            {
                return Err(self.reject(rejected, node, ctx));
            }
            sample = node.reduce_for_pressure(self.metric, &sample, ctx);
        }
        match node.sample(self.metric, &sample, ctx) {
            Ok(outcome) => {
                if outcome.has_counted() {
                    if ctx.is_verbatim() {
                        ctx.effects.set_verbatim();
                    } else {
                        ctx.effects.sample(self.metric, &sample);
                    }
                }
                reply.int(outcome.has_counted().into());
                Ok(())
            }
            Err(rejected) => Err(self.reject(rejected, node, ctx)),
        }
    }

    fn reject(
        &self,
        rejected: SampleError,
        node: &mut Node,
        ctx: &mut WriteContext<'_>,
    ) -> CommandError {
        node.count_rejected(rejected.reason(), ctx);
        let max = ctx.settings.max_series;
        sample_refusal("AGG.STAT", self.metric, rejected, max)
    }
}

fn sample_why(metric: &[u8], rejected: SampleError, max_series: u32) -> String {
    let metric = quoted(metric);
    match rejected {
        SampleError::MetricType(held) => format!(
            "metric {metric} is {held}, the sample {other}: AGG.FORGET node METRIC name lets it begin anew",
            held = held.name(),
            other = held.other().name()
        ),
        SampleError::Series => {
            format!(
                "metric {metric} is new, and the node has agg.max-series ({max_series}) metrics"
            )
        }
    }
}

fn sample_refusal(
    command: &str,
    metric: &[u8],
    rejected: SampleError,
    max_series: u32,
) -> CommandError {
    let code = if rejected == SampleError::Series {
        "AGGFULL"
    } else {
        "ERR"
    };
    let why = sample_why(metric, rejected, max_series);
    CommandError::new(rejected.reason(), code, format_args!("{command}: {why}"))
}

/// The most bytes of names and values for each sample that one command takes, on average.
const SAMPLE_BYTES: usize = 512;

/// The most bytes of records that one command's samples leave of the windows they close: some ten milliseconds. Only
/// thousands of metrics with long tags come to it.
const CLOSED_BYTES: u64 = 32 << 20;
const TOO_MANY_CLOSED: &str = "the samples before it close windows with more than 32 MiB of names and tags: send fewer at a time";

/// AGG.MSTAT.
pub(super) struct Mstat<'a> {
    common: Common<'a>,
    atomic: bool,
    /// The samples with their index, and what is wrong with the others.
    good: Vec<(usize, &'a [u8], Number)>,
    bad: Vec<(usize, String)>,
}

impl<'a> Mstat<'a> {
    pub fn parse(args: &mut Args<'a, '_>) -> Result<Mstat<'a>, CommandError> {
        let mut common = Common {
            metric_type: MetricType::Abs,
            tags: None,
            at: args.now_ms(),
            now_ms: args.now_ms(),
        };
        let (mut atomic, mut both) = (false, 0);
        let values = loop {
            match args.option(&["ABS", "DIFF", "TAGS", "AT", "ATOMIC", "VALUES"])? {
                "VALUES" => break args.take_rest(),
                "ATOMIC" => atomic = true,
                option => {
                    both += usize::from(matches!(option, "ABS" | "DIFF"));
                    Common::take(option, &mut common, args)?;
                }
            }
        };
        if both > 1 {
            Common::check(&["ABS", "DIFF"], args)?;
        }
        if values.is_empty() || values.len() % 2 != 0 {
            let n = values.len();
            return Err(args.reject(format_args!(
                "VALUES takes pairs of metric and value, and {n} arguments follow"
            )));
        }
        let (n, max) = (values.len() / 2, args.settings.max_values);
        if n > max {
            return Err(args.reject(format_args!(
                "VALUES has {n} samples: one command takes {max}"
            )));
        }
        let bytes = values.iter().map(|word| word.len()).sum::<usize>();
        let max = max.saturating_mul(SAMPLE_BYTES);
        if bytes > max {
            return Err(args.reject(format_args!(
                "VALUES has {bytes} bytes: one command takes {max}"
            )));
        }
        let mut mstat = Mstat {
            common,
            atomic,
            good: Vec::with_capacity(values.len() / 2),
            bad: Vec::new(),
        };
        for (i, pair) in values.chunks_exact(2).enumerate() {
            match mstat.check(pair[0], pair[1], args) {
                Ok(value) => mstat.good.push((i, pair[0], value)),
                Err(why) if atomic => {
                    return Err(args.reject(format_args!("sample {i}: {why}; nothing was taken")));
                }
                Err(why) => mstat.bad.push((i, why)),
            }
        }
        Ok(mstat)
    }

    fn check(&self, metric: &[u8], text: &[u8], args: &Args<'_, '_>) -> Result<Number, String> {
        if let Err(refusal) = args.check_name("metric", metric) {
            return Err(self.bare(refusal, args));
        }
        if let Err(refusal) = args.check_size("value", text) {
            return Err(self.bare(refusal, args));
        }
        value(text, self.common.metric_type == MetricType::Diff)
    }

    /// What is wrong, without the command's name.
    fn bare(&self, refusal: CommandError, args: &Args<'_, '_>) -> String {
        let prefix = format!("ERR {}: ", args.command);
        match refusal.text.strip_prefix(&prefix) {
            Some(text) => text.to_owned(),
            None => refusal.text,
        }
    }

    pub fn cost(&self, node: Option<&Node>, closely: bool, settings: &Settings) -> u64 {
        let names = self.good.iter().map(|(_, metric, _)| *metric);
        let bytes = names.clone().map(<[u8]>::len).sum();
        let bound = self.common.bound(node, bytes, self.good.len());
        // For what is refused as a whole there is no room to make.
        let is_refused = |node: &Node| self.rejected(node, settings.max_series).is_some();
        match node {
            _ if !closely => bound,
            Some(node) if self.atomic && is_refused(node) => 0,
            _ => bound.min(self.common.cost(node, names, settings)),
        }
    }

    pub fn run(
        &self,
        node: &mut Node,
        ctx: &mut WriteContext<'_>,
        reply: &mut dyn Reply,
    ) -> Result<(), CommandError> {
        if self.atomic {
            self.check_all(node, ctx)?;
        }
        // One look at a long list for all samples. Where memory is tight and it would have to be kept, it is left out.
        let tags = self.common.tags.as_deref();
        let lacks_tags = ctx.memory_pressure && tags.is_some_and(|tags| !node.holds_tags(tags));
        let tag_id = tags
            .filter(|_| !lacks_tags)
            .map(|tags| node.hold_tags(tags));
        let (mut taken, mut told, mut late) = (Vec::with_capacity(self.good.len()), 0, 0);
        let mut bad = Vec::new();
        for _ in &self.bad {
            node.count_rejected(RejectReason::Argument, ctx);
        }
        let closed = node.closed_bytes();
        // No metric moves while samples are taken.
        let slots = node.metric_slots(self.good.iter().map(|(_, metric, _)| *metric));
        for (n, (&(i, metric, value), slot)) in self.good.iter().zip(slots).enumerate() {
            if node.closed_bytes().wrapping_sub(closed) > CLOSED_BYTES {
                node.count_rejected(RejectReason::Argument, ctx);
                bad.push((i, TOO_MANY_CLOSED.to_owned()));
                continue;
            }
            let mut sample = self.common.sample(value);
            sample.tag_id = tag_id;
            if ctx.memory_pressure && !node.has_metric(metric) {
                node.count_rejected(ctx.memory.limit.rejected(), ctx);
                let (metric, limit) = (quoted(metric), ctx.memory.limit.name());
                let max = ctx.memory.max;
                let why = format!("metric {metric} is new, and {limit} ({max} bytes) has no room");
                bad.push((i, why));
                continue;
            }
            let rejected = if ctx.memory_pressure {
                node.refuses(metric, sample.metric_type, 0, ctx.settings.max_series)
            } else {
                None
            };
            if ctx.memory_pressure && rejected.is_none() {
                if lacks_tags {
                    sample.tags = None;
                    node.count_rejected(ctx.memory.limit.rejected(), ctx);
                }
                sample = node.reduce_for_pressure(metric, &sample, ctx);
            }
            match rejected.map_or_else(|| node.sample_in(slot, metric, &sample, ctx), Err) {
                Ok(outcome) if outcome.has_counted() && ctx.memory_pressure => {
                    // What it made room for comes before it.
                    ctx.effects.sample(metric, &sample);
                    told += 1;
                }
                Ok(outcome) if outcome.has_counted() => taken.push(n),
                Ok(_) => late += 1,
                Err(rejected) => {
                    node.count_rejected(rejected.reason(), ctx);
                    bad.push((i, sample_why(metric, rejected, ctx.settings.max_series)));
                }
            }
        }
        bad.extend(self.bad.iter().cloned());
        bad.sort_unstable_by_key(|(i, _)| *i);
        // A refusal may follow from settings or memory, which a replica does not share.
        if bad.is_empty() && ctx.is_verbatim() {
            if !taken.is_empty() {
                ctx.effects.set_verbatim();
            }
        } else {
            for &(_, metric, value) in taken.iter().filter_map(|n| self.good.get(*n)) {
                let mut sample = self.common.sample(value);
                sample.tag_id = tag_id;
                ctx.effects.sample(metric, &sample);
            }
        }
        tag_id.into_iter().for_each(|id| node.release_tags(id));
        reply.array(3);
        reply.int(taken.len() as i64 + told);
        reply.int(late);
        reply.array(bad.len());
        for (i, why) in bad {
            reply.array(2);
            reply.int(i as i64);
            reply.bulk(why.as_bytes());
        }
        Ok(())
    }

    pub fn is_replayable(&self, node: &Node, settings: &Settings) -> bool {
        self.bad.is_empty() && self.rejected(node, settings.max_series).is_none()
    }

    pub fn replay(&self, node: &mut Node, mono_ms: u64, counters: &mut Counters) {
        let tags = self.common.tags.as_deref();
        let tag_id = tags.map(|tags| node.hold_tags(tags));
        for &(_, metric, value) in &self.good {
            let mut sample = self.common.sample(value);
            sample.tag_id = tag_id;
            node.replay_sample(metric, &sample, mono_ms, counters);
        }
        tag_id.into_iter().for_each(|id| node.release_tags(id));
    }

    fn check_all(&self, node: &mut Node, ctx: &mut WriteContext<'_>) -> Result<(), CommandError> {
        if let Some(refusal) = self.rejected(node, ctx.settings.max_series) {
            node.count_rejected(refusal.reason, ctx);
            return Err(refusal);
        }
        let is_new = |(_, metric, _): &(usize, &[u8], Number)| !node.has_metric(metric);
        if ctx.memory_pressure && self.good.iter().any(is_new) {
            return Err(memory_error("AGG.MSTAT", node, ctx));
        }
        Ok(())
    }

    /// What is said of the first sample that the node refuses, whatever the memory.
    fn rejected(&self, node: &Node, max_series: u32) -> Option<CommandError> {
        // By hash, as names may be long and much alike.
        let mut new = HashSet::with_hasher(node.name_hasher());
        let mut closing = 0;
        for &(i, metric, _) in &self.good {
            if new.contains(metric) {
                continue;
            }
            closing += node.closing_bytes(metric, self.common.at);
            if closing > CLOSED_BYTES {
                let text = format!("AGG.MSTAT: sample {i}: {TOO_MANY_CLOSED}; nothing was taken");
                return Some(CommandError::argument(text));
            }
            let rejected = node.refuses(
                metric,
                self.common.metric_type,
                new.len() as u32,
                max_series,
            );
            if let Some(rejected) = rejected {
                let why = sample_why(metric, rejected, max_series);
                let code = if rejected == SampleError::Series {
                    "AGGFULL"
                } else {
                    "ERR"
                };
                let text = format_args!("AGG.MSTAT: sample {i}: {why}; nothing was taken");
                return Some(CommandError::new(rejected.reason(), code, text));
            }
            if !node.has_metric(metric) {
                new.insert(metric);
            }
        }
        None
    }
}
