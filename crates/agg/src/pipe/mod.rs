//! `agg pipe`: sends the lines of standard input as samples, log entries or errors.
//!
//! # Invariants
//! Memory is bounded: while the server is slow, the writer of standard input waits. Unanswered lines are sent again
//! under their sequence numbers, so each counts once.

mod batch;
mod lines;
mod options;
mod samples;
mod send;

use std::io::{self, Read};
use std::time::Instant;

use agg_client::Shutdown;
use agg_client::connect::Server;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::exit_status::ExitStatus;

use batch::Batch;
use lines::Splitter;
pub use options::Command;
use send::Sender;

/// Maximum bytes of a line. The server truncates texts to less, by a setting of its own.
const MAX_LINE: usize = 1024 * 1024;
/// Bytes per read.
const CHUNK: usize = 64 * 1024;
/// Maximum chunks between the reader and the sender.
const CHUNKS: usize = 4;

type Chunk = io::Result<Vec<u8>>;

/// Sends standard input until it ends.
///
/// # Errors
/// The host name is not set, the server cannot be reached, or standard input cannot be read.
pub async fn run(
    server: &Server,
    command: Command,
    shutdown: &Shutdown,
) -> Result<ExitStatus, String> {
    let sender = Sender::new(server, command, shutdown)?;
    let (output, chunks) = mpsc::channel(CHUNKS);
    // A thread, as a read has no timeout. It ends with the program.
    std::thread::spawn(move || read(&mut io::stdin().lock(), &output));
    let splitter = Splitter::new(MAX_LINE);
    Pipe {
        sender,
        chunks,
        splitter,
        batch: Batch::default(),
        shutdown,
    }
    .run()
    .await
}

fn read(input: &mut impl Read, output: &mpsc::Sender<Chunk>) {
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
        if output.blocking_send(read).is_err() || failed {
            return;
        }
    }
}

struct Pipe<'a> {
    sender: Sender<'a>,
    chunks: mpsc::Receiver<Chunk>,
    splitter: Splitter,
    batch: Batch,
    shutdown: &'a Shutdown,
}

impl Pipe<'_> {
    async fn run(mut self) -> Result<ExitStatus, String> {
        let result = self.send_all().await;
        if self.splitter.cut_lines > 0 {
            let cut = self.splitter.cut_lines;
            tracing::info!("{cut} lines longer than {MAX_LINE} bytes were cut");
        }
        if self.sender.rejected > 0 {
            let (rejected, answered) = (self.sender.rejected, self.sender.answered);
            tracing::info!("{rejected} of {answered} lines were rejected");
        }
        if self.sender.late > 0 {
            let (late, answered) = (self.sender.late, self.sender.answered);
            tracing::info!("{late} of {answered} lines came too late to count");
        }
        let unsent = self.count_unsent();
        if unsent > 0 {
            tracing::info!("{unsent} lines were read but not sent");
        }
        match result? {
            ExitStatus::Success if self.sender.rejected + self.sender.late > 0 => {
                Ok(ExitStatus::Incomplete)
            }
            status => Ok(status),
        }
    }

    async fn send_all(&mut self) -> Result<ExitStatus, String> {
        loop {
            let delay = self.batch.remaining_delay(Instant::now());
            let is_due = delay.is_some();
            let next = tokio::select! {
                biased;
                () = self.shutdown.requested() => return self.send_rest().await,
                () = sleep(delay.unwrap_or_default()), if is_due => None,
                chunk = self.chunks.recv() => Some(chunk),
            };
            match next {
                None => self.sender.send(&mut self.batch).await?,
                Some(Some(chunk)) => {
                    let chunk = chunk.map_err(|error| format!("cannot read: {error}"))?;
                    self.send_lines(&chunk).await?;
                }
                Some(None) => {
                    self.finish().await?;
                    return Ok(match self.sender.unanswered() {
                        0 => ExitStatus::Success,
                        _ => ExitStatus::Interrupted,
                    });
                }
            }
        }
    }

    /// Sends what has been read when a shutdown was requested.
    async fn send_rest(&mut self) -> Result<ExitStatus, String> {
        while let Ok(Ok(chunk)) = self.chunks.try_recv() {
            self.send_lines(&chunk).await?;
        }
        self.finish().await?;
        Ok(ExitStatus::Interrupted)
    }

    async fn send_lines(&mut self, chunk: &[u8]) -> Result<(), String> {
        let now = Instant::now();
        let mut lines = Vec::new();
        self.splitter.feed(chunk, |line| lines.push(line));
        let mut result = Ok(());
        for line in lines {
            // After a failure, the remaining lines are kept to be counted as unsent.
            self.batch.push(line, now);
            if result.is_ok() && self.batch.is_full() {
                result = self.sender.send(&mut self.batch).await;
            }
        }
        result
    }

    async fn finish(&mut self) -> Result<(), String> {
        let batch = &mut self.batch;
        self.splitter
            .finish(|line| batch.push(line, Instant::now()));
        self.sender.send(batch).await
    }

    /// Returns the number of lines that were read and not answered.
    fn count_unsent(&mut self) -> usize {
        let mut count = self.sender.unanswered() + self.batch.lines.len();
        while let Ok(chunk) = self.chunks.try_recv() {
            if let Ok(chunk) = chunk {
                self.splitter.feed(&chunk, |_| count += 1);
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
    fn reader_ends_with_the_input_and_passes_errors_on() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let (output, mut chunks) = mpsc::channel(9);
        read(&mut &b"abc"[..], &output);
        assert_eq!(chunks.try_recv().unwrap().unwrap(), b"abc");
        assert!(chunks.try_recv().is_err());
        read(&mut (&b"abc"[..]).chain(Broken), &output);
        assert!(chunks.try_recv().unwrap().is_ok());
        assert_eq!(
            chunks.try_recv().unwrap().unwrap_err().to_string(),
            "broken"
        );
    }
}
