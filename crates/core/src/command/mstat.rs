//! AGG.MSTAT: many samples with the same options.

use super::args::{Args, value};
use super::samples::SampleOptions;
use crate::context::WriteContext;
use crate::counters::Counters;
use crate::counters::RejectReason;
use crate::error::CommandError;
use crate::model::{Sequence, TagId};
use crate::node::Node;
use crate::reply::Reply;
use crate::settings::Settings;
use aggregator_protocol::number::Number;
use aggregator_protocol::quote::quoted;
use std::collections::HashSet;

const NAME: &str = "AGG.MSTAT";

/// The largest number of bytes of names and values for each sample of a command, on average.
const SAMPLE_BYTES: usize = 512;

/// The largest number of bytes of the records of the windows that the samples of one command close: about ten
/// milliseconds. Only thousands of metrics with long tags reach it.
const CLOSED_BYTES: u64 = 32 << 20;
const TOO_MANY_CLOSED: &str = "the preceding samples close windows with more than 32 MiB of names and tags: \
                               send fewer samples per command";

/// The arguments of AGG.MSTAT.
pub(super) struct Mstat<'a> {
    options: SampleOptions<'a>,
    atomic: bool,
    samples: Vec<ParsedSample<'a>>,
    /// The samples that did not parse: their indexes and errors.
    invalid: Vec<(usize, String)>,
}

struct ParsedSample<'a> {
    /// Its place among the samples of the command.
    index: usize,
    metric: &'a [u8],
    value: Number,
}

/// The outcome of the samples of a command.
#[derive(Default)]
struct Outcome {
    /// The samples whose new metrics have histograms by `hist-match`, growing, as indexes of [`Mstat::samples`].
    matched: Vec<usize>,
    /// The samples that counted and are still to be propagated, as indexes of [`Mstat::samples`].
    counted: Vec<usize>,
    /// The number of samples that counted and have been propagated.
    propagated: i64,
    late: i64,
    rejected: Vec<(usize, String)>,
}

/// The tags that the samples of a command share.
#[derive(Clone, Copy)]
struct CommandTags {
    /// A reference to them that the command holds: one lookup of a long list for all samples.
    id: Option<TagId>,
    /// Memory does not suffice for them, and the samples count without.
    are_omitted: bool,
}

