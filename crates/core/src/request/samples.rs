//! Requests that report samples: AGG.STAT, AGG.MSTAT.

use super::args::{Args, value};
use super::no_room;
use crate::error::{Refusal, Refused};
use crate::node::parts::{Kind, Sample};
use crate::node::{Act, SampleRefused, Taken};
use crate::reply::Reply;
use crate::text::number::Number;
use crate::text::quote::quoted;
use crate::{Counters, Node, Settings};
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
    kind: Kind,
    tags: Option<Cow<'a, [u8]>>,
    at: i64,
    /// The clock.
    now_ms: i64,
}

impl Common<'_> {
    fn sample(&self, value: Number) -> Sample<'_> {
        Sample {
            kind: self.kind,
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
    ) -> Result<(), Refusal> {
        match option {
            "ABS" => common.kind = Kind::Abs,
            "DIFF" => common.kind = Kind::Diff,
            "TAGS" => common.tags = Some(args.tags()?),
            _ => common.at = args.at()?,
        }
        Ok(())
    }

    /// ABS and DIFF are two words for one option.
    fn check(seen: &[&str], args: &Args<'_, '_>) -> Result<(), Refusal> {
        if seen.contains(&"ABS") && seen.contains(&"DIFF") {
            return Err(args.refuse("ABS and DIFF are both given: a metric is one of them"));
        }
        Ok(())
    }
}

