//! The requests and responses of OTLP over HTTP.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#otlphttp>

use crate::protobuf::{self, Value};
use crate::sink::bisect::{Each, Rejected, Reply};
use crate::sink::http_client::{HttpClient, PROTOBUF, Response};
use crate::sink::interface::shorten;
use crate::sink::post::Protocol;
use crate::sink::{SinkError, quota};

use super::item;

/// Metrics or logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Metrics,
    Logs,
}

/// The part of a request that a server has not stored.
#[derive(Debug, Default, PartialEq, Eq)]
struct PartialSuccess {
    /// The number of points or log records that are rejected.
    rejected: u64,
    message: String,
}

impl Signal {
    /// Returns what a request contains.
    pub fn word(self) -> &'static str {
        match self {
            Signal::Metrics => "metrics",
            Signal::Logs => "logs",
        }
    }

    /// Returns the word for what a server counts.
    fn parts(self) -> &'static str {
        match self {
            Signal::Metrics => "data points",
            Signal::Logs => "log records",
        }
    }

    /// Returns the name of the number of rejected parts in a response as JSON.
    fn rejected_name(self) -> &'static str {
        match self {
            Signal::Metrics => "rejectedDataPoints",
            Signal::Logs => "rejectedLogRecords",
        }
    }

    /// Reads a successful response. Returns `None` if it is not from such a server.
    fn read(self, response: &Response) -> Option<PartialSuccess> {
        match &*response.content_type {
            PROTOBUF => {
                let partial = match protobuf::find(&response.message, 1) {
                    None => return response.message.is_empty().then(PartialSuccess::default),
                    Some(Value::Bytes(partial)) => partial,
                    Some(_) => return None,
                };
                let rejected = match protobuf::find(partial, 1) {
                    Some(Value::Integer(rejected)) => rejected,
                    _ => 0,
                };
                let message = text(protobuf::find(partial, 2));
                Some(PartialSuccess { rejected, message })
            }
            "application/json" => {
                let json: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_str(&response.body).ok()?;
                let none = serde_json::Value::Null;
                let partial = json.get("partialSuccess").unwrap_or(&none);
                let number = &partial[self.rejected_name()];
                // Numbers of 64 bits are strings.
                let number = number.as_u64().or_else(|| number.as_str()?.parse().ok());
                Some(PartialSuccess {
                    rejected: number.unwrap_or(0),
                    message: partial["errorMessage"].as_str().unwrap_or_default().into(),
                })
            }
            _ => response
                .body
                .trim()
                .is_empty()
                .then(PartialSuccess::default),
        }
    }
}

impl Protocol for Signal {
    fn content_type(&self) -> &'static str {
        PROTOBUF
    }

    fn body(&self, records: &[&[u8]]) -> Vec<u8> {
        item::request(records)
    }

    fn is_stored(&self, response: &Response) -> bool {
        self.read(response).is_some()
    }

    /// A partial success is final: the protocol forbids to send the request again. As the server does not say which
    /// records it has rejected, all of the request are reported as rejected, and further requests are smaller.
    fn confirm(&self, response: &Response, records: &[&[u8]]) -> Option<Reply> {
        let partial = self.read(response)?;
        if partial.rejected == 0 {
            return Some(Reply::Stored);
        }
        let (rejected, count) = (partial.rejected, records.len());
        let (parts, message) = (self.parts(), partial.message);
        let reason = match count {
            1 => format!("the server rejected {rejected} {parts} of the record: {message}"),
            _ => format!(
                "the server rejected {rejected} {parts} of a request with {count} records, of which this is one, and \
                 stored the others: {message}"
            ),
        };
        let reason = shorten(&reason);
        Some(Reply::Each(Each {
            rejected: (0..count).map(|at| (at, reason.clone())).collect(),
            is_vague: true,
            ..Each::default()
        }))
    }

    /// Reads the message of a status, as errors are reported.
    fn readable(&self, mut response: Response) -> Response {
        if response.content_type == PROTOBUF {
            response.body = text(protobuf::find(&response.message, 2));
        }
        response
    }

    /// Sends a request without records, which servers accept and store nothing of.
    async fn describe(&self, client: &HttpClient) -> Result<String, SinkError> {
        let response = client.post(PROTOBUF, None, Vec::new()).await?;
        let word = self.word();
        match response.status {
            200..=299 if self.is_stored(&response) => Ok(format!("accepts {word}")),
            200..=299 => Err(SinkError::retriable(response.unconfirmed())),
            _ => {
                let response = self.readable(response);
                Err(SinkError::retriable(format!(
                    "{word}: {}",
                    response.error()
                )))
            }
        }
    }

    fn is_quota(&self, response: &Response) -> bool {
        quota::is_tenant(&response.reason())
    }

    fn classify(&self, response: &Response, _: &[&[u8]]) -> Option<Reply> {
        (response.status == 400).then(|| {
            Reply::Rejected(Rejected {
                reason: response.error(),
                ..Rejected::default()
            })
        })
    }
}

