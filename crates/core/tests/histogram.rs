//! Histograms, compared with a model that keeps all values and finds their buckets by integers of any size.

use aggregator_core::DecodeError;
use aggregator_core::histogram::{
    Histogram, MAX_BUCKETS, MAX_BYTES, MAX_COUNT, MAX_HEAP_BYTES, MAX_RAW, MAX_SCALE, MIN_SCALE,
    Percentiles, PercentilesError,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Random numbers (SplitMix64), and distributions of them.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Above 0 and at most 1.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    fn log_normal(&mut self, median: f64) -> f64 {
        median * self.normal().exp()
    }

    fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            list.swap(i, self.below(i + 1));
        }
    }
}

/// The distributions; the last are bit patterns of all doubles.
const DISTRIBUTIONS: [&str; 9] = [
    "log-normal",
    "uniform",
    "bimodal",
    "constant",
    "negative",
    "mixed signs",
    "mostly zero",
    "12 decades",
    "any double",
];

fn value(distribution: &str, r: &mut Random) -> f64 {
    match distribution {
        "log-normal" => r.log_normal(20.0),
        "uniform" => 1.0 + 999.0 * r.unit(),
        "bimodal" if r.below(10) < 9 => 2.0 + 0.1 * r.normal(),
        "bimodal" => 300.0 + 20.0 * r.normal(),
        "constant" => 42.5,
        "negative" => -r.log_normal(20.0),
        "mixed signs" => 100.0 * r.normal(),
        "mostly zero" if r.below(10) < 9 => 0.0,
        "mostly zero" => r.log_normal(1.0),
        "12 decades" => 10f64.powf(12.0 * r.unit() - 6.0),
        _ => match f64::from_bits(r.next()) {
            value if value.is_finite() => value,
            _ => f64::from_bits(1),
        },
    }
}

/// Samples of a distribution: values and multiplicities, mostly 1.
fn samples(distribution: &str, n: usize, r: &mut Random) -> Vec<(f64, u64)> {
    let times = |r: &mut Random| match r.below(20) {
        0 => 1 + r.next() % (1 << 32),
        1 => 1 + r.next() % 400,
        _ => 1,
    };
    (0..n).map(|_| (value(distribution, r), times(r))).collect()
}

/// The number of bits of mantissa^power, a power of two, and whether that has a single one.
fn power(mantissa: u64, power: usize) -> (i64, bool) {
    let mut digits = vec![1u32];
    for _ in 0..power {
        let mut carry = 0u128;
        for digit in &mut digits {
            let sum = u128::from(*digit) * u128::from(mantissa) + carry;
            *digit = sum as u32;
            carry = sum >> 32;
        }
        while carry > 0 {
            digits.push(carry as u32);
            carry >>= 32;
        }
    }
    let ones: u32 = digits.iter().map(|digit| digit.count_ones()).sum();
    let top = digits.last().unwrap().leading_zeros();
    (32 * digits.len() as i64 - i64::from(top), ones == 1)
}

/// Returns the bucket i with 2^(i / 2^scale) < magnitude <= 2^((i + 1) / 2^scale). magnitude^(2^scale) is
/// mantissa^(2^scale) * 2^(exponent * 2^scale), and the exponent of the power of two below it is i; a scale below 0
/// divides the exponent instead.
fn bucket(magnitude: f64, scale: i8) -> i64 {
    let bits = magnitude.to_bits();
    let (mantissa, exponent) = match bits >> 52 {
        0 => (bits, -1074),
        biased => (bits & ((1 << 52) - 1) | 1 << 52, biased as i64 - 1075),
    };
    let parts = 1i64 << scale.max(0);
    let (bits, is_power) = power(mantissa, parts as usize);
    let i = bits - 1 + exponent * parts - i64::from(is_power);
    i.div_euclid(1 << (-scale).max(0))
}

/// All samples, by the order of values, with their buckets at the highest scale.
#[derive(Default)]
struct Model {
    samples: BTreeMap<u64, (f64, u64, i64)>,
}

impl Model {
    fn new(samples: &[(f64, u64)]) -> Model {
        let mut model = Model::default();
        for (value, times) in samples {
            let bits = (value + 0.0).to_bits();
            let key = bits ^ if bits >> 63 == 1 { u64::MAX } else { 1 << 63 };
            let entry = || {
                (
                    value + 0.0,
                    0,
                    if *value == 0.0 {
                        0
                    } else {
                        bucket(value.abs(), MAX_SCALE)
                    },
                )
            };
            model.samples.entry(key).or_insert_with(entry).1 += times;
        }
        model
    }

