//! A reader of RESP 2 replies from a server that may be hostile.
//!
//! # Invariants
//!
//! - The memory of a reply is bounded before it is read ([`Allowance`]); an announced length allocates nothing.
//! - Arrays nest no deeper than [`DEPTH`]; a line is no longer than [`LINE`].
//! - The stack is flat: depth costs no recursion.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use crate::error::ServerError;
use crate::reply::{Reply, Value};

/// The maximum depth of nested arrays; the deepest reply that the client asks for (COMMAND INFO) has 5 levels.
const DEPTH: usize = 16;
/// Bytes of a line: a simple string, an error, a number or a length.
pub const LINE: usize = 64 << 10;
/// The memory that one call may take without a part of [`SHARED`], bytes.
const FREE: usize = 2 << 20;
/// The memory that all calls of the program may take together, beyond what is free to each, bytes: a fleet of hostile
/// servers takes no more than a few of them.
const SHARED: usize = 512 << 20;
/// The memory that a value takes beside the bytes of a string, and what the allocator adds to it, bytes.
const VALUE: usize = size_of::<Value>() + 32;
/// The part of [`SHARED`] that is taken at a time, bytes.
const STEP: usize = 1 << 20;
/// For how many elements of an array, and bytes of a string, memory is reserved at once.
const AHEAD: (usize, usize) = (1024, 64 << 10);

/// The reason why a reply cannot be read.
#[derive(Debug)]
pub enum Fault {
    /// The connection failed.
    Lost(io::Error),
    /// The server violates the protocol or a bound.
    Hostile(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Lost(error)
    }
}

/// Returns the fault of a server that violates the protocol or a bound.
pub fn hostile<T>(why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Hostile(why.into()))
}

/// The memory that all replies to one call may take.
pub struct Allowance {
    limit: usize,
    used: usize,
    /// The part of [`SHARED`] that this call has, bytes.
    shared: usize,
    all: &'static AtomicUsize,
}

impl Allowance {
    /// Creates an allowance of this many bytes.
    pub fn new(limit: usize) -> Allowance {
        static ALL: AtomicUsize = AtomicUsize::new(0);
        Allowance::of(limit, &ALL)
    }

    fn of(limit: usize, all: &'static AtomicUsize) -> Allowance {
        Allowance {
            limit,
            used: 0,
            shared: 0,
            all,
        }
    }

    /// Checks that this many bytes are left.
    fn has(&self, bytes: usize) -> Result<(), Fault> {
        match bytes <= self.limit - self.used {
            true => Ok(()),
            false => hostile(format!("the reply is larger than {} KiB", self.limit >> 10)),
        }
    }

    /// Takes this many bytes.
    pub fn take(&mut self, bytes: usize) -> Result<(), Fault> {
        self.has(bytes)?;
        self.used += bytes;
        let wanted = self.used.saturating_sub(FREE);
        if wanted > self.shared {
            let more = (wanted - self.shared).next_multiple_of(STEP);
            let add = |all: usize| Some(all + more).filter(|all| *all <= SHARED);
            let added = self
                .all
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
            if added.is_err() {
                return hostile("too many servers send large replies at the same time");
            }
            self.shared += more;
        }
        Ok(())
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        self.all.fetch_sub(self.shared, Ordering::Relaxed);
    }
}

/// An array that is being read.
struct Open {
    items: Vec<Value>,
    left: usize,
}

