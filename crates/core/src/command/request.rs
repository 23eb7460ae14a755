//! A request: a command whose arguments have been checked, and how it runs.
//!
//! Parsing looks at no node. What depends on one (the type of a metric, limits) is checked when the request runs,
//! before anything changes. A request that is rejected has written no byte of a reply.

use super::args::Args;
use super::drain::LeaseOp;
use super::{Command, drain, hist, import, mstat, names, read, report, stat};
use crate::ages::Ages;
use crate::context::{ExecContext, WriteContext};
use crate::counters::Counters;
use crate::error::CommandError;
use crate::model::{Queue, Sequence};
use crate::node::{Admission, NEW_NODE, Node};
use crate::reply::Reply;
use crate::settings::Settings;
use crate::time::Now;

/// A command whose arguments have been checked; it borrows the arguments.
pub struct Request<'a> {
    command: Command,
    parsed: Parsed<'a>,
}

enum Parsed<'a> {
    Stat(stat::Stat<'a>),
    Mstat(mstat::Mstat<'a>),
    /// In a box like the next, as they are the largest by far, and every request is moved several times.
    Hist(Box<hist::Hist<'a>>),
    Log(report::Log<'a>),
    Error(Box<report::ErrorReport<'a>>),
    Reality(report::Reality<'a>),
    Import(import::Import<'a>),
    Forget(names::Forget<'a>),
    Requeue(names::Requeue),
    Pop(drain::Pop),
    Fetch(drain::Fetch),
    Ids(drain::Ids),
    Peek(drain::Peek),
    Get(read::Get<'a>),
    Range(read::Range<'a>),
    Scan(read::ScanRequest),
    Info,
}

/// The outcome of a request, besides its reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunOutcome {
    /// A record became available in a queue: clients that wait for one are to be woken.
    pub ready: bool,
}

/// The longest wait of a FETCH with BLOCK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Milliseconds; 0: without limit.
    pub timeout_ms: u64,
}

impl<'a> Request<'a> {
    /// Checks all arguments. `args[0]` stands for the command's name and is not read, `args[1]` is the node. Only the
    /// JSON of AGG.REALITY is checked later, by [`Request::cost`] and [`Request::run`], which know whether the node
    /// contains it already.
    ///
    /// This function is inlined: a caller with a constant `command` contains the code of that command alone. The module
    /// runs each report in its own function, which takes a tenth fewer instructions for a sample than one function for
    /// all. The functions that every report calls are inlined for the same reason.
    ///
    /// # Errors
    /// The first invalid argument.
    #[inline(always)]
    pub fn parse(
        command: Command,
        args: &'a [&'a [u8]],
        settings: &Settings,
        now: Now,
    ) -> Result<Request<'a>, CommandError> {
        let mut args = Args::new(command.spec(), args, settings, now);
        let node = args.name("node")?;
        if command.creates() {
            args.check_node(node)?;
        }
        let args = &mut args;
        let parsed = match command {
            Command::Stat => Parsed::Stat(stat::Stat::parse(args)?),
            Command::Mstat => Parsed::Mstat(mstat::Mstat::parse(args)?),
            Command::Hist => Parsed::Hist(Box::new(hist::Hist::parse(args)?)),
            Command::Log => Parsed::Log(report::Log::parse(args)?),
            Command::Error => Parsed::Error(Box::new(report::ErrorReport::parse(args)?)),
            Command::Reality => Parsed::Reality(report::Reality::parse(args)?),
            Command::Import => Parsed::Import(import::Import::parse(node, args)?),
            Command::Forget => Parsed::Forget(names::Forget::parse(args)?),
            Command::Requeue => Parsed::Requeue(names::Requeue::parse(args)?),
            Command::Pop => Parsed::Pop(drain::Pop::parse(args)?),
            Command::Fetch => Parsed::Fetch(drain::Fetch::parse(args)?),
            Command::Ack => Parsed::Ids(drain::Ids::parse(args, LeaseOp::Ack)?),
            Command::Nack => Parsed::Ids(drain::Ids::parse(args, LeaseOp::Nack)?),
            Command::Extend => Parsed::Ids(drain::Ids::parse(args, LeaseOp::Extend(0))?),
            Command::Peek => Parsed::Peek(drain::Peek::parse(args)?),
            Command::Get => Parsed::Get(read::Get::parse(args)?),
            Command::Range => Parsed::Range(read::Range::parse(args)?),
            Command::Scan => Parsed::Scan(read::ScanRequest::parse(args)?),
            Command::Info => {
                args.finish()?;
                Parsed::Info
            }
        };
        Ok(Request { command, parsed })
    }

    /// Returns an upper bound of the memory that the request can cost this node, bytes; 0 for requests that only read
    /// or free. `None`: a new node. `closely`: looks at each metric that the request names, which takes as long as
    /// running it.
    #[inline(always)]
    pub fn cost(&self, node: Option<&Node>, closely: bool, settings: &Settings) -> u64 {
        let new = if node.is_some() { 0 } else { NEW_NODE };
        let sequence = match (self.sequence(), node) {
            (None, _) => 0,
            (Some(sequence), Some(node)) if closely => {
                if node.is_repetition(sequence) {
                    return 0;
                }
                node.sequence_cost(sequence, settings)
            }
            (Some(sequence), _) => Node::sequence_bound(sequence),
        };
        new + sequence
            + match &self.parsed {
                Parsed::Stat(r) => r.cost(node, closely, settings),
                Parsed::Mstat(r) => r.cost(node, closely, settings),
                Parsed::Hist(r) => r.cost(node, closely, settings),
                Parsed::Log(r) => r.cost(),
                Parsed::Error(r) => r.cost(node, closely),
                Parsed::Reality(r) => r.cost(node, closely, settings),
                Parsed::Import(r) => r.cost(),
                Parsed::Requeue(r) => node.map_or(0, |node| r.cost(node, closely)),
                Parsed::Forget(r) => node.map_or(0, |node| r.cost(node, closely)),
                _ => 0,
            }
    }

    /// Runs the request on a node that exists, or on a new one if the command creates nodes. Under memory pressure,
    /// samples of existing metrics still count, and all else that costs memory is rejected. Replies exactly once.
    ///
    /// # Errors
    /// The node rejects the request; nothing was changed and no byte of a reply written.
    #[inline(always)]
    pub fn run(
        &self,
        name: &[u8],
        node: &mut Node,
        exec: &mut ExecContext<'_>,
        reply: &mut dyn Reply,
    ) -> Result<RunOutcome, CommandError> {
        node.change(exec, |node, ctx| {
            let admission = self.sequence().map(|sequence| node.admit(sequence, ctx));
            let admitted = match admission {
                None => None,
                Some(Admission::New(admitted)) => Some(admitted),
                Some(Admission::Repetition) => {
                    reply.null();
                    return Ok(RunOutcome::default());
                }
                Some(Admission::NoMemory) => {
                    return Err(ctx.memory_error(self.command.name()));
                }
            };
            if ctx.memory_pressure && self.needs_memory() {
                return Err(ctx.memory_error(self.command.name()));
            }
            self.dispatch(name, node, ctx, reply)?;
            if let Some(admitted) = &admitted {
                node.consume(admitted, ctx);
            }
            Ok(RunOutcome {
                ready: node.take_ready(),
            })
        })
    }

    /// Replays a command that another server has run and propagated verbatim. It was parsed with
    /// [`Settings::unlimited`] at the node's [`Node::clock_ms`]. Commands that are never propagated verbatim do
    /// nothing.
    pub fn replay(&self, node: &mut Node, mono_ms: u64, counters: &mut Counters) {
        if let Some(sequence) = self.sequence() {
            node.replay_sequence(sequence);
        }
        match &self.parsed {
            Parsed::Stat(r) => r.replay(node, mono_ms, counters),
            Parsed::Mstat(r) => r.replay(node, mono_ms, counters),
            Parsed::Hist(r) => r.replay(node, mono_ms, counters),
            Parsed::Log(r) => node.replay_log(&r.entry(), mono_ms, counters),
            Parsed::Error(r) => node.replay_error(&r.occurrence(), mono_ms, counters),
            Parsed::Reality(r) => node.replay_object(&r.header(), mono_ms, counters),
            _ => {}
        }
    }

    /// Returns `true` if a server with these settings would have accepted the request and propagated it verbatim: a
    /// sample of a metric that exists or may be created, a log entry, an occurrence of a known error, a report of a
    /// known object.
    pub fn is_replayable(&self, node: &Node, settings: &Settings) -> bool {
        let is_consumable = |sequence| node.is_consumable(sequence, settings.max_sources);
        self.sequence().is_none_or(is_consumable)
            && match &self.parsed {
                Parsed::Stat(r) => r.is_replayable(node, settings),
                Parsed::Mstat(r) => r.is_replayable(node, settings),
                Parsed::Hist(r) => r.is_replayable(node, settings),
                Parsed::Log(_) => true,
                Parsed::Error(r) => node.has_error(r.occurrence().key),
                Parsed::Reality(r) => node.has_object(r.header().key),
                _ => false,
            }
    }

    /// The sequence number of a report that has one.
    #[inline(always)]
    fn sequence(&self) -> Option<Sequence<'a>> {
        match &self.parsed {
            Parsed::Stat(r) => r.sequence(),
            Parsed::Mstat(r) => r.sequence(),
            Parsed::Hist(r) => r.sequence(),
            Parsed::Log(r) => r.sequence(),
            Parsed::Error(r) => r.sequence(),
            _ => None,
        }
    }

    /// Returns `true` if it is rejected as a whole under memory pressure.
    #[inline(always)]
    fn needs_memory(&self) -> bool {
        use Command::{Error, Log, Reality, Requeue};
        matches!(self.command, Log | Error | Reality | Requeue)
    }

    #[inline(always)]
    fn dispatch(
        &self,
        name: &[u8],
        node: &mut Node,
        ctx: &mut WriteContext<'_>,
        reply: &mut dyn Reply,
    ) -> Result<(), CommandError> {
        match &self.parsed {
            Parsed::Stat(r) => r.run(node, ctx, reply)?,
            Parsed::Mstat(r) => r.run(node, ctx, reply)?,
            Parsed::Hist(r) => r.run(node, ctx, reply)?,
            Parsed::Log(r) => r.run(node, ctx, reply),
            Parsed::Error(r) => r.run(node, ctx, reply),
            Parsed::Reality(r) => r.run(node, ctx, reply)?,
            Parsed::Import(r) => r.run(node, ctx, reply)?,
            Parsed::Forget(r) => r.run(node, ctx, reply),
            Parsed::Requeue(r) => r.run(node, ctx, reply)?,
            Parsed::Pop(r) => r.run(name, node, ctx, reply),
            Parsed::Fetch(r) => r.run(name, node, ctx, reply)?,
            Parsed::Ids(r) => r.run(node, ctx, reply),
            Parsed::Peek(r) => r.read(name, node, reply),
            Parsed::Get(r) => r.read(name, node, reply),
            Parsed::Range(r) => r.read(node, reply),
            Parsed::Scan(r) => r.read(name, node, reply),
            Parsed::Info => node.info(0, &Ages::default(), ctx.now, reply),
        }
        Ok(())
    }

    /// Writes the reply of a command that does not create nodes, for a node that does not exist.
    pub fn run_missing(&self, reply: &mut dyn Reply) {
        match &self.parsed {
            Parsed::Pop(_) | Parsed::Fetch(_) | Parsed::Peek(_) | Parsed::Range(_) => {
                reply.array(0)
            }
            Parsed::Scan(_) => read::ScanRequest::missing(reply),
            Parsed::Get(_) | Parsed::Info => reply.null(),
            _ => reply.int(0),
        }
    }

    /// Runs a request that only reads. `bytes`: the memory of the node, as the shell measured it; `ages`: the ages of
    /// ids at `now`.
    pub fn read(
        &self,
        name: &[u8],
        node: &Node,
        (ages, now): (&Ages, Now),
        bytes: u64,
        reply: &mut dyn Reply,
    ) {
        match &self.parsed {
            Parsed::Peek(r) => r.read(name, node, reply),
            Parsed::Get(r) => r.read(name, node, reply),
            Parsed::Range(r) => r.read(node, reply),
            Parsed::Scan(r) => r.read(name, node, reply),
            Parsed::Info => node.info(bytes, ages, now, reply),
            // Requests that write are not passed here; they would change nothing.
            _ => reply.null(),
        }
    }

    /// For FETCH: how long it waits while nothing is available; `None`: it replies at once.
    #[inline(always)]
    pub fn block(&self) -> Option<Block> {
        match &self.parsed {
            Parsed::Fetch(fetch) => fetch.block_ms.map(|timeout_ms| Block { timeout_ms }),
            _ => None,
        }
    }

    /// For FETCH: returns `true` if a record is available now. Ends expired leases.
    pub fn available(&self, node: &mut Node, now: Now) -> bool {
        match &self.parsed {
            Parsed::Fetch(fetch) => drain::available(fetch, node, now),
            _ => false,
        }
    }

    /// The queues for which a FETCH waits.
    pub fn queues(&self) -> &[Queue] {
        match &self.parsed {
            Parsed::Fetch(fetch) => &fetch.records.queues,
            _ => &[],
        }
    }
}
