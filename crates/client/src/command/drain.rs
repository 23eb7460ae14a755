//! Commands of the queues: AGG.FETCH, AGG.ACK, AGG.NACK, AGG.EXTEND, AGG.POP, AGG.PEEK, AGG.REQUEUE.

use std::time::Duration;

use aggregator_protocol::{Queue, RecordFormat};

use super::{Cmd, Command, Kind, count, option};
use crate::reply::{self, Value};

/// A record that a queue delivered. Node, queue and id together identify it: writing it twice under them does no harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedRecord {
    /// The queue.
    pub queue: Queue,
    /// The id of the record in its queue.
    pub id: i64,
    /// The number of times that the record was delivered, this time included.
    pub deliveries: u64,
    /// The text of the record: JSON, or line protocol where that was asked for.
    pub record: Vec<u8>,
}

/// Reads the reply of AGG.FETCH, AGG.POP and AGG.PEEK; none if it is not one. A nil is no records. Floors are left out.
pub fn read_records(reply: Value) -> Option<Vec<FetchedRecord>> {
    let records = reply::items(reply)?.into_iter();
    records
        .map(|value| Some(fetched_record(value)?.0))
        .collect()
}

/// Reads the reply of AGG.FETCH with the option WITHFLOOR: records, each with its floor; none if it is not one.
pub fn read_floored_records(reply: Value) -> Option<Vec<(FetchedRecord, i64)>> {
    let records = reply::items(reply)?.into_iter();
    records
        .map(|value| {
            let (record, floor) = fetched_record(value)?;
            Some((record, floor?))
        })
        .collect()
}

fn fetched_record(value: Value) -> Option<(FetchedRecord, Option<i64>)> {
    let mut items = reply::items(value)?;
    let floor = match items.len() {
        5 => Some(reply::int(&items.pop()?)?),
        _ => None,
    };
    let [queue, id, deliveries, record] = items.try_into().ok()?;
    let record = FetchedRecord {
        queue: Queue::from_name(&reply::bytes(queue)?)?,
        id: reply::int(&id)?,
        deliveries: count(&deliveries)?,
        record: reply::bytes(record)?,
    };
    Some((record, floor))
}

fn write_queues(cmd: &mut Cmd, node: &[u8], queues: &[Queue]) {
    cmd.arg(node);
    for queue in queues {
        cmd.arg(queue.name());
    }
}

/// AGG.FETCH: leases records. Other consumers do not get them until the lease ends; [`Ack`] removes them.
///
/// A reply ends at about 1 MiB, so fewer records than asked for do not mean that the queue is empty.
#[derive(Clone, Copy, Debug)]
pub struct Fetch<'a> {
    node: &'a [u8],
    queues: &'a [Queue],
    count: Option<u64>,
    lease: Option<Duration>,
    block: Option<Duration>,
    format: Option<RecordFormat>,
}

impl<'a> Fetch<'a> {
    /// Leases records of these queues, in this order, the oldest first.
    pub fn new(node: &'a (impl AsRef<[u8]> + ?Sized), queues: &'a [Queue]) -> Self {
        Fetch {
            node: node.as_ref(),
            queues,
            count: None,
            lease: None,
            block: None,
            format: None,
        }
    }

    /// Sets the maximum number of records; the default is 100.
    pub fn count(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// Sets the lease; the default is 30 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Sets the time that the server waits for a record. The connection ends a call after [`TIMEOUT`], so it has to be
    /// shorter. Zero makes the server wait without end, so that the call would fail.
    ///
    /// [`TIMEOUT`]: crate::TIMEOUT
    pub fn block(mut self, block: Duration) -> Self {
        self.block = Some(block);
        self
    }

    /// Sets how records are written; the default is JSON.
    pub fn format(mut self, format: RecordFormat) -> Self {
        self.format = Some(format);
        self
    }

    /// Asks for the floor of each record, for [`Import`](super::Import): the queue has no record with an id from the floor
    /// on to that of the record, and will not have one.
    pub fn with_floor(self) -> FetchWithFloor<'a> {
        FetchWithFloor(self)
    }
}

