//! Requests that report: AGG.STAT, AGG.MSTAT, AGG.LOG, AGG.ERROR, AGG.REALITY, AGG.FORGET, AGG.REQUEUE.

use super::args::{Args, value};
use super::{Ran, full};
use crate::codec::json;
use crate::error::{Refusal, Refused};
use crate::node::parts::{Family, Kind, LogEntry, Occurrence, Queue, Report, Sample, TEXTS};
use crate::node::{Act, Reported, SampleRefused, Taken};
use crate::reply::Reply;
use crate::text::number::Number;
use crate::text::quote::{cut, quoted};
use crate::{Counters, Node, Settings};
use std::borrow::Cow;
use std::collections::BTreeSet;
use xxhash_rust::xxh3::Xxh3;

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
}

impl Common<'_> {
    fn sample(&self, value: Number) -> Sample<'_> {
        Sample {
            kind: self.kind,
            value,
            at: self.at,
            tags: self.tags.as_deref(),
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
        match node {
            Some(node) if closely => {
                let sample = self.common.sample(self.value);
                node.sample_cost(self.metric, &sample, settings.max_series)
            }
            _ => self.common.bound(node, self.metric.len(), 1),
        }
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
                node.count_refused(Refused::Memory, act);
                return Err(full("AGG.STAT", act.settings));
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
            Err(refused) => {
                node.count_refused(refused.reason(), act);
                Err(sample_refusal(
                    "AGG.STAT",
                    self.metric,
                    refused,
                    act.settings.max_series,
                ))
            }
        }
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
        let names = self.good.iter().map(|(_, metric, _)| metric.len()).sum();
        let bound = self.common.bound(node, names, self.good.len());
        match node {
            Some(node) if closely => {
                let sample = self.common.sample(Number::Int(0));
                let untagged = Sample {
                    tags: None,
                    ..sample
                };
                let cost = |metric: &[u8]| node.sample_cost(metric, &untagged, settings.max_series);
                let costs: u64 = self.good.iter().map(|(_, metric, _)| cost(metric)).sum();
                let tags = self.common.tags.as_ref().map_or(0, |tags| tags.len());
                bound.min(costs + Node::sample_bound(0, tags))
            }
            _ => bound,
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
        let (mut taken, mut told, mut late) = (Vec::with_capacity(self.good.len()), 0, 0);
        let mut bad = Vec::new();
        for _ in &self.bad {
            node.count_refused(Refused::Argument, act);
        }
        for (n, &(i, metric, value)) in self.good.iter().enumerate() {
            let mut sample = self.common.sample(value);
            if act.is_tight && !node.has_metric(metric) {
                node.count_refused(Refused::Memory, act);
                bad.push((
                    i,
                    format!(
                        "metric {} is new, and agg.max-memory is reached",
                        quoted(metric)
                    ),
                ));
                continue;
            }
            if act.is_tight {
                sample = node.tighten(metric, &sample, act);
            }
            match node.stat(metric, &sample, act) {
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
                act.effects.sample(metric, &self.common.sample(value));
            }
        }
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

    pub fn repeat(&self, node: &mut Node, mono_ms: u64, counters: &mut Counters) {
        for &(_, metric, value) in &self.good {
            node.repeat_sample(metric, &self.common.sample(value), mono_ms, counters);
        }
    }

    fn check_all(&self, node: &mut Node, act: &mut Act<'_>) -> Result<(), Refusal> {
        let mut new = BTreeSet::new();
        for &(i, metric, _) in &self.good {
            if new.contains(metric) {
                continue;
            }
            if let Some(refused) = node.refuses(metric, self.common.kind, new.len() as u32, act) {
                node.count_refused(refused.reason(), act);
                let why = sample_why(metric, refused, act.settings.max_series);
                let code = if refused == SampleRefused::Series {
                    "AGGFULL"
                } else {
                    "ERR"
                };
                let text = format_args!("AGG.MSTAT: sample {i}: {why}; nothing was taken");
                return Err(Refusal::new(refused.reason(), code, text));
            }
            if !node.has_metric(metric) {
                new.insert(metric);
            }
        }
        if act.is_tight && !new.is_empty() {
            node.count_refused(Refused::Memory, act);
            return Err(full("AGG.MSTAT", act.settings));
        }
        Ok(())
    }
}

/// A free text, cut to the limit where it is longer.
fn cut_text<'a>(text: &'a [u8], most: usize, truncated: &mut u64) -> Cow<'a, [u8]> {
    match cut(text, most) {
        None => Cow::Borrowed(text),
        Some(cut) => {
            *truncated += 1;
            Cow::Owned(cut)
        }
    }
}

/// AGG.LOG.
pub(super) struct Log<'a> {
    message: Cow<'a, [u8]>,
    tags: Cow<'a, [u8]>,
    level: u8,
    at: i64,
    truncated: u64,
}

