//! A connection of which only so much is read: what answers in a range may be anybody, and could send without end.

use std::io::{Error, Result};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// See the file's header.
pub struct Bounded<S> {
    stream: S,
    left: usize,
}

impl<S> Bounded<S> {
    /// Fails when more than `most` bytes have come.
    pub fn new(stream: S, most: usize) -> Bounded<S> {
        let left = most;
        Bounded { stream, left }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        match self.left.checked_sub(read) {
            Some(left) => self.left = left,
            None => {
                // A read that fails brings nothing.
                buffer.set_filled(before);
                return Poll::Ready(Err(Error::other("it sends more than was asked for")));
            }
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[test]
    fn what_goes_beyond_fails() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let read = |most| {
            let mut stream = Bounded::new(&b"0123456789"[..], most);
            let mut bytes = Vec::new();
            let read = runtime.block_on(stream.read_to_end(&mut bytes));
            read.map_err(|error| error.to_string())
        };
        assert_eq!(read(10), Ok(10));
        assert_eq!(read(9), Err("it sends more than was asked for".into()));
    }
}
