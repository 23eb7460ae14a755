//! The cost of histograms: a sample, closing a window with four percentiles, and merging a closed window, by the number
//! of samples of a log-normal latency.

use aggregator_core::histogram::{Histogram, Percentiles};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

/// The numbers of samples of a window.
const SIZES: [usize; 4] = [10, 300, 3_600, 60_000];

/// Log-normal values with σ = 1 (SplitMix64 and Box-Muller).
fn latencies(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut unit = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z ^ (z >> 31)) >> 11) + 1) as f64 / (1u64 << 53) as f64
    };
    let mut normal = || (-2.0 * unit().ln()).sqrt() * (std::f64::consts::TAU * unit()).cos();
    (0..n).map(|_| 20.0 * normal().exp()).collect()
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
