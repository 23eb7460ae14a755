//! What can be read of a node without changing it: AGG.GET, AGG.RANGE, AGG.SCAN, AGG.INFO.

use super::bucket::{Closed, Kind};
use super::history::History;
use super::metric::Metric;
use super::queues::Queue;
use super::render::error_type;
use super::table::{Named, Table};
use super::{Node, errors, realities};
use crate::Now;
use crate::ages::Ages;
use crate::error::Refused;
use crate::reply::Reply;
use crate::text::glob::Glob;
use crate::text::number::{self, Number};
use crate::text::tags;

/// The three kinds of things in a node that have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Metric,
    Error,
    Reality,
}

/// Which names to list.
pub(crate) struct Scan {
    pub family: Family,
    pub cursor: u64,
    pub pattern: Option<Glob>,
    pub count: usize,
    pub with_values: bool,
}

impl Node {
    /// AGG.GET: a map, or nil.
    pub(crate) fn get(&self, family: Family, name: &[u8], node_name: &[u8], reply: &mut dyn Reply) {
        let found = match family {
            Family::Metric => self.stats.metrics.find(name),
            Family::Error => self.errors.table.find(name),
            Family::Reality => self.realities.table.find(name),
        };
        match found {
            Some(slot) => self.value(family, slot, node_name, reply),
            None => reply.null(),
        }
    }

    /// AGG.RANGE: the buckets that hold any moment from `from` to `to`, both in milliseconds; the oldest where there are
    /// more than [`MOST_WINDOWS`].
    pub(crate) fn range(&self, metric: &[u8], i: usize, from: i64, to: i64, reply: &mut dyn Reply) {
        let slot = self.stats.metrics.find(metric);
        let metric = slot.and_then(|slot| self.stats.metrics.get(slot));
        let buckets = metric.into_iter().flat_map(|m| self.buckets(m, i));
        let buckets =
            oldest(buckets.filter(|(b, _)| b.start <= to && b.start + self.length_ms(i) > from));
        reply.array(buckets.len());
        for (bucket, is_closed) in &buckets {
            self.bucket(bucket, i, *is_closed, reply);
        }
    }

    /// AGG.SCAN: the next cursor and names. A scan goes from the last slot to the first, and the cursor counts the slots
    /// that are left: what fills the place of something that was taken out comes from behind, so what is there all the
    /// while is never missed, and listed twice only where it was moved. It stops before `count` where the reply is long or
    /// the pattern has taken long.
    pub(crate) fn scan(&self, scan: &Scan, node_name: &[u8], reply: &mut dyn Reply) {
        let (slots, next) = match scan.family {
            Family::Metric => slots(&self.stats.metrics, scan, |m| {
                m.name.len() + shown_size(self.stats.tags.text(m.tags)) + 1024
            }),
            Family::Error => slots(&self.errors.table, scan, |e| {
                e.size() + shown_size(e.latest().tags) + 512
            }),
            Family::Reality => slots(&self.realities.table, scan, |o| {
                o.size() + shown_size(&o.tags) + 512
            }),
        };
        reply.array(2);
        reply.bulk(next.to_string().as_bytes());
        reply.array(slots.len() * if scan.with_values { 2 } else { 1 });
        for slot in slots {
            reply.bulk(self.name_of(scan.family, slot));
            if scan.with_values {
                self.value(scan.family, slot, node_name, reply);
            }
        }
    }

    /// AGG.INFO: a map. `bytes`: what the node holds, as the shell measured it; `ages`: how old ids are.
    pub(crate) fn info(&self, bytes: u64, ages: &Ages, now: Now, reply: &mut dyn Reply) {
        let gauges = self.gauges();
        let counters = &self.queues.counters;
        let numbers = [
            ("metrics", gauges.metrics),
            ("errors", gauges.errors),
            ("realities", gauges.realities),
            ("bytes", bytes),
            ("min-window", self.windows_s[0].into()),
            ("hour-window", self.windows_s[1].into()),
            ("forgotten", gauges.forgotten),
            ("late", counters.late),
            ("late-min", counters.late_min),
            ("late-hour", counters.late_hour),
            ("forgotten-dropped", counters.forgotten_dropped),
            ("clock-back", counters.clock_back),
            ("truncated", counters.truncated),
        ];
        reply.map(numbers.len() + 2);
        for (name, value) in numbers {
            reply.bulk(name.as_bytes());
            reply.int(value as i64);
        }
        reply.bulk(b"refused");
        reply.map(Refused::ALL.len());
        for reason in Refused::ALL {
            reply.bulk(reason.name().as_bytes());
            reply.int(counters.refused[reason as usize] as i64);
        }
        reply.bulk(b"queues");
        reply.map(Queue::ALL.len());
        for queue in Queue::ALL {
            let q = queue as usize;
            let age_ms = self.oldest(queue).map_or(0, |id| ages.age_ms(id, now));
            let fields = [
                ("length", gauges.length[q]),
                ("bytes", gauges.bytes[q]),
                ("oldest", age_ms),
                ("leased", gauges.leased[q]),
                ("dropped", counters.dropped_from[q]),
            ];
            reply.bulk(queue.name().as_bytes());
            reply.map(fields.len());
            for (name, value) in fields {
                reply.bulk(name.as_bytes());
                reply.int(value as i64);
            }
        }
    }

