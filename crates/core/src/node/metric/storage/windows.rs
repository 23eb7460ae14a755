//! The windows of a metric: the closed ones that it keeps, the open ones, and the tags of these.

use super::{Deadlines, Metric, flags};
use crate::model::{CompactForm, TagId, Window};
use crate::node::metric::history::History;
use crate::node::metric::older::{OlderWindow, OlderWindows};
use crate::node::metric::open_window::OpenWindow;
use crate::node::metric::tag_pool::TagPool;
use std::borrow::Cow;

/// The flag of a newest window with other tags than the metric.
#[inline]
fn other_tags_flag(window: Window) -> u8 {
    match window {
        Window::Min => flags::OTHER_MIN_TAGS,
        Window::Hour => flags::OTHER_HOUR_TAGS,
    }
}

/// The flag of a metric whose windows of one length have a check.
#[inline]
fn check_flag(window: Window) -> u8 {
    match window {
        Window::Min => flags::MIN_CHECK,
        Window::Hour => flags::HOUR_CHECK,
    }
}

/// Closed windows.
impl Metric {
    /// The closed windows that are kept.
    pub fn history(&self, window: Window) -> Option<&History> {
        self.extra.as_ref().map(|extra| &extra.history[window])
    }

    /// Keeps a closed window, and at most `max` of its length.
    pub fn keep(&mut self, window: Window, start_s: u32, form: CompactForm<'_>, max: u32) {
        if max > 0 || self.extra.is_some() {
            let extra = self.extra.get_or_insert_default();
            extra.history[window].push(start_s, form, max);
        }
    }

    /// Drops the oldest closed windows beyond `max`, but not more than `at_once`.
    pub fn trim_history(&mut self, window: Window, max: u32, at_once: u32) {
        if let Some(extra) = &mut self.extra {
            extra.history[window].trim(max, at_once);
        }
    }
}

/// Open windows.
impl Metric {
    /// The open windows, the oldest first.
    pub fn open(&self, window: Window) -> impl Iterator<Item = &OpenWindow> {
        let rare = self.rare().into_iter();
        let older = rare.flat_map(move |rare| rare.older[window].iter());
        older.map(|older| &older.window).chain(&self.newest[window])
    }

    /// The open windows, the oldest first, each with the tags of its last sample to arrive.
    pub fn open_with_tags(&self, window: Window) -> impl Iterator<Item = (&OpenWindow, TagId)> {
        let rare = self.rare().into_iter();
        let older = rare.flat_map(move |rare| rare.older[window].iter());
        let newest = self.newest[window].as_ref();
        older
            .map(|older| (&older.window, older.tags))
            .chain(newest.map(move |newest| (newest, self.newest_tags(window))))
    }

    /// The open windows, the oldest first.
    pub fn open_mut(&mut self, window: Window) -> impl Iterator<Item = &mut OpenWindow> {
        let rare = self
            .extra
            .as_mut()
            .and_then(|extra| extra.rare.as_deref_mut());
        let older = rare
            .into_iter()
            .flat_map(move |rare| rare.older[window].iter_mut());
        older
            .map(|older| &mut older.window)
            .chain(&mut self.newest[window])
    }

    /// Schedules a check of the windows of one length, unless there is one: it is not later, but where the flush delay
    /// was lowered meanwhile.
    pub fn schedule_check(
        &mut self,
        window: Window,
        slot: u32,
        at_ms: u64,
        deadlines: &mut Deadlines,
    ) {
        if !self.has_check(window) {
            self.set(check_flag(window), true);
            deadlines.schedule(slot, at_ms);
        }
    }

    /// Returns `true` if the deadlines have a check of the windows of one length.
    pub fn has_check(&self, window: Window) -> bool {
        self.has(check_flag(window))
    }

    /// Records that the check of the windows of one length was taken from the deadlines.
    pub fn take_check(&mut self, window: Window) {
        self.set(check_flag(window), false);
    }

    /// The newest open window.
    pub fn newest_mut(&mut self, window: Window) -> Option<&mut OpenWindow> {
        self.newest[window].as_mut()
    }

    /// The oldest of the open windows before the newest.
    #[inline]
    pub(in crate::node::metric) fn oldest(&self, window: Window) -> Option<&OpenWindow> {
        self.rare()?.older[window].first()
    }