impl<'a> Log<'a> {
    pub fn parse(args: &mut Args<'a, '_>) -> Result<Log<'a>, Refusal> {
        let mut truncated = 0;
        let message = cut_text(
            args.next("message")?,
            args.settings.max_item_size,
            &mut truncated,
        );
        let mut log = Log {
            message,
            tags: Cow::default(),
            level: 5,
            at: args.now_ms(),
            truncated,
        };
        while !args.is_empty() {
            match args.option(&["LEVEL", "TAGS", "AT"])? {
                "LEVEL" => log.level = args.integer("LEVEL", 0..=9)? as u8,
                "TAGS" => log.tags = args.tags()?,
                _ => log.at = args.at()?,
            }
        }
        Ok(log)
    }

    pub fn cost(&self) -> u64 {
        Node::log_cost(self.message.len() + self.tags.len())
    }

    pub fn run(&self, node: &mut Node, act: &mut Act<'_>, reply: &mut dyn Reply) {
        node.count_truncated(self.truncated, act);
        let entry = LogEntry {
            message: &self.message,
            tags: &self.tags,
            level: self.level,
            at: self.at,
        };
        reply.int(node.log(&entry, act) as i64);
    }
}

/// AGG.ERROR.
pub(super) struct ErrorReport<'a> {
    key: Cow<'a, [u8]>,
    texts: [Cow<'a, [u8]>; 6],
    tags: Cow<'a, [u8]>,
    level: u8,
    kind: u8,
    gid: u64,
    nid: u64,
    at: i64,
    truncated: u64,
}

/// The words behind TYPE as the grammar has them, and their numbers in a node.
const TYPES: [(&str, u8); 4] = [("BUG", 1), ("PERF", 2), ("OPS", 3), ("UNKNOWN", 0)];

impl<'a> ErrorReport<'a> {
    pub fn parse(args: &mut Args<'a, '_>) -> Result<ErrorReport<'a>, Refusal> {
        // In the order of TEXTS: message, public, code, func, file, backtrace.
        let mut whole: [&'a [u8]; 6] = [args.next("message")?, &[], &[], &[], &[], &[]];
        let (mut tags, mut key, mut at) = (Cow::default(), None, args.now_ms());
        let (mut level, mut kind, mut gid, mut nid) = (5, 0, 0, 0);
        const OPTIONS: [&str; 12] = [
            "PUBLIC",
            "LEVEL",
            "TYPE",
            "TAGS",
            "CODE",
            "FUNC",
            "FILE",
            "BACKTRACE",
            "GID",
            "NID",
            "KEY",
            "AT",
        ];
        while !args.is_empty() {
            let option = args.option(&OPTIONS)?;
            match option {
                "LEVEL" => level = args.integer("LEVEL", 0..=9)? as u8,
                "TYPE" => kind = TYPES[args.one_of("TYPE", &TYPES.map(|t| t.0))?].1,
                "TAGS" => tags = args.tags()?,
                "GID" => gid = args.integer("GID", 0..=i64::MAX as u64)?,
                "NID" => nid = args.integer("NID", 0..=i64::MAX as u64)?,
                "KEY" => key = Some(args.name("KEY")?),
                "AT" => at = args.at()?,
                text => {
                    if let Some(i) = TEXTS.iter().position(|t| t.eq_ignore_ascii_case(text)) {
                        whole[i] = args.next(option)?;
                        if matches!(text, "CODE" | "FUNC" | "FILE") {
                            args.check_size(text, whole[i])?;
                        }
                    }
                }
            }
        }
        let key = key.map_or_else(|| Cow::Owned(error_key(&whole[..5])), Cow::Borrowed);
        let mut truncated = 0;
        let texts = whole.map(|text| cut_text(text, args.settings.max_item_size, &mut truncated));
        Ok(ErrorReport {
            key,
            texts,
            tags,
            level,
            kind,
            gid,
            nid,
            at,
            truncated,
        })
    }

    pub fn cost(&self, node: Option<&Node>, closely: bool) -> u64 {
        let texts: usize = self.texts.iter().map(|t| t.len()).sum();
        let content = texts + self.tags.len() + 64;
        match node {
            Some(node) if closely => {
                node.error_cost(&self.key, content, node.holds_error(&self.occurrence()))
            }
            _ => Node::thing_bound(content + self.key.len()),
        }
    }

    pub fn occurrence(&self) -> Occurrence<'_> {
        Occurrence {
            key: &self.key,
            texts: [0, 1, 2, 3, 4, 5].map(|i| &*self.texts[i]),
            tags: &self.tags,
            level: self.level,
            kind: self.kind,
            gid: self.gid,
            nid: self.nid,
            at: self.at,
        }
    }

    pub fn run(&self, node: &mut Node, act: &mut Act<'_>, reply: &mut dyn Reply) {
        node.count_truncated(self.truncated, act);
        let occurrence = self.occurrence();
        let occurrences = node.error(&occurrence, self.truncated == 0, act);
        reply.array(2);
        reply.bulk(&self.key);
        reply.int(occurrences as i64);
    }
}

