//! Writing of strings and tags as JSON.

use aggregator_protocol::tags;
use xxhash_rust::xxh3::xxh3_128;

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
