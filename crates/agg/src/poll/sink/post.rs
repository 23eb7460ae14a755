//! What takes records by HTTP: requests, several at a time where that is wanted, and what an answer means.
//!
//! What holds: a batch of which nothing is certain (no answer, a cut connection) is sent again as it is. With several
//! writers a write is cut into as many parts, and is well when each part is; else all of it is sent again. A redirection
//! is not followed: it is a mistake in the URL, and secrets are not for others.

use std::io::{Read, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use ureq::Agent;

use crate::poll::config;
use crate::poll::glob::Glob;

use super::halve::{Answer, Doubt, deliver};
use super::{Limits, Refused, Sink, Trouble};

/// The longest pause that a server may ask for.
const LONGEST: Duration = Duration::from_secs(300);
/// The bytes of an answer that are read: it may name every line of a batch.
const ANSWER: u64 = 2 << 20;
/// The characters of a reason that are kept.
const REASON: usize = 500;

/// What a kind of server wants and says.
pub trait Protocol: Send + Sync {
    /// What the body is.
    fn content_type(&self) -> &'static str;

    /// Records as a body.
    fn body(&self, records: &[&[u8]]) -> Vec<u8>;

    /// Whether an answer of success comes from such a server: a proxy or a portal answers anything with a page.
    fn is_stored(&self, reply: &Reply) -> bool;

    /// What an answer to these records means; none where it is nothing special: trouble that may pass.
    fn judge(&self, reply: &Reply, records: &[&[u8]]) -> Option<Answer>;
}

/// An answer.
#[derive(Debug, Default)]
pub struct Reply {
    pub status: u16,
    /// The media type, without parameters, in small letters.
    pub content_type: String,
    pub body: String,
}

/// A server that takes records by HTTP.
pub struct Post<P> {
    agent: Agent,
    settings: config::Post,
    protocol: P,
    doubt: Doubt,
    /// What one request may have at most, as its refusals taught us.
    bytes: AtomicUsize,
}

impl<P: Protocol> Post<P> {
    /// The server of these settings; nothing is sent yet.
    pub fn new(settings: config::Post, protocol: P) -> Post<P> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(settings.timeout))
            .max_redirects(0)
            .max_idle_connections_per_host(settings.writers)
            .max_idle_connections(settings.writers)
            .proxy(settings.proxy.clone())
            .user_agent(concat!("agg/", env!("CARGO_PKG_VERSION")));
        let config = match &settings.tls {
            Some(tls) => config.tls_config(tls.config.clone()),
            None => config,
        };
        Post {
            agent: config.build().into(),
            protocol,
            doubt: Doubt::default(),
            bytes: settings.batch_bytes.into(),
            settings,
        }
    }

    /// Sends some of the records.
    fn post(&self, records: &[&[u8]]) -> Result<Answer, Trouble> {
        let later = |why: String| Trouble::Later { why, after: None };
        let mut request = self
            .agent
            .post(&self.settings.url)
            .content_type(self.protocol.content_type());
        for (name, value) in &self.settings.headers {
            request = request.header(name, value);
        }
        let mut body = self.protocol.body(records);
        if self.settings.gzip {
            request = request.header("Content-Encoding", "gzip");
            body = gzip(&body);
        }
        let sent = request.send(&body[..]);
        let mut response = sent.map_err(|error| later(format!("no answer: {error}")))?;
        let after = response.headers().get("retry-after");
        let after = after.and_then(|value| pause(value.to_str().ok()?, SystemTime::now()));
        let status = response.status().as_u16();
        let content_type = response.headers().get("content-type");
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let content_type = media_type(content_type.unwrap_or_default());
        // The answer is read to its end, so that the connection can be used again. It need not be UTF-8, and one that is longer
        // than the limit is judged by its beginning.
        let mut body = Vec::new();
        let read = (response.body_mut().as_reader())
            .take(ANSWER)
            .read_to_end(&mut body);
        if let (Err(error), 200..=299) = (read, status) {
            return Err(later(format!("the answer broke off: {error}")));
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        let reply = Reply {
            status,
            content_type,
            body,
        };
        let answer = match status {
            200..=299 if !(self.is_expected(&reply) && self.protocol.is_stored(&reply)) => {
                return Err(later(reply.unexpected()));
            }
            200..=299 => {
                // What made it take less may have passed.
                let most = self.settings.batch_bytes;
                let bytes = self.bytes.load(Ordering::Relaxed);
                if bytes < most {
                    let more = bytes + bytes / 8 + 1;
                    self.bytes.store(more.min(most), Ordering::Relaxed);
                }
                Answer::Stored
            }
            413 => {
                if records.len() > 1 {
                    // The next ones need not be refused first.
                    let size: usize = records.iter().map(|record| record.len() + 1).sum();
                    self.bytes.fetch_min(size.div_ceil(2), Ordering::Relaxed);
                }
                Answer::TooLarge(reply.why())
            }
            _ => match self.protocol.judge(&reply, records) {
                Some(answer) => answer,
                None => {
                    let why = reply.why();
                    return Err(Trouble::Later { why, after });
                }
            },
        };
        Ok(answer)
    }

    /// Whether it is what the settings say of an answer of success.
    fn is_expected(&self, reply: &Reply) -> bool {
        let expect = &self.settings.expect;
        let of_type = |text: &String| *text == reply.content_type;
        let as_pattern = |pattern: &Glob| pattern.matches(reply.body.as_bytes());
        expect.content_type.as_ref().is_none_or(of_type)
            && expect.body.as_ref().is_none_or(as_pattern)
    }

    fn part(&self, records: &[&[u8]]) -> Result<Vec<Refused>, Trouble> {
        deliver(records, &self.doubt, |records| self.post(records))
    }
}

