//! Reading a node: AGG.GET, AGG.RANGE, AGG.INFO, and the values of AGG.SCAN (scan.rs).

use super::{errors, objects};
use crate::ages::Ages;
use crate::counters::RejectReason;
use crate::model::histogram::Percentiles;
use crate::model::{ClosedWindow, ItemKind, MetricType, Queue, Window, WindowPercentiles};
use crate::node::Node;
use crate::node::metric::history::History;
use crate::node::metric::open_window::OpenWindow;
use crate::node::metric::storage::Metric;
use crate::node::table::Named;
use crate::reply::Reply;
use crate::time::Now;
use aggregator_protocol::level;
use aggregator_protocol::number::{self, Number};
use aggregator_protocol::tags;

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

    /// Writes what AGG.GET returns of the item in a slot.
    pub(super) fn value(
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
        reply.map(14 + usize::from(has_total(m)));
        text(reply, "name", m.name());
        self.write_last(m, reply);
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

    /// Writes the latest values of a metric: a map, with the percentiles of the newest open short window that has any.
    pub(super) fn last_values(&self, m: &Metric, open: Open, reply: &mut dyn Reply) {
        let newest = m.histograms().and_then(|histograms| {
            let has_any = |w: &&OpenWindow| histograms.get(Window::Min, w.start_s()).is_some();
            m.open(Window::Min).filter(has_any).last()
        });
        let values = newest.map(|newest| self.values_so_far(m, Window::Min, newest, open));
        let percentiles = values.as_ref().and_then(|v| v.percentiles.as_deref());
        let count = percentiles.map_or(0, WindowPercentiles::len);
        reply.map(4 + usize::from(has_total(m)) + count);
        self.write_last(m, reply);
        write_percentiles(percentiles, reply);
    }

    /// Writes the fields from `type` to `at`, or to `total` if the metric has one.
    fn write_last(&self, m: &Metric, reply: &mut dyn Reply) {
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
        if has_total(m) {
            reply.bulk(b"total");
            reply.double(m.total());
        }
    }

    /// Returns the values of the open windows so far.
    fn open<'a>(
        &'a self,
        m: &'a Metric,
        window: Window,
        open: Open,
    ) -> impl Iterator<Item = ClosedWindow> + 'a {
        let windows = m.open(window);
        windows.map(move |each| self.values_so_far(m, window, each, open))
    }

    /// Returns the values of an open window so far.
    fn values_so_far(
        &self,
        m: &Metric,
        window: Window,
        open: &OpenWindow,
        (list, now_ms): Open,
    ) -> ClosedWindow {
        let slot_ms = i64::from(self.lengths.slot_s) * 1000;
        let newest_ms = m.last_at().unwrap_or(now_ms).max(now_ms);
        let ms = match m.metric_type {
            MetricType::Inc => {
                let ms = (newest_ms - open.start()).max(slot_ms);
                ms.min(self.length_ms(window))
            }
            _ => self.rules.min_interval_ms,
        };
        let mut values = open.close(m.metric_type, ms);
        let hour_s = self.lengths[Window::Hour];
        if let Some(histogram) = m.histogram(window, open.start_s(), hour_s) {
            let extremes = (values.min, values.max);
            values.percentiles = WindowPercentiles::of(&histogram, list, extremes, values.avg);
        }
        values
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
    let percentiles = values.percentiles.as_deref();
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
    write_percentiles(percentiles, reply);
    int(reply, "closed", is_closed.into());
}

fn write_percentiles(percentiles: Option<&WindowPercentiles>, reply: &mut dyn Reply) {
    for (percentile, v) in percentiles.into_iter().flat_map(|p| p.iter()) {
        reply.bulk(percentile.field().as_bytes());
        reply.double(v);
    }
}

/// Returns whether a metric has the sum of its increases.
fn has_total(m: &Metric) -> bool {
    m.metric_type != MetricType::Abs
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
