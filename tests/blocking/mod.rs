//! AGG.FETCH with BLOCK on a real server: what wakes a blocked client, what it gets after its timeout, and that it
//! delays nobody.
//!
//! A client blocks on a thread of its own. The server says whether it is blocked; no test guesses it by a sleep.

mod clients;
mod nodes;
mod unblocking;
mod wakeups;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use redis::{RedisResult, Value};
use testkit::*;

/// How long a condition may take on a loaded machine.
const LONG: Duration = Duration::from_secs(300);

/// Longer than a few ticks of the timer; for events that must not happen.
const SHORT: Duration = Duration::from_millis(300);

/// A blocked client.
struct Waiter {
    id: i64,
    answer: Receiver<RedisResult<Value>>,
}

impl Waiter {
    /// Sends a command that blocks and returns once the client is blocked.
    fn start(server: &Server, line: &str) -> Waiter {
        Waiter::start_on(server, server.connection(), line)
    }

    fn start_on(server: &Server, mut connection: redis::Connection, line: &str) -> Waiter {
        let id = ask(&mut connection, "CLIENT ID");
        let (sender, answer) = channel();
        let words = line.to_owned();
        std::thread::spawn(move || {
            let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
            // The test may have ended.
            let _ = sender.send(send(&mut connection, &words));
        });
        let waiter = Waiter { id, answer };
        until(&format!("{line} waits"), || {
            if let Ok(reply) = waiter.answer.try_recv() {
                panic!("{line} did not wait: {reply:?}");
            }
            waiter.waits(server).then_some(())
        });
        waiter
    }

    /// Returns whether the client is blocked.
    fn waits(&self, server: &Server) -> bool {
        let line: String = server.ask(&format!("CLIENT LIST ID {}", self.id));
        line.contains(" flags=b")
    }

    /// Asserts that it is still blocked some time later.
    fn goes_on_waiting(&self, server: &Server) {
        if let Ok(reply) = self.answer.recv_timeout(SHORT) {
            panic!("it woke: {reply:?}");
        }
        assert!(self.waits(server));
    }

    fn reply(self) -> RedisResult<Value> {
        self.answer.recv_timeout(LONG).expect("it never woke")
    }

    /// Returns the records that it woke with.
    fn records(self) -> Vec<QueuedRecord> {
        queued_records(&self.reply().unwrap())
    }

    /// Returns the only record that it woke with.
    fn record(self) -> QueuedRecord {
        let [record] = self.records().try_into().expect("one record");
        record
    }
}

fn blocked_clients(server: &Server) -> usize {
    server.info_field("clients", "blocked_clients")
}

/// A raw connection.
struct Raw(TcpStream);

impl Raw {
    fn open(server: &Server) -> Raw {
        let stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        Raw(stream)
    }

    fn send(&mut self, lines: &str) {
        self.0.write_all(lines.as_bytes()).unwrap();
    }

    /// Returns what the server sends, up to and including these bytes.
    fn read_up_to(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end.as_bytes()) {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap_or_else(|error| {
                let bytes = String::from_utf8_lossy(&bytes);
                panic!("{error} behind {bytes:?}, before {end:?}")
            });
            bytes.push(byte[0]);
        }
        String::from_utf8(bytes).unwrap()
    }
}
