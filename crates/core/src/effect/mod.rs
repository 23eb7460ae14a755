//! Effects: what a replica and an AOF replay, as payloads of AGG.APPLY.
//!
//! A payload has a version, the primary's clock, the id of the first record that it queues, and changes in order. A
//! change says what was decided (this sample counts, these windows close, these records are removed). What follows from
//! the decision by the node's value and rules is computed again, by the code that the primary ran. The ids of queued
//! records follow each other from the first.
//!
//! Layout: `03` version, signed now_ms, first id, then changes. Each change is a code (see `code`) and its fields in
//! the format of `codec::bytes`. Lists of slots are runs: (gap since the end of the run before, length), growing
//! strictly, so a list never names a slot twice. Payloads that begin with another byte are frames of a saved node
//! (`node/snapshot`).
//!
//! A change with aggregated samples (AGG.HIST) is a sample with the last value, followed by sum, minimum, maximum and the
//! histogram of all.
//!
//! A report of samples, of a log entry, of a known error or of an unchanged object may be propagated verbatim instead
//! ([`Propagation::Verbatim`]). A verbatim command without a time means the clock of the node's last payload, so it is
//! allowed only while the primary's clock is that one, and only where nothing but the report itself was decided. A log
//! entry gets the id after the node's last. So what is reported often is propagated cheaply, and each millisecond of a
//! node's life costs one payload at most.
//!
//! Decoding checks the form only, and finishes before anything is changed. A change that does not fit the node's value
//! (a slot that is empty) does nothing.

mod check;
mod lists;
mod read;

pub(crate) use check::histogram_bytes;
pub(crate) use read::{Change, Payload, flag as read_flag, put_rules, read_rules};

use crate::codec::bytes::{put_bytes, put_doubles, put_i64, put_u64};
use crate::error::DecodeError;
use crate::model::{
    Delivery, Lengths, LogEntry, ObjectReport, Occurrence, Queue, Sample, SampleKind, Sequence,
    TagId, Window,
};
use crate::settings::Rules;
use aggregator_protocol::number::Number;

/// The first byte of a payload of effects. Version 1 (0.1.0) kept two windows of a length open whatever the flush
/// delay, and forgot a metric completely; its payloads are still applied so. Version 2 had no sequence numbers,
/// histograms, percentiles, INC, ADD and TIMES.
pub(crate) const VERSION: u8 = 3;

/// The first byte of frames is this or larger. No version of effects reaches it.
const FRAMES: u8 = 0x10;

/// Returns whether a payload holds effects; if not, it is a frame of a saved node.
///
/// # Errors
/// A newer version wrote the payload.
pub(crate) fn are_effects(payload: &[u8]) -> Result<bool, DecodeError> {
    match payload.first() {
        Some(first) if (VERSION + 1..FRAMES).contains(first) => {
            Err(DecodeError("written by a newer version of the module"))
        }
        Some(first) => Ok((1..=VERSION).contains(first)),
        None => Ok(false),
    }
}

/// The codes of changes. A new change gets a new number; no number is used again.
mod code {
    pub const ADOPT: u8 = 0;
    pub const SAMPLE: u8 = 1;
    pub const LOG: u8 = 2;
    pub const RECORD_ERROR: u8 = 3;
    pub const CHANGE: u8 = 4;
    pub const TOUCH: u8 = 5;
    pub const CLOSE: u8 = 6;
    pub const RESET_TIME: u8 = 7;
    pub const FORGET_METRICS: u8 = 8;
    pub const FORGET_ERRORS: u8 = 9;
    pub const END: u8 = 10;
    pub const REQUEUE: u8 = 11;
    pub const REMOVE: u8 = 12;
    pub const REMOVE_OLDEST: u8 = 13;
    pub const ACK_ERRORS: u8 = 14;
    pub const NO_HISTORY: u8 = 15;
    pub const DROP_FORGOTTEN: u8 = 16;
    pub const TRIM_HISTORY: u8 = 17;
    pub const SEQUENCE: u8 = 18;
    pub const DROP_SOURCES: u8 = 19;
    pub const HALVE_HISTOGRAMS: u8 = 20;
    pub const HIST: u8 = 21;
    pub const IMPORT: u8 = 22;
}

