//! Responses are read by the reference implementation.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;

use super::*;
use crate::otlp::response::{status, success};
use crate::otlp::{Signal, grpc};

#[test]
fn success_may_be_partial() {
    for (rejected, message) in [(0, ""), (3, "no value"), (0, "a warning")] {
        let body = success(Signal::Metrics, Encoding::Protobuf, rejected, message);
        let response = ExportMetricsServiceResponse::decode(&*body).unwrap();
        let json = success(Signal::Metrics, Encoding::Json, rejected, message);
        assert_eq!(
            serde_json::from_slice::<ExportMetricsServiceResponse>(&json).unwrap(),
            response
        );
        assert_eq!(
            response.partial_success.is_some(),
            rejected > 0 || !message.is_empty()
        );
        let partial = response.partial_success.unwrap_or_default();
        assert_eq!(partial.rejected_data_points, rejected as i64);
        assert_eq!(partial.error_message, message);

        let body = success(Signal::Logs, Encoding::Protobuf, rejected, message);
        let response = ExportLogsServiceResponse::decode(&*body).unwrap();
        let json = success(Signal::Logs, Encoding::Json, rejected, message);
        assert_eq!(
            serde_json::from_slice::<ExportLogsServiceResponse>(&json).unwrap(),
            response
        );
        assert_eq!(
            response
                .partial_success
                .unwrap_or_default()
                .rejected_log_records,
            rejected as i64
        );
    }
    assert_eq!(
        success(Signal::Logs, Encoding::Json, 3, "an \"x\""),
        br#"{"partialSuccess":{"errorMessage":"an \"x\"","rejectedLogRecords":3}}"#
    );
}

#[test]
fn errors_are_a_status() {
    let code = grpc::Code::ResourceExhausted as u32;
    assert_eq!(
        status(Encoding::Protobuf, code, "full"),
        b"\x08\x08\x12\x04full"
    );
    assert_eq!(
        status(Encoding::Json, code, "full"),
        br#"{"code":8,"message":"full"}"#
    );
}

#[test]
fn paths_have_signals() {
    assert_eq!(Signal::from_path("/v1/logs"), Some(Signal::Logs));
    assert_eq!(
        Signal::from_path("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"),
        Some(Signal::Metrics)
    );
    assert_eq!(Signal::from_path("/v1/traces"), None);
}
