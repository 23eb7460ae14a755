//! AGG.IMPORT: records that another server delivered.

use super::args::Args;
use crate::context::WriteContext;
use crate::counters::RejectReason;
use crate::error::CommandError;
use crate::id::{MAX_AHEAD_US, MAX_ID};
use crate::model::{Queue, imported_record};
use crate::node::{self, ImportError, Node, Shortage};
use crate::reply::Reply;
use crate::settings::{MAX_ITEMS, Settings};

/// The longest record, in texts of `max-item-size`: an error has seven and tags, and JSON writes some characters with two
/// bytes, and a few with six.
const MAX_TEXTS: usize = 32;

/// The limit of the bytes of several records of one command: some tens of milliseconds.
const MAX_BYTES: usize = 2 << 20;

/// The arguments of AGG.IMPORT.
pub(super) struct Import<'a> {
    queue: Queue,
    floor: u64,
    /// Ids and texts; the ids grow strictly.
    records: Vec<(u64, &'a [u8])>,
}

impl<'a> Import<'a> {
    pub fn parse(node: &[u8], args: &mut Args<'a, '_>) -> Result<Import<'a>, CommandError> {
        let queue = args.one_queue()?;
        let mut import = Import {
            queue,
            floor: 0,
            records: Vec::new(),
        };
        let is_word = |word: &[u8]| !word.first().is_some_and(u8::is_ascii_digit);
        if args.peek().is_some_and(is_word) {
            args.option()?;
            import.floor = args.integer("FLOOR", 0..=MAX_ID)?;
        }
        let pairs = args.take_rest();
        let count = pairs.len() / 2;
        if count > MAX_ITEMS {
            return Err(args.reject(format_args!(
                "{count} records given: the maximum is {MAX_ITEMS}"
            )));
        }
        if count == 0 || !pairs.len().is_multiple_of(2) {
            return Err(args.missing(if count == 0 { "id" } else { "record" }));
        }
        import.records.reserve_exact(count);
        let len = pairs
            .chunks_exact(2)
            .map(|pair| pair[1].len())
            .sum::<usize>();
        if count > 1 && len > MAX_BYTES {
            return Err(args.reject(format_args!(
                "the records have {len} bytes: the maximum is {MAX_BYTES}, except for a single one"
            )));
        }
        for (number, pair) in (1..).zip(pairs.chunks_exact(2)) {
            let (id, text) = (pair[0], pair[1]);
            let id = import.check(number, id, text, args)?;
            imported_record::check(text, queue, id, Some(node))
                .map_err(|why| args.reject(format_args!("record {number}: {why}")))?;
            import.records.push((id, text));
        }
        Ok(import)
    }

    /// Checks the id and the size of a record. Returns its id.
    fn check(
        &self,
        number: usize,
        id: &[u8],
        text: &[u8],
        args: &Args<'_, '_>,
    ) -> Result<u64, CommandError> {
        let reject = |why: String| args.reject(format_args!("record {number}: {why}"));
        let id = args.parse_integer(&format!("id of record {number}"), id, 1..=MAX_ID)?;
        let before = self.records.last().map_or(0, |(id, _)| *id);
        if id <= before {
            return Err(reject(format!(
                "the id {id} is not above the one before, {before}"
            )));
        }
        let ahead_s = id.saturating_sub(args.now_us()) / 1_000_000;
        if id > args.now_us().saturating_add(MAX_AHEAD_US) {
            return Err(reject(format!(
                "the id {id} is {ahead_s} s ahead of the server's clock: the maximum is a day"
            )));
        }
        let (len, settings) = (text.len(), args.settings);
        let max = settings.max_item_size.saturating_mul(MAX_TEXTS);
        if len > max {
            return Err(reject(format!(
                "{len} bytes: agg.max-item-size allows {max}"
            )));
        }
        let cost = Node::imported_bytes(len);
        if cost > settings.queue_import {
            return Err(reject(format!(
                "{cost} bytes: agg.queue-import allows {}",
                settings.queue_import
            )));
        }
        Ok(id)
    }

    pub fn cost(&self) -> u64 {
        let texts = self.records.iter();
        texts.map(|(_, text)| Node::import_cost(text.len())).sum()
    }

    pub fn run(
        &self,
        node: &mut Node,
        ctx: &mut WriteContext<'_>,
        reply: &mut dyn Reply,
    ) -> Result<(), CommandError> {
        const NAME: &str = "AGG.IMPORT";
        let import = node::Import {
            queue: self.queue,
            floor: self.floor,
            records: &self.records,
        };
        let queue = self.queue.name();
        let full = |ctx: &mut WriteContext<'_>, detail: String| {
            ctx.count_rejected(RejectReason::QueueImport);
            CommandError::full(RejectReason::QueueImport, NAME, detail)
        };
        match node.import(import, ctx) {
            Ok(stored) => {
                reply.int(stored as i64);
                Ok(())
            }
            Err(ImportError::Conflict(at)) => {
                ctx.count_rejected(RejectReason::Argument);
                let (id, number) = (self.records.get(at).map_or(0, |(id, _)| *id), at + 1);
                Err(CommandError::argument(
                    NAME,
                    format_args!(
                        "record {number}: the node has a record of its own with the id {id} in {queue}"
                    ),
                ))
            }
            Err(ImportError::Refused(Shortage::Memory(cost))) => {
                ctx.memory.requested = cost;
                Err(ctx.memory_error(NAME))
            }
            Err(ImportError::Refused(Shortage::Queue)) => {
                let Settings { queue_import, .. } = ctx.settings;
                Err(full(
                    ctx,
                    format!(
                        "agg.queue-import ({queue_import} bytes) reached in {queue}: drain the queue or raise the limit"
                    ),
                ))
            }
            Err(ImportError::Refused(Shortage::Ranges)) => Err(full(
                ctx,
                format!("too many gaps between the ids in {queue}: give each record its FLOOR"),
            )),
        }
    }
}
