//! Properties that hold for samples of any distribution, any order and any bytes.

use super::model::Model;
use super::samples::{DISTRIBUTIONS, Random, samples, size};
use super::{assert_same, bytes, histogram, json};
use crate::support::hex;
use aggregator_core::histogram::{
    Histogram, LOWEST_SCALE, MAX_BYTES, MAX_HEAP_BYTES, MAX_RAW, MAX_SCALE, Percentiles,
};
use proptest::prelude::*;
use proptest::sample::select;

/// Splits the samples at random, some multiplicities too, and merges the parts as a random tree.
fn merged(samples: &[(f64, u64)], r: &mut Random) -> Histogram {
    let mut list = samples.to_vec();
    for i in 0..list.len() {
        if list[i].1 > 1 && r.below(2) == 0 {
            let part = 1 + r.next() % (list[i].1 - 1);
            list[i].1 -= part;
            list.push((list[i].0, part));
        }
    }
    r.shuffle(&mut list);
    let mut parts: Vec<Histogram> = (0..1 + r.below(12)).map(|_| Histogram::default()).collect();
    for (value, times) in list {
        let part = r.below(parts.len());
        parts[part].insert(value, times);
    }
    while parts.len() > 1 {
        let part = parts.swap_remove(r.below(parts.len()));
        let into = r.below(parts.len());
        parts[into].merge(&part);
    }
    parts.remove(0)
}