impl<'a> Mstat<'a> {
    pub fn parse(args: &mut Args<'a, '_>) -> Result<Mstat<'a>, CommandError> {
        let (mut options, mut atomic) = (SampleOptions::new(args), false);
        let values = loop {
            if args.is_empty() {
                return Err(args.missing("VALUES"));
            }
            match args.option()? {
                "VALUES" => break args.take_rest(),
                "ATOMIC" => atomic = true,
                option => options.read(option, args)?,
            }
        };
        check_len(values, args)?;
        let mut mstat = Mstat {
            options,
            atomic,
            samples: Vec::with_capacity(values.len() / 2),
            invalid: Vec::new(),
        };
        for (index, pair) in values.chunks_exact(2).enumerate() {
            let (metric, text) = (pair[0], pair[1]);
            match mstat.value(metric, text, args) {
                Ok(value) => mstat.samples.push(ParsedSample {
                    index,
                    metric,
                    value,
                }),
                Err(why) if atomic => {
                    return Err(args.reject(format_args!(
                        "sample {index}: {why}; no sample was accepted"
                    )));
                }
                Err(why) => mstat.invalid.push((index, why)),
            }
        }
        Ok(mstat)
    }

    fn value(&self, metric: &[u8], text: &[u8], args: &Args<'_, '_>) -> Result<Number, String> {
        args.check_name("metric", metric)
            .map_err(|error| error.detail)?;
        args.check_size("value", text)
            .map_err(|error| error.detail)?;
        value(text, self.options.kind)
    }

    pub fn sequence(&self) -> Option<Sequence<'a>> {
        self.options.sequence
    }

    pub fn cost(&self, node: Option<&Node>, closely: bool, settings: &Settings) -> u64 {
        let names = self.names();
        let bytes = names.clone().map(<[u8]>::len).sum();
        let bound = self.options.bound(node, bytes, self.samples.len());
        // A command that is rejected as a whole costs nothing.
        let is_rejected = |node: &Node| self.first_error(node, settings.max_series).is_some();
        match node {
            _ if !closely => bound,
            Some(node) if self.atomic && is_rejected(node) => 0,
            _ => bound.min(self.options.cost(node, names, settings)),
        }
    }

    fn names(&self) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.samples.iter().map(|sample| sample.metric)
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
        let tags = self.acquire_tags(node, ctx);
        for _ in &self.invalid {
            ctx.count_rejected(RejectReason::Argument);
        }
        let mut outcome = self.run_samples(tags, node, ctx);
        outcome.rejected.extend(self.invalid.iter().cloned());
        outcome.rejected.sort_unstable_by_key(|(index, _)| *index);
        self.propagate(&outcome, tags, ctx);
        tags.id.into_iter().for_each(|id| node.release_tags(id));
        outcome.reply(reply);
        Ok(())
    }

    fn acquire_tags(&self, node: &mut Node, ctx: &WriteContext<'_>) -> CommandTags {
        let tags = self.options.tags.as_deref();
        let are_omitted = ctx.memory_pressure && tags.is_some_and(|tags| !node.holds_tags(tags));
        let id = tags
            .filter(|_| !are_omitted)
            .map(|tags| node.acquire_tags(tags));
        CommandTags { id, are_omitted }
    }

    fn run_samples(
        &self,
        tags: CommandTags,
        node: &mut Node,
        ctx: &mut WriteContext<'_>,
    ) -> Outcome {
        let mut outcome = Outcome {
            counted: Vec::with_capacity(self.samples.len()),
            ..Outcome::default()
        };
        let closed = node.closed_bytes();
        // No metric moves while samples are taken.
        let slots = node.metric_slots(self.names());
        for (n, (sample, slot)) in self.samples.iter().zip(slots).enumerate() {
            // ATOMIC has checked it before the first sample.
            if !self.atomic && node.closed_bytes().wrapping_sub(closed) > CLOSED_BYTES {
                ctx.count_rejected(RejectReason::Argument);
                outcome
                    .rejected
                    .push((sample.index, TOO_MANY_CLOSED.to_owned()));
            } else if ctx.memory_pressure {
                self.run_under_pressure(sample, slot, tags, node, ctx, &mut outcome);
            } else {
                let mut taken = self.options.sample(sample.value);
                taken.tag_id = tags.id;
                if !taken.hist && node.is_matched(sample.metric, ctx) {
                    taken.hist = true;
                    outcome.matched.push(n);
                }
                match node.sample_in(slot, sample.metric, &taken, ctx) {
                    Ok(result) if result.has_counted() => outcome.counted.push(n),
                    Ok(_) => outcome.late += 1,
                    Err(error) => {
                        ctx.count_rejected(error.reason());
                        let detail =
                            error.detail(sample.metric, self.options.kind, ctx.settings.max_series);
                        outcome.rejected.push((sample.index, detail));
                    }
                }
            }
        }
        outcome
    }

    /// Takes a sample while memory is short: only one of a metric that exists, without tags that would have to be kept.
    /// The records that it evicts come before it in the effects, so it is propagated at once.
    fn run_under_pressure(
        &self,
        sample: &ParsedSample<'_>,
        slot: u32,
        tags: CommandTags,
        node: &mut Node,
        ctx: &mut WriteContext<'_>,
        outcome: &mut Outcome,
    ) {
        let metric = sample.metric;
        let mut taken = self.options.sample(sample.value);
        taken.tag_id = tags.id;
        if !node.has_metric(metric) {
            ctx.count_rejected(ctx.memory.limit.rejected());
            let (metric, limit) = (quoted(metric), ctx.memory.limit.name());
            let max = ctx.memory.max;
            let why = format!("cannot create metric {metric}: {limit} ({max} bytes) reached");
            outcome.rejected.push((sample.index, why));
            return;
        }
        let max_series = ctx.settings.max_series;
        let error = node.sample_error(metric, taken.kind.metric_type(), 0, max_series);
        if error.is_none() {
            if tags.are_omitted {
                taken.tags = None;
                ctx.count_rejected(ctx.memory.limit.rejected());
            }
            taken = node.reduce_for_pressure(metric, &taken, ctx);
        }
        match error.map_or_else(|| node.sample_in(slot, metric, &taken, ctx), Err) {
            Ok(result) if result.has_counted() => {
                ctx.effects.sample(metric, &taken);
                outcome.propagated += 1;
            }
            Ok(_) => outcome.late += 1,
            Err(error) => {
                ctx.count_rejected(error.reason());
                outcome.rejected.push((
                    sample.index,
                    error.detail(metric, self.options.kind, max_series),
                ));
            }
        }
    }

    /// Writes the effects. A rejection may follow from settings or memory, which a replica does not share, so a command
    /// with one is not propagated verbatim.
    fn propagate(&self, outcome: &Outcome, tags: CommandTags, ctx: &mut WriteContext<'_>) {
        let is_whole = outcome.rejected.is_empty() && outcome.matched.is_empty();
        if is_whole && ctx.is_verbatim() {
            if !outcome.counted.is_empty() {
                ctx.effects.set_verbatim();
            }
            return;
        }
        for n in &outcome.counted {
            let Some(sample) = self.samples.get(*n) else {
                continue;
            };
            let mut taken = self.options.sample(sample.value);
            taken.tag_id = tags.id;
            taken.hist |= outcome.matched.binary_search(n).is_ok();
            ctx.effects.sample(sample.metric, &taken);
        }
    }

    pub fn is_replayable(&self, node: &Node, settings: &Settings) -> bool {
        self.invalid.is_empty() && self.first_error(node, settings.max_series).is_none()
    }

    pub fn replay(&self, node: &mut Node, mono_ms: u64, counters: &mut Counters) {
        let tags = self.options.tags.as_deref();
        let tag_id = tags.map(|tags| node.acquire_tags(tags));
        let samples = self.samples.iter().map(|sample| {
            let mut taken = self.options.sample(sample.value);
            taken.tag_id = tag_id;
            (sample.metric, taken)
        });
        node.replay_samples(samples, mono_ms, counters);
        tag_id.into_iter().for_each(|id| node.release_tags(id));
    }

    fn check_all(&self, node: &Node, ctx: &mut WriteContext<'_>) -> Result<(), CommandError> {
        if let Some(error) = self.first_error(node, ctx.settings.max_series) {
            ctx.count_rejected(error.reason);
            return Err(error);
        }
        if ctx.memory_pressure && self.names().any(|metric| !node.has_metric(metric)) {
            return Err(ctx.memory_error(NAME));
        }
        Ok(())
    }

    /// Returns the error of the first sample that the node rejects, whatever memory is available.
    fn first_error(&self, node: &Node, max_series: u32) -> Option<CommandError> {
        // Hashed, as names may be long and have long common prefixes.
        let mut new = HashSet::with_hasher(node.name_hasher());
        let mut closing = 0;
        for &ParsedSample { index, metric, .. } in &self.samples {
            if new.contains(metric) {
                continue;
            }
            let closing_bytes = node.closing_bytes(metric, self.options.at);
            closing += closing_bytes.unwrap_or(0);
            if closing > CLOSED_BYTES {
                let detail = format!("sample {index}: {TOO_MANY_CLOSED}; no sample was accepted");
                return Some(CommandError::argument(NAME, detail));
            }
            let metric_type = self.options.kind.metric_type();
            if let Some(error) =
                node.sample_error(metric, metric_type, new.len() as u32, max_series)
            {
                let why = error.detail(metric, self.options.kind, max_series);
                let detail = format_args!("sample {index}: {why}; no sample was accepted");
                return Some(CommandError::new(
                    error.code(),
                    error.reason(),
                    NAME,
                    detail,
                ));
            }
            if closing_bytes.is_none() {
                new.insert(metric);
            }
        }
        None
    }
}

