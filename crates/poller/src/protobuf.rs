//! The wire format of Protocol Buffers: messages are written, and the fields of one are read. No I/O.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>

/// The wire types of fields.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// Appends a variable-length integer.
pub fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Returns a signed integer as `sint32` and `sint64` encode it: small absolute values are small numbers.
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Appends a field of an integer type.
pub fn integer(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3 | VARINT);
    varint(out, value);
}

/// Appends a field of the types `fixed64` and `sfixed64`.
pub fn fixed64(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3 | FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a field of the type `double`.
pub fn double(out: &mut Vec<u8>, field: u64, value: f64) {
    fixed64(out, field, value.to_bits());
}

/// Appends a field of bytes: a string, a message, or packed numbers.
pub fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | BYTES);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// An integer or a truth value.
    Integer(u64),
    /// The bits of a number of fixed length.
    Fixed(u64),
    /// A string, a message, or packed numbers.
    Bytes(&'a [u8]),
}

/// Reads the next field of a message from another program. Returns its number, its value and the rest, or `None` at the
/// end, and where the bytes are not a message.
pub fn next(message: &[u8]) -> Option<(u64, Value<'_>, &[u8])> {
    let (key, rest) = read_varint(message)?;
    let (value, rest) = match key & 7 {
        VARINT => {
            let (value, rest) = read_varint(rest)?;
            (Value::Integer(value), rest)
        }
        FIXED64 => {
            let (value, rest) = rest.split_first_chunk()?;
            (Value::Fixed(u64::from_le_bytes(*value)), rest)
        }
        FIXED32 => {
            let (value, rest) = rest.split_first_chunk()?;
            (Value::Fixed(u32::from_le_bytes(*value).into()), rest)
        }
        BYTES => {
            let (length, rest) = read_varint(rest)?;
            let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            (Value::Bytes(value), rest)
        }
        _ => return None,
    };
    Some((key >> 3, value, rest))
}

/// Returns the last field of a number in a message, as the format demands where a field is there twice.
pub fn find(mut message: &[u8], field: u64) -> Option<Value<'_>> {
    let mut found = None;
    while let Some((number, value, rest)) = next(message) {
        if number == field {
            found = Some(value);
        }
        message = rest;
    }
    found
}

fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (place, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[place + 1..]));
        }
    }
    None
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The value of a field.
    #[derive(Clone, Debug, PartialEq)]
    pub enum Value {
        Integer(u64),
        Double(f64),
        Bytes(Vec<u8>),
    }

    fn read_varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return value;
            }
            shift += 7;
        }
    }

    /// Reads a message: its fields and their values, in their order.
    pub fn read(mut message: &[u8]) -> Vec<(u64, Value)> {
        let mut fields = Vec::new();
        while !message.is_empty() {
            let key = read_varint(&mut message);
            let value = match key & 7 {
                VARINT => Value::Integer(read_varint(&mut message)),
                FIXED64 => {
                    let (number, rest) = message.split_at(8);
                    message = rest;
                    Value::Double(f64::from_le_bytes(number.try_into().unwrap()))
                }
                BYTES => {
                    let length = read_varint(&mut message) as usize;
                    let (value, rest) = message.split_at(length);
                    message = rest;
                    Value::Bytes(value.to_vec())
                }
                other => panic!("wire type {other}"),
            };
            fields.push((key >> 3, value));
        }
        fields
    }

    /// Reads packed integers with a sign.
    pub fn read_signed(mut packed: &[u8]) -> Vec<i64> {
        let mut numbers = Vec::new();
        while !packed.is_empty() {
            let number = read_varint(&mut packed);
            numbers.push((number >> 1) as i64 ^ -((number & 1) as i64));
        }
        numbers
    }

    /// The examples of the format's documentation.
    #[test]
    fn fields_are_encoded_as_the_specification_shows() {
        let mut out = Vec::new();
        integer(&mut out, 1, 150);
        bytes(&mut out, 2, b"testing");
        assert_eq!(out, b"\x08\x96\x01\x12\x07testing");
        let zigzags = [(0, 0), (-1, 1), (1, 2), (i64::MIN, u64::MAX)];
        for (value, expected) in zigzags {
            assert_eq!(zigzag(value), expected);
            let mut packed = Vec::new();
            varint(&mut packed, zigzag(value));
            assert_eq!(read_signed(&packed), [value]);
        }
        double(&mut out, 16, 1.5);
        let expected = [
            (1, Value::Integer(150)),
            (2, Value::Bytes(b"testing".to_vec())),
            (16, Value::Double(1.5)),
        ];
        assert_eq!(read(&out), expected);
    }

    #[test]
    fn last_of_equal_fields_is_found() {
        let mut out = Vec::new();
        integer(&mut out, 1, 5);
        bytes(&mut out, 2, b"x");
        integer(&mut out, 1, u64::MAX);
        fixed64(&mut out, 4, 9);
        assert_eq!(find(&out, 1), Some(super::Value::Integer(u64::MAX)));
        assert_eq!(find(&out, 2), Some(super::Value::Bytes(b"x")));
        assert_eq!(find(&out, 4), Some(super::Value::Fixed(9)));
        assert_eq!(find(&out, 3), None);
        for broken in [
            &b"\x12\x07test"[..],
            b"\x08",
            b"\x0b",
            b"\x19\0",
            &[0xff; 11],
        ] {
            assert_eq!(next(broken), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut rest = &bytes[..];
            while let Some((_, _, after)) = next(rest) {
                prop_assert!(after.len() < rest.len());
                rest = after;
            }
        }
    }
}