/// The bits of a sample's flags.
mod flag {
    pub const DIFF: u8 = 1;
    pub const FLOAT: u8 = 2;
    pub const TAGS: u8 = 4;
    /// The sample has the tags of the one before.
    pub const SAME_TAGS: u8 = 8;
    /// The sample has the time of the one before.
    pub const SAME_AT: u8 = 16;
    /// The sample has the option HIST.
    pub const HIST: u8 = 64;
    /// INC; together with [`DIFF`]: ADD.
    pub const INC: u8 = 32;
    /// The number of occurrences follows the value.
    pub const TIMES: u8 = 128;
}

/// The form in which a change is sent to replicas and the AOF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation<'a> {
    /// Nothing changed.
    Nothing,
    /// The command as it was received; see [`crate::Request::replay`].
    Verbatim,
    /// A payload of AGG.APPLY.
    Payload(&'a [u8]),
}

/// The effects of the running command: a growing payload, reused from command to command.
#[derive(Debug, Default)]
pub struct Effects {
    bytes: Vec<u8>,
    /// The part of `bytes` that is of use only with a change after it.
    header: usize,
    now_ms: i64,
    first_id: u64,
    /// The running command is the whole effect.
    verbatim: bool,
    no_history: bool,
    last_at: Option<i64>,
    /// The place of the tags of the last sample that had tags.
    last_tags: Option<(usize, usize)>,
    last_tag_id: Option<TagId>,
}

/// The limit of the buffer that is kept between commands.
const SCRATCH_LIMIT: usize = 64 << 10;

impl Effects {
    /// Creates effects with the buffer that is kept between commands, so that no command seems to cost it.
    pub fn with_buffer() -> Effects {
        Effects {
            bytes: Vec::with_capacity(SCRATCH_LIMIT),
            ..Effects::default()
        }
    }

    /// Returns `true` if there is nothing to propagate.
    #[inline]
    pub fn is_empty(&self) -> bool {
        !self.has_payload() && !self.verbatim
    }

