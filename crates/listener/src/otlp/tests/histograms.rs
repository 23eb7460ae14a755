//! Histograms and exponential histograms.

use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Histogram, HistogramDataPoint,
};

use super::*;

fn point() -> HistogramDataPoint {
    HistogramDataPoint {
        start_time_unix_nano: TIME - 10_000_000_000,
        time_unix_nano: TIME,
        count: 6,
        sum: Some(80.0),
        min: Some(1.0),
        max: Some(50.0),
        explicit_bounds: vec![5.0, 10.0, 25.0],
        bucket_counts: vec![1, 2, 0, 3],
        ..Default::default()
    }
}

fn data(temporality: i32, point: HistogramDataPoint) -> Data {
    Data::Histogram(Histogram {
        data_points: vec![point],
        aggregation_temporality: temporality,
    })
}

fn delta(point: HistogramDataPoint) -> Recorded {
    received(data(1, point))
}

#[test]
fn buckets_are_values() {
    let recorded = delta(point());
    assert_eq!(
        recorded.samples,
        ["m DISTRIBUTION sum 80 min 1 max 50 1x1 7.5x2 50x3 at=1760000000000"]
    );
    let recorded = delta(HistogramDataPoint {
        sum: None,
        min: None,
        max: None,
        ..point()
    });
    assert_eq!(
        recorded.samples,
        ["m DISTRIBUTION 2.5x1 7.5x2 25x3 at=1760000000000"]
    );
}

#[test]
fn histograms_without_buckets_have_their_mean() {
    let without = HistogramDataPoint {
        explicit_bounds: vec![],
        bucket_counts: vec![],
        ..point()
    };
    let recorded = delta(without.clone());
    let mean = 80.0 / 6.0;
    assert_eq!(
        recorded.samples,
        [format!(
            "m DISTRIBUTION sum 80 min 1 max 50 {mean}x6 at=1760000000000"
        )]
    );
    let recorded = delta(HistogramDataPoint {
        sum: None,
        ..without
    });
    assert_eq!(recorded.invalid, ["neither buckets nor a sum: m"]);
}

#[test]
fn empty_histograms_pass_nothing_on() {
    let empty = HistogramDataPoint {
        count: 0,
        bucket_counts: vec![0; 4],
        sum: Some(0.0),
        min: Some(0.0),
        max: Some(-1.0),
        ..point()
    };
    assert_eq!(delta(empty), Recorded::default());
    let missing = HistogramDataPoint {
        flags: 1,
        sum: Some(f64::NAN),
        ..point()
    };
    assert_eq!(delta(missing), Recorded::default());
}

#[test]
fn invalid_histograms_are_counted() {
    type Change = fn(&mut HistogramDataPoint);
    let changes: [(&str, Change); 10] = [
        ("bounds and counts do not match", |p| {
            p.bucket_counts = vec![6]
        }),
        ("bounds do not rise", |p| {
            p.explicit_bounds = vec![5.0, 5.0, 6.0]
        }),
        ("bounds do not rise", |p| {
            p.explicit_bounds = vec![1.0, f64::NAN, 6.0]
        }),
        ("bounds do not rise", |p| {
            p.explicit_bounds[2] = f64::INFINITY
        }),
        ("counts do not add up", |p| p.count = 7),
        ("counts do not add up", |p| p.bucket_counts[0] = u64::MAX),
        ("not a finite number", |p| p.sum = Some(f64::NAN)),
        ("a minimum above the maximum", |p| p.min = Some(51.0)),
        ("a count above 2^32", |p| {
            p.bucket_counts[0] = 1 << 33;
            p.count = (1 << 33) + 5;
        }),
        ("too many buckets", |p| p.bucket_counts = vec![0; 5000]),
    ];
    for (reason, change) in changes {
        let mut point = point();
        change(&mut point);
        let recorded = delta(point);
        assert_eq!(recorded.invalid, [format!("{reason}: m")]);
        assert!(recorded.samples.is_empty());
    }
    let recorded = received(data(0, point()));
    assert_eq!(recorded.invalid, ["an unknown temporality: m"]);
}

