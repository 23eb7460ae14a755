//! Commands that drain: AGG.POP, AGG.FETCH, AGG.ACK, AGG.NACK, AGG.EXTEND, AGG.PEEK.

use super::args::Args;
use crate::context::WriteContext;
use crate::error::CommandError;
use crate::model::{Queue, RecordFormat};
use crate::node::{LEASE_COST, Node, Selection};
use crate::reply::Reply;
use crate::settings::MAX_ITEMS;
use crate::time::Now;

/// The default of COUNT.
const USUAL: usize = 100;

/// The default of LEASE, milliseconds.
const LEASE_MS: u64 = 30_000;

/// The longest lease or wait, milliseconds (a week).
const MAX_MS: u64 = 7 * 86_400_000;

/// The arguments that POP, FETCH and PEEK share.
pub(super) struct RecordArgs {
    pub queues: Vec<Queue>,
    count: usize,
    format: RecordFormat,
}

impl RecordArgs {
    fn parse(args: &mut Args<'_, '_>) -> Result<RecordArgs, CommandError> {
        Ok(RecordArgs {
            queues: args.queues()?,
            count: USUAL,
            format: RecordFormat::Json,
        })
    }

    /// Reads COUNT or FORMAT.
    fn option(&mut self, option: &str, args: &mut Args<'_, '_>) -> Result<(), CommandError> {
        if option == "COUNT" {
            self.count = args.integer("COUNT", 1..=MAX_ITEMS as u64)? as usize;
        } else {
            self.format = args.one_of("FORMAT", &RecordFormat::ALL, RecordFormat::name)?;
        }
        Ok(())
    }

    fn check(&self, args: &Args<'_, '_>) -> Result<(), CommandError> {
        let other = self
            .queues
            .iter()
            .find(|q| !matches!(q, Queue::Min | Queue::Hour));
        match (self.format, other) {
            (RecordFormat::Line, Some(queue)) => Err(args.reject(format_args!(
                "FORMAT LINE supports only MIN and HOUR, not {}",
                queue.name()
            ))),
            _ => Ok(()),
        }
    }

    fn selection(&self) -> Selection<'_> {
        Selection {
            queues: &self.queues,
            count: self.count,
            format: self.format,
        }
    }
}

/// The arguments of AGG.POP.
pub(super) struct Pop(RecordArgs);

impl Pop {
    pub fn parse(args: &mut Args<'_, '_>) -> Result<Pop, CommandError> {
        let mut records = RecordArgs::parse(args)?;
        while !args.is_empty() {
            let option = args.option()?;
            records.option(option, args)?;
        }
        records.check(args)?;
        Ok(Pop(records))
    }

    pub fn run(
        &self,
        name: &[u8],
        node: &mut Node,
        ctx: &mut WriteContext<'_>,
        reply: &mut dyn Reply,
    ) {
        node.pop(self.0.selection(), name, ctx).reply(reply);
    }
}

/// The arguments of AGG.FETCH.
pub(super) struct Fetch {
    pub records: RecordArgs,
    lease_ms: u64,
    /// The longest wait, milliseconds; 0: without limit.
    pub block_ms: Option<u64>,
    with_floor: bool,
}

impl Fetch {
    pub fn parse(args: &mut Args<'_, '_>) -> Result<Fetch, CommandError> {
        let mut fetch = Fetch {
            records: RecordArgs::parse(args)?,
            lease_ms: LEASE_MS,
            block_ms: None,
            with_floor: false,
        };
        while !args.is_empty() {
            match args.option()? {
                "LEASE" => fetch.lease_ms = args.integer("LEASE", 1..=MAX_MS)?,
                "BLOCK" => fetch.block_ms = Some(args.integer("BLOCK", 0..=MAX_MS)?),
                "WITHFLOOR" => fetch.with_floor = true,
                option => fetch.records.option(option, args)?,
            }
        }
        fetch.records.check(args)?;
        Ok(fetch)
    }

    pub fn run(
        &self,
        name: &[u8],
        node: &mut Node,
        ctx: &mut WriteContext<'_>,
        reply: &mut dyn Reply,
    ) -> Result<(), CommandError> {
        let records = self.records.selection();
        let batch = node.fetch(records, self.lease_ms, self.with_floor, name, ctx);
        // Records are available but none was leased: there is no memory for another lease.
        if batch.is_empty() && node.available(&self.records.queues, ctx.now) {
            ctx.memory.requested = LEASE_COST;
            return Err(ctx.memory_error("AGG.FETCH"));
        }
        batch.reply(reply);
        Ok(())
    }
}

/// An operation on leases.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseOp {
    Ack,
    Nack,
    /// Milliseconds.
    Extend(u64),
}

/// The arguments of AGG.ACK, AGG.NACK and AGG.EXTEND.
pub(super) struct Ids {
    queue: Queue,
    op: LeaseOp,
    ids: Vec<u64>,
}

impl Ids {
    pub fn parse(args: &mut Args<'_, '_>, op: LeaseOp) -> Result<Ids, CommandError> {
        let queue = args.one_queue()?;
        let op = match op {
            LeaseOp::Extend(_) => LeaseOp::Extend(args.integer("ms", 1..=MAX_MS)?),
            op => op,
        };
        Ok(Ids {
            queue,
            op,
            ids: args.ids()?,
        })
    }

    pub fn run(&self, node: &mut Node, ctx: &mut WriteContext<'_>, reply: &mut dyn Reply) {
        reply.int(match self.op {
            LeaseOp::Ack => node.ack(self.queue, &self.ids, ctx),
            LeaseOp::Nack => node.nack(self.queue, &self.ids, ctx.now),
            LeaseOp::Extend(ms) => node.extend(self.queue, ms, &self.ids, ctx.now),
        } as i64);
    }
}

/// The arguments of AGG.PEEK.
pub(super) struct Peek {
    records: RecordArgs,
    from: Option<u64>,
    reverse: bool,
}

impl Peek {
    pub fn parse(args: &mut Args<'_, '_>) -> Result<Peek, CommandError> {
        let mut peek = Peek {
            records: RecordArgs::parse(args)?,
            from: None,
            reverse: false,
        };
        while !args.is_empty() {
            match args.option()? {
                "FROM" => peek.from = Some(args.integer("FROM", 0..=crate::id::MAX_ID)?),
                "REV" => peek.reverse = true,
                option => peek.records.option(option, args)?,
            }
        }
        peek.records.check(args)?;
        Ok(peek)
    }

    pub fn read(&self, name: &[u8], node: &Node, reply: &mut dyn Reply) {
        node.peek(self.records.selection(), self.from, self.reverse, name)
            .reply(reply);
    }
}

/// Returns `true` if a record can be fetched now.
pub(super) fn available(fetch: &Fetch, node: &mut Node, now: Now) -> bool {
    node.available(&fetch.records.queues, now)
}
