//! Writing of strings and tags as JSON.

use aggregator_protocol::tags;
use xxhash_rust::xxh3::xxh3_128;

/// Appends a string literal. Invalid UTF-8 becomes U+FFFD, so the output is always valid.
pub fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    if is_plain(text) {
        return write_plain(out, text);
    }
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        write_escaped(out, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

/// Appends a string literal of a text that [`is_plain`].
pub fn write_plain(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// Returns `true` if a text is ASCII that needs no escapes. Eight bytes are checked at a time: byte by byte, this check
/// was the largest part of writing a record.
fn is_plain(text: &[u8]) -> bool {
    match text.last_chunk::<8>() {
        // The last eight bytes may overlap the words before them.
        Some(last) => {
            let (words, _) = text.as_chunks::<8>();
            let special = |word: &[u8; 8]| special_bytes(u64::from_le_bytes(*word));
            words.iter().map(special).fold(special(last), |a, b| a | b) == 0
        }
        None => {
            let word = text
                .iter()
                .fold(u64::from_le_bytes([b' '; 8]), |word, byte| {
                    word << 8 | u64::from(*byte)
                });
            special_bytes(word) == 0
        }
    }
}

/// Returns 0 if no byte of a word is below 0x20, above 0x7e, a quote or a backslash, and otherwise some of the highest
/// bits of its bytes.
#[inline]
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHEST: u64 = ONES << 7;
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    let quotes = zeros(word ^ (ONES * b'"' as u64)) | zeros(word ^ (ONES * b'\\' as u64));
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    (word | word.wrapping_add(ONES) | quotes | controls) & HIGHEST
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
    if is_plain(canonical) {
        return write_plain_tags(out, canonical);
    }
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

/// Does the same for tags that are plain together, as nearly all are.
fn write_plain_tags(out: &mut Vec<u8>, canonical: &[u8]) {
    out.push(b'{');
    for (i, (name, value)) in tags::iter(canonical).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_plain(out, name);
        out.push(b':');
        match value {
            Some(value) => write_plain(out, value),
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

    #[test]
    fn text_with_any_special_byte_is_not_plain() {
        for len in 0..20 {
            for at in 0..len {
                for byte in 0..=255 {
                    let mut text = vec![b'~'; len];
                    text[at] = byte;
                    let is_special = !(b' '..0x7f).contains(&byte) || matches!(byte, b'"' | b'\\');
                    assert_eq!(is_plain(&text), !is_special, "{text:?}");
                }
            }
            assert!(is_plain(&vec![b' '; len]));
        }
    }
}
