//! Log records.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};

use super::*;

pub fn request(log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs {
                log_records,
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
}

fn received(record: LogRecord) -> Recorded {
    let mut recorded = Recorded::default();
    let body = request(vec![record]).encode_to_vec();
    crate::otlp::logs(&body, Encoding::Protobuf, &mut state(), &mut recorded).unwrap();
    recorded
}

fn record(body: &str) -> LogRecord {
    LogRecord {
        severity_number: 17,
        body: Some(any_value(Value::StringValue(body.to_string()))),
        ..Default::default()
    }
}

#[test]
fn records_have_time_and_context() {
    let recorded = received(LogRecord {
        time_unix_nano: 0,
        observed_time_unix_nano: TIME,
        trace_id: vec![1; 16],
        span_id: vec![0; 8],
        attributes: vec![attribute("a", "b")],
        ..record("disk full")
    });
    assert_eq!(
        recorded.logs,
        ["7 disk full a=b trace_id=01010101010101010101010101010101 at=1760000000000"]
    );
}

#[test]
fn severity_text_counts_without_a_number() {
    let recorded = received(LogRecord {
        severity_number: 0,
        severity_text: "WARN".to_string(),
        ..record("x")
    });
    assert_eq!(recorded.logs, ["5 x"]);
}

#[test]
fn stack_traces_are_in_the_message() {
    let recorded = received(LogRecord {
        attributes: vec![
            attribute("exception.type", "E"),
            attribute("exception.message", "m"),
            attribute("exception.stacktrace", "E: m\n  at f"),
        ],
        ..record("failed")
    });
    assert_eq!(
        recorded.logs,
        ["7 failed\nE: m\n  at f exception.type=E exception.message=m"]
    );
}

#[test]
fn records_without_a_body_have_another_message() {
    let event = LogRecord {
        event_name: "user.login".to_string(),
        attributes: vec![attribute("user", "a")],
        ..Default::default()
    };
    assert_eq!(received(event.clone()).logs, ["3 user.login user=a"]);
    let unnamed = LogRecord {
        event_name: String::new(),
        ..event
    };
    assert_eq!(received(unnamed).logs, ["3 {\"user\":\"a\"} user=a"]);
    let empty = received(LogRecord::default());
    assert_eq!(empty.invalid, ["an empty log record: "]);
    assert!(empty.logs.is_empty());
}

#[test]
fn excess_attributes_of_records_are_counted() {
    let recorded = received(LogRecord {
        attributes: vec![attribute("a", "b"); 200],
        ..record("x")
    });
    assert_eq!(recorded.logs, [format!("7 x{}", " a=b".repeat(128))]);
    assert_eq!(recorded.invalid, ["too many attributes of a log record: "]);
}
