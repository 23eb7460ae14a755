//! Line protocol by HTTP: InfluxDB 1.x, 2.x and 3.x, and databases that are compatible with one of them
//! (VictoriaMetrics, QuestDB).
//!
//! # Invariants
//!
//! A point written twice is one point, so a batch of which nothing is known is sent again unchanged. Of a batch that is
//! rejected for its contents, the bad lines become dead letters: those that 3.x names, or those that are found by
//! bisection, which stores the good ones. Errors that are about the server and not about the lines (no such database, no
//! permission, too busy, a [quota]) are retried.

use std::borrow::Cow;

use hyper::Method;
use serde_json::Value;

use crate::config::Timestamp;
use crate::line_protocol::at_end;

use super::bisect::{Rejected, Reply};
use super::http_client::{HttpClient, Response};
use super::interface::shorten;
use super::post::Protocol;
use super::{SinkError, lines, quota};

/// Line protocol, with the time that stands for a window.
pub struct Influx(pub Timestamp);

/// The paths of writes.
const VERSION_2: &str = "/api/v2/write";
const VERSION_3: &str = "/api/v3/write_lp";

/// The words of servers that have parsed lines and found bad ones. 1.x and 2.x: "partial write: ..." and "unable to
/// parse ..."; 3.x has `data`; QuestDB: "failed to parse line protocol: ... error in line 2: ...". It uses the first half
/// of that also for a request that it does not understand.
const ABOUT_LINES: [&str; 3] = ["partial write", "unable to parse", "error in line"];

/// The error of 1.x about points that are too old. It replies so only if it has stored the others.
const BEYOND_RETENTION: &str = "partial write: points beyond retention policy dropped=";

impl Protocol for Influx {
    fn content_type(&self) -> &'static str {
        "text/plain; charset=utf-8"
    }

    fn body(&self, records: &[&[u8]]) -> Vec<u8> {
        match self.0 {
            Timestamp::Start => lines(records),
            Timestamp::End => {
                let at_end = records.iter().map(|line| at_end(line));
                let at_end: Vec<Cow<[u8]>> = at_end.collect();
                lines(&at_end.iter().map(|line| &**line).collect::<Vec<_>>())
            }
        }
    }

    fn is_stored(&self, response: &Response) -> bool {
        // All of them reply with 204, which has no body. A proxy may turn it into a 200 with an empty or a JSON body.
        let body = response.body.trim();
        response.status == 204 || body.is_empty() || serde_json::from_str::<Value>(body).is_ok()
    }

    /// Sends a write without lines: a server checks the credentials and the database first. InfluxDB 3.x creates a
    /// database that does not exist, so it is asked for its version only, for which it wants the token, too.
    async fn describe(&self, client: &HttpClient) -> Result<String, SinkError> {
        let address = client.reach().await?;
        let path = client.path();
        if let Some(base) = path.strip_suffix(VERSION_3) {
            let ping = format!("{base}/ping");
            let response = client.request(Method::GET, &ping, None).await?;
            return match response.status {
                200 => Ok(format!("{}{address}", version(&response))),
                _ => Err(SinkError::retriable(response.error())),
            };
        }
        let response = client.post(self.content_type(), None, Vec::new()).await?;
        let is_accepted = match response.status {
            200..=299 => self.is_stored(&response),
            // 2.x, which has checked everything else by then.
            400 => response.reason().contains("requires points"),
            _ => false,
        };
        match (is_accepted, response.status) {
            (true, _) => {}
            (false, 200..=299) => return Err(SinkError::retriable(response.unconfirmed())),
            (false, _) => return Err(SinkError::retriable(response.error())),
        }
        let base = path.strip_suffix(VERSION_2).or(path.strip_suffix("/write"));
        let health = format!("{}/health", base.unwrap_or_default());
        // Only InfluxDB names its version there.
        let response = client.request(Method::GET, &health, None).await?;
        Ok(format!(
            "{}{address} and accepts writes",
            version(&response)
        ))
    }

    /// 1.x has stored the lines of a request that need nothing new. They are sent again with the others.
    fn is_quota(&self, response: &Response) -> bool {
        matches!(response.status, 400 | 422) && quota::is_influx(&json(response))
    }

    fn classify(&self, response: &Response, records: &[&[u8]]) -> Option<Reply> {
        // 2.x replies with 422 to points outside of its retention.
        if !matches!(response.status, 400 | 422) {
            return None;
        }
        let reason = response.reason();
        let json = json(response);
        let words = json["error"].as_str().unwrap_or(&response.body).trim_end();
        // 1.x counts all lines that it dropped, and has the reason of one of them. Only this reason is that of all.
        let dropped = words.strip_prefix(BEYOND_RETENTION);
        let dropped: Option<usize> = dropped.and_then(|digits| digits.parse().ok());
        let about_records =
            !json["data"].is_null() || ABOUT_LINES.iter().any(|words| reason.contains(words));
        Some(Reply::Rejected(Rejected {
            reason: response.error(),
            named: named(response.status, &json, records),
            all: dropped == Some(records.len()),
            about_records,
        }))
    }
}

fn json(response: &Response) -> Value {
    serde_json::from_str(&response.body).unwrap_or_default()
}

/// Returns the version in a response of InfluxDB, and what separates it from the address; nothing if there is none.
fn version(response: &Response) -> String {
    match json(response)["version"].as_str() {
        Some(version) => format!("InfluxDB {}: ", shorten(version.trim_start_matches('v'))),
        None => String::new(),
    }
}

