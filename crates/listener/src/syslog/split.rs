//! Splitting text.

/// Splits text behind the bytes at its start that are of a kind.
pub fn split_while(text: &[u8], is_kind: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    let len = text
        .iter()
        .position(|byte| !is_kind(byte))
        .unwrap_or(text.len());
    text.split_at_checked(len).unwrap_or((text, b""))
}

/// Splits text at its first space. The rest is empty if there is none.
pub fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    let (word, rest) = split_while(text, |byte| *byte != b' ');
    (word, rest.strip_prefix(b" ").unwrap_or(rest))
}
