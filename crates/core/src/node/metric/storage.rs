//! One metric, and what a sample does to it.
//!
//! Everything here follows from the metric, the sample, the node's rules and the step's clock alone, so a replica that
//! is given the same sample does the same. A sample that is late changes nothing but counts.

use crate::context::ApplyContext;
use crate::counters::Dropped;
use crate::model::{
    CompactForm, MetricType, Sample, SampleOutcome, TagId, WindowRecord, finite, rate,
};
use crate::node::metric::deadlines::Deadlines;
use crate::node::metric::history::History;
use crate::node::metric::name::Name;
use crate::node::metric::older::{OlderWindow, OlderWindows};
use crate::node::metric::open_window::OpenWindow;
use crate::node::metric::tag_pool::TagPool;
use crate::node::queue::Queues;
use crate::node::table::Named;
use crate::settings::{MIN_OPEN, Rules};
use crate::text::number::Number;
use crate::time::{second, window_start};

/// The two lengths of windows.
pub(crate) const LENGTHS: [usize; 2] = [0, 1];

/// See the file's header. What every sample touches lies here, packed, as much of its cost is the wait for memory; what
/// is touched when a window closes is in [`Extra`], what few metrics have in [`Rare`].
pub(crate) struct Metric {
    pub name: Name,
    /// See [`Metric::at`].
    at: i64,
    /// See [`Metric::last_value`].
    last_value: u64,
    /// The later of the open windows, by length.
    newest: [Option<OpenWindow>; 2],
    /// The end of the newest window that has closed, Unix seconds; 0: none has.
    pub watermark_s: [u32; 2],
    pub tags: TagId,
    /// See [`Metric::samples`].
    samples_low: u32,
    extra: Option<Box<Extra>>,
    /// See [`Metric::last_seen`].
    last_seen_low: u32,
    last_seen_high: u16,
    pub metric_type: MetricType,
    /// Of [`flags`].
    flags: u8,
}

/// What is so of a metric.
mod flags {
    /// Its value told last is a double.
    pub const LAST_IS_FLOAT: u8 = 1;
    /// [`crate::node::Rare::pending`] holds something.
    pub const PENDING_RATE: u8 = 2;
    /// The newest window of a length has other tags than the metric: those in [`crate::node::Rare::other_tags`].
    pub const OTHER_TAGS: [u8; 2] = [4, 8];
}

/// No sample yet, or none that counts for the next.
const NEVER: i64 = i64::MIN;

/// What a metric has beside once a window has closed: all metrics at once, so it is small.
#[derive(Default)]
struct Extra {
    history: [History; 2],
    rare: Option<Box<Rare>>,
}

/// See [`Metric`].
#[derive(Default)]
struct Rare {
    /// The open windows before the newest, by length.
    older: [OlderWindows; 2],
    /// See [`Metric::pending_rate`]; apart, as together they would be padded.
    pending: f64,
    pending_ms: u32,
    /// See [`flags::OTHER_TAGS`].
    other_tags: [TagId; 2],
    counts: Counts,
    /// See [`Metric::samples`].
    samples_high: u32,
}

/// DIFF: what came since the last rate ended. Most samples end one, and leave nothing.
#[derive(Clone, Copy, Default)]
pub(crate) struct PendingRate {
    /// The increase.
    pub pending: f64,
    /// Milliseconds to the last sample.
    pub ms: u32,
}

impl Extra {
    /// It holds nothing and need not be there.
    fn is_empty(&self) -> bool {
        self.rare.is_none() && self.history.iter().all(|history| history.len() == 0)
    }
}

impl Rare {
    /// It holds nothing, but for what flags tell of, and need not be there.
    fn is_empty(&self) -> bool {
        self.older.iter().all(OlderWindows::is_empty)
            && self.counts == Counts::default()
            && self.samples_high == 0
    }
}

/// Counts since the server's start; not part of the value.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub late: u32,
    pub late_min: u32,
    pub late_hour: u32,
    pub restarts: u32,
    pub gaps: u32,
    pub tag_changes: u32,
}

