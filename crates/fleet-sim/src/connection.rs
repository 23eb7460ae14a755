//! A connection of a poller to a simulated server.

use std::cell::RefCell;
use std::io::{ErrorKind, Result};
use std::rc::Rc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::resp::{MAX_COMMAND, split};
use crate::world::World;

/// Bytes that are read at once.
const READ: usize = 16 << 10;

/// Answers the commands of a connection to a server until it is closed.
pub async fn serve(mut stream: TcpStream, index: usize, world: Rc<RefCell<World>>) -> Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut output) = (Vec::new(), Vec::new());
    let mut poller = None;
    loop {
        stream.readable().await?;
        input.reserve(READ);
        match stream.try_read_buf(&mut input) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        let mut used = 0;
        let mut ranges = Vec::new();
        while let Some(length) = split(&input[used..], &mut ranges)
            .map_err(|_| std::io::Error::from(ErrorKind::InvalidData))?
        {
            let command = &input[used..used + length];
            let words: Vec<&[u8]> = ranges.iter().map(|range| &command[range.clone()]).collect();
            let mut world = world.borrow_mut();
            world.answer(index, &mut poller, &words, &mut output);
            used += length;
        }
        input.drain(..used);
        if input.len() > MAX_COMMAND {
            return Err(ErrorKind::InvalidData.into());
        }
        stream.write_all(&output).await?;
        // Thousands of connections are idle most of the time.
        output = Vec::new();
        if input.is_empty() {
            input = Vec::new();
        }
    }
}
