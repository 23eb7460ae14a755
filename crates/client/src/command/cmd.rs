//! A command as it is sent: a name and arguments, which may be any bytes.

use std::fmt;
use std::io::Write;

use aggregator_protocol::number;

/// A command: a name and arguments.
///
/// ```
/// use agg_client::command::Cmd;
///
/// let mut command = Cmd::new("CONFIG");
/// command.arg("GET").arg("agg.*");
/// assert!(command.to_bytes().starts_with(b"*3\r\n$6\r\nCONFIG\r\n"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Cmd {
    /// The number of words, the name included.
    words: usize,
    /// The words as RESP encodes them.
    encoded: Vec<u8>,
}

impl Cmd {
    /// Creates a command without arguments.
    pub fn new(name: &str) -> Cmd {
        let mut cmd = Cmd {
            words: 0,
            encoded: Vec::new(),
        };
        cmd.push(name.as_bytes());
        cmd
    }

    /// Creates a command about a node, which is the first argument of every command of the module.
    pub fn of_node(name: &str, node: &(impl AsRef<[u8]> + ?Sized)) -> Cmd {
        let mut cmd = Cmd::new(name);
        cmd.push(node.as_ref());
        cmd
    }

    /// Appends an argument.
    pub fn arg(&mut self, arg: impl Arg) -> &mut Self {
        arg.append_to(self);
        self
    }

    /// Appends several arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl Arg>) -> &mut Self {
        for arg in args {
            arg.append_to(self);
        }
        self
    }

    /// Reserves memory for arguments with about so many bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.encoded.reserve(bytes);
    }

    /// Returns the command as RESP encodes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded.len() + 8);
        self.write_to(&mut bytes);
        bytes
    }

    /// Appends the command as RESP encodes it.
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        write_length(out, b'*', self.words);
        out.extend_from_slice(&self.encoded);
    }

    fn push(&mut self, word: &[u8]) {
        self.words += 1;
        write_length(&mut self.encoded, b'$', word.len());
        self.encoded.extend_from_slice(word);
        self.encoded.extend_from_slice(b"\r\n");
    }
}

/// Shows no word of the command: it may be a password.
impl fmt::Debug for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Cmd");
        shown.field("words", &self.words).finish_non_exhaustive()
    }
}

fn write_length(out: &mut Vec<u8>, kind: u8, length: usize) {
    out.push(kind);
    number::write_u64(out, length as u64);
    out.extend_from_slice(b"\r\n");
}

/// A value that can be an argument of a command: a text, bytes, or a number.
pub trait Arg {
    /// Appends the argument to a command.
    fn append_to(&self, cmd: &mut Cmd);
}

impl<T: Arg + ?Sized> Arg for &T {
    fn append_to(&self, cmd: &mut Cmd) {
        (**self).append_to(cmd);
    }
}

macro_rules! bytes {
    ($($type:ty),*) => {
        $(impl Arg for $type {
            fn append_to(&self, cmd: &mut Cmd) {
                cmd.push(self.as_ref());
            }
        })*
    };
}

bytes!(str, String, [u8], Vec<u8>);

macro_rules! integers {
    ($($type:ty),*) => {
        $(impl Arg for $type {
            fn append_to(&self, cmd: &mut Cmd) {
                // An acknowledgement has thousands of ids, for which `write!` takes longer.
                cmd.push(itoa::Buffer::new().format(*self).as_bytes());
            }
        })*
    };
}

integers!(i32, i64, u8, u16, u32, u64, usize);

impl Arg for f64 {
    fn append_to(&self, cmd: &mut Cmd) {
        // The longest has a sign, 17 digits, a point and an exponent.
        let mut buffer = [0; 40];
        let mut rest = &mut buffer[..];
        // Debug writes an exponent where Display writes hundreds of digits, and `.0` behind an integer.
        let _ = write!(rest, "{self:?}");
        let left = rest.len();
        let text = &buffer[..buffer.len() - left];
        cmd.push(text.strip_suffix(b".0").unwrap_or(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(cmd: &Cmd) -> String {
        let text = String::from_utf8(cmd.to_bytes()).unwrap();
        let lines: Vec<&str> = text.split("\r\n").collect();
        // The lines in between are lengths.
        let words: Vec<&str> = lines.iter().skip(2).step_by(2).copied().collect();
        words.join(" ")
    }

    #[test]
    fn words_are_encoded_with_their_lengths() {
        let mut cmd = Cmd::new("SET");
        cmd.arg("größe").arg(&b"a\r\nb"[..]);
        let expected = "*3\r\n$3\r\nSET\r\n$7\r\ngröße\r\n$4\r\na\r\nb\r\n";
        assert_eq!(cmd.to_bytes(), expected.as_bytes());
        assert_eq!(format!("{cmd:?}"), "Cmd { words: 3, .. }");
    }

    #[test]
    fn numbers_are_written_in_full_precision() {
        let mut cmd = Cmd::new("N");
        cmd.arg(i64::MIN).arg(u64::MAX).args([7_u8, 8]);
        assert_eq!(
            words(&cmd),
            "N -9223372036854775808 18446744073709551615 7 8"
        );
        let mut cmd = Cmd::new("F");
        cmd.args([5.0, 0.1 + 0.2, 1e300, -f64::MIN_POSITIVE, -f64::MAX]);
        assert_eq!(
            words(&cmd),
            "F 5 0.30000000000000004 1e300 -2.2250738585072014e-308 -1.7976931348623157e308"
        );
    }
}
