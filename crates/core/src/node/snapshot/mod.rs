//! A node as a series of frames: for the RDB file, DUMP, the rewritten AOF, and a copy.
//!
//! The first frame has the version of the format, window lengths and rules. Metrics, forgotten metrics, records,
//! errors, objects, sources and what was imported follow in frames of about [`FRAME`] bytes, and a last frame has their
//! numbers. A node without imports has none of their frames, and not their numbers. Tables
//! are written in the order of their slots, so that the slots, by which effects name items, are the same after a load;
//! sources are written from the least recently used one. Each frame is also a payload of AGG.APPLY. A node that is
//! assembled from frames is `unfinished` from the first to the last, and accepts nothing else.
//!
//! Loading allocates no more than a small multiple of its input, and takes nothing from an inconsistent frame. As every
//! version has ended frames at [`FRAME`], a longer one is rejected, so that a loader can check a limit often enough
//! between two of them. Histograms are the exception: one with a count of 2^32 and hundreds of empty buckets takes 160
//! times its byte form. So their bytes in a frame are limited as well, whatever its length is: see [`HISTOGRAMS`].

mod load;

pub use load::{SnapshotLoader, max_histogram_bytes};
pub(in crate::node) use load::{apply, first};

use crate::codec::bytes::{put_bytes, put_doubles, put_i64, put_u64};
use crate::effect::put_rules;
use crate::model::{MetricType, Queue, Window};
use crate::node::Node;
use crate::node::errors::ErrorState;
use crate::node::metric::forgotten::Forgotten;
use crate::node::metric::history::History;
use crate::node::metric::storage::Metric;
use crate::node::metric::tag_pool::TagPool;
use crate::node::objects::Object;
use crate::node::queue::imported::Imported;
use crate::node::sources::Source;
use crate::node::table::{Named, Table};
use crate::time::second;
use aggregator_protocol::number::Number;

/// The version of the format. A reader rejects newer ones. Version 1 (0.1.0) had at most two open windows of a length,
/// and no forgotten metrics; version 2 no sources, histograms, percentiles, INC metrics and totals.
const FORMAT: u64 = 3;

/// A frame ends once it is this long.
const FRAME: usize = 64 << 10;

/// A frame of metrics ends once their histograms take so many bytes, too. Each metric adds at most 20 KiB. A loader
/// accepts twice as many, so that the counts of another version may take more memory than those of this one.
const HISTOGRAMS: usize = 64 << 10;

/// The numbers of imported records and of the ranges of their ids.
const IMPORT_TOTALS: usize = 2;

/// The first byte of a frame: its kind. Effects begin with a smaller one, their version.
mod kind {
    pub const META: u8 = 0x10;
    pub const METRICS: u8 = 0x11;
    pub const RECORDS: u8 = 0x12;
    pub const ERRORS: u8 = 0x13;
    pub const OBJECTS: u8 = 0x14;
    pub const FORGOTTEN: u8 = 0x15;
    pub const SOURCES: u8 = 0x16;
    pub const IMPORTED_IDS: u8 = 0x17;
    pub const IMPORTED: u8 = 0x18;
    pub const END: u8 = 0x1f;
}

/// The bits of a saved metric's type.
mod metric_flag {
    /// The histograms of open windows follow the metric.
    pub const HISTOGRAMS: u8 = 64;
    /// Windows that open have a histogram.
    pub const HIST: u8 = 128;
}

impl Node {
    /// Emits the whole value as frames of about 64 KiB, one call each.
    pub fn snapshot(&self, emit: &mut dyn FnMut(&[u8])) {
        let mut frame = vec![kind::META];
        put_u64(&mut frame, FORMAT);
        put_rules(&mut frame, &self.lengths, &self.rules);
        put_u64(&mut frame, self.queues.last_id);
        put_i64(&mut frame, self.clock_ms);
        frame.push(self.unfinished.into());
        emit(&frame);
        self.put_metrics(&mut frame, emit);
        put_table(
            kind::FORGOTTEN,
            &self.metrics.forgotten.table,
            Forgotten::save,
            &mut frame,
            emit,
        );
        for queue in [Queue::Min, Queue::Hour, Queue::Log] {
            let head = [kind::RECORDS, queue as u8];
            frame.clear();
            frame.extend(head);
            for id in self.queues.own_ids(queue, 0, false) {
                put_u64(&mut frame, id);
                put_bytes(
                    &mut frame,
                    self.queues.record(queue, id).unwrap_or_default(),
                );
                if frame.len() >= FRAME {
                    emit(&frame);
                    frame.truncate(head.len());
                }
            }
            if frame.len() > head.len() {
                emit(&frame);
            }
        }
        put_table(
            kind::ERRORS,
            &self.errors.table,
            ErrorState::save,
            &mut frame,
            emit,
        );
        put_table(
            kind::OBJECTS,
            &self.objects.table,
            Object::save,
            &mut frame,
            emit,
        );
        put_items(
            kind::SOURCES,
            self.sources.iter(),
            Source::save,
            &mut frame,
            emit,
        );
        let has_imports = self.put_imported(&mut frame, emit);
        frame.clear();
        frame.push(kind::END);
        let totals = self.totals();
        let len = totals.len() - if has_imports { 0 } else { IMPORT_TOTALS };
        for n in totals.into_iter().take(len) {
            put_u64(&mut frame, n);
        }
        emit(&frame);
    }

