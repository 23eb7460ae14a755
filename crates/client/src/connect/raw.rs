//! Replies kept as the server sent them, for callers that read many values of a reply once: a tree of values would take
//! several times the memory, and most of the time.
//!
//! # Invariants
//!
//! - A [`RawReply`] is one complete reply, and each of its tokens is valid.
//! - Its memory is that of its bytes, which the allowance of the call bounds; an announced length allocates nothing.
//! - Nesting costs neither stack nor memory: only the number of values to come is counted.

use std::io::ErrorKind;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use super::resp::{Allowance, Fault, LINE, hostile};
use crate::error::ServerError;

/// A complete reply that is no error.
#[derive(Debug)]
pub struct RawReply(Vec<u8>);

/// A value of a reply, or the beginning of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// The absence of a value.
    Nil,
    /// An integer.
    Int(i64),
    /// A string of any bytes.
    Text(&'a [u8]),
    /// An array of so many values, which follow. A map is an array of names and values in turn.
    Array(usize),
}

impl<'a> Token<'a> {
    /// Returns the bytes of a string.
    pub fn text(self) -> Option<&'a [u8]> {
        match self {
            Token::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the number of values of an array. A nil has none.
    pub fn count(self) -> Option<usize> {
        match self {
            Token::Array(len) => Some(len),
            Token::Nil => Some(0),
            _ => None,
        }
    }

    /// Returns an integer, sent as such or as a string.
    pub fn int(self) -> Option<i64> {
        match self {
            Token::Int(n) => Some(n),
            Token::Text(text) => std::str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// Returns a finite number, sent as an integer or as a string.
    pub fn float(self) -> Option<f64> {
        let number = match self {
            Token::Int(n) => n as f64,
            Token::Text(text) => std::str::from_utf8(text).ok()?.parse().ok()?,
            _ => return None,
        };
        number.is_finite().then_some(number)
    }
}

impl RawReply {
    /// Returns the tokens in the order in which they were sent.
    pub fn tokens(&self) -> Tokens<'_> {
        Tokens(&self.0)
    }
}

/// The tokens of a reply that are not read yet.
#[derive(Clone, Debug)]
pub struct Tokens<'a>(&'a [u8]);

impl<'a> Tokens<'a> {
    /// Passes over a value, with all values that it contains.
    pub fn skip_value(&mut self) {
        let mut left: usize = 1;
        while left > 0 {
            left -= 1;
            match self.next() {
                Some(Token::Array(len)) => left = left.saturating_add(len),
                Some(_) => {}
                None => return,
            }
        }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let (piece, len) = piece(self.0).ok().flatten()?;
        self.0 = &self.0[len..];
        match piece {
            Piece::Token(token) => Some(token),
            Piece::Error(_) => None,
        }
    }
}

/// A token, or an error of the server.
enum Piece<'a> {
    Token(Token<'a>),
    Error(&'a [u8]),
}

/// Reads the number of a line of up to 18 digits, and returns it with the length of the line. `None`: it is another
/// number, or none, or it is not complete.
#[inline]
fn digits(line: &[u8]) -> Option<(i64, usize)> {
    let mut number = 0;
    for (at, byte) in line.iter().take(19).enumerate() {
        match byte {
            b'0'..=b'9' if at < 18 => number = 10 * number + i64::from(byte - b'0'),
            b'\r' if at > 0 => {
                return (line.get(at + 1) == Some(&b'\n')).then_some((number, at + 2));
            }
            _ => return None,
        }
    }
    None
}

/// Reads the first token of these bytes. Returns it with its length, or none if it is not complete.
#[inline]
fn piece(bytes: &[u8]) -> Result<Option<(Piece<'_>, usize)>, Fault> {
    // Nearly all tokens are numbers and lengths of a few digits, which one pass reads; `any_piece` takes three.
    if let Some((kind @ (b':' | b'$' | b'*'), line)) = bytes.split_first()
        && let Some((number, len)) = digits(line)
    {
        let token = |token, len| Ok(Some((Piece::Token(token), 1 + len)));
        match (kind, usize::try_from(number)) {
            (b':', _) => return token(Token::Int(number), len),
            (b'*', Ok(count)) => return token(Token::Array(count), len),
            (_, Ok(length)) => {
                return match text(&line[len..], length)? {
                    Some(text) => token(Token::Text(text), len + length + 2),
                    None => Ok(None),
                };
            }
            _ => {}
        }
    }
    any_piece(bytes)
}

/// Returns the text of this length at the beginning of these bytes, or none if it is not complete.
fn text(bytes: &[u8], len: usize) -> Result<Option<&[u8]>, Fault> {
    let Some(whole) = len.checked_add(2).filter(|whole| *whole <= bytes.len()) else {
        return Ok(None);
    };
    match &bytes[len..whole] == b"\r\n" {
        true => Ok(Some(&bytes[..len])),
        false => hostile("the reply has a string that is longer than its length"),
    }
}

/// Reads the first token of these bytes, whatever it is.
fn any_piece(bytes: &[u8]) -> Result<Option<(Piece<'_>, usize)>, Fault> {
    let end = bytes.iter().take(LINE).position(|byte| *byte == b'\n');
    let Some(end) = end else {
        return match bytes.len() < LINE {
            true => Ok(None),
            false => hostile(format!(
                "the reply has a line of more than {} KiB",
                LINE >> 10
            )),
        };
    };
    let Some((kind, rest)) = bytes[..end]
        .strip_suffix(b"\r")
        .and_then(<[u8]>::split_first)
    else {
        return hostile("the reply is not RESP 2");
    };
    let token = match kind {
        b'+' => Token::Text(rest),
        b'-' => return Ok(Some((Piece::Error(rest), end + 1))),
        b':' => Token::Int(number(rest)?),
        b'*' => match length(rest)? {
            None => Token::Nil,
            Some(len) => Token::Array(len),
        },
        b'$' => {
            let Some(len) = length(rest)? else {
                return Ok(Some((Piece::Token(Token::Nil), end + 1)));
            };
            let Some(text) = text(&bytes[end + 1..], len)? else {
                return Ok(None);
            };
            return Ok(Some((Piece::Token(Token::Text(text)), end + 1 + len + 2)));
        }
        _ => return hostile("the reply is not RESP 2"),
    };
    Ok(Some((Piece::Token(token), end + 1)))
}

fn number(digits: &[u8]) -> Result<i64, Fault> {
    let number = std::str::from_utf8(digits).ok();
    match number.and_then(|digits| digits.parse().ok()) {
        Some(number) => Ok(number),
        None => hostile("the reply has an invalid number"),
    }
}

/// Reads a length; none is nil.
fn length(digits: &[u8]) -> Result<Option<usize>, Fault> {
    match number(digits)? {
        -1 => Ok(None),
        length => match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) => hostile("the reply has a negative length"),
        },
    }
}

