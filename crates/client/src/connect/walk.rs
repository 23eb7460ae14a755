//! Bounds a walk through what a server holds: SCAN and AGG.SCAN go on until the server says that it is over, and a
//! hostile one never does.
//!
//! A cursor of a server that keeps to the protocol only ever moves on, so one that comes a second time is proof
//! enough; one that always differs is stopped by the number of calls.

use std::time::{Duration, Instant};

use super::{ClientError, Connection};

/// The calls of a walk. At a thousand keys each this is a hundred million keys.
const CALLS: u32 = 100_000;
/// How long a walk may take.
const TIME: Duration = Duration::from_secs(900);

/// A walk.
pub struct Walk {
    command: &'static str,
    /// Where it goes on.
    cursor: Vec<u8>,
    calls: u32,
    since: Instant,
    /// An earlier cursor, and after which call it is replaced: each lasts twice as long as the one before, so that a
    /// circle of any length is found.
    earlier: (Vec<u8>, u32),
}

impl Walk {
    /// A walk by this command, at its beginning.
    pub fn new(command: &'static str) -> Walk {
        Walk {
            command,
            cursor: b"0".to_vec(),
            calls: 0,
            since: Instant::now(),
            earlier: (Vec::new(), 1),
        }
    }

    /// What is sent with the next call.
    pub fn cursor(&self) -> &[u8] {
        &self.cursor
    }

    /// Takes the cursor of a reply; tells whether it was the last.
    ///
    /// # Errors
    /// The walk does not end.
    pub fn step(&mut self, wire: &Connection, next: Vec<u8>) -> Result<bool, ClientError> {
        self.go_on(next)
            .map_err(|why| wire.lost(&format!("its {} does not end: {why}", self.command)))
    }

    fn go_on(&mut self, next: Vec<u8>) -> Result<bool, String> {
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

    /// How many calls are made of a server that answers with these cursors, and how it ends.
    fn walk(cursors: impl Iterator<Item = u64>) -> (u32, Result<bool, String>) {
        let mut walk = Walk::new("SCAN");
        let mut end = Ok(false);
        for cursor in cursors {
            end = walk.go_on(cursor.to_string().into_bytes());
            if end != Ok(false) {
                break;
            }
        }
        (walk.calls, end)
    }

    #[test]
    fn a_walk_ends_with_the_cursor_0() {
        assert_eq!(walk([7, 3, 0].into_iter()), (2, Ok(true)));
        assert_eq!(walk((0..1000).rev()), (999, Ok(true)));
    }

    #[test]
    fn a_cursor_that_comes_twice_ends_the_walk() {
        for length in [1, 2, 3, 5, 1000] {
            let (calls, end) = walk((1..=length).cycle());
            assert_eq!(end, Err("it came to the same place twice".into()));
            assert!(u64::from(calls) <= 3 * length + 1, "{length}: {calls}");
        }
        // Also after a beginning that is no part of the circle.
        let (_, end) = walk((50..90).chain((1..=7).cycle()));
        assert_eq!(end, Err("it came to the same place twice".into()));
    }

    #[test]
    fn a_cursor_that_never_repeats_ends_after_so_many_calls() {
        let (calls, end) = walk(1..);
        assert_eq!(calls, CALLS);
        assert_eq!(end, Err("gave up after 100000 calls".into()));
    }
}
