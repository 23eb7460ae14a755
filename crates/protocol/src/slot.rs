//! The cluster slot of a key, as the specification of Redis Cluster defines it: CRC16-XMODEM of the key, or of its hash
//! tag, modulo 16,384.

/// Slots of a cluster.
const SLOTS: u16 = 16_384;

/// Returns the slot of a key. Where the key has a hash tag (a part between the first `{` and the next `}` that is not
/// empty), the slot is that of the tag.
pub fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|start| {
        let rest = key.get(start + 1..)?;
        let end = rest.iter().position(|byte| *byte == b'}')?;
        rest.get(..end).filter(|tag| !tag.is_empty())
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            crc << 1 ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_of_a_key_is_that_of_the_server() {
        // As CLUSTER KEYSLOT of Redis 7.0 answers.
        for (key, expected) in [
            (&b"foo"[..], 12182),
            (b"123456789", 12739),
            (b"{foo}bar", 12182),
            (b"x{foo}", 12182),
            (b"{}foo", 9500),
            (b"", 0),
        ] {
            assert_eq!(slot(key), expected, "{}", String::from_utf8_lossy(key));
        }
    }
}
