//! AGG.MSTAT: many samples, with the same options or with options of their own.

use super::args::Args;
use super::columns::{Columns, InvalidSample, ParsedSample, Samples};
use super::samples::SampleOptions;
use crate::context::WriteContext;
use crate::counters::Counters;
use crate::counters::RejectReason;
use crate::error::CommandError;
use crate::model::{Sample, Sequence, TagId};
use crate::node::{Node, SampleError};
use crate::reply::Reply;
use crate::settings::Settings;
use aggregator_protocol::quote::quoted;
use std::collections::{HashMap, HashSet};

const NAME: &str = "AGG.MSTAT";

/// The largest number of bytes of the records of the windows that the samples of one command close: about ten
/// milliseconds. Only thousands of metrics with long tags reach it.
const CLOSED_BYTES: u64 = 32 << 20;
const TOO_MANY_CLOSED: &str = "the preceding samples close windows with more than 32 MiB of names and tags: \
                               send fewer samples per command";

/// The arguments of AGG.MSTAT.
pub(super) struct Mstat<'a> {
    options: SampleOptions<'a>,
    atomic: bool,
    samples: Samples<'a>,
}

/// The outcome of the samples of a command.
#[derive(Default)]
struct Outcome {
    /// The samples whose new metrics have histograms by `hist-match`, growing, as indexes of [`Samples::valid`].
    matched: Vec<usize>,
    /// The samples that counted and are still to be propagated, as indexes of [`Samples::valid`].
    counted: Vec<usize>,
    /// The number of samples that counted and have been propagated.
    propagated: i64,
    late: i64,
    rejected: Vec<(usize, String)>,
}

/// A tag list that samples of a command share.
#[derive(Clone, Copy)]
struct CommandTags {
    /// A reference to it that the command holds: one lookup of a long list for all samples.
    id: Option<TagId>,
    /// Memory does not suffice for it, and the samples count without.
    is_omitted: bool,
}

