//! Random and damaged requests.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::ArrayValue;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    NumberDataPoint, Sum, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::otlp::{logs, metrics};

/// Reads a body as each signal.
fn read(body: &[u8], encoding: Encoding) -> [Option<Recorded>; 2] {
    let mut state = state();
    let (mut of_metrics, mut of_logs) = (Recorded::default(), Recorded::default());
    let metrics = metrics(body, encoding, &mut state, &mut of_metrics);
    let logs = logs(body, encoding, &mut state, &mut of_logs);
    let count = |outcome: &Outcome| outcome.rejected;
    if let Ok(outcome) = &metrics {
        assert!(of_metrics.invalid.len() as u64 >= count(outcome));
    } else {
        assert_eq!(of_metrics.invalid.len(), 1);
    }
    [metrics.ok().map(|_| of_metrics), logs.ok().map(|_| of_logs)]
}

fn any_attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let scalar = prop_oneof![
        "[a-z\"é]{0,4}".prop_map(Value::StringValue),
        any::<bool>().prop_map(Value::BoolValue),
        any::<i64>().prop_map(Value::IntValue),
        (-1e9..1e9f64).prop_map(Value::DoubleValue),
        vec(any::<u8>(), 0..4).prop_map(Value::BytesValue),
    ];
    let value = scalar.prop_recursive(3, 8, 3, |inner| {
        vec(inner, 0..3).prop_map(|values| {
            let values = values.into_iter().map(any_value).collect();
            Value::ArrayValue(ArrayValue { values })
        })
    });
    vec(
        ("[a-c]{1,2}", value).prop_map(|(key, value)| key_value(&key, value)),
        0..4,
    )
}

fn number_point() -> impl Strategy<Value = NumberDataPoint> {
    let value = prop_oneof![
        (-1e3..1e3f64).prop_map(number_data_point::Value::AsDouble),
        any::<i64>().prop_map(number_data_point::Value::AsInt),
    ];
    (any_attributes(), any::<u64>(), value, 0u32..5).prop_map(|(attributes, time, value, flags)| {
        NumberDataPoint {
            attributes,
            time_unix_nano: time,
            value: Some(value),
            flags,
            ..Default::default()
        }
    })
}

fn histogram_point() -> impl Strategy<Value = HistogramDataPoint> {
    (any_attributes(), vec(0u64..5, 1..5), any::<u32>(), 0u64..3).prop_map(
        |(attributes, bucket_counts, time, error)| HistogramDataPoint {
            attributes,
            explicit_bounds: (1..bucket_counts.len()).map(|i| i as f64).collect(),
            count: bucket_counts.iter().sum::<u64>() + error / 2,
            bucket_counts,
            start_time_unix_nano: 1,
            time_unix_nano: time.into(),
            sum: Some(3.5),
            ..Default::default()
        },
    )
}

fn exponential_point() -> impl Strategy<Value = ExponentialHistogramDataPoint> {
    (
        any_attributes(),
        vec(0u64..500, 0..5),
        any::<i32>(),
        -20i32..40,
    )
        .prop_map(
            |(attributes, bucket_counts, offset, scale)| ExponentialHistogramDataPoint {
                attributes,
                scale,
                zero_count: 2,
                count: bucket_counts.iter().sum::<u64>() + 2,
                positive: Some(Buckets {
                    offset,
                    bucket_counts,
                }),
                start_time_unix_nano: 1,
                time_unix_nano: TIME,
                ..Default::default()
            },
        )
}

fn any_metrics() -> impl Strategy<Value = ExportMetricsServiceRequest> {
    let data = prop_oneof![
        vec(number_point(), 0..3).prop_map(|data_points| Data::Gauge(Gauge { data_points })),
        (vec(number_point(), 0..3), 0..3, any::<bool>()).prop_map(
            |(data_points, t, is_monotonic)| {
                Data::Sum(Sum {
                    data_points,
                    aggregation_temporality: t,
                    is_monotonic,
                })
            }
        ),
        (vec(histogram_point(), 0..3), 0..3).prop_map(|(data_points, t)| {
            Data::Histogram(Histogram {
                data_points,
                aggregation_temporality: t,
            })
        }),
        (vec(exponential_point(), 0..3), 0..3).prop_map(|(data_points, t)| {
            Data::ExponentialHistogram(ExponentialHistogram {
                data_points,
                aggregation_temporality: t,
            })
        }),
    ];
    let metrics = vec(
        ("[a-z]{0,3}", data).prop_map(|(name, data)| metric(&name, "ms", data)),
        0..4,
    );
    (metrics, any_attributes()).prop_map(|(metrics, attributes)| {
        let resource = Resource {
            attributes,
            ..Default::default()
        };
        with_resource(metrics, Some(resource))
    })
}

