//! JSON by HTTP: an array of records, or one record per line.

use crate::config::Body;

use super::bisect::{Rejected, Reply};
use super::http_client::Response;
use super::lines;
use super::post::Protocol;

impl Protocol for Body {
    fn content_type(&self) -> &'static str {
        match self {
            Body::Array => "application/json",
            Body::Lines => "application/x-ndjson",
        }
    }

    fn body(&self, records: &[&[u8]]) -> Vec<u8> {
        match self {
            Body::Lines => lines(records),
            Body::Array => [b"[", &*records.join(&b","[..]), b"]"].concat(),
        }
    }

    fn is_stored(&self, response: &Response) -> bool {
        // Any response may be the way of this server to confirm, except for a page. The settings can expect more.
        !response.is_page()
    }

    fn classify(&self, response: &Response, _: &[&[u8]]) -> Option<Reply> {
        // The words of such a server are unknown, so it is unclear whether they are about the records.
        matches!(response.status, 400 | 422).then(|| {
            Reply::Rejected(Rejected {
                reason: response.error(),
                ..Rejected::default()
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_is_an_array_or_lines() {
        let records: [&[u8]; 2] = [b"{\"a\":1}", b"{}"];
        assert_eq!(Body::Array.body(&records), b"[{\"a\":1},{}]");
        assert_eq!(Body::Array.body(&records[..1]), b"[{\"a\":1}]");
        assert_eq!(Body::Lines.body(&records), b"{\"a\":1}\n{}\n");
    }
}
