//! JSON, as strict as RFC 8259 and slightly stricter: the texts of AGG.REALITY, and records.
//!
//! Two texts have the same identity if they differ only in white space or in the order of members: numbers compare as
//! they are written, strings by their meaning. A name given twice in one object, a byte order mark, invalid UTF-8, half
//! a surrogate pair and nesting deeper than [`MAX_DEPTH`] are errors.

use aggregator_protocol::number::is_json_number;
use aggregator_protocol::tags;
use std::fmt;
use xxhash_rust::xxh3::{xxh3_128, xxh3_128_with_seed};

/// The limit of the nesting of arrays and objects.
pub const MAX_DEPTH: usize = 128;

/// What is wrong with a text, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// The offset of the byte at which the error was found.
    pub at: usize,
    /// What was expected or found.
    pub what: &'static str,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

impl std::error::Error for JsonError {}

/// The outcome of checking a valid text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// The text without white space outside strings.
    pub compact: Vec<u8>,
    /// Equal for texts of the same value (XXH3 with 128 bits over a canonical form).
    pub identity: u128,
}

/// Checks a text: one value.
///
/// # Errors
/// The first error in the text.
pub fn scan(text: &[u8]) -> Result<Scanned, JsonError> {
    if text.starts_with("\u{feff}".as_bytes()) {
        return Err(JsonError {
            at: 0,
            what: "unexpected byte order mark",
        });
    }
    if let Err(e) = std::str::from_utf8(text) {
        return Err(JsonError {
            at: e.valid_up_to(),
            what: "invalid UTF-8",
        });
    }
    let mut scanner = Scanner {
        text,
        at: 0,
        compact: Vec::with_capacity(text.len()),
        scratch: Vec::new(),
    };
    scanner.skip_space();
    let identity = scanner.value(0)?;
    scanner.skip_space();
    if scanner.at < text.len() {
        return Err(scanner.error("trailing characters"));
    }
    Ok(Scanned {
        compact: scanner.compact,
        identity,
    })
}

/// Whether a text is this valid one, which has no white space, except for white space. Then it is valid and means the
/// same.
pub fn is_spaced(text: &[u8], compact: &[u8]) -> bool {
    if text.len() <= compact.len() {
        return text == compact;
    }
    // White space must not stand between these: it would have cut a number or a word in two.
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let (mut text, mut compact) = (text, compact);
    let (mut spaced, mut before) = (false, b'"');
    while let Some((&byte, more)) = text.split_first() {
        text = more;
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            spaced = true;
            continue;
        }
        let Some((&expected, more)) = compact.split_first() else {
            return false;
        };
        if byte != expected || spaced && is_word(before) && is_word(byte) {
            return false;
        }
        (compact, spaced, before) = (more, false, byte);
        if byte == b'"' {
            // In one step, as most of a text is in its strings: 487 bytes took 1.4 us byte by byte, and take 0.55 us
            // so.
            let (string, more) = compact.split_at(string_len(compact));
            let Some(after) = text.strip_prefix(string) else {
                return false;
            };
            (text, compact) = (after, more);
        }
    }
    compact.is_empty()
}

/// Returns the bytes of the string that has begun, its closing quote included.
fn string_len(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += match byte {
            b'"' => return at + 1,
            b'\\' => 2,
            _ => 1,
        };
    }
    text.len()
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    compact: Vec<u8>,
    scratch: Vec<u8>,
}

/// Seeds of the hashes, so that values of different types differ.
mod kind {
    pub const LITERAL: u64 = 1;
    pub const NUMBER: u64 = 2;
    pub const STRING: u64 = 3;
    pub const ARRAY: u64 = 4;
    pub const OBJECT: u64 = 5;
}

