//! The histograms of a metric's open windows: which samples go into which.
//!
//! Samples are inserted into the MIN window only. When it closes, its histogram is merged into that of the HOUR window
//! that contains it, so a sample costs one insertion. A sample that misses the MIN window goes into the HOUR window
//! directly. The histogram of an open HOUR window thus lacks the samples of open MIN windows.

use super::histograms::WindowHistogram;
use super::open_window::OpenWindow;
use super::slots::Rates;
use super::storage::Metric;
use super::window_slot::WindowSlot;
use crate::codec::bytes::Reader;
use crate::context::ApplyContext;
use crate::error::DecodeError;
use crate::model::histogram::Histogram;
use crate::model::{MetricType, PerWindow, Window};
use crate::time::window_start;

impl Metric {
    /// Gives a window that has been opened a histogram.
    #[cold]
    pub(super) fn add_histogram(&mut self, window: Window, start_s: u32) {
        self.make_histograms().insert(WindowHistogram {
            window,
            start_s,
            histogram: Histogram::default(),
        });
    }

    /// Inserts a value, or a rate, into the histogram of the MIN window in which it counts. Where that is missed, into
    /// that of the HOUR window.
    #[inline]
    pub(super) fn observe(&mut self, slots: PerWindow<WindowSlot>, value: f64, times: u64) {
        if self.has_histograms() {
            self.observe_with(slots, |histogram| histogram.insert(value, times));
        }
    }

    /// Merges the histogram of aggregated samples likewise.
    pub(super) fn observe_aggregate(&mut self, slots: PerWindow<WindowSlot>, samples: &Histogram) {
        self.observe_with(slots, |histogram| histogram.merge(samples));
    }

    /// Inserts rates of an INC metric into the histogram of a window. They are few, so they go into the histograms of
    /// both windows at once: a short window that opens late has slots that the long one has seen already.
    pub(super) fn observe_rates(&mut self, window: Window, start_s: u32, rates: Rates) {
        let histograms = self.histograms_mut();
        let histogram = histograms.and_then(|histograms| histograms.get_mut(window, start_s));
        if let Some(histogram) = histogram {
            for (rate, times) in rates {
                histogram.insert(rate, times.into());
            }
        }
    }

    /// Calls `add` with the histogram into which a sample goes, if there is one.
    fn observe_with(&mut self, slots: PerWindow<WindowSlot>, add: impl FnOnce(&mut Histogram)) {
        let starts = PerWindow::from_fn(|window| match slots[window] {
            WindowSlot::Missed => None,
            WindowSlot::Newest => self.newest[window].as_ref().map(OpenWindow::start_s),
            WindowSlot::Older(s) | WindowSlot::New(s) | WindowSlot::Before(s) => Some(s),
        });
        let Some(histograms) = self.histograms_mut() else {
            return;
        };
        for window in Window::ALL {
            if let Some(start_s) = starts[window]
                && let Some(histogram) = histograms.get_mut(window, start_s)
            {
                add(histogram);
                return;
            }
        }
    }

    /// Takes the whole histogram of a window that closes. That of a MIN window is also merged into that of its HOUR
    /// window.
    #[cold]
    pub(super) fn take_histogram(
        &mut self,
        window: Window,
        start_s: u32,
        apply: &ApplyContext,
    ) -> Option<Histogram> {
        let merges = self.metric_type != MetricType::Inc;
        let histograms = self.histograms_mut()?;
        let mut taken = histograms.take(window, start_s)?;
        let hour_s = apply.lengths[Window::Hour];
        match window {
            _ if !merges => {}
            Window::Min => {
                let hour = histograms.get_mut(Window::Hour, window_start(start_s, hour_s));
                hour.into_iter().for_each(|hour| hour.merge(&taken));
            }
            Window::Hour => {
                let within = histograms.within(start_s, hour_s);
                within.for_each(|histogram| taken.merge(histogram));
            }
        }
        if histograms.is_empty() {
            self.drop_histograms();
        }
        Some(taken)
    }

    /// Returns the whole histogram of an open window. `hour_s`: the length of HOUR windows, seconds.
    pub fn histogram(&self, window: Window, start_s: u32, hour_s: u32) -> Option<Histogram> {
        let histograms = self.histograms()?;
        let mut whole = histograms.get(window, start_s)?.clone();
        if window == Window::Hour && self.metric_type != MetricType::Inc {
            let within = histograms.within(start_s, hour_s);
            within.for_each(|histogram| whole.merge(histogram));
        }
        Some(whole)
    }

    /// Loads the histograms of open windows, which are loaded already.
    pub fn load_histograms(&mut self, r: &mut Reader<'_>) -> Result<(), DecodeError> {
        const WRONG: DecodeError = DecodeError("a histogram without a window");
        let count = r.u8()?;
        if count == 0 {
            return Err(WRONG);
        }
        let mut before = None;
        for _ in 0..count {
            let window = match r.u8()? {
                0 => Window::Min,
                1 => Window::Hour,
                _ => return Err(WRONG),
            };
            let start_s = r.u32()?;
            let key = Some((window as u8, start_s));
            let is_open = self.open(window).any(|open| open.start_s() == start_s);
            if before >= key || !is_open {
                return Err(WRONG);
            }
            before = key;
            let histogram = Histogram::read(r)?;
            self.make_histograms().insert(WindowHistogram {
                window,
                start_s,
                histogram,
            });
        }
        Ok(())
    }
}
