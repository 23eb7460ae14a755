//! Batches of records on their way from a server to its sinks, and the sinks' reports on them.
//!
//! # Invariants
//!
//! Each delivery is reported on exactly once, as [`DeliveryStatus::Stored`] or [`DeliveryStatus::Abandoned`], even by a
//! sink that panicked. So no lease is kept for ever.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use agg_client::fetch::PlacedRecord;
use tokio::sync::mpsc::UnboundedSender;

use aggregator_protocol::NodeName;
use aggregator_protocol::{Queue, RecordFormat};

use super::budget::Permit;
use super::line_protocol;
use super::tags::Edits;

/// A record of a batch, which has its texts.
pub struct Record {
    /// Its id in its queue.
    pub id: i64,
    /// The number of its deliveries, including this one.
    pub deliveries: u64,
    /// Its floor, if a sink needs it: the queue has nothing else from the floor on to the id, and will not have.
    pub floor: Option<i64>,
    /// As JSON, unless all sinks take line protocol.
    json: Option<Range<usize>>,
    /// As line protocol, if a sink takes that.
    line: Option<Range<usize>>,
}

impl Record {
    /// The bytes that a record takes besides its text.
    const OVERHEAD: usize = 112;

    fn place(&self, format: RecordFormat) -> Option<&Range<usize>> {
        match format {
            RecordFormat::Json => self.json.as_ref(),
            RecordFormat::Line => self.line.as_ref(),
        }
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
    /// The texts of the records, and what the server sent between them.
    texts: Vec<u8>,
}

impl Batch {
    /// Creates a batch without records.
    pub fn new(node: NodeName, queue: Queue) -> Batch {
        Batch {
            node,
            queue,
            records: Vec::new(),
            texts: Vec::new(),
        }
    }

    /// Adds the records of a reply, in the format in which they were fetched, to a batch that has none.
    ///
    /// The batch keeps the bytes of the reply if it may own them and at least half of them are its texts, so that no
    /// record is copied. Otherwise it copies its texts, so that a few records do not keep a large reply in memory.
    pub fn place(&mut self, placed: &[PlacedRecord], reply: Cow<'_, [u8]>, format: RecordFormat) {
        let length: usize = placed.iter().map(|one| one.place.len()).sum();
        match reply {
            Cow::Owned(mut reply) if 2 * length >= reply.len() => {
                let record = |one: &PlacedRecord| {
                    let (json, line) = match format {
                        RecordFormat::Json => (Some(one.place.clone()), None),
                        RecordFormat::Line => (None, Some(one.place.clone())),
                    };
                    Record {
                        id: one.id,
                        deliveries: one.deliveries,
                        floor: one.floor,
                        json,
                        line,
                    }
                };
                self.records = placed.iter().map(record).collect();
                reply.shrink_to_fit();
                self.texts = reply;
            }
            reply => {
                self.texts.reserve_exact(length);
                for one in placed {
                    // A place is always within its reply.
                    let text = reply.get(one.place.clone()).unwrap_or_default();
                    let (json, line) = match format {
                        RecordFormat::Json => (Some(text), None),
                        RecordFormat::Line => (None, Some(text)),
                    };
                    self.push(one.id, one.deliveries, json, line);
                    if let Some(record) = self.records.last_mut() {
                        record.floor = one.floor;
                    }
                }
            }
        }
    }

    /// Adds a record in the formats that there are.
    pub fn push(&mut self, id: i64, deliveries: u64, json: Option<&[u8]>, line: Option<&[u8]>) {
        let mut add = |text: &[u8]| append(&mut self.texts, text);
        let (json, line) = (json.map(&mut add), line.map(&mut add));
        self.records.push(Record {
            id,
            deliveries,
            floor: None,
            json,
            line,
        });
    }

    /// Adds line protocol to the records that have JSON alone. A record that has no form in it stays without.
    pub fn add_lines(&mut self) {
        for record in self.records.iter_mut().filter(|one| one.line.is_none()) {
            let json = record.json.clone().and_then(|place| self.texts.get(place));
            let line = json.and_then(|json| line_protocol::from_json(json).ok());
            record.line = line.map(|line| append(&mut self.texts, &line));
        }
        self.texts.shrink_to_fit();
    }