impl Scanner<'_> {
    fn error(&self, what: &'static str) -> JsonError {
        JsonError { at: self.at, what }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Copies a byte of punctuation.
    fn take(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        if is {
            self.at += 1;
            self.compact.push(byte);
        }
        is
    }

    /// Reads a value and returns its identity. No white space precedes it.
    fn value(&mut self, depth: usize) -> Result<u128, JsonError> {
        match self.peek() {
            Some(b'{' | b'[') if depth == MAX_DEPTH => Err(self.error("nesting deeper than 128")),
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => self.literal(),
            None => Err(self.error("unexpected end, expected a value")),
        }
    }

    fn literal(&mut self) -> Result<u128, JsonError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        for word in [&b"true"[..], b"false", b"null"] {
            if rest.starts_with(word) {
                self.at += word.len();
                self.compact.extend_from_slice(word);
                return Ok(xxh3_128_with_seed(word, kind::LITERAL));
            }
        }
        Err(self.error("expected a value"))
    }

    fn number(&mut self) -> Result<u128, JsonError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let len = rest
            .iter()
            .take_while(|b| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
            .count();
        let number = rest.get(..len).unwrap_or_default();
        if !is_json_number(number) {
            return Err(self.error("invalid number"));
        }
        self.at += len;
        self.compact.extend_from_slice(number);
        Ok(xxh3_128_with_seed(number, kind::NUMBER))
    }

    fn string(&mut self) -> Result<u128, JsonError> {
        let start = self.at;
        self.at += 1;
        let mut has_escapes = false;
        self.scratch.clear();
        let mut clean = self.at;
        loop {
            match self.peek() {
                None => return Err(self.error("unterminated string")),
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    let run = self.text.get(clean..self.at).unwrap_or_default();
                    self.scratch.extend_from_slice(run);
                    let c = self.escape()?;
                    self.scratch
                        .extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    clean = self.at;
                }
                Some(0..=0x1f) => return Err(self.error("control character in a string")),
                Some(_) => self.at += 1,
            }
        }
        let run = self.text.get(clean..self.at).unwrap_or_default();
        self.at += 1;
        self.compact
            .extend_from_slice(self.text.get(start..self.at).unwrap_or_default());
        if !has_escapes {
            return Ok(xxh3_128_with_seed(run, kind::STRING));
        }
        self.scratch.extend_from_slice(run);
        Ok(xxh3_128_with_seed(&self.scratch, kind::STRING))
    }

    /// Reads an escape and returns its character.
    fn escape(&mut self) -> Result<char, JsonError> {
        let letter = self.text.get(self.at + 1).copied();
        let c = match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.error("invalid escape")),
        };
        self.at += 2;
        Ok(c)
    }

    fn unicode_escape(&mut self) -> Result<char, JsonError> {
        let unit = self.code_unit(self.at)?;
        let (code, len) = match unit {
            0xd800..=0xdbff => {
                let low = self
                    .code_unit(self.at + 6)
                    .ok()
                    .filter(|low| (0xdc00..=0xdfff).contains(low));
                let low = low.ok_or(self.error("lone surrogate"))?;
                (0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00), 12)
            }
            _ => (unit, 6),
        };
        let c = char::from_u32(code).ok_or(self.error("lone surrogate"))?;
        self.at += len;
        Ok(c)
    }

    /// Returns the four hex digits of `\uXXXX` at an offset.
    fn code_unit(&self, at: usize) -> Result<u32, JsonError> {
        let digits = self
            .text
            .get(at..at + 6)
            .and_then(|e| e.strip_prefix(b"\\u"));
        let digits = digits.ok_or(self.error("invalid \\u escape"))?;
        digits.iter().try_fold(0, |code, b| {
            let digit = char::from(*b)
                .to_digit(16)
                .ok_or(self.error("invalid \\u escape"))?;
            Ok(code * 16 + digit)
        })
    }

    fn array(&mut self, depth: usize) -> Result<u128, JsonError> {
        self.take(b'[');
        self.skip_space();
        let mut items = Vec::new();
        if !self.take(b']') {
            loop {
                items.extend_from_slice(&self.value(depth)?.to_le_bytes());
                self.skip_space();
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.error("expected ',' or ']'"));
                }
                self.skip_space();
            }
        }
        Ok(xxh3_128_with_seed(&items, kind::ARRAY))
    }

    fn object(&mut self, depth: usize) -> Result<u128, JsonError> {
        self.take(b'{');
        self.skip_space();
        let mut members: Vec<(u128, u128)> = Vec::new();
        if !self.take(b'}') {
            loop {
                if self.peek() != Some(b'"') {
                    return Err(self.error("expected a name"));
                }
                let name = self.string()?;
                self.skip_space();
                if !self.take(b':') {
                    return Err(self.error("expected ':'"));
                }
                self.skip_space();
                members.push((name, self.value(depth)?));
                self.skip_space();
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.error("expected ',' or '}'"));
                }
                self.skip_space();
            }
        }
        members.sort_unstable();
        if members.windows(2).any(|w| w[0].0 == w[1].0) {
            return Err(self.error("duplicate name in the object that ends"));
        }
        let bytes: Vec<u8> = members
            .iter()
            .flat_map(|(n, v)| [n.to_le_bytes(), v.to_le_bytes()])
            .flatten()
            .collect();
        Ok(xxh3_128_with_seed(&bytes, kind::OBJECT))
    }
}

