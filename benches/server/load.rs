//! The load generator. It sends prebuilt requests, in batches on many connections, and only finds the end of each reply
//! and compares its beginning, so that it is not the bottleneck. It sends the requests of every row, so that its
//! influence on the server is the same for all.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A placeholder in a request for a total that grows from one pass over the names to the next.
pub const TOTAL: &str = "{total}";

/// A placeholder for the name of a source of reports: each batch has its own, as batches overtake each other.
pub const SOURCE: &str = "{source}";

/// A placeholder for a sequence number that grows within a batch and from one pass to the next: a total, and the place
/// in the batch in [`PLACE_DIGITS`] digits.
pub const NUMBER: &str = "{number}";
const PLACE_DIGITS: usize = 4;

/// The total of the first pass. It has ten digits for long, so that it can be overwritten in place.
const FIRST_TOTAL: u64 = 1_000_000_000;

/// The growth of a total per pass.
const STEP: u64 = 137;

/// Requests that are sent together.
struct Batch {
    bytes: Vec<u8>,
    commands: usize,
    /// The offsets of totals, those at the beginning of sequence numbers among them.
    totals: Vec<usize>,
    source: String,
}

/// The requests of a row: one pass over its names, which is repeated as often as needed.
pub struct Requests {
    batches: Vec<Batch>,
    next: usize,
    total: u64,
}

impl Requests {
    /// Builds batches of commands; `words` returns the words of a command.
    pub fn build(
        batch: usize,
        commands: usize,
        mut words: impl FnMut(usize) -> Vec<String>,
    ) -> Requests {
        let mut batches = Vec::with_capacity(commands.div_ceil(batch));
        for first in (0..commands).step_by(batch) {
            let mut built = Batch {
                bytes: Vec::new(),
                commands: 0,
                totals: Vec::new(),
                source: format!("reporter-{:04}", batches.len()),
            };
            for i in first..commands.min(first + batch) {
                built.push(&words(i));
            }
            batches.push(built);
        }
        Requests {
            batches,
            next: 0,
            total: FIRST_TOTAL,
        }
    }

    /// Continues with the totals of the second pass: other requests were the first.
    pub fn after_a_pass(mut self) -> Requests {
        self.total += STEP;
        self
    }

    /// Returns the number of commands in one pass.
    pub fn commands(&self) -> usize {
        self.batches.iter().map(|batch| batch.commands).sum()
    }

    fn next(&mut self) -> &Batch {
        if self.next == self.batches.len() {
            self.next = 0;
            self.total += STEP;
        }
        let batch = &mut self.batches[self.next];
        self.next += 1;
        if !batch.totals.is_empty() {
            let total = self.total.to_string();
            for at in &batch.totals {
                batch.bytes[*at..*at + total.len()].copy_from_slice(total.as_bytes());
            }
        }
        batch
    }
}

impl Batch {
    fn push(&mut self, words: &[String]) {
        let place = self.commands;
        self.commands += 1;
        self.bytes
            .extend(format!("*{}\r\n", words.len()).into_bytes());
        for word in words {
            let text = match word.as_str() {
                TOTAL => FIRST_TOTAL.to_string(),
                NUMBER => format!("{FIRST_TOTAL}{place:0PLACE_DIGITS$}"),
                SOURCE => self.source.clone(),
                word => word.to_owned(),
            };
            self.bytes
                .extend(format!("${}\r\n", text.len()).into_bytes());
            if word == TOTAL || word == NUMBER {
                self.totals.push(self.bytes.len());
            }
            self.bytes.extend(text.as_bytes());
            self.bytes.extend(b"\r\n");
        }
    }
}

/// The replies of a run.
#[derive(Default)]
pub struct Replies {
    /// The number of replies.
    pub commands: usize,
    /// The number of replies that were errors, or not as expected.
    pub wrong: usize,
    /// The first of the wrong ones.
    pub first_wrong: String,
}

/// Connections that load a server.
pub struct Clients(Vec<Client>);