impl Command for Fetch<'_> {
    type Output = Vec<FetchedRecord>;
    const NAME: &'static str = "AGG.FETCH";

    fn write_args(&self, cmd: &mut Cmd) {
        write_queues(cmd, self.node, self.queues);
        option(cmd, "COUNT", self.count);
        option(cmd, "LEASE", self.lease.map(millis));
        option(cmd, "BLOCK", self.block.map(millis));
        option(cmd, "FORMAT", self.format.map(RecordFormat::name));
    }

    fn read_reply(&self, reply: Value) -> Option<Vec<FetchedRecord>> {
        read_records(reply)
    }
}

/// AGG.FETCH with the option WITHFLOOR: records, each with its floor.
#[derive(Clone, Copy, Debug)]
pub struct FetchWithFloor<'a>(Fetch<'a>);

impl Command for FetchWithFloor<'_> {
    type Output = Vec<(FetchedRecord, i64)>;
    const NAME: &'static str = "AGG.FETCH";

    fn write_args(&self, cmd: &mut Cmd) {
        self.0.write_args(cmd);
        cmd.arg("WITHFLOOR");
    }

    fn read_reply(&self, reply: Value) -> Option<Vec<(FetchedRecord, i64)>> {
        read_floored_records(reply)
    }
}

/// AGG.POP: takes records and removes them at once. A record whose reply does not arrive is lost.
#[derive(Clone, Copy, Debug)]
pub struct Pop<'a> {
    node: &'a [u8],
    queues: &'a [Queue],
    count: Option<u64>,
    format: Option<RecordFormat>,
}

impl<'a> Pop<'a> {
    /// Takes records of these queues, in this order, the oldest first.
    pub fn new(node: &'a (impl AsRef<[u8]> + ?Sized), queues: &'a [Queue]) -> Self {
        Pop {
            node: node.as_ref(),
            queues,
            count: None,
            format: None,
        }
    }

    /// Sets the maximum number of records; the default is 100.
    pub fn count(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// Sets how records are written; the default is JSON.
    pub fn format(mut self, format: RecordFormat) -> Self {
        self.format = Some(format);
        self
    }
}

impl Command for Pop<'_> {
    type Output = Vec<FetchedRecord>;
    const NAME: &'static str = "AGG.POP";

    fn write_args(&self, cmd: &mut Cmd) {
        write_queues(cmd, self.node, self.queues);
        option(cmd, "COUNT", self.count);
        option(cmd, "FORMAT", self.format.map(RecordFormat::name));
    }

    fn read_reply(&self, reply: Value) -> Option<Vec<FetchedRecord>> {
        read_records(reply)
    }
}

/// AGG.PEEK: reads records, leased ones too, and changes nothing. It works on replicas.
#[derive(Clone, Copy, Debug)]
pub struct Peek<'a> {
    node: &'a [u8],
    queues: &'a [Queue],
    count: Option<u64>,
    from: Option<i64>,
    newest_first: bool,
    format: Option<RecordFormat>,
}

impl<'a> Peek<'a> {
    /// Reads records of these queues.
    pub fn new(node: &'a (impl AsRef<[u8]> + ?Sized), queues: &'a [Queue]) -> Self {
        Peek {
            node: node.as_ref(),
            queues,
            count: None,
            from: None,
            newest_first: false,
            format: None,
        }
    }

    /// Sets the maximum number of records; the default is 100.
    pub fn count(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// Sets the id to begin with.
    pub fn from(mut self, id: i64) -> Self {
        self.from = Some(id);
        self
    }

    /// Begins with the newest record.
    pub fn newest_first(mut self) -> Self {
        self.newest_first = true;
        self
    }

    /// Sets how records are written; the default is JSON.
    pub fn format(mut self, format: RecordFormat) -> Self {
        self.format = Some(format);
        self
    }
}

impl Command for Peek<'_> {
    type Output = Vec<FetchedRecord>;
    const NAME: &'static str = "AGG.PEEK";

