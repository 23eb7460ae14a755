//! A metric as it is stored: a packed struct with what every sample touches, and boxes beside it with what few do.
//!
//! The changes that samples and time make to a metric are in `windowing.rs`, `slots.rs`, `observe.rs` and `closing.rs`
//! of the folder above.

mod histograms;
mod windows;

use super::deadlines::Deadlines;
use super::histograms::Histograms;
use super::history::History;
use super::name::Name;
use super::older::OlderWindows;
use super::open_window::OpenWindow;
use crate::model::{MetricType, PerWindow, TagId, Window, finite};
use crate::node::table::Named;
use aggregator_protocol::number::Number;

/// A metric. The fields that every sample touches are here, packed, as waiting for memory is much of the cost of a
/// sample. Those that are touched when a window closes are in [`Extra`], those that few metrics have in [`Rare`].
pub(crate) struct Metric {
    pub name: Name,
    /// See [`Metric::last_at`].
    last_at: i64,
    /// See [`Metric::last_value`].
    last_value: u64,
    /// The latest of the open windows.
    pub(super) newest: PerWindow<Option<OpenWindow>>,
    /// The end of the latest window that has closed, Unix seconds; 0: none has. Windows before it stay closed.
    pub watermark_s: PerWindow<u32>,
    pub tags: TagId,
    /// See [`Metric::samples`].
    samples_low: u32,
    extra: Option<Box<Extra>>,
    /// See [`Metric::last_seen`].
    last_seen_low: u32,
    last_seen_high: u16,
    pub metric_type: MetricType,
    /// Bits of [`flags`].
    flags: u8,
}

/// The bits of [`Metric::flags`].
mod flags {
    /// The last value is a double.
    pub const LAST_IS_FLOAT: u8 = 1;
    /// [`super::Rare::pending`] is in use.
    pub const PENDING: u8 = 2;
    /// The newest MIN window has other tags than the metric: those in [`super::Rare::other_tags`].
    pub const OTHER_MIN_TAGS: u8 = 4;
    /// The same of the newest HOUR window.
    pub const OTHER_HOUR_TAGS: u8 = 8;
    /// Windows that open have a histogram.
    pub const HIST: u8 = 16;
    /// Some open windows have a histogram: [`super::Extra::histograms`].
    pub const HISTOGRAMS: u8 = 32;
    /// [`super::Deadlines`] have a check of the MIN windows.
    pub const MIN_CHECK: u8 = 64;
    /// The same of the HOUR windows.
    pub const HOUR_CHECK: u8 = 128;
    /// A field of [`super::Rare`] is in use.
    pub const OF_RARE: u8 = PENDING | OTHER_MIN_TAGS | OTHER_HOUR_TAGS;
}

/// No sample yet, or none that counts for the next.
const NEVER: i64 = i64::MIN;

/// The fields of a metric of which a window has closed or has a histogram. The windows of all metrics close together,
/// so it is small.
#[derive(Default)]
struct Extra {
    history: PerWindow<History>,
    rare: Option<Box<Rare>>,
    beside: Option<Box<Beside>>,
}

/// The fields that only metrics with histograms, and those with increases in closed HOUR windows have. Inside [`Extra`]
/// they would take it into the next size class of allocators, for gauges too.
#[derive(Default)]
struct Beside {
    histograms: Histograms,
    /// See [`Metric::closed_total`].
    closed_total: f64,
}

/// The fields that few metrics have.
#[derive(Default)]
struct Rare {
    /// The open windows before the newest.
    older: PerWindow<OlderWindows>,
    /// See [`Metric::pending_rate`] and [`Metric::slot_state`]; two fields, as a struct of both would be padded.
    pending: f64,
    pending_ms: u32,
    /// See [`flags::OTHER_MIN_TAGS`].
    other_tags: PerWindow<TagId>,
    counts: Counts,
    /// See [`Metric::samples`].
    samples_high: u32,
}

/// DIFF: the increase since the last rate ended. Most samples end a rate and leave none pending.
#[derive(Clone, Copy, Default)]
pub(crate) struct PendingRate {
    pub increase: f64,
    /// Milliseconds from the end of the last rate to the last sample.
    pub ms: u32,
}

/// What an INC metric knows of its slots. It is stored in the place of a counter's pending rate.
#[derive(Clone, Copy)]
pub(crate) struct SlotState {
    /// The increments of the current slot.
    pub sum: f64,
    /// The start of the first slot in which the metric was known, Unix seconds.
    pub known_s: u32,
}

impl Extra {
    /// It holds nothing and can be dropped.
    fn is_empty(&self) -> bool {
        let history = &self.history;
        let is_empty = |window| history[window].len() == 0;
        let is_other_empty = self.rare.is_none() && self.beside.is_none();
        is_other_empty && Window::ALL.into_iter().all(is_empty)
    }
}

