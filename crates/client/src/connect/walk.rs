//! Bounds of SCAN and AGG.SCAN, which continue until the server ends them; a hostile server never does.
//!
//! The cursor of a server that keeps to the protocol never repeats, so a repeated cursor is proof enough; a cursor that
//! always differs is stopped by the number of calls.

use std::time::{Duration, Instant};

use super::connection::Connection;
use crate::error::ClientError;

/// The maximum number of calls of a walk: at a thousand keys each a hundred million keys.
const CALLS: u32 = 100_000;
/// The time that a walk may take.
const TIME: Duration = Duration::from_secs(900);

/// A walk through what a server holds, page by page.
pub struct CursorWalk {
    command: &'static str,
    /// The cursor at which the walk continues.
    cursor: Vec<u8>,
    calls: u32,
    since: Instant,
    /// An earlier cursor, and after which call it is replaced: each is kept twice as long as the one before, so that a
    /// cycle of any length is found.
    earlier: (Vec<u8>, u32),
}

impl CursorWalk {
    /// Begins a walk by this command.
    pub fn new(command: &'static str) -> CursorWalk {
        CursorWalk {
            command,
            cursor: b"0".to_vec(),
            calls: 0,
            since: Instant::now(),
            earlier: (Vec::new(), 1),
        }
    }

    /// Returns the cursor to send with the next call.
    pub fn cursor(&self) -> &[u8] {
        &self.cursor
    }

    /// Takes the cursor of a reply, and returns whether it was the last.
    ///
    /// # Errors
    ///
    /// The walk does not end: a cursor repeats, or there are too many calls.
    pub fn step(&mut self, connection: &Connection, next: Vec<u8>) -> Result<bool, ClientError> {
        self.advance(next)
            .map_err(|why| connection.lost(&format!("its {} does not end: {why}", self.command)))
    }

    fn advance(&mut self, next: Vec<u8>) -> Result<bool, String> {
        self.cursor = next;
        if self.cursor == b"0" {
            return Ok(true);
        }
        self.calls += 1;
        if self.cursor == self.earlier.0 {
            return Err("it came to the same place twice".into());
        }
        if self.calls == self.earlier.1 {
            self.earlier = (self.cursor.clone(), self.calls * 2);
        }
        if self.calls >= CALLS {
            return Err(format!("gave up after {CALLS} calls"));
        }
        if self.since.elapsed() >= TIME {
            return Err(format!("gave up after {} minutes", TIME.as_secs() / 60));
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how many calls are made to a server that answers with these cursors, and how the walk ends.
    fn walk(cursors: impl Iterator<Item = u64>) -> (u32, Result<bool, String>) {
        let mut walk = CursorWalk::new("SCAN");
        let mut end = Ok(false);
        for cursor in cursors {
            end = walk.advance(cursor.to_string().into_bytes());
            if end != Ok(false) {
                break;
            }
        }
        (walk.calls, end)
    }

    #[test]
    fn walk_ends_with_the_cursor_0() {
        assert_eq!(walk([7, 3, 0].into_iter()), (2, Ok(true)));
        assert_eq!(walk((0..1000).rev()), (999, Ok(true)));
    }

    #[test]
    fn repeated_cursor_ends_the_walk() {
        for length in [1, 2, 3, 5, 1000] {
            let (calls, end) = walk((1..=length).cycle());
            assert_eq!(end, Err("it came to the same place twice".into()));
            assert!(u64::from(calls) <= 3 * length + 1, "{length}: {calls}");
        }
        // Also after a beginning that is not part of the cycle.
        let (_, end) = walk((50..90).chain((1..=7).cycle()));
        assert_eq!(end, Err("it came to the same place twice".into()));
    }

    #[test]
    fn cursor_that_never_repeats_ends_after_so_many_calls() {
        let (calls, end) = walk(1..);
        assert_eq!(calls, CALLS);
        assert_eq!(end, Err("gave up after 100000 calls".into()));
    }
}
