//! The reply of AGG.FETCH as the server sent it, with the places of its records.
//!
//! A poller hands on hundreds of thousands of records a second of which it reads nothing. A tree of values would allocate
//! three times for each of them.
//!
//! # Invariants
//!
//! - A place lies within the bytes of its reply.
//! - The memory of the bytes and of the places is bounded by the allowance of the call.

use std::ops::Range;

use aggregator_protocol::Queue;

use super::raw::{Incoming, Token};
use super::resp::{Allowance, Fault};

/// The records of a reply of AGG.FETCH, in the bytes of the reply.
#[derive(Debug, PartialEq, Eq)]
pub struct FetchedReply {
    /// The reply as it was sent.
    pub bytes: Vec<u8>,
    /// Its records.
    pub records: Vec<PlacedRecord>,
}

/// A record of a [`FetchedReply`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedRecord {
    /// The queue.
    pub queue: Queue,
    /// The id of the record in its queue.
    pub id: i64,
    /// The number of times that the record was delivered, this time included.
    pub deliveries: u64,
    /// The floor of the record, if the server sent it.
    pub floor: Option<i64>,
    /// The place of the text in the bytes of the reply.
    pub place: Range<usize>,
}

/// The part of a reply that the next token begins.
#[derive(Clone, Copy)]
enum Next {
    /// The array of all records.
    Reply,
    /// An array with one record.
    Record,
    Queue,
    Id,
    Deliveries,
    Text,
    Floor,
    /// The reply is not one of AGG.FETCH.
    Invalid,
}

/// The records of a reply that is being read.
pub struct Placing {
    next: Next,
    has_floor: bool,
    /// The record that is being read.
    queue: Queue,
    id: i64,
    deliveries: u64,
    records: Vec<PlacedRecord>,
    /// The records to come.
    left: usize,
}

impl Default for Placing {
    fn default() -> Placing {
        Placing {
            next: Next::Reply,
            has_floor: false,
            queue: Queue::Min,
            id: 0,
            deliveries: 0,
            records: Vec::new(),
            left: 0,
        }
    }
}

impl Placing {
    /// Reads the next token, which ends before this offset. Returns what is to come, or `None` if the token is not what
    /// a reply of AGG.FETCH has here.
    fn step(&mut self, token: Token<'_>, end: usize) -> Option<Next> {
        let int = |token| match token {
            Token::Int(n) => Some(n),
            _ => None,
        };
        Some(match self.next {
            Next::Reply => {
                self.left = token.count()?;
                Next::Record
            }
            Next::Record => {
                self.left = self.left.checked_sub(1)?;
                match token {
                    Token::Array(4) => self.has_floor = false,
                    Token::Array(5) => self.has_floor = true,
                    _ => return None,
                }
                Next::Queue
            }
            Next::Queue => {
                self.queue = Queue::from_name(token.text()?)?;
                Next::Id
            }
            Next::Id => {
                self.id = int(token)?;
                Next::Deliveries
            }
            Next::Deliveries => {
                self.deliveries = u64::try_from(int(token)?).ok()?;
                Next::Text
            }
            Next::Text => {
                // The text and CR LF are the end of the token.
                let end = end.checked_sub(2)?;
                self.records.push(PlacedRecord {
                    queue: self.queue,
                    id: self.id,
                    deliveries: self.deliveries,
                    floor: None,
                    place: end.checked_sub(token.text()?.len())?..end,
                });
                match self.has_floor {
                    true => Next::Floor,
                    false => Next::Record,
                }
            }
            Next::Floor => {
                self.records.last_mut()?.floor = Some(int(token)?);
                Next::Record
            }
            Next::Invalid => return None,
        })
    }
}

impl Incoming for Placing {
    type Reply = Option<FetchedReply>;

    fn note(
        &mut self,
        token: Token<'_>,
        end: usize,
        allowance: &mut Allowance,
    ) -> Result<(), Fault> {
        if let Next::Record = self.next {
            allowance.take(size_of::<PlacedRecord>())?;
        }
        self.next = self.step(token, end).unwrap_or(Next::Invalid);
        if let Next::Invalid = self.next {
            self.records = Vec::new();
        }
        Ok(())
    }

