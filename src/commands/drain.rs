//! The commands that drain queues, and AGG.PEEK, which only reads them.

use super::run::{Creation, fetch, read, write};
use crate::ffi::{Access, Arg, ArgKind, CommandSpec, Handler};
use aggregator_core::Command;

const CATEGORIES: &std::ffi::CStr = c"write slow agg-drain";

const QUEUE: Arg = Arg::one_of(
    c"queue",
    &[
        Arg::word(c"min", c"MIN"),
        Arg::word(c"hour", c"HOUR"),
        Arg::word(c"log", c"LOG"),
        Arg::word(c"error", c"ERROR"),
        Arg::word(c"reality", c"REALITY"),
    ],
);
const QUEUES: Arg = QUEUE.multiple();
const COUNT: Arg = Arg::new(c"count", ArgKind::Integer)
    .after(c"COUNT")
    .optional();
const FORMAT: Arg = Arg::one_of(
    c"format",
    &[Arg::word(c"json", c"JSON"), Arg::word(c"line", c"LINE")],
)
.after(c"FORMAT")
.optional();
const IDS: Arg = Arg::new(c"id", ArgKind::Integer).multiple();

pub static POP: CommandSpec = CommandSpec {
    name: c"AGG.POP",
    handler: Handler::new(|call| write(Command::Pop, Creation::Never, call)),
    flags: c"write",
    access: Access::Drain,
    categories: CATEGORIES,
    arity: -3,
    summary: c"Removes and returns the oldest records of queues.",
    complexity: c"O(n), n being the number of records",
    args: &[Arg::key(), QUEUES, COUNT, FORMAT],
};

pub static FETCH: CommandSpec = CommandSpec {
    name: c"AGG.FETCH",
    handler: Handler::new(fetch),
    flags: c"write blocking",
    access: Access::Drain,
    categories: c"write slow blocking agg-drain",
    arity: -3,
    summary:
        c"Leases the oldest records of queues; no other client gets them until the lease ends.",
    complexity: c"O(n log n), n being the number of records",
    args: &[
        Arg::key(),
        QUEUES,
        COUNT,
        Arg::new(c"lease-ms", ArgKind::Integer)
            .after(c"LEASE")
            .optional(),
        Arg::new(c"block-ms", ArgKind::Integer)
            .after(c"BLOCK")
            .optional(),
        FORMAT,
    ],
};

pub static ACK: CommandSpec = CommandSpec {
    name: c"AGG.ACK",
    handler: Handler::new(|call| write(Command::Ack, Creation::Never, call)),
    flags: c"write",
    access: Access::Drain,
    categories: CATEGORIES,
    arity: -4,
    summary: c"Removes fetched records that are stored elsewhere.",
    complexity: c"O(n log n), n being the number of ids",
    args: &[Arg::key(), QUEUE, IDS],
};

pub static NACK: CommandSpec = CommandSpec {
    name: c"AGG.NACK",
    handler: Handler::new(|call| write(Command::Nack, Creation::Never, call)),
    flags: c"write",
    access: Access::Drain,
    categories: CATEGORIES,
    arity: -4,
    summary: c"Ends leases, so that the records can be fetched again.",
    complexity: c"O(n log n), n being the number of ids",
    args: &[Arg::key(), QUEUE, IDS],
};

pub static EXTEND: CommandSpec = CommandSpec {
    name: c"AGG.EXTEND",
    handler: Handler::new(|call| write(Command::Extend, Creation::Never, call)),
    flags: c"write",
    access: Access::Drain,
    categories: CATEGORIES,
    arity: -5,
    summary: c"Extends leases to a time from now.",
    complexity: c"O(n log n), n being the number of ids",
    args: &[Arg::key(), QUEUE, Arg::new(c"ms", ArgKind::Integer), IDS],
};

pub static REQUEUE: CommandSpec = CommandSpec {
    name: c"AGG.REQUEUE",
    handler: Handler::new(|call| write(Command::Requeue, Creation::Never, call)),
    flags: c"write deny-oom",
    access: Access::Drain,
    categories: CATEGORIES,
    arity: -3,
    summary: c"Queues the errors or objects of a node again.",
    complexity: c"O(n log n), n being the number of errors or objects",
    args: &[
        Arg::key(),
        Arg::one_of(
            c"queue",
            &[
                Arg::word(c"error", c"ERROR"),
                Arg::word(c"reality", c"REALITY"),
            ],
        ),
        Arg::new(c"pattern", ArgKind::Pattern)
            .after(c"MATCH")
            .optional(),
    ],
};

pub static PEEK: CommandSpec = CommandSpec {
    name: c"AGG.PEEK",
    handler: Handler::new(|call| read(Command::Peek, call)),
    flags: c"readonly",
    access: Access::Read,
    categories: c"read slow agg-read",
    arity: -3,
    summary: c"Returns records of queues, leased ones too, and changes nothing.",
    complexity: c"O(n), n being the number of records",
    args: &[
        Arg::key(),
        QUEUES,
        COUNT,
        Arg::new(c"id", ArgKind::Integer).after(c"FROM").optional(),
        Arg::word(c"rev", c"REV").optional(),
        FORMAT,
    ],
};
