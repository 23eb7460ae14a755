//! The cost of the samples of one command: close bounds that look at each metric.

use crate::model::histogram::MAX_BYTES;
use crate::model::{MetricType, Window};
use crate::node::Node;
use crate::node::cost::{
    BUCKET, Closings, HIST_RESERVE, MANY, MAX_HISTOGRAMS, METRIC, METRIC_RESERVE, ONE_OF_MANY,
    PERCENTILES, WINDOW, alloc_size, hist_beyond_reserve, record,
};
use crate::node::metric::histograms::Histograms;
use crate::node::metric::storage::Metric;
use crate::node::table::FREE;
use crate::settings::{MAX_OPEN, Settings};
use crate::time::{second, window_start};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// A tag list that is not stored yet.
fn tags_cost(tags: &[u8]) -> u64 {
    alloc_size(tags.len()) + 64
}

/// A sample of a command, for its cost.
#[derive(Clone, Copy)]
pub(crate) struct CostedSample<'a> {
    pub name: &'a [u8],
    pub metric_type: MetricType,
    pub at: i64,
    pub hist: bool,
    /// The number of samples that it stands for.
    pub times: u64,
    /// An earlier sample of the command has the same metric and another time, so this one may close a window that the
    /// earlier one opens. The length of the longest tag list of the metric in the command so far, bytes.
    pub reopened: Option<usize>,
}

/// The samples of a command that has the first ones of a metric.
#[derive(Default)]
struct NewMetric {
    samples: u64,
    is_hist: bool,
    is_reopened: bool,
}

impl NewMetric {
    fn hist_cost(&self) -> u64 {
        let histograms = match (self.is_hist, self.is_reopened) {
            (false, _) => return 0,
            (true, false) => Window::ALL.len(),
            (true, true) => MAX_HISTOGRAMS,
        };
        HIST_RESERVE + hist_beyond_reserve(histograms, self.samples)
    }
}

