//! Bodies of responses.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#otlphttp-response>

use serde_json::json;

use super::wire::{write_bytes_field, write_varint_field};
use super::{Encoding, Signal};

/// Returns the body of a successful response, `ExportMetricsServiceResponse` or `ExportLogsServiceResponse`. `rejected`
/// is the number of points or records that cannot be used, and `message` says why.
pub fn success(signal: Signal, encoding: Encoding, rejected: u64, message: &str) -> Vec<u8> {
    let rejected = i64::try_from(rejected).unwrap_or(i64::MAX);
    let is_partial = rejected > 0 || !message.is_empty();
    match encoding {
        Encoding::Protobuf => {
            let (mut partial, mut out) = (Vec::new(), Vec::new());
            if rejected > 0 {
                write_varint_field(&mut partial, 1, rejected as u64);
            }
            if !message.is_empty() {
                write_bytes_field(&mut partial, 2, message.as_bytes());
            }
            if is_partial {
                write_bytes_field(&mut out, 1, &partial);
            }
            out
        }
        Encoding::Json if is_partial => {
            let count = match signal {
                Signal::Metrics => "rejectedDataPoints",
                Signal::Logs => "rejectedLogRecords",
            };
            let partial = json!({ count: rejected, "errorMessage": message });
            json!({ "partialSuccess": partial })
                .to_string()
                .into_bytes()
        }
        Encoding::Json => b"{}".to_vec(),
    }
}

/// Returns the body of an error, a `google.rpc.Status`. `code` is one of gRPC's, such as [`super::grpc::Code`].
pub fn status(encoding: Encoding, code: u32, message: &str) -> Vec<u8> {
    match encoding {
        Encoding::Protobuf => {
            let mut out = Vec::new();
            write_varint_field(&mut out, 1, code.into());
            write_bytes_field(&mut out, 2, message.as_bytes());
            out
        }
        Encoding::Json => json!({ "code": code, "message": message })
            .to_string()
            .into_bytes(),
    }
}
