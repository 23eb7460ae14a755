//! What goes from a server to the sinks, and the news that comes back.
//!
//! What holds: each delivery is answered exactly once, with [`Event::Stored`] or [`Event::GivenUp`], even by a sink
//! whose thread failed, so no lease is held for ever.

use std::borrow::Cow;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use aggregator_protocol::NodeName;
use aggregator_protocol::{Queue, RecordFormat};

use super::room::Room;
use super::tags::Edits;

/// A record in the forms in which its sinks want it.
pub struct Record {
    /// Its id in its queue.
    pub id: i64,
    /// How often it was handed out, this time included.
    pub deliveries: u64,
    /// As JSON; there unless only line protocol is wanted.
    pub json: Option<Vec<u8>>,
    /// As line protocol, where a sink wants that.
    pub line: Option<Vec<u8>>,
}

impl Record {
    /// What a record costs beside its text.
    const BESIDE: usize = 96;

    /// The text for a sink, without a newline.
    pub fn text(&self, format: RecordFormat) -> Option<&[u8]> {
        let text = match format {
            RecordFormat::Json => self.json.as_deref(),
            RecordFormat::Line => self.line.as_deref(),
        }?;
        Some(text.strip_suffix(b"\n").unwrap_or(text))
    }

    /// The memory it takes.
    pub fn bytes(&self) -> u64 {
        let texts = self.json.iter().chain(&self.line);
        (texts.map(Vec::len).sum::<usize>() + Self::BESIDE) as u64
    }
}

/// Records of one queue of one node, in the order of their ids.
pub struct Batch {
    /// The node.
    pub node: NodeName,
    /// Its queue.
    pub queue: Queue,
    /// The records.
    pub records: Vec<Record>,
}

/// What became of a delivery, by the number of its batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The sink has it, to stay.
    Stored(u64),
    /// The sink will not write it.
    GivenUp(u64),
}

/// A batch on its way to one sink.
pub struct Delivery {
    /// What is to be written.
    pub batch: Arc<Batch>,
    /// What its sink gets other tags by.
    pub edits: Option<Arc<Edits>>,
    number: u64,
    back: UnboundedSender<Event>,
    _room: Room,
    answered: bool,
}

impl Delivery {
    /// A batch with its number, and where the answer goes.
    pub fn new(
        batch: Arc<Batch>,
        number: u64,
        back: UnboundedSender<Event>,
        room: Room,
    ) -> Delivery {
        Delivery {
            batch,
            edits: None,
            number,
            back,
            _room: room,
            answered: false,
        }
    }

    /// A record's text as the sink gets it, without a newline.
    pub fn text<'a>(&self, record: &'a Record, format: RecordFormat) -> Option<Cow<'a, [u8]>> {
        let text = record.text(format)?;
        Some(match (&self.edits, format) {
            (None, _) => text.into(),
            (Some(edits), RecordFormat::Json) => edits.json(text).into(),
            (Some(edits), RecordFormat::Line) => edits.line(text).into(),
        })
    }

    /// Says that the sink has all of it.
    pub fn stored(mut self) {
        self.answered = true;
        // Who asked is gone only at the end of the program.
        let _ = self.back.send(Event::Stored(self.number));
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.answered {
            let _ = self.back.send(Event::GivenUp(self.number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::room::Share;
    use super::*;

    #[test]
    fn every_delivery_is_answered_once() {
        let (back, mut events) = tokio::sync::mpsc::unbounded_channel();
        let batch = Arc::new(Batch {
            node: NodeName(b"n".to_vec()),
            queue: Queue::Log,
            records: vec![],
        });
        let share = Share::new(2);
        let delivery = |number| {
            let room = share.take(1).unwrap();
            Delivery::new(batch.clone(), number, back.clone(), room)
        };
        delivery(1).stored();
        drop(delivery(2));
        assert_eq!(events.try_recv(), Ok(Event::Stored(1)));
        assert_eq!(events.try_recv(), Ok(Event::GivenUp(2)));
        assert!(events.try_recv().is_err());
        assert!(share.take(2).is_some());
    }
}