impl Node {
    /// Samples of a command, and the tag lists that they bring, each once.
    pub(crate) fn samples_cost<'s>(
        &self,
        samples: impl Iterator<Item = CostedSample<'s>> + Clone,
        tags: impl IntoIterator<Item = &'s [u8]>,
        now_ms: i64,
        settings: &Settings,
    ) -> u64 {
        let free = settings.max_series.saturating_sub(self.metrics.table.len());
        let slots = self.metric_slots(samples.clone().map(|sample| sample.name));
        let slots = slots.into_iter().zip(samples);
        let unknown = slots.clone().filter(|(slot, _)| *slot == FREE);
        let unknown = unknown.map(|(_, sample)| sample);
        let mut cost = Node::new_metrics_cost(unknown.clone(), free, settings);
        let (mut closings, mut is_taken) = (Closings::default(), cost > 0);
        for sample in unknown {
            self.add_reopened(&sample, &mut closings);
        }
        let is_of_type = |slot: u32, sample: &CostedSample<'_>| {
            let metric = self.metrics.table.get(slot);
            metric.is_some_and(|metric| metric.metric_type == sample.metric_type)
        };
        let mut known: Vec<_> = slots
            .filter(|(slot, sample)| *slot != FREE && is_of_type(*slot, sample))
            .collect();
        known.sort_unstable_by_key(|(slot, _)| *slot);
        for group in known.chunk_by(|(a, _), (b, _)| a == b) {
            let [(slot, first), ..] = group else { continue };
            let Some(metric) = self.metrics.table.get(*slot) else {
                continue;
            };
            // Samples of several times may close all windows that are open.
            let closes_all = group.iter().any(|(_, sample)| sample.reopened.is_some())
                || metric.is_ahead(now_ms, settings.rules.max_future_ms);
            self.add_closings(metric, first.at, closes_all, &mut closings);
            for (_, sample) in group {
                self.add_reopened(sample, &mut closings);
            }
            is_taken = true;
            let has_option = group.iter().any(|(_, sample)| sample.hist);
            if !metric.is_hist() && has_option {
                cost += HIST_RESERVE;
            }
            if metric.is_hist() || has_option {
                let times = group.iter().map(|(_, sample)| sample.times);
                let samples = times.fold(metric.max_count(), u64::saturating_add);
                let stored = metric.histograms().map_or(0, Histograms::len);
                let histograms = match group.iter().any(|(_, sample)| sample.reopened.is_some()) {
                    true => MAX_HISTOGRAMS,
                    false => stored + self.opened_by(metric, first.at),
                };
                cost += hist_beyond_reserve(histograms, samples);
            }
        }
        if is_taken {
            let new = tags
                .into_iter()
                .filter(|tags| !self.metrics.tags.holds(tags));
            cost += new.map(tags_cost).sum::<u64>();
        }
        cost + self.closings_cost(&closings)
    }

    /// Samples of a command in a new node, and the tag lists that they bring, each once.
    pub(crate) fn first_samples_cost<'s>(
        samples: impl Iterator<Item = CostedSample<'s>> + Clone,
        tags: impl IntoIterator<Item = &'s [u8]>,
        settings: &Settings,
    ) -> u64 {
        Node::new_metrics_cost(samples.clone(), settings.max_series, settings)
            + tags.into_iter().map(tags_cost).sum::<u64>()
            + 96
            + Node::reopened_bound(samples)
    }

    /// New metrics of these samples, each once, at most `free` of them.
    fn new_metrics_cost<'s>(
        samples: impl Iterator<Item = CostedSample<'s>>,
        free: u32,
        settings: &Settings,
    ) -> u64 {
        let has_patterns = !settings.hist_match.is_empty();
        let mut new: HashMap<&[u8], NewMetric> = HashMap::new();
        for sample in samples {
            let is_full = new.len() >= free as usize;
            let metric = match new.entry(sample.name) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(_) if is_full => continue,
                Entry::Vacant(entry) => entry.insert(NewMetric::default()),
            };
            metric.samples = metric.samples.saturating_add(sample.times);
            metric.is_hist |= sample.hist || has_patterns;
            metric.is_reopened |= sample.reopened.is_some();
        }
        let parts = new.iter();
        let parts = parts.map(|(name, metric)| alloc_size(name.len()) + metric.hist_cost());
        let (new, parts) = (new.len() as u64, parts.sum::<u64>());
        (new * METRIC).min(new * ONE_OF_MANY + MANY) + new * METRIC_RESERVE + parts
    }

    /// Returns the number of windows that a sample opens.
    fn opened_by(&self, metric: &Metric, at: i64) -> usize {
        let is_new = |window: &Window| {
            let start_s = window_start(second(at), self.lengths[*window]);
            metric.open(*window).all(|open| open.start_s() != start_s)
        };
        Window::ALL.iter().filter(|window| is_new(window)).count()
    }

    /// An upper bound of the windows that samples open and later ones of the same command close, in any node.
    pub(crate) fn reopened_bound<'s>(samples: impl Iterator<Item = CostedSample<'s>>) -> u64 {
        let window = |sample: CostedSample<'_>| {
            let tags = sample.reopened?;
            let record = record(sample.name.len() + tags + PERCENTILES + MAX_BYTES);
            Some(record + BUCKET + PERCENTILES as u64 + MAX_OPEN as u64 * WINDOW)
        };
        samples.filter_map(window).sum::<u64>() * Window::ALL.len() as u64
    }

    /// A quick upper bound of the same in this node.
    pub(crate) fn reopened_cost<'s>(&self, samples: impl Iterator<Item = CostedSample<'s>>) -> u64 {
        let n = samples.filter(|sample| sample.reopened.is_some());
        let mut bound = 0;
        for sample in n {
            let longest = sample.reopened.max(Some(self.metrics.longest));
            bound += Node::reopened_bound(std::iter::once(CostedSample {
                reopened: longest,
                ..sample
            }));
        }
        bound
    }

    /// The windows of both lengths that an earlier sample of the command opens and this one may close.
    fn add_reopened(&self, sample: &CostedSample<'_>, closings: &mut Closings) {
        let Some(tags) = sample.reopened else {
            return;
        };
        let tags = tags.max(self.metric_tags_len(sample.name));
        let len = sample.name.len() + tags + self.hist_record(true);
        for window in Window::ALL {
            closings.add(window, len, BUCKET + PERCENTILES as u64);
            closings.windows += self.more_windows_cost(window);
        }
    }
}