impl Rare {
    /// It holds nothing but what flags refer to, and can be dropped where those are unset.
    fn is_empty(&self) -> bool {
        let is_empty = |window| self.older[window].is_empty();
        Window::ALL.into_iter().all(is_empty)
            && self.counts == Counts::default()
            && self.samples_high == 0
    }
}

/// Counts since the start of the server; not part of the value.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub late: u32,
    /// Not of a DIFF metric, which has no such samples: then it counts the restarts in the newest MIN window. A field
    /// of their own would take [`Rare`] into the next size class of allocators.
    pub late_min: u32,
    pub late_hour: u32,
    pub restarts: u32,
    pub gaps: u32,
    pub tag_changes: u32,
}

impl Named for Metric {
    fn name(&self) -> &[u8] {
        &self.name
    }

    fn prefetch(&self) -> u64 {
        let start = |window| self.newest[window].as_ref().map_or(0, OpenWindow::start_s);
        let starts = start(Window::Min) ^ start(Window::Hour);
        u64::from(self.samples_low ^ starts ^ self.last_seen_low)
    }
}

impl Metric {
    /// A metric without a sample.
    pub fn new(name: &[u8], metric_type: MetricType) -> Metric {
        Metric {
            name: name.into(),
            metric_type,
            tags: TagId::NONE,
            last_at: NEVER,
            last_value: 0,
            newest: PerWindow([None, None]),
            watermark_s: PerWindow([0; 2]),
            samples_low: 0,
            extra: None,
            last_seen_low: 0,
            last_seen_high: 0,
            flags: 0,
        }
    }

    #[inline]
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    #[inline]
    fn set(&mut self, flag: u8, is_set: bool) {
        self.flags = self.flags & !flag | if is_set { flag } else { 0 };
    }

    #[inline]
    fn rare(&self) -> Option<&Rare> {
        self.extra.as_ref()?.rare.as_deref()
    }

    fn rare_mut(&mut self) -> Option<&mut Rare> {
        self.extra.as_mut()?.rare.as_deref_mut()
    }

    #[inline]
    fn beside(&self) -> Option<&Beside> {
        self.extra.as_ref()?.beside.as_deref()
    }

    #[cold]
    fn make_rare(&mut self) -> &mut Rare {
        let extra = self.extra.get_or_insert_default();
        extra.rare.get_or_insert_default()
    }

    /// The time of the newest sample, Unix milliseconds; `None`: the next sample is a first one.
    #[inline]
    pub fn last_at(&self) -> Option<i64> {
        (self.last_at != NEVER).then_some(self.last_at)
    }

    /// The value of the newest sample: of a counter, its total.
    #[inline]
    pub fn last_value(&self) -> Number {
        if self.has(flags::LAST_IS_FLOAT) {
            Number::Float(f64::from_bits(self.last_value))
        } else {
            Number::Int(self.last_value)
        }
    }

    #[inline]
    pub(super) fn set_last(&mut self, at: i64, value: Number) {
        self.last_at = at;
        let (bits, is_float) = match value {
            Number::Int(v) => (v, false),
            Number::Float(v) => (v.to_bits(), true),
        };
        self.last_value = bits;
        self.set(flags::LAST_IS_FLOAT, is_float);
    }

    /// Loads the newest sample.
    pub fn load_last(&mut self, at: Option<i64>, value: Number) {
        self.set_last(at.unwrap_or(NEVER), value);
    }

    /// The next sample is a first one.
    pub(super) fn reset_last_at(&mut self) {
        self.last_at = NEVER;
    }

    /// DIFF: the increase since the last rate ended.
    #[inline]
    pub fn pending_rate(&self) -> PendingRate {
        match self.rare() {
            Some(rare) if self.has(flags::PENDING) => PendingRate {
                increase: rare.pending,
                ms: rare.pending_ms,
            },
            _ => PendingRate::default(),
        }
    }

    #[inline]
    pub fn set_pending_rate(&mut self, pending: PendingRate) {
        let is_some = pending.ms != 0 || pending.increase.to_bits() != 0;
        if is_some {
            let rare = self.make_rare();
            (rare.pending, rare.pending_ms) = (pending.increase, pending.ms);
        }
        self.set(flags::PENDING, is_some);
    }

    /// INC: the current slot, and since when there are any.
    #[inline]
    pub fn slot_state(&self) -> SlotState {
        let PendingRate { increase, ms } = self.pending_rate();
        SlotState {
            sum: increase,
            known_s: ms,
        }
    }

    #[inline]
    pub fn set_slot_state(&mut self, state: SlotState) {
        self.set_pending_rate(PendingRate {
            increase: state.sum,
            ms: state.known_s,
        });
    }

