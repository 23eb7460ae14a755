//! Loading a node from frames.

use super::{FORMAT, FRAME, HISTOGRAMS, kind, metric_flag};
use crate::codec::bytes::Reader;
use crate::codec::tags::loaded_tags;
use crate::effect::{are_effects, histogram_bytes, read_flag, read_rules};
use crate::error::DecodeError;
use crate::id::MAX_ID;
use crate::model::histogram::MAX_HEAP_BYTES;
use crate::model::imported_record;
use crate::model::{ClosedWindow, CompactForm, Lengths, MetricType, PerWindow, Queue, Window};
use crate::node::Node;
use crate::node::errors::ErrorState;
use crate::node::metric::forgotten::Forgotten;
use crate::node::metric::open_window::OpenWindow;
use crate::node::metric::storage::{Metric, PendingRate};
use crate::node::metric::tag_pool::TagPool;
use crate::node::objects::Object;
use crate::node::queue::imported::{Imported, MAX_RANGES};
use crate::node::queue::loaded_entry;
use crate::node::sources::Source;
use crate::node::table::Named;
use crate::settings::{MAX_HISTORY, MAX_OPEN};
use crate::time::{MAX_MS, second};
use aggregator_protocol::number::Number;
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeSet;

/// The first format with slots of INC metrics, and with totals.
const TOTALS: u64 = 3;

/// The bytes of the histograms of a frame at which no metric may begin.
const MAX_HISTOGRAMS: usize = 2 * HISTOGRAMS;

/// A histogram takes fewer bytes on the heap than so many times its byte form and its window's, which are more
/// than 20 bytes for one of 2,560.
const HISTOGRAM_GROWTH: u64 = 128;

/// Returns an upper bound of the bytes that histograms take when a frame is loaded, or AGG.APPLY applies it or effects.
pub fn max_histogram_bytes(payload: &[u8]) -> u64 {
    if are_effects(payload).is_ok_and(|are| are) {
        return histogram_bytes(payload);
    }
    if payload.first() != Some(&kind::METRICS) {
        return 0;
    }
    let of_metric = 2 * MAX_OPEN * MAX_HEAP_BYTES;
    (payload.len() as u64 * HISTOGRAM_GROWTH).min((MAX_HISTOGRAMS + of_metric) as u64)
}

/// Loads a node from the frames of [`Node::snapshot`].
pub struct SnapshotLoader {
    node: Option<Node>,
    seed: u64,
    mono_ms: u64,
    max_id: u64,
    finished: bool,
}

impl SnapshotLoader {
    /// Creates a loader that expects the first frame. `seed` as for [`Node::new`]; an id larger than `max_id` is an
    /// error.
    pub fn new(seed: u64, mono_ms: u64, max_id: u64) -> SnapshotLoader {
        SnapshotLoader {
            node: None,
            seed,
            mono_ms,
            max_id,
            finished: false,
        }
    }

    /// Loads the next frame. Returns true when it was the last.
    ///
    /// # Errors
    /// The frame is damaged, or does not follow the one before.
    pub fn frame(&mut self, bytes: &[u8]) -> Result<bool, DecodeError> {
        if are_effects(bytes)? || self.finished {
            return Err(DecodeError("not a frame of a node"));
        }
        match &mut self.node {
            None => self.node = Some(first(bytes, self.seed, self.max_id)?),
            Some(node) => self.finished = apply(node, bytes, self.mono_ms, self.max_id, false)?,
        }
        Ok(self.finished)
    }

    /// Returns the node.
    ///
    /// # Errors
    /// The last frame is missing.
    pub fn finish(self) -> Result<Node, DecodeError> {
        match self.node {
            Some(node) if self.finished => Ok(node),
            _ => Err(DecodeError("the last frame is missing")),
        }
    }
}

impl Node {
    /// Copies the node for COPY: without leases and counters; all waiting records count as delivered.
    ///
    /// # Errors
    /// The copy does not load, which cannot happen.
    pub fn duplicate(&self, seed: u64, mono_ms: u64) -> Result<Node, DecodeError> {
        let mut copy = SnapshotLoader::new(seed, mono_ms, MAX_ID);
        let mut outcome = Ok(false);
        self.snapshot(&mut |frame| {
            if outcome.is_ok() {
                outcome = copy.frame(frame);
            }
        });
        outcome?;
        copy.finish()
    }
}