    fn count(&self) -> u64 {
        self.samples.values().map(|(_, times, _)| times).sum()
    }

    /// Returns the counts of a side at a scale.
    fn side(&self, scale: i8, is_negative: bool) -> BTreeMap<i64, u64> {
        let mut side = BTreeMap::new();
        for (value, times, index) in self.samples.values() {
            if *value != 0.0 && (*value < 0.0) == is_negative {
                *side
                    .entry(index.div_euclid(1 << (MAX_SCALE - scale)))
                    .or_default() += times;
            }
        }
        side
    }

    /// Returns the highest scale that fits, at most `max`.
    fn scale(&self, max: i8) -> i8 {
        let width = |side: BTreeMap<i64, u64>| match (side.keys().next(), side.keys().last()) {
            (Some(first), Some(last)) => last - first + 1,
            _ => 0,
        };
        (MIN_SCALE..=max)
            .rev()
            .find(|s| {
                width(self.side(*s, true)) + width(self.side(*s, false)) <= MAX_BUCKETS as i64
            })
            .unwrap()
    }

    fn json(&self, max_scale: i8) -> String {
        let scale = self.scale(max_scale);
        let side = |is_negative| {
            let side = self.side(scale, is_negative);
            let (Some(first), Some(last)) = (side.keys().next(), side.keys().last()) else {
                return "[0,[]]".to_owned();
            };
            let counts = (*first..=*last).map(|i| side.get(&i).copied().unwrap_or(0).to_string());
            format!("[{first},[{}]]", counts.collect::<Vec<_>>().join(","))
        };
        let zeros = self.samples.values().filter(|(value, ..)| *value == 0.0);
        let zero: u64 = zeros.map(|(_, times, _)| times).sum();
        format!(
            "{{\"scale\":{scale},\"zero\":{zero},\"pos\":{},\"neg\":{}}}",
            side(false),
            side(true)
        )
    }

    /// Returns the value of rank ⌈thousandths / 100,000 * n⌉.
    fn percentile(&self, thousandths: u64) -> f64 {
        let n = u128::from(self.count());
        let (mut rank, mut below) = (n * u128::from(thousandths), 0);
        rank = rank / 100_000 + u128::from(rank % 100_000 > 0);
        let at = self.samples.values().find(|(_, times, _)| {
            below += u128::from(*times);
            below >= rank
        });
        at.unwrap().0
    }

    fn extremes(&self) -> (f64, f64) {
        let (first, last) = (self.samples.values().next(), self.samples.values().last());
        (first.unwrap().0, last.unwrap().0)
    }

    /// Returns the product of the ratios of both signs.
    fn ratio(&self) -> f64 {
        [true, false]
            .map(|is_negative| {
                let side = self.samples.values().map(|(value, ..)| *value);
                let side = side
                    .filter(|v| *v != 0.0 && (*v < 0.0) == is_negative)
                    .map(f64::abs);
                let (min, max) = side.fold((f64::MAX, 0f64), |(a, b), v| (a.min(v), b.max(v)));
                (max / min).max(1.0)
            })
            .iter()
            .product()
    }
}

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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the two have in common is all that can be seen of them, and the memory.
fn assert_same(a: &Histogram, b: &Histogram) {
    assert_eq!(hex(&bytes(a)), hex(&bytes(b)));
    assert_eq!(a.heap_bytes(), b.heap_bytes());
    assert_eq!(a, b);
}

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

/// Returns the number of samples of a case: often near the change from values to buckets.
fn size(r: &mut Random) -> usize {
    match r.below(4) {
        0 => r.below(20),
        1 => r.below(100),
        _ => r.below(700),
    }
}

