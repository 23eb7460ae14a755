//! A sink that sends records by HTTP POST, with several requests at a time if wanted, and interprets the responses.
//!
//! # Invariants
//!
//! A batch of which nothing is certain (no response, a lost connection) is sent again unchanged. With several writers a
//! write is cut into parts, and succeeds when each part does; otherwise all of it is sent again.

use std::io::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::join_all;
use tokio::task::spawn_blocking;

use crate::config;
use crate::glob::Glob;

use super::bisect::{RejectionHistory, Reply, Server, deliver};
use super::http_client::{HttpClient, Response};
use super::{BatchLimits, Rejection, Sink, SinkError, quota};

/// The bodies and responses of a kind of server.
pub trait Protocol: Send + Sync + 'static {
    /// Returns the media type of the body.
    fn content_type(&self) -> &'static str;

    /// Returns the content encoding of the body as it is, which then is not compressed with gzip.
    fn encoding(&self) -> Option<&'static str> {
        None
    }

    /// Encodes records as a body.
    fn body(&self, records: &[&[u8]]) -> Vec<u8>;

    /// Returns whether a successful response is from such a server. A proxy or a portal replies with a page to anything.
    fn is_stored(&self, response: &Response) -> bool;

    /// Interprets a successful response to these records. Returns `None` if it is not from such a server.
    fn confirm(&self, response: &Response, records: &[&[u8]]) -> Option<Reply> {
        let _ = records;
        self.is_stored(response).then_some(Reply::Stored)
    }

    /// Makes the body of an error response readable, if it is not text.
    fn readable(&self, response: Response) -> Response {
        response
    }

    /// Connects to the server, and writes no record. Returns a short description of it.
    ///
    /// # Errors
    ///
    /// Returns an error if a write would fail too.
    fn describe(
        &self,
        client: &HttpClient,
    ) -> impl Future<Output = Result<String, SinkError>> + Send {
        client.reach()
    }

    /// Creates what the server needs before the first record. Called again after an error, since the server may have
    /// lost it.
    ///
    /// # Errors
    ///
    /// Returns an error if the server cannot be asked or refuses.
    fn prepare(&self, client: &HttpClient) -> impl Future<Output = Result<(), SinkError>> + Send {
        let _ = client;
        std::future::ready(Ok(()))
    }

    /// Returns whether an error response, which may blame the records, is about a quota of the server: then the write is
    /// retried.
    fn is_quota(&self, response: &Response) -> bool {
        let _ = response;
        false
    }

    /// Interprets an error response to these records. Returns `None` if it says nothing about them: then the write is
    /// retried.
    fn classify(&self, response: &Response, records: &[&[u8]]) -> Option<Reply>;
}

/// A server that takes records by HTTP.
pub struct Post<P> {
    client: HttpClient,
    settings: config::Post,
    protocol: P,
    history: RejectionHistory,
    /// The maximum number of bytes of one request, as learned from requests that were too large.
    max_bytes: AtomicUsize,
    is_prepared: bool,
}

impl<P: Protocol> Post<P> {
    /// Creates a sink for the server of these settings. Nothing is sent yet.
    pub fn new(settings: config::Post, protocol: P) -> Post<P> {
        Post {
            client: HttpClient::new(&settings),
            protocol,
            history: RejectionHistory::default(),
            max_bytes: settings.batch_bytes.into(),
            is_prepared: false,
            settings,
        }
    }

    /// Sends records in one request.
    async fn post(&self, records: &[&[u8]]) -> Result<Reply, SinkError> {
        let mut body = self.protocol.body(records);
        let mut encoding = self.protocol.encoding();
        if encoding.is_none() && self.settings.gzip {
            encoding = Some("gzip");
            // Takes up to some milliseconds per MiB.
            body = spawn_blocking(move || gzip(&body))
                .await
                .map_err(|error| SinkError::retriable(error.to_string()))?;
        }
        let content_type = self.protocol.content_type();
        let response = self.client.post(content_type, encoding, body).await?;
        if (200..=299).contains(&response.status) {
            let confirmed = self.is_expected(&response);
            let reply = confirmed.then(|| self.protocol.confirm(&response, records));
            let reply = reply.flatten();
            match &reply {
                Some(Reply::Stored) => self.raise_limit(),
                Some(Reply::TooLarge(_)) => self.lower_limit(records),
                Some(Reply::Each(each)) if each.is_vague => self.lower_limit(records),
                _ => {}
            }
            return reply.ok_or_else(|| SinkError::retriable(response.unconfirmed()));
        }
        let response = self.protocol.readable(response);
        match response.status {
            413 => {
                self.lower_limit(records);
                Ok(Reply::TooLarge(response.error()))
            }
            _ if self.protocol.is_quota(&response) => Err(SinkError::Retriable {
                reason: quota::reason(&response.error()),
                retry_after: response.retry_after,
            }),
            _ => {
                let reply = self.protocol.classify(&response, records);
                reply.ok_or_else(|| SinkError::Retriable {
                    reason: response.error(),
                    retry_after: response.retry_after,
                })
            }
        }
    }