/// Creates a node from its first frame.
pub(in crate::node) fn first(bytes: &[u8], seed: u64, max_id: u64) -> Result<Node, DecodeError> {
    let mut r = Reader::new(bytes);
    if r.u8()? != kind::META {
        return Err(DecodeError("the first frame is missing"));
    }
    let format = r.u64()?;
    if format > FORMAT {
        return Err(DecodeError("written by a newer version of the module"));
    }
    let (lengths, rules) = read_rules(&mut r, format)?;
    let mut node = Node::with(lengths, rules, seed);
    node.queues.last_id = r.id()?;
    check_id(node.queues.last_id, max_id)?;
    node.clock_ms = r.ms()?;
    // Formats and effects have common versions.
    node.version = format as u8;
    // A node that was saved while AGG.APPLY assembled it continues so after a load.
    node.saved_unfinished = read_flag(&mut r)?;
    node.unfinished = true;
    r.finish()?;
    Ok(node)
}

/// Loads a frame into a node. Returns true when it was the last. `new`: the node was just made from this frame.
pub(in crate::node) fn apply(
    node: &mut Node,
    bytes: &[u8],
    mono_ms: u64,
    max_id: u64,
    new: bool,
) -> Result<bool, DecodeError> {
    let mut r = Reader::new(bytes);
    if !node.unfinished {
        return Err(DecodeError("unexpected frame: the node is complete"));
    }
    match r.u8()? {
        kind::META if new => {}
        kind::METRICS => metrics(node, &mut r)?,
        kind::FORGOTTEN => forgotten(node, &mut r)?,
        kind::RECORDS => records(node, &mut r, max_id)?,
        kind::ERRORS => errors(node, &mut r, max_id)?,
        kind::OBJECTS => objects(node, &mut r, max_id)?,
        kind::SOURCES => sources(node, &mut r)?,
        kind::IMPORTED_IDS => imported_ids(node, &mut r, max_id)?,
        kind::IMPORTED => imported(node, &mut r, max_id)?,
        kind::END => return end(node, &mut r, mono_ms).map(|()| true),
        _ => return Err(DecodeError("an unexpected frame")),
    }
    Ok(false)
}

/// Totals from this one on are missing in older versions.
const FIRST_NEW_TOTAL: usize = 6;

fn end(node: &mut Node, r: &mut Reader<'_>, mono_ms: u64) -> Result<(), DecodeError> {
    for (i, n) in node.totals().into_iter().enumerate() {
        let expected = match i >= FIRST_NEW_TOTAL && r.is_empty() {
            true => 0,
            false => r.u64()?,
        };
        if expected != n {
            return Err(DecodeError("the last frame has other counts"));
        }
    }
    r.finish()?;
    node.unfinished = std::mem::take(&mut node.saved_unfinished);
    node.errors.rebuild();
    node.objects.rebuild();
    node.restart(mono_ms);
    Ok(())
}

/// Reads the items of a table; none is kept if one is damaged, or has a name that exists.
fn items<'a, T>(
    r: &mut Reader<'a>,
    read: &dyn Fn(&mut Reader<'a>) -> Result<T, DecodeError>,
    name: impl Fn(&T) -> &[u8],
    is_taken: impl Fn(&[u8]) -> bool,
) -> Result<Vec<T>, DecodeError> {
    let mut items = Vec::new();
    let all = r.left();
    while !r.is_empty() {
        check_begin(all - r.left())?;
        items.push(read(r)?);
    }
    let mut names = BTreeSet::new();
    let repeated = items
        .iter()
        .any(|t| is_taken(name(t)) || !names.insert(name(t)));
    if repeated {
        Err(DecodeError("duplicate name"))
    } else {
        Ok(items)
    }
}