proptest! {
    #[test]
    fn counts_are_those_of_exact_buckets(seed in any::<u64>(), distribution in prop::sample::select(&DISTRIBUTIONS)) {
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
    fn percentiles_are_within_their_bounds(seed in any::<u64>(), distribution in prop::sample::select(&DISTRIBUTIONS)) {
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
    fn any_order_and_split_gives_the_same_bytes(seed in any::<u64>(), distribution in prop::sample::select(&DISTRIBUTIONS)) {
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
    fn merging_takes_the_lower_scale(seed in any::<u64>(), distribution in prop::sample::select(&DISTRIBUTIONS)) {
        let r = &mut Random(seed);
        let mut all = Vec::new();
        let mut max_scale = MAX_SCALE;
        let mut parts: Vec<Histogram> = Vec::new();
        for _ in 0..3 {
            let n = size(r) / 2;
            let part = samples(distribution, n, r);
            let mut histogram = histogram(&part);
            for _ in 0..r.below(4) {
                let before = histogram.clone();
                if histogram.halve_resolution() {
                    let scale = histogram.scale().unwrap();
                    prop_assert_eq!(scale, before.scale().unwrap() - 1);
                    max_scale = max_scale.min(scale);
                } else {
                    prop_assert!(before.scale().is_none_or(|scale| scale == MIN_SCALE));
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
    fn bytes_read_back(seed in any::<u64>(), distribution in prop::sample::select(&DISTRIBUTIONS)) {
        let r = &mut Random(seed);
        let n = size(r);
        let mut histogram = histogram(&samples(distribution, n, r));
        for _ in 0..r.below(3) {
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
    fn damaged_bytes_are_read_or_rejected(seed in any::<u64>(), distribution in prop::sample::select(&DISTRIBUTIONS)) {
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
    fn ranks_are_exact(n in 1u64..=i64::MAX as u64, millionths in 1u64..=100_000_000) {
        let text = format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000);
        let list = Percentiles::parse(text.as_bytes()).unwrap();
        let rank = u128::from(list.iter().next().unwrap().rank(n));
        // The smallest integer r with 100,000,000 * r >= millionths * n.
        let product = u128::from(millionths) * u128::from(n);
        prop_assert!(100_000_000 * rank >= product && 100_000_000 * (rank - 1) < product);
    }
}

/// What has been read has the bytes that it was read from, and works.
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

#[test]
fn buckets_of_each_scale_are_those_of_their_definition() {
    let r = &mut Random(1);
    for scale in MIN_SCALE..=MAX_SCALE {
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
    for value in extremes {
        histogram.insert(value, 1 << 32);
        histogram.insert(-value, 1 << 32);
        // Every bucket between has more than 2^32 samples, too.
        let r = &mut Random(1);
        (0..20_000).for_each(|_| histogram.insert(self::value("any double", r), 1 << 32));
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

#[test]
fn forms_are_these_bytes() {
    assert_eq!(hex(&bytes(&Histogram::default())), "00");
    assert_eq!(
        hex(&bytes(&histogram(&[(1.5, 1), (-2.0, 2)]))),
        "0311c0c0023ff8"
    );
    let all = [
        (0.0, 3),
        (1.0, 1),
        (2.0, 2),
        (2.1, 300),
        (-1e3, 20),
        (-0.5, 1),
    ];
    let histogram = histogram(&all);
    // Scale 4, 3 zeros; 177 buckets from -17: 1, 175 empty ones, 20; 19 from -1: 1, 15 empty ones, 2, an empty one, 300.
    let form = [
        "28", "03", "b101", "21", "02", "df02", "28", "13", "01", "02", "1f", "04", "03", "d804",
    ];
    assert_eq!(hex(&bytes(&histogram)), form.concat());
    let zeros = |n: usize| "0,".repeat(n);
    let neg = format!("[-17,[1,{}20]]", zeros(175));
    let pos = format!("[-1,[1,{}2,0,300]]", zeros(15));
    let expected = format!(r#"{{"scale":4,"zero":3,"pos":{pos},"neg":{neg}}}"#);
    assert_eq!(json(&histogram), expected);
    assert_same(&Histogram::decode(&bytes(&histogram)).unwrap(), &histogram);
}

#[test]
fn other_forms_of_the_same_histogram_are_rejected() {
    const DAMAGED: DecodeError = DecodeError("a histogram is damaged");
    let rejected: [(&str, &[u8]); 17] = [
        ("17 values", &[17]),
        ("values out of order", &[2, 0x22, 0x40, 0, 0x3f, 0xf8]),
        ("-0", &[1, 1, 0x80]),
        ("a double with a byte too many", &[1, 3, 0x3f, 0xf8, 0]),
        ("an unknown form", &[31]),
        ("a scale of 6", &[42, 0, 0, 0]),
        ("a huge scale", &[255, 0, 0, 0]),
        ("no sample", &[41, 0, 0, 0]),
        ("16 samples", &[41, 6, 0, 1, 0, 20]),
        ("a zero count in two bytes too many", &[41, 0x91, 0, 0, 0]),
        ("an empty token", &[41, 17, 0, 1, 0, 0]),
        ("no empty buckets", &[41, 17, 0, 2, 0, 2, 1, 2]),
        ("an empty bucket first", &[41, 17, 0, 2, 0, 3, 2]),
        ("an empty bucket last", &[41, 17, 0, 2, 0, 2, 3]),
        ("two runs of empty buckets", &[41, 17, 0, 4, 0, 2, 3, 3, 2]),
        (
            "more empty buckets than the side has",
            &[41, 17, 0, 3, 0, 2, 9, 2],
        ),
        ("321 buckets", &[41, 17, 0, 0xc1, 2, 0, 2, 0xfd, 4, 2]),
    ];
    for (what, form) in rejected {
        assert_eq!(Histogram::decode(form), Err(DAMAGED), "{what}");
    }
    assert!(Histogram::decode(&[41, 17, 0, 0]).is_ok());
    assert!(
        Histogram::decode(&[41, 17, 0, 0, 0]).is_err(),
        "bytes left over"
    );
    assert!(Histogram::decode(&[41, 17, 0, 0xc0, 2, 0, 2, 0xfd, 4, 2]).is_ok());
    // One bucket beyond the largest double, and one below the smallest.
    let of_index = |index: i64| {
        let mut form = vec![41, 17, 0, 1];
        let zigzag = ((index << 1) ^ (index >> 63)) as u64;
        aggregator_core::codec::put_u64(&mut form, zigzag);
        form.push(2);
        Histogram::decode(&form)
    };
    let (lowest, highest) = (
        bucket(f64::from_bits(1), MAX_SCALE),
        bucket(f64::MAX, MAX_SCALE),
    );
    assert!(of_index(lowest).is_ok() && of_index(highest).is_ok());
    for index in [lowest - 1, highest + 1, i64::MAX, i64::MIN] {
        assert_eq!(of_index(index), Err(DAMAGED));
    }
}

/// What jemalloc takes for an allocation: it has four classes per power of two, at distances of 16 and more.
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

#[test]
fn lists_of_percentiles_are_parsed() {
    let parse = |text: &str| Percentiles::parse(text.as_bytes());
    let fields = |text: &str| {
        parse(text)
            .unwrap()
            .iter()
            .map(|p| p.field())
            .collect::<Vec<_>>()
    };
    assert_eq!(parse("50 90 95 99"), Ok(Percentiles::default()));
    assert_eq!(parse("99\t 50 95  90 "), Ok(Percentiles::default()));
    assert_eq!(Percentiles::default().to_string(), "50 90 95 99");
    assert_eq!(parse(""), Ok(Percentiles::NONE));
    assert!(parse(" ").unwrap().is_empty());
    assert_eq!(
        fields("99.90 0.05 100 25.0"),
        ["p0_05", "p25", "p99_9", "p100"]
    );
    assert_eq!(parse("99.990 1.50").unwrap().to_string(), "1.5 99.99");
    assert_eq!(
        fields("0.000000001 99.999999999"),
        ["p0_000000001", "p99_999999999"]
    );
    assert_eq!(parse("1 2 3 4 5 6 7 8").unwrap().len(), 8);
    assert_eq!(parse("1 2 3 4 5 6 7 8 9"), Err(PercentilesError::TooMany));
    let wrong = |text: &str| parse(text).unwrap_err().to_string();
    for text in [
        "x", "p50", "-1", "+1", "1e1", "05", ".5", "5.", "1.2.3", "1,5", "NaN",
    ] {
        assert_eq!(
            wrong(text),
            format!("invalid percentile '{text}': expected a decimal number")
        );
    }
    for text in ["0", "0.0", "100.1", "101", "1000", "99999999999999999999"] {
        assert_eq!(
            wrong(text),
            format!("'{text}' is not above 0 and at most 100")
        );
    }
    assert_eq!(wrong("50 99.9 50.0"), "'50.0' is given twice");
    assert_eq!(
        wrong("0.0000000001"),
        "'0.0000000001' has more than 9 decimals"
    );
}
