//! The window in which a sample counts.

use super::open_window::OpenWindow;
use super::storage::Metric;
use crate::context::ApplyContext;
use crate::model::{PerWindow, Window};
use crate::time::{second, window_start};

/// The window of a metric to which a sample belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WindowSlot {
    /// Its window has closed, or the sample is too late to open it.
    Missed,
    /// The newest window.
    Newest,
    /// An open window before the newest, which begins at this second.
    Older(u32),
    /// A window after all open ones, which begins at this second and is not open yet.
    New(u32),
    /// A window before the newest, which begins at this second and is not open yet.
    Before(u32),
}

impl Metric {
    /// Returns where a sample at this time belongs, for each window length.
    #[inline]
    pub(super) fn window_slots(&self, at: i64, apply: &ApplyContext) -> PerWindow<WindowSlot> {
        let at_s = second(at);
        PerWindow::from_fn(|window| match self.is_in_newest(window, at_s, apply) {
            true => WindowSlot::Newest,
            false => self.slot_elsewhere(window, at_s, apply),
        })
    }

    /// Returns `true` if the second is in the newest window, without asking which others are open.
    #[inline]
    pub(super) fn is_in_newest(&self, window: Window, at_s: u32, apply: &ApplyContext) -> bool {
        self.newest[window].as_ref().is_some_and(|newest| {
            at_s.wrapping_sub(newest.start_s()) < apply.lengths[window]
                && newest.start_s() >= self.watermark_s[window]
        })
    }

    fn slot_elsewhere(&self, window: Window, at_s: u32, apply: &ApplyContext) -> WindowSlot {
        let start_s = window_start(at_s, apply.lengths[window]);
        let end_ms = i64::from(start_s) * 1000 + apply.length_ms(window);
        let max_open = apply.max_open(window, self.open_count(window));
        self.window_slot(window, start_s, end_ms <= apply.flushed_ms(), max_open)
    }

    /// Returns where a sample of the window that begins at `start_s` belongs. `is_flushed`: the clock has passed the
    /// end of the window by the flush delay. `max_open`: so many windows may be open.
    fn window_slot(
        &self,
        window: Window,
        start_s: u32,
        is_flushed: bool,
        max_open: usize,
    ) -> WindowSlot {
        if start_s < self.watermark_s[window] {
            return WindowSlot::Missed;
        }
        let Some(newest) = self.newest[window].as_ref().map(OpenWindow::start_s) else {
            return WindowSlot::New(start_s);
        };
        if start_s == newest {
            return WindowSlot::Newest;
        }
        if start_s > newest {
            return WindowSlot::New(start_s);
        }
        if self.open(window).any(|open| open.start_s() == start_s) {
            return WindowSlot::Older(start_s);
        }
        // Of too many windows the oldest closes. It would be this one, which is as good as missed.
        let is_oldest = self
            .oldest(window)
            .is_none_or(|oldest| start_s < oldest.start_s());
        if is_flushed || is_oldest && self.open_count(window) >= max_open {
            return WindowSlot::Missed;
        }
        WindowSlot::Before(start_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MetricType;

    fn slot(
        watermark_s: u32,
        older: Option<u32>,
        newest: Option<u32>,
        start_s: u32,
        is_flushed: bool,
    ) -> WindowSlot {
        let mut metric = Metric::new(b"m", MetricType::Abs);
        metric.watermark_s[Window::Min] = watermark_s;
        older
            .into_iter()
            .chain(newest)
            .for_each(|s| metric.load_open(Window::Min, OpenWindow::new(s)));
        metric.window_slot(Window::Min, start_s, is_flushed, 2)
    }

    #[test]
    fn sample_finds_its_window() {
        use WindowSlot::{Before, Missed, New, Newest, Older};
        assert_eq!(slot(0, None, None, 600, true), New(600));
        assert_eq!(slot(900, None, None, 600, false), Missed);
        assert_eq!(slot(0, None, Some(600), 600, true), Newest);
        assert_eq!(slot(0, None, Some(600), 900, false), New(900));
        assert_eq!(slot(0, None, Some(600), 300, false), Before(300));
        assert_eq!(slot(0, None, Some(600), 300, true), Missed);
        assert_eq!(slot(0, Some(300), Some(600), 300, true), Older(300));
        assert_eq!(slot(0, Some(300), Some(900), 600, false), Before(600));
        assert_eq!(slot(0, Some(300), Some(600), 0, false), Missed);
    }
}
