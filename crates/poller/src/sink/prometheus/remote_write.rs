//! The requests and responses of remote write.

use snap::raw::Encoder;

use crate::sink::bisect::{Rejected, Reply};
use crate::sink::http_client::{HttpClient, Response};
use crate::sink::post::Protocol;
use crate::sink::{SinkError, quota};

/// Remote write 1.0.
pub struct RemoteWrite;

/// The words of Prometheus about a sample that it will never accept: an older one than the newest of its series or of
/// the server, older than `out_of_order_time_window`, and one with the time of another and a different value. Version 2.42
/// replies to the third with status 500, which is for errors to retry; later versions with 400.
const ABOUT_SAMPLES: [&str; 4] = [
    "out of order sample",
    "out of bounds",
    "too old sample",
    "duplicate sample for timestamp",
];

impl Protocol for RemoteWrite {
    fn content_type(&self) -> &'static str {
        "application/x-protobuf"
    }

    fn encoding(&self) -> Option<&'static str> {
        Some("snappy")
    }

    fn body(&self, parts: &[&[u8]]) -> Vec<u8> {
        // Fails only from 4 GiB on. An empty body is rejected.
        let compressed = Encoder::new().compress_vec(&parts.concat());
        compressed.unwrap_or_default()
    }

    fn is_stored(&self, response: &Response) -> bool {
        // All of them reply with 204, or with 200 without a body.
        response.body.trim().is_empty()
    }

    /// Sends a request without series, which servers accept and store nothing of.
    async fn describe(&self, client: &HttpClient) -> Result<String, SinkError> {
        let reachable = client.reach().await?;
        let body = self.body(&[]);
        let response = client
            .post(self.content_type(), self.encoding(), body)
            .await?;
        match response.status {
            200..=299 if self.is_stored(&response) => {
                Ok(format!("{reachable} and accepts remote write"))
            }
            200..=299 => Err(SinkError::retriable(response.unconfirmed())),
            _ => Err(SinkError::retriable(response.error())),
        }
    }

    fn is_quota(&self, response: &Response) -> bool {
        quota::is_tenant(&response.reason())
    }

    fn classify(&self, response: &Response, _: &[&[u8]]) -> Option<Reply> {
        let has = |words: &&str| response.body.contains(*words);
        let about_records = ABOUT_SAMPLES.iter().any(has);
        let is_rejection = match response.status {
            400 | 422 => true,
            500 => about_records,
            _ => false,
        };
        is_rejection.then(|| {
            Reply::Rejected(Rejected {
                reason: response.error(),
                about_records,
                ..Rejected::default()
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &str) -> Response {
        Response {
            status,
            body: body.into(),
            ..Response::default()
        }
    }

    /// The texts are those of Prometheus 2.42.
    #[test]
    fn responses_are_classified() {
        for (status, body, expected) in [
            (400, "out of order sample\n", Some(true)),
            (400, "out of bounds\n", Some(true)),
            (400, "duplicate sample for timestamp\n", Some(true)),
            (500, "too old sample\n", Some(true)),
            // About the request.
            (400, "snappy: corrupt input\n", Some(false)),
            (400, "unexpected EOF\n", Some(false)),
            // About the server.
            (500, "native histograms are disabled\n", None),
            (503, "out of order sample\n", None),
            (
                404,
                "remote write receiver needs to be enabled with --enable-feature=remote-write-receiver\n",
                None,
            ),
            (429, "", None),
            (401, "", None),
        ] {
            let reply = RemoteWrite.classify(&response(status, body), &[]);
            let about_records = reply.map(|reply| match reply {
                Reply::Rejected(rejected) => rejected.about_records,
                reply => panic!("{reply:?}"),
            });
            assert_eq!(about_records, expected, "{status} {body}");
        }
    }

    #[test]
    fn quota_of_a_tenant_rejects_no_sample() {
        let full = "failed pushing to ingester: user=1: per-user series limit of 15 exceeded";
        assert!(RemoteWrite.is_quota(&response(400, full)));
        assert!(!RemoteWrite.is_quota(&response(400, "out of order sample\n")));
    }

    #[test]
    fn only_an_empty_response_confirms_the_write() {
        assert!(RemoteWrite.is_stored(&response(204, "")));
        assert!(RemoteWrite.is_stored(&response(200, "\n")));
        assert!(!RemoteWrite.is_stored(&response(200, "<html>")));
        assert!(!RemoteWrite.is_stored(&response(200, "welcome")));
    }

    #[test]
    fn body_is_compressed() {
        let body = RemoteWrite.body(&[b"ab", b"cd"]);
        let body = snap::raw::Decoder::new().decompress_vec(&body);
        assert_eq!(body.unwrap(), b"abcd");
        // An empty message, not an empty body.
        assert_eq!(RemoteWrite.body(&[]), [0]);
    }
}