/// The progress through a reply of which more and more bytes are known.
struct Progress {
    /// The offset of the first token that is not read yet.
    at: usize,
    /// The number of values to come.
    left: usize,
    error: Option<ServerError>,
}

impl Progress {
    /// Reads on, and passes the tokens to `incoming`. Returns whether the reply is complete.
    fn advance(
        &mut self,
        bytes: &[u8],
        incoming: &mut impl Incoming,
        allowance: &mut Allowance,
    ) -> Result<bool, Fault> {
        while self.left > 0 {
            let Some((piece, len)) = piece(&bytes[self.at..])? else {
                return Ok(false);
            };
            match piece {
                Piece::Token(token) => {
                    let inner = match token {
                        Token::Array(len) => len,
                        _ => 0,
                    };
                    let Some(left) = (self.left - 1).checked_add(inner) else {
                        return hostile("the reply has too many values");
                    };
                    self.left = left;
                    incoming.note(token, self.at + len, allowance)?;
                }
                Piece::Error(text) if self.at == 0 => {
                    self.error = Some(ServerError::parse(&String::from_utf8_lossy(text)));
                    self.left = 0;
                }
                Piece::Error(_) => return hostile("the reply has an error within an array"),
            }
            self.at += len;
        }
        Ok(true)
    }
}