impl<'a> Stat<'a> {
    pub fn parse(args: &mut Args<'a, '_>) -> Result<Stat<'a>, Refusal> {
        let metric = args.name("metric")?;
        let text = args.next("value")?;
        args.check_size("value", text)?;
        let mut common = Common {
            kind: Kind::Abs,
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
        let value = value(text, common.kind == Kind::Diff).map_err(|why| args.refuse(why))?;
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

    pub fn is_repeatable(&self, node: &Node, settings: &Settings) -> bool {
        let kind = self.common.kind;
        node.refuses(self.metric, kind, 0, settings.max_series)
            .is_none()
    }

    pub fn repeat(&self, node: &mut Node, mono_ms: u64, counters: &mut Counters) {
        let sample = self.common.sample(self.value);
        node.repeat_sample(self.metric, &sample, mono_ms, counters);
    }

    pub fn run(
        &self,
        node: &mut Node,
        act: &mut Act<'_>,
        reply: &mut dyn Reply,
    ) -> Result<(), Refusal> {
        let mut sample = self.common.sample(self.value);
        if act.is_tight {
            if !node.has_metric(self.metric) {
                return Err(no_room("AGG.STAT", node, act));
            }
            // What is refused makes no room.
            if let Some(refused) =
                node.refuses(self.metric, sample.kind, 0, act.settings.max_series)
            {
                return Err(self.refuse(refused, node, act));
            }
            sample = node.tighten(self.metric, &sample, act);
        }
        match node.stat(self.metric, &sample, act) {
            Ok(taken) => {
                if taken == Taken::Counted {
                    if act.repeats() {
                        act.effects.repeat_command();
                    } else {
                        act.effects.sample(self.metric, &sample);
                    }
                }
                reply.int((taken == Taken::Counted).into());
                Ok(())
            }
            Err(refused) => Err(self.refuse(refused, node, act)),
        }
    }

    fn refuse(&self, refused: SampleRefused, node: &mut Node, act: &mut Act<'_>) -> Refusal {
        node.count_refused(refused.reason(), act);
        let most = act.settings.max_series;
        sample_refusal("AGG.STAT", self.metric, refused, most)
    }
}

fn sample_why(metric: &[u8], refused: SampleRefused, max_series: u32) -> String {
    let metric = quoted(metric);
    match refused {
        SampleRefused::Kind(held) => format!(
            "metric {metric} is {held}, the sample {other}: AGG.FORGET node METRIC name lets it begin anew",
            held = held.name(),
            other = held.other().name()
        ),
        SampleRefused::Series => {
            format!(
                "metric {metric} is new, and the node has agg.max-series ({max_series}) metrics"
            )
        }
    }
}

fn sample_refusal(
    command: &str,
    metric: &[u8],
    refused: SampleRefused,
    max_series: u32,
) -> Refusal {
    let code = if refused == SampleRefused::Series {
        "AGGFULL"
    } else {
        "ERR"
    };
    let why = sample_why(metric, refused, max_series);
    Refusal::new(refused.reason(), code, format_args!("{command}: {why}"))
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
    pub fn parse(args: &mut Args<'a, '_>) -> Result<Mstat<'a>, Refusal> {
        let mut common = Common {
            kind: Kind::Abs,
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
            return Err(args.refuse(format_args!(
                "VALUES takes pairs of metric and value, and {n} arguments follow"
            )));
        }
        let (n, most) = (values.len() / 2, args.settings.most_values);
        if n > most {
            return Err(args.refuse(format_args!(
                "VALUES has {n} samples: one command takes {most}"
            )));
        }
        let bytes = values.iter().map(|word| word.len()).sum::<usize>();
        let most = most.saturating_mul(SAMPLE_BYTES);
        if bytes > most {
            return Err(args.refuse(format_args!(
                "VALUES has {bytes} bytes: one command takes {most}"
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
                    return Err(args.refuse(format_args!("sample {i}: {why}; nothing was taken")));
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
        value(text, self.common.kind == Kind::Diff)
    }

    /// What is wrong, without the command's name.
    fn bare(&self, refusal: Refusal, args: &Args<'_, '_>) -> String {
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
        let is_refused = |node: &Node| self.refused(node, settings.max_series).is_some();
        match node {
            _ if !closely => bound,
            Some(node) if self.atomic && is_refused(node) => 0,
            _ => bound.min(self.common.cost(node, names, settings)),
        }
    }

    pub fn run(
        &self,
        node: &mut Node,
        act: &mut Act<'_>,
        reply: &mut dyn Reply,
    ) -> Result<(), Refusal> {
        if self.atomic {
            self.check_all(node, act)?;
        }
        // One look at a long list for all samples. Where memory is tight and it would have to be kept, it is left out.
        let tags = self.common.tags.as_deref();
        let lacks_tags = act.is_tight && tags.is_some_and(|tags| !node.holds_tags(tags));
        let tag_id = tags
            .filter(|_| !lacks_tags)
            .map(|tags| node.hold_tags(tags));
        let (mut taken, mut told, mut late) = (Vec::with_capacity(self.good.len()), 0, 0);
        let mut bad = Vec::new();
        for _ in &self.bad {
            node.count_refused(Refused::Argument, act);
        }
        let closed = node.closed_bytes();
        // No metric moves while samples are taken.
        let slots = node.metric_slots(self.good.iter().map(|(_, metric, _)| *metric));
        for (n, (&(i, metric, value), slot)) in self.good.iter().zip(slots).enumerate() {
            if node.closed_bytes().wrapping_sub(closed) > CLOSED_BYTES {
                node.count_refused(Refused::Argument, act);
                bad.push((i, TOO_MANY_CLOSED.to_owned()));
                continue;
            }
            let mut sample = self.common.sample(value);
            sample.tag_id = tag_id;
            if act.is_tight && !node.has_metric(metric) {
                node.count_refused(act.memory.limit.refused(), act);
                let (metric, limit) = (quoted(metric), act.memory.limit.name());
                let most = act.memory.most;
                let why = format!("metric {metric} is new, and {limit} ({most} bytes) has no room");
                bad.push((i, why));
                continue;
            }
            let refused = if act.is_tight {
                node.refuses(metric, sample.kind, 0, act.settings.max_series)
            } else {
                None
            };
            if act.is_tight && refused.is_none() {
                if lacks_tags {
                    sample.tags = None;
                    node.count_refused(act.memory.limit.refused(), act);
                }
                sample = node.tighten(metric, &sample, act);
            }
            match refused.map_or_else(|| node.stat_in(slot, metric, &sample, act), Err) {
                Ok(Taken::Counted) if act.is_tight => {
                    // What it made room for comes before it.
                    act.effects.sample(metric, &sample);
                    told += 1;
                }
                Ok(Taken::Counted) => taken.push(n),
                Ok(Taken::Late) => late += 1,
                Err(refused) => {
                    node.count_refused(refused.reason(), act);
                    bad.push((i, sample_why(metric, refused, act.settings.max_series)));
                }
            }
        }
        bad.extend(self.bad.iter().cloned());
        bad.sort_unstable_by_key(|(i, _)| *i);
        // A refusal may follow from settings or memory, which a replica does not share.
        if bad.is_empty() && act.repeats() {
            if !taken.is_empty() {
                act.effects.repeat_command();
            }
        } else {
            for &(_, metric, value) in taken.iter().filter_map(|n| self.good.get(*n)) {
                let mut sample = self.common.sample(value);
                sample.tag_id = tag_id;
                act.effects.sample(metric, &sample);
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

    pub fn is_repeatable(&self, node: &Node, settings: &Settings) -> bool {
        self.bad.is_empty() && self.refused(node, settings.max_series).is_none()
    }

    pub fn repeat(&self, node: &mut Node, mono_ms: u64, counters: &mut Counters) {
        let tags = self.common.tags.as_deref();
        let tag_id = tags.map(|tags| node.hold_tags(tags));
        for &(_, metric, value) in &self.good {
            let mut sample = self.common.sample(value);
            sample.tag_id = tag_id;
            node.repeat_sample(metric, &sample, mono_ms, counters);
        }
        tag_id.into_iter().for_each(|id| node.release_tags(id));
    }

    fn check_all(&self, node: &mut Node, act: &mut Act<'_>) -> Result<(), Refusal> {
        if let Some(refusal) = self.refused(node, act.settings.max_series) {
            node.count_refused(refusal.reason, act);
            return Err(refusal);
        }
        let is_new = |(_, metric, _): &(usize, &[u8], Number)| !node.has_metric(metric);
        if act.is_tight && self.good.iter().any(is_new) {
            return Err(no_room("AGG.MSTAT", node, act));
        }
        Ok(())
    }

    /// What is said of the first sample that the node refuses, whatever the memory.
    fn refused(&self, node: &Node, max_series: u32) -> Option<Refusal> {
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
                return Some(Refusal::argument(text));
            }
            let refused = node.refuses(metric, self.common.kind, new.len() as u32, max_series);
            if let Some(refused) = refused {
                let why = sample_why(metric, refused, max_series);
                let code = if refused == SampleRefused::Series {
                    "AGGFULL"
                } else {
                    "ERR"
                };
                let text = format_args!("AGG.MSTAT: sample {i}: {why}; nothing was taken");
                return Some(Refusal::new(refused.reason(), code, text));
            }
            if !node.has_metric(metric) {
                new.insert(metric);
            }
        }
        None
    }
}
