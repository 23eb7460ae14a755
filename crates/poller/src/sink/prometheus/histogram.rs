//! Histograms of records as native histograms of Prometheus.
//!
//! Both have exponential buckets with inclusive upper bounds. Bucket i of a record has the values above b^i up to b^(i+1),
//! bucket i of Prometheus those above b^(i-1) up to b^i, where b is 2^(2^-schema). So the conversion is exact. A scale that
//! Prometheus lacks is reduced by merging buckets, which is exact too.
//!
//! # Invariants
//!
//! The count is the sum of the buckets and the zeros, which Prometheus requires.

use crate::protobuf;
use crate::record::{Buckets, Histogram};

/// The schemas of native histograms with exponential buckets.
const MIN_SCHEMA: i32 = -4;
const MAX_SCHEMA: i32 = 8;

/// So many empty buckets are cheaper than another span.
const MAX_GAP: i64 = 2;

/// The hint that a histogram does not continue the one before it: each window stands alone.
const GAUGE: u64 = 3;

/// The buckets of one sign.
#[derive(Debug, Default, PartialEq)]
struct Spans {
    /// Runs of buckets: the distance of the first one from the end of the run before it, and the number of buckets.
    spans: Vec<(i64, u64)>,
    /// The count of each bucket, as the difference from the bucket before it.
    deltas: Vec<i64>,
    /// The sum of the counts.
    count: u64,
}

/// Returns the message of a histogram with this sum of its values, and with this time.
///
/// # Errors
///
/// Returns the reason if Prometheus has no such histogram.
pub fn encode(histogram: &Histogram, sum: f64, timestamp: i64) -> Result<Vec<u8>, String> {
    let scale = histogram.scale;
    if scale < MIN_SCHEMA {
        return Err(format!(
            "the histogram's scale {scale} is less than {MIN_SCHEMA}, the least that Prometheus has"
        ));
    }
    let schema = scale.min(MAX_SCHEMA);
    // All indexes are 0 or -1 then.
    let shift = (scale - schema).min(31) as u32;
    let too_large = || "the counts of the histogram are too large".to_owned();
    let positive = Spans::of(&histogram.positive, shift).ok_or_else(too_large)?;
    let negative = Spans::of(&histogram.negative, shift).ok_or_else(too_large)?;
    let count = positive.count.checked_add(negative.count);
    let count = count.and_then(|count| count.checked_add(histogram.zero));
    let mut out = Vec::with_capacity(64 + 2 * (positive.deltas.len() + negative.deltas.len()));
    protobuf::integer(&mut out, 1, count.ok_or_else(too_large)?);
    protobuf::double(&mut out, 3, sum);
    protobuf::integer(&mut out, 4, protobuf::zigzag(schema.into()));
    // Only zeros are in the bucket of zeros.
    protobuf::double(&mut out, 5, 0.0);
    protobuf::integer(&mut out, 6, histogram.zero);
    negative.write(&mut out, 8, 9);
    positive.write(&mut out, 11, 12);
    protobuf::integer(&mut out, 14, GAUGE);
    protobuf::integer(&mut out, 15, timestamp as u64);
    Ok(out)
}

impl Spans {
    /// Returns the buckets with this many bits of their indexes removed, or `None` if a count is too large.
    fn of(buckets: &Buckets, shift: u32) -> Option<Spans> {
        let mut merged: Vec<(i64, u64)> = Vec::with_capacity(buckets.counts.len());
        for (count, index) in buckets.counts.iter().zip(i64::from(buckets.offset)..) {
            let index = (index >> shift) + 1;
            match merged.last_mut() {
                Some((last, sum)) if *last == index => *sum = sum.checked_add(*count)?,
                _ => merged.push((index, *count)),
            }
        }
        let mut spans = Spans::default();
        let (mut next, mut last_count) = (0, 0);
        for (index, count) in merged.into_iter().filter(|(_, count)| *count > 0) {
            let count_here = i64::try_from(count).ok()?;
            spans.count = spans.count.checked_add(count)?;
            let gap = index - next;
            match spans.spans.last_mut() {
                Some((_, length)) if gap <= MAX_GAP => {
                    for _ in 0..gap {
                        spans.deltas.push(-last_count);
                        last_count = 0;
                    }
                    *length += gap as u64 + 1;
                }
                _ => spans.spans.push((gap, 1)),
            }
            spans.deltas.push(count_here - last_count);
            (next, last_count) = (index + 1, count_here);
        }
        Some(spans)
    }