/// Takes the tokens of a reply while it is read.
pub trait Incoming: Default {
    /// The reply as it is passed on.
    type Reply;

    /// Notes a token, which ends before this offset in the reply. Memory for it is taken from the allowance.
    ///
    /// # Errors
    ///
    /// The reply is not read on.
    fn note(
        &mut self,
        token: Token<'_>,
        end: usize,
        allowance: &mut Allowance,
    ) -> Result<(), Fault>;

    /// Ends a reply that is no error, of these bytes.
    fn end(self, bytes: Vec<u8>) -> Self::Reply;
}

/// Keeps a reply as it was sent.
#[derive(Default)]
pub struct AsSent;

impl Incoming for AsSent {
    type Reply = RawReply;

    fn note(&mut self, _: Token<'_>, _: usize, _: &mut Allowance) -> Result<(), Fault> {
        Ok(())
    }

    fn end(self, bytes: Vec<u8>) -> RawReply {
        RawReply(bytes)
    }
}

/// Reads one reply.
///
/// # Errors
///
/// After an error the stream cannot be used any more: it is unknown where the next reply begins.
pub async fn read<S, I>(
    stream: &mut S,
    allowance: &mut Allowance,
) -> Result<Result<I::Reply, ServerError>, Fault>
where
    S: AsyncBufRead + Unpin,
    I: Incoming,
{
    let mut incoming = I::default();
    let mut reply = Vec::new();
    let mut progress = Progress {
        at: 0,
        left: 1,
        error: None,
    };
    loop {
        let bytes = stream.fill_buf().await?;
        if bytes.is_empty() {
            return Err(Fault::Lost(ErrorKind::UnexpectedEof.into()));
        }
        let (before, more) = (reply.len(), bytes.len());
        allowance.take(more)?;
        reply.extend_from_slice(bytes);
        let is_complete = progress.advance(&reply, &mut incoming, allowance)?;
        if !is_complete {
            stream.consume(more);
            continue;
        }
        // The rest belongs to the next reply.
        stream.consume(progress.at - before);
        reply.truncate(progress.at);
        return Ok(match progress.error {
            Some(error) => Err(error),
            None => Ok(incoming.end(reply)),
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    fn read_all(bytes: &[u8], buffer: usize) -> Result<Vec<Result<RawReply, ServerError>>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let mut stream = BufReader::with_capacity(buffer, bytes);
        let mut all = Vec::new();
        let mut allowance = Allowance::new(1 << 20);
        while !stream.buffer().is_empty() || !stream.get_ref().is_empty() {
            match runtime.block_on(read::<_, AsSent>(&mut stream, &mut allowance)) {
                Ok(reply) => all.push(reply),
                Err(Fault::Lost(error)) => return Err(error.kind().to_string()),
                Err(Fault::Hostile(why)) => return Err(why),
            }
        }
        Ok(all)
    }

    #[test]
    fn replies_are_read_whatever_the_size_of_the_buffer() {
        let bytes =
            b"*3\r\n$2\r\na\n\r\n*2\r\n:7\r\n$-1\r\n+OK\r\n-ERR no\r\n*0\r\n$0\r\n\r\n*-1\r\n";
        for buffer in [1, 2, 3, 7, 1000] {
            let all = read_all(bytes, buffer).unwrap();
            let tokens: Vec<Vec<Token>> = all
                .iter()
                .filter_map(|reply| Some(reply.as_ref().ok()?.tokens().collect()))
                .collect();
            let first = vec![
                Token::Array(3),
                Token::Text(b"a\n"),
                Token::Array(2),
                Token::Int(7),
                Token::Nil,
                Token::Text(b"OK"),
            ];
            let rest = [
                vec![Token::Array(0)],
                vec![Token::Text(b"")],
                vec![Token::Nil],
            ];
            assert_eq!(tokens, [vec![first], rest.to_vec()].concat());
            assert_eq!(all[1].as_ref().unwrap_err(), &ServerError::parse("ERR no"));
        }
    }

    #[test]
    fn short_numbers_are_read_as_any_others() {
        let shown = |piece: Result<Option<(Piece<'_>, usize)>, Fault>| match piece {
            Ok(None) => "more".to_owned(),
            Ok(Some((Piece::Token(token), len))) => format!("{token:?} {len}"),
            Ok(Some((Piece::Error(text), len))) => format!("{text:?} {len}"),
            Err(fault) => format!("{fault:?}"),
        };
        for bytes in [
            &b":0\r\n:1"[..],
            b":-7\r\n",
            b":+7\r\n",
            b":\r\n",
            b":00012\r\n",
            b":999999999999999999\r\n",
            b":1000000000000000000\r\n",
            b":9223372036854775807\r\n",
            b":9223372036854775808\r\n",
            b":1 2\r\n",
            b":12\n",
            b":12\rx",
            b"*2\r\n:1\r\n",
            b"*-1\r\n",
            b"*99999999999999999999\r\n",
            b"$3\r\na\r\n\r\nrest",
            b"$3\r\nabcd\r\n",
            b"$0\r\n\r\n",
            b"$-1\r\n",
            b"$-2\r\n",
            b"$999999999999999999\r\nx",
            b"+7\r\n",
            b"-7\r\n",
            b"7\r\n",
        ] {
            for len in 0..=bytes.len() {
                let bytes = &bytes[..len];
                let text = bytes.escape_ascii();
                assert_eq!(shown(piece(bytes)), shown(any_piece(bytes)), "{text}");
            }
        }
    }

    #[test]
    fn a_value_is_skipped_with_what_it_contains() {
        let all = read_all(b"*3\r\n*2\r\n*1\r\n:1\r\n:2\r\n:3\r\n:4\r\n", 100).unwrap();
        let mut tokens = all[0].as_ref().unwrap().tokens();
        assert_eq!(tokens.next(), Some(Token::Array(3)));
        tokens.skip_value();
        assert_eq!(tokens.next(), Some(Token::Int(3)));
        tokens.skip_value();
        tokens.skip_value();
        assert_eq!(tokens.next(), None);
    }

    #[test]
    fn anything_but_a_bounded_reply_is_rejected() {
        let long = [&b"+"[..], &[b'x'; LINE]].concat();
        let endless = b"*9\r\n".repeat(300_000);
        for (bytes, why) in [
            (
                &b"HTTP/1.1 400 Bad Request\r\n"[..],
                "the reply is not RESP 2",
            ),
            (b"+OK\n", "the reply is not RESP 2"),
            (b":seven\r\n", "the reply has an invalid number"),
            (b"$-2\r\n", "the reply has a negative length"),
            (b"*1\r\n-ERR\r\n", "the reply has an error within an array"),
            (
                b"$1\r\nabc\r\n",
                "the reply has a string that is longer than its length",
            ),
            (b"*2\r\n:1\r\n", "unexpected end of file"),
            (b"$9000000000000000000\r\nx", "unexpected end of file"),
            (
                b"*2\r\n*9223372036854775807\r\n*9223372036854775807\r\n*9223372036854775807\r\n",
                "the reply has too many values",
            ),
            (&long, "the reply has a line of more than 64 KiB"),
            (&endless, "the reply is larger than 1024 KiB"),
        ] {
            let error = read_all(bytes, 4096).err();
            assert_eq!(error.as_deref(), Some(why));
        }
    }
}
