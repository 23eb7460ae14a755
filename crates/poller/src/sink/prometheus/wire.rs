//! The wire format of Protocol Buffers, as far as remote write needs it.

/// The wire types of fields.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;

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

/// Appends a field of the type `double`.
pub fn double(out: &mut Vec<u8>, field: u64, value: f64) {
    varint(out, field << 3 | FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a field of bytes: a string, a message, or packed numbers.
pub fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | BYTES);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

#[cfg(test)]
pub mod tests {
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
}
