//! The protocol of Redis, as far as pollers use it: commands as arrays of bulk strings, replies of RESP2.

use aggregator_core::Reply;

/// The longest command that is read, bytes: an AGG.ACK of 2,000 ids is far below.
pub const MAX_COMMAND: usize = 4 << 20;
/// The most words of a command.
const MAX_WORDS: usize = 100_000;

/// A command that was not one.
#[derive(Debug)]
pub struct Malformed;

/// Splits a command off the beginning of `input` into `words`, as ranges of `input`. Returns its length, or `None` if it
/// is not complete.
///
/// # Errors
///
/// The input is not an array of bulk strings.
pub fn split(
    input: &[u8],
    words: &mut Vec<std::ops::Range<usize>>,
) -> Result<Option<usize>, Malformed> {
    words.clear();
    let Some((count, mut at)) = number(input, 0, b'*')? else {
        return Ok(None);
    };
    if count > MAX_WORDS {
        return Err(Malformed);
    }
    for _ in 0..count {
        let Some((len, start)) = number(input, at, b'$')? else {
            return Ok(None);
        };
        if len > MAX_COMMAND {
            return Err(Malformed);
        }
        at = start + len + 2;
        if at > input.len() {
            return Ok(None);
        }
        words.push(start..start + len);
    }
    Ok(Some(at))
}

/// Reads a line of a sign and a number. Returns the number and the end of the line.
fn number(input: &[u8], at: usize, sign: u8) -> Result<Option<(usize, usize)>, Malformed> {
    let rest = &input[at..];
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
        return if rest.len() > 32 {
            Err(Malformed)
        } else {
            Ok(None)
        };
    };
    let line = rest[..end].strip_suffix(b"\r").ok_or(Malformed)?;
    let digits = line.strip_prefix(&[sign]).ok_or(Malformed)?;
    let text = std::str::from_utf8(digits).map_err(|_| Malformed)?;
    let number = text.parse().map_err(|_| Malformed)?;
    Ok(Some((number, at + end + 1)))
}

/// Writes replies.
pub struct Writer<'a>(pub &'a mut Vec<u8>);

impl Writer<'_> {
    /// Writes a status such as `OK`.
    pub fn status(&mut self, text: &str) {
        self.line(b'+', text);
    }

    /// Writes an error, which begins with its code.
    pub fn error(&mut self, text: &str) {
        self.line(b'-', text);
    }

    fn line(&mut self, sign: u8, text: &str) {
        self.0.push(sign);
        self.0.extend_from_slice(text.as_bytes());
        self.0.extend_from_slice(b"\r\n");
    }

    fn number(&mut self, sign: u8, value: i64) {
        let mut digits = itoa(value);
        self.0.push(sign);
        self.0.append(&mut digits);
        self.0.extend_from_slice(b"\r\n");
    }
}

fn itoa(value: i64) -> Vec<u8> {
    value.to_string().into_bytes()
}

impl Reply for Writer<'_> {
    fn array(&mut self, len: usize) {
        self.number(b'*', len as i64);
    }

    fn map(&mut self, len: usize) {
        self.number(b'*', 2 * len as i64);
    }

    fn bulk(&mut self, bytes: &[u8]) {
        self.number(b'$', bytes.len() as i64);
        self.0.extend_from_slice(bytes);
        self.0.extend_from_slice(b"\r\n");
    }

    fn int(&mut self, value: i64) {
        self.number(b':', value);
    }

    fn null(&mut self) {
        self.0.extend_from_slice(b"$-1\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_is_split() {
        let input = b"*2\r\n$4\r\nPING\r\n$1\r\na\r\n*1\r\n";
        let mut words = Vec::new();
        assert_eq!(split(input, &mut words).unwrap(), Some(21));
        assert_eq!(words, [8..12, 18..19]);
        for end in 0..21 {
            assert_eq!(split(&input[..end], &mut words).unwrap(), None, "{end}");
        }
    }

    #[test]
    fn anything_else_is_malformed() {
        for input in [
            &b"PING\r\n"[..],
            b"*x\r\n",
            b"*1\r\n+a\r\n",
            b"*1\r\n$9999999\r\n",
        ] {
            assert!(split(input, &mut Vec::new()).is_err());
        }
    }
}
