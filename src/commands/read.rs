//! The commands that read.

use super::run::read;
use crate::ffi::command_info::{Access, Arg, CommandSpec, Kind};
use aggregator_core::Command;

/// What has names.
pub(super) const FAMILY: Arg = Arg::one_of(
    c"kind",
    &[
        Arg::word(c"metric", c"METRIC"),
        Arg::word(c"error", c"ERROR"),
        Arg::word(c"reality", c"REALITY"),
    ],
);

/// AGG.GET.
pub static GET: CommandSpec = CommandSpec {
    name: c"AGG.GET",
    handler: |call| read(Command::Get, call),
    flags: c"readonly fast",
    access: Access::Read,
    categories: c"read fast agg-read",
    arity: 4,
    summary: c"Shows a metric, an error or an object.",
    complexity: c"O(1)",
    args: &[Arg::key(), FAMILY, Arg::new(c"name", Kind::Text)],
};

/// AGG.RANGE.
pub static RANGE: CommandSpec = CommandSpec {
    name: c"AGG.RANGE",
    handler: |call| read(Command::Range, call),
    flags: c"readonly",
    access: Access::Read,
    categories: c"read slow agg-read",
    arity: -4,
    summary: c"Shows a metric's windows, the closed ones that are kept and the open ones.",
    complexity: c"O(n), n being the number of windows kept",
    args: &[
        Arg::key(),
        Arg::new(c"metric", Kind::Text),
        Arg::one_of(
            c"window",
            &[Arg::word(c"min", c"MIN"), Arg::word(c"hour", c"HOUR")],
        ),
        Arg::new(c"from-ms", Kind::Time).behind(c"FROM").optional(),
        Arg::new(c"to-ms", Kind::Time).behind(c"TO").optional(),
    ],
};

/// AGG.SCAN.
pub static SCAN: CommandSpec = CommandSpec {
    name: c"AGG.SCAN",
    handler: |call| read(Command::Scan, call),
    flags: c"readonly",
    access: Access::Read,
    categories: c"read slow agg-read",
    arity: -4,
    summary: c"Lists the names of metrics, errors or objects.",
    complexity: c"O(1) for every call, O(n) for a complete iteration",
    args: &[
        Arg::key(),
        FAMILY,
        Arg::new(c"cursor", Kind::Integer),
        Arg::new(c"pattern", Kind::Pattern)
            .behind(c"MATCH")
            .optional(),
        Arg::new(c"count", Kind::Integer)
            .behind(c"COUNT")
            .optional(),
        Arg::word(c"withvalues", c"WITHVALUES").optional(),
    ],
};

/// AGG.INFO.
pub static INFO: CommandSpec = CommandSpec {
    name: c"AGG.INFO",
    handler: |call| read(Command::Info, call),
    flags: c"readonly fast",
    access: Access::Read,
    categories: c"read fast agg-read",
    arity: 2,
    summary: c"Shows what a node holds, and its counts.",
    complexity: c"O(1)",
    args: &[Arg::key()],
};
