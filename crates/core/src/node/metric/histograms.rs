//! The histograms of a metric's open windows, as they are stored.

use crate::codec::bytes::put_u64;
use crate::model::Window;
use crate::model::histogram::{Histogram, LOWEST_SCALE, MAX_HEAP_BYTES, MAX_RAW};
use crate::settings::MAX_OPEN;

/// The bytes of a histogram below which its resolution is not halved.
const SMALL: usize = 8 * MAX_RAW;

/// The bytes of a histogram that the reserve of a metric includes, twice: that of counts below 2^32.
pub(crate) const HISTOGRAM_BYTES: usize = MAX_HEAP_BYTES / 2;

/// The bytes that a histogram takes beyond its counts, at most.
pub(crate) const HISTOGRAM_OVERHEAD: usize = 128;

const _: () = assert!(
    2 * MAX_OPEN * (SMALL + HISTOGRAM_OVERHEAD) <= 2 * (HISTOGRAM_BYTES + HISTOGRAM_OVERHEAD)
);

/// The histogram of an open window.
pub(crate) struct WindowHistogram {
    pub window: Window,
    /// The start of the window, Unix seconds.
    pub start_s: u32,
    pub histogram: Histogram,
}

/// The histograms of a metric: few, ordered by window and start. The allocation has exactly their length.
#[derive(Default)]
pub(crate) struct Histograms(Box<[WindowHistogram]>);

impl Histograms {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the bytes of the counts and values.
    pub fn heap_bytes(&self) -> usize {
        self.0.iter().map(|h| h.histogram.heap_bytes()).sum()
    }

    /// Returns `true` if a histogram is so large that [`Histograms::halve`] makes it smaller.
    pub fn are_large(&self) -> bool {
        self.0.iter().any(|h| is_large(&h.histogram))
    }

    /// Returns `true` if they take more than the reserve of a metric has for histograms. Those that cannot be halved do
    /// not, however many windows are open.
    pub fn are_too_large(&self) -> bool {
        let bytes = self.heap_bytes() + self.0.len() * HISTOGRAM_OVERHEAD;
        bytes > 2 * (HISTOGRAM_BYTES + HISTOGRAM_OVERHEAD)
    }

    /// Halves the resolution of the histograms that are large.
    pub fn halve(&mut self) {
        for open in &mut self.0 {
            if is_large(&open.histogram) {
                open.histogram.halve_resolution();
            }
        }
    }

    /// Writes the form of saved nodes.
    pub fn save(&self, out: &mut Vec<u8>) {
        out.push(self.0.len() as u8);
        for open in &self.0 {
            out.push(open.window as u8);
            put_u64(out, open.start_s.into());
            open.histogram.put(out);
        }
    }

    #[inline]
    fn find(&self, window: Window, start_s: u32) -> Option<usize> {
        let is_it = |h: &WindowHistogram| h.start_s == start_s && h.window == window;
        self.0.iter().position(is_it)
    }

    /// Returns the histogram of a window.
    pub fn get(&self, window: Window, start_s: u32) -> Option<&Histogram> {
        let at = self.find(window, start_s)?;
        self.0.get(at).map(|h| &h.histogram)
    }

    #[inline]
    pub fn get_mut(&mut self, window: Window, start_s: u32) -> Option<&mut Histogram> {
        let at = self.find(window, start_s)?;
        self.0.get_mut(at).map(|h| &mut h.histogram)
    }

    /// Adds the histogram of a window that has none.
    pub fn insert(&mut self, added: WindowHistogram) {
        let key = |h: &WindowHistogram| (h.window as u8, h.start_s);
        let at = self.0.partition_point(|h| key(h) < key(&added));
        let mut all = std::mem::take(&mut self.0).into_vec();
        all.reserve_exact(1);
        all.insert(at, added);
        self.0 = all.into_boxed_slice();
    }

    pub fn take(&mut self, window: Window, start_s: u32) -> Option<Histogram> {
        let at = self.find(window, start_s)?;
        let mut all = std::mem::take(&mut self.0).into_vec();
        let taken = all.remove(at);
        self.0 = all.into_boxed_slice();
        Some(taken.histogram)
    }

    /// Returns the histograms of the MIN windows within an HOUR window.
    pub fn within(&self, start_s: u32, length_s: u32) -> impl Iterator<Item = &Histogram> {
        let is_within = move |h: &&WindowHistogram| {
            h.window == Window::Min && h.start_s.wrapping_sub(start_s) < length_s
        };
        self.0.iter().filter(is_within).map(|h| &h.histogram)
    }
}

/// Returns `true` if a histogram takes much more than its raw values would, and its resolution can be halved.
fn is_large(histogram: &Histogram) -> bool {
    histogram.heap_bytes() > SMALL && histogram.scale().is_some_and(|scale| scale > LOWEST_SCALE)
}