/// Returns the lines that 3.x names by `data: [{original_line, line_number, error_message}]`, or nothing if one of them
/// is not what was sent.
fn named(status: u16, json: &Value, records: &[&[u8]]) -> Vec<(usize, String)> {
    let Some(data) = json["data"].as_array() else {
        return Vec::new();
    };
    let mut named: Vec<(usize, String)> = Vec::new();
    for line in data {
        let number = line["line_number"].as_u64().unwrap_or(0);
        let index = usize::try_from(number).ok().and_then(|n| n.checked_sub(1));
        let Some(record) = index.and_then(|index| records.get(index)) else {
            return Vec::new();
        };
        // The server may have cut it.
        let original = line["original_line"].as_str().unwrap_or_default();
        let begin: String = original.chars().take(20).collect();
        if !record.starts_with(begin.trim_end_matches(['.', '…']).as_bytes()) {
            return Vec::new();
        }
        let index = (number - 1) as usize;
        if named.iter().all(|(other, _)| *other != index) {
            let words = line["error_message"].as_str().unwrap_or_default();
            named.push((index, format!("HTTP {status}: {}", shorten(words))));
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classify(status: u16, body: &str, records: &[&str]) -> Option<Reply> {
        let body = body.to_owned();
        let records: Vec<&[u8]> = records.iter().map(|record| record.as_bytes()).collect();
        let response = Response {
            status,
            body,
            ..Response::default()
        };
        Influx(Timestamp::Start).classify(&response, &records)
    }

    #[test]
    fn only_the_response_of_a_database_confirms_the_write() {
        let is_stored = |status, body: &str| {
            Influx(Timestamp::Start).is_stored(&Response {
                status,
                body: body.into(),
                ..Response::default()
            })
        };
        assert!(is_stored(204, "") && is_stored(200, " \n") && is_stored(200, "{\"ok\":true}"));
        for body in ["<html>Sign in</html>", "<!DOCTYPE html>", "welcome", "OK"] {
            assert!(!is_stored(200, body), "{body}");
        }
    }

    #[test]
    fn responses_are_classified() {
        let partial = r#"{"error":"partial write: points beyond retention policy dropped=2"}"#;
        for (records, expected) in [(&["a", "b"][..], true), (&["a", "b", "c"], false)] {
            let reply = classify(400, partial, records);
            assert!(
                matches!(reply, Some(Reply::Rejected(Rejected { all, about_records: true, .. })) if all == expected)
            );
        }
        // One of them is dropped for another reason, possibly a quota.
        let mixed = r#"{"error":"partial write: field type conflict: input field dropped=2"}"#;
        assert!(matches!(
            classify(400, mixed, &["a", "b"]),
            Some(Reply::Rejected(Rejected {
                all: false,
                about_records: true,
                ..
            }))
        ));
        let parse = r#"{"code":"invalid","message":"unable to parse 'x'"}"#;
        let expected = Rejected {
            reason: "HTTP 400: unable to parse 'x'".into(),
            about_records: true,
            ..Rejected::default()
        };
        assert_eq!(
            classify(400, parse, &["x"]),
            Some(Reply::Rejected(expected))
        );
        // About the request.
        for body in [
            r#"{"error":"database is required"}"#,
            r#"{"code":"invalid","message":"failed to parse line protocol: unsupported precision"}"#,
            "",
        ] {
            let reply = classify(400, body, &["x"]);
            assert!(
                matches!(
                    reply,
                    Some(Reply::Rejected(Rejected {
                        about_records: false,
                        ..
                    }))
                ),
                "{body}"
            );
        }
        for status in [429, 503, 500, 401, 404, 301] {
            assert_eq!(classify(status, partial, &["x"]), None);
        }
    }

    #[test]
    fn lines_named_by_version_3_are_found() {
        let body = |lines: &[(u64, &str)]| {
            let line = |(number, text): &(u64, &str)| serde_json::json!({"original_line": text, "line_number": number, "error_message": "bad"});
            let data: Vec<Value> = lines.iter().map(line).collect();
            serde_json::json!({"error": "partial write of line protocol occurred", "data": data})
                .to_string()
        };
        let records = ["good a=1 1", "bad a=\"x\" 1", "good a=2 1"];
        let places = |body: &str| match classify(400, body, &records) {
            Some(Reply::Rejected(bad)) => bad.named.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
            reply => panic!("{reply:?}"),
        };
        assert_eq!(places(&body(&[(2, "bad a=\"x\" 1")])), [1]);
        assert_eq!(
            places(&body(&[(2, "bad..."), (2, "bad"), (3, "good a=2 1")])),
            [1, 2]
        );
        // Other lines than were sent, so the bad ones have to be found by bisection.
        for lines in [&[(0, "bad")][..], &[(4, "bad")], &[(1, "bad")], &[]] {
            assert!(places(&body(lines)).is_empty(), "{lines:?}");
        }
        // The whole batch was rejected and one line named: nothing is stored.
        let one = r#"{"error":"parsing failed for write_lp endpoint","data":{"original_line":"bad","line_number":2,"error_message":"x"}}"#;
        assert!(places(one).is_empty());
        let reply = classify(400, one, &records);
        assert!(matches!(
            reply,
            Some(Reply::Rejected(Rejected {
                about_records: true,
                ..
            }))
        ));
    }
}