impl Clients {
    /// Opens connections.
    pub fn connect(port: u16, clients: usize) -> io::Result<Clients> {
        (0..clients)
            .map(|_| Client::connect(port))
            .collect::<io::Result<_>>()
            .map(Clients)
    }

    /// Sends batches until at least `commands` commands are sent, and reads all replies. A connection sends its next
    /// batch as soon as it has the replies of the last. A reply is wrong if it is an error or does not begin with
    /// `expected`.
    pub fn run(
        &mut self,
        requests: &mut Requests,
        commands: usize,
        expected: &[u8],
    ) -> io::Result<Replies> {
        let mut replies = Replies::default();
        let mut sent = 0;
        // A total must not overtake an earlier one on another connection.
        let clients = match requests
            .batches
            .iter()
            .any(|batch| !batch.totals.is_empty())
        {
            true => (requests.batches.len() / 2).clamp(1, self.0.len()),
            false => self.0.len(),
        };
        loop {
            let mut waiting = false;
            for client in &mut self.0[..clients] {
                client.receive(expected, &mut replies)?;
                if sent < commands {
                    let batch = requests.next();
                    client.stream.write_all(&batch.bytes)?;
                    client.pending = batch.commands;
                    sent += batch.commands;
                    waiting = true;
                }
            }
            if !waiting {
                return Ok(replies);
            }
        }
    }
}

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The part of the buffer that was read and not processed yet.
    begin: usize,
    end: usize,
    /// The number of outstanding replies.
    pending: usize,
}

impl Client {
    fn connect(port: u16) -> io::Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Client {
            stream,
            buffer: vec![0; 64 << 10],
            begin: 0,
            end: 0,
            pending: 0,
        })
    }

    fn receive(&mut self, expected: &[u8], replies: &mut Replies) -> io::Result<()> {
        while self.pending > 0 {
            let rest = &self.buffer[self.begin..self.end];
            let Some(len) = reply_len(rest) else {
                self.read_more()?;
                continue;
            };
            let reply = &rest[..len];
            if reply[0] == b'-' || !reply.starts_with(expected) {
                if replies.wrong == 0 {
                    replies.first_wrong = String::from_utf8_lossy(reply).trim_end().to_owned();
                }
                replies.wrong += 1;
            }
            replies.commands += 1;
            self.pending -= 1;
            self.begin += len;
        }
        Ok(())
    }

    fn read_more(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.begin..self.end, 0);
        (self.begin, self.end) = (0, self.end - self.begin);
        if self.end == self.buffer.len() {
            self.buffer.resize(self.end * 2, 0);
        }
        match self.stream.read(&mut self.buffer[self.end..])? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            n => {
                self.end += n;
                Ok(())
            }
        }
    }
}

/// Returns the length of the first RESP2 reply; `None` if it is incomplete.
fn reply_len(bytes: &[u8]) -> Option<usize> {
    let line = bytes.iter().position(|byte| *byte == b'\n')? + 1;
    let count = || -> i64 {
        let digits = std::str::from_utf8(&bytes[1..line - 2]).unwrap_or_default();
        digits.parse().unwrap_or(0)
    };
    match bytes[0] {
        b'$' => {
            let len = count();
            let all = if len < 0 {
                line
            } else {
                line + len as usize + 2
            };
            (bytes.len() >= all).then_some(all)
        }
        b'*' => (0..count()).try_fold(line, |at, _| Some(at + reply_len(&bytes[at..])?)),
        _ => Some(line),
    }
}

/// A pseudo-random generator with a fixed seed.
pub struct Random(pub u64);

impl Random {
    /// Returns the next 64-bit number (splitmix64).
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns the numbers below `n` in random order, which defeats caches.
    pub fn order(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, (self.next() % (i as u64 + 1)) as usize);
        }
        order
    }

    /// Returns a text that does not compress.
    pub fn text(&mut self, len: usize) -> String {
        (0..len)
            .map(|_| char::from(b'a' + (self.next() >> 32) as u8 % 26))
            .collect()
    }

    /// Returns a value as programs report it, with two decimals.
    pub fn value(&mut self) -> String {
        let n = self.next() % 100_000;
        format!("{}.{:02}", n / 100, n % 100)
    }
}
