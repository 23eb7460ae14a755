//! Where answers go. The core says what is answered; the shell says how (RESP2, RESP3), tests look at it.

use aggregator_protocol::number;

/// A writer of one reply. Containers announce the number of what follows; every announced element must follow.
pub trait Reply {
    /// `len` elements follow.
    fn array(&mut self, len: usize);
    /// `len` pairs of a key and a value follow (a flat array in RESP2).
    fn map(&mut self, len: usize);
    /// A binary string.
    fn bulk(&mut self, bytes: &[u8]);
    /// An integer.
    fn int(&mut self, value: i64);
    /// Nothing there.
    fn null(&mut self);

    /// A double as the shortest decimal that reads back to it. A string, because servers before 7.2 write RESP3
    /// doubles with 17 digits.
    fn double(&mut self, value: f64) {
        let mut text = Vec::with_capacity(24);
        number::write_f64(&mut text, value);
        self.bulk(&text);
    }
}