/// The key of an error whose caller gave none: a hash over its texts, each with its length, so that they cannot run
/// into each other. XXH3 with 128 bits (<https://github.com/Cyan4973/xxHash>), without a seed, in hex.
fn error_key(texts: &[&[u8]]) -> Vec<u8> {
    let mut hash = Xxh3::new();
    for text in texts {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    format!("{:032x}", hash.digest128()).into_bytes()
}

/// AGG.REALITY.
pub(super) struct Reality<'a> {
    key: &'a [u8],
    model: &'a [u8],
    scanned: json::Scanned,
    tags: Cow<'a, [u8]>,
    at: i64,
    ttl_s: Option<u64>,
}

/// The longest TTL, seconds (a hundred years).
const MAX_TTL_S: u64 = 100 * 366 * 86_400;

impl<'a> Reality<'a> {
    pub fn parse(args: &mut Args<'a, '_>) -> Result<Reality<'a>, Refusal> {
        let key = args.name("key")?;
        let model = args.name("model")?;
        let text = args.next("json")?;
        args.check_size("json", text)?;
        let (mut tags, mut at, mut ttl_s) = (Cow::default(), args.now_ms(), None);
        while !args.is_empty() {
            match args.option(&["TAGS", "AT", "TTL"])? {
                "TAGS" => tags = args.tags()?,
                "AT" => at = args.at()?,
                _ => ttl_s = Some(args.integer("TTL", 0..=MAX_TTL_S)?),
            }
        }
        let scanned = json::scan(text)
            .map_err(|e| args.refuse(format_args!("json {} is not valid: {e}", quoted(text))))?;
        Ok(Reality {
            key,
            model,
            scanned,
            tags,
            at,
            ttl_s,
        })
    }

    pub fn cost(&self, node: Option<&Node>, closely: bool) -> u64 {
        let content = self.model.len() + self.scanned.compact.len() + self.tags.len();
        match node {
            Some(node) if closely && node.holds_object(&self.report()) => 0,
            Some(node) if closely => node.object_cost(self.key, content),
            _ => Node::thing_bound(content + self.key.len()),
        }
    }

    pub fn report(&self) -> Report<'_> {
        Report {
            key: self.key,
            model: self.model,
            json: &self.scanned.compact,
            identity: self.scanned.identity,
            tags: &self.tags,
            at: self.at,
            ttl_s: self.ttl_s,
        }
    }

    pub fn run(
        &self,
        node: &mut Node,
        act: &mut Act<'_>,
        reply: &mut dyn Reply,
    ) -> Result<(), Refusal> {
        let report = self.report();
        match node.reality(&report, act) {
            Some(reported) => {
                reply.int(match reported {
                    Reported::Changed => 1,
                    Reported::Unchanged => 0,
                    Reported::Older => -1,
                });
                Ok(())
            }
            None => {
                node.count_refused(Refused::Realities, act);
                let (key, most) = (quoted(self.key), act.settings.max_realities);
                let why = format!(
                    "AGG.REALITY: object {key} is new, and the node has agg.max-realities ({most}) objects"
                );
                Err(Refusal::full(Refused::Realities, why))
            }
        }
    }
}

const FAMILIES: [&str; 3] = ["METRIC", "ERROR", "REALITY"];

/// The family that an argument names.
pub(super) fn family(args: &mut Args<'_, '_>) -> Result<Family, Refusal> {
    let i = args.one_of("the kind", &FAMILIES)?;
    Ok([Family::Metric, Family::Error, Family::Reality][i])
}

/// AGG.FORGET.
pub(super) struct Forget<'a> {
    family: Family,
    name: &'a [u8],
}

impl<'a> Forget<'a> {
    pub fn parse(args: &mut Args<'a, '_>) -> Result<Forget<'a>, Refusal> {
        let forget = Forget {
            family: family(args)?,
            name: args.name("name")?,
        };
        args.finish()?;
        Ok(forget)
    }

    pub fn run(&self, node: &mut Node, act: &mut Act<'_>, reply: &mut dyn Reply) {
        reply.int(node.forget(self.family, self.name, act).into());
    }
}

/// AGG.REQUEUE.
pub(super) struct Requeue<'a> {
    queue: Queue,
    pattern: Option<&'a [u8]>,
}

impl<'a> Requeue<'a> {
    pub fn parse(args: &mut Args<'a, '_>) -> Result<Requeue<'a>, Refusal> {
        let queue =
            [Queue::Error, Queue::Reality][args.one_of("the queue", &["ERROR", "REALITY"])?];
        let mut pattern = None;
        while !args.is_empty() {
            args.option(&["MATCH"])?;
            pattern = Some(args.pattern()?);
        }
        Ok(Requeue { queue, pattern })
    }

    pub fn cost(&self, node: &Node) -> u64 {
        node.requeue_cost(self.queue)
    }

    pub fn run(&self, node: &mut Node, act: &mut Act<'_>, reply: &mut dyn Reply) {
        reply.int(node.requeue(self.queue, self.pattern, act) as i64);
    }
}

/// What a report did, for the shell.
pub(super) fn ran(node: &mut Node) -> Ran {
    Ran {
        ready: node.take_ready(),
    }
}
