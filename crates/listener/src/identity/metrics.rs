//! The table of metrics: which there are, and how many of each name.
//!
//! # Invariants
//!
//! - A name has at most `max_instances` metrics with attributes, all names together have at most `max_series`, and there
//!   are at most `max_names` names. Besides, each name may have a metric without attributes, and one for the instances
//!   beyond the limits.
//! - A metric has the same place as long as it is in the table.

use std::collections::HashMap;
use std::sync::Arc;

use aggregator_protocol::quote::quoted;

use super::name;
use super::series::Unresolved;
use super::settings::IdentitySettings;

/// The age of a forgotten series.
pub(super) const GENERATIONS: u32 = 4;

/// Maximum warnings about names with too many instances.
const MAX_WARNINGS: u32 = 1000;

/// The role of a metric among those of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It has no attributes.
    Plain,
    /// It has attributes.
    Instance,
    /// It stands for all instances beyond the limits.
    Other,
}

/// A metric with its place.
#[derive(Clone)]
pub(super) struct Placed {
    pub metric: Arc<str>,
    pub place: u32,
    pub part: Part,
}

/// The metrics, by their names and by their places.
pub(super) struct Metrics {
    max_instances: u32,
    max_series: usize,
    max_names: usize,
    by_metric: HashMap<Arc<str>, u32>,
    places: Vec<Option<Metric>>,
    free: Vec<u32>,
    /// By the metrics without attributes, which are bounded, other than the names.
    names: HashMap<Arc<str>, Name>,
    /// The number of metrics with attributes.
    instances: usize,
    warnings: u32,
}

struct Metric {
    metric: Arc<str>,
    name: Arc<str>,
    part: Part,
    /// The generation in which it was resolved last, as far as it is known here.
    seen: u32,
}

#[derive(Default)]
struct Name {
    /// The number of its metrics.
    metrics: u32,
    /// The number of those with attributes.
    instances: u32,
    has_warned: bool,
}

impl Metrics {
    pub fn new(settings: &IdentitySettings) -> Metrics {
        Metrics {
            max_instances: settings.max_instances,
            max_series: settings.max_series,
            max_names: settings.max_names,
            by_metric: HashMap::new(),
            places: Vec::new(),
            free: Vec::new(),
            names: HashMap::new(),
            instances: 0,
            warnings: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.by_metric.len()
    }

    /// Returns the metric with this text, and adds it if it is new. Beyond the limits it is the metric of all instances.
    pub fn place(
        &mut self,
        name: &str,
        metric: &str,
        part: Part,
        generation: u32,
    ) -> Result<Placed, Unresolved> {
        if let Some(placed) = self.find(metric, generation) {
            return Ok(placed);
        }
        let mut key = String::new();
        name::push_plain(&mut key, name);
        let (key, instances) = match self.names.get_key_value(key.as_str()) {
            Some((key, state)) => (key.clone(), state.instances),
            None if self.names.len() >= self.max_names => return Err(Unresolved::TooManyNames),
            None => (Arc::from(key), 0),
        };
        let is_full = instances >= self.max_instances || self.instances >= self.max_series;
        if part != Part::Instance || !is_full {
            return Ok(self.add(key, metric, part, generation));
        }
        let mut other = String::new();
        name::push_other(&mut other, name);
        let placed = match self.find(&other, generation) {
            Some(placed) => placed,
            None => self.add(key.clone(), &other, Part::Other, generation),
        };
        self.warn(&key);
        Ok(placed)
    }

    fn find(&mut self, metric: &str, generation: u32) -> Option<Placed> {
        let place = *self.by_metric.get(metric)?;
        let found = self.places.get_mut(place as usize)?.as_mut()?;
        found.seen = generation;
        Some(Placed {
            metric: found.metric.clone(),
            place,
            part: found.part,
        })
    }

    fn add(&mut self, name: Arc<str>, metric: &str, part: Part, generation: u32) -> Placed {
        let is_instance = part == Part::Instance;
        let state = self.names.entry(name.clone()).or_default();
        state.metrics += 1;
        state.instances += u32::from(is_instance);
        self.instances += usize::from(is_instance);
        let metric: Arc<str> = Arc::from(metric);
        let added = Some(Metric {
            metric: metric.clone(),
            name,
            part,
            seen: generation,
        });
        let place = self.free.pop().unwrap_or(self.places.len() as u32);
        match self.places.get_mut(place as usize) {
            Some(free) => *free = added,
            None => self.places.push(added),
        }
        self.by_metric.insert(metric.clone(), place);
        Placed {
            metric,
            place,
            part,
        }
    }

    /// Logs once for each name that it has too many instances.
    fn warn(&mut self, name: &str) {
        let Some(state) = self.names.get_mut(name) else {
            return;
        };
        if std::mem::replace(&mut state.has_warned, true) || self.warnings > MAX_WARNINGS {
            return;
        }
        self.warnings += 1;
        let name = quoted(name.as_bytes());
        match self.warnings > MAX_WARNINGS {
            true => tracing::warn!("too many names have too many instances: not logged any more"),
            false => {
                tracing::warn!("{name} has too many instances: new ones are reported as @other")
            }
        }
    }

    /// Notes that a metric was resolved in this generation.
    pub fn mark_seen(&mut self, place: u32, generation: u32) {
        if let Some(Some(metric)) = self.places.get_mut(place as usize) {
            metric.seen = metric.seen.max(generation);
        }
    }

    /// Removes the metrics that were not resolved for so long that they are forgotten.
    pub fn forget(&mut self, generation: u32) {
        for (index, place) in self.places.iter_mut().enumerate() {
            let Some(metric) = place else { continue };
            // It is greater if the clock was set back.
            metric.seen = metric.seen.min(generation);
            if !is_forgotten(metric.seen, generation) {
                continue;
            }
            let is_instance = metric.part == Part::Instance;
            self.by_metric.remove(&metric.metric);
            self.instances -= usize::from(is_instance);
            if let Some(name) = self.names.get_mut(&metric.name) {
                name.metrics -= 1;
                name.instances -= u32::from(is_instance);
                if name.metrics == 0 {
                    self.names.remove(&metric.name);
                }
            }
            *place = None;
            self.free.push(index as u32);
        }
    }

    #[cfg(test)]
    pub fn counts(&self) -> [usize; 4] {
        let warnings = self.warnings as usize;
        [self.len(), self.names.len(), self.instances, warnings]
    }
}

/// Returns whether a series that was seen in this generation last is forgotten.
pub(super) fn is_forgotten(seen: u32, generation: u32) -> bool {
    generation.saturating_sub(seen) > GENERATIONS
}