fn metrics(node: &mut Node, r: &mut Reader<'_>) -> Result<(), DecodeError> {
    let (metrics, lengths) = (&mut node.metrics, node.lengths);
    let version = node.version;
    let table = &metrics.table;
    let histograms = Cell::new(0);
    let loaded = items(
        r,
        &|r| {
            if histograms.get() >= MAX_HISTOGRAMS {
                return Err(DecodeError("the histograms of a frame are too large"));
            }
            let item = LoadedMetric::read(r, &lengths, version)?;
            histograms.set(histograms.get() + item.metric.histogram_bytes());
            Ok(item)
        },
        |t: &LoadedMetric<'_>| t.metric.name(),
        |name| table.find(name).is_some(),
    )?;
    for item in loaded {
        metrics.longest = metrics.longest.max(item.longest());
        let metric = item.into_metric(&mut metrics.tags);
        metrics.hist += u32::from(metric.is_hist());
        for window in Window::ALL {
            metric
                .open(window)
                .for_each(|open| metrics.deadlines[window].opened(open));
        }
        metrics.table.insert(metric);
    }
    Ok(())
}

fn forgotten(node: &mut Node, r: &mut Reader<'_>) -> Result<(), DecodeError> {
    let known = &node.metrics.forgotten.table;
    let loaded = items(
        r,
        &Forgotten::load,
        |f: &Forgotten| f.name(),
        |key| known.find(key).is_some(),
    )?;
    let latest = node
        .lengths
        .windows_s
        .0
        .map(|length_s| second(MAX_MS) + length_s);
    let is_sound = |f: &Forgotten| f.watermark_s.0.iter().zip(latest).all(|(s, max)| *s <= max);
    if !loaded.iter().all(is_sound) {
        return Err(DecodeError("a time is out of range"));
    }
    for one in loaded {
        node.metrics.forgotten.add(one);
    }
    Ok(())
}

fn records(node: &mut Node, r: &mut Reader<'_>, max_id: u64) -> Result<(), DecodeError> {
    let queue = read_queue(r)?;
    let start = *r;
    let mut last = node.queues.last_own(queue).unwrap_or(0);
    while !r.is_empty() {
        check_begin(start.left() - r.left())?;
        let (id, bytes) = (r.id()?, r.bytes()?);
        loaded_entry(queue, bytes, node.is_version_1())?;
        if id <= last {
            return Err(DecodeError("ids are not increasing"));
        }
        last = id;
    }
    check_id(last, max_id)?;
    if node.queues.imported_bytes(queue) > 0 {
        return Err(DecodeError("a record after imported ones"));
    }
    let mut r = start;
    while !r.is_empty() {
        let (id, bytes) = (r.id()?, r.bytes()?);
        let entry = loaded_entry(queue, bytes, node.is_version_1())?;
        node.queues.load_record(queue, id, &entry);
    }
    Ok(())
}

fn errors(node: &mut Node, r: &mut Reader<'_>, max_id: u64) -> Result<(), DecodeError> {
    let (table, is_version_1) = (&node.errors.table, node.is_version_1());
    let loaded = items(
        r,
        &|r| ErrorState::load(r, is_version_1),
        |e: &ErrorState| e.name(),
        |name| table.find(name).is_some(),
    )?;
    check_ids(node, Queue::Error, max_id, loaded.iter().map(|e| e.id))?;
    for e in loaded {
        let id = e.id;
        let slot = node.errors.table.insert(e);
        if id != 0 {
            node.queues.set_reference(Queue::Error, id, slot);
        }
    }
    Ok(())
}

fn objects(node: &mut Node, r: &mut Reader<'_>, max_id: u64) -> Result<(), DecodeError> {
    let (table, is_version_1) = (&node.objects.table, node.is_version_1());
    let loaded = items(
        r,
        &|r| Object::load(r, is_version_1),
        |o: &Object| o.name(),
        |name| table.find(name).is_some(),
    )?;
    check_ids(node, Queue::Reality, max_id, loaded.iter().map(|o| o.id))?;
    for object in loaded {
        let id = object.id;
        let slot = node.objects.table.insert(object);
        if id != 0 {
            node.queues.set_reference(Queue::Reality, id, slot);
        }
    }
    Ok(())
}

fn sources(node: &mut Node, r: &mut Reader<'_>) -> Result<(), DecodeError> {
    let known = &node.sources;
    let loaded = items(
        r,
        &Source::load,
        |source: &Source| source.name(),
        |name| known.find(name).is_some(),
    )?;
    loaded
        .into_iter()
        .for_each(|source| node.sources.append(source));
    Ok(())
}

