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
/// let mut fetched = leaf.run(&Fetch::new("web1", &[Queue::Log]).with_floor()).await?;
/// fetched.sort_by_key(|(record, _)| record.id);
/// // The leaf has no other record between those of one command.
/// for run in fetched.chunk_by(|(before, _), (_, floor)| floor - 1 <= before.id) {
///     let records = run.iter().map(|(record, _)| (record.id, &record.record));
///     let import = Import::new("web1", Queue::Log, records).floor(run[0].1);
///     let stored = hub.run(&import).await? as usize;
///     let ids: Vec<i64> = run.iter().take(stored).map(|(record, _)| record.id).collect();
///     leaf.run(&Ack::new("web1", Queue::Log, &ids)).await?;
///     if stored < run.len() {
///         break;
///     }
/// }
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

    /// Promises that from the floor on to the last of these records nothing else will be imported that the server does not
    /// have: it ignores what comes there later. The floor that came with the first record says so, and the others are
    /// behind each other if the floor of each is at most the id after the one before.
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
