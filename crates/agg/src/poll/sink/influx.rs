//! Databases that take line protocol by HTTP: InfluxDB 1.x, 2.x and 3.x, and those that do as one of them
//! (VictoriaMetrics, QuestDB).
//!
//! What holds: a point written twice is one point, so a batch of which nothing is known is sent again as it is. Of a
//! batch that is refused for its content the bad lines are set aside: those that 3.x names, or those that are found by
//! halving; the good ones are stored on the way. Whatever speaks of the server and not of the lines (no such database,
//! no right, too busy) is waited out.

use serde_json::Value;

use super::halve::{Answer, Bad};
use super::lines;
use super::post::{Protocol, Reply, short};

/// Line protocol.
pub struct Influx;

/// What the servers say when they have read lines and found some bad. 1.x and 2.x: "partial write: ..." and "unable to
/// parse ..."; 3.x has `data`; QuestDB: "failed to parse line protocol: ... error in line 2: ...", of which it says the
/// first half also where it is the request that it does not understand.
const OF_LINES: [&str; 3] = ["partial write", "unable to parse", "error in line"];

impl Protocol for Influx {
    fn content_type(&self) -> &'static str {
        "text/plain; charset=utf-8"
    }

    fn body(&self, records: &[&[u8]]) -> Vec<u8> {
        lines(records)
    }

    fn is_stored(&self, reply: &Reply) -> bool {
        // All of them answer 204, which has no body. Others in between may make a 200 of it; that has none either, or
        // tells in JSON.
        let body = reply.body.trim();
        reply.status == 204 || body.is_empty() || serde_json::from_str::<Value>(body).is_ok()
    }

    fn judge(&self, reply: &Reply, records: &[&[u8]]) -> Option<Answer> {
        // 422 is 2.x's word for points that its retention does not take, and 3.x's for one table too many.
        if !matches!(reply.status, 400 | 422) {
            return None;
        }
        let reason = reply.reason();
        let json: Value = serde_json::from_str(&reply.body).unwrap_or_default();
        // At its end: a metric may be called so, too.
        let words = json["error"].as_str().unwrap_or(&reply.body).trim_end();
        let dropped = words.rsplit_once("dropped=");
        let dropped: Option<usize> = dropped.and_then(|(_, digits)| digits.parse().ok());
        let of_records =
            !json["data"].is_null() || OF_LINES.iter().any(|words| reason.contains(words));
        Some(Answer::Bad(Bad {
            why: reply.why(),
            named: named(reply.status, &json, records),
            all: dropped == Some(records.len()),
            of_records,
        }))
    }
}

/// The lines that 3.x names, by `data: [{original_line, line_number, error_message}]`; none where one of them is not
/// what was sent.
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
        // It may be cut, but it begins as the line does.
        let original = line["original_line"].as_str().unwrap_or_default();
        let begin: String = original.chars().take(20).collect();
        if !record.starts_with(begin.trim_end_matches(['.', '…']).as_bytes()) {
            return Vec::new();
        }
        let index = (number - 1) as usize;
        if named.iter().all(|(other, _)| *other != index) {
            let words = line["error_message"].as_str().unwrap_or_default();
            named.push((index, format!("HTTP {status}: {}", short(words))));
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(status: u16, body: &str, records: &[&str]) -> Option<Answer> {
        let body = body.to_owned();
        let records: Vec<&[u8]> = records.iter().map(|record| record.as_bytes()).collect();
        let reply = Reply {
            status,
            body,
            ..Reply::default()
        };
        Influx.judge(&reply, &records)
    }

    #[test]
    fn only_what_a_database_answers_means_stored() {
        let is_stored = |status, body: &str| {
            Influx.is_stored(&Reply {
                status,
                body: body.into(),
                ..Reply::default()
            })
        };
        assert!(is_stored(204, "") && is_stored(200, " \n") && is_stored(200, "{\"ok\":true}"));
        for body in ["<html>Sign in</html>", "<!DOCTYPE html>", "welcome", "OK"] {
            assert!(!is_stored(200, body), "{body}");
        }
    }

    #[test]
    fn answers() {
        let partial = r#"{"error":"partial write: points beyond retention policy dropped=2"}"#;
        for (records, expected) in [(&["a", "b"][..], true), (&["a", "b", "c"], false)] {
            let answer = judge(400, partial, records);
            assert!(
                matches!(answer, Some(Answer::Bad(Bad { all, of_records: true, .. })) if all == expected)
            );
        }
        let parse = r#"{"code":"invalid","message":"unable to parse 'x'"}"#;
        let expected = Bad {
            why: "HTTP 400: unable to parse 'x'".into(),
            of_records: true,
            ..Bad::default()
        };
        assert_eq!(judge(400, parse, &["x"]), Some(Answer::Bad(expected)));
        // Of the request.
        for body in [
            r#"{"error":"database is required"}"#,
            r#"{"code":"invalid","message":"failed to parse line protocol: unsupported precision"}"#,
            "",
        ] {
            let answer = judge(400, body, &["x"]);
            assert!(
                matches!(
                    answer,
                    Some(Answer::Bad(Bad {
                        of_records: false,
                        ..
                    }))
                ),
                "{body}"
            );
        }
        for status in [429, 503, 500, 401, 404, 301] {
            assert_eq!(judge(status, partial, &["x"]), None);
        }
    }

    #[test]
    fn version_3_names_the_lines() {
        let body = |lines: &[(u64, &str)]| {
            let line = |(number, text): &(u64, &str)| serde_json::json!({"original_line": text, "line_number": number, "error_message": "bad"});
            let data: Vec<Value> = lines.iter().map(line).collect();
            serde_json::json!({"error": "partial write of line protocol occurred", "data": data})
                .to_string()
        };
        let records = ["good a=1 1", "bad a=\"x\" 1", "good a=2 1"];
        let places = |body: &str| match judge(400, body, &records) {
            Some(Answer::Bad(bad)) => bad.named.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
            answer => panic!("{answer:?}"),
        };
        assert_eq!(places(&body(&[(2, "bad a=\"x\" 1")])), [1]);
        assert_eq!(
            places(&body(&[(2, "bad..."), (2, "bad"), (3, "good a=2 1")])),
            [1, 2]
        );
        // Other lines than ours, so they are found by halving.
        for lines in [&[(0, "bad")][..], &[(4, "bad")], &[(1, "bad")], &[]] {
            assert!(places(&body(lines)).is_empty(), "{lines:?}");
        }
        // The whole batch was refused, and one line named: nothing was stored.
        let one = r#"{"error":"parsing failed for write_lp endpoint","data":{"original_line":"bad","line_number":2,"error_message":"x"}}"#;
        assert!(places(one).is_empty());
        let answer = judge(400, one, &records);
        assert!(matches!(
            answer,
            Some(Answer::Bad(Bad {
                of_records: true,
                ..
            }))
        ));
    }
}