/// Loads ranges of imported ids: they grow, and neither overlap nor touch, here and in the frames before.
fn imported_ids(node: &mut Node, r: &mut Reader<'_>, max_id: u64) -> Result<(), DecodeError> {
    const WRONG: DecodeError = DecodeError("inconsistent ranges of imported ids");
    let queue = read_queue(r)?;
    let mark = r.id()?;
    check_id(mark, max_id)?;
    let (mut free, mut count) = (mark, 0);
    if let Some(imported) = node.queues.imported(queue) {
        count = imported.ranges_len();
        let last = imported.ranges().last();
        free = last.map_or(mark, |(_, last)| last + 2);
        // Ranges follow in several frames; else the mark comes once, and before the records.
        let is_next = count > 0 && imported.mark() == mark;
        let is_new = count == 0 && imported.mark() == 0;
        if !(is_next || is_new) || imported.len() > 0 {
            return Err(WRONG);
        }
    }
    let (mut ranges, all) = (Vec::new(), r.left());
    while !r.is_empty() {
        check_begin(all - r.left())?;
        let (first, len) = (r.id()?, r.id()?);
        let last = first.saturating_add(len);
        check_id(last, max_id.min(MAX_ID))?;
        if first < free || first == 0 || count + ranges.len() >= MAX_RANGES {
            return Err(WRONG);
        }
        free = last + 2;
        ranges.push((first, last));
    }
    let newest = ranges.last().map_or(mark, |(_, last)| *last);
    node.queues.last_id = node.queues.last_id.max(newest);
    let imported = node.queues.imported_mut(queue);
    imported.load_mark(mark);
    for (first, last) in ranges {
        imported.load_range(first, last);
    }
    Ok(())
}

fn imported(node: &mut Node, r: &mut Reader<'_>, max_id: u64) -> Result<(), DecodeError> {
    let queue = read_queue(r)?;
    let (mut records, all) = (Vec::new(), r.left());
    let imported = node.queues.imported(queue);
    let mut before = imported.and_then(Imported::last).unwrap_or(0);
    while !r.is_empty() {
        check_begin(all - r.left())?;
        let (id, text) = (r.id()?, r.bytes()?);
        check_id(id, max_id)?;
        if id <= before {
            return Err(DecodeError("ids are not increasing"));
        }
        if node.queues.is_own(queue, id) || !imported.is_some_and(|i| i.is_known(id)) {
            return Err(DecodeError("an imported record whose id is not"));
        }
        imported_record::check(text, queue, id, None)
            .map_err(|_| DecodeError("an invalid imported record"))?;
        before = id;
        records.push((id, text));
    }
    node.queues.last_id = node.queues.last_id.max(before);
    let imported = node.queues.imported_mut(queue);
    for (id, text) in records {
        imported.load(id, text);
    }
    Ok(())
}

fn read_queue(r: &mut Reader<'_>) -> Result<Queue, DecodeError> {
    let queue = Queue::ALL.get(usize::from(r.u8()?)).copied();
    queue.ok_or(DecodeError("an unknown queue"))
}

/// Nothing begins in a frame where a written frame would have ended: so a frame has few items, however many bytes a
/// client sends.
fn check_begin(at: usize) -> Result<(), DecodeError> {
    if at < FRAME {
        Ok(())
    } else {
        Err(DecodeError("a frame is too long"))
    }
}

fn check_id(id: u64, max_id: u64) -> Result<(), DecodeError> {
    if id > max_id {
        return Err(DecodeError("an id is too far ahead of the clock"));
    }
    Ok(())
}

fn check_ids(
    node: &Node,
    queue: Queue,
    max_id: u64,
    ids: impl Iterator<Item = u64>,
) -> Result<(), DecodeError> {
    let mut seen = BTreeSet::new();
    for id in ids.filter(|id| *id != 0) {
        check_id(id, max_id)?;
        let is_taken = |imported: &Imported| imported.get(id).is_some();
        if node.queues.slot_of(queue, id).is_some()
            || node.queues.imported(queue).is_some_and(is_taken)
            || !seen.insert(id)
        {
            return Err(DecodeError("duplicate id"));
        }
    }
    Ok(())
}