    /// Returns what is to be propagated.
    #[inline]
    pub fn propagation(&self) -> Propagation<'_> {
        match (self.has_payload(), self.verbatim) {
            (true, _) => Propagation::Payload(&self.bytes),
            (false, true) => Propagation::Verbatim,
            (false, false) => Propagation::Nothing,
        }
    }

    pub(crate) fn has_payload(&self) -> bool {
        self.bytes.len() > self.header
    }

    /// Clears the effects, and keeps a modest buffer.
    #[inline]
    pub fn clear(&mut self) {
        self.bytes.clear();
        if self.bytes.capacity() > SCRATCH_LIMIT {
            self.bytes.shrink_to(SCRATCH_LIMIT);
        }
        self.header = 0;
        self.verbatim = false;
        self.last_at = None;
        self.last_tags = None;
        self.last_tag_id = None;
    }

    /// Begins the effects of a command: the primary's clock, the id of the first queued record, and whether windows
    /// that close leave no history.
    #[inline]
    pub(crate) fn open(&mut self, now_ms: i64, first_id: u64, no_history: bool) {
        self.clear();
        (self.now_ms, self.first_id, self.no_history) = (now_ms, first_id, no_history);
    }

    /// Propagates the running command verbatim.
    pub(crate) fn set_verbatim(&mut self) {
        self.verbatim = true;
    }

    /// Returns whether the running command is propagated verbatim.
    pub(crate) fn is_verbatim(&self) -> bool {
        self.verbatim
    }

    /// Returns the payload, with its header.
    fn begun(&mut self) -> &mut Vec<u8> {
        if self.bytes.is_empty() {
            self.bytes.push(VERSION);
            put_i64(&mut self.bytes, self.now_ms);
            put_u64(&mut self.bytes, self.first_id);
            if self.no_history {
                self.bytes.push(code::NO_HISTORY);
            }
        }
        &mut self.bytes
    }

    /// Begins the payload with the rules of the node. They are propagated with the first change that follows; without
    /// one there is nothing to propagate.
    pub(crate) fn open_with_rules(&mut self, lengths: &Lengths, rules: &Rules) {
        self.begun().push(code::ADOPT);
        put_rules(&mut self.bytes, lengths, rules);
        self.header = self.bytes.len();
    }

    pub(crate) fn sample(&mut self, name: &[u8], sample: &Sample<'_>) {
        let mut flags = match sample.kind {
            SampleKind::Abs => 0,
            SampleKind::Diff => flag::DIFF,
            SampleKind::Inc => flag::INC,
            SampleKind::Add => flag::DIFF | flag::INC,
        };
        // The histogram of aggregated samples says how many they are.
        if sample.times != 1 && sample.aggregate.is_none() {
            flags |= flag::TIMES;
        }
        if matches!(sample.value, Number::Float(_)) {
            flags |= flag::FLOAT;
        }
        if sample.hist {
            flags |= flag::HIST;
        }
        if self.last_at == Some(sample.at) {
            flags |= flag::SAME_AT;
        }
        if let Some(tags) = sample.tags {
            let is_last = |(start, end)| self.bytes.get(start..end) == Some(tags);
            let same = match (sample.tag_id, self.last_tag_id) {
                (Some(id), Some(last)) => id == last,
                _ => self.last_tags.is_some_and(is_last),
            };
            flags |= if same { flag::SAME_TAGS } else { flag::TAGS };
        }
        let code = sample.aggregate.map_or(code::SAMPLE, |_| code::HIST);
        let out = self.begun();
        out.extend([code, flags]);
        put_bytes(out, name);
        match sample.value {
            Number::Int(v) => put_u64(out, v),
            Number::Float(v) => put_doubles(out, &[v]),
        }
        if flags & flag::TIMES != 0 {
            put_u64(out, sample.times);
        }
        if flags & flag::SAME_AT == 0 {
            put_i64(out, sample.at);
        }
        if let (Some(tags), true) = (sample.tags, flags & flag::TAGS != 0) {
            put_bytes(out, tags);
            let end = out.len();
            self.last_tags = Some((end - tags.len(), end));
            self.last_tag_id = sample.tag_id;
        }
        if let Some(aggregate) = sample.aggregate {
            aggregate.put(&mut self.bytes);
        }
        self.last_at = Some(sample.at);
    }

    pub(crate) fn log(&mut self, entry: &LogEntry<'_>) {
        self.begun().push(code::LOG);
        entry.put(&mut self.bytes);
    }

    pub(crate) fn record(&mut self, o: &Occurrence<'_>, queue: bool) {
        self.begun().extend([code::RECORD_ERROR, queue.into()]);
        o.put(&mut self.bytes);
    }

    pub(crate) fn change(&mut self, report: &ObjectReport<'_>, new_id: bool) {
        self.begun().extend([code::CHANGE, new_id.into()]);
        report.put(&mut self.bytes);
    }

    pub(crate) fn touch(&mut self, slot: u32, at: i64, ttl_s: Option<u64>) {
        self.begun().push(code::TOUCH);
        put_u64(&mut self.bytes, slot.into());
        put_i64(&mut self.bytes, at);
        put_u64(&mut self.bytes, ttl_s.map_or(0, |s| s.saturating_add(1)));
    }

    /// `slots` grow strictly, here and below.
    pub(crate) fn close(&mut self, window: Window, newest: bool, slots: &[u32]) {
        self.slots(&[code::CLOSE, window as u8, newest.into()], slots);
    }

    /// Drops at most `at_once` closed windows of one length beyond the rules, of each metric.
    pub(crate) fn trim_history(&mut self, window: Window, at_once: u8, slots: &[u32]) {
        self.slots(&[code::TRIM_HISTORY, window as u8, at_once], slots);
    }

    pub(crate) fn reset_time(&mut self, slots: &[u32]) {
        self.slots(&[code::RESET_TIME], slots);
    }

    pub(crate) fn forget_metrics(&mut self, slots: &[u32]) {
        self.slots(&[code::FORGET_METRICS], slots);
    }

    /// Halves the resolution of the histograms of metrics.
    pub(crate) fn halve_histograms(&mut self, slots: &[u32]) {
        self.slots(&[code::HALVE_HISTOGRAMS], slots);
    }

    pub(crate) fn drop_forgotten(&mut self, slots: &[u32]) {
        self.slots(&[code::DROP_FORGOTTEN], slots);
    }

    pub(crate) fn forget_errors(&mut self, slots: &[u32]) {
        self.slots(&[code::FORGET_ERRORS], slots);
    }

    pub(crate) fn end(&mut self, new_id: bool, slots: &[u32]) {
        self.slots(&[code::END, new_id.into()], slots);
    }

    pub(crate) fn requeue(&mut self, queue: Queue, slots: &[u32]) {
        self.slots(&[code::REQUEUE, queue as u8], slots);
    }

    /// `ids` grow strictly, here and below.
    pub(crate) fn remove(&mut self, queue: Queue, ids: &[u64]) {
        if ids.is_empty() {
            return;
        }
        self.begun().extend([code::REMOVE, queue as u8]);
        put_u64(&mut self.bytes, ids.len() as u64);
        let mut before = 0;
        for &id in ids {
            put_u64(&mut self.bytes, id - before);
            before = id;
        }
    }

    pub(crate) fn remove_oldest(&mut self, queue: Queue, n: u64) {
        if n > 0 {
            self.begun().extend([code::REMOVE_OLDEST, queue as u8]);
            put_u64(&mut self.bytes, n);
        }
    }

    pub(crate) fn ack_errors(&mut self, acked: &[(u64, Delivery)]) {
        if acked.is_empty() {
            return;
        }
        self.begun().push(code::ACK_ERRORS);
        put_u64(&mut self.bytes, acked.len() as u64);
        let mut before = 0;
        for (id, delivery) in acked {
            put_u64(&mut self.bytes, id - before);
            put_i64(&mut self.bytes, delivery.ms);
            put_u64(&mut self.bytes, delivery.occurrences);
            before = *id;
        }
    }

    /// Accepts a sequence number. It follows the changes of its command, which may be rejected until all are known.
    pub(crate) fn sequence(&mut self, sequence: &Sequence<'_>) {
        self.begun().push(code::SEQUENCE);
        sequence.put(&mut self.bytes);
    }

    /// Drops the `n` least recently used sources.
    pub(crate) fn drop_sources(&mut self, n: u32) {
        if n > 0 {
            self.begun().push(code::DROP_SOURCES);
            put_u64(&mut self.bytes, n.into());
        }
    }

    /// Raises the mark of a queue and accepts records of another server, whose ids grow strictly.
    pub(crate) fn import(&mut self, queue: Queue, floor: u64, records: &[(u64, &[u8])]) {
        self.begun().extend([code::IMPORT, queue as u8]);
        put_u64(&mut self.bytes, floor);
        put_u64(&mut self.bytes, records.len() as u64);
        let mut before = 0;
        for (id, text) in records {
            put_u64(&mut self.bytes, id - before);
            put_bytes(&mut self.bytes, text);
            before = *id;
        }
    }

    fn slots(&mut self, head: &[u8], slots: &[u32]) {
        if slots.is_empty() {
            return;
        }
        self.begun().extend_from_slice(head);
        let runs = || slots.chunk_by(|a, b| *b == a + 1);
        put_u64(&mut self.bytes, runs().count() as u64);
        let mut before = 0;
        for run in runs() {
            let (first, len) = (run.first().copied().unwrap_or(0), run.len() as u32);
            put_u64(&mut self.bytes, (first - before).into());
            put_u64(&mut self.bytes, len.into());
            before = first + len;
        }
    }
}
