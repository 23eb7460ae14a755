//! A database that takes line protocol by HTTP, as InfluxDB 1.x (`/write`) and 2.x (`/api/v2/write`) do.
//!
//! What holds: a point written twice is one point, so a batch of which nothing is known is sent again as it is. A
//! batch that is refused for its content is halved until the bad lines are alone; the good ones are stored on the way.
//! Whatever speaks of the server and not of the lines (no such database, no right, too busy) is waited out.

use std::time::Duration;

use ureq::Agent;

use crate::poll::config;

use super::{Limits, Refused, Sink, Trouble, lines};

/// The longest pause that a server may ask for.
const LONGEST: Duration = Duration::from_secs(300);
/// The bytes of an answer that are read.
const ANSWER: u64 = 64 * 1024;
/// The characters of a reason that are kept.
const REASON: usize = 500;

/// A database.
pub struct Influx {
    agent: Agent,
    settings: config::Influx,
}

/// What the server makes of lines.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Stored,
    /// Some of the lines, so many where it says so, are refused for good.
    Bad {
        why: String,
        dropped: Option<usize>,
    },
    TooLarge(String),
}

impl Influx {
    /// The database of these settings; nothing is sent yet.
    pub fn new(settings: config::Influx) -> Influx {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(settings.timeout))
            // A redirection is a mistake in the URL, and the token is not for others.
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("agg/", env!("CARGO_PKG_VERSION")))
            .build();
        Influx {
            agent: config.into(),
            settings,
        }
    }

    fn post(&self, records: &[&[u8]]) -> Result<Answer, Trouble> {
        let later = |why: String| Trouble::Later { why, after: None };
        let mut request = self
            .agent
            .post(&self.settings.url)
            .content_type("text/plain; charset=utf-8");
        if let Some(authorization) = &self.settings.authorization {
            request = request.header("Authorization", authorization);
        }
        let sent = request.send(&lines(records)[..]);
        let mut response = sent.map_err(|error| later(format!("no answer: {error}")))?;
        let pause = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(LONGEST));
        let status = response.status().as_u16();
        // The answer is read to its end, so that the connection can be used again.
        let body = response
            .body_mut()
            .with_config()
            .limit(ANSWER)
            .read_to_string();
        judge(status, &body.unwrap_or_default(), pause)
    }
}

impl Sink for Influx {
    fn limits(&self) -> Limits {
        Limits {
            lines: self.settings.batch_lines,
            bytes: self.settings.batch_bytes,
        }
    }

    fn write(&mut self, records: &[&[u8]]) -> Result<Vec<Refused>, Trouble> {
        let mut refused = Vec::new();
        let mut todo = Vec::new();
        let mut next = Some(0..records.len());
        while let Some(range) = next.take().or_else(|| todo.pop()) {
            let answer = self.post(&records[range.clone()])?;
            let (why, all) = match answer {
                Answer::Stored => continue,
                Answer::Bad { why, dropped } => (why, dropped == Some(range.len())),
                Answer::TooLarge(why) => {
                    // The next ones need not be refused first.
                    let size = records[range.clone()]
                        .iter()
                        .map(|record| record.len() + 1)
                        .sum();
                    let bytes = &mut self.settings.batch_bytes;
                    *bytes = (*bytes).min(size).div_ceil(2);
                    (why, false)
                }
            };
            if all || range.len() == 1 {
                let refuse = |index| Refused {
                    index,
                    reason: why.clone(),
                };
                refused.extend(range.map(refuse));
            } else {
                let middle = range.start + range.len() / 2;
                todo.push(middle..range.end);
                next = Some(range.start..middle);
            }
        }
        Ok(refused)
    }
}

fn judge(status: u16, body: &str, pause: Option<Duration>) -> Result<Answer, Trouble> {
    let why = match reason(body) {
        text if text.is_empty() => format!("HTTP {status}"),
        text => format!("HTTP {status}: {text}"),
    };
    match status {
        200..=299 => Ok(Answer::Stored),
        // 422 is 2.x's word for points that its retention does not take.
        400 | 422 => {
            let dropped = body.split("dropped=").nth(1);
            let digits = dropped.map(|rest| rest.split(|c: char| !c.is_ascii_digit()));
            let dropped = digits.and_then(|mut parts| parts.next()?.parse().ok());
            Ok(Answer::Bad { why, dropped })
        }
        413 => Ok(Answer::TooLarge(why)),
        _ => Err(Trouble::Later { why, after: pause }),
    }
}

/// The server's words: 1.x has them in `error`, 2.x in `message`, proxies write what they like.
fn reason(body: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let words = json["error"]
        .as_str()
        .or(json["message"].as_str())
        .unwrap_or(body);
    let mut words = words.trim().to_owned();
    if let Some((cut, _)) = words.char_indices().nth(REASON) {
        words.truncate(cut);
        words.push('…');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        assert_eq!(judge(204, "", None), Ok(Answer::Stored));
        let partial = r#"{"error":"partial write: points beyond retention policy dropped=12"}"#;
        assert!(matches!(
            judge(400, partial, None),
            Ok(Answer::Bad {
                dropped: Some(12),
                ..
            })
        ));
        let parse = r#"{"code":"invalid","message":"unable to parse 'x'"}"#;
        let why = "HTTP 400: unable to parse 'x'".into();
        assert_eq!(
            judge(400, parse, None),
            Ok(Answer::Bad { why, dropped: None })
        );
        assert!(matches!(judge(413, "", None), Ok(Answer::TooLarge(_))));
        let pause = Some(Duration::from_secs(7));
        for (status, after) in [
            (429, pause),
            (503, pause),
            (500, None),
            (401, None),
            (404, None),
            (301, None),
        ] {
            let why = format!("HTTP {status}: no");
            assert_eq!(
                judge(status, " no\n", after),
                Err(Trouble::Later { why, after })
            );
        }
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        assert_eq!(reason(&"ä".repeat(600)), format!("{}…", "ä".repeat(500)));
    }
}
