//! Collects lines to be sent together. A batch is bounded in lines and bytes, and in the delay of its oldest line.

use std::time::{Duration, Instant};

use super::lines::Line;

/// A batch of lines.
#[derive(Default)]
pub struct Batch {
    /// Oldest first.
    pub lines: Vec<Line>,
    bytes: usize,
    /// The time at which the oldest line was added.
    since: Option<Instant>,
}

impl Batch {
    /// Lines at which a batch is full.
    pub const MAX_LINES: usize = 500;
    /// Bytes at which a batch is full.
    pub const MAX_BYTES: usize = 1024 * 1024;
    /// The maximum delay of the oldest line.
    pub const MAX_DELAY: Duration = Duration::from_millis(200);

    /// Adds a line at the time `now`.
    pub fn push(&mut self, line: Line, now: Instant) {
        self.bytes += line.bytes.len();
        self.since.get_or_insert(now);
        self.lines.push(line);
    }

    /// Returns whether the batch must be sent at once.
    pub fn is_full(&self) -> bool {
        self.lines.len() >= Self::MAX_LINES || self.bytes >= Self::MAX_BYTES
    }

    /// Returns how long the batch may still wait; `None` if it is empty.
    pub fn remaining_delay(&self, now: Instant) -> Option<Duration> {
        Some(Self::MAX_DELAY.saturating_sub(now.saturating_duration_since(self.since?)))
    }

    /// Removes all lines.
    pub fn take(&mut self) -> Vec<Line> {
        std::mem::take(self).lines
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
    fn batch_is_full_by_lines_or_by_bytes() {
        let (mut batch, now) = (Batch::default(), Instant::now());
        for _ in 0..Batch::MAX_LINES {
            assert!(!batch.is_full());
            batch.push(line(1), now);
        }
        assert!(batch.is_full());
        assert_eq!(batch.take().len(), Batch::MAX_LINES);
        assert!(!batch.is_full());
        batch.push(line(Batch::MAX_BYTES), now);
        assert!(batch.is_full());
    }

    #[test]
    fn oldest_line_determines_the_delay() {
        let (mut batch, now) = (Batch::default(), Instant::now());
        assert_eq!(batch.remaining_delay(now), None);
        batch.push(line(1), now);
        let later = now + Duration::from_millis(150);
        batch.push(line(1), later);
        assert_eq!(
            batch.remaining_delay(later),
            Some(Duration::from_millis(50))
        );
        assert_eq!(
            batch.remaining_delay(now + Batch::MAX_DELAY * 2),
            Some(Duration::ZERO)
        );
        batch.take();
        assert_eq!(batch.remaining_delay(later), None);
    }
}
