//! Lines that wait to be sent together. Bounded by number and by bytes; the oldest waits no longer than a moment.

use std::time::{Duration, Instant};

use super::lines::Line;

/// See the file.
#[derive(Default)]
pub struct Batch {
    /// The lines, oldest first.
    pub lines: Vec<Line>,
    bytes: usize,
    since: Option<Instant>,
}

impl Batch {
    /// Lines of one batch.
    pub const LINES: usize = 500;
    /// Bytes after which a batch is full.
    pub const BYTES: usize = 1024 * 1024;
    /// How long the oldest line waits.
    pub const WAIT: Duration = Duration::from_millis(200);

    /// Adds a line that came `now`.
    pub fn push(&mut self, line: Line, now: Instant) {
        self.bytes += line.bytes.len();
        self.since.get_or_insert(now);
        self.lines.push(line);
    }

    /// Whether it is to be sent whatever comes.
    pub fn is_full(&self) -> bool {
        self.lines.len() >= Self::LINES || self.bytes >= Self::BYTES
    }

    /// How long it may still wait; none where there is nothing to send.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        Some(Self::WAIT.saturating_sub(now.saturating_duration_since(self.since?)))
    }

    /// Drops the first lines: they were answered. What is left stands as if it had come first.
    pub fn answered(&mut self, count: usize) {
        self.bytes -= self
            .lines
            .drain(..count)
            .map(|line| line.bytes.len())
            .sum::<usize>();
        if self.lines.is_empty() {
            self.since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(size: usize) -> Line {
        Line {
            number: 1,
            bytes: vec![b'x'; size],
        }
    }

    #[test]
    fn full_by_number_or_by_bytes() {
        let (mut batch, now) = (Batch::default(), Instant::now());
        for _ in 0..Batch::LINES {
            assert!(!batch.is_full());
            batch.push(line(1), now);
        }
        assert!(batch.is_full());
        batch.answered(1);
        assert!(!batch.is_full());
        batch.push(line(Batch::BYTES), now);
        assert!(batch.is_full());
        batch.answered(batch.lines.len());
        assert!(!batch.is_full() && batch.bytes == 0);
    }

    #[test]
    fn the_oldest_line_sets_the_time() {
        let (mut batch, now) = (Batch::default(), Instant::now());
        assert_eq!(batch.left(now), None);
        batch.push(line(1), now);
        let later = now + Duration::from_millis(150);
        batch.push(line(1), later);
        assert_eq!(batch.left(later), Some(Duration::from_millis(50)));
        assert_eq!(batch.left(now + Batch::WAIT * 2), Some(Duration::ZERO));
        batch.answered(2);
        assert_eq!(batch.left(later), None);
    }
}