/// A metric as it was read; its tag lists are not in a pool yet.
struct LoadedMetric<'a> {
    metric: Metric,
    tags: Cow<'a, [u8]>,
    /// The tags of the open windows, the oldest first.
    open_tags: PerWindow<Vec<Cow<'a, [u8]>>>,
}

impl<'a> LoadedMetric<'a> {
    fn read(
        r: &mut Reader<'a>,
        lengths: &Lengths,
        version: u8,
    ) -> Result<LoadedMetric<'a>, DecodeError> {
        let is_version_1 = version == 1;
        let name = r.name()?;
        let flags = r.u8()?;
        let number = flags & !(metric_flag::HISTOGRAMS | metric_flag::HIST);
        let metric_type =
            MetricType::from_number(number).ok_or(DecodeError("an unknown type of a metric"))?;
        let mut metric = Metric::new(name, metric_type);
        if flags & metric_flag::HIST != 0 {
            metric.set_hist();
        }
        let tags = loaded_tags(r.bytes()?, is_version_1)?;
        let at = r.i64()?;
        let last = match r.u8()? {
            0 => Number::Int(r.u64()?),
            _ => Number::Float(r.doubles::<1>()?[0]),
        };
        metric.load_last((0..=MAX_MS).contains(&at).then_some(at), last);
        let ms = r.u32()?;
        let [pending] = r.doubles()?;
        metric.set_pending_rate(PendingRate {
            increase: pending,
            ms,
        });
        if u64::from(version) >= TOTALS && metric.metric_type != MetricType::Abs {
            let [total] = r.doubles()?;
            if total < 0.0 {
                return Err(DecodeError("a total is negative"));
            }
            metric.add_closed_total(total);
        }
        let (mut open_tags, mut form) = (PerWindow([Vec::new(), Vec::new()]), Vec::new());
        for window in Window::ALL {
            let open = read_open(&mut metric, window, r, lengths[window])?;
            for tags in open {
                open_tags[window].push(loaded_tags(tags, is_version_1)?);
            }
            let count = r.u64()?;
            if count > MAX_HISTORY.into() {
                return Err(DecodeError("a history is too long"));
            }
            let mut before_s = 0;
            for _ in 0..count {
                let closed = ClosedWindow::read(before_s, r)?;
                before_s = second(closed.start);
                form.clear();
                let mark = closed.put(0, &mut form);
                metric.keep(window, before_s, CompactForm::of(&form, mark), u32::MAX);
            }
        }
        if flags & metric_flag::HISTOGRAMS != 0 {
            metric.load_histograms(r)?;
        }
        Ok(LoadedMetric {
            metric,
            tags,
            open_tags,
        })
    }

    /// Returns the longest length of its name and tags together.
    fn longest(&self) -> usize {
        let open = self.open_tags.0.iter().flatten().map(|tags| tags.len());
        self.metric.name.len() + open.max().unwrap_or(0).max(self.tags.len())
    }

    fn into_metric(mut self, pool: &mut TagPool) -> Metric {
        self.metric.tags = pool.acquire(&self.tags);
        for window in Window::ALL {
            let open_tags = &self.open_tags[window];
            self.metric.load_open_tags(window, open_tags, pool);
        }
        self.metric
    }
}

fn read_open<'a>(
    metric: &mut Metric,
    window: Window,
    r: &mut Reader<'a>,
    length_s: u32,
) -> Result<Vec<&'a [u8]>, DecodeError> {
    // The end of a window may be later than the largest time of a sample.
    metric.watermark_s[window] = r.u32()?;
    if metric.watermark_s[window] > second(MAX_MS) + length_s {
        return Err(DecodeError("a time is out of range"));
    }
    let count = r.u8()?;
    let (mut before, mut open_tags) = (None, Vec::new());
    for _ in 0..count {
        let open = OpenWindow::load(r)?;
        open_tags.push(r.bytes()?);
        let start_s = open.start_s();
        if start_s % length_s != 0 || before.is_some_and(|before| before >= start_s) {
            return Err(DecodeError("inconsistent open windows"));
        }
        before = Some(start_s);
        metric.load_open(window, open);
    }
    if usize::from(count) > MAX_OPEN {
        Err(DecodeError("too many windows are open"))
    } else {
        Ok(open_tags)
    }
}
