//! Takes DUMP payloads apart and puts them together again: type and module, frames, RDB version, checksum.

/// The payload of a module value that consists of strings.
#[derive(Clone, Debug, PartialEq)]
pub struct Dump {
    /// The type of the value, and that of the module with its encoding.
    pub head: Vec<u8>,
    pub frames: Vec<Vec<u8>>,
    pub version: [u8; 2],
}

/// The opcodes before a string and before the end.
const STRING: u8 = 5;
const END: u8 = 0;

/// Type and module: 7, then a length of 64 bits.
const HEAD: usize = 10;

impl Dump {
    /// Parses a payload that was written without compression.
    pub fn parse(payload: &[u8]) -> Dump {
        let (body, footer) = payload.split_at(payload.len() - 10);
        assert_eq!(
            footer[2..],
            crc64(&payload[..payload.len() - 8]).to_le_bytes()
        );
        let (head, mut rest) = body.split_at(HEAD);
        assert_eq!(head[..2], [7, 0x81], "a value of a module");
        let mut frames = Vec::new();
        while rest[0] == STRING {
            let (len, after) = length(&rest[1..]);
            frames.push(after[..len].to_vec());
            rest = &after[len..];
        }
        assert_eq!(rest, [END]);
        Dump {
            head: head.to_vec(),
            frames,
            version: footer[..2].try_into().unwrap(),
        }
    }

    /// Returns the payload with a correct checksum.
    pub fn payload(&self) -> Vec<u8> {
        let mut payload = self.head.clone();
        for frame in &self.frames {
            payload.push(STRING);
            put_length(&mut payload, frame.len());
            payload.extend_from_slice(frame);
        }
        payload.push(END);
        payload.extend(self.version);
        sign(&mut payload);
        payload
    }
}

/// Appends the checksum.
pub fn sign(payload: &mut Vec<u8>) {
    let crc = crc64(payload);
    payload.extend(crc.to_le_bytes());
}

/// Splits off a length of the RDB format.
fn length(bytes: &[u8]) -> (usize, &[u8]) {
    match bytes[0] >> 6 {
        0 => (usize::from(bytes[0]), &bytes[1..]),
        1 => (
            usize::from(bytes[0] & 0x3f) << 8 | usize::from(bytes[1]),
            &bytes[2..],
        ),
        _ => {
            assert_eq!(
                bytes[0], 0x80,
                "a string without compression, shorter than 4 GiB"
            );
            let len = u32::from_be_bytes(bytes[1..5].try_into().unwrap());
            (len as usize, &bytes[5..])
        }
    }
}

fn put_length(out: &mut Vec<u8>, len: usize) {
    if len < 64 {
        out.push(len as u8);
    } else if len < 1 << 14 {
        out.extend([0x40 | (len >> 8) as u8, len as u8]);
    } else {
        out.push(0x80);
        out.extend((len as u32).to_be_bytes());
    }
}

/// Returns the checksum of the server: CRC-64 with the polynomial of Jones, reflected.
pub fn crc64(bytes: &[u8]) -> u64 {
    const TABLE: [u64; 256] = table();
    bytes.iter().fold(0, |crc, byte| {
        TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8)
    })
}

const fn table() -> [u64; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0x95ac_9329_ac4b_c9b5
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

#[test]
fn checksum_is_that_of_the_server() {
    assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
}
