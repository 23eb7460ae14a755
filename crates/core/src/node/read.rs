//! Reading a node: AGG.GET, AGG.RANGE, AGG.SCAN, AGG.INFO.

use super::{errors, objects};
use crate::ages::Ages;
use crate::counters::RejectReason;
use crate::model::histogram::Percentiles;
use crate::model::{ClosedWindow, ItemKind, MetricType, Queue, Window, WindowPercentiles};
use crate::node::Node;
use crate::node::metric::history::History;
use crate::node::metric::storage::Metric;
use crate::node::table::{Named, Table};
use crate::reply::Reply;
use crate::time::Now;
use aggregator_protocol::glob::Glob;
use aggregator_protocol::level;
use aggregator_protocol::number::{self, Number};
use aggregator_protocol::tags;

/// The arguments of a scan.
pub(crate) struct Scan {
    pub item_kind: ItemKind,
    pub cursor: u64,
    pub pattern: Option<Glob>,
    pub count: usize,
    pub with_values: bool,
    /// See [`Open`].
    pub open: Open,
}

/// What the values of open windows depend on: the percentiles of the settings, and the server's clock, Unix
/// milliseconds.
pub(crate) type Open = (Percentiles, i64);

impl Node {
    /// AGG.GET: a map, or nil. `open`: see [`Open`], here and below.
    pub(crate) fn get(
        &self,
        item_kind: ItemKind,
        name: &[u8],
        node_name: &[u8],
        open: Open,
        reply: &mut dyn Reply,
    ) {
        let found = match item_kind {
            ItemKind::Metric => self.metrics.table.find(name),
            ItemKind::Error => self.errors.table.find(name),
            ItemKind::Object => self.objects.table.find(name),
        };
        match found {
            Some(slot) => self.value(item_kind, slot, node_name, open, reply),
            None => reply.null(),
        }
    }

    /// AGG.RANGE: the windows that overlap the time from `from` to `to`, both in milliseconds. If there are more than
    /// [`MAX_WINDOWS`], the oldest.
    pub(crate) fn range(
        &self,
        metric: &[u8],
        window: Window,
        (from, to): (i64, i64),
        open: Open,
        reply: &mut dyn Reply,
    ) {
        let slot = self.metrics.table.find(metric);
        let metric = slot.and_then(|slot| self.metrics.table.get(slot));
        let windows = metric
            .into_iter()
            .flat_map(|m| self.windows(m, window, open));
        let length_ms = self.length_ms(window);
        let windows = oldest(windows.filter(|(w, _)| w.start <= to && w.start + length_ms > from));
        reply.array(windows.len());
        for (values, is_closed) in &windows {
            write_window(values, length_ms, *is_closed, reply);
        }
    }

    /// AGG.SCAN: the next cursor and names. A scan goes from the last slot to the first, and the cursor counts the
    /// remaining slots. An item that fills the place of a removed one comes from a higher slot, so an item that exists
    /// throughout is never missed, and listed twice only if it was moved. A scan ends before `count` where the reply
    /// gets long or the pattern takes long.
    pub(crate) fn scan(&self, scan: &Scan, node_name: &[u8], reply: &mut dyn Reply) {
        let (slots, next) = match scan.item_kind {
            ItemKind::Metric => slots(&self.metrics.table, scan, |m| {
                m.name.len() + shown_size(self.metrics.tags.text(m.tags)) + 1024
            }),
            ItemKind::Error => slots(&self.errors.table, scan, |e| {
                e.size() + shown_size(e.latest().tags) + 512
            }),
            ItemKind::Object => slots(&self.objects.table, scan, |o| {
                o.size() + shown_size(&o.tags) + 512
            }),
        };
        reply.array(2);
        reply.bulk(next.to_string().as_bytes());
        reply.array(slots.len() * if scan.with_values { 2 } else { 1 });
        for slot in slots {
            reply.bulk(self.name_of(scan.item_kind, slot));
            if scan.with_values {
                self.value(scan.item_kind, slot, node_name, scan.open, reply);
            }
        }
    }

