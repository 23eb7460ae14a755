//! Reads and writes the wire format of Protocol Buffers.
//!
//! Values are borrowed from the input and fields are visited in its order, so reading allocates nothing, whatever the
//! input. Generated code creates a value for each message instead: 4 MB of empty messages take 170 MB then.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2: text, a message or packed numbers.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

impl<'a> Value<'a> {
    /// Returns text or a message; empty if the field has another type.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Value::Bytes(bytes) => bytes,
            _ => &[],
        }
    }

    /// Returns an integer, or the bits of a double.
    pub fn bits(self) -> u64 {
        match self {
            Value::Varint(v) | Value::Fixed64(v) => v,
            Value::Fixed32(v) => v.into(),
            Value::Bytes(_) => 0,
        }
    }

    /// Returns a double.
    pub fn double(self) -> f64 {
        f64::from_bits(self.bits())
    }

    /// Returns a `sint32`, which is encoded as 0, -1, 1, -2 ...
    pub fn zigzag(self) -> i32 {
        let v = self.bits() as u32;
        (v >> 1) as i32 ^ -((v & 1) as i32)
    }
}

/// Visits the fields of a message. It ends at the first malformed field.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Visits the fields of a message.
    pub fn new(message: &'a [u8]) -> Fields<'a> {
        Fields { rest: message }
    }

    /// Returns what is not read yet: it is not empty if a field is malformed.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn read(&self) -> Option<(u32, Value<'a>, &'a [u8])> {
        let (key, rest) = varint(self.rest)?;
        let number = u32::try_from(key >> 3).ok().filter(|n| *n > 0)?;
        let (value, rest) = match key & 7 {
            0 => varint(rest).map(|(v, rest)| (Value::Varint(v), rest))?,
            1 => {
                let (bytes, rest) = rest.split_first_chunk()?;
                (Value::Fixed64(u64::from_le_bytes(*bytes)), rest)
            }
            2 => {
                let (length, rest) = varint(rest)?;
                let (bytes, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                (Value::Bytes(bytes), rest)
            }
            5 => {
                let (bytes, rest) = rest.split_first_chunk()?;
                (Value::Fixed32(u32::from_le_bytes(*bytes)), rest)
            }
            _ => return None,
        };
        Some((number, value, rest))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, Value<'a>);

    #[inline]
    fn next(&mut self) -> Option<(u32, Value<'a>)> {
        let (number, value, rest) = self.read()?;
        self.rest = rest;
        Some((number, value))
    }
}

/// Reads a varint of up to ten bytes, and returns it with what follows.
#[inline]
pub fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * i as u32)?;
        if *byte < 0x80 {
            return Some((value, bytes.get(i + 1..)?));
        }
    }
    None
}

/// Appends a varint.
pub fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a field of wire type 0.
pub fn write_varint_field(out: &mut Vec<u8>, number: u32, value: u64) {
    write_varint(out, u64::from(number) << 3);
    write_varint(out, value);
}

/// Appends a field of wire type 1.
pub fn write_fixed64_field(out: &mut Vec<u8>, number: u32, value: u64) {
    write_varint(out, u64::from(number) << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a field of wire type 2.
pub fn write_bytes_field(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    write_varint(out, u64::from(number) << 3 | 2);
    write_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Begins a field of wire type 2 whose length is not known yet. Returns what [`end`] takes.
pub fn begin(out: &mut Vec<u8>, number: u32) -> usize {
    write_varint(out, u64::from(number) << 3 | 2);
    out.extend_from_slice(&[0; 5]);
    out.len()
}

/// Ends a field that [`begin`] has begun. Its length takes five bytes, the first four of which say that others follow.
pub fn end(out: &mut [u8], start: usize) {
    let mut length = out.len() - start;
    for (i, byte) in out[start - 5..start].iter_mut().enumerate() {
        *byte = length as u8 & 0x7f | if i < 4 { 0x80 } else { 0 };
        length >>= 7;
    }
}

/// Visits the messages in a repeated field.
pub fn messages(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    let fields = Fields::new(message).filter(move |field| field.0 == number);
    fields.map(|(_, value)| value.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_of_the_format_description_are_read() {
        let fields: Vec<_> = Fields::new(b"\x08\x96\x01\x12\x07testing").collect();
        assert_eq!(
            fields,
            [(1, Value::Varint(150)), (2, Value::Bytes(b"testing"))]
        );
        let zigzag = |v: u64| Value::Varint(v).zigzag();
        assert_eq!(
            [0, 1, 2, 3, 0xffff_fffe, 0xffff_ffff].map(zigzag),
            [0, -1, 1, -2, i32::MAX, i32::MIN]
        );
    }

    #[test]
    fn malformed_fields_end_the_message() {
        for bad in [
            &b"\x08"[..],
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x12\x05abcd",
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x09\0\0\0\0\0\0\0",
            b"\x0d\0\0\0",
            b"\x0b",
            b"\x0c",
            b"\x0e",
            b"\x00\x00",
        ] {
            let mut fields = Fields::new(bad);
            assert_eq!(fields.next(), None, "{bad:?}");
            assert_eq!(fields.rest(), bad);
        }
    }

    proptest! {
        #[test]
        fn written_fields_read_back(number in 1u32..1 << 29, v in any::<u64>(), text in any::<Vec<u8>>()) {
            let mut out = Vec::new();
            write_varint_field(&mut out, number, v);
            write_fixed64_field(&mut out, number, v);
            write_bytes_field(&mut out, number, &text);
            let start = begin(&mut out, number);
            out.extend_from_slice(&text);
            end(&mut out, start);
            let fields: Vec<_> = Fields::new(&out).collect();
            let bytes = Value::Bytes(&text);
            let expected = [Value::Varint(v), Value::Fixed64(v), bytes, bytes];
            prop_assert_eq!(fields, expected.map(|v| (number, v)));
        }
    }
}