proptest! {
    #[test]
    fn counts_are_those_of_exact_buckets(seed in any::<u64>(), distribution in select(&DISTRIBUTIONS)) {
        let r = &mut Random(seed);
        let n = size(r);
        let samples = samples(distribution, n, r);
        let (histogram, model) = (histogram(&samples), Model::new(&samples));
        prop_assert_eq!(json(&histogram), model.json(MAX_SCALE));
        prop_assert_eq!(histogram.count(), model.count());
        let scale = (model.count() > MAX_RAW as u64).then(|| model.scale(MAX_SCALE));
        prop_assert_eq!(histogram.scale(), scale);
        prop_assert_eq!(histogram.is_empty(), n == 0);
    }

    #[test]
    fn percentiles_are_within_their_bounds(seed in any::<u64>(), distribution in select(&DISTRIBUTIONS)) {
        let r = &mut Random(seed);
        let n = 1 + size(r);
        let samples = samples(distribution, n, r);
        let (histogram, model) = (histogram(&samples), Model::new(&samples));
        let (min, max) = model.extremes();
        let ratio = model.ratio();
        let is_mixed = min < 0.0 && max > 0.0;
        // Both sides begin and end within a bucket.
        let limits = if is_mixed { [959.0, 9.1e5, 8.4e11] } else { [1e3, 1e6, 1e12] };
        let bound = match histogram.scale() {
            None => 0.0,
            Some(_) if ratio <= limits[0] => 0.0109,
            Some(_) if ratio <= limits[1] => 0.022,
            Some(_) if ratio <= limits[2] => 0.044,
            Some(scale) => {
                let base = f64::from(-i32::from(scale)).exp2().exp2();
                (base - 1.0) / (base + 1.0)
            }
        };
        let list = Percentiles::parse(b"0.001 1 25 50 90 99 99.9 100").unwrap();
        let found = histogram.percentiles(&list, min, max).unwrap();
        for (found, thousandths) in found.iter().zip([1, 1_000, 25_000, 50_000, 90_000, 99_000, 99_900, 100_000]) {
            let exact = model.percentile(thousandths);
            let error = if exact == 0.0 { found.abs() } else { (found / exact - 1.0).abs() };
            prop_assert!(error <= bound, "{distribution} {thousandths}: {found}, exactly {exact}");
            prop_assert!((min..=max).contains(found));
        }
    }

    #[test]
    fn any_order_and_split_gives_the_same_bytes(seed in any::<u64>(), distribution in select(&DISTRIBUTIONS)) {
        let r = &mut Random(seed);
        let n = size(r);
        let mut samples = samples(distribution, n, r);
        let direct = histogram(&samples);
        for _ in 0..4 {
            assert_same(&merged(&samples, r), &direct);
        }
        samples.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert_same(&histogram(&samples), &direct);
        samples.reverse();
        assert_same(&histogram(&samples), &direct);
    }

    #[test]
    fn merging_takes_the_lower_scale(seed in any::<u64>(), distribution in select(&DISTRIBUTIONS)) {
        let r = &mut Random(seed);
        let mut all = Vec::new();
        let mut max_scale = MAX_SCALE;
        let mut parts: Vec<Histogram> = Vec::new();
        for _ in 0..3 {
            let n = size(r) / 2;
            let part = samples(distribution, n, r);
            let mut histogram = histogram(&part);
            for _ in 0..*r.one(&[0, 1, 2, 3, 20]) {
                let before = histogram.clone();
                if histogram.halve_resolution() {
                    let scale = histogram.scale().unwrap();
                    prop_assert_eq!(scale, before.scale().unwrap() - 1);
                    max_scale = max_scale.min(scale);
                } else {
                    prop_assert!(before.scale().is_none_or(|scale| scale == LOWEST_SCALE));
                    assert_same(&histogram, &before);
                }
            }
            all.extend(part);
            parts.push(histogram);
        }
        let expected = Model::new(&all).json(max_scale);
        let merge = |order: [usize; 3]| {
            let [a, b, c] = order.map(|i| parts[i].clone());
            let (mut left, mut right) = (a.clone(), b.clone());
            left.merge(&b);
            left.merge(&c);
            right.merge(&c);
            let mut whole = a;
            whole.merge(&right);
            assert_same(&left, &whole);
            left
        };
        let whole = merge([0, 1, 2]);
        if whole.scale().is_some() {
            prop_assert_eq!(json(&whole), expected);
        }
        for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            assert_same(&merge(order), &whole);
        }
    }

    #[test]
    fn bytes_read_back(seed in any::<u64>(), distribution in select(&DISTRIBUTIONS)) {
        let r = &mut Random(seed);
        let n = size(r);
        let mut histogram = histogram(&samples(distribution, n, r));
        for _ in 0..*r.one(&[0, 1, 2, 20]) {
            histogram.halve_resolution();
        }
        let form = bytes(&histogram);
        prop_assert!(form.len() <= MAX_BYTES);
        assert_same(&Histogram::decode(&form).unwrap(), &histogram);
        for len in 0..form.len() {
            prop_assert!(Histogram::decode(&form[..len]).is_err());
        }
    }

    #[test]
    fn damaged_bytes_are_read_or_rejected(seed in any::<u64>(), distribution in select(&DISTRIBUTIONS)) {
        let r = &mut Random(seed);
        let n = size(r);
        let form = bytes(&histogram(&samples(distribution, n, r)));
        for _ in 0..50 {
            let mut damaged = form.clone();
            for _ in 0..1 + r.below(3) {
                let at = r.below(damaged.len());
                damaged[at] = r.next() as u8;
            }
            if r.below(4) == 0 {
                damaged.truncate(r.below(damaged.len()));
            }
            check_decoded(&damaged);
        }
    }

    #[test]
    fn any_bytes_are_read_or_rejected(mut form in prop::collection::vec(any::<u8>(), 0..64), scale in 31u8..43) {
        check_decoded(&form);
        if let Some(first) = form.first_mut() {
            *first = scale;
        }
        check_decoded(&form);
    }

    #[test]
    fn ranks_are_exact(
        n in prop_oneof![1u64..1_000, 1u64..=i64::MAX as u64],
        millionths in 1u64..=100_000_000,
    ) {
        let text = format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000);
        let list = Percentiles::parse(text.as_bytes()).unwrap();
        let rank = u128::from(list.iter().next().unwrap().rank(n));
        // The smallest integer r with 100,000,000 * r >= millionths * n.
        let product = u128::from(millionths) * u128::from(n);
        prop_assert!(100_000_000 * rank >= product && 100_000_000 * (rank - 1) < product);
    }
}

/// Checks that a decoded histogram has the bytes that it was read from, and works.
fn check_decoded(form: &[u8]) {
    let Ok(mut histogram) = Histogram::decode(form) else {
        return;
    };
    assert_eq!(hex(&bytes(&histogram)), hex(form));
    assert!(histogram.heap_bytes() <= MAX_HEAP_BYTES);
    let list = Percentiles::default();
    histogram.percentiles(&list, f64::MIN, f64::MAX);
    let copy = histogram.clone();
    histogram.insert(f64::MAX, 1 << 32);
    histogram.insert(-f64::from_bits(1), 1);
    histogram.merge(&copy);
    assert_eq!(Histogram::decode(&bytes(&histogram)), Ok(histogram));
}