    /// Returns the text of one of the records as it was given.
    pub fn verbatim(&self, record: &Record, format: RecordFormat) -> Option<&[u8]> {
        // A place is always within the texts.
        self.texts.get(record.place(format)?.clone())
    }

    /// Returns the text of one of the records, without a newline.
    pub fn text(&self, record: &Record, format: RecordFormat) -> Option<&[u8]> {
        let text = self.verbatim(record, format)?;
        Some(text.strip_suffix(b"\n").unwrap_or(text))
    }

    /// Returns the bytes of memory that the records take.
    pub fn bytes(&self) -> u64 {
        (self.texts.capacity() + self.records.len() * Record::OVERHEAD) as u64
    }
}

/// Appends a text. Returns its place.
fn append(texts: &mut Vec<u8>, text: &[u8]) -> Range<usize> {
    let start = texts.len();
    texts.extend_from_slice(text);
    start..texts.len()
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

    /// Returns the text of a record of the batch as the sink gets it, without a newline.
    pub fn text(&self, record: &Record, format: RecordFormat) -> Option<Cow<'_, [u8]>> {
        let text = self.batch.text(record, format)?;
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
        let batch = Arc::new(Batch::new(NodeName(b"n".to_vec()), Queue::Log));
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

    /// Returns a batch of these records of a reply, which begins with a part of this length that is none of its texts.
    fn placed(ids: Range<usize>, head: usize, is_owned: bool) -> Batch {
        let mut reply = vec![b'*'; head];
        let place = |id: usize| {
            let text = format!("{id} a=1\n");
            PlacedRecord {
                queue: Queue::Min,
                id: id as i64,
                deliveries: 2,
                floor: Some(id as i64 - 1),
                place: append(&mut reply, text.as_bytes()),
            }
        };
        let placed: Vec<PlacedRecord> = ids.map(place).collect();
        let mut batch = Batch::new(NodeName(b"n".to_vec()), Queue::Min);
        let reply = match is_owned {
            true => Cow::Owned(reply),
            false => Cow::Borrowed(&*reply),
        };
        batch.place(&placed, reply, RecordFormat::Line);
        batch
    }

    #[test]
    fn batch_keeps_a_reply_of_which_it_has_the_larger_part() {
        for (head, is_owned, kept) in [(70, true, 70), (71, true, 0), (0, false, 0)] {
            let batch = placed(10..20, head, is_owned);
            // Ten texts of 7 bytes.
            let bytes = kept + 70;
            assert_eq!(batch.texts.len(), bytes);
            assert!(batch.texts.capacity() <= bytes + 16);
            assert_eq!(batch.bytes(), (bytes + 10 * Record::OVERHEAD) as u64);
            for (record, id) in batch.records.iter().zip(10..) {
                let given = (record.id, record.deliveries, record.floor);
                assert_eq!(given, (id, 2, Some(id - 1)));
                let line = format!("{id} a=1");
                let text = batch.text(record, RecordFormat::Line);
                assert_eq!(text, Some(line.as_bytes()));
                assert_eq!(batch.text(record, RecordFormat::Json), None);
            }
        }
    }

    #[test]
    fn lines_are_added_to_records_that_have_none() {
        let json = br#"{"node":"n","metric":"m","window":60,"start":0,"count":1,"sum":1.0,"avg":1.0,"min":1.0,
            "max":1.0,"last":1.0,"tags":{}}"#;
        let mut batch = Batch::new(NodeName(b"n".to_vec()), Queue::Min);
        batch.push(1, 1, Some(json), None);
        batch.push(2, 1, None, Some(b"given"));
        batch.push(3, 1, Some(b"{}"), None);
        batch.add_lines();
        let texts = |format| -> Vec<Option<&[u8]>> {
            let texts = batch.records.iter().map(|one| batch.text(one, format));
            texts.collect()
        };
        let line = line_protocol::from_json(json).unwrap();
        let lines = [Some(&*line), Some(b"given"), None];
        assert_eq!(texts(RecordFormat::Line), lines);
        let given = [Some(&json[..]), None, Some(b"{}")];
        assert_eq!(texts(RecordFormat::Json), given);
    }
}
