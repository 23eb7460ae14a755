//! Records as metrics and logs of OpenTelemetry, by OTLP over HTTP.
//!
//! # Invariants
//!
//! - Windows go to the endpoint for metrics, other records to that for logs. Requests follow one another.
//! - The protocol has no key by which a server recognises a repetition. So what is known to be stored, or rejected, is not
//!   sent again: if a later request of a write fails, the retry begins there. A request of which nothing is known is sent again.

mod export;
mod item;
mod logs;
mod metrics;

use std::collections::HashMap;

use aggregator_protocol::Queue;
use async_trait::async_trait;

use crate::config;
use crate::record::Content;

use super::encoded::convert;
use super::post::Post;
use super::{BatchLimits, Rejection, Sink, SinkError};

use export::Signal;

/// A record, by what identifies it.
type Id = (String, Queue, i64);

/// A receiver of OTLP.
pub struct Otlp {
    metrics: Post<Signal>,
    logs: Post<Signal>,
    /// The records of the last write, which failed, that are stored, or rejected with a reason. At most one write.
    done: HashMap<Id, Option<String>>,
}

/// A record as its endpoint takes it.
struct Encoded {
    /// Its index in the write.
    index: usize,
    id: Id,
    item: Vec<u8>,
}

impl Otlp {
    /// Creates a sink for the receiver of these settings. Nothing is sent yet.
    pub fn new(settings: config::Otlp) -> Otlp {
        Otlp {
            metrics: Post::new(settings.metrics, Signal::Metrics),
            logs: Post::new(settings.logs, Signal::Logs),
            done: HashMap::new(),
        }
    }
}

#[async_trait]
impl Sink for Otlp {
    fn limits(&self) -> BatchLimits {
        self.metrics.limits()
    }

    /// A receiver may have only one of the two endpoints.
    async fn connect(&mut self) -> Result<String, SinkError> {
        match (self.metrics.connect().await, self.logs.connect().await) {
            (Ok(metrics), Ok(logs)) => Ok(format!("{metrics}, {logs}")),
            (Ok(one), Err(SinkError::Retriable { reason, .. }))
            | (Err(SinkError::Retriable { reason, .. }), Ok(one)) => Ok(format!("{one}; {reason}")),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    async fn write(&mut self, records: &[&[u8]]) -> Result<Vec<Rejection>, SinkError> {
        let (mut of_metrics, mut of_logs) = (Vec::new(), Vec::new());
        let mut before = std::mem::take(&mut self.done);
        let (done, mut repeated) = (&mut self.done, Vec::new());
        let mut rejections = convert(records, |index, record| {
            let id = (record.node.to_string(), record.queue, record.id);
            if let Some(result) = before.remove(&id) {
                repeated.extend(result.clone().map(|reason| Rejection { index, reason }));
                done.insert(id, result);
                return Ok(());
            }
            let (encoded, signal) = match &record.content {
                Content::Window(window) => (metrics::encode(window)?, &mut of_metrics),
                Content::Log(entry) => (logs::entry(record, entry)?, &mut of_logs),
                Content::Error(error) => (logs::error(record, error)?, &mut of_logs),
                Content::Object(object) => (logs::object(record, object)?, &mut of_logs),
            };
            let item = item::item(&record.node, &encoded);
            signal.push(Encoded { index, id, item });
            Ok(())
        });
        rejections.append(&mut repeated);
        for (post, encoded) in [(&mut self.metrics, of_metrics), (&mut self.logs, of_logs)] {
            let mut rest = &encoded[..];
            while !rest.is_empty() {
                let part;
                (part, rest) = rest.split_at(fitting(rest, post.limits()));
                let items: Vec<&[u8]> = part.iter().map(|one| &*one.item).collect();
                let mut rejected: HashMap<usize, String> = HashMap::new();
                for Rejection { index, reason } in post.write(&items).await? {
                    rejected.insert(index, reason);
                }
                for (at, one) in part.iter().enumerate() {
                    let reason = rejected.remove(&at);
                    let index = one.index;
                    rejections.extend(reason.clone().map(|reason| Rejection { index, reason }));
                    self.done.insert(one.id.clone(), reason);
                }
            }
        }
        self.done.clear();
        rejections.sort_by_key(|rejection| rejection.index);
        Ok(rejections)
    }
}

/// Returns the number of records that fit into one request, at least 1.
fn fitting(encoded: &[Encoded], limits: BatchLimits) -> usize {
    let mut bytes = 0;
    let fits = |one: &&Encoded| {
        bytes += one.item.len() + 1;
        bytes <= limits.bytes
    };
    let count = encoded.iter().take(limits.records).take_while(fits).count();
    count.max(1)
}