/// Where a sample belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WindowSlot {
    /// Its window has closed, or came too late to be opened.
    Missed,
    Newest,
    /// A window before the newest that is open and begins at this second.
    OlderWindow(u32),
    /// A window after all open ones, which begins at this second.
    New(u32),
    /// A window before the newest that is not open yet.
    Before(u32),
}

impl Named for Metric {
    fn name(&self) -> &[u8] {
        &self.name
    }

    fn prefetch(&self) -> u64 {
        let start = |i: usize| self.newest[i].as_ref().map_or(0, OpenWindow::start_s);
        u64::from(self.samples_low ^ start(0) ^ start(1) ^ self.last_seen_low)
    }
}

/// What a metric needs of its node.
pub(crate) struct Env<'a, 'b> {
    pub rules: &'a Rules,
    pub windows_s: [u32; 2],
    pub tags: &'a mut TagPool,
    pub deadlines: &'a mut [Deadlines; 2],
    pub queues: &'a mut Queues,
    pub ctx: &'a mut ApplyContext<'b>,
}

impl Env<'_, '_> {
    /// A window whose end is at or before this has been passed by the clock by the flush delay.
    pub fn passed_ms(&self) -> i64 {
        self.ctx.now_ms.saturating_sub(self.rules.flush_delay_ms)
    }

    /// As many windows of one length may be open at a time, of a metric that has `open` of them. Where memory is tight, a
    /// metric gets no third one: it is not in the reserve.
    fn max_open(&self, i: usize, open: usize) -> usize {
        let max = match self.ctx.is_version_1 {
            true => MIN_OPEN,
            false => self.rules.open_windows(self.windows_s[i]),
        };
        match self.ctx.keeps_history {
            true => max,
            false => max.min(open.max(MIN_OPEN)),
        }
    }

    /// The length of windows, milliseconds.
    pub fn length_ms(&self, i: usize) -> i64 {
        i64::from(self.windows_s[i]) * 1000
    }
}

