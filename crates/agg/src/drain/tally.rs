//! Counts printed records by queue, for the summary.

use std::collections::BTreeMap;

use agg_client::fetch::FetchedRecord;
use aggregator_protocol::Queue;

/// Numbers of records by queue.
#[derive(Default)]
pub struct Tally(BTreeMap<Queue, u64>);

impl Tally {
    /// Adds printed records.
    pub fn add(&mut self, printed: &[FetchedRecord]) {
        for record in printed {
            *self.0.entry(record.queue).or_default() += 1;
        }
    }

    /// Returns the number of records of all queues.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}",
            aggregator_protocol::format::count(self.total(), "record")
        )?;
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
    fn tally_lists_the_queues() {
        let mut tally = Tally::default();
        assert_eq!(tally.to_string(), "0 records");
        let record = |queue| FetchedRecord {
            queue,
            id: 1,
            deliveries: 1,
            record: vec![],
        };
        tally.add(&[record(Queue::Log)]);
        assert_eq!(tally.to_string(), "1 record: LOG 1");
        tally.add(&[record(Queue::Min), record(Queue::Log)]);
        assert_eq!(tally.to_string(), "3 records: MIN 1, LOG 2");
    }
}