    fn end(self, bytes: Vec<u8>) -> Option<FetchedReply> {
        let is_complete = matches!(self.next, Next::Record) && self.left == 0;
        is_complete.then_some(FetchedReply {
            bytes,
            records: self.records,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::raw::read;
    use super::*;

    fn fetched_within(mut bytes: &[u8], limit: usize) -> Result<Option<FetchedReply>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let mut allowance = Allowance::new(limit);
        let read = runtime.block_on(read::<_, Placing>(&mut bytes, &mut allowance));
        match read {
            Ok(reply) => Ok(reply.unwrap()),
            Err(Fault::Lost(error)) => Err(error.kind().to_string()),
            Err(Fault::Hostile(why)) => Err(why),
        }
    }

    fn fetched(bytes: &[u8]) -> Option<FetchedReply> {
        fetched_within(bytes, 1 << 20).unwrap()
    }

    #[test]
    fn records_are_placed_in_the_bytes_of_the_reply() {
        let bytes = b"*3\r\n*4\r\n$3\r\nMIN\r\n:9\r\n:1\r\n$5\r\na\r\nb\n\r\n\
            *5\r\n$3\r\nLOG\r\n:-2\r\n:3\r\n$0\r\n\r\n:-7\r\n\
            *4\r\n+ERROR\r\n:3\r\n:0\r\n+{}\r\n";
        let reply = fetched(bytes).unwrap();
        let record = |record: &PlacedRecord| {
            let text = &reply.bytes[record.place.clone()];
            let text = std::str::from_utf8(text).unwrap().to_owned();
            let PlacedRecord { queue, id, .. } = *record;
            (queue, id, record.deliveries, record.floor, text)
        };
        let records: Vec<_> = reply.records.iter().map(record).collect();
        let expected = [
            (Queue::Min, 9, 1, None, "a\r\nb\n".to_owned()),
            (Queue::Log, -2, 3, Some(-7), String::new()),
            (Queue::Error, 3, 0, None, "{}".to_owned()),
        ];
        assert_eq!(records, expected);
        for empty in [&b"*0\r\n"[..], b"*-1\r\n", b"$-1\r\n"] {
            assert_eq!(fetched(empty).unwrap().records, []);
        }
    }

    #[test]
    fn anything_else_is_no_reply_of_a_fetch() {
        for bytes in [
            &b"+OK\r\n"[..],
            b":1\r\n",
            b"*1\r\n:1\r\n",
            b"*1\r\n$-1\r\n",
            b"*1\r\n*0\r\n",
            b"*1\r\n*3\r\n$3\r\nMIN\r\n:9\r\n:1\r\n",
            b"*1\r\n*4\r\n$3\r\nMAX\r\n:9\r\n:1\r\n$1\r\nx\r\n",
            b"*1\r\n*4\r\n$3\r\nMIN\r\n$1\r\n9\r\n:1\r\n$1\r\nx\r\n",
            b"*1\r\n*4\r\n$3\r\nMIN\r\n:9\r\n:-1\r\n$1\r\nx\r\n",
            b"*1\r\n*4\r\n$3\r\nMIN\r\n:9\r\n:1\r\n:1\r\n",
            b"*1\r\n*4\r\n$3\r\nMIN\r\n:9\r\n:1\r\n*1\r\n$1\r\nx\r\n",
            b"*1\r\n*5\r\n$3\r\nMIN\r\n:9\r\n:1\r\n$1\r\nx\r\n$1\r\n1\r\n",
            b"*1\r\n*6\r\n$3\r\nMIN\r\n:9\r\n:1\r\n$1\r\nx\r\n:1\r\n:1\r\n",
            // A record follows, which is not read any more.
            b"*2\r\n:1\r\n*4\r\n$3\r\nMIN\r\n:9\r\n:1\r\n$1\r\nx\r\n",
        ] {
            assert_eq!(fetched(bytes), None, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn places_count_as_memory_of_the_reply() {
        let record = b"*4\r\n$3\r\nMIN\r\n:9\r\n:1\r\n$0\r\n\r\n";
        let bytes = [&b"*1000\r\n"[..], &record.repeat(1000)].concat();
        let limit = bytes.len() + 1000 * size_of::<PlacedRecord>();
        let whole = fetched_within(&bytes, limit).unwrap().unwrap();
        assert_eq!(whole.records.len(), 1000);
        let error = fetched_within(&bytes, limit - 1).unwrap_err();
        assert!(error.starts_with("the reply is larger than"), "{error}");
        // An announced length allocates nothing.
        let error = fetched_within(b"*9000000000000000000\r\n", 1000).unwrap_err();
        assert_eq!(error, "unexpected end of file");
    }
}