/// Reads one reply.
///
/// # Errors
///
/// After an error the stream cannot be used any more: it is unknown where the next reply begins.
pub async fn read<S>(stream: &mut S, allowance: &mut Allowance) -> Result<Reply, Fault>
where
    S: AsyncBufRead + Unpin,
{
    let mut arrays: Vec<Open> = Vec::new();
    let mut line = Vec::new();
    loop {
        read_line(stream, &mut line).await?;
        allowance.take(VALUE)?;
        let Some((kind, rest)) = line.split_first() else {
            return hostile("the reply is an empty line");
        };
        let mut value = match kind {
            b'+' => Value::SimpleString(text(rest, allowance)?),
            b'-' if arrays.is_empty() => {
                return Ok(Err(ServerError::parse(&text(rest, allowance)?)));
            }
            b'-' => return hostile("the reply has an error within an array"),
            b':' => Value::Int(number(rest)?),
            b'$' => match length(rest)? {
                None => Value::Nil,
                Some(length) => Value::BulkString(bulk(stream, length, allowance).await?),
            },
            b'*' => match length(rest)? {
                None => Value::Nil,
                Some(0) => Value::Array(Vec::new()),
                Some(_) if arrays.len() == DEPTH => {
                    return hostile(format!("the reply nests arrays deeper than {DEPTH}"));
                }
                Some(left) => {
                    allowance.has(left.saturating_mul(VALUE))?;
                    let items = Vec::with_capacity(left.min(AHEAD.0));
                    arrays.push(Open { items, left });
                    continue;
                }
            },
            _ => return hostile("the reply is not RESP 2"),
        };
        // The value may be the last of its array, and that one the last of another.
        loop {
            let Some(array) = arrays.last_mut() else {
                return Ok(Ok(value));
            };
            array.items.push(value);
            array.left -= 1;
            if array.left > 0 {
                break;
            }
            value = Value::Array(std::mem::take(&mut array.items));
            arrays.pop();
        }
    }
}