    fn name_of(&self, family: Family, slot: u32) -> &[u8] {
        match family {
            Family::Metric => self.stats.metrics.get(slot).map_or(&[], Named::name),
            Family::Error => self.errors.table.get(slot).map_or(&[], Named::name),
            Family::Reality => self.realities.table.get(slot).map_or(&[], Named::name),
        }
    }

    fn value(&self, family: Family, slot: u32, node_name: &[u8], reply: &mut dyn Reply) {
        let done = match family {
            Family::Metric => self.stats.metrics.get(slot).map(|m| self.metric(m, reply)),
            Family::Error => self
                .errors
                .table
                .get(slot)
                .map(|e| error(e, node_name, reply)),
            Family::Reality => self
                .realities
                .table
                .get(slot)
                .map(|o| object(o, node_name, reply)),
        };
        if done.is_none() {
            reply.null();
        }
    }

    fn metric(&self, m: &Metric, reply: &mut dyn Reply) {
        reply.map(14);
        text(reply, "name", m.name());
        text(reply, "type", m.kind.name().as_bytes());
        reply.bulk(b"tags");
        tag_map(self.stats.tags.text(m.tags), reply);
        let mut last = Vec::new();
        match m.told() {
            Number::Int(v) => number::write_u64(&mut last, v),
            Number::Float(v) => number::write_f64(&mut last, v),
        }
        text(reply, "last", &last);
        int(reply, "at", m.at().unwrap_or(0));
        for (i, name) in ["min", "hour"].into_iter().enumerate() {
            reply.bulk(name.as_bytes());
            let open: Vec<Closed> = self.open(m, i).collect();
            reply.array(open.len());
            open.iter()
                .for_each(|bucket| self.bucket(bucket, i, false, reply));
        }
        let c = m.counts();
        int(reply, "samples", m.samples() as i64);
        int(reply, "late", c.late.into());
        int(reply, "late-min", c.late_min.into());
        int(reply, "late-hour", c.late_hour.into());
        int(reply, "restarts", c.restarts.into());
        int(reply, "gaps", c.gaps.into());
        int(reply, "tag-changes", c.tag_changes.into());
    }

    fn open<'a>(&'a self, m: &'a Metric, i: usize) -> impl Iterator<Item = Closed> + 'a {
        m.open(i)
            .map(|b| b.close(m.kind, self.rules.min_interval_ms))
    }

    /// The closed buckets that are kept, and the open ones.
    fn buckets<'a>(&'a self, m: &'a Metric, i: usize) -> impl Iterator<Item = (Closed, bool)> + 'a {
        let closed = m
            .history(i)
            .into_iter()
            .flat_map(History::iter)
            .map(|b| (b, true));
        closed.chain(self.open(m, i).map(|b| (b, false)))
    }

    fn bucket(&self, b: &Closed, i: usize, is_closed: bool, reply: &mut dyn Reply) {
        reply.map(9);
        int(reply, "start", b.start);
        int(reply, "end", b.start + self.length_ms(i));
        int(reply, "count", b.count as i64);
        for (name, v) in [
            ("sum", b.sum),
            ("avg", b.avg),
            ("min", b.min),
            ("max", b.max),
            ("last", b.last),
        ] {
            reply.bulk(name.as_bytes());
            reply.double(v);
        }
        int(reply, "closed", is_closed.into());
    }

    fn length_ms(&self, i: usize) -> i64 {
        i64::from(self.windows_s[i]) * 1000
    }
}

/// A reply of AGG.RANGE has at most so many windows: about 1 MiB.
const MOST_WINDOWS: usize = 5000;