    /// Allows larger requests again after one was stored: the cause of the limit may be gone.
    fn raise_limit(&self) {
        let max = self.settings.batch_bytes;
        let bytes = self.max_bytes.load(Ordering::Relaxed);
        if bytes < max {
            let more = bytes + bytes / 8 + 1;
            self.max_bytes.store(more.min(max), Ordering::Relaxed);
        }
    }

    /// Limits the next requests to half of these records, so that they need not be rejected first.
    fn lower_limit(&self, records: &[&[u8]]) {
        if records.len() > 1 {
            let bytes: usize = records.iter().map(|record| record.len() + 1).sum();
            self.max_bytes
                .fetch_min(bytes.div_ceil(2), Ordering::Relaxed);
        }
    }

    /// Returns whether a successful response is what the settings expect.
    fn is_expected(&self, response: &Response) -> bool {
        let expect = &self.settings.expect;
        let has_type = |text: &String| *text == response.content_type;
        let has_body = |pattern: &Glob| pattern.matches(response.body.as_bytes());
        expect.content_type.as_ref().is_none_or(has_type)
            && expect.body.as_ref().is_none_or(has_body)
    }

    /// Takes parts until all are taken, and sends each.
    async fn send_parts(
        &self,
        records: &[&[u8]],
        parts: &[Range<usize>],
        next: &AtomicUsize,
    ) -> Result<Vec<Rejection>, SinkError> {
        let mut rejections = Vec::new();
        while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let records = &records[part.clone()];
            let rejected = deliver(records, &self.history, self).await?;
            for rejection in rejected {
                let index = part.start + rejection.index;
                rejections.push(Rejection { index, ..rejection });
            }
        }
        Ok(rejections)
    }
}

impl<P: Protocol> Server for Post<P> {
    async fn send(&self, records: &[&[u8]]) -> Result<Reply, SinkError> {
        self.post(records).await
    }
}

#[async_trait]
impl<P: Protocol> Sink for Post<P> {
    fn limits(&self) -> BatchLimits {
        let writers = self.settings.writers;
        let bytes = self.max_bytes.load(Ordering::Relaxed);
        BatchLimits {
            records: self.settings.batch_lines.saturating_mul(writers),
            bytes: bytes.saturating_mul(writers),
        }
    }

    async fn connect(&mut self) -> Result<String, SinkError> {
        self.protocol.describe(&self.client).await
    }

    async fn write(&mut self, records: &[&[u8]]) -> Result<Vec<Rejection>, SinkError> {
        if !self.is_prepared {
            self.protocol.prepare(&self.client).await?;
            self.is_prepared = true;
        }
        let limits = BatchLimits {
            records: self.settings.batch_lines,
            bytes: self.max_bytes.load(Ordering::Relaxed),
        };
        let parts = parts(records, limits);
        let (next, this) = (AtomicUsize::new(0), &*self);
        let writers = self.settings.writers.min(parts.len());
        let results = join_all((0..writers).map(|_| this.send_parts(records, &parts, &next))).await;
        let (mut rejections, mut errors) = (Vec::new(), Vec::new());
        for result in results {
            match result {
                Ok(rejected) => rejections.extend(rejected),
                Err(error) => errors.push(error),
            }
        }
        // The longest pause that any writer was asked for counts.
        let pause = |error: &SinkError| match error {
            SinkError::Retriable { retry_after, .. } => *retry_after,
            SinkError::Fatal(_) => Some(Duration::MAX),
        };
        if let Some(error) = errors.into_iter().max_by_key(pause) {
            self.is_prepared = false;
            return Err(error);
        }
        self.history.note_done();
        Ok(rejections)
    }
}

/// Cuts records into parts within these limits.
fn parts(records: &[&[u8]], limits: BatchLimits) -> Vec<Range<usize>> {
    let (mut parts, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (index, record) in records.iter().enumerate() {
        bytes += record.len() + 1;
        if index > start && (index - start == limits.records || bytes > limits.bytes) {
            parts.push(start..index);
            (start, bytes) = (index, record.len() + 1);
        }
    }
    parts.push(start..records.len());
    parts
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_as_large_as_the_limits_allow() {
        let records: Vec<&[u8]> = vec![b"1234"; 7];
        let cut = |count, bytes| {
            let limits = BatchLimits {
                records: count,
                bytes,
            };
            let parts = parts(&records, limits);
            parts.iter().map(Range::len).collect::<Vec<usize>>()
        };
        assert_eq!(cut(100, 100), [7]);
        assert_eq!(cut(3, 100), [3, 3, 1]);
        assert_eq!(cut(100, 10), [2, 2, 2, 1]);
        assert_eq!(cut(100, 1), [1; 7]);
    }
}
