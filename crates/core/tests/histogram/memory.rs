//! The memory of open windows.

use super::samples::Random;
use aggregator_core::histogram::{Histogram, MAX_BUCKETS, MAX_HEAP_BYTES, MAX_SCALE};

/// Returns the bytes that jemalloc takes for an allocation: it has four classes per power of two, at distances of 16
/// and more.
fn size_class(bytes: usize) -> usize {
    let step = (bytes.max(1).next_power_of_two() / 8).max(16);
    bytes.next_multiple_of(step)
}

/// The memory of an open window: its fields (52 bytes without a histogram), the histogram and what it points to.
fn window_bytes(histogram: &Histogram) -> usize {
    52 + size_class(size_of::<Histogram>()) + size_class(histogram.heap_bytes())
}

#[test]
fn windows_take_little_memory() {
    assert_eq!(size_of::<Histogram>(), 40);
    for (n, limit) in [(300, 400), (3_600, 700), (60_000, 900)] {
        let largest = (0..40).map(|seed| {
            let r = &mut Random(seed);
            let mut histogram = Histogram::default();
            (0..n).for_each(|_| histogram.insert(r.log_normal(20.0), 1));
            window_bytes(&histogram)
        });
        let largest = largest.max().unwrap();
        println!("{n} samples: at most {largest} bytes");
        assert!(largest <= limit, "{n}: {largest}");
    }
    let mut worst = Histogram::default();
    for i in 0..MAX_BUCKETS {
        worst.insert((i as f64 / 32.0).exp2() * 1.01, u32::MAX.into());
    }
    assert_eq!(
        (worst.scale(), worst.heap_bytes()),
        (Some(MAX_SCALE), MAX_HEAP_BYTES / 2)
    );
    assert!(window_bytes(&worst) <= 1_400, "{}", window_bytes(&worst));
    // Beyond 2^32 samples in a bucket.
    worst.insert(1.01, 1);
    assert_eq!(worst.heap_bytes(), MAX_HEAP_BYTES);
    // Under pressure.
    assert!(worst.halve_resolution());
    assert_eq!(worst.heap_bytes(), MAX_HEAP_BYTES / 2);
}
