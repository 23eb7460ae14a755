//! Limits and special values.

use super::model::bucket;
use super::samples::{Random, value};
use super::{assert_same, bytes, histogram, json};
use crate::support::hex;
use aggregator_core::histogram::{
    Histogram, LOWEST_SCALE, MAX_BUCKETS, MAX_BYTES, MAX_COUNT, MAX_HEAP_BYTES, MAX_SCALE,
    MIN_SCALE, Percentiles,
};

#[test]
fn buckets_of_each_scale_are_those_of_their_definition() {
    let r = &mut Random(1);
    for scale in LOWEST_SCALE..=MAX_SCALE {
        for i in 0..400 {
            let magnitude = match i % 4 {
                0 => value("any double", r).abs(),
                1 => 2f64.powi(r.below(2000) as i32 - 1000),
                2 => f64::from_bits(r.next() >> (12 + r.below(50))),
                _ => r.log_normal(1.0),
            };
            let magnitude = magnitude.max(f64::from_bits(1));
            let mut histogram = histogram(&[(magnitude, 17)]);
            (scale..MAX_SCALE).for_each(|_| assert!(histogram.halve_resolution()));
            let expected = format!(
                r#"{{"scale":{scale},"zero":0,"pos":[{},[17]],"neg":[0,[]]}}"#,
                bucket(magnitude, scale)
            );
            assert_eq!(json(&histogram), expected, "{magnitude:e}");
        }
    }
}

#[test]
fn all_doubles_fit_at_the_lowest_scale() {
    let extremes = [f64::from_bits(1), f64::MAX];
    let side = |values: [f64; 2]| values.map(|v| bucket(v, MIN_SCALE));
    let [lowest, highest] = side(extremes);
    assert_eq!((lowest, highest), (-68, 63));
    assert!(2 * (highest - lowest + 1) <= MAX_BUCKETS as i64);
    let mut histogram = Histogram::default();
    for extreme in extremes {
        histogram.insert(extreme, 1 << 32);
        histogram.insert(-extreme, 1 << 32);
        // Every bucket between has more than 2^32 samples, too.
        let r = &mut Random(1);
        (0..20_000).for_each(|_| histogram.insert(value("any double", r), 1 << 32));
        assert!(histogram.heap_bytes() <= MAX_HEAP_BYTES);
    }
    assert_eq!(histogram.scale(), Some(MIN_SCALE));
    assert!(bytes(&histogram).len() <= MAX_BYTES);
}

#[test]
fn sixteen_samples_are_exact_and_seventeen_are_not() {
    let list = Percentiles::parse(b"0.1 50 100").unwrap();
    let mut histogram = Histogram::default();
    assert_eq!(histogram.percentiles(&list, 0.0, 0.0), None);
    (0..16).for_each(|i| histogram.insert(1.001 * f64::from(i), 1));
    let values = histogram.percentiles(&list, 0.0, 1e9).unwrap();
    assert_eq!(values[..3], [0.0, 1.001 * 7.0, 1.001 * 15.0]);
    assert_eq!(histogram.scale(), None);
    histogram.insert(0.0, 1);
    assert_eq!(histogram.scale(), Some(MAX_SCALE));
    // A sample that occurred 17 times counts 17 times.
    let mut histogram = Histogram::default();
    histogram.insert(3.0, 17);
    assert_eq!(histogram.scale(), Some(MAX_SCALE));
    // No sample changes nothing.
    let mut other = histogram.clone();
    other.insert(5.0, 0);
    assert_same(&other, &histogram);
}

#[test]
fn negative_zero_is_zero() {
    let of = |zero: f64| histogram(&(0..20).map(|_| (zero, 1)).collect::<Vec<_>>());
    assert_same(&of(-0.0), &of(0.0));
    assert_same(
        &histogram(&[(-0.0, 1), (1.0, 1)]),
        &histogram(&[(1.0, 1), (0.0, 1)]),
    );
    assert_eq!(
        json(&of(-0.0)),
        r#"{"scale":5,"zero":20,"pos":[0,[]],"neg":[0,[]]}"#
    );
}

#[test]
fn percentiles_are_within_the_extremes_of_the_window() {
    let list = Percentiles::default();
    let histogram = histogram(&[(100.0, 20)]);
    assert_eq!(
        histogram.percentiles(&list, 100.0, 100.0).unwrap()[..4],
        [100.0; 4]
    );
    // Even those of a caller whose extremes are in the wrong order do not panic.
    assert!(histogram.percentiles(&list, 1.0, -1.0).is_some());
}

#[test]
fn counts_stop_at_their_limit_in_any_order() {
    // One positive bucket, (1, 2^(1/32)].
    let form = |count: u64| {
        let mut out = vec![32 + 9, 0, 0, 1, 0];
        aggregator_core::codec::put_u64(&mut out, 2 * count);
        out
    };
    let large = Histogram::decode(&form(MAX_COUNT - 5)).unwrap();
    let mut full = large.clone();
    full.insert(1.01, 3);
    assert_eq!(hex(&bytes(&full)), hex(&form(MAX_COUNT - 2)));
    let (mut a, mut b) = (large.clone(), large.clone());
    a.merge(&histogram(&[(1.01, 20)]));
    b.insert(1.01, 20);
    assert_same(&a, &b);
    let mut twice = large.clone();
    twice.merge(&large);
    assert_eq!(hex(&bytes(&twice)), hex(&form(MAX_COUNT)));
    let list = Percentiles::default();
    assert!(twice.percentiles(&list, 1.0, 2.0).is_some());
    let zeros = |count: u64| {
        let mut out = vec![32 + 9];
        aggregator_core::codec::put_u64(&mut out, count);
        out.extend([0, 0]);
        Histogram::decode(&out)
    };
    assert!(zeros(MAX_COUNT + 1).is_err());
    let mut zeros = zeros(MAX_COUNT).unwrap();
    let full = zeros.clone();
    zeros.insert(0.0, 7);
    assert_same(&zeros, &full);
}