fn text(value: Option<Value<'_>>) -> String {
    match value {
        Some(Value::Bytes(text)) => String::from_utf8_lossy(text).into_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(content_type: &str, body: &[u8]) -> Response {
        Response {
            status: 200,
            content_type: content_type.into(),
            body: String::from_utf8_lossy(body).into_owned(),
            message: if content_type == PROTOBUF {
                body.to_vec()
            } else {
                Vec::new()
            },
            ..Response::default()
        }
    }

    fn partial(rejected: u64, message: &str) -> Vec<u8> {
        let (mut partial, mut out) = (Vec::new(), Vec::new());
        protobuf::integer(&mut partial, 1, rejected);
        protobuf::bytes(&mut partial, 2, message.as_bytes());
        protobuf::bytes(&mut out, 1, &partial);
        out
    }

    #[test]
    fn only_responses_of_the_protocol_confirm() {
        for (content_type, body, is_stored) in [
            (PROTOBUF, &b""[..], true),
            ("", b"", true),
            ("application/json", b"{}", true),
            ("application/json", b"{\"partialSuccess\":{}}", true),
            // A warning.
            (PROTOBUF, &partial(0, "deprecated"), true),
            (PROTOBUF, b"welcome", false),
            ("text/html", b"<html>", false),
            ("application/json", b"[]", false),
            ("text/plain", b"OK", false),
        ] {
            let reply = Signal::Metrics.confirm(&response(content_type, body), &[b"x"]);
            let expected = is_stored.then_some(Reply::Stored);
            assert_eq!(reply, expected, "{content_type} {body:?}");
        }
    }

    #[test]
    fn partial_success_rejects_the_records_of_the_request() {
        let json = br#"{"partialSuccess":{"rejectedDataPoints":"300","errorMessage":"too old"}}"#;
        for response in [
            response(PROTOBUF, &partial(300, "too old")),
            response("application/json", json),
        ] {
            let Some(Reply::Each(each)) = Signal::Metrics.confirm(&response, &[b"a", b"b"]) else {
                panic!()
            };
            assert!(each.is_vague && each.unstored.is_empty());
            let reason = "the server rejected 300 data points of a request with 2 records, of which this is one, and \
                          stored the others: too old";
            assert_eq!(each.rejected, [(0, reason.into()), (1, reason.into())]);
        }
        let response = response(PROTOBUF, &partial(1, "bad"));
        let Some(Reply::Each(each)) = Signal::Logs.confirm(&response, &[b"a"]) else {
            panic!()
        };
        let reason = "the server rejected 1 log records of the record: bad";
        assert_eq!(each.rejected, [(0, reason.into())]);
    }

    #[test]
    fn errors_are_classified_and_readable() {
        let (mut status, signal) = (Vec::new(), Signal::Logs);
        protobuf::integer(&mut status, 1, 3);
        protobuf::bytes(&mut status, 2, "ungültig".as_bytes());
        for (code, is_about_data) in [
            (400, true),
            (401, false),
            (404, false),
            (500, false),
            (503, false),
        ] {
            let response = Response {
                status: code,
                ..response(PROTOBUF, &status)
            };
            let response = signal.readable(response);
            assert_eq!(response.error(), format!("HTTP {code}: ungültig"));
            let expected = is_about_data.then(|| {
                Reply::Rejected(Rejected {
                    reason: "HTTP 400: ungültig".into(),
                    ..Rejected::default()
                })
            });
            assert_eq!(signal.classify(&response, &[]), expected);
        }
    }
}