/// Appends a string literal. Invalid UTF-8 becomes U+FFFD, so the output is always valid.
pub fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    // Without a branch for each byte, so that many are checked together.
    let is_plain = text.iter().fold(true, |plain, byte| {
        plain & (b' '..0x7f).contains(byte) & (*byte != b'"') & (*byte != b'\\')
    });
    if is_plain {
        out.extend_from_slice(text);
        return out.push(b'"');
    }
    for chunk in text.utf8_chunks() {
        write_escaped(out, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

fn write_escaped(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut clean = 0;
    for (i, &byte) in text.iter().enumerate() {
        let escape = match byte {
            b'"' | b'\\' => byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            0..=0x1f => b'u',
            _ => continue,
        };
        out.extend_from_slice(&text[clean..i]);
        out.extend([b'\\', escape]);
        if escape == b'u' {
            out.extend([
                b'0',
                b'0',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]);
        }
        clean = i + 1;
    }
    out.extend_from_slice(&text[clean..]);
}

/// Appends a tag list in canonical form as an object; a tag without a value is `true`.
pub fn write_tags(out: &mut Vec<u8>, canonical: &[u8]) {
    let hidden = match std::str::from_utf8(canonical) {
        Ok(_) => Vec::new(),
        Err(_) => hidden_tags(canonical),
    };
    out.push(b'{');
    let mut is_first = true;
    for (i, (name, value)) in tags::iter(canonical).enumerate() {
        if hidden.get(i) == Some(&true) {
            continue;
        }
        if !is_first {
            out.push(b',');
        }
        is_first = false;
        write_string(out, name);
        out.push(b':');
        match value {
            Some(value) => write_string(out, value),
            None => out.extend_from_slice(b"true"),
        }
    }
    out.push(b'}');
}

/// Returns for each tag whether a later one has the same name once both are valid UTF-8. The last one counts then, as
/// of a name given twice.
fn hidden_tags(canonical: &[u8]) -> Vec<bool> {
    // By hashes of 128 bits: 22,000 names as texts of their own took three times as long.
    let mut text = Vec::new();
    let mut hash = |name: &[u8]| {
        text.clear();
        for chunk in name.utf8_chunks() {
            text.extend_from_slice(chunk.valid().as_bytes());
            if !chunk.invalid().is_empty() {
                text.extend_from_slice("\u{fffd}".as_bytes());
            }
        }
        xxh3_128(&text)
    };
    let names = tags::iter(canonical).map(|(name, _)| hash(name));
    let mut names: Vec<(u128, usize)> = names.zip(0..).collect();
    names.sort_unstable();
    let mut hidden = vec![false; names.len()];
    for pair in names.windows(2) {
        hidden[pair[0].1] = pair[0].0 == pair[1].0;
    }
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity(text: &str) -> u128 {
        scan(text.as_bytes()).unwrap().identity
    }

    #[test]
    fn text_that_differs_in_white_space_is_equal() {
        let compact = r#"{"a b\"":[1,-2.5e+3,true,"c  d"],"e":{}}"#;
        for text in [
            compact,
            " { \"a b\\\"\" : [ 1 ,\t-2.5e+3 , true , \"c  d\" ] ,\n\"e\" : { } } ",
        ] {
            assert!(is_spaced(text.as_bytes(), compact.as_bytes()), "{text}");
        }
        for text in [
            r#"{"a b\"":[1,-2. 5e+3,true,"c  d"],"e":{}}"#,
            r#"{"a b\"":[1,- 2.5e+3,true,"c  d"],"e":{}}"#,
            r#"{"a b\"":[1,-2.5e+3,tr ue,"c  d"],"e":{}}"#,
            r#"{"a  b\"":[1,-2.5e+3,true,"c  d"],"e":{}}"#,
            r#"{"a b\"":[1,-2.5e+3,true,"c  d"],"e":{}} x"#,
            r#"{"a b\"":[1,-2.5e+3,true,"c  d"],"e":{} "#,
            r#"{"a b\"":[1 ,-2.5e+3,false,"c  d"],"e":{}}"#,
        ] {
            assert!(!is_spaced(text.as_bytes(), compact.as_bytes()), "{text}");
        }
        assert!(!is_spaced(b"1 2", b"12") && is_spaced(b" 12 ", b"12"));
    }

    proptest! {
        #[test]
        fn texts_equal_but_for_white_space_have_one_identity(text in r#"[\[\]{},:"\\ 1truenl-]{0,24}"#) {
            if let Ok(scanned) = scan(text.as_bytes()) {
                prop_assert!(is_spaced(text.as_bytes(), &scanned.compact));
            } else {
                let compact: Vec<u8> = text.bytes().filter(|b| *b != b' ').collect();
                if let Ok(scanned) = scan(&compact) {
                    prop_assert!(!is_spaced(text.as_bytes(), &scanned.compact));
                }
            }
        }
    }

    #[test]
    fn identity_ignores_white_space_and_order_only() {
        let a = identity(r#"{"a":1,"b":[1,2,{"x":null}],"c":"é"}"#);
        assert_eq!(
            a,
            identity(" { \"c\" : \"\\u00e9\" , \"b\":[1,\n2,{\"x\":null} ],\t\"a\":1 } ")
        );
        for other in [
            r#"{"a":1.0,"b":[1,2,{"x":null}],"c":"é"}"#,
            r#"{"a":1,"b":[2,1,{"x":null}],"c":"é"}"#,
            r#"{"a":1,"b":[1,2,{"x":false}],"c":"é"}"#,
            r#"{"a":"1","b":[1,2,{"x":null}],"c":"é"}"#,
            r#"{"a":1,"b":[1,2,{"x":null}],"c":"é","d":1}"#,
        ] {
            assert_ne!(a, identity(other), "{other}");
        }
        assert_ne!(identity("[]"), identity("{}"));
        assert_ne!(identity("[[1],2]"), identity("[[1,2]]"));
        assert_eq!(
            scan(b" { \"a b\" : [ 1 , 2 ] } ").unwrap().compact,
            b"{\"a b\":[1,2]}"
        );
    }

    #[test]
    fn error_names_the_problem_and_its_place() {
        for (text, at, what) in [
            ("", 0, "unexpected end, expected a value"),
            ("{\"a\":1,}", 7, "expected a name"),
            ("[1,]", 3, "expected a value"),
            ("[1 2]", 3, "expected ',' or ']'"),
            ("{\"a\" 1}", 5, "expected ':'"),
            ("01", 0, "invalid number"),
            ("1 2", 2, "trailing characters"),
            ("\"a", 2, "unterminated string"),
            ("\"\n\"", 1, "control character in a string"),
            ("\"\\x\"", 1, "invalid escape"),
            ("\"\\ud800\"", 1, "lone surrogate"),
            ("\"\\ud800\\u0041\"", 1, "lone surrogate"),
            ("\"\\udc00\"", 1, "lone surrogate"),
            ("\"\\u12\"", 1, "invalid \\u escape"),
            ("nul", 0, "expected a value"),
            ("\u{feff}1", 0, "unexpected byte order mark"),
            (
                "{\"a\":1,\"\\u0061\":2}",
                18,
                "duplicate name in the object that ends",
            ),
        ] {
            assert_eq!(
                scan(text.as_bytes()),
                Err(JsonError { at, what }),
                "{text:?}"
            );
        }
        assert_eq!(scan(b"\"\xff\"").unwrap_err().what, "invalid UTF-8");
    }

    #[test]
    fn nesting_is_limited() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(scan(nested(128).as_bytes()).is_ok());
        assert_eq!(
            scan(nested(129).as_bytes()).unwrap_err().what,
            "nesting deeper than 128"
        );
        assert!(scan("[".repeat(1_000_000).as_bytes()).is_err());
    }

    #[test]
    fn tags_become_an_object() {
        let mut out = Vec::new();
        write_tags(&mut out, b"a:1 b c:x:y d:");
        assert_eq!(out, br#"{"a":"1","b":true,"c":"x:y","d":""}"#);
        out.clear();
        write_tags(&mut out, b"a\xfe:1 a\xff:2");
        assert_eq!(String::from_utf8(out).unwrap(), "{\"a\u{fffd}\":\"2\"}");
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".{0,6}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::btree_map("[a-d\"\\\\é]{0,3}", inner, 0..5)
                    .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
            ]
        })
    }

    /// The text with white space, and with its members reversed.
    fn restyled(v: &serde_json::Value) -> String {
        match v {
            serde_json::Value::Array(a) => format!(
                "[ {} ]",
                a.iter().map(restyled).collect::<Vec<_>>().join("\n,")
            ),
            serde_json::Value::Object(o) => {
                let members = o
                    .iter()
                    .rev()
                    .map(|(k, v)| format!("{} :\t{}", serde_json::json!(k), restyled(v)));
                format!("{{ {} }}", members.collect::<Vec<_>>().join(" , "))
            }
            other => other.to_string(),
        }
    }

    proptest! {
        #[test]
        fn restyling_keeps_the_identity(a in json(), b in json()) {
            prop_assert_eq!(identity(&a.to_string()), identity(&restyled(&a)));
            prop_assert_eq!(identity(&a.to_string()) == identity(&b.to_string()), a == b);
            let compact = scan(restyled(&a).as_bytes()).unwrap().compact;
            prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&compact).unwrap(), a);
        }

        #[test]
        fn mutated_text_is_valid_where_serde_says_so(v in json(), at: prop::sample::Index, byte in "[{}\\[\\]\",:0-9a-z \\\\]") {
            let mut text = v.to_string().into_bytes();
            let i = at.index(text.len());
            text[i] = byte.as_bytes()[0];
            let theirs = serde_json::from_slice::<serde_json::Value>(&text);
            match scan(&text) {
                // A number that no double can represent is a number, too; it is kept as written.
                Ok(_) => prop_assert!(theirs.map_or_else(|e| e.to_string().starts_with("number out of range"), |_| true)),
                Err(e) => prop_assert!(theirs.is_err() || e.what.starts_with("a name that is given twice"), "{:?}", e),
            }
        }

        #[test]
        fn of_tags_with_the_same_text_the_last_is_written(
            words in prop::collection::vec((prop::collection::vec(prop::sample::select(vec![b'a', 0xc3, 0xfe, 0xff]), 1..4), 0u8..10), 0..12),
        ) {
            let list: Vec<Vec<u8>> = words.iter().map(|(name, value)| [&name[..], b":", &[b'0' + value]].concat()).collect();
            let list = list.join(&b' ');
            let canonical = tags::canonical(&list).unwrap();
            let mut out = Vec::new();
            write_tags(&mut out, &canonical);
            let mut last: Vec<(String, String)> = Vec::new();
            for (name, value) in tags::iter(&canonical) {
                let name = String::from_utf8_lossy(name).into_owned();
                last.retain(|(before, _)| *before != name);
                last.push((name, String::from_utf8_lossy(value.unwrap()).into_owned()));
            }
            let members: Vec<String> = last.iter().map(|(n, v)| format!("\"{n}\":\"{v}\"")).collect();
            prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{{{}}}", members.join(",")));
        }

        #[test]
        fn any_bytes_become_a_string_that_json_reads(text: Vec<u8>) {
            let mut out = Vec::new();
            write_string(&mut out, &text);
            let read: String = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(read, String::from_utf8_lossy(&text));
        }
    }
}
