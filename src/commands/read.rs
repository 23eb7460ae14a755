//! The commands that read metrics, errors, objects and the counters of a node.

use super::run::read;
use crate::ffi::{Access, Arg, ArgKind, CommandSpec, Handler};
use aggregator_core::Command;

/// The kinds of named things.
pub(super) const FAMILY: Arg = Arg::one_of(
    c"kind",
    &[
        Arg::word(c"metric", c"METRIC"),
        Arg::word(c"error", c"ERROR"),
        Arg::word(c"reality", c"REALITY"),
    ],
);

pub static GET: CommandSpec = CommandSpec {
    name: c"AGG.GET",
    handler: Handler::new(|call| read(Command::Get, call)),
    flags: c"readonly fast",
    access: Access::Read,
    categories: c"read fast agg-read",
    arity: 4,
    summary: c"Returns a metric, an error or an object.",
    complexity: c"O(1)",
    args: &[Arg::key(), FAMILY, Arg::new(c"name", ArgKind::Text)],
};

pub static RANGE: CommandSpec = CommandSpec {
    name: c"AGG.RANGE",
    handler: Handler::new(|call| read(Command::Range, call)),
    flags: c"readonly",
    access: Access::Read,
    categories: c"read slow agg-read",
    arity: -4,
    summary: c"Returns the windows of a metric: the closed ones of its history and the open ones.",
    complexity: c"O(n), n being the number of windows",
    args: &[
        Arg::key(),
        Arg::new(c"metric", ArgKind::Text),
        Arg::one_of(
            c"window",
            &[Arg::word(c"min", c"MIN"), Arg::word(c"hour", c"HOUR")],
        ),
        Arg::new(c"from-ms", ArgKind::Time)
            .after(c"FROM")
            .optional(),
        Arg::new(c"to-ms", ArgKind::Time).after(c"TO").optional(),
    ],
};

pub static SCAN: CommandSpec = CommandSpec {
    name: c"AGG.SCAN",
    handler: Handler::new(|call| read(Command::Scan, call)),
    flags: c"readonly",
    access: Access::Read,
    categories: c"read slow agg-read",
    arity: -4,
    summary: c"Lists the names of metrics, errors or objects.",
    complexity: c"O(1) for every call, O(n) for a complete iteration",
    args: &[
        Arg::key(),
        FAMILY,
        Arg::new(c"cursor", ArgKind::Integer),
        Arg::new(c"pattern", ArgKind::Pattern)
            .after(c"MATCH")
            .optional(),
        Arg::new(c"count", ArgKind::Integer)
            .after(c"COUNT")
            .optional(),
        Arg::word(c"withvalues", c"WITHVALUES").optional(),
    ],
};

pub static INFO: CommandSpec = CommandSpec {
    name: c"AGG.INFO",
    handler: Handler::new(|call| read(Command::Info, call)),
    flags: c"readonly fast",
    access: Access::Read,
    categories: c"read fast agg-read",
    arity: 2,
    summary: c"Returns the contents of a node in numbers, and its counters.",
    complexity: c"O(1)",
    args: &[Arg::key()],
};
