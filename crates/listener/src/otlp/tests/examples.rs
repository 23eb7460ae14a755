//! Requests in JSON.

use super::*;

const METRICS: &str = r#"{
  "resourceMetrics": [{
    "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "checkout"}}]},
    "scopeMetrics": [{
      "scope": {"name": "checkout.metrics", "version": "2.1.0"},
      "metrics": [
        {"name": "orders", "unit": "{order}", "description": "Orders",
         "sum": {"aggregationTemporality": 1, "isMonotonic": true, "dataPoints": [
           {"asDouble": 5, "startTimeUnixNano": "1760000000000000000", "timeUnixNano": "1760000001000000000",
            "attributes": [{"key": "region", "value": {"stringValue": "eu"}}]}]}},
        {"name": "queue.length", "unit": "1",
         "gauge": {"dataPoints": [{"asInt": "12", "timeUnixNano": "1760000001000000000",
            "exemplars": [{"asInt": "3", "traceId": "00"}]}]}},
        {"name": "connections",
         "sum": {"aggregationTemporality": "AGGREGATION_TEMPORALITY_CUMULATIVE", "dataPoints": [{"asInt": 0}]}},
        {"name": "latency", "unit": "ms",
         "histogram": {"aggregationTemporality": 1, "dataPoints": [
           {"timeUnixNano": 1760000001000000000, "count": "3", "sum": 21.5, "bucketCounts": ["1", 2],
            "explicitBounds": [10.0], "min": 4, "max": 12, "attributes": null}]}},
        {"name": "size", "unit": "By",
         "exponentialHistogram": {"aggregationTemporality": 1, "dataPoints": [
           {"timeUnixNano": "1760000001000000000", "count": "4", "sum": 9, "scale": -1, "zeroCount": "1",
            "positive": {"offset": 0, "bucketCounts": ["2", "1"]}, "zeroThreshold": 0}]}},
        {"name": "wait", "summary": {"dataPoints": [{"count": "2", "sum": 3, "quantileValues": [
            {"quantile": 0.5, "value": 1.5}, {"quantile": 0.9, "value": "NaN"}]}]}}
      ]
    }]
  }]
}"#;

const LOGS: &str = r#"{
  "resourceLogs": [{
    "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "checkout"}}]},
    "scopeLogs": [{
      "scope": {"name": "checkout.log"},
      "logRecords": [
        {"timeUnixNano": "1760000001000000000", "observedTimeUnixNano": "1760000002000000000",
         "severityNumber": 10, "severityText": "Information",
         "traceId": "0AF7651916CD43DD8448EB211C80319C", "spanId": "b7ad6b7169203331",
         "body": {"stringValue": "paid"},
         "attributes": [
           {"key": "amount", "value": {"doubleValue": 637.704}},
           {"key": "retries", "value": {"intValue": "10"}},
           {"key": "test", "value": {"boolValue": true}},
           {"key": "items", "value": {"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": 2}]}}},
           {"key": "map", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"stringValue": "v"}}]}}}]}
      ]
    }]
  }]
}"#;

#[test]
fn metrics_in_json_are_received() {
    let mut recorded = Recorded::default();
    let outcome = crate::otlp::metrics(
        METRICS.as_bytes(),
        Encoding::Json,
        &mut state(),
        &mut recorded,
    );
    let outcome = outcome.unwrap();
    assert_eq!((outcome.accepted, outcome.rejected), (6, 0));
    let (name, at) = ("service.name=checkout", "at=1760000001000");
    let high = 2.0 * 4.0 * 16.0 / 20.0;
    assert_eq!(
        recorded.samples,
        [
            format!("orders INC 5 {name} region=eu unit={{order}} {at}"),
            format!("queue.length ABS 12 {name} {at}"),
            format!("connections ABS 0 {name}"),
            format!("latency DISTRIBUTION sum 21.5 min 4 max 12 4x1 12x2 {name} unit=ms {at}"),
            format!("size DISTRIBUTION sum 9 0x1 1.6x2 {high}x1 {name} unit=By {at}"),
            format!("wait.count DIFF 2 {name}"),
            format!("wait.sum DIFF 3 {name}"),
            format!("wait ABS 1.5 {name} quantile=0.5"),
        ]
    );
    assert_eq!(recorded.objects.len(), 1);
}

#[test]
fn logs_in_json_are_received() {
    let mut recorded = Recorded::default();
    let outcome = crate::otlp::logs(LOGS.as_bytes(), Encoding::Json, &mut state(), &mut recorded);
    assert_eq!(outcome.unwrap().accepted, 1);
    assert_eq!(
        recorded.logs,
        [
            "3 paid service.name=checkout amount=637.704 retries=10 test=true items=[\"a\",2] \
          map={\"k\":\"v\"} trace_id=0af7651916cd43dd8448eb211c80319c span_id=b7ad6b7169203331 \
          at=1760000001000"
        ]
    );
}

#[test]
fn malformed_json_says_where() {
    let mut recorded = Recorded::default();
    let body = br#"{"resourceMetrics": [{"scopeMetrics": 7}]}"#;
    let result = crate::otlp::metrics(body, Encoding::Json, &mut state(), &mut recorded);
    let message = result.err().unwrap().to_string();
    assert_eq!(
        message,
        "malformed JSON: invalid type: integer `7`, expected a value of the field scopeMetrics \
         at line 1 column 39"
    );
    assert_eq!(recorded.invalid.len(), 1);
}

#[test]
fn encodings_have_content_types() {
    let of = Encoding::from_content_type;
    assert_eq!(of("application/json; charset=utf-8"), Some(Encoding::Json));
    assert_eq!(of("Application/X-Protobuf"), Some(Encoding::Protobuf));
    assert_eq!(of("text/plain"), None);
}
