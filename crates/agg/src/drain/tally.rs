//! What was printed, by queue, for the line at the end.

use std::collections::BTreeMap;

use agg_client::fetch::FetchedRecord;
use aggregator_protocol::Queue;

/// Records by queue.
#[derive(Default)]
pub struct Tally(BTreeMap<Queue, u64>);

impl Tally {
    /// Counts what was printed.
    pub fn add(&mut self, printed: &[FetchedRecord]) {
        for entry in printed {
            *self.0.entry(entry.queue).or_default() += 1;
        }
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} records", self.total())?;
        for (index, (queue, count)) in self.0.iter().enumerate() {
            write!(
                f,
                "{}{} {count}",
                if index == 0 { ": " } else { ", " },
                queue.name()
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_at_the_end() {
        let mut tally = Tally::default();
        assert_eq!(tally.to_string(), "0 records");
        let entry = |queue| FetchedRecord {
            queue,
            id: 1,
            deliveries: 1,
            record: vec![],
        };
        tally.add(&[entry(Queue::Log), entry(Queue::Min), entry(Queue::Log)]);
        assert_eq!(tally.to_string(), "3 records: MIN 1, LOG 2");
    }
}