impl Metric {
    /// A metric without a sample.
    pub fn new(name: &[u8], metric_type: MetricType) -> Metric {
        Metric {
            name: name.into(),
            metric_type,
            tags: TagId::NONE,
            at: NEVER,
            last_value: 0,
            newest: [None, None],
            watermark_s: [0; 2],
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
    fn set(&mut self, flag: u8, holds: bool) {
        self.flags = self.flags & !flag | if holds { flag } else { 0 };
    }

    #[inline]
    fn rare(&self) -> Option<&Rare> {
        self.extra.as_ref()?.rare.as_deref()
    }

    fn rare_mut(&mut self) -> Option<&mut Rare> {
        self.extra.as_mut()?.rare.as_deref_mut()
    }

    #[cold]
    fn make_rare(&mut self) -> &mut Rare {
        let extra = self.extra.get_or_insert_default();
        extra.rare.get_or_insert_default()
    }

    /// The time of the newest sample, Unix milliseconds; `None`: the next one is a first one.
    #[inline]
    pub fn at(&self) -> Option<i64> {
        (self.at != NEVER).then_some(self.at)
    }

    /// The value of that sample: of a counter, its total.
    pub fn last_value(&self) -> Number {
        if self.has(flags::LAST_IS_FLOAT) {
            Number::Float(f64::from_bits(self.last_value))
        } else {
            Number::Int(self.last_value)
        }
    }

    #[inline]
    fn set_last(&mut self, at: i64, value: Number) {
        self.at = at;
        let (last_value, is_float) = match value {
            Number::Int(v) => (v, false),
            Number::Float(v) => (v.to_bits(), true),
        };
        self.last_value = last_value;
        self.set(flags::LAST_IS_FLOAT, is_float);
    }

    /// DIFF: what came since the last rate ended.
    #[inline]
    pub fn pending_rate(&self) -> PendingRate {
        match self.rare() {
            Some(rare) if self.has(flags::PENDING_RATE) => PendingRate {
                pending: rare.pending,
                ms: rare.pending_ms,
            },
            _ => PendingRate::default(),
        }
    }

    #[inline]
    pub fn set_pending_rate(&mut self, pending_rate: PendingRate) {
        let is_some = pending_rate.ms != 0 || pending_rate.pending.to_bits() != 0;
        if is_some {
            let rare = self.make_rare();
            (rare.pending, rare.pending_ms) = (pending_rate.pending, pending_rate.ms);
        }
        self.set(flags::PENDING_RATE, is_some);
    }

    /// Samples that counted since the server's start; not part of the value.
    pub fn samples(&self) -> u64 {
        let high = self.rare().map_or(0, |rare| rare.samples_high);
        u64::from(high) << 32 | u64::from(self.samples_low)
    }

    #[inline]
    fn count_sample(&mut self) {
        self.samples_low = self.samples_low.wrapping_add(1);
        if self.samples_low == 0 {
            self.make_rare().samples_high += 1;
        }
    }

    /// While a saved node is read: its newest sample.
    pub fn load_last(&mut self, at: Option<i64>, value: Number) {
        self.set_last(at.unwrap_or(NEVER), value);
    }

    /// While a saved node is read: the next open window, its tags still to come.
    pub fn load_open(&mut self, i: usize, window: OpenWindow) {
        if let Some(before) = self.newest[i].replace(window) {
            self.add_older(i, before, TagId::NONE);
        }
    }

    /// While a saved node is read: the tags of the open windows, the oldest first. The metric has its own.
    pub fn load_open_tags(&mut self, i: usize, open: &[&[u8]], pool: &mut TagPool) {
        let Some((newest, older)) = open.split_last() else {
            return;
        };
        self.give_newest_tags(i, pool.acquire(newest), pool);
        if let Some(rare) = self.rare_mut() {
            for (window, tags) in rare.older[i].iter_mut().zip(older) {
                window.tags = pool.acquire(tags);
            }
        }
    }

    /// Keeps a closed window, and of all of its length at most `max`.
    pub fn keep(&mut self, i: usize, start_s: u32, form: CompactForm<'_>, max: u32) {
        if max > 0 || self.extra.is_some() {
            let extra = self.extra.get_or_insert_default();
            extra.history[i].push(start_s, form, max);
        }
    }

    /// Drops the oldest closed windows of one length beyond `max`, but not more than `at_once`.
    pub fn trim_history(&mut self, i: usize, max: u32, at_once: u32) {
        if let Some(extra) = &mut self.extra {
            extra.history[i].trim(max, at_once);
        }
    }

    /// When the last sample arrived (running time, milliseconds). Not part of the value.
    pub fn last_seen(&self) -> u64 {
        u64::from(self.last_seen_high) << 32 | u64::from(self.last_seen_low)
    }

    #[inline]
    fn touch(&mut self, mono_ms: u64) {
        // 48 bits: nine thousand years.
        (self.last_seen_low, self.last_seen_high) = (mono_ms as u32, (mono_ms >> 32) as u16);
    }

    /// Rare counts.
    pub fn counts(&self) -> Counts {
        self.rare().map_or_else(Counts::default, |rare| rare.counts)
    }

    #[cold]
    fn count(&mut self, field: impl FnOnce(&mut Counts) -> &mut u32) {
        let n = field(&mut self.make_rare().counts);
        *n = n.saturating_add(1);
    }

    /// Closed windows of one length that are kept.
    pub fn history(&self, i: usize) -> Option<&History> {
        self.extra.as_ref().map(|e| &e.history[i])
    }

    /// The oldest of the open windows before the newest.
    #[inline]
    fn oldest(&self, i: usize) -> Option<&OpenWindow> {
        self.rare()?.older[i].first()
    }

    /// How many windows are open.
    fn open_count(&self, i: usize) -> usize {
        let older = self.rare().map_or(0, |rare| rare.older[i].len());
        older + usize::from(self.newest[i].is_some())
    }

    /// Takes one of the windows before the newest out.
    fn take_older(
        &mut self,
        i: usize,
        take: impl FnOnce(&mut OlderWindows) -> Option<OlderWindow>,
    ) -> Option<OlderWindow> {
        let last_value =
            self.has(flags::PENDING_RATE | flags::OTHER_TAGS[0] | flags::OTHER_TAGS[1]);
        let extra = self.extra.as_mut()?;
        let rare = extra.rare.as_mut()?;
        let older = take(&mut rare.older[i])?;
        if rare.is_empty() && !last_value {
            extra.rare = None;
            if extra.is_empty() {
                self.extra = None;
            }
        }
        Some(older)
    }

    fn add_older(&mut self, i: usize, window: OpenWindow, tags: TagId) {
        self.make_rare().older[i].insert(OlderWindow { window, tags });
    }

    /// The tags in force at the last sample to arrive of the newest window.
    fn newest_tags(&self, i: usize) -> TagId {
        match self.rare() {
            Some(rare) if self.has(flags::OTHER_TAGS[i]) => rare.other_tags[i],
            _ => self.tags,
        }
    }

    /// The newest window gets tags, to which there is a reference. It has the metric's own before.
    fn give_newest_tags(&mut self, i: usize, tags: TagId, pool: &mut TagPool) {
        if tags == self.tags {
            pool.release(tags);
        } else {
            self.make_rare().other_tags[i] = tags;
            self.set(flags::OTHER_TAGS[i], true);
        }
    }

    /// The newest window's tags become the metric's, or it is not there any more.
    #[inline]
    fn take_newest_tags(&mut self, i: usize, pool: &mut TagPool) {
        if self.has(flags::OTHER_TAGS[i]) {
            pool.release(self.newest_tags(i));
            self.set(flags::OTHER_TAGS[i], false);
        }
    }

    /// The open windows of one length, the oldest first.
    pub fn open(&self, i: usize) -> impl Iterator<Item = &OpenWindow> {
        let older = self.rare().into_iter().flat_map(move |r| r.older[i].iter());
        older.map(|o| &o.window).chain(&self.newest[i])
    }

    /// The same, with the tags in force at the last sample to arrive.
    pub fn open_with_tags(&self, i: usize) -> impl Iterator<Item = (&OpenWindow, TagId)> {
        let older = self.rare().into_iter().flat_map(move |r| r.older[i].iter());
        let newest = self.newest[i].as_ref();
        older
            .map(|o| (&o.window, o.tags))
            .chain(newest.map(move |window| (window, self.newest_tags(i))))
    }

    /// The same, to be changed.
    pub fn open_mut(&mut self, i: usize) -> impl Iterator<Item = &mut OpenWindow> {
        let rare = self.extra.as_mut().and_then(|e| e.rare.as_deref_mut());
        let older = rare.into_iter().flat_map(move |r| r.older[i].iter_mut());
        older.map(|o| &mut o.window).chain(&mut self.newest[i])
    }

    /// The newest open window.
    pub fn newest_mut(&mut self, i: usize) -> Option<&mut OpenWindow> {
        self.newest[i].as_mut()
    }

    /// Whether its oldest window is past its end by the flush delay and not its newest: it closes at once, as a later window
    /// is open.
    pub fn older_is_due(&self, i: usize, length_ms: i64, passed_ms: i64) -> bool {
        self.oldest(i)
            .is_some_and(|b| b.start() + length_ms <= passed_ms)
    }

    /// Whether its newest window is past its end by the flush delay.
    pub fn newest_is_due(&self, i: usize, length_ms: i64, passed_ms: i64) -> bool {
        self.newest[i]
            .as_ref()
            .is_some_and(|b| b.start() + length_ms <= passed_ms)
    }

    /// Whether a sample later than the newest open window has come: one that opened none, as a counter's first does.
    pub fn has_later_sample(&self, i: usize, length_ms: i64) -> bool {
        match (self.at(), &self.newest[i]) {
            (Some(at), Some(newest)) => at >= newest.start() + length_ms,
            _ => false,
        }
    }

    /// Takes a sample of its own kind. `slot`: its own.
    pub fn sample(
        &mut self,
        slot: u32,
        sample: &Sample<'_>,
        env: &mut Env<'_, '_>,
    ) -> SampleOutcome {
        if self.is_ahead(env.ctx.now_ms, env.rules.max_future_ms) {
            self.reset_time(slot, env);
        }
        let outcome = match self.metric_type {
            MetricType::Abs => self.value(slot, sample, env),
            MetricType::Diff => self.total(slot, sample, env),
        };
        match outcome {
            SampleOutcome::Late => self.count(|c| &mut c.late),
            SampleOutcome::LateMin => self.count(|c| &mut c.late_min),
            SampleOutcome::LateHour => self.count(|c| &mut c.late_hour),
            SampleOutcome::Counted => {}
        }
        if outcome != SampleOutcome::Late {
            self.count_sample();
            self.touch(env.ctx.mono_ms);
        }
        outcome
    }

    /// Whether its newest sample lies too far ahead of a clock that must have been wrong.
    pub fn is_ahead(&self, now_ms: i64, max_future_ms: i64) -> bool {
        // That there is none is before all times.
        self.at > now_ms.saturating_add(max_future_ms)
    }

    /// Closes the windows as they stand; the next sample is a first one.
    pub fn reset_time(&mut self, slot: u32, env: &mut Env<'_, '_>) {
        self.close_all(slot, env);
        self.at = NEVER;
        self.watermark_s = [0; 2];
        env.queues
            .count(env.ctx, |c| c.clock_back = c.clock_back.saturating_add(1));
    }

    fn value(&mut self, slot: u32, sample: &Sample<'_>, env: &mut Env<'_, '_>) -> SampleOutcome {
        let window_slots = self.window_slots(sample.at, env);
        if window_slots == [WindowSlot::Missed; 2] {
            return SampleOutcome::Late;
        }
        let value = sample.value.to_f64();
        self.take_tags(sample, window_slots, env);
        for i in LENGTHS {
            if let Some(window) = self.window(i, window_slots[i], slot, env) {
                window.add_value(sample.at, value);
            }
        }
        if sample.at >= self.at {
            self.set_last(sample.at, sample.value);
        }
        match window_slots {
            [WindowSlot::Missed, _] => SampleOutcome::LateMin,
            [_, WindowSlot::Missed] => SampleOutcome::LateHour,
            _ => SampleOutcome::Counted,
        }
    }

    fn total(&mut self, slot: u32, sample: &Sample<'_>, env: &mut Env<'_, '_>) -> SampleOutcome {
        let Some(before) = self.at() else {
            return self.first_total(slot, sample, env);
        };
        let ms = sample.at - before;
        if ms < 0 {
            return SampleOutcome::Late;
        }
        if ms > env.rules.max_gap_ms {
            self.count(|c| &mut c.gaps);
            return self.first_total(slot, sample, env);
        }
        let window_slots = self.window_slots(sample.at, env);
        // Where its MIN window has closed, the next sample brings the increase to both: none is lost or doubled. An HOUR
        // window that has closed takes no further sample, so waiting for one would stop the counter until the next hour.
        if window_slots[0] == WindowSlot::Missed {
            return SampleOutcome::Late;
        }
        let increase = match increase(sample.value, self.last_value()) {
            Some(increase) => increase,
            None if ms < env.rules.min_interval_ms => return SampleOutcome::Late,
            None => {
                self.count(|c| &mut c.restarts);
                sample.value.to_f64()
            }
        };
        self.take_tags(sample, window_slots, env);
        let pending_rate = self.pending_rate();
        let pending = finite(pending_rate.pending + increase);
        let covered = i64::from(pending_rate.ms) + ms;
        let ended = (covered >= env.rules.min_interval_ms).then(|| rate(pending, covered.max(1)));
        for i in LENGTHS {
            if let Some(window) = self.window(i, window_slots[i], slot, env) {
                window.add_increase(increase, ms);
                if let Some(rate) = ended {
                    window.add_rate(rate);
                }
            }
        }
        self.set_pending_rate(match ended {
            Some(_) => PendingRate::default(),
            None => PendingRate {
                pending,
                ms: u32::try_from(covered).unwrap_or(u32::MAX),
            },
        });
        self.set_last(sample.at, sample.value);
        match window_slots[1] {
            WindowSlot::Missed => SampleOutcome::LateHour,
            _ => SampleOutcome::Counted,
        }
    }

    /// A counter's first sample sets the total; it opens no window, but closes those that it is later than.
    fn first_total(
        &mut self,
        slot: u32,
        sample: &Sample<'_>,
        env: &mut Env<'_, '_>,
    ) -> SampleOutcome {
        for i in LENGTHS {
            let start_s = window_start(second(sample.at), env.windows_s[i]);
            self.close_before(i, start_s, slot, env);
        }
        self.take_tags(sample, [WindowSlot::Missed; 2], env);
        self.set_last(sample.at, sample.value);
        self.set_pending_rate(PendingRate::default());
        SampleOutcome::Counted
    }

    #[inline]
    fn window_slots(&self, at: i64, env: &Env<'_, '_>) -> [WindowSlot; 2] {
        let at_s = second(at);
        LENGTHS.map(|i| {
            let length_s = env.windows_s[i];
            match &self.newest[i] {
                // The way of nearly every sample.
                Some(newest)
                    if at_s.wrapping_sub(newest.start_s()) < length_s
                        && newest.start_s() >= self.watermark_s[i] =>
                {
                    WindowSlot::Newest
                }
                _ => {
                    let start_s = window_start(at_s, length_s);
                    let end_ms = i64::from(start_s) * 1000 + env.length_ms(i);
                    let max = env.max_open(i, self.open_count(i));
                    self.window_slot(i, start_s, end_ms <= env.passed_ms(), max)
                }
            }
        })
    }

    /// Where a sample of the window that begins at `start_s` belongs. `passed`: the clock has passed the window's end by
    /// the flush delay. `max`: as many windows may be open.
    fn window_slot(&self, i: usize, start_s: u32, passed: bool, max: usize) -> WindowSlot {
        if start_s < self.watermark_s[i] {
            return WindowSlot::Missed;
        }
        let Some(newest) = self.newest[i].as_ref().map(OpenWindow::start_s) else {
            return WindowSlot::New(start_s);
        };
        if start_s == newest {
            return WindowSlot::Newest;
        }
        if start_s > newest {
            return WindowSlot::New(start_s);
        }
        if self.open(i).any(|open| open.start_s() == start_s) {
            return WindowSlot::OlderWindow(start_s);
        }
        // Of too many windows the oldest closes; it would be this one, which is as good as missed.
        let is_oldest = self
            .oldest(i)
            .is_none_or(|oldest| start_s < oldest.start_s());
        if passed || is_oldest && self.open_count(i) >= max {
            return WindowSlot::Missed;
        }
        WindowSlot::Before(start_s)
    }

    /// The sample's tags become the metric's; and those of the windows in which it counts, which are all told of here.
    #[inline]
    fn take_tags(
        &mut self,
        sample: &Sample<'_>,
        window_slots: [WindowSlot; 2],
        env: &mut Env<'_, '_>,
    ) {
        let Some(text) = sample.tags else { return };
        let is_same = match sample.tag_id {
            Some(id) => id == self.tags,
            None => env.tags.text(self.tags) == text,
        };
        if !is_same {
            let tags = match sample.tag_id {
                Some(id) => env.tags.retain(id),
                None => env.tags.acquire(text),
            };
            self.change_tags(tags, window_slots, env);
        }
    }

    /// `tags`: a reference to them.
    #[cold]
    fn change_tags(&mut self, tags: TagId, window_slots: [WindowSlot; 2], env: &mut Env<'_, '_>) {
        for i in LENGTHS {
            let stays = self.newest[i].is_some() && window_slots[i] != WindowSlot::Newest;
            if stays && !self.has(flags::OTHER_TAGS[i]) {
                let before = env.tags.retain(self.tags);
                self.make_rare().other_tags[i] = before;
                self.set(flags::OTHER_TAGS[i], true);
            }
        }
        // The first that come are no change.
        if self.tags != TagId::NONE || self.was_tagged() {
            env.tags.release(self.tags);
            self.count(|c| &mut c.tag_changes);
        }
        self.tags = tags;
    }

    /// It had tags that were taken back: that was a change.
    fn was_tagged(&self) -> bool {
        self.counts().tag_changes > 0
    }

    /// The bucket that a sample counts in, opened where it is not yet; its tags become the metric's.
    #[inline]
    fn window(
        &mut self,
        i: usize,
        window_slot: WindowSlot,
        slot: u32,
        env: &mut Env<'_, '_>,
    ) -> Option<&mut OpenWindow> {
        if let WindowSlot::New(start_s) | WindowSlot::Before(start_s) = window_slot {
            self.open_window(i, window_slot, start_s, slot, env);
        }
        match window_slot {
            WindowSlot::Missed => None,
            WindowSlot::Newest | WindowSlot::New(_) => {
                self.take_newest_tags(i, env.tags);
                self.newest[i].as_mut()
            }
            WindowSlot::OlderWindow(start_s) | WindowSlot::Before(start_s) => {
                let tags = self.tags;
                let older = self.rare_mut()?.older[i].find_mut(start_s)?;
                if older.tags != tags {
                    env.tags.release(older.tags);
                    older.tags = env.tags.retain(tags);
                }
                Some(&mut older.window)
            }
        }
    }

    fn open_window(
        &mut self,
        i: usize,
        window_slot: WindowSlot,
        start_s: u32,
        slot: u32,
        env: &mut Env<'_, '_>,
    ) {
        if matches!(window_slot, WindowSlot::New(_)) {
            self.close_before(i, start_s, slot, env);
        }
        // One window too many closes the oldest.
        let max = env.max_open(i, self.open_count(i));
        while self.open_count(i) >= max && self.close_oldest(i, slot, env) {}
        let mut window = OpenWindow::new(start_s);
        if window.start() + env.length_ms(i) <= env.passed_ms() {
            let until = env.ctx.mono_ms + env.rules.flush_delay_ms as u64;
            env.deadlines[i].await_idle(&mut window, true, slot, until);
        } else {
            env.deadlines[i].opened(&window, slot);
        }
        match window_slot {
            WindowSlot::Before(_) => self.add_older(i, window, TagId::NONE),
            _ => {
                if let Some(before) = self.newest[i].replace(window) {
                    let tags = env.tags.retain(self.newest_tags(i));
                    self.take_newest_tags(i, env.tags);
                    self.add_older(i, before, tags);
                }
            }
        }
    }

    /// Closes the windows before `start_s` whose end the clock has passed by the flush delay: a later sample has come.
    fn close_before(&mut self, i: usize, start_s: u32, slot: u32, env: &mut Env<'_, '_>) {
        let (length, passed) = (env.length_ms(i), env.passed_ms());
        let is_over = |b: &OpenWindow| b.start_s() < start_s && b.start() + length <= passed;
        while self.oldest(i).is_some_and(is_over) && self.close_oldest(i, slot, env) {}
        if self.newest[i].as_ref().is_some_and(is_over) {
            self.close_newest(i, slot, env);
        }
    }

    /// Closes the windows of one length that are past their end by the flush delay; the newest only if told to.
    pub fn close_due(&mut self, i: usize, newest: bool, slot: u32, env: &mut Env<'_, '_>) {
        let (length, passed) = (env.length_ms(i), env.passed_ms());
        while self.older_is_due(i, length, passed) && self.close_oldest(i, slot, env) {}
        if newest && self.newest_is_due(i, length, passed) {
            self.close_newest(i, slot, env);
        }
    }

    /// Closes all windows as they stand.
    pub fn close_all(&mut self, slot: u32, env: &mut Env<'_, '_>) {
        for i in LENGTHS {
            while self.close_oldest(i, slot, env) {}
            self.close_newest(i, slot, env);
        }
    }

    /// Closes the oldest window before the newest; false if there is none.
    fn close_oldest(&mut self, i: usize, slot: u32, env: &mut Env<'_, '_>) -> bool {
        let Some(older) = self.take_older(i, OlderWindows::take_first) else {
            return false;
        };
        self.close(i, &older.window, older.tags, slot, env);
        env.tags.release(older.tags);
        true
    }

    fn close_newest(&mut self, i: usize, slot: u32, env: &mut Env<'_, '_>) {
        let Some(window) = self.newest[i].take() else {
            return;
        };
        self.close(i, &window, self.newest_tags(i), slot, env);
        self.take_newest_tags(i, env.tags);
        // The last of older windows that are still open is then the newest.
        if let Some(older) = self.take_older(i, OlderWindows::take_last) {
            self.newest[i] = Some(older.window);
            self.give_newest_tags(i, older.tags, env.tags);
        }
    }

    fn close(
        &mut self,
        i: usize,
        window: &OpenWindow,
        tags: TagId,
        slot: u32,
        env: &mut Env<'_, '_>,
    ) {
        env.deadlines[i].closed(window, slot);
        let end_s = window.start_s().saturating_add(env.windows_s[i]);
        self.watermark_s[i] = self.watermark_s[i].max(end_s);
        let entry = WindowRecord {
            name: &self.name,
            metric_type: self.metric_type,
            tags: env.tags.text(tags),
            closed: window.close(self.metric_type, env.rules.min_interval_ms),
        };
        let form = env.queues.push_window(i, &entry, env.rules, env.ctx);
        let max = env.rules.history[i];
        if max > 0 && !env.ctx.keeps_history {
            let now_ms = env.ctx.now_ms;
            env.queues
                .count(env.ctx, |c| c.drop(Dropped::History, None, 1, now_ms));
        } else {
            self.keep(i, window.start_s(), form, max);
        }
    }
}

/// What a total grew by, exactly as long as both are whole; `None` where it is lower than before.
fn increase(total: Number, before: Number) -> Option<f64> {
    match (whole(total), whole(before)) {
        (Some(total), Some(before)) => total.checked_sub(before).map(|d| d as f64),
        _ => {
            let d = total.to_f64() - before.to_f64();
            (d >= 0.0).then_some(d)
        }
    }
}

fn whole(n: Number) -> Option<u128> {
    match n {
        Number::Int(v) => Some(v.into()),
        Number::Float(v) => (v.fract() == 0.0 && (0.0..1e38).contains(&v)).then_some(v as u128),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window_slot(
        watermark_s: u32,
        older: Option<u32>,
        newest: Option<u32>,
        start_s: u32,
        passed: bool,
    ) -> WindowSlot {
        let mut metric = Metric::new(b"m", MetricType::Abs);
        metric.watermark_s[0] = watermark_s;
        older
            .into_iter()
            .chain(newest)
            .for_each(|s| metric.load_open(0, OpenWindow::new(s)));
        metric.window_slot(0, start_s, passed, 2)
    }

    #[test]
    fn a_sample_finds_its_window() {
        assert_eq!(window_slot(0, None, None, 600, true), WindowSlot::New(600));
        assert_eq!(window_slot(900, None, None, 600, false), WindowSlot::Missed);
        assert_eq!(
            window_slot(0, None, Some(600), 600, true),
            WindowSlot::Newest
        );
        assert_eq!(
            window_slot(0, None, Some(600), 900, false),
            WindowSlot::New(900)
        );
        assert_eq!(
            window_slot(0, None, Some(600), 300, false),
            WindowSlot::Before(300)
        );
        assert_eq!(
            window_slot(0, None, Some(600), 300, true),
            WindowSlot::Missed
        );
        assert_eq!(
            window_slot(0, Some(300), Some(600), 300, true),
            WindowSlot::OlderWindow(300)
        );
        assert_eq!(
            window_slot(0, Some(300), Some(900), 600, false),
            WindowSlot::Before(600)
        );
        assert_eq!(
            window_slot(0, Some(300), Some(600), 0, false),
            WindowSlot::Missed
        );
    }

    #[test]
    fn samples_are_counted_beyond_32_bits() {
        let mut metric = Metric::new(b"m", MetricType::Abs);
        metric.samples_low = u32::MAX - 1;
        metric.count_sample();
        assert_eq!(metric.samples(), u64::from(u32::MAX));
        metric.count_sample();
        metric.count_sample();
        assert_eq!(metric.samples(), (1 << 32) + 1);
    }

    #[test]
    fn a_metric_is_small() {
        assert_eq!(size_of::<Metric>(), 176);
        // Size classes of allocators are 96 and 80 bytes.
        assert_eq!((size_of::<Extra>(), size_of::<Rare>()), (88, 80));
    }
}