fn any_logs() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let record = (
        any_attributes(),
        any_attributes(),
        vec(any::<u8>(), 0..17),
        0..26,
    )
        .prop_map(|(attributes, body, trace_id, severity_number)| LogRecord {
            attributes,
            body: body.into_iter().next().and_then(|kv| kv.value),
            trace_id,
            severity_number,
            time_unix_nano: TIME,
            ..Default::default()
        });
    vec(record, 0..4).prop_map(super::logs::request)
}

/// Replaces, removes and inserts bytes.
fn damage(body: &mut Vec<u8>, changes: &[(prop::sample::Index, u8, u8)]) {
    for (index, kind, byte) in changes {
        let at = index.index(body.len() + 1);
        match kind % 3 {
            0 => body.insert(at, *byte),
            1 if at < body.len() => body[at] = *byte,
            _ => body.truncate(body.len().max(at)),
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_do_not_panic(body in any::<Vec<u8>>()) {
        read(&body, Encoding::Protobuf);
        read(&body, Encoding::Json);
    }

    #[test]
    fn json_and_protobuf_are_the_same(request in any_metrics(), log_request in any_logs()) {
        let json = serde_json::to_vec(&request).unwrap();
        let [of_json, _] = read(&json, Encoding::Json);
        let [of_protobuf, _] = read(&request.encode_to_vec(), Encoding::Protobuf);
        prop_assert!(of_json.is_some());
        prop_assert_eq!(of_json, of_protobuf);
        let json = serde_json::to_vec(&log_request).unwrap();
        let [_, of_json] = read(&json, Encoding::Json);
        let [_, of_protobuf] = read(&log_request.encode_to_vec(), Encoding::Protobuf);
        prop_assert!(of_json.is_some());
        prop_assert_eq!(of_json, of_protobuf);
    }

    #[test]
    fn damaged_requests_do_not_panic(
        request in any_metrics(),
        log_request in any_logs(),
        changes in vec(any::<(prop::sample::Index, u8, u8)>(), 1..4),
    ) {
        let mut body = request.encode_to_vec();
        damage(&mut body, &changes);
        let [of_metrics, _] = read(&body, Encoding::Protobuf);
        // What the reference reads is read.
        prop_assert!(of_metrics.is_some() || ExportMetricsServiceRequest::decode(&*body).is_err());
        let mut body = log_request.encode_to_vec();
        damage(&mut body, &changes);
        let [_, of_logs] = read(&body, Encoding::Protobuf);
        prop_assert!(of_logs.is_some() || ExportLogsServiceRequest::decode(&*body).is_err());
        let mut json = serde_json::to_vec(&request).unwrap();
        damage(&mut json, &changes);
        read(&json, Encoding::Json);
    }
}

#[test]
fn deeply_nested_values_are_malformed() {
    let mut value = any_value(Value::IntValue(1));
    for _ in 0..60 {
        let values = vec![value];
        value = any_value(Value::ArrayValue(ArrayValue { values }));
    }
    let record = LogRecord {
        body: Some(value),
        ..Default::default()
    };
    let body = super::logs::request(vec![record]).encode_to_vec();
    assert_eq!(read(&body, Encoding::Protobuf)[1], None);
}

#[test]
fn text_that_is_not_utf_8_is_repaired() {
    let record = LogRecord {
        body: Some(any_value(Value::StringValue("abcd".to_string()))),
        ..Default::default()
    };
    let mut body = super::logs::request(vec![record]).encode_to_vec();
    for byte in &mut body {
        *byte = if *byte == b'c' { 0xff } else { *byte };
    }
    let [_, recorded] = read(&body, Encoding::Protobuf);
    assert_eq!(recorded.unwrap().logs, ["3 ab\u{fffd}d"]);
}
