//! The byte form, to the byte.

use super::model::bucket;
use super::{assert_same, bytes, histogram, json};
use crate::support::hex;
use aggregator_core::DecodeError;
use aggregator_core::histogram::{Histogram, MAX_SCALE};

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
    // Scale 4, 3 zeros. Negative: 177 buckets from -17: 1, 175 empty ones, 20. Positive: 19 from -1: 1, 15 empty ones,
    // 2, an empty one, 300.
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
        ("a scale of -11", &[25, 17, 0, 0]),
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
    assert!(Histogram::decode(&[26, 17, 0, 0]).is_ok(), "a scale of -10");
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
