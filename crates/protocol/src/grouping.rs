//! Keys of errors: messages of the same error get the same key, although numbers, names and paths in them differ.
//!
//! [`normalize`] replaces the parts of a message that vary by `<*>`:
//!
//! | part | examples |
//! | --- | --- |
//! | numbers, with sign, fraction, exponent and unit | `-5`, `1.5e-07`, `17.7 GB`, `20ms`, `0x7f3a` |
//! | times and dates | `2026-12-01T15:04:01Z`, `Thu Jul 28 07:19:41 2026` |
//! | hex of six digits and more, UUIDs, and other text with three numbers | `3fa9c1d`, `R63-M0-L2`, `rdd_2_1_0` |
//! | the number in a word | `sda1` is `sda<*>`, `worker-22` is `worker-<*>` |
//! | addresses with ports, MAC addresses, names of hosts | `10.1.2.3:80`, `[fe80::1]:22`, `db.example.com` |
//! | URLs, e-mail addresses | `https://example.com/a?b=c`, `bob@example.com` |
//! | paths of files | `/var/log/syslog`, `C:\Windows\a.dll`; of other paths the ids: `/orders/17` is `/orders/<*>` |
//! | quoted text | `'a'`, `"b c"`; not members and values of JSON and logfmt, which are normalized as the rest is |
//! | names of users | after `user`, and between `for` and `from` |
//! | values of attributes that name an instance | `rhost=a`, `user=b`, `request_id=c` |
//!
//! Lists of them, and runs of spaces, count as one. Words are kept otherwise.
//!
//! # Invariants
//!
//! - The same message has the same key in the Python client (`agg/grouping.py`), which implements the same rules;
//!   `tests/data/grouping.tsv` is tested against both.
//! - Linear time. Only the first [`MAX_CHARS`] characters of a message count.
//! - Characters beyond ASCII are letters: no table of Unicode is needed, and none can differ.

mod output;
mod scan;
mod shape;
mod words;

#[cfg(test)]
mod accuracy;
#[cfg(test)]
mod tests;

/// The number of characters of a message that count.
pub const MAX_CHARS: usize = 4096;
/// Maximum bytes of a key.
pub const MAX_KEY: usize = 256;
/// The key of a message without visible characters: the server rejects an empty key.
pub const EMPTY: &str = "<empty>";
/// Bytes of a hash with its separator.
const HASH: usize = 17;

/// Returns the key of a message: its [normal form](normalize), 1 to [`MAX_KEY`] bytes. A longer one is cut, and ends
/// with a hash of the whole.
///
/// ```
/// use aggregator_protocol::grouping::key;
/// assert_eq!(key("order 17 of 10.1.2.3:80 took 5 ms"), "order <*> of <*> took <*>");
/// assert_eq!(key("order 18 of 10.1.2.4:80 took 1.5 s"), "order <*> of <*> took <*>");
/// ```
pub fn key(message: &str) -> String {
    limit(normal_form(message), None)
}

/// Returns a key like [`key`], which also differs if one of further texts does, such as a code or the name of a
/// function. Empty texts at the end do not count.
pub fn key_with(message: &str, context: &[&[u8]]) -> String {
    let used = context.iter().rposition(|text| !text.is_empty());
    let context = used.and_then(|last| context.get(..=last));
    limit(normal_form(message), context.map(hash_of_texts))
}

/// Returns a message with `<*>` in place of the parts that vary between occurrences of the same error.
pub fn normalize(message: &str) -> String {
    let end = message.char_indices().nth(MAX_CHARS).map(|(end, _)| end);
    let text = end.and_then(|end| message.get(..end)).unwrap_or(message);
    scan::Scanner::new(text).normalize()
}

fn normal_form(message: &str) -> String {
    let normal = normalize(message);
    if normal.is_empty() {
        return EMPTY.to_owned();
    }
    normal
}

/// Cuts a key, and appends hashes: of the whole if it is cut, and of its context if there is one.
fn limit(mut key: String, context: Option<u64>) -> String {
    let max = MAX_KEY - context.map_or(0, |_| HASH);
    if key.len() > max {
        let whole = fnv1a(OFFSET, key.as_bytes());
        let mut end = max - HASH;
        while !key.is_char_boundary(end) {
            end -= 1;
        }
        key.truncate(end);
        key += &format!("~{whole:016x}");
    }
    if let Some(context) = context {
        key += &format!("#{context:016x}");
    }
    key
}

/// Hashes texts, each with its length, so that they cannot run into each other.
fn hash_of_texts(texts: &[&[u8]]) -> u64 {
    texts.iter().fold(OFFSET, |hash, text| {
        let hash = fnv1a(hash, &(text.len() as u64).to_le_bytes());
        fnv1a(hash, text)
    })
}

/// The hash of no bytes.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a with 64 bits (RFC 9923). Python has no other fast hash in common with this crate.
fn fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(hash, add)
}
