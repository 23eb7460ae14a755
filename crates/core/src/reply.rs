//! The interface for replies. The core says what is replied; the shell says how (RESP2, RESP3), and tests inspect it.

use aggregator_protocol::number;

/// A writer of one reply. A container announces the number of its elements, which must follow.
pub trait Reply {
    /// Begins an array of `len` elements.
    fn array(&mut self, len: usize);
    /// Begins a map of `len` pairs of a key and a value (a flat array in RESP2).
    fn map(&mut self, len: usize);
    /// Writes a binary string.
    fn bulk(&mut self, bytes: &[u8]);
    /// Writes an integer.
    fn int(&mut self, value: i64);
    /// Writes a null.
    fn null(&mut self);

    /// Writes a double as the shortest decimal that reads back to it. It is a string, because servers before 7.2 write
    /// RESP3 doubles with 17 digits.
    fn double(&mut self, value: f64) {
        let mut text = Vec::with_capacity(24);
        number::write_f64(&mut text, value);
        self.bulk(&text);
    }
}
