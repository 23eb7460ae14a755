//! The read buffer of a connection: small while replies are short, large while they are long.
//!
//! A poller has a connection to each of thousands of servers, and most of them are idle at any time. With a buffer of
//! [`LARGEST`] for each, buffers were nearly all the memory of a poller of 10,000 servers (1.3 GB).
//!
//! # Invariants
//!
//! - The buffer is between [`SMALLEST`] and [`LARGEST`] bytes. It doubles when one read fills it.
//! - Between two calls an idle connection has no buffer: [`ReadBuffer::end_call`] drops it if the call had short replies.
//! - Bytes that were read are never dropped before they are consumed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

/// The size of the buffer for short replies, bytes.
const SMALLEST: usize = 4 << 10;
/// The largest size, bytes: with 8 KiB, as is usual, a busy poller took a tenth more time.
pub const LARGEST: usize = 128 << 10;

/// A reader with a buffer that adapts to what is read.
pub struct ReadBuffer<S> {
    stream: S,
    /// Empty between calls with short replies.
    buffer: Vec<u8>,
    /// The bytes of the buffer that are not consumed yet.
    start: usize,
    end: usize,
    /// The bytes read since the last [`ReadBuffer::end_call`].
    read: usize,
    /// The last read filled the buffer.
    was_full: bool,
}

impl<S> ReadBuffer<S> {
    /// Creates a reader without a buffer.
    pub fn new(stream: S) -> ReadBuffer<S> {
        ReadBuffer {
            stream,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            read: 0,
            was_full: false,
        }
    }

    /// Returns the stream, to write to it.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Notes that all replies of a call were read. Drops the buffer if they were short.
    pub fn end_call(&mut self) {
        if self.read <= SMALLEST && self.start == self.end {
            self.buffer = Vec::new();
            self.was_full = false;
        }
        self.read = 0;
    }

    /// Makes sure that there is a buffer, and that it is larger if the last read filled it. Nothing is in it.
    fn prepare(&mut self) {
        let size = match self.buffer.len() {
            0 => SMALLEST,
            size if self.was_full => (2 * size).min(LARGEST),
            size => size,
        };
        if size != self.buffer.len() {
            self.buffer = vec![0; size];
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncBufRead for ReadBuffer<S> {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.start == this.end {
            this.prepare();
            let mut into = ReadBuf::new(&mut this.buffer);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut into))?;
            let read = into.filled().len();
            (this.start, this.end) = (0, read);
            this.was_full = read == this.buffer.len();
            this.read = this.read.saturating_add(read);
        }
        Poll::Ready(Ok(&this.buffer[this.start..this.end]))
    }

    fn consume(self: Pin<&mut Self>, bytes: usize) {
        let this = self.get_mut();
        this.start = (this.start + bytes).min(this.end);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadBuffer<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let bytes = ready!(self.as_mut().poll_fill_buf(context))?;
        let part = bytes.len().min(into.remaining());
        into.put_slice(&bytes[..part]);
        self.consume(part);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Reads a reply of this many bytes in one call. Returns the size of the buffer during the call.
    async fn call<S: AsyncRead + Unpin>(reader: &mut ReadBuffer<S>, mut left: usize) -> usize {
        let mut largest = 0;
        while left > 0 {
            let bytes = reader.fill_buf().await.unwrap();
            let part = bytes.len().min(left);
            assert!(part > 0);
            assert!(bytes[..part].iter().all(|byte| *byte == b'x'));
            reader.consume(part);
            left -= part;
            largest = largest.max(reader.buffer.len());
        }
        reader.end_call();
        largest
    }

    #[tokio::test]
    async fn buffer_grows_with_replies_and_is_dropped_after_short_ones() {
        let bytes = vec![b'x'; (2 << 20) + 300];
        let mut reader = ReadBuffer::new(&bytes[..]);
        assert_eq!(reader.buffer.len(), 0);
        // All bytes are there at once, so each read fills the buffer, and bytes of the next call are in it.
        assert_eq!(call(&mut reader, 100).await, SMALLEST);
        assert_eq!(reader.buffer.len(), SMALLEST);
        assert_eq!(call(&mut reader, 1 << 20).await, LARGEST);
        assert_eq!(reader.buffer.len(), LARGEST);
        call(&mut reader, 1 << 20).await;
        assert_eq!(call(&mut reader, 200).await, LARGEST);
        assert_eq!(reader.buffer.len(), 0);
    }

    #[tokio::test]
    async fn idle_connection_has_no_buffer() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut reader = ReadBuffer::new(near);
        for length in [5, 3000, 100_000, 5] {
            far.write_all(&vec![b'x'; length]).await.unwrap();
            call(&mut reader, length).await;
            assert_eq!(reader.buffer.is_empty(), length <= SMALLEST, "{length}");
        }
    }

    #[tokio::test]
    async fn bytes_are_read_in_order_whatever_the_pieces() {
        let bytes: Vec<u8> = (0..500_000u32).map(|n| (n % 251) as u8).collect();
        let mut reader = ReadBuffer::new(&bytes[..]);
        let mut read = Vec::new();
        let mut piece = vec![0; 7001];
        while let count @ 1.. = reader.read(&mut piece).await.unwrap() {
            read.extend_from_slice(&piece[..count]);
            reader.end_call();
        }
        assert!(read == bytes);
    }
}