    /// Adds an increment to the current slot.
    #[inline]
    pub(super) fn add_to_slot(&mut self, increment: f64) {
        if self.has(flags::PENDING)
            && let Some(rare) = self.rare_mut()
        {
            rare.pending = finite(rare.pending + increment);
        } else {
            let known_s = 0;
            let sum = increment;
            self.set_slot_state(SlotState { sum, known_s });
        }
    }

    /// DIFF, INC: the sum of all increases that are in no open HOUR window: those of windows that have closed, and
    /// those that came too late for theirs.
    pub fn closed_total(&self) -> f64 {
        self.beside().map_or(0.0, |beside| beside.closed_total)
    }

    /// Adds an increase. One that is negative comes from a damaged payload, and a negative total could not be loaded
    /// again: it does not count.
    pub fn add_closed_total(&mut self, increase: f64) {
        if increase > 0.0 {
            let extra = self.extra.get_or_insert_default();
            let beside = extra.beside.get_or_insert_default();
            beside.closed_total = finite(beside.closed_total + increase);
        }
    }

    /// DIFF, INC: the sum of all increases since the metric exists. It is made of those of the HOUR windows, so that a
    /// sample costs nothing for it; in the order in which these close, so that it never decreases by a rounding.
    pub fn total(&self) -> f64 {
        self.open(Window::Hour)
            .fold(self.closed_total(), |total, open| {
                finite(total + open.sum())
            })
    }

    /// The samples that counted since the start of the server; not part of the value.
    pub fn samples(&self) -> u64 {
        let high = self.rare().map_or(0, |rare| rare.samples_high);
        u64::from(high) << 32 | u64::from(self.samples_low)
    }

    #[inline]
    pub(super) fn count_sample(&mut self, times: u64) {
        let samples = u64::from(self.samples_low) + times;
        self.samples_low = samples as u32;
        let high = (samples >> 32) as u32;
        if high > 0 {
            self.count_samples_high(high);
        }
    }

    #[cold]
    fn count_samples_high(&mut self, n: u32) {
        let high = &mut self.make_rare().samples_high;
        *high = high.saturating_add(n);
    }

    /// The running time at which the last sample arrived, milliseconds; not part of the value.
    pub fn last_seen(&self) -> u64 {
        u64::from(self.last_seen_high) << 32 | u64::from(self.last_seen_low)
    }

    #[inline]
    pub(super) fn touch(&mut self, mono_ms: u64) {
        // 48 bits: nine thousand years.
        (self.last_seen_low, self.last_seen_high) = (mono_ms as u32, (mono_ms >> 32) as u16);
    }

    /// Counts of rare events.
    pub fn counts(&self) -> Counts {
        self.rare().map_or_else(Counts::default, |rare| rare.counts)
    }

    #[cold]
    pub(super) fn count(&mut self, times: u64, field: impl FnOnce(&mut Counts) -> &mut u32) {
        let n = field(&mut self.make_rare().counts);
        *n = n.saturating_add(u32::try_from(times).unwrap_or(u32::MAX));
    }

    /// DIFF: records a restart in the newest MIN window.
    #[cold]
    pub(super) fn count_restart(&mut self) {
        self.count(1, |c| &mut c.restarts);
        self.count(1, |c| &mut c.late_min);
    }

    /// DIFF: resets the restarts in the newest MIN window, which is no longer the newest. Returns whether they were too
    /// many: more than one, and more than a tenth of its samples.
    pub(super) fn take_restarts(&mut self) -> bool {
        let Some(rare) = self.rare_mut() else {
            return false;
        };
        let restarts = u64::from(std::mem::take(&mut rare.counts.late_min));
        let newest = self.newest[Window::Min].as_ref();
        newest.is_some_and(|newest| restarts > 1 && restarts > newest.count() / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_counted_beyond_32_bits() {
        let mut metric = Metric::new(b"m", MetricType::Abs);
        metric.samples_low = u32::MAX - 1;
        metric.count_sample(1);
        assert_eq!(metric.samples(), u64::from(u32::MAX));
        metric.count_sample(1);
        metric.count_sample(1);
        assert_eq!(metric.samples(), (1 << 32) + 1);
    }

    #[test]
    fn total_never_falls() {
        let mut metric = Metric::new(b"m", MetricType::Inc);
        metric.add_closed_total(-3.0);
        assert_eq!(metric.closed_total(), 0.0);
        metric.add_closed_total(5.0);
        metric.add_closed_total(-7.0);
        assert_eq!(metric.closed_total(), 5.0);
    }

    #[test]
    fn metric_is_small() {
        assert_eq!(size_of::<Metric>(), 176);
        // Size classes of allocators are 96 and 80 bytes.
        assert_eq!((size_of::<Extra>(), size_of::<Rare>()), (96, 80));
    }
}
