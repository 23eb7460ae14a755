//! Requests: arguments are checked and become typed requests, and requests run on a node.
//!
//! Parsing looks at no node; what depends on one (a metric's type, limits) is checked when it runs, before anything
//! changes. What is refused has written no byte of a reply.

mod args;
mod drain;
mod names;
mod read;
mod report;
mod samples;

use crate::ages::Ages;
use crate::context::{ExecContext, Memory, WriteContext};
use crate::counters::Counters;
use crate::error::CommandError;
use crate::model::Queue;
use crate::node::Node;
use crate::reply::Reply;
use crate::settings::Settings;
use crate::time::Now;
use args::Args;
use drain::LeaseOp;

/// The commands that the core parses and runs: all but AGG.APPLY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is the command of its name
pub enum Command {
    Stat,
    Mstat,
    Log,
    Error,
    Reality,
    Forget,
    Requeue,
    Pop,
    Fetch,
    Ack,
    Nack,
    Extend,
    Peek,
    Get,
    Range,
    Scan,
    Info,
}

impl Command {
    /// Its name, and the arguments behind it as messages show them.
    pub fn usage(self) -> (&'static str, &'static str) {
        match self {
            Command::Stat => (
                "AGG.STAT",
                "node metric value [ABS|DIFF] [TAGS tags] [AT ms]",
            ),
            Command::Mstat => (
                "AGG.MSTAT",
                "node [ABS|DIFF] [TAGS tags] [AT ms] [ATOMIC] VALUES metric value [metric value ...]",
            ),
            Command::Log => ("AGG.LOG", "node message [LEVEL 0..9] [TAGS tags] [AT ms]"),
            Command::Error => (
                "AGG.ERROR",
                "node message [PUBLIC text] [LEVEL 0..9] [TYPE BUG|PERF|OPS|UNKNOWN] [TAGS tags] [CODE c] [FUNC f] \
                 [FILE p] [BACKTRACE b] [GID n] [NID n] [KEY k] [AT ms]",
            ),
            Command::Reality => (
                "AGG.REALITY",
                "node key model json [TAGS tags] [AT ms] [TTL seconds]",
            ),
            Command::Forget => ("AGG.FORGET", "node METRIC|ERROR|REALITY name"),
            Command::Requeue => ("AGG.REQUEUE", "node ERROR|REALITY [MATCH glob]"),
            Command::Pop => (
                "AGG.POP",
                "node queue [queue ...] [COUNT n] [FORMAT JSON|LINE]",
            ),
            Command::Fetch => (
                "AGG.FETCH",
                "node queue [queue ...] [COUNT n] [LEASE ms] [BLOCK ms] [FORMAT JSON|LINE]",
            ),
            Command::Ack => ("AGG.ACK", "node queue id [id ...]"),
            Command::Nack => ("AGG.NACK", "node queue id [id ...]"),
            Command::Extend => ("AGG.EXTEND", "node queue ms id [id ...]"),
            Command::Peek => (
                "AGG.PEEK",
                "node queue [queue ...] [COUNT n] [FROM id] [REV] [FORMAT JSON|LINE]",
            ),
            Command::Get => ("AGG.GET", "node METRIC|ERROR|REALITY name"),
            Command::Range => ("AGG.RANGE", "node metric MIN|HOUR [FROM ms] [TO ms]"),
            Command::Scan => (
                "AGG.SCAN",
                "node METRIC|ERROR|REALITY cursor [MATCH glob] [COUNT n] [WITHVALUES]",
            ),
            Command::Info => ("AGG.INFO", "node"),
        }
    }
}

impl Command {
    /// It reports, and makes a node where there is none.
    pub fn reports(self) -> bool {
        use Command::{Error, Log, Mstat, Reality, Stat};
        matches!(self, Stat | Mstat | Log | Error | Reality)
    }
}

/// A parsed and checked request; it borrows the arguments.
pub struct Request<'a> {
    kind: Parsed<'a>,
}

