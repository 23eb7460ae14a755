//! `agg pipe`: turns the lines of standard input into logs or errors. Memory is bounded: while the server takes its
//! time, the writer of our input waits. At least once: lines without an answer are sent again.

mod batch;
mod command;
mod lines;
mod send;

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use crate::Ended;
use agg_client::Shutdown;
use agg_client::connect::Server;
use agg_client::messages::say;

use batch::Batch;
pub use command::Command;
use lines::Splitter;
use send::Sender;

/// The longest line. The server cuts texts long before, by its own setting.
const LONGEST_LINE: usize = 1024 * 1024;
/// Bytes read at once.
const CHUNK: usize = 64 * 1024;
/// Chunks that wait between the reader and the sender.
const CHUNKS: usize = 4;
/// How often to look whether the end was asked for.
const LOOK: Duration = Duration::from_millis(100);

/// What the reader hands over.
type Chunk = io::Result<Vec<u8>>;

/// Sends standard input to its end.
pub fn run(server: &Server, command: &Command, stop: &Shutdown) -> Result<Ended, String> {
    let sender = Sender::new(server, command, stop)?;
    let (to, chunks) = sync_channel(CHUNKS);
    // A thread, as reading cannot be given a time limit. It ends with the program.
    std::thread::spawn(move || read(&mut io::stdin().lock(), &to));
    let splitter = Splitter::new(LONGEST_LINE);
    Pipe {
        sender,
        chunks,
        splitter,
        batch: Batch::default(),
        stop,
    }
    .run()
}

fn read(input: &mut impl Read, to: &SyncSender<Chunk>) {
    loop {
        let mut chunk = vec![0; CHUNK];
        let read = match input.read(&mut chunk) {
            Ok(0) => return,
            Ok(count) => {
                chunk.truncate(count);
                Ok(chunk)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let failed = read.is_err();
        if to.send(read).is_err() || failed {
            return;
        }
    }
}

struct Pipe<'a> {
    sender: Sender<'a>,
    chunks: Receiver<Chunk>,
    splitter: Splitter,
    batch: Batch,
    stop: &'a Shutdown,
}

impl Pipe<'_> {
    fn run(mut self) -> Result<Ended, String> {
        let result = self.all();
        if self.splitter.cut > 0 {
            say(&format!(
                "{} lines longer than {LONGEST_LINE} bytes were cut",
                self.splitter.cut
            ));
        }
        if self.sender.refused > 0 {
            let (refused, all) = (self.sender.refused, self.sender.answered);
            say(&format!("{refused} of {all} lines were refused"));
        }
        let unsent = self.unsent();
        if unsent > 0 {
            say(&format!("{unsent} lines that were read were not sent"));
        }
        match result? {
            Ended::Done if self.sender.refused > 0 => Ok(Ended::Incomplete),
            ended => Ok(ended),
        }
    }

    fn all(&mut self) -> Result<Ended, String> {
        loop {
            if self.stop.is_requested() {
                return self.rest();
            }
            let left = self.batch.left(Instant::now());
            if left == Some(Duration::ZERO) {
                self.sender.send(&mut self.batch)?;
                continue;
            }
            match self.chunks.recv_timeout(left.unwrap_or(LOOK).min(LOOK)) {
                Ok(chunk) => self.take(&chunk.map_err(|why| format!("cannot read: {why}"))?)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.end()?;
                    return Ok(if self.batch.lines.is_empty() {
                        Ended::Done
                    } else {
                        Ended::Interrupted
                    });
                }
            }
        }
    }

    /// The end was asked for: sends what was read.
    fn rest(&mut self) -> Result<Ended, String> {
        while let Ok(Ok(chunk)) = self.chunks.try_recv() {
            self.take(&chunk)?;
        }
        self.end()?;
        Ok(Ended::Interrupted)
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), String> {
        let now = Instant::now();
        let mut lines = Vec::new();
        self.splitter.feed(chunk, |line| lines.push(line));
        let mut result = Ok(());
        for line in lines {
            // After a failure the lines are kept to be counted.
            self.batch.push(line, now);
            if result.is_ok() && self.batch.is_full() {
                result = self.sender.send(&mut self.batch);
            }
        }
        result
    }

    fn end(&mut self) -> Result<(), String> {
        let batch = &mut self.batch;
        self.splitter
            .finish(|line| batch.push(line, Instant::now()));
        self.sender.send(batch)
    }

    /// Lines that were read and have no answer.
    fn unsent(&mut self) -> usize {
        let mut count = self.batch.lines.len();
        loop {
            match self.chunks.try_recv() {
                Ok(Ok(chunk)) => self.splitter.feed(&chunk, |_| count += 1),
                Ok(Err(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        self.splitter.finish(|_| count += 1);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_ends_with_the_input_and_passes_errors_on() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let (to, chunks) = sync_channel(9);
        read(&mut &b"abc"[..], &to);
        assert_eq!(chunks.try_recv().unwrap().unwrap(), b"abc");
        assert!(chunks.try_recv().is_err());
        read(&mut (&b"abc"[..]).chain(Broken), &to);
        assert!(chunks.recv().unwrap().is_ok());
        assert_eq!(chunks.recv().unwrap().unwrap_err().to_string(), "broken");
    }
}
