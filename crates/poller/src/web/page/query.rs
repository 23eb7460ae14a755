//! The query of the page's address.

use percent_encoding::percent_decode_str;

use crate::config::percent_encode;

/// The query of the address: what the reader wants to see.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Only servers and nodes whose name contains this, ignoring case.
    pub filter: String,
    /// All nodes instead of the first ones.
    pub all_nodes: bool,
    /// All servers instead of the first ones.
    pub all_servers: bool,
}

impl Query {
    /// Parses what follows the question mark. Unknown parameters are ignored.
    pub fn parse(query: &str) -> Query {
        let mut parsed = Query::default();
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("filter", value)) => parsed.filter = decode(value),
                Some(("nodes", "all")) => parsed.all_nodes = true,
                Some(("servers", "all")) => parsed.all_servers = true,
                _ => {}
            }
        }
        parsed
    }

    /// Returns the address of the page with one more parameter. It has to be escaped.
    pub fn address(&self, more: &str) -> String {
        let mut address = format!("/?{more}");
        for (is, pair) in [
            (self.all_nodes, "&nodes=all"),
            (self.all_servers, "&servers=all"),
        ] {
            if is {
                address.push_str(pair);
            }
        }
        if !self.filter.is_empty() {
            address.push_str("&filter=");
            address.push_str(&percent_encode(&self.filter));
        }
        address
    }

    /// Returns whether one of the texts contains the filter.
    pub fn matches(&self, texts: &[&str]) -> bool {
        let filter = self.filter.trim().to_lowercase();
        filter.is_empty()
            || texts
                .iter()
                .any(|text| text.to_lowercase().contains(&filter))
    }
}

/// Decodes a form value.
fn decode(value: &str) -> String {
    let value = value.replace('+', " ");
    let decoded = percent_decode_str(&value).decode_utf8_lossy();
    decoded.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_is_parsed() {
        let query = Query::parse("x&nodes=all&filter=a%20b%2&servers=none");
        assert_eq!(query.filter, "a b%2");
        assert!(query.all_nodes && !query.all_servers);
        let address = query.address("servers=all");
        assert_eq!(address, "/?servers=all&nodes=all&filter=a%20b%252");
        assert!(Query::parse(&address[2..]).all_servers);
        assert_eq!(decode("%zz%+%4"), "%zz% %4");
        assert_eq!(decode("%2b%C3%A4%ff"), "+ä\u{fffd}");
        let query = Query {
            filter: "a-_.~&=+ä".into(),
            ..Query::default()
        };
        assert_eq!(query.address("x"), "/?x&filter=a-_.~%26%3D%2B%C3%A4");
    }
}
