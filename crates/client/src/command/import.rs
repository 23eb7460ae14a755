//! The command that brings records from one server to another: AGG.IMPORT.

use aggregator_protocol::Queue;

use super::{Cmd, Command, count, option};
use crate::reply::Value;

/// AGG.IMPORT: queues records that AGG.FETCH delivered as JSON on another server. Returns how many, from the first, the
/// server has now; the rest does not fit yet. A record that it was given before counts, and is not queued again.
///
/// ```no_run
/// # async fn example(leaf: &mut agg_client::Connection, hub: &mut agg_client::Connection) -> Result<(), agg_client::ClientError> {
/// use agg_client::Queue;
/// use agg_client::command::{Ack, Fetch, Import};
///
/// let fetched = leaf.run(&Fetch::new("web1", &[Queue::Log]).with_floor()).await?;
/// let Some(floor) = fetched.iter().map(|(_, floor)| *floor).min() else {
///     return Ok(());
/// };
/// let mut records: Vec<_> = fetched.iter().map(|(record, _)| (record.id, &record.record)).collect();
/// records.sort();
/// let import = Import::new("web1", Queue::Log, records.iter().copied()).floor(floor);
/// let stored = hub.run(&import).await?;
/// let ids: Vec<i64> = records.iter().take(stored as usize).map(|(id, _)| *id).collect();
/// leaf.run(&Ack::new("web1", Queue::Log, &ids)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Import<'a> {
    node: &'a [u8],
    queue: Queue,
    floor: Option<i64>,
    records: Vec<(i64, &'a [u8])>,
}

impl<'a> Import<'a> {
    /// Brings up to 10,000 records, ids and texts, by ascending ids.
    pub fn new<R: AsRef<[u8]> + ?Sized + 'a>(
        node: &'a (impl AsRef<[u8]> + ?Sized),
        queue: Queue,
        records: impl IntoIterator<Item = (i64, &'a R)>,
    ) -> Self {
        let records = records.into_iter();
        Import {
            node: node.as_ref(),
            queue,
            floor: None,
            records: records.map(|(id, text)| (id, text.as_ref())).collect(),
        }
    }

    /// Promises that no record with a lower id will be imported that the server does not have. The floors that came
    /// with the records say so, the lowest of them and earlier ones, too.
    pub fn floor(mut self, floor: i64) -> Self {
        self.floor = Some(floor);
        self
    }
}

impl Command for Import<'_> {
    type Output = u64;
    const NAME: &'static str = "AGG.IMPORT";

    fn write_args(&self, cmd: &mut Cmd) {
        cmd.arg(self.node).arg(self.queue.name());
        option(cmd, "FLOOR", self.floor);
        for (id, text) in &self.records {
            cmd.arg(*id).arg(*text);
        }
    }

    fn read_reply(&self, reply: Value) -> Option<u64> {
        count(&reply)
    }
}