impl<P: Protocol> Sink for Post<P> {
    fn limits(&self) -> Limits {
        let writers = self.settings.writers;
        Limits {
            lines: self.settings.batch_lines.saturating_mul(writers),
            bytes: self.bytes.load(Ordering::Relaxed).saturating_mul(writers),
        }
    }

    fn write(&mut self, records: &[&[u8]]) -> Result<Vec<Refused>, Trouble> {
        let limits = Limits {
            lines: self.settings.batch_lines,
            bytes: self.bytes.load(Ordering::Relaxed),
        };
        let parts = parts(records, limits);
        // Each takes the next part that nobody has taken.
        let (next, this) = (AtomicUsize::new(0), &*self);
        let work = || {
            let mut refused = Vec::new();
            while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                for one in this.part(&records[part.clone()])? {
                    let index = part.start + one.index;
                    refused.push(Refused { index, ..one });
                }
            }
            Ok(refused)
        };
        let results: Vec<Result<Vec<Refused>, Trouble>> = std::thread::scope(|scope| {
            let writers = self.settings.writers.min(parts.len());
            let others: Vec<_> = (1..writers).map(|_| scope.spawn(work)).collect();
            let ours = work();
            let others = others.into_iter().map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            others.chain([ours]).collect()
        });
        let (mut refused, mut troubles) = (Vec::new(), Vec::new());
        for result in results {
            match result {
                Ok(some) => refused.extend(some),
                Err(trouble) => troubles.push(trouble),
            }
        }
        // Who asks for the longest pause gets it.
        let pause = |trouble: &Trouble| match trouble {
            Trouble::Later { after, .. } => *after,
            Trouble::Never(_) => Some(Duration::MAX),
        };
        if let Some(trouble) = troubles.into_iter().max_by_key(pause) {
            return Err(trouble);
        }
        self.doubt.done();
        Ok(refused)
    }
}

fn media_type(header: &str) -> String {
    let name = header.split(';').next().unwrap_or_default();
    name.trim().to_lowercase()
}

/// Records cut into parts of this size.
fn parts(records: &[&[u8]], limits: Limits) -> Vec<Range<usize>> {
    let (mut parts, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (index, record) in records.iter().enumerate() {
        bytes += record.len() + 1;
        if index > start && (index - start == limits.lines || bytes > limits.bytes) {
            parts.push(start..index);
            (start, bytes) = (index, record.len() + 1);
        }
    }
    parts.push(start..records.len());
    parts
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // Nothing fails in memory.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}

/// What Retry-After asks for: seconds or a date.
fn pause(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let pause = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            date.duration_since(now).unwrap_or_default()
        }
    };
    Some(pause.min(LONGEST))
}

impl Reply {
    /// Whether it is a page for a browser.
    pub fn is_page(&self) -> bool {
        let start = self
            .body
            .trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        let starts = |tag: &str| {
            let head = start.get(..tag.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(tag))
        };
        starts("<!doctype html") || starts("<html")
    }

    /// That it is a success, but not one of the server that is meant.
    fn unexpected(&self) -> String {
        let what = match &*self.content_type {
            "" => String::new(),
            kind => format!(" of type {kind}"),
        };
        let status = self.status;
        format!(
            "HTTP {status} with an answer{what} that does not mean that it is stored: is it a proxy, or another \
             server? {}",
            self.reason()
        )
    }

    /// The status with the server's words.
    pub fn why(&self) -> String {
        let status = self.status;
        match self.reason() {
            text if text.is_empty() => format!("HTTP {status}"),
            text => format!("HTTP {status}: {text}"),
        }
    }

    /// The server's words: InfluxDB 1.x and 3.x have them in `error`, 2.x in `message`, proxies write what they like.
    pub fn reason(&self) -> String {
        let json: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        let words = json["error"]
            .as_str()
            .or(json["message"].as_str())
            .unwrap_or(&self.body);
        short(words)
    }
}

/// Words that may be as long as they like, cut.
pub fn short(words: &str) -> String {
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
    fn a_long_reason_is_cut_at_a_character() {
        let reply = Reply {
            status: 500,
            body: "ä".repeat(600),
            ..Reply::default()
        };
        assert_eq!(reply.why(), format!("HTTP 500: {}…", "ä".repeat(500)));
        assert_eq!(
            Reply {
                status: 502,
                body: " \n".into(),
                ..Reply::default()
            }
            .why(),
            "HTTP 502"
        );
    }

    #[test]
    fn a_pause_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (text, expected) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("99999", Some(300)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("Sun, 06 Nov 2044 08:49:00 GMT", Some(300)),
            ("-1", None),
            ("soon", None),
        ] {
            assert_eq!(
                pause(text, now),
                expected.map(Duration::from_secs),
                "{text}"
            );
        }
    }

    #[test]
    fn parts_are_as_large_as_they_may_be() {
        let records: Vec<&[u8]> = vec![b"1234"; 7];
        let cut = |lines, bytes| {
            let parts = parts(&records, Limits { lines, bytes });
            parts.iter().map(Range::len).collect::<Vec<usize>>()
        };
        assert_eq!(cut(100, 100), [7]);
        assert_eq!(cut(3, 100), [3, 3, 1]);
        assert_eq!(cut(100, 10), [2, 2, 2, 1]);
        assert_eq!(cut(100, 1), [1; 7]);
    }
}
