//! Requests that are encoded by the reference implementation.

mod examples;
mod histograms;
mod hostile;
mod logs;
mod numbers;
mod responses;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics, metric};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::{Encoding, Limits, Outcome, State};
use crate::recorded::Recorded;

/// A time in Unix nanoseconds, whose milliseconds are 1,760,000,000,000.
const TIME: u64 = 1_760_000_000_000_000_000;

fn any_value(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn key_value(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_string(),
        value: Some(any_value(value)),
        ..Default::default()
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    key_value(key, Value::StringValue(value.to_string()))
}

fn state() -> State {
    State::new(Limits::default(), 0)
}

/// A request with metrics, without a resource.
fn request(metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    with_resource(metrics, None)
}

fn with_resource(metrics: Vec<Metric>, resource: Option<Resource>) -> ExportMetricsServiceRequest {
    let scope_metrics = vec![ScopeMetrics {
        metrics,
        ..Default::default()
    }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource,
            scope_metrics,
            ..Default::default()
        }],
    }
}

fn metric(name: &str, unit: &str, data: metric::Data) -> Metric {
    Metric {
        name: name.to_string(),
        unit: unit.to_string(),
        data: Some(data),
        ..Default::default()
    }
}

fn receive(state: &mut State, request: &ExportMetricsServiceRequest) -> (Recorded, Outcome) {
    let mut recorded = Recorded::default();
    let body = request.encode_to_vec();
    let outcome = super::metrics(&body, Encoding::Protobuf, state, &mut recorded).unwrap();
    (recorded, outcome)
}

/// Returns the reports for the data of a metric named `m`.
fn received(data: metric::Data) -> Recorded {
    receive(&mut state(), &request(vec![metric("m", "", data)])).0
}
