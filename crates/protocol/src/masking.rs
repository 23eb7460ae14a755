//! Makes text from outside safe to print: on terminals, in logs, in HTML and as JSON.
//!
//! # Invariants
//! No text of a server, sink, node or record moves the cursor, changes colours, starts a line of its own or changes the
//! direction of writing. All output passes this module, except line protocol for other programs, which has no such
//! escapes.

use std::borrow::Cow;
use std::fmt::Write;

/// Returns whether a character is invisible but changes how others are shown: control characters (C0, DEL, C1), line
/// separators, marks and overrides of the direction of writing, characters without width.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || changes_direction(c)
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{206f}' | '\u{61c}' | '\u{feff}')
}

/// Returns whether a character changes the direction of writing.
fn changes_direction(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns a text for a terminal or a log, on one line: hidden characters are escaped, as in `\n`, `\t` and `\u001b`.
pub fn text(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c if is_hidden(c) => push_unicode(&mut safe, c),
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Returns a text for a cell of a table, with the same length: each hidden character becomes a dot.
pub fn cell(text: &str) -> String {
    let dot = |c| match c {
        '\t' => ' ',
        c if is_hidden(c) => '·',
        c => c,
    };
    text.chars().map(dot).collect()
}

/// Returns equal JSON on one line, with control characters and changes of direction escaped. JSON has these characters
/// only within strings; a line break elsewhere becomes a space. Text that is not JSON is made safe as well.
pub fn json(json: &[u8]) -> Cow<'_, [u8]> {
    let is_plain = |byte: &u8| (b' '..0x7f).contains(byte);
    if json.iter().all(is_plain) {
        return Cow::Borrowed(json);
    }
    let text = String::from_utf8_lossy(json);
    let must = |c: char| c.is_control() || changes_direction(c);
    if !text.contains(must) {
        return match text {
            Cow::Borrowed(_) => Cow::Borrowed(json),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => safe.push(' '),
            c if must(c) => push_unicode(&mut safe, c),
            c => safe.push(c),
        }
    }
    Cow::Owned(safe.into_bytes())
}

/// As [`json`], for each line of a text.
pub fn json_lines(lines: &str) -> String {
    let safe = lines.split('\n').map(|line| match json(line.as_bytes()) {
        // Valid UTF-8, as the line is.
        Cow::Owned(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Cow::Borrowed(_) => line.to_owned(),
    });
    safe.collect::<Vec<_>>().join("\n")
}

fn push_unicode(safe: &mut String, c: char) {
    // All hidden characters are in the basic plane. Writing to a string does not fail.
    let _ = write!(safe, "\\u{:04x}", u32::from(c));
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// One character of each kind.
    const HOSTILE: &str = "a\n\x1b[2J\r\t\u{7f}\u{9b}31m\u{202e}\u{2066}\u{200b}\u{2028}z é 日本";

    #[test]
    fn text_is_one_line_without_hidden_characters() {
        assert_eq!(
            text(HOSTILE),
            "a\\n\\u001b[2J\\r\\t\\u007f\\u009b31m\\u202e\\u2066\\u200b\\u2028z é 日本"
        );
        assert!(matches!(text("größe \"日本\" \\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn cell_keeps_the_length_of_the_text() {
        let cell = cell(HOSTILE);
        assert_eq!(cell, "a··[2J· ··31m····z é 日本");
        assert_eq!(cell.chars().count(), HOSTILE.chars().count());
    }

    #[test]
    fn masked_json_is_equal() {
        // serde_json escapes C0 only.
        let record = serde_json::json!({"message": HOSTILE, "n": 1.10, HOSTILE: "\\u009b"});
        let raw = record.to_string();
        assert!(raw.contains('\u{9b}') && raw.contains('\u{202e}'));
        let safe = json(raw.as_bytes());
        let safe = std::str::from_utf8(&safe).unwrap();
        assert!(
            !safe.contains(|c: char| c.is_control() || changes_direction(c)),
            "{safe}"
        );
        assert_eq!(serde_json::from_str::<Value>(safe).unwrap(), record);
        assert!(safe.contains("\\u007f\\u009b31m\\u202e\\u2066"), "{safe}");
        let plain = r#"{"message":"größe 日本"}"#;
        assert!(matches!(json(plain.as_bytes()), Cow::Borrowed(_)));
        assert_eq!(
            json_lines(&format!("{raw}\n{plain}\n")),
            format!("{safe}\n{plain}\n")
        );
    }

    #[test]
    fn text_that_is_not_json_is_masked() {
        let safe = json(b"{\"a\": 1,\n\t\"b\": 2}");
        assert_eq!(*safe, *b"{\"a\": 1,  \"b\": 2}");
        assert_eq!(
            *json(b"a\n\x1b[2Jb\x9bc"),
            *"a \\u001b[2Jb\u{fffd}c".as_bytes()
        );
    }
}