enum Parsed<'a> {
    Stat(samples::Stat<'a>),
    Mstat(samples::Mstat<'a>),
    Log(report::Log<'a>),
    Error(report::ErrorReport<'a>),
    Reality(report::Reality<'a>),
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

/// What running a request did, beyond its reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunOutcome {
    /// Something became available in a queue: wake who waits for it.
    pub ready: bool,
}

/// A node without anything in it.
const NEW_NODE: u64 = 8 << 10;

/// How long a FETCH with BLOCK waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Milliseconds; 0: without limit.
    pub timeout_ms: u64,
}

/// The refusal where a memory limit leaves no room.
pub fn full(command: &str, memory: &Memory) -> CommandError {
    CommandError::full(memory.limit.rejected(), format_args!("{command}: {memory}"))
}

/// The same of a change of a node, counted.
fn memory_error(command: &str, node: &mut Node, ctx: &mut WriteContext<'_>) -> CommandError {
    node.count_rejected(ctx.memory.limit.rejected(), ctx);
    full(command, &ctx.memory)
}

impl<'a> Request<'a> {
    /// Checks all arguments; `args[0]` is the command's name as typed, `args[1]` the node. The JSON of AGG.REALITY alone is
    /// checked by [`Request::cost`] and [`Request::run`], which know whether the node holds it already.
    ///
    /// # Errors
    /// The first argument that is not what it should be.
    pub fn parse(
        command: Command,
        args: &'a [&'a [u8]],
        settings: &Settings,
        now: Now,
    ) -> Result<Request<'a>, CommandError> {
        let mut args = Args::new(command.usage(), args, settings, now);
        let node = args.name("node")?;
        if command.reports() {
            args.check_node(node)?;
        }
        let args = &mut args;
        let kind = match command {
            Command::Stat => Parsed::Stat(samples::Stat::parse(args)?),
            Command::Mstat => Parsed::Mstat(samples::Mstat::parse(args)?),
            Command::Log => Parsed::Log(report::Log::parse(args)?),
            Command::Error => Parsed::Error(report::ErrorReport::parse(args)?),
            Command::Reality => Parsed::Reality(report::Reality::parse(args)?),
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
        Ok(Request { kind })
    }

    /// The most bytes that running it on this node can make it hold; 0 for what only reads or frees. `None`: on a new
    /// node. `closely`: looks at each metric that it names, which takes as long as running it.
    pub fn cost(&self, node: Option<&Node>, closely: bool, settings: &Settings) -> u64 {
        let new = if node.is_some() { 0 } else { NEW_NODE };
        new + match &self.kind {
            Parsed::Stat(r) => r.cost(node, closely, settings),
            Parsed::Mstat(r) => r.cost(node, closely, settings),
            Parsed::Log(r) => r.cost(),
            Parsed::Error(r) => r.cost(node, closely),
            Parsed::Reality(r) => r.cost(node, closely, settings),
            Parsed::Requeue(r) => node.map_or(0, |node| r.cost(node, closely)),
            Parsed::Forget(r) => node.map_or(0, |node| r.cost(node, closely)),
            _ => 0,
        }
    }

    /// The refusal of a request that would create a node where a memory limit leaves no room.
    pub fn full(command: Command, memory: &Memory) -> CommandError {
        full(command.usage().0, memory)
    }

    /// Runs it on a node that exists, or on a new one for requests that create. Where the turn is tight, existing metrics
    /// go on being counted and all else that costs memory is refused. Replies exactly once.
    ///
    /// # Errors
    /// The node refuses it; nothing was changed and no byte of a reply written.
    pub fn run(
        &self,
        name: &[u8],
        node: &mut Node,
        exec: &mut ExecContext<'_>,
        reply: &mut dyn Reply,
    ) -> Result<RunOutcome, CommandError> {
        node.change(exec, |node, ctx| {
            if ctx.memory_pressure
                && let Some(command) = self.needs_memory()
            {
                return Err(memory_error(command, node, ctx));
            }
            self.dispatch(name, node, ctx, reply)?;
            Ok(RunOutcome {
                ready: node.take_ready(),
            })
        })
    }

    /// Repeats a command that another server has run and propagated as it came. It was parsed with
    /// [`Settings::unlimited`] at the node's [`Node::clock_ms`]. Commands that are never propagated so do nothing.
    pub fn replay(&self, node: &mut Node, mono_ms: u64, counters: &mut Counters) {
        match &self.kind {
            Parsed::Stat(r) => r.replay(node, mono_ms, counters),
            Parsed::Mstat(r) => r.replay(node, mono_ms, counters),
            Parsed::Log(r) => node.replay_log(&r.entry(), mono_ms, counters),
            Parsed::Error(r) => node.replay_error(&r.occurrence(), mono_ms, counters),
            Parsed::Reality(r) => node.replay_object(&r.told(), mono_ms, counters),
            _ => {}
        }
    }

    /// Whether a server with these settings would have taken the request and propagated it as it came: a sample of a
    /// metric that is there or may come, a line, an occurrence of a known error, a report of a known object.
    pub fn is_replayable(&self, node: &Node, settings: &Settings) -> bool {
        match &self.kind {
            Parsed::Stat(r) => r.is_replayable(node, settings),
            Parsed::Mstat(r) => r.is_replayable(node, settings),
            Parsed::Log(_) => true,
            Parsed::Error(r) => node.has_error(r.occurrence().key),
            Parsed::Reality(r) => node.has_object(r.told().key),
            _ => false,
        }
    }

    /// The name of a command that is refused as a whole where there is no memory.
    fn needs_memory(&self) -> Option<&'static str> {
        match self.kind {
            Parsed::Log(_) => Some("AGG.LOG"),
            Parsed::Error(_) => Some("AGG.ERROR"),
            Parsed::Reality(_) => Some("AGG.REALITY"),
            Parsed::Requeue(_) => Some("AGG.REQUEUE"),
            _ => None,
        }
    }

    fn dispatch(
        &self,
        name: &[u8],
        node: &mut Node,
        ctx: &mut WriteContext<'_>,
        reply: &mut dyn Reply,
    ) -> Result<(), CommandError> {
        match &self.kind {
            Parsed::Stat(r) => r.run(node, ctx, reply)?,
            Parsed::Mstat(r) => r.run(node, ctx, reply)?,
            Parsed::Log(r) => r.run(node, ctx, reply),
            Parsed::Error(r) => r.run(node, ctx, reply),
            Parsed::Reality(r) => r.run(node, ctx, reply)?,
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

    /// The answer of a request that does not create where there is no such node.
    pub fn run_missing(&self, reply: &mut dyn Reply) {
        match &self.kind {
            Parsed::Pop(_) | Parsed::Fetch(_) | Parsed::Peek(_) | Parsed::Range(_) => {
                reply.array(0)
            }
            Parsed::Scan(_) => read::ScanRequest::missing(reply),
            Parsed::Get(_) | Parsed::Info => reply.null(),
            _ => reply.int(0),
        }
    }

    /// Runs a request that only reads. `bytes`: what the node holds, as the shell measured it; `ages`: how old ids are at
    /// `now`.
    pub fn read(
        &self,
        name: &[u8],
        node: &Node,
        (ages, now): (&Ages, Now),
        bytes: u64,
        reply: &mut dyn Reply,
    ) {
        match &self.kind {
            Parsed::Peek(r) => r.read(name, node, reply),
            Parsed::Get(r) => r.read(name, node, reply),
            Parsed::Range(r) => r.read(node, reply),
            Parsed::Scan(r) => r.read(name, node, reply),
            Parsed::Info => node.info(bytes, ages, now, reply),
            // A request that writes is not given to this; it would change nothing.
            _ => reply.null(),
        }
    }

    /// For FETCH: how long it waits while nothing is there; `None`: it answers at once.
    pub fn block(&self) -> Option<Block> {
        match &self.kind {
            Parsed::Fetch(fetch) => fetch.block_ms.map(|timeout_ms| Block { timeout_ms }),
            _ => None,
        }
    }

    /// For FETCH: whether something can be handed out now; leases whose time has come are ended.
    pub fn available(&self, node: &mut Node, now: Now) -> bool {
        match &self.kind {
            Parsed::Fetch(fetch) => drain::available(fetch, node, now),
            _ => false,
        }
    }

    /// The queues that a FETCH waits for.
    pub fn queues(&self) -> &[Queue] {
        match &self.kind {
            Parsed::Fetch(fetch) => &fetch.wanted.queues,
            _ => &[],
        }
    }
}
