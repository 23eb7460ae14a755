//! The histograms of a scrape. Their samples may be in any order.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::report::{Attribute, Distribution, Receiver, Sample, SampleValue};

use super::family::Described;
use super::histogram::{self, Bucket, Totals};
use super::line::{self, Line, remove_bound};
use super::output::Output;
use super::scrape::Scrape;
use super::state::{Known, State};

/// The most buckets of a histogram.
const MAX_BUCKETS: usize = 1_024;

/// The samples of a histogram.
#[derive(Debug)]
pub(super) struct Group<'t> {
    /// The first of them. Its labels are read again in the end, instead of being kept.
    text: &'t str,
    family_len: usize,
    unit: &'t str,
    key: Vec<u8>,
    pub(super) totals: Totals,
    pub(super) count: Option<u64>,
    pub(super) is_gauge: bool,
}

impl Group<'_> {
    pub(super) fn add_bucket(&mut self, bound: f64, n: u64) -> Result<(), &'static str> {
        if self.totals.buckets.len() == MAX_BUCKETS {
            return Err("too many buckets");
        }
        self.totals.buckets.push((bound, n));
        Ok(())
    }

    /// Sorts the buckets. Returns `false` if the last one is missing.
    fn complete(&mut self) -> bool {
        let buckets = &mut self.totals.buckets;
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets.dedup_by(|a, b| a.0 == b.0);
        if buckets.last().is_some_and(|(bound, _)| bound.is_infinite()) {
            return true;
        }
        // It is the same as the number of values.
        buckets.extend(self.count.map(|count| (f64::INFINITY, count)));
        self.count.is_some()
    }
}

/// The histograms of a scrape.
#[derive(Debug, Default)]
pub(super) struct Groups<'t> {
    groups: Vec<Group<'t>>,
    by_key: HashMap<Vec<u8>, usize>,
    /// The key of the current sample.
    key: Vec<u8>,
    /// The group of the previous sample.
    last: usize,
}

impl<'t> Groups<'t> {
    /// Returns the group of a sample, whose labels it sorts. The labels do not include `le`.
    pub(super) fn of(
        &mut self,
        text: &'t str,
        line: &Line<'t>,
        described: Described<'t>,
        labels: &mut [Attribute<'t>],
    ) -> &mut Group<'t> {
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        self.key.clear();
        let family = line.name.get(..described.family_len).unwrap_or_default();
        write_key(&mut self.key, family, labels);
        let is_last = |group: &Group<'_>| group.key == self.key;
        if !self.groups.get(self.last).is_some_and(is_last) {
            self.last = match self.by_key.get(&self.key) {
                Some(at) => *at,
                None => {
                    self.by_key.insert(self.key.clone(), self.groups.len());
                    self.groups.push(Group {
                        text,
                        family_len: described.family_len,
                        unit: described.unit,
                        key: self.key.clone(),
                        totals: Totals::default(),
                        count: None,
                        is_gauge: false,
                    });
                    self.groups.len() - 1
                }
            };
        }
        // It was found or added.
        let group = &mut self.groups[self.last];
        if group.unit.is_empty() {
            // The first sample may be the number of values, which has none.
            group.unit = described.unit;
        }
        group
    }

    /// Passes on what was added to the histograms.
    pub(super) fn finish<R: Receiver>(
        &mut self,
        scrape: &'t Scrape<'t>,
        state: &mut State,
        output: &mut Output<'_, R>,
    ) {
        let (mut labels, mut increases, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for mut group in self.groups.drain(..) {
            // Some have only a number and a sum.
            if group.totals.buckets.is_empty() {
                continue;
            }
            let result = if group.complete() {
                added(&mut group, scrape, state, &mut increases)
            } else {
                Err("a histogram without a last bucket")
            };
            let result = result.and_then(|sum| {
                let is_plausible = histogram::distribute(&increases, sum, &mut values);
                is_plausible
                    .then_some(sum)
                    .ok_or("too many values of a histogram")
            });
            match result {
                Ok(sum) if !values.is_empty() => {
                    pass_on(&group, scrape, sum, &values, &mut labels, output);
                }
                Ok(_) => {}
                Err(reason) => output.invalid(reason, group.text),
            }
        }
    }
}

/// Sets what was added to a histogram, and returns the sum of it.
fn added(
    group: &mut Group<'_>,
    scrape: &Scrape<'_>,
    state: &mut State,
    increases: &mut Vec<Bucket>,
) -> Result<Option<f64>, &'static str> {
    increases.clear();
    let totals = std::mem::take(&mut group.totals);
    if group.is_gauge {
        *increases = totals.buckets;
        return Ok(totals.sum);
    }
    write_key(&mut group.key, "", scrape.labels);
    match state.replace(&group.key, totals, scrape.now_ms, increases) {
        Known::Baseline => Ok(None),
        Known::Since(sum) => Ok(sum),
        Known::Rejected => Err("too many histograms"),
    }
}

fn pass_on<'t, R: Receiver>(
    group: &Group<'t>,
    scrape: &'t Scrape<'t>,
    sum: Option<f64>,
    values: &[(f64, u64)],
    labels: &mut Vec<Attribute<'t>>,
    output: &mut Output<'_, R>,
) {
    // It was read before, so there is no error.
    let Ok(line) = line::sample(group.text, scrape.format, labels) else {
        return;
    };
    remove_bound(labels);
    scrape.complete(labels);
    output.sample(&Sample {
        name: Cow::Borrowed(line.name.get(..group.family_len).unwrap_or_default()),
        attributes: labels,
        unit: group.unit,
        at: scrape.time(&line),
        value: SampleValue::Distribution(Distribution {
            sum,
            min: None,
            max: None,
            values,
        }),
    });
}

/// Appends a name and labels. The separator is no part of UTF-8.
fn write_key(key: &mut Vec<u8>, name: &str, labels: &[Attribute<'_>]) {
    key.extend_from_slice(name.as_bytes());
    for label in labels {
        key.push(0xff);
        key.extend_from_slice(label.name.as_bytes());
        key.push(0xff);
        key.extend_from_slice(label.value.as_bytes());
    }
    key.push(0xff);
}
