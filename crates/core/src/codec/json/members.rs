//! The members of an object, read from a text that [`super::scan`] has accepted.
//!
//! Of any other text the reader finds some members or none; it never panics, and takes linear time.

use std::borrow::Cow;

/// The members of an object: their names, decoded, and the texts of their values.
pub struct Members<'a> {
    rest: &'a [u8],
}

/// Reads the members of an object; there are none where the text is no object.
pub fn members(text: &[u8]) -> Members<'_> {
    Members {
        rest: trimmed(text).strip_prefix(b"{").unwrap_or_default(),
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, [u8]>, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = trimmed(self.rest);
        let rest = rest.strip_prefix(b",").map_or(rest, trimmed);
        let (name, rest) = rest.split_at_checked(string_len(rest)?)?;
        let rest = trimmed(trimmed(rest).strip_prefix(b":")?);
        let (value, rest) = rest.split_at_checked(value_len(rest)?)?;
        self.rest = rest;
        Some((string(name)?, value))
    }
}

/// Returns the text that a string literal means; none where it is no string.
pub fn string(literal: &[u8]) -> Option<Cow<'_, [u8]>> {
    let text = literal.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if !text.contains(&b'\\') {
        return Some(Cow::Borrowed(text));
    }
    let (mut decoded, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        decoded.extend_from_slice(rest.get(..at)?);
        let escape = *rest.get(at + 1)?;
        rest = rest.get(at + 2..)?;
        decoded.push(match escape {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'b' => 0x08,
            b'f' => 0x0c,
            b'u' => {
                let c = unicode(&mut rest)?;
                decoded.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            other => other,
        });
    }
    decoded.extend_from_slice(rest);
    Some(Cow::Owned(decoded))
}

/// Reads the digits of `\u`, and of the second half of a pair.
fn unicode(rest: &mut &[u8]) -> Option<char> {
    let high = hex(rest)?;
    if !(0xd800..0xdc00).contains(&high) {
        return char::from_u32(high);
    }
    *rest = rest.strip_prefix(b"\\u")?;
    let low = hex(rest)?.checked_sub(0xdc00)?;
    char::from_u32(0x10000 + ((high - 0xd800) << 10) + low)
}

fn hex(rest: &mut &[u8]) -> Option<u32> {
    let (digits, after) = rest.split_at_checked(4)?;
    *rest = after;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn trimmed(text: &[u8]) -> &[u8] {
    text.trim_ascii_start()
}

/// Returns the length of the string literal at the start.
fn string_len(text: &[u8]) -> Option<usize> {
    if text.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1;
    loop {
        at += match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => 2,
            _ => 1,
        };
    }
}

/// Returns the length of the value at the start.
fn value_len(text: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0u32);
    loop {
        match text.get(at)? {
            b'"' => at += string_len(text.get(at..)?)?,
            b'{' | b'[' => (at, depth) = (at + 1, depth + 1),
            b'}' | b']' => (at, depth) = (at + 1, depth.checked_sub(1)?),
            _ => {
                let end = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b'"' | b'{' | b'[');
                let is_end = |byte: &u8| end(byte) || depth == 0 && byte.is_ascii_whitespace();
                let rest = text.get(at..)?;
                at += rest.iter().position(is_end).unwrap_or(rest.len()).max(1);
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::json::scan;
    use proptest::prelude::*;

    #[test]
    fn members_are_read_with_their_texts() {
        let text = br#" { "a" : 1 ,"\u00e9\ud83d\ude00\n" : [ "]" , {"b":"\"}"} ] ,"c":"x\\", "d":true , "e":{ } } "#;
        assert!(scan(text).is_ok());
        let read: Vec<(String, String)> = members(text)
            .map(|(name, value)| {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                (text(&name), text(value))
            })
            .collect();
        let expected = [
            ("a", "1"),
            ("\u{e9}\u{1f600}\n", r#"[ "]" , {"b":"\"}"} ]"#),
            ("c", r#""x\\""#),
            ("d", "true"),
            ("e", "{ }"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read, expected);
        assert_eq!(string(br#""x\\\/\"""#).unwrap(), &br#"x\/""#[..]);
        assert_eq!(members(b"[1]").count() + members(b"{}").count(), 0);
    }

    proptest! {
        #[test]
        fn members_are_those_that_serde_reads(
            object in prop::collection::btree_map(".{0,4}", ".{0,6}", 0..6),
            wrapped: bool,
        ) {
            let values = object.iter().map(|(name, text)| {
                let value = if wrapped { serde_json::json!([text, {"a": text}]) } else { serde_json::json!(text) };
                (name.clone(), value)
            });
            let value = serde_json::Value::Object(values.collect());
            let text = serde_json::to_string_pretty(&value).unwrap();
            let read: serde_json::Map<String, serde_json::Value> = members(text.as_bytes())
                .map(|(name, value)| (String::from_utf8(name.into_owned()).unwrap(), serde_json::from_slice(value).unwrap()))
                .collect();
            prop_assert_eq!(serde_json::Value::Object(read), value);
        }

        #[test]
        fn any_bytes_have_few_members(text in "[{}\\[\\]\":,a\\\\u ]{0,60}", bytes: Vec<u8>) {
            prop_assert!(members(text.as_bytes()).count() <= text.len());
            prop_assert!(members(&bytes).count() <= bytes.len());
            let _ = (string(text.as_bytes()), string(&bytes));
        }
    }
}