#[test]
fn exponential_buckets_are_values() {
    let buckets = |offset, counts: &[u64]| {
        Some(Buckets {
            offset,
            bucket_counts: counts.to_vec(),
        })
    };
    let point = ExponentialHistogramDataPoint {
        time_unix_nano: TIME,
        count: 10,
        sum: Some(9.0),
        scale: 0,
        zero_count: 1,
        positive: buckets(-1, &[1, 2, 0, 3]),
        negative: buckets(1, &[3]),
        ..Default::default()
    };
    let data = |point: &ExponentialHistogramDataPoint| {
        Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![point.clone()],
            aggregation_temporality: 1,
        })
    };
    let (a, b, c) = (2.0 / 3.0, 4.0 / 3.0, 16.0 / 3.0);
    assert_eq!(
        received(data(&point)).samples,
        [format!(
            "m DISTRIBUTION sum 9 -{}x3 0x1 {a}x1 {b}x2 {c}x3 at=1760000000000",
            8.0 / 3.0
        )]
    );
    let mut limited = point.clone();
    (limited.min, limited.max) = (Some(-2.5), Some(5.0));
    assert_eq!(
        received(data(&limited)).samples,
        [format!(
            "m DISTRIBUTION sum 9 min -2.5 max 5 -2.5x3 0x1 {a}x1 {b}x2 5x3 at=1760000000000"
        )]
    );
    for scale in [-17, 33, i32::MIN, i32::MAX] {
        let mut other = point.clone();
        other.scale = scale;
        assert_eq!(received(data(&other)).invalid, ["an invalid scale: m"]);
    }
    for offset in [i32::MIN, i32::MAX] {
        let mut other = point.clone();
        other.positive = buckets(offset, &[1, 2, 0, 3]);
        assert_eq!(received(data(&other)).samples.len(), 1);
    }
}

#[test]
fn cumulative_histograms_are_differenced() {
    let mut state = State::new(Limits::default(), 1_760_000_000_000);
    let mut send = |start: u64, time: u64, counts: [u64; 4], sum: f64| {
        let point = HistogramDataPoint {
            start_time_unix_nano: TIME.wrapping_add_signed(start as i64 - 1_000),
            time_unix_nano: TIME + time * 1_000_000,
            count: counts.iter().sum(),
            sum: Some(sum),
            bucket_counts: counts.to_vec(),
            ..point()
        };
        let metrics = vec![metric("m", "", data(2, point))];
        receive(&mut state, &request(metrics)).0.samples
    };
    // It began before the listener: the first report is the baseline.
    assert!(send(0, 1, [1, 1, 1, 1], 40.0).is_empty());
    assert_eq!(
        send(0, 2, [1, 3, 1, 2], 90.0),
        ["m DISTRIBUTION sum 50 7.5x2 25x1 at=1760000000002"]
    );
    assert!(send(0, 3, [1, 3, 1, 2], 90.0).is_empty());
    // An old report.
    assert!(send(0, 2, [1, 2, 1, 2], 80.0).is_empty());
    // A restart with another start.
    assert_eq!(
        send(2_000, 4, [0, 0, 1, 0], 20.0),
        ["m DISTRIBUTION sum 20 min 1 max 50 17.5x1 at=1760000000004"]
    );
    // A restart with the same start.
    assert_eq!(
        send(2_000, 5, [1, 0, 0, 0], 3.0),
        ["m DISTRIBUTION sum 3 min 1 max 50 1x1 at=1760000000005"]
    );
    // The other process still runs.
    assert_eq!(
        send(0, 6, [2, 3, 1, 2], 92.0),
        ["m DISTRIBUTION sum 2 2.5x1 at=1760000000006"]
    );
}

#[test]
fn other_bounds_are_a_new_baseline() {
    let mut state = state();
    let mut send = |time: u64, bounds: [f64; 3]| {
        let point = HistogramDataPoint {
            time_unix_nano: TIME + time,
            explicit_bounds: bounds.to_vec(),
            ..point()
        };
        let metrics = vec![metric("m", "", data(2, point))];
        let recorded = receive(&mut state, &request(metrics)).0;
        (recorded.samples.len(), recorded.invalid)
    };
    assert_eq!(send(1, [1.0, 2.0, 3.0]), (1, vec![]));
    let reason = "other buckets than before: m".to_string();
    assert_eq!(send(2, [1.0, 2.0, 4.0]), (0, vec![reason]));
    assert_eq!(send(3, [1.0, 2.0, 4.0]), (0, vec![]));
}
