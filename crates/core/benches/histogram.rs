//! The cost of histograms: a sample, closing a window with four percentiles, and merging a closed window, by the number
//! of samples of a log-normal latency.

use aggregator_core::histogram::{Histogram, Percentiles};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use testkit::Random;

/// The numbers of samples of a window.
const SIZES: [usize; 4] = [10, 300, 3_600, 60_000];

/// Returns log-normal values with σ = 1.
fn latencies(n: usize, seed: u64) -> Vec<f64> {
    let mut random = Random(seed);
    (0..n).map(|_| random.log_normal(20.0)).collect()
}

fn histogram(values: &[f64]) -> Histogram {
    let mut histogram = Histogram::default();
    values.iter().for_each(|value| histogram.insert(*value, 1));
    histogram
}

fn inserting(c: &mut Criterion) {
    let mut group = c.benchmark_group("a window's samples");
    for n in SIZES {
        let values = latencies(n, 1);
        group.throughput(Throughput::Elements(n as u64));
        group.bench_function(BenchmarkId::from_parameter(n), |b| {
            b.iter(|| histogram(black_box(&values)));
        });
    }
}

fn closing(c: &mut Criterion) {
    let mut group = c.benchmark_group("four percentiles");
    let list = Percentiles::default();
    for n in SIZES {
        let histogram = histogram(&latencies(n, 1));
        group.bench_function(BenchmarkId::from_parameter(n), |b| {
            b.iter(|| black_box(&histogram).percentiles(black_box(&list), 0.0, 1e9));
        });
    }
}

fn merging(c: &mut Criterion) {
    let mut group = c.benchmark_group("merging a window into an hour's");
    for n in SIZES {
        let hour = histogram(&latencies(20 * n, 1));
        let short = histogram(&latencies(n, 2));
        group.bench_function(BenchmarkId::from_parameter(n), |b| {
            let merge = |mut hour: Histogram| {
                hour.merge(black_box(&short));
                hour
            };
            b.iter_batched(|| hour.clone(), merge, BatchSize::SmallInput);
        });
    }
}

fn forms(c: &mut Criterion) {
    let mut group = c.benchmark_group("byte form");
    for n in SIZES {
        let histogram = histogram(&latencies(n, 1));
        let mut form = Vec::new();
        histogram.put(&mut form);
        println!(
            "{n} samples: {} bytes on the heap, {} in the byte form",
            histogram.heap_bytes(),
            form.len()
        );
        group.bench_function(BenchmarkId::new("write", n), |b| {
            b.iter(|| {
                form.clear();
                black_box(&histogram).put(&mut form);
            });
        });
        group.bench_function(BenchmarkId::new("read", n), |b| {
            b.iter(|| Histogram::decode(black_box(&form)));
        });
    }
}

criterion_group!(benches, inserting, closing, merging, forms);
criterion_main!(benches);
