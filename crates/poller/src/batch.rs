//! Batches of records on their way from a server to its sinks, and the sinks' reports on them.
//!
//! # Invariants
//!
//! Each delivery is reported on exactly once, as [`DeliveryStatus::Stored`] or [`DeliveryStatus::Abandoned`], even by a
//! sink that panicked. So no lease is kept for ever.

use std::borrow::Cow;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use aggregator_protocol::NodeName;
use aggregator_protocol::{Queue, RecordFormat};

use super::budget::Permit;
use super::tags::Edits;

/// A record in the formats in which its sinks take it.
pub struct Record {
    /// Its id in its queue.
    pub id: i64,
    /// The number of its deliveries, including this one.
    pub deliveries: u64,
    /// Its floor, if a sink needs it: the queue has nothing else from the floor on to the id, and will not have.
    pub floor: Option<i64>,
    /// As JSON, unless all sinks take line protocol.
    pub json: Option<Vec<u8>>,
    /// As line protocol, if a sink takes that.
    pub line: Option<Vec<u8>>,
}

impl Record {
    /// The bytes that a record takes besides its text.
    const OVERHEAD: usize = 112;

    /// Returns the text in a format, without a newline.
    pub fn text(&self, format: RecordFormat) -> Option<&[u8]> {
        let text = match format {
            RecordFormat::Json => self.json.as_deref(),
            RecordFormat::Line => self.line.as_deref(),
        }?;
        Some(text.strip_suffix(b"\n").unwrap_or(text))
    }

    /// Returns the bytes of memory that the record takes.
    pub fn bytes(&self) -> u64 {
        let texts = self.json.iter().chain(&self.line);
        (texts.map(Vec::len).sum::<usize>() + Self::OVERHEAD) as u64
    }
}

/// Records of one queue of one node, in ascending order of their ids.
pub struct Batch {
    /// The node.
    pub node: NodeName,
    /// Its queue.
    pub queue: Queue,
    /// The records.
    pub records: Vec<Record>,
}

/// The result of a delivery, with the number of its batch.
#[derive(Debug, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// The sink has stored the batch durably.
    Stored(u64),
    /// The sink will not write the batch.
    Abandoned(u64),
}

/// A batch on its way to one sink.
///
/// Dropping the delivery without calling [`Delivery::stored`] reports it as abandoned.
pub struct Delivery {
    /// The records to write.
    pub batch: Arc<Batch>,
    /// The changes to the tags of the records for this sink.
    pub edits: Option<Arc<Edits>>,
    number: u64,
    reports: UnboundedSender<DeliveryStatus>,
    _permit: Permit,
    is_reported: bool,
}

impl Delivery {
    /// Creates a delivery of a batch with this number, whose status is sent to `reports`.
    pub fn new(
        batch: Arc<Batch>,
        number: u64,
        reports: UnboundedSender<DeliveryStatus>,
        permit: Permit,
    ) -> Delivery {
        Delivery {
            batch,
            edits: None,
            number,
            reports,
            _permit: permit,
            is_reported: false,
        }
    }

    /// Returns the text of a record as the sink gets it, without a newline.
    pub fn text<'a>(&self, record: &'a Record, format: RecordFormat) -> Option<Cow<'a, [u8]>> {
        let text = record.text(format)?;
        Some(match (&self.edits, format) {
            (None, _) => text.into(),
            (Some(edits), RecordFormat::Json) => edits.json(text).into(),
            (Some(edits), RecordFormat::Line) => edits.line(text).into(),
        })
    }

    /// Reports that the sink has stored the whole batch.
    pub fn stored(mut self) {
        self.is_reported = true;
        // The receiver is dropped only when the program ends.
        let _ = self.reports.send(DeliveryStatus::Stored(self.number));
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.is_reported {
            let _ = self.reports.send(DeliveryStatus::Abandoned(self.number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget::Budget;
    use super::*;

    #[test]
    fn delivery_is_reported_once() {
        let (reports, mut received) = tokio::sync::mpsc::unbounded_channel();
        let batch = Arc::new(Batch {
            node: NodeName(b"n".to_vec()),
            queue: Queue::Log,
            records: vec![],
        });
        let budget = Budget::new(2);
        let delivery = |number| {
            let permit = budget.try_acquire(1).unwrap();
            Delivery::new(batch.clone(), number, reports.clone(), permit)
        };
        delivery(1).stored();
        drop(delivery(2));
        assert_eq!(received.try_recv(), Ok(DeliveryStatus::Stored(1)));
        assert_eq!(received.try_recv(), Ok(DeliveryStatus::Abandoned(2)));
        assert!(received.try_recv().is_err());
        assert!(budget.try_acquire(2).is_some());
    }
}
