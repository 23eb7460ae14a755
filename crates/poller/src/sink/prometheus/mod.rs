//! Windows as samples of series, by Prometheus' remote write 1.0
//! (<https://prometheus.io/docs/specs/prw/remote_write_spec/>).
//!
//! # Invariants
//!
//! - The samples of a write are sent in the order of time, in requests that follow one another, also where a request is
//!   bisected. Prometheus rejects a sample that is older than the newest of its series, or drops it without an error if
//!   both are in one request.
//! - A sample written twice is one sample, so a request of which nothing is known is sent again unchanged.
//! - Prometheus stores all of a request or nothing. The samples that it rejects for their age are found by bisection and
//!   become dead letters, and the others are stored.

mod histogram;
mod remote_write;
mod series;

use async_trait::async_trait;

use crate::config;

use super::encoded::convert;
use super::post::Post;
use super::{BatchLimits, Rejection, Sink, SinkError};

use remote_write::RemoteWrite;
use series::Format;

/// A server that receives remote write.
pub struct Prometheus {
    post: Post<RemoteWrite>,
    format: Format,
}

/// Series of a record that are stored or rejected together.
struct Part {
    /// The index of the record in its write.
    index: usize,
    timestamp: i64,
    is_histogram: bool,
    series: Vec<u8>,
}

impl Prometheus {
    /// Creates a sink for the server of these settings. Nothing is sent yet.
    pub fn new(settings: config::Prometheus) -> Prometheus {
        Prometheus {
            post: Post::new(settings.post, RemoteWrite),
            format: Format {
                timestamp: settings.timestamp,
                native_histograms: settings.native_histograms,
            },
        }
    }
}

#[async_trait]
impl Sink for Prometheus {
    fn limits(&self) -> BatchLimits {
        self.post.limits()
    }

    async fn connect(&mut self) -> Result<String, SinkError> {
        self.post.connect().await
    }

    async fn write(&mut self, records: &[&[u8]]) -> Result<Vec<Rejection>, SinkError> {
        let (parts, mut rejections) = parts(records, self.format);
        if !parts.is_empty() {
            let series: Vec<&[u8]> = parts.iter().map(|part| &*part.series).collect();
            for Rejection { index, reason } in self.post.write(&series).await? {
                let part = &parts[index];
                let reason = match part.is_histogram {
                    true => format!("the native histogram: {reason}"),
                    false => reason,
                };
                let index = part.index;
                rejections.push(Rejection { index, reason });
            }
        }
        // A record of which both parts are rejected is one dead letter.
        rejections.sort_by_key(|rejection| rejection.index);
        rejections.dedup_by_key(|rejection| rejection.index);
        Ok(rejections)
    }
}

/// Returns the parts of records in the order of time, and the records that have no series.
fn parts(records: &[&[u8]], format: Format) -> (Vec<Part>, Vec<Rejection>) {
    let mut parts = Vec::with_capacity(records.len());
    let rejections = convert(records, |index, record| {
        let found = series::encode(record, format)?;
        let part = |is_histogram, series| Part {
            index,
            timestamp: found.timestamp,
            is_histogram,
            series,
        };
        parts.push(part(false, found.values));
        parts.extend(found.histogram.map(|series| part(true, series)));
        Ok(())
    });
    parts.sort_by_key(|part| part.timestamp);
    (parts, rejections)
}

#[cfg(test)]
mod tests {
    use crate::config::Timestamp;

    use super::*;

    #[test]
    fn parts_are_in_the_order_of_time() {
        let window = |start: i64, more: &str| {
            format!(
                r#"{{"node":"n","queue":"MIN","id":1,"metric":"m","type":"ABS","window":1,"start":{start},"end":{},
                "count":1,"sum":1,"avg":1,"min":1,"max":1,"last":1{more},"tags":{{}}}}"#,
                start + 1000
            )
        };
        let histogram = r#","hist":{"scale":5,"zero":0,"pos":[0,[1]],"neg":[0,[]]}"#;
        let records = [
            window(5000, ""),
            "{}".into(),
            window(-1000, histogram),
            window(3000, ""),
        ];
        let records: Vec<&[u8]> = records.iter().map(|record| record.as_bytes()).collect();
        let format = Format {
            timestamp: Timestamp::End,
            native_histograms: true,
        };
        let (parts, rejections) = parts(&records, format);
        let order: Vec<_> = parts
            .iter()
            .map(|part| (part.index, part.timestamp, part.is_histogram))
            .collect();
        let expected = [
            (2, -1, false),
            (2, -1, true),
            (3, 3999, false),
            (0, 5999, false),
        ];
        assert_eq!(order, expected);
        assert_eq!(rejections.len(), 1);
        assert_eq!(rejections[0].index, 1);
        assert_eq!(rejections[0].reason, "the record has no queue");
    }
}