    /// Emits what was imported: of each queue the mark and the ranges of ids, then the records. Returns whether there
    /// is anything.
    fn put_imported(&self, frame: &mut Vec<u8>, emit: &mut dyn FnMut(&[u8])) -> bool {
        let mut has_imports = false;
        for (queue, imported) in self.imported() {
            has_imports = true;
            frame.clear();
            frame.extend([kind::IMPORTED_IDS, queue as u8]);
            put_u64(frame, imported.mark());
            let head = frame.len();
            for (first, last) in imported.ranges() {
                put_u64(frame, first);
                put_u64(frame, last - first);
                if frame.len() >= FRAME {
                    emit(frame);
                    frame.truncate(head);
                }
            }
            if frame.len() > head || imported.mark() > 0 {
                emit(frame);
            }
            let head = [kind::IMPORTED, queue as u8];
            frame.clear();
            frame.extend(head);
            for (id, text) in imported.records() {
                put_u64(frame, id);
                put_bytes(frame, text);
                if frame.len() >= FRAME {
                    emit(frame);
                    frame.truncate(head.len());
                }
            }
            if frame.len() > head.len() {
                emit(frame);
            }
        }
        has_imports
    }

    /// Returns the queues into which records were imported.
    fn imported(&self) -> impl Iterator<Item = (Queue, &Imported)> {
        Queue::ALL.into_iter().filter_map(|queue| {
            let imported = self.queues.imported(queue)?;
            let is_used = imported.mark() > 0 || imported.ranges_len() > 0 || imported.len() > 0;
            is_used.then_some((queue, imported))
        })
    }

    fn put_metrics(&self, frame: &mut Vec<u8>, emit: &mut dyn FnMut(&[u8])) {
        frame.clear();
        frame.push(kind::METRICS);
        let mut histograms = 0;
        for (_, m) in self.metrics.table.iter() {
            save_metric(m, &self.metrics.tags, frame);
            histograms += m.histogram_bytes();
            if frame.len() >= FRAME || histograms >= HISTOGRAMS {
                emit(frame);
                frame.truncate(1);
                histograms = 0;
            }
        }
        if frame.len() > 1 {
            emit(frame);
        }
    }

    /// Emits the elements of the value, whose order does not matter, one call each.
    pub fn digest(&self, emit: &mut dyn FnMut(&[u8])) {
        let mut element = vec![kind::META];
        for length_s in self
            .lengths
            .windows_s
            .0
            .into_iter()
            .chain([self.lengths.slot_s])
        {
            put_u64(&mut element, length_s.into());
        }
        put_i64(&mut element, self.clock_ms);
        emit(&element);
        let mut one = |kind: u8, save: &mut dyn FnMut(&mut Vec<u8>)| {
            element.clear();
            element.push(kind);
            save(&mut element);
            emit(&element);
        };
        self.metrics.table.iter().for_each(|(_, m)| {
            one(kind::METRICS, &mut |out| {
                save_metric(m, &self.metrics.tags, out)
            });
        });
        self.metrics
            .forgotten
            .table
            .iter()
            .for_each(|(_, f)| one(kind::FORGOTTEN, &mut |out| f.save(out)));
        for queue in [Queue::Min, Queue::Hour, Queue::Log] {
            for id in self.queues.own_ids(queue, 0, false) {
                one(kind::RECORDS, &mut |out| {
                    out.push(queue as u8);
                    put_u64(out, id);
                    out.extend_from_slice(self.queues.record(queue, id).unwrap_or_default());
                });
            }
        }
        self.errors
            .table
            .iter()
            .for_each(|(_, e)| one(kind::ERRORS, &mut |out| e.save(out)));
        self.objects
            .table
            .iter()
            .for_each(|(_, o)| one(kind::OBJECTS, &mut |out| o.save(out)));
        // The order is part of the value.
        (0u64..)
            .zip(self.sources.iter())
            .for_each(|(place, source)| {
                one(kind::SOURCES, &mut |out| {
                    put_u64(out, place);
                    source.save(out);
                });
            });
        for (queue, imported) in self.imported() {
            one(kind::IMPORTED_IDS, &mut |out| {
                out.push(queue as u8);
                put_u64(out, imported.mark());
                for (first, last) in imported.ranges() {
                    put_u64(out, first);
                    put_u64(out, last);
                }
            });
            for (id, text) in imported.records() {
                one(kind::IMPORTED, &mut |out| {
                    out.push(queue as u8);
                    put_u64(out, id);
                    out.extend_from_slice(text);
                });
            }
        }
    }

