//! The commands that report. They change a node and reply with nothing that others reported.

use super::run::{Creation, report, write};
use crate::ffi::{Access, Arg, ArgKind, Call, CommandSpec, Handler};
use aggregator_core::Command;

const CATEGORIES: &std::ffi::CStr = c"write fast agg-report";
const FLAGS: &std::ffi::CStr = c"write deny-oom fast";

const TAGS: Arg = Arg::new(c"tags", ArgKind::Text).after(c"TAGS").optional();
const AT: Arg = Arg::new(c"unix-time-ms", ArgKind::Time)
    .after(c"AT")
    .optional();
const LEVEL: Arg = Arg::new(c"level", ArgKind::Integer)
    .after(c"LEVEL")
    .optional();
const TYPE: Arg = Arg::one_of(
    c"type",
    &[Arg::word(c"abs", c"ABS"), Arg::word(c"diff", c"DIFF")],
)
.optional();
const METRIC: Arg = Arg::new(c"metric", ArgKind::Text);
const VALUE: Arg = Arg::new(c"value", ArgKind::Text);

pub static STAT: CommandSpec = CommandSpec {
    name: c"AGG.STAT",
    handler: Handler::new(|call| report(Command::Stat, call)),
    flags: FLAGS,
    access: Access::Report,
    categories: CATEGORIES,
    arity: -4,
    summary: c"Adds a sample to a metric.",
    complexity: c"O(1)",
    args: &[Arg::key(), METRIC, VALUE, TYPE, TAGS, AT],
};

pub static MSTAT: CommandSpec = CommandSpec {
    name: c"AGG.MSTAT",
    handler: Handler::new(|call| report(Command::Mstat, call)),
    flags: FLAGS,
    access: Access::Report,
    categories: CATEGORIES,
    arity: -5,
    summary: c"Adds samples to many metrics; returns those that were refused and why.",
    complexity: c"O(n), n being the number of samples",
    args: &[
        Arg::key(),
        TYPE,
        TAGS,
        AT,
        Arg::word(c"atomic", c"ATOMIC").optional(),
        Arg::block(c"samples", &[METRIC, VALUE])
            .after(c"VALUES")
            .multiple(),
    ],
};

pub static LOG: CommandSpec = CommandSpec {
    name: c"AGG.LOG",
    handler: Handler::new(|call| report(Command::Log, call)),
    flags: FLAGS,
    access: Access::Report,
    categories: CATEGORIES,
    arity: -3,
    summary: c"Queues a log entry.",
    complexity: c"O(1)",
    args: &[
        Arg::key(),
        Arg::new(c"message", ArgKind::Text),
        LEVEL,
        TAGS,
        AT,
    ],
};

pub static ERROR: CommandSpec = CommandSpec {
    name: c"AGG.ERROR",
    handler: Handler::new(|call| report(Command::Error, call)),
    flags: FLAGS,
    access: Access::Report,
    categories: CATEGORIES,
    arity: -3,
    summary: c"Counts an occurrence of an error.",
    complexity: c"O(log n), n being the number of errors",
    args: &[
        Arg::key(),
        Arg::new(c"message", ArgKind::Text),
        Arg::new(c"text", ArgKind::Text).after(c"PUBLIC").optional(),
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
        .after(c"TYPE")
        .optional(),
        TAGS,
        Arg::new(c"code", ArgKind::Text).after(c"CODE").optional(),
        Arg::new(c"func", ArgKind::Text).after(c"FUNC").optional(),
        Arg::new(c"file", ArgKind::Text).after(c"FILE").optional(),
        Arg::new(c"backtrace", ArgKind::Text)
            .after(c"BACKTRACE")
            .optional(),
        Arg::new(c"gid", ArgKind::Integer).after(c"GID").optional(),
        Arg::new(c"nid", ArgKind::Integer).after(c"NID").optional(),
        Arg::new(c"key", ArgKind::Text).after(c"KEY").optional(),
        AT,
    ],
};

pub static REALITY: CommandSpec = CommandSpec {
    name: c"AGG.REALITY",
    handler: Handler::new(|call| report(Command::Reality, call)),
    flags: FLAGS,
    access: Access::Report,
    categories: CATEGORIES,
    arity: -5,
    summary: c"Reports the state of an object; it is queued when it has changed.",
    complexity: c"O(n log n), n being the size of the JSON",
    args: &[
        Arg::key(),
        Arg::new(c"key", ArgKind::Text),
        Arg::new(c"model", ArgKind::Text),
        Arg::new(c"json", ArgKind::Text),
        TAGS,
        AT,
        Arg::new(c"seconds", ArgKind::Integer)
            .after(c"TTL")
            .optional(),
    ],
};

pub static FORGET: CommandSpec = CommandSpec {
    name: c"AGG.FORGET",
    handler: Handler::new(forget),
    flags: c"write fast",
    access: Access::Report,
    categories: CATEGORIES,
    arity: 4,
    summary: c"Forgets a metric, an error or an object.",
    complexity: c"O(log n)",
    args: &[
        Arg::key(),
        super::read::FAMILY,
        Arg::new(c"name", ArgKind::Text),
    ],
};

fn forget(call: &Call<'_>) {
    write(Command::Forget, Creation::Never, call);
}
