//! The histograms of a metric's open windows.

use super::{Metric, flags};
use crate::node::metric::histograms::Histograms;

impl Metric {
    /// Returns `true` if windows that open have a histogram.
    #[inline]
    pub fn is_hist(&self) -> bool {
        self.has(flags::HIST)
    }

    /// From now on windows that open have a histogram.
    #[inline]
    pub fn set_hist(&mut self) {
        self.set(flags::HIST, true);
    }

    /// Returns `true` if an open window has a histogram.
    #[inline]
    pub fn has_histograms(&self) -> bool {
        self.has(flags::HISTOGRAMS)
    }

    /// The histograms of the open windows; `None`: no window has one.
    pub fn histograms(&self) -> Option<&Histograms> {
        let beside = self.beside().filter(|_| self.has_histograms());
        beside.map(|beside| &beside.histograms)
    }

    /// Returns the bytes of the counts and values of its histograms.
    pub fn histogram_bytes(&self) -> usize {
        self.histograms().map_or(0, Histograms::heap_bytes)
    }

    #[inline]
    pub fn histograms_mut(&mut self) -> Option<&mut Histograms> {
        let has_histograms = self.has_histograms();
        let beside = self.extra.as_mut()?.beside.as_deref_mut();
        beside
            .filter(|_| has_histograms)
            .map(|beside| &mut beside.histograms)
    }

    pub fn make_histograms(&mut self) -> &mut Histograms {
        self.set(flags::HISTOGRAMS, true);
        let extra = self.extra.get_or_insert_default();
        &mut extra.beside.get_or_insert_default().histograms
    }

    pub(in crate::node::metric) fn drop_histograms(&mut self) {
        self.set(flags::HISTOGRAMS, false);
        let has_total = self.closed_total() != 0.0;
        if let Some(extra) = &mut self.extra {
            match &mut extra.beside {
                Some(beside) if has_total => beside.histograms = Histograms::default(),
                beside => *beside = None,
            }
            if extra.is_empty() {
                self.extra = None;
            }
        }
    }
}