    /// AGG.INFO: a map. `bytes`: the memory of the node, as the shell measured it; `ages`: the ages of ids.
    pub(crate) fn info(&self, bytes: u64, ages: &Ages, now: Now, reply: &mut dyn Reply) {
        let contents = self.contents();
        let counters = &self.counters;
        let numbers = [
            ("metrics", contents.metrics),
            ("errors", contents.errors),
            ("realities", contents.objects),
            ("bytes", bytes),
            ("min-window", self.lengths[Window::Min].into()),
            ("hour-window", self.lengths[Window::Hour].into()),
            ("inc-slot", self.lengths.slot_s.into()),
            ("forgotten", contents.forgotten),
            ("sources", contents.sources),
            ("late", counters.late),
            ("late-min", counters.late_min),
            ("late-hour", counters.late_hour),
            ("forgotten-dropped", counters.forgotten_dropped),
            ("sources-dropped", counters.sources_dropped),
            ("clock-back", counters.clock_back),
            ("suspect-diff", counters.suspect_diff),
            ("truncated", counters.truncated),
            ("imported", counters.imported),
            ("import-duplicates", counters.import_duplicates),
            ("import-refused", counters.import_refused),
        ];
        reply.map(numbers.len() + 2);
        for (name, value) in numbers {
            reply.bulk(name.as_bytes());
            reply.int(value as i64);
        }
        reply.bulk(b"refused");
        reply.map(RejectReason::ALL.len());
        for reason in RejectReason::ALL {
            reply.bulk(reason.name().as_bytes());
            reply.int(counters.rejected[reason as usize] as i64);
        }
        reply.bulk(b"queues");
        reply.map(Queue::ALL.len());
        for queue in Queue::ALL {
            let q = queue as usize;
            let age_ms = self.oldest(queue).map_or(0, |id| ages.age_ms(id, now));
            let fields = [
                ("length", contents.length[q]),
                ("bytes", contents.bytes[q]),
                ("oldest", age_ms),
                ("leased", contents.leased[q]),
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

    fn name_of(&self, item_kind: ItemKind, slot: u32) -> &[u8] {
        match item_kind {
            ItemKind::Metric => self.metrics.table.get(slot).map_or(&[], Named::name),
            ItemKind::Error => self.errors.table.get(slot).map_or(&[], Named::name),
            ItemKind::Object => self.objects.table.get(slot).map_or(&[], Named::name),
        }
    }

    fn value(
        &self,
        item_kind: ItemKind,
        slot: u32,
        node_name: &[u8],
        open: Open,
        reply: &mut dyn Reply,
    ) {
        let done = match item_kind {
            ItemKind::Metric => self
                .metrics
                .table
                .get(slot)
                .map(|m| self.metric(m, open, reply)),
            ItemKind::Error => self
                .errors
                .table
                .get(slot)
                .map(|e| error(e, node_name, reply)),
            ItemKind::Object => self
                .objects
                .table
                .get(slot)
                .map(|o| object(o, node_name, reply)),
        };
        if done.is_none() {
            reply.null();
        }
    }

    fn metric(&self, m: &Metric, open: Open, reply: &mut dyn Reply) {
        let has_total = m.metric_type != MetricType::Abs;
        reply.map(14 + usize::from(has_total));
        text(reply, "name", m.name());
        text(reply, "type", m.metric_type.name().as_bytes());
        reply.bulk(b"tags");
        tag_map(self.metrics.tags.text(m.tags), reply);
        let mut last = Vec::new();
        match m.last_value() {
            Number::Int(v) => number::write_u64(&mut last, v),
            Number::Float(v) => number::write_f64(&mut last, v),
        }
        text(reply, "last", &last);
        int(reply, "at", m.last_at().unwrap_or(0));
        if has_total {
            reply.bulk(b"total");
            reply.double(m.total());
        }
        for (window, name) in Window::ALL.into_iter().zip(["min", "hour"]) {
            reply.bulk(name.as_bytes());
            let open: Vec<ClosedWindow> = self.open(m, window, open).collect();
            reply.array(open.len());
            let length_ms = self.length_ms(window);
            open.iter()
                .for_each(|values| write_window(values, length_ms, false, reply));
        }
        let c = m.counts();
        int(reply, "samples", m.samples() as i64);
        int(reply, "late", c.late.into());
        let late_min = if m.metric_type == MetricType::Diff {
            0
        } else {
            c.late_min
        };
        int(reply, "late-min", late_min.into());
        int(reply, "late-hour", c.late_hour.into());
        int(reply, "restarts", c.restarts.into());
        int(reply, "gaps", c.gaps.into());
        int(reply, "tag-changes", c.tag_changes.into());
    }

    /// Returns the values of the open windows so far.
    fn open<'a>(
        &'a self,
        m: &'a Metric,
        window: Window,
        (list, now_ms): Open,
    ) -> impl Iterator<Item = ClosedWindow> + 'a {
        let (length_ms, slot_ms) = (
            self.length_ms(window),
            i64::from(self.lengths.slot_s) * 1000,
        );
        let newest_ms = m.last_at().unwrap_or(now_ms).max(now_ms);
        let hour_s = self.lengths[Window::Hour];
        m.open(window).map(move |open| {
            let ms = match m.metric_type {
                MetricType::Inc => (newest_ms - open.start()).max(slot_ms).min(length_ms),
                _ => self.rules.min_interval_ms,
            };
            let mut values = open.close(m.metric_type, ms);
            if let Some(histogram) = m.histogram(window, open.start_s(), hour_s) {
                let extremes = (values.min, values.max);
                values.percentiles = WindowPercentiles::of(&histogram, list, extremes, values.avg);
            }
            values
        })
    }

    /// Returns the closed windows that are kept, and the open ones; and whether each is closed.
    fn windows<'a>(
        &'a self,
        m: &'a Metric,
        window: Window,
        open: Open,
    ) -> impl Iterator<Item = (ClosedWindow, bool)> + 'a {
        let closed = m.history(window).into_iter().flat_map(History::iter);
        let open = self.open(m, window, open);
        closed
            .map(|values| (values, true))
            .chain(open.map(|values| (values, false)))
    }

    fn length_ms(&self, window: Window) -> i64 {
        i64::from(self.lengths[window]) * 1000
    }
}

