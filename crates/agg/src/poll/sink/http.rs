//! Any server that takes JSON by POST: an array of records, or a line each.

use crate::poll::config::Body;

use super::halve::{Answer, Bad};
use super::lines;
use super::post::{Protocol, Reply};

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

    fn is_stored(&self, reply: &Reply) -> bool {
        // Any answer may be the server's own way to say so, but for this one: the settings say more of it.
        !reply.is_page()
    }

    fn judge(&self, reply: &Reply, _: &[&[u8]]) -> Option<Answer> {
        // The words are the server's own: they are not understood.
        let why = reply.why();
        matches!(reply.status, 400 | 422).then(|| {
            Answer::Bad(Bad {
                why,
                ..Bad::default()
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies() {
        let records: [&[u8]; 2] = [b"{\"a\":1}", b"{}"];
        assert_eq!(Body::Array.body(&records), b"[{\"a\":1},{}]");
        assert_eq!(Body::Array.body(&records[..1]), b"[{\"a\":1}]");
        assert_eq!(Body::Lines.body(&records), b"{\"a\":1}\n{}\n");
    }
}