    fn write_args(&self, cmd: &mut Cmd) {
        write_queues(cmd, self.node, self.queues);
        option(cmd, "COUNT", self.count);
        option(cmd, "FROM", self.from);
        if self.newest_first {
            cmd.arg("REV");
        }
        option(cmd, "FORMAT", self.format.map(RecordFormat::name));
    }

    fn read_reply(&self, reply: Value) -> Option<Vec<FetchedRecord>> {
        read_records(reply)
    }
}

macro_rules! by_ids {
    ($(#[$doc:meta])* $name:ident, $command:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name<'a> {
            node: &'a [u8],
            queue: Queue,
            ids: &'a [i64],
        }

        impl<'a> $name<'a> {
            /// Names the records by their ids, up to 10,000.
            pub fn new(
                node: &'a (impl AsRef<[u8]> + ?Sized),
                queue: Queue,
                ids: &'a [i64],
            ) -> Self {
                $name { node: node.as_ref(), queue, ids }
            }
        }

        impl Command for $name<'_> {
            type Output = u64;
            const NAME: &'static str = $command;

            fn write_args(&self, cmd: &mut Cmd) {
                cmd.arg(self.node).arg(self.queue.name()).args(self.ids);
            }

            fn read_reply(&self, reply: Value) -> Option<u64> {
                count(&reply)
            }
        }
    };
}

by_ids!(
    /// AGG.ACK: removes records, leased or not. Returns how many there were: an error or object that has changed since
    /// has a new id, so a late acknowledgement does not remove the change.
    Ack,
    "AGG.ACK"
);

by_ids!(
    /// AGG.NACK: ends leases, so that the records can be fetched again at once. Returns how many there were.
    Nack,
    "AGG.NACK"
);

/// AGG.EXTEND: lets leases end later. Returns how many there were.
#[derive(Clone, Copy, Debug)]
pub struct Extend<'a> {
    node: &'a [u8],
    queue: Queue,
    lease: Duration,
    ids: &'a [i64],
}

impl<'a> Extend<'a> {
    /// Lets the leases of these records end `lease` from now.
    pub fn new(
        node: &'a (impl AsRef<[u8]> + ?Sized),
        queue: Queue,
        lease: Duration,
        ids: &'a [i64],
    ) -> Self {
        Extend {
            node: node.as_ref(),
            queue,
            lease,
            ids,
        }
    }
}

impl Command for Extend<'_> {
    type Output = u64;
    const NAME: &'static str = "AGG.EXTEND";

    fn write_args(&self, cmd: &mut Cmd) {
        cmd.arg(self.node)
            .arg(self.queue.name())
            .arg(millis(self.lease))
            .args(self.ids);
    }

    fn read_reply(&self, reply: Value) -> Option<u64> {
        count(&reply)
    }
}

/// AGG.REQUEUE: queues the errors or objects of a node again. Returns how many.
#[derive(Clone, Copy, Debug)]
pub struct Requeue<'a> {
    node: &'a [u8],
    kind: Kind,
    pattern: Option<&'a [u8]>,
}

impl<'a> Requeue<'a> {
    /// Queues everything of this kind, which is errors or objects.
    pub fn new(node: &'a (impl AsRef<[u8]> + ?Sized), kind: Kind) -> Self {
        Requeue {
            node: node.as_ref(),
            kind,
            pattern: None,
        }
    }

    /// Queues only what has a key that matches this glob.
    pub fn matching(mut self, pattern: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.pattern = Some(pattern.as_ref());
        self
    }
}

impl Command for Requeue<'_> {
    type Output = u64;
    const NAME: &'static str = "AGG.REQUEUE";

    fn write_args(&self, cmd: &mut Cmd) {
        cmd.arg(self.node).arg(self.kind.as_str());
        option(cmd, "MATCH", self.pattern);
    }

    fn read_reply(&self, reply: Value) -> Option<u64> {
        count(&reply)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