/// The oldest buckets, by their start. A clock that was wrong leaves them out of order, so all are looked at; no more
/// than twice as many as wanted are held.
fn oldest(buckets: impl Iterator<Item = (Closed, bool)>) -> Vec<(Closed, bool)> {
    let start = |(bucket, is_closed): &(Closed, bool)| (bucket.start, !is_closed);
    let (mut found, mut latest) = (Vec::new(), None);
    for bucket in buckets {
        if latest.is_some_and(|latest| start(&bucket) >= latest) {
            continue;
        }
        found.push(bucket);
        if found.len() > 2 * MOST_WINDOWS {
            found.select_nth_unstable_by_key(MOST_WINDOWS, start);
            found.truncate(MOST_WINDOWS);
            latest = found.iter().map(start).max();
        }
    }
    found.sort_by_key(start);
    found.truncate(MOST_WINDOWS);
    found
}

/// A reply stops at about this many bytes.
const MOST_BYTES: usize = 1 << 20;

/// A scan stops after about this much work on its pattern: some milliseconds.
const MOST_STEPS: u64 = 4 << 20;

/// Looks at `count` things from the cursor on downwards; 0: the beginning and the end. `size`: about the bytes of a thing
/// with its values.
fn slots<T: Named>(table: &Table<T>, scan: &Scan, size: impl Fn(&T) -> usize) -> (Vec<u32>, u64) {
    let mut found = Vec::new();
    let (mut seen, mut bytes, mut steps) = (0, 0, 0);
    let mut left = match u32::try_from(scan.cursor).unwrap_or(u32::MAX) {
        0 => table.len(),
        cursor => cursor.min(table.len()),
    };
    while left > 0 && seen < scan.count && bytes < MOST_BYTES && steps < MOST_STEPS {
        let slot = left - 1;
        let pattern = scan.pattern.as_ref();
        let mut matches = |name: &[u8]| pattern.is_none_or(|p| p.matches(name, &mut steps));
        if let Some(thing) = table.get(slot).filter(|thing| matches(thing.name())) {
            found.push(slot);
            bytes += if scan.with_values {
                size(thing)
            } else {
                thing.name().len()
            };
        }
        seen += 1;
        left = slot;
    }
    (found, left.into())
}

fn error(e: &errors::ErrorState, node_name: &[u8], reply: &mut dyn Reply) {
    let o = e.latest();
    let [message, public, code, func, file, backtrace] = o.texts;
    reply.map(19);
    text(reply, "node", node_name);
    text(reply, "queue", Queue::Error.name().as_bytes());
    int(reply, "id", e.id as i64);
    text(reply, "key", o.key);
    text(reply, "message", message);
    text(reply, "public", public);
    int(reply, "level", o.level.into());
    text(reply, "type", error_type(o.kind).as_bytes());
    reply.bulk(b"tags");
    tag_map(o.tags, reply);
    text(reply, "code", code);
    text(reply, "func", func);
    text(reply, "file", file);
    text(reply, "backtrace", backtrace);
    int(reply, "gid", o.gid as i64);
    int(reply, "nid", o.nid as i64);
    int(reply, "occurrences", e.occurrences as i64);
    int(reply, "first", e.first);
    int(reply, "last", e.last);
    int(reply, "seen", e.seen);
}

fn object(o: &realities::Object, node_name: &[u8], reply: &mut dyn Reply) {
    reply.map(10);
    text(reply, "node", node_name);
    text(reply, "queue", Queue::Reality.name().as_bytes());
    int(reply, "id", o.id as i64);
    text(reply, "key", o.name());
    text(reply, "model", &o.model);
    text(reply, "json", &o.json);
    reply.bulk(b"tags");
    tag_map(&o.tags, reply);
    int(reply, "epoch", o.at);
    int(reply, "gone", o.gone.into());
    int(reply, "seen", o.seen);
}

/// About the bytes of a map of tags: each has its name, its value and what is around them.
fn shown_size(tags: &[u8]) -> usize {
    tags.len() + 16 * tags::spaces(tags)
}

fn tag_map(canonical: &[u8], reply: &mut dyn Reply) {
    reply.map(tags::iter(canonical).count());
    for (name, value) in tags::iter(canonical) {
        reply.bulk(name);
        reply.bulk(value.unwrap_or(b"true"));
    }
}

fn text(reply: &mut dyn Reply, name: &str, value: &[u8]) {
    reply.bulk(name.as_bytes());
    reply.bulk(value);
}

fn int(reply: &mut dyn Reply, name: &str, value: i64) {
    reply.bulk(name.as_bytes());
    reply.int(value);
}

impl Kind {
    /// The kind that a metric is not.
    pub(crate) fn other(self) -> Kind {
        match self {
            Kind::Abs => Kind::Diff,
            Kind::Diff => Kind::Abs,
        }
    }
}