    /// The largest number of samples in an open window.
    pub fn max_count(&self) -> u64 {
        let windows = Window::ALL.into_iter();
        let counts = windows.flat_map(|window| self.open(window).map(OpenWindow::count));
        counts.max().unwrap_or(0)
    }

    /// The number of open windows.
    pub(in crate::node::metric) fn open_count(&self, window: Window) -> usize {
        let older = self.rare().map_or(0, |rare| rare.older[window].len());
        older + usize::from(self.newest[window].is_some())
    }

    /// The open window before the newest that begins at `start_s`.
    pub(in crate::node::metric) fn older_mut(
        &mut self,
        window: Window,
        start_s: u32,
    ) -> Option<&mut OlderWindow> {
        self.rare_mut()?.older[window].find_mut(start_s)
    }

    /// Takes the oldest of the open windows before the newest out.
    pub(in crate::node::metric) fn take_oldest(&mut self, window: Window) -> Option<OlderWindow> {
        self.take_older(window, OlderWindows::take_first)
    }

    /// Takes the latest of the open windows before the newest out.
    pub(in crate::node::metric) fn take_last_older(
        &mut self,
        window: Window,
    ) -> Option<OlderWindow> {
        self.take_older(window, OlderWindows::take_last)
    }

    fn take_older(
        &mut self,
        window: Window,
        take: impl FnOnce(&mut OlderWindows) -> Option<OlderWindow>,
    ) -> Option<OlderWindow> {
        let is_in_use = self.has(flags::OF_RARE);
        let extra = self.extra.as_mut()?;
        let rare = extra.rare.as_mut()?;
        let older = take(&mut rare.older[window])?;
        if rare.is_empty() && !is_in_use {
            extra.rare = None;
            if extra.is_empty() {
                self.extra = None;
            }
        }
        Some(older)
    }

    pub(in crate::node::metric) fn add_older(
        &mut self,
        window: Window,
        open: OpenWindow,
        tags: TagId,
    ) {
        self.make_rare().older[window].insert(OlderWindow { window: open, tags });
    }
}

/// The tags of the newest open windows.
impl Metric {
    /// The tags of the last sample to arrive in the newest window.
    pub(in crate::node::metric) fn newest_tags(&self, window: Window) -> TagId {
        match self.rare() {
            Some(rare) if self.has(other_tags_flag(window)) => rare.other_tags[window],
            _ => self.tags,
        }
    }

    /// Returns `true` if the newest window has tags of its own.
    pub(in crate::node::metric) fn has_other_tags(&self, window: Window) -> bool {
        self.has(other_tags_flag(window))
    }

    /// Keeps the tags that the newest window has as its own, as those of the metric change. The caller has a reference.
    pub(in crate::node::metric) fn keep_newest_tags(&mut self, window: Window, tags: TagId) {
        self.make_rare().other_tags[window] = tags;
        self.set(other_tags_flag(window), true);
    }

    /// Gives the newest window tags of its own, to which the caller has a reference. It has the metric's until then.
    pub(in crate::node::metric) fn give_newest_tags(
        &mut self,
        window: Window,
        tags: TagId,
        pool: &mut TagPool,
    ) {
        if tags == self.tags {
            pool.release(tags);
        } else {
            self.keep_newest_tags(window, tags);
        }
    }

    /// Releases the own tags of the newest window: it takes the metric's, or it is closed.
    #[inline]
    pub(in crate::node::metric) fn take_newest_tags(&mut self, window: Window, pool: &mut TagPool) {
        if self.has(other_tags_flag(window)) {
            pool.release(self.newest_tags(window));
            self.set(other_tags_flag(window), false);
        }
    }
}

/// Loading a saved node.
impl Metric {
    /// Loads the next open window; its tags are still to come.
    pub fn load_open(&mut self, window: Window, open: OpenWindow) {
        if let Some(before) = self.newest[window].replace(open) {
            self.add_older(window, before, TagId::NONE);
        }
    }

    /// Loads the tags of the open windows, the oldest first, after those of the metric.
    pub fn load_open_tags(&mut self, window: Window, open: &[Cow<'_, [u8]>], pool: &mut TagPool) {
        let Some((newest, older)) = open.split_last() else {
            return;
        };
        self.give_newest_tags(window, pool.acquire(newest), pool);
        if let Some(rare) = self.rare_mut() {
            for (older, tags) in rare.older[window].iter_mut().zip(older) {
                older.tags = pool.acquire(tags);
            }
        }
    }
}
