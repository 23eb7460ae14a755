//! Foreign text, shortened: for error messages, and where a free text is too long to be kept.

use std::fmt::Write;

/// The number of characters that an error message quotes.
const MOST: usize = 64;

/// Quotes a text for an error message: in single quotes, with control characters and invalid UTF-8 escaped, at most 64
/// characters of the text. The length of a longer text follows, as in `'aaaa…' (70000 bytes)`.
pub fn quoted(text: &[u8]) -> String {
    match shortened(text) {
        (quotation, true) => quotation,
        (quotation, false) => format!("{quotation} ({} bytes)", text.len()),
    }
}

/// Quotes a text without the length of a longer one.
pub fn quoted_short(text: &[u8]) -> String {
    shortened(text).0
}

/// Returns the quotation, and whether it is of the whole text.
fn shortened(text: &[u8]) -> (String, bool) {
    let mut out = String::from("'");
    let mut left = MOST;
    // A character has at most four bytes; what is beyond cannot be shown.
    let shown = text.get(..MOST * 4).unwrap_or(text);
    let mut is_whole = shown.len() == text.len();
    'all: for chunk in shown.utf8_chunks() {
        let escapes = chunk.invalid().iter().map(|b| Err(*b));
        for item in chunk.valid().chars().map(Ok).chain(escapes) {
            if left == 0 {
                is_whole = false;
                break 'all;
            }
            left -= 1;
            match item {
                Ok('\'') => out.push_str("\\'"),
                Ok('\\') => out.push_str("\\\\"),
                Ok('\n') => out.push_str("\\n"),
                Ok('\r') => out.push_str("\\r"),
                Ok('\t') => out.push_str("\\t"),
                Ok(c) if c.is_control() => {
                    let _ = write!(out, "\\x{:02x}", u32::from(c));
                }
                Ok(c) => out.push(c),
                Err(byte) => {
                    let _ = write!(out, "\\x{byte:02x}");
                }
            }
        }
    }
    out.push_str(if is_whole { "'" } else { "…'" });
    (out, is_whole)
}

/// Cuts a text longer than `most` bytes at a character, and marks it with what is missing, as in `…[+n bytes]`. `None`:
/// it is not longer.
pub fn cut(text: &[u8], most: usize) -> Option<Vec<u8>> {
    if text.len() <= most {
        return None;
    }
    // A character has at most three continuation bytes; in invalid UTF-8 any place is as good.
    let is_start = |i: usize| text.get(i).is_none_or(|b| b & 0xc0 != 0x80);
    let end = (most.saturating_sub(3)..=most)
        .rev()
        .find(|i| is_start(*i))
        .unwrap_or(most);
    let mut kept = text.get(..end).unwrap_or_default().to_vec();
    kept.extend_from_slice(format!("…[+{} bytes]", text.len() - end).as_bytes());
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotations_are_short_and_harmless() {
        assert_eq!(quoted(b"0x10"), "'0x10'");
        assert_eq!(
            quoted(b"a\nb\x00\x7f\xff'\\"),
            "'a\\nb\\x00\\x7f\\xff\\'\\\\'"
        );
        assert_eq!(quoted("ü".as_bytes()), "'ü'");
        assert_eq!(quoted(&[b'a'; 64]), format!("'{}'", "a".repeat(64)));
        assert_eq!(
            quoted(&[b'a'; 70_000]),
            format!("'{}…' (70000 bytes)", "a".repeat(64))
        );
    }

    #[test]
    fn text_is_cut_at_a_character() {
        assert_eq!(cut(b"abc", 3), None);
        assert_eq!(cut(b"abcdef", 3), Some("abc…[+3 bytes]".into()));
        assert_eq!(cut("aüb".as_bytes(), 2), Some("a…[+3 bytes]".into()));
        assert_eq!(
            cut(&[0x80; 10], 5).map(|c| c.len()),
            Some(5 + "…[+5 bytes]".len())
        );
    }

    proptest! {
        #[test]
        fn quotations_are_one_line(text: Vec<u8>) {
            let quoted = quoted(&text);
            prop_assert!(!quoted.chars().any(char::is_control));
            prop_assert!(quoted.len() < 64 * 6 + 40);
        }

        #[test]
        fn cut_text_stays_valid(text in ".{0,40}", most in 0usize..60) {
            if let Some(cut) = cut(text.as_bytes(), most) {
                let cut = String::from_utf8(cut).unwrap();
                let kept = cut.rsplit_once('…').unwrap().0;
                prop_assert!(text.starts_with(kept) && kept.len() <= most && kept.len() + 3 >= most);
            }
        }
    }
}