/// Writes a window as a map.
fn write_window(values: &ClosedWindow, length_ms: i64, is_closed: bool, reply: &mut dyn Reply) {
    let percentiles = values.percentiles.as_ref();
    reply.map(9 + percentiles.map_or(0, |p| p.len()));
    int(reply, "start", values.start);
    int(reply, "end", values.start + length_ms);
    int(reply, "count", values.count as i64);
    for (name, v) in [
        ("sum", values.sum),
        ("avg", values.avg),
        ("min", values.min),
        ("max", values.max),
        ("last", values.last),
    ] {
        reply.bulk(name.as_bytes());
        reply.double(v);
    }
    for (percentile, v) in percentiles.into_iter().flat_map(|p| p.iter()) {
        reply.bulk(percentile.field().as_bytes());
        reply.double(v);
    }
    int(reply, "closed", is_closed.into());
}

/// The limit of the windows in a reply of AGG.RANGE: about 1 MiB.
const MAX_WINDOWS: usize = 5000;

/// Returns the oldest windows by their start. A clock that was wrong leaves them out of order, so all are checked; no
/// more than twice as many as needed are kept.
fn oldest(windows: impl Iterator<Item = (ClosedWindow, bool)>) -> Vec<(ClosedWindow, bool)> {
    let start = |(window, is_closed): &(ClosedWindow, bool)| (window.start, !is_closed);
    let (mut found, mut latest) = (Vec::new(), None);
    for window in windows {
        if latest.is_some_and(|latest| start(&window) >= latest) {
            continue;
        }
        found.push(window);
        if found.len() > 2 * MAX_WINDOWS {
            found.select_nth_unstable_by_key(MAX_WINDOWS, start);
            found.truncate(MAX_WINDOWS);
            latest = found.iter().map(start).max();
        }
    }
    found.sort_by_key(start);
    found.truncate(MAX_WINDOWS);
    found
}

/// The approximate limit of the bytes of a reply.
const MAX_BYTES: usize = 1 << 20;

/// The approximate limit of the work on the pattern of a scan: some milliseconds.
const MAX_STEPS: u64 = 4 << 20;

/// Checks `count` items from the cursor on downwards; 0: the beginning and the end. `size`: the approximate bytes of an
/// item with its values.
fn slots<T: Named>(table: &Table<T>, scan: &Scan, size: impl Fn(&T) -> usize) -> (Vec<u32>, u64) {
    let mut found = Vec::new();
    let (mut seen, mut bytes, mut steps) = (0, 0, 0);
    let mut left = match u32::try_from(scan.cursor).unwrap_or(u32::MAX) {
        0 => table.len(),
        cursor => cursor.min(table.len()),
    };
    while left > 0 && seen < scan.count && bytes < MAX_BYTES && steps < MAX_STEPS {
        let slot = left - 1;
        let pattern = scan.pattern.as_ref();
        let mut matches = |name: &[u8]| pattern.is_none_or(|p| p.matches(name, &mut steps));
        if let Some(item) = table.get(slot).filter(|item| matches(item.name())) {
            found.push(slot);
            bytes += if scan.with_values {
                size(item)
            } else {
                item.name().len()
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
    reply.map(20);
    text(reply, "node", node_name);
    text(reply, "queue", Queue::Error.name().as_bytes());
    int(reply, "id", e.id as i64);
    text(reply, "key", o.key);
    text(reply, "message", message);
    text(reply, "public", public);
    int(reply, "level", o.level.into());
    text(reply, "severity", level::severity(o.level).as_bytes());
    text(reply, "type", o.error_type.name().as_bytes());
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

fn object(o: &objects::Object, node_name: &[u8], reply: &mut dyn Reply) {
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

/// Returns the approximate bytes of a map of tags: each has its name, its value and what is around them.
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