/// Reads a line without its CR LF.
async fn read_line<S>(stream: &mut S, line: &mut Vec<u8>) -> Result<(), Fault>
where
    S: AsyncBufRead + Unpin,
{
    line.clear();
    loop {
        let bytes = stream.fill_buf().await?;
        if bytes.is_empty() {
            return Err(Fault::Lost(ErrorKind::UnexpectedEof.into()));
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = end.map_or(bytes.len(), |at| at + 1);
        if line.len() + part > LINE {
            return hostile(format!(
                "the reply has a line of more than {} KiB",
                LINE >> 10
            ));
        }
        line.extend_from_slice(&bytes[..part]);
        stream.consume(part);
        if end.is_some() {
            let whole = line.strip_suffix(b"\r\n").map(<[u8]>::len);
            let Some(length) = whole else {
                return hostile("the reply is not RESP 2");
            };
            line.truncate(length);
            return Ok(());
        }
    }
}

/// Reads a string of this length and the CR LF behind it.
async fn bulk<S>(stream: &mut S, length: usize, allowance: &mut Allowance) -> Result<Vec<u8>, Fault>
where
    S: AsyncBufRead + Unpin,
{
    allowance.has(length)?;
    let mut string = Vec::with_capacity(length.min(AHEAD.1));
    while string.len() < length {
        let bytes = stream.fill_buf().await?;
        if bytes.is_empty() {
            return Err(Fault::Lost(ErrorKind::UnexpectedEof.into()));
        }
        let part = bytes.len().min(length - string.len());
        allowance.take(part)?;
        if string.capacity() - string.len() < part {
            // Twice as much as before, but no more than the string needs.
            let more = string.capacity().max(part).min(length - string.len());
            string.reserve_exact(more);
        }
        string.extend_from_slice(&bytes[..part]);
        stream.consume(part);
    }
    let mut end = Vec::new();
    read_line(stream, &mut end).await?;
    match end.is_empty() {
        true => Ok(string),
        false => hostile("the reply has a string that is longer than its length"),
    }
}

fn text(bytes: &[u8], allowance: &mut Allowance) -> Result<String, Fault> {
    allowance.take(bytes.len())?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn number(digits: &[u8]) -> Result<i64, Fault> {
    let number = std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok());
    number.map_or_else(|| hostile("the reply has an invalid number"), Ok)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read_within(mut bytes: &[u8], limit: usize) -> Result<Reply, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let mut allowance = Allowance::new(limit);
        let read = runtime.block_on(read(&mut bytes, &mut allowance));
        read.map_err(|fault| match fault {
            Fault::Lost(error) => error.kind().to_string(),
            Fault::Hostile(why) => why,
        })
    }

    fn value(bytes: &[u8]) -> Value {
        read_within(bytes, 1 << 20).unwrap().unwrap()
    }

    fn fault(bytes: &[u8]) -> String {
        read_within(bytes, 1 << 20).unwrap_err()
    }

    #[test]
    fn replies_are_read() {
        let bulk = |text: &str| Value::BulkString(text.into());
        assert_eq!(value(b"+OK\r\n"), Value::SimpleString("OK".into()));
        assert_eq!(value(b"+PONG\r\n"), Value::SimpleString("PONG".into()));
        assert_eq!(value(b":-7\r\n"), Value::Int(-7));
        assert_eq!(value(b"$-1\r\n"), Value::Nil);
        assert_eq!(value(b"*-1\r\n"), Value::Nil);
        assert_eq!(value(b"$0\r\n\r\n"), bulk(""));
        assert_eq!(value(b"$4\r\na\r\nb\r\n"), bulk("a\r\nb"));
        let nested = value(b"*3\r\n*0\r\n*2\r\n:1\r\n*1\r\n$1\r\nx\r\n$-1\r\n");
        let inner = Value::Array(vec![Value::Int(1), Value::Array(vec![bulk("x")])]);
        assert_eq!(
            nested,
            Value::Array(vec![Value::Array(vec![]), inner, Value::Nil])
        );
        let error = read_within(b"-ERR no such key\r\n", 1 << 20).unwrap();
        assert_eq!(error, Err(ServerError::parse("ERR no such key")));
    }

    #[test]
    fn anything_but_resp_2_is_rejected() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"%1\r\n",
            b"+OK\n",
            b">1\r\n",
        ] {
            assert_eq!(fault(bytes), "the reply is not RESP 2");
        }
        assert_eq!(fault(b":seven\r\n"), "the reply has an invalid number");
        assert_eq!(fault(b"$-2\r\n"), "the reply has a negative length");
        assert_eq!(fault(b"\r\n"), "the reply is an empty line");
        assert_eq!(
            fault(b"*1\r\n-ERR\r\n"),
            "the reply has an error within an array"
        );
        assert_eq!(
            fault(b"$1\r\nabc\r\n"),
            "the reply has a string that is longer than its length"
        );
        assert_eq!(fault(b"*2\r\n:1\r\n"), "unexpected end of file");
    }

    #[test]
    fn replies_are_bounded_in_bytes_depth_and_lines() {
        // An announced length is rejected before anything is read.
        let too_much = "the reply is larger than 1024 KiB";
        assert_eq!(fault(b"$1048577\r\n"), too_much);
        assert_eq!(fault(b"*9000000000000000000\r\n"), too_much);
        assert_eq!(
            fault(format!("*{}\r\n", (1 << 20) / 8).as_bytes()),
            too_much
        );
        let many = [&b"*10000\r\n"[..], &b"*1\r\n:1\r\n".repeat(10_000)].concat();
        assert_eq!(fault(&many), too_much);
        let deep = b"*1\r\n".repeat(17);
        assert_eq!(fault(&deep), "the reply nests arrays deeper than 16");
        let line = [&b"+"[..], &[b'x'; LINE]].concat();
        assert_eq!(fault(&line), "the reply has a line of more than 64 KiB");
    }

    #[test]
    fn all_connections_together_are_bounded() {
        static ALL: AtomicUsize = AtomicUsize::new(0);
        let mut several: Vec<Allowance> = Vec::new();
        let full = loop {
            let mut one = Allowance::of(100 << 20, &ALL);
            match one.take(100 << 20) {
                Ok(()) => several.push(one),
                Err(Fault::Hostile(why)) => break why,
                Err(fault) => panic!("{fault:?}"),
            }
        };
        assert_eq!(full, "too many servers send large replies at the same time");
        assert_eq!(several.len(), 5);
        // Small replies do not need it.
        Allowance::of(100 << 20, &ALL).take(FREE).unwrap();
        several.clear();
        assert_eq!(ALL.load(Ordering::Relaxed), 0);
    }
}