    fn write(&self, out: &mut Vec<u8>, spans: u64, deltas: u64) {
        let mut part = Vec::new();
        for (offset, length) in &self.spans {
            part.clear();
            protobuf::integer(&mut part, 1, protobuf::zigzag(*offset));
            protobuf::integer(&mut part, 2, *length);
            protobuf::bytes(out, spans, &part);
        }
        if !self.deltas.is_empty() {
            part.clear();
            for delta in &self.deltas {
                protobuf::varint(&mut part, protobuf::zigzag(*delta));
            }
            protobuf::bytes(out, deltas, &part);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::protobuf::tests::{Value, read, read_signed};

    fn buckets(offset: i32, counts: &[u64]) -> Buckets {
        Buckets {
            offset,
            counts: counts.to_vec(),
        }
    }

    fn histogram(
        scale: i32,
        zero: u64,
        positive: Buckets,
        negative: Buckets,
    ) -> Histogram<'static> {
        Histogram {
            scale,
            zero,
            positive,
            negative,
            json: "",
        }
    }

    /// A histogram as Prometheus reads it: its fields, and the counts by index.
    #[derive(Debug, Default, PartialEq)]
    struct Decoded {
        count: u64,
        sum: f64,
        schema: i64,
        zero: u64,
        positive: BTreeMap<i64, u64>,
        negative: BTreeMap<i64, u64>,
        hint: u64,
        timestamp: i64,
    }

    fn signed(value: u64) -> i64 {
        (value >> 1) as i64 ^ -((value & 1) as i64)
    }

    fn decode(message: &[u8]) -> Decoded {
        let mut decoded = Decoded::default();
        let mut spans: [Vec<(i64, u64)>; 2] = Default::default();
        let mut deltas: [Vec<i64>; 2] = Default::default();
        for field in read(message) {
            match field {
                (1, Value::Integer(count)) => decoded.count = count,
                (3, Value::Double(sum)) => decoded.sum = sum,
                (4, Value::Integer(schema)) => decoded.schema = signed(schema),
                (5, Value::Double(threshold)) => assert_eq!(threshold, 0.0),
                (6, Value::Integer(zero)) => decoded.zero = zero,
                (field @ (8 | 11), Value::Bytes(span)) => match &read(&span)[..] {
                    [(1, Value::Integer(offset)), (2, Value::Integer(length))] => {
                        spans[usize::from(field == 11)].push((signed(*offset), *length));
                    }
                    span => panic!("{span:?}"),
                },
                (field @ (9 | 12), Value::Bytes(packed)) => {
                    deltas[usize::from(field == 12)] = read_signed(&packed);
                }
                (14, Value::Integer(hint)) => decoded.hint = hint,
                (15, Value::Integer(timestamp)) => decoded.timestamp = timestamp as i64,
                field => panic!("{field:?}"),
            }
        }
        for (side, counts) in [&mut decoded.negative, &mut decoded.positive]
            .into_iter()
            .enumerate()
        {
            let (mut index, mut count) = (0, 0);
            let mut deltas = deltas[side].iter();
            for (at, (offset, length)) in spans[side].iter().enumerate() {
                assert!(at == 0 || *offset > 0, "{spans:?}");
                index += offset;
                for _ in 0..*length {
                    count += deltas.next().unwrap();
                    assert!(count >= 0);
                    if count > 0 {
                        counts.insert(index, count as u64);
                    }
                    index += 1;
                }
            }
            assert_eq!(deltas.next(), None);
        }
        decoded
    }

    #[test]
    fn histogram_of_a_record_is_converted_exactly() {
        let histogram = histogram(
            5,
            4,
            buckets(-3, &[1, 0, 0, 7, 0, 0, 0, 2]),
            buckets(10, &[3]),
        );
        let decoded = decode(&encode(&histogram, 12.5, -1).unwrap());
        let expected = Decoded {
            count: 17,
            sum: 12.5,
            schema: 5,
            zero: 4,
            positive: BTreeMap::from([(-2, 1), (1, 7), (5, 2)]),
            negative: BTreeMap::from([(11, 3)]),
            hint: 3,
            timestamp: -1,
        };
        assert_eq!(decoded, expected);
        // Two empty buckets are part of a span, three are not.
        let spans = Spans::of(&histogram.positive, 0).unwrap();
        assert_eq!(spans.spans, [(-2, 4), (3, 1)]);
        assert_eq!(spans.deltas, [1, -1, 0, 7, -5]);
    }

    #[test]
    fn empty_histogram_has_no_buckets() {
        let empty = histogram(-4, 0, buckets(0, &[]), buckets(0, &[]));
        let decoded = decode(&encode(&empty, 0.0, 7).unwrap());
        assert_eq!((decoded.count, decoded.schema), (0, -4));
    }

    #[test]
    fn histogram_that_prometheus_lacks_is_an_error() {
        let none = || buckets(0, &[]);
        let error = encode(&histogram(-5, 0, none(), none()), 0.0, 0).unwrap_err();
        assert!(error.contains("scale -5"), "{error}");
        for (zero, positive, negative) in [
            (0, buckets(0, &[u64::MAX]), none()),
            (0, buckets(0, &[1 << 62, 1 << 63]), none()),
            (u64::MAX, buckets(0, &[1]), none()),
        ] {
            let error = encode(&histogram(0, zero, positive, negative), 0.0, 0).unwrap_err();
            assert_eq!(error, "the counts of the histogram are too large");
        }
        // Indexes at the ends of their range, and a scale far above that of Prometheus.
        for (scale, offset) in [
            (8, i32::MAX - 1),
            (8, i32::MIN),
            (i32::MAX, 5),
            (i32::MAX, -5),
        ] {
            let message = encode(&histogram(scale, 0, buckets(offset, &[1]), none()), 0.0, 0);
            assert_eq!(decode(&message.unwrap()).count, 1, "{scale} {offset}");
        }
    }

    proptest! {
        /// Every bucket of Prometheus has the values of the buckets of the record that lie within its bounds.
        #[test]
        fn counts_are_kept(
            scale in -4i32..12,
            zero in 0u64..5,
            offset in -400i32..400,
            counts in prop::collection::vec(prop_oneof![Just(0u64), 0u64..1000], 0..60),
            other in prop::collection::vec(0u64..3, 0..20),
        ) {
            let histogram = histogram(scale, zero, buckets(offset, &counts), buckets(-offset, &other));
            let decoded = decode(&encode(&histogram, 1.0, 2).unwrap());
            let schema = scale.min(8);
            prop_assert_eq!(decoded.schema, i64::from(schema));
            for (side, found) in [(&histogram.positive, &decoded.positive), (&histogram.negative, &decoded.negative)] {
                let mut expected = BTreeMap::new();
                for (index, count) in (side.offset..).zip(&side.counts) {
                    // The exponent of the inclusive upper bound, rounded up to that of a bucket of Prometheus.
                    let upper = (f64::from(index) + 1.0) / 2f64.powi(scale - schema);
                    *expected.entry(upper.ceil() as i64).or_insert(0) += count;
                }
                expected.retain(|_, count| *count > 0);
                prop_assert_eq!(&expected, found);
            }
            let sum: u64 = counts.iter().chain(&other).sum();
            prop_assert_eq!(decoded.count, zero + sum);
        }
    }
}