impl<'a> Mstat<'a> {
    pub fn parse(args: &mut Args<'a, '_>) -> Result<Mstat<'a>, CommandError> {
        let (mut options, mut atomic) = (SampleOptions::new(args), false);
        let columns = loop {
            if args.is_empty() {
                return Err(args.missing("VALUES"));
            }
            match args.option()? {
                "VALUES" => break Columns::pairs(),
                "COLUMNS" => break Columns::parse(args)?,
                "ATOMIC" => atomic = true,
                option => options.read(option, args)?,
            }
        };
        let values = args.take_rest();
        columns.check_len(values, args)?;
        let samples = Samples::parse(&columns, values, &mut options, atomic, args)?;
        Ok(Mstat {
            options,
            atomic,
            samples,
        })
    }

    pub fn sequence(&self) -> Option<Sequence<'a>> {
        self.options.sequence
    }

    pub fn cost(&self, node: Option<&Node>, closely: bool, settings: &Settings) -> u64 {
        let samples = self.samples.costed();
        let names = self.names().map(<[u8]>::len).sum();
        let tags = self.samples.tag_lists.iter().map(|tags| &**tags);
        // Each list is rounded up on its own.
        let tag_bytes = tags.clone().map(|tags| tags.len() + 96).sum();
        let (n, hist) = (self.samples.valid.len(), samples.clone().any(|s| s.hist));
        let bound = self.options.bound_of(node, names, n, tag_bytes, hist)
            + node.map_or_else(
                || Node::reopened_bound(samples.clone()),
                |node| node.reopened_cost(samples.clone()),
            );
        // A command that is rejected as a whole costs nothing.
        let is_rejected = |node: &Node| self.first_error(node, settings.max_series).is_some();
        match node {
            _ if !closely => bound,
            Some(node) if self.atomic && is_rejected(node) => 0,
            Some(node) => {
                bound.min(node.samples_cost(samples, tags, self.options.now_ms, settings))
            }
            None => bound.min(Node::first_samples_cost(samples, tags, settings)),
        }
    }

    fn names(&self) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.samples.valid.iter().map(|sample| sample.metric)
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
        for invalid in &self.samples.invalid {
            ctx.count_rejected(invalid.reason);
        }
        let mut outcome = self.run_samples(&tags, node, ctx);
        let invalid = self.samples.invalid.iter();
        let invalid = invalid.map(|InvalidSample { index, why, .. }| (*index, why.clone()));
        outcome.rejected.extend(invalid);
        outcome.rejected.sort_unstable_by_key(|(index, _)| *index);
        self.propagate(&outcome, &tags, ctx);
        tags.iter()
            .filter_map(|tags| tags.id)
            .for_each(|id| node.release_tags(id));
        outcome.reply(reply);
        Ok(())
    }

    /// Acquires references to the tag lists of the command, in their order.
    fn acquire_tags(&self, node: &mut Node, ctx: &WriteContext<'_>) -> Vec<CommandTags> {
        let lists = self.samples.tag_lists.iter();
        lists
            .map(|tags| {
                let is_omitted = ctx.memory_pressure && !node.holds_tags(tags);
                let id = (!is_omitted).then(|| node.acquire_tags(tags));
                CommandTags { id, is_omitted }
            })
            .collect()
    }

    /// Returns a sample with the reference to its tag list.
    fn sample(&self, parsed: &ParsedSample<'_>, tags: &[CommandTags]) -> Sample<'_> {
        let list = parsed.tags.and_then(|list| tags.get(list));
        Sample {
            tag_id: list.and_then(|list| list.id),
            ..parsed.sample(&self.samples.tag_lists)
        }
    }

    fn run_samples(
        &self,
        tags: &[CommandTags],
        node: &mut Node,
        ctx: &mut WriteContext<'_>,
    ) -> Outcome {
        let mut outcome = Outcome {
            counted: Vec::with_capacity(self.samples.valid.len()),
            ..Outcome::default()
        };
        let closed = node.closed_bytes();
        // No metric moves while samples are taken.
        let slots = node.metric_slots(self.names());
        for (n, (sample, slot)) in self.samples.valid.iter().zip(slots).enumerate() {
            // ATOMIC has checked it before the first sample.
            if !self.atomic && node.closed_bytes().wrapping_sub(closed) > CLOSED_BYTES {
                ctx.count_rejected(RejectReason::Argument);
                outcome
                    .rejected
                    .push((sample.index, TOO_MANY_CLOSED.to_owned()));
            } else if ctx.memory_pressure {
                self.run_under_pressure(sample, slot, tags, node, ctx, &mut outcome);
            } else {
                let mut taken = self.sample(sample, tags);
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
                            error.detail(sample.metric, sample.kind, ctx.settings.max_series);
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
        tags: &[CommandTags],
        node: &mut Node,
        ctx: &mut WriteContext<'_>,
        outcome: &mut Outcome,
    ) {
        let metric = sample.metric;
        let mut taken = self.sample(sample, tags);
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
            let list = sample.tags.and_then(|list| tags.get(list));
            if list.is_some_and(|list| list.is_omitted) {
                taken.tags = None;
                ctx.count_rejected(ctx.memory.limit.rejected());
            }
            taken = node.reduce_for_pressure(metric, &taken, ctx);
        }
        match error.map_or_else(|| node.sample_in(slot, metric, &taken, ctx), Err) {
            Ok(result) if result.has_counted() => {
                ctx.effects.sample(metric, &taken);
                node.limit_histograms_of(metric, ctx);
                outcome.propagated += 1;
            }
            Ok(_) => outcome.late += 1,
            Err(error) => {
                ctx.count_rejected(error.reason());
                outcome
                    .rejected
                    .push((sample.index, error.detail(metric, sample.kind, max_series)));
            }
        }
    }

    /// Writes the effects. A rejection may follow from settings or memory, which a replica does not share, so a command
    /// with one is not propagated verbatim.
    fn propagate(&self, outcome: &Outcome, tags: &[CommandTags], ctx: &mut WriteContext<'_>) {
        let is_whole = outcome.rejected.is_empty() && outcome.matched.is_empty();
        if is_whole && ctx.is_verbatim() {
            if !outcome.counted.is_empty() {
                ctx.effects.set_verbatim();
            }
            return;
        }
        for n in &outcome.counted {
            let Some(sample) = self.samples.valid.get(*n) else {
                continue;
            };
            let mut taken = self.sample(sample, tags);
            taken.hist |= outcome.matched.binary_search(n).is_ok();
            ctx.effects.sample(sample.metric, &taken);
        }
    }

    pub fn is_replayable(&self, node: &Node, settings: &Settings) -> bool {
        self.samples.invalid.is_empty() && self.first_error(node, settings.max_series).is_none()
    }

    pub fn replay(&self, node: &mut Node, mono_ms: u64, counters: &mut Counters) {
        let lists = self.samples.tag_lists.iter();
        let tags: Vec<_> = lists
            .map(|tags| CommandTags {
                id: Some(node.acquire_tags(tags)),
                is_omitted: false,
            })
            .collect();
        let samples = self.samples.valid.iter();
        let samples = samples.map(|sample| (sample.metric, self.sample(sample, &tags)));
        node.replay_samples(samples, mono_ms, counters);
        tags.iter()
            .filter_map(|tags| tags.id)
            .for_each(|id| node.release_tags(id));
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
        let mut new = HashMap::with_hasher(node.name_hasher());
        // Metrics that exist, whose open windows are counted.
        let mut known = HashSet::with_hasher(node.name_hasher());
        let mut closing = 0;
        for sample in &self.samples.valid {
            let (index, metric, kind) = (sample.index, sample.metric, sample.kind);
            let metric_type = kind.metric_type();
            if let Some(tags) = sample.reopened {
                closing += node.reopened_bytes(metric, tags);
            }
            let created = new.get(metric).copied();
            let closing_bytes = match created {
                Some(_) => None,
                None => node.closing_bytes(metric, sample.at),
            };
            if let Some(bytes) = closing_bytes
                && known.insert(metric)
            {
                closing += bytes;
            }
            if closing > CLOSED_BYTES {
                let detail = format!("sample {index}: {TOO_MANY_CLOSED}; no sample was accepted");
                return Some(CommandError::argument(NAME, detail));
            }
            let error = match created {
                // An earlier sample creates the metric.
                Some(created) if created == metric_type => None,
                Some(created) => Some(SampleError::MetricType(created)),
                None => node.sample_error(metric, metric_type, new.len() as u32, max_series),
            };
            if let Some(error) = error {
                let why = error.detail(metric, kind, max_series);
                let detail = format_args!("sample {index}: {why}; no sample was accepted");
                return Some(CommandError::new(
                    error.code(),
                    error.reason(),
                    NAME,
                    detail,
                ));
            }
            if created.is_none() && closing_bytes.is_none() {
                new.insert(metric, metric_type);
            }
        }
        None
    }
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
