//! The commands that report: they change a node and tell nothing of what others reported.

use super::run::{Call, report, write};
use crate::ffi::command_info::{Access, Arg, CommandSpec, Kind};
use aggregator_core::Command;

const CATEGORIES: &std::ffi::CStr = c"write fast agg-report";
const FLAGS: &std::ffi::CStr = c"write deny-oom fast";

const TAGS: Arg = Arg::new(c"tags", Kind::Text).behind(c"TAGS").optional();
const AT: Arg = Arg::new(c"unix-time-ms", Kind::Time)
    .behind(c"AT")
    .optional();
const LEVEL: Arg = Arg::new(c"level", Kind::Integer)
    .behind(c"LEVEL")
    .optional();
const TYPE: Arg = Arg::one_of(
    c"type",
    &[Arg::word(c"abs", c"ABS"), Arg::word(c"diff", c"DIFF")],
)
.optional();
const METRIC: Arg = Arg::new(c"metric", Kind::Text);
const VALUE: Arg = Arg::new(c"value", Kind::Text);

/// AGG.STAT.
pub static STAT: CommandSpec = CommandSpec {
    name: c"AGG.STAT",
    handler: |call| report(Command::Stat, call),
    flags: FLAGS,
    access: Access::Report,
    categories: CATEGORIES,
    arity: -4,
    summary: c"Counts a sample of a metric.",
    complexity: c"O(1)",
    args: &[Arg::key(), METRIC, VALUE, TYPE, TAGS, AT],
};

/// AGG.MSTAT.
pub static MSTAT: CommandSpec = CommandSpec {
    name: c"AGG.MSTAT",
    handler: |call| report(Command::Mstat, call),
    flags: FLAGS,
    access: Access::Report,
    categories: CATEGORIES,
    arity: -5,
    summary: c"Counts samples of many metrics; tells which it refused and why.",
    complexity: c"O(n), n being the number of samples",
    args: &[
        Arg::key(),
        TYPE,
        TAGS,
        AT,
        Arg::word(c"atomic", c"ATOMIC").optional(),
        Arg::block(c"samples", &[METRIC, VALUE])
            .behind(c"VALUES")
            .multiple(),
    ],
};

/// AGG.LOG.
pub static LOG: CommandSpec = CommandSpec {
    name: c"AGG.LOG",
    handler: |call| report(Command::Log, call),
    flags: FLAGS,
    access: Access::Report,
    categories: CATEGORIES,
    arity: -3,
    summary: c"Queues a log line.",
    complexity: c"O(1)",
    args: &[
        Arg::key(),
        Arg::new(c"message", Kind::Text),
        LEVEL,
        TAGS,
        AT,
    ],
};

/// AGG.ERROR.
pub static ERROR: CommandSpec = CommandSpec {
    name: c"AGG.ERROR",
    handler: |call| report(Command::Error, call),
    flags: FLAGS,
    access: Access::Report,
    categories: CATEGORIES,
    arity: -3,
    summary: c"Counts an occurrence of an error.",
    complexity: c"O(log n), n being the number of errors",
    args: &[
        Arg::key(),
        Arg::new(c"message", Kind::Text),
        Arg::new(c"text", Kind::Text).behind(c"PUBLIC").optional(),
        LEVEL,
        Arg::one_of(
            c"type",
            &[
                Arg::word(c"bug", c"BUG"),
                Arg::word(c"perf", c"PERF"),
                Arg::word(c"ops", c"OPS"),
                Arg::word(c"unknown", c"UNKNOWN"),
            ],
        )
        .behind(c"TYPE")
        .optional(),
        TAGS,
        Arg::new(c"code", Kind::Text).behind(c"CODE").optional(),
        Arg::new(c"func", Kind::Text).behind(c"FUNC").optional(),
        Arg::new(c"file", Kind::Text).behind(c"FILE").optional(),
        Arg::new(c"backtrace", Kind::Text)
            .behind(c"BACKTRACE")
            .optional(),
        Arg::new(c"gid", Kind::Integer).behind(c"GID").optional(),
        Arg::new(c"nid", Kind::Integer).behind(c"NID").optional(),
        Arg::new(c"key", Kind::Text).behind(c"KEY").optional(),
        AT,
    ],
};

/// AGG.REALITY.
pub static REALITY: CommandSpec = CommandSpec {
    name: c"AGG.REALITY",
    handler: |call| report(Command::Reality, call),
    flags: FLAGS,
    access: Access::Report,
    categories: CATEGORIES,
    arity: -5,
    summary: c"Reports what is true of an object; it is queued when that changed.",
    complexity: c"O(n log n), n being the size of the JSON",
    args: &[
        Arg::key(),
        Arg::new(c"key", Kind::Text),
        Arg::new(c"model", Kind::Text),
        Arg::new(c"json", Kind::Text),
        TAGS,
        AT,
        Arg::new(c"seconds", Kind::Integer)
            .behind(c"TTL")
            .optional(),
    ],
};

/// AGG.FORGET.
pub static FORGET: CommandSpec = CommandSpec {
    name: c"AGG.FORGET",
    handler: forget,
    flags: c"write fast",
    access: Access::Report,
    categories: CATEGORIES,
    arity: 4,
    summary: c"Forgets a metric, an error or an object.",
    complexity: c"O(log n)",
    args: &[
        Arg::key(),
        super::read::FAMILY,
        Arg::new(c"name", Kind::Text),
    ],
};

fn forget(call: &Call<'_>) {
    write(Command::Forget, false, call);
}