/// Checks the number and the size of the words behind VALUES.
fn check_len(values: &[&[u8]], args: &Args<'_, '_>) -> Result<(), CommandError> {
    let (pairs, rest) = values.as_chunks::<2>();
    if pairs.is_empty() || !rest.is_empty() {
        let n = values.len();
        return Err(args.reject(format_args!(
            "VALUES requires pairs of metric and value, got {n} arguments"
        )));
    }
    let (n, max) = (pairs.len(), args.settings.max_values);
    if n > max {
        return Err(args.reject(format_args!("VALUES has {n} samples: the maximum is {max}")));
    }
    let bytes = values.iter().map(|word| word.len()).sum::<usize>();
    let max = max.saturating_mul(SAMPLE_BYTES);
    if bytes > max {
        return Err(args.reject(format_args!(
            "VALUES has {bytes} bytes: the maximum is {max}"
        )));
    }
    Ok(())
}

impl Outcome {
    fn reply(self, reply: &mut dyn Reply) {
        reply.array(3);
        reply.int(self.counted.len() as i64 + self.propagated);
        reply.int(self.late);
        reply.array(self.rejected.len());
        for (index, why) in self.rejected {
            reply.array(2);
            reply.int(index as i64);
            reply.bulk(why.as_bytes());
        }
    }
}
