//! The query of the page's address.

use std::fmt::Write;

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
            for byte in self.filter.bytes() {
                let _ = match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                        write!(address, "{}", char::from(byte))
                    }
                    other => write!(address, "%{other:02X}"),
                };
            }
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
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let hex = |at: usize| char::from(*after.get(at)?).to_digit(16);
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            (b'+', _, _) => bytes.push(b' '),
            (other, _, _) => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
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
    }
}