    /// Returns the number of items of each kind; version 1 did not have forgotten metrics, version 2 no
    /// sources. The last two are left out where they are 0.
    pub(super) fn totals(&self) -> [u64; 8 + IMPORT_TOTALS] {
        let fifo = |q| self.queues.own_len(q);
        let (metrics, errors, objects) =
            (&self.metrics.table, &self.errors.table, &self.objects.table);
        let [metrics, errors, objects] =
            [metrics.len(), errors.len(), objects.len()].map(u64::from);
        [
            metrics,
            errors,
            objects,
            fifo(Queue::Min),
            fifo(Queue::Hour),
            fifo(Queue::Log),
            self.metrics.forgotten.table.len().into(),
            self.sources.len().into(),
            self.imported().map(|(_, imported)| imported.len()).sum(),
            self.imported()
                .map(|(_, imported)| imported.ranges_len() as u64)
                .sum(),
        ]
    }
}

fn put_table<T: Named>(
    kind: u8,
    table: &Table<T>,
    save: impl Fn(&T, &mut Vec<u8>),
    frame: &mut Vec<u8>,
    emit: &mut dyn FnMut(&[u8]),
) {
    put_items(kind, table.iter().map(|(_, item)| item), save, frame, emit);
}

fn put_items<'a, T: 'a>(
    kind: u8,
    items: impl Iterator<Item = &'a T>,
    save: impl Fn(&T, &mut Vec<u8>),
    frame: &mut Vec<u8>,
    emit: &mut dyn FnMut(&[u8]),
) {
    frame.clear();
    frame.push(kind);
    for item in items {
        save(item, frame);
        if frame.len() >= FRAME {
            emit(frame);
            frame.truncate(1);
        }
    }
    if frame.len() > 1 {
        emit(frame);
    }
}

fn save_metric(m: &Metric, pool: &TagPool, out: &mut Vec<u8>) {
    put_bytes(out, &m.name);
    let histograms = m.histograms();
    let mut kind = m.metric_type.number();
    if m.is_hist() {
        kind |= metric_flag::HIST;
    }
    if histograms.is_some() {
        kind |= metric_flag::HISTOGRAMS;
    }
    out.push(kind);
    put_bytes(out, pool.text(m.tags));
    put_i64(out, m.last_at().unwrap_or(-1));
    match m.last_value() {
        Number::Int(v) => {
            out.push(0);
            put_u64(out, v);
        }
        Number::Float(v) => {
            out.push(1);
            put_doubles(out, &[v]);
        }
    }
    let pending_rate = m.pending_rate();
    put_u64(out, pending_rate.ms.into());
    put_doubles(out, &[pending_rate.increase]);
    if m.metric_type != MetricType::Abs {
        put_doubles(out, &[m.closed_total()]);
    }
    for window in Window::ALL {
        put_u64(out, m.watermark_s[window].into());
        let open = m.open(window).count() as u8;
        out.push(open);
        for (window, tags) in m.open_with_tags(window) {
            window.save(out);
            put_bytes(out, pool.text(tags));
        }
        let history = m.history(window);
        put_u64(out, history.map_or(0, History::len).into());
        let mut before_s = 0;
        for closed in history.into_iter().flat_map(History::iter) {
            closed.put(before_s, out);
            before_s = second(closed.start);
        }
    }
    if let Some(histograms) = histograms {
        histograms.save(out);
    }
}
