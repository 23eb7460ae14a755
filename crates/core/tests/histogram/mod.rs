//! Histograms, compared with a model that keeps all values.

mod forms;
mod frames;
mod memory;
mod model;
mod percentiles;
mod properties;
mod rules;
mod samples;

use crate::support::hex;
use aggregator_core::histogram::Histogram;

fn histogram(samples: &[(f64, u64)]) -> Histogram {
    let mut histogram = Histogram::default();
    for (value, times) in samples {
        histogram.insert(*value, *times);
    }
    histogram
}

fn json(histogram: &Histogram) -> String {
    let mut out = Vec::new();
    histogram.write_json(&mut out);
    String::from_utf8(out).unwrap()
}

fn bytes(histogram: &Histogram) -> Vec<u8> {
    let mut out = Vec::new();
    histogram.put(&mut out);
    out
}

/// Checks that two histograms are equal in all that can be seen of them, and in memory.
fn assert_same(a: &Histogram, b: &Histogram) {
    assert_eq!(hex(&bytes(a)), hex(&bytes(b)));
    assert_eq!(a.heap_bytes(), b.heap_bytes());
    assert_eq!(a, b);
}
