//! The command table: all commands.

use super::columns::Column;
use super::spec::{Access, Arg, ArgType, CommandSpec, Flag, Group, OptionWords};
use crate::model::{ErrorType, ItemKind, Queue, RecordFormat, SampleKind, Window};
use crate::node::ScanValues;

const NODE: Arg = Arg::new("node", ArgType::Key);
const METRIC: Arg = Arg::text("metric");
const VALUE: Arg = Arg::text("value");
const NAME: Arg = Arg::text("name");
const MESSAGE: Arg = Arg::text("message");
const TYPE: Arg = Arg::one_of(
    "type",
    &[
        Arg::word("abs", SampleKind::Abs.name()),
        Arg::word("add", SampleKind::Add.name()),
        Arg::word("diff", SampleKind::Diff.name()),
        Arg::word("inc", SampleKind::Inc.name()),
    ],
)
.optional();
const HIST: Arg = Arg::word("hist", "HIST").optional();
const TIMES: Arg = Arg::integer("times")
    .after("TIMES")
    .shown_as("n")
    .optional();
const TAGS: Arg = Arg::text("tags").after("TAGS").optional();
const AT: Arg = Arg::new("unix-time-ms", ArgType::Time)
    .after("AT")
    .shown_as("ms")
    .optional();
const SEQ: Arg = Arg::block(
    "sequence",
    &[Arg::text("source"), Arg::integer("number").shown_as("n")],
)
.after("SEQ")
.optional();
const COLUMN: Arg = Arg::one_of("column", &COLUMN_WORDS)
    .shown_as("column")
    .multiple();
const COLUMN_WORDS: [Arg; 7] = [
    Arg::word("metric", Column::Metric.name()),
    Arg::word("value", Column::Value.name()),
    Arg::word("type", Column::Type.name()),
    Arg::word("hist", Column::Hist.name()),
    Arg::word("times", Column::Times.name()),
    Arg::word("tags", Column::Tags.name()),
    Arg::word("at", Column::At.name()),
];
const SAMPLES: Arg = Arg::one_of(
    "samples",
    &[
        Arg::block("pairs", &[METRIC, VALUE])
            .after("VALUES")
            .multiple(),
        Arg::block("rows", &[COLUMN, VALUE.after("VALUES").multiple()]).after("COLUMNS"),
    ],
);
const PAIRS: Arg = Arg::block("pairs", &[VALUE, Arg::integer("times")])
    .after("VALUES")
    .multiple();
const LEVEL: Arg = Arg::text("level").after("LEVEL").optional();
const KIND: Arg = Arg::one_of(
    "kind",
    &[
        Arg::word("metric", ItemKind::Metric.name()),
        Arg::word("error", ItemKind::Error.name()),
        Arg::word("reality", ItemKind::Object.name()),
    ],
);
const QUEUE: Arg = Arg::one_of(
    "queue",
    &[
        Arg::word("min", Queue::Min.name()),
        Arg::word("hour", Queue::Hour.name()),
        Arg::word("log", Queue::Log.name()),
        Arg::word("error", Queue::Error.name()),
        Arg::word("reality", Queue::Reality.name()),
    ],
)
.shown_as("queue");
const QUEUES: Arg = QUEUE.multiple();
const REFERENCE_QUEUE: Arg = Arg::one_of(
    "queue",
    &[
        Arg::word("error", Queue::Error.name()),
        Arg::word("reality", Queue::Reality.name()),
    ],
);
const COUNT: Arg = Arg::integer("count")
    .after("COUNT")
    .shown_as("n")
    .optional();
const FORMAT: Arg = Arg::one_of(
    "format",
    &[
        Arg::word("json", RecordFormat::Json.name()),
        Arg::word("line", RecordFormat::Line.name()),
    ],
)
.after("FORMAT")
.optional();
const PATTERN: Arg = Arg::new("pattern", ArgType::Pattern)
    .after("MATCH")
    .shown_as("glob")
    .optional();
const IDS: Arg = Arg::integer("id").multiple();

const REPORT_FLAGS: &[Flag] = &[Flag::Write, Flag::DenyOom, Flag::Fast];

const fn report(
    name: &'static str,
    summary: &'static str,
    complexity: &'static str,
    args: &'static [Arg],
) -> CommandSpec {
    CommandSpec {
        name,
        summary,
        complexity,
        since: "0.1.0",
        group: Group::Report,
        flags: REPORT_FLAGS,
        access: Access::Report,
        args,
        options: OptionWords::of(args),
    }
}

const fn drain(
    name: &'static str,
    summary: &'static str,
    complexity: &'static str,
    args: &'static [Arg],
) -> CommandSpec {
    CommandSpec {
        group: Group::Drain,
        flags: &[Flag::Write],
        access: Access::Drain,
        ..report(name, summary, complexity, args)
    }
}

const fn read(
    name: &'static str,
    summary: &'static str,
    complexity: &'static str,
    args: &'static [Arg],
) -> CommandSpec {
    CommandSpec {
        group: Group::Read,
        flags: &[Flag::ReadOnly],
        access: Access::Read,
        ..report(name, summary, complexity, args)
    }
}

/// All commands: in the order of [`super::Command`], and AGG.HELP and AGG.APPLY behind them.
pub static COMMANDS: [CommandSpec; 21] = [
    report(
        "AGG.STAT",
        "Adds a sample to a metric.",
        "O(1)",
        &[NODE, METRIC, VALUE, TYPE, HIST, TIMES, TAGS, AT, SEQ],
    ),
    report(
        "AGG.MSTAT",
        "Adds samples to many metrics; returns those that were rejected and why.",
        "O(n), n being the number of samples",
        &[
            NODE,
            TYPE,
            HIST,
            TAGS,
            AT,
            Arg::word("atomic", "ATOMIC").optional(),
            SEQ,
            SAMPLES,
        ],
    ),
    report(
        "AGG.HIST",
        "Merges aggregated samples, values with the number of their occurrences, into a metric.",
        "O(n), n being the number of pairs",
        &[
            NODE,
            METRIC,
            Arg::text("sum").after("SUM").shown_as("s").optional(),
            Arg::text("min").after("MIN").shown_as("m").optional(),
            Arg::text("max").after("MAX").shown_as("m").optional(),
            TAGS,
            AT,
            SEQ,
            PAIRS,
        ],
    ),
    report(
        "AGG.LOG",
        "Queues a log entry.",
        "O(1)",
        &[NODE, MESSAGE, LEVEL, TAGS, AT, SEQ],
    ),
    report(
        "AGG.ERROR",
        "Counts an occurrence of an error.",
        "O(log n), n being the number of errors",
        &[
            NODE,
            MESSAGE,
            Arg::text("text").after("PUBLIC").optional(),
            LEVEL,
            Arg::one_of(
                "type",
                &[
                    Arg::word("bug", ErrorType::Bug.name()),
                    Arg::word("perf", ErrorType::Perf.name()),
                    Arg::word("ops", ErrorType::Ops.name()),
                    Arg::word("unknown", ErrorType::Unknown.name()),
                ],
            )
            .after("TYPE")
            .optional(),
            TAGS,
            Arg::text("code").after("CODE").shown_as("c").optional(),
            Arg::text("func").after("FUNC").shown_as("f").optional(),
            Arg::text("file").after("FILE").shown_as("p").optional(),
            Arg::text("backtrace")
                .after("BACKTRACE")
                .shown_as("b")
                .optional(),
            Arg::integer("gid").after("GID").shown_as("n").optional(),
            Arg::integer("nid").after("NID").shown_as("n").optional(),
            Arg::text("key").after("KEY").shown_as("k").optional(),
            AT,
            SEQ,
        ],
    ),
    report(
        "AGG.REALITY",
        "Reports the state of an object; it is queued when it has changed.",
        "O(n log n), n being the size of the JSON",
        &[
            NODE,
            Arg::text("key"),
            Arg::text("model"),
            Arg::text("json"),
            TAGS,
            AT,
            Arg::integer("seconds").after("TTL").optional(),
        ],
    ),
    CommandSpec {
        group: Group::Relay,
        ..report(
            "AGG.IMPORT",
            "Queues records that another server delivered, once each; returns how many are stored now.",
            "O(n log n), n being the number of records",
            &[
                NODE,
                QUEUE,
                Arg::integer("floor").after("FLOOR").optional(),
                Arg::block("records", &[Arg::integer("id"), Arg::text("record")]).multiple(),
            ],
        )
    },
    CommandSpec {
        // Not deny-oom: it is a way out where memory is full.
        flags: &[Flag::Write, Flag::Fast],
        ..report(
            "AGG.FORGET",
            "Forgets a metric, an error or an object.",
            "O(log n)",
            &[NODE, KIND, NAME],
        )
    },
    CommandSpec {
        // Its new records take memory.
        flags: &[Flag::Write, Flag::DenyOom],
        ..drain(
            "AGG.REQUEUE",
            "Queues the errors or objects of a node again.",
            "O(n log n), n being the number of errors or objects",
            &[NODE, REFERENCE_QUEUE, PATTERN],
        )
    },
    drain(
        "AGG.POP",
        "Removes and returns the oldest records of queues.",
        "O(n), n being the number of records",
        &[NODE, QUEUES, COUNT, FORMAT],
    ),
    CommandSpec {
        flags: &[Flag::Write, Flag::Blocking],
        ..drain(
            "AGG.FETCH",
            "Leases and returns the oldest records of queues; no other client gets them until the lease ends.",
            "O(n log n), n being the number of records",
            &[
                NODE,
                QUEUES,
                COUNT,
                Arg::integer("lease-ms")
                    .after("LEASE")
                    .shown_as("ms")
                    .optional(),
                Arg::integer("block-ms")
                    .after("BLOCK")
                    .shown_as("ms")
                    .optional(),
                FORMAT,
                Arg::word("withfloor", "WITHFLOOR").optional(),
            ],
        )
    },
    drain(
        "AGG.ACK",
        "Removes fetched records that are stored elsewhere.",
        "O(n log n), n being the number of ids",
        &[NODE, QUEUE, IDS],
    ),
    drain(
        "AGG.NACK",
        "Ends leases, so that the records can be fetched again.",
        "O(n log n), n being the number of ids",
        &[NODE, QUEUE, IDS],
    ),
    drain(
        "AGG.EXTEND",
        "Extends leases to a time from now.",
        "O(n log n), n being the number of ids",
        &[NODE, QUEUE, Arg::integer("ms"), IDS],
    ),
    read(
        "AGG.PEEK",
        "Returns records of queues, leased ones too, and changes nothing.",
        "O(n), n being the number of records",
        &[
            NODE,
            QUEUES,
            COUNT,
            Arg::integer("id").after("FROM").optional(),
            Arg::word("rev", "REV").optional(),
            FORMAT,
        ],
    ),
    CommandSpec {
        flags: &[Flag::ReadOnly, Flag::Fast],
        ..read(
            "AGG.GET",
            "Returns a metric, an error or an object.",
            "O(1)",
            &[NODE, KIND, NAME],
        )
    },
    read(
        "AGG.RANGE",
        "Returns the windows of a metric: the closed ones of its history and the open ones.",
        "O(n), n being the number of windows kept",
        &[
            NODE,
            METRIC,
            Arg::one_of(
                "window",
                &[
                    Arg::word("min", Window::Min.name()),
                    Arg::word("hour", Window::Hour.name()),
                ],
            ),
            Arg::new("from-ms", ArgType::Time)
                .after("FROM")
                .shown_as("ms")
                .optional(),
            Arg::new("to-ms", ArgType::Time)
                .after("TO")
                .shown_as("ms")
                .optional(),
        ],
    ),
    read(
        "AGG.SCAN",
        "Lists the names of metrics, errors or objects.",
        "O(1) for every call, O(n) for a complete iteration",
        &[
            NODE,
            KIND,
            Arg::integer("cursor"),
            PATTERN,
            COUNT,
            Arg::one_of(
                "values",
                &[
                    Arg::word("withvalues", ScanValues::All.name()),
                    Arg::word("withlast", ScanValues::Last.name()),
                ],
            )
            .optional(),
        ],
    ),
    CommandSpec {
        flags: &[Flag::ReadOnly, Flag::Fast],
        ..read(
            "AGG.INFO",
            "Returns the contents of a node in numbers, and its counters.",
            "O(1)",
            &[NODE],
        )
    },
    CommandSpec {
        flags: &[Flag::ReadOnly, Flag::Fast],
        access: Access::None,
        ..read(
            "AGG.HELP",
            "Lists the commands with their arguments.",
            "O(1)",
            &[],
        )
    },
    CommandSpec {
        name: "AGG.APPLY",
        summary: "Applies effects of a primary, or a part of a saved node. Internal.",
        complexity: "O(n), n being the size of the payload",
        since: "0.1.0",
        group: Group::Internal,
        flags: &[Flag::Write],
        access: Access::Replace,
        args: &[NODE, Arg::text("payload")],
        options: OptionWords::of(&[]),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_and_arity_follow_from_the_arguments() {
        let expected = [
            (
                "AGG.STAT",
                -4,
                "node metric value [ABS|ADD|DIFF|INC] [HIST] [TIMES n] [TAGS tags] [AT ms] [SEQ source n]",
            ),
            (
                "AGG.MSTAT",
                -5,
                "node [ABS|ADD|DIFF|INC] [HIST] [TAGS tags] [AT ms] [ATOMIC] [SEQ source n] \
                 VALUES metric value [metric value ...]|COLUMNS column [column ...] VALUES value [value ...]",
            ),
            (
                "AGG.HIST",
                -6,
                "node metric [SUM s] [MIN m] [MAX m] [TAGS tags] [AT ms] [SEQ source n] \
                 VALUES value times [value times ...]",
            ),
            (
                "AGG.LOG",
                -3,
                "node message [LEVEL level] [TAGS tags] [AT ms] [SEQ source n]",
            ),
            (
                "AGG.ERROR",
                -3,
                "node message [PUBLIC text] [LEVEL level] [TYPE BUG|PERF|OPS|UNKNOWN] [TAGS tags] [CODE c] [FUNC f] \
                 [FILE p] [BACKTRACE b] [GID n] [NID n] [KEY k] [AT ms] [SEQ source n]",
            ),
            (
                "AGG.REALITY",
                -5,
                "node key model json [TAGS tags] [AT ms] [TTL seconds]",
            ),
            (
                "AGG.IMPORT",
                -5,
                "node queue [FLOOR floor] id record [id record ...]",
            ),
            ("AGG.FORGET", 4, "node METRIC|ERROR|REALITY name"),
            ("AGG.REQUEUE", -3, "node ERROR|REALITY [MATCH glob]"),
            (
                "AGG.POP",
                -3,
                "node queue [queue ...] [COUNT n] [FORMAT JSON|LINE]",
            ),
            (
                "AGG.FETCH",
                -3,
                "node queue [queue ...] [COUNT n] [LEASE ms] [BLOCK ms] [FORMAT JSON|LINE] [WITHFLOOR]",
            ),
            ("AGG.ACK", -4, "node queue id [id ...]"),
            ("AGG.NACK", -4, "node queue id [id ...]"),
            ("AGG.EXTEND", -5, "node queue ms id [id ...]"),
            (
                "AGG.PEEK",
                -3,
                "node queue [queue ...] [COUNT n] [FROM id] [REV] [FORMAT JSON|LINE]",
            ),
            ("AGG.GET", 4, "node METRIC|ERROR|REALITY name"),
            ("AGG.RANGE", -4, "node metric MIN|HOUR [FROM ms] [TO ms]"),
            (
                "AGG.SCAN",
                -4,
                "node METRIC|ERROR|REALITY cursor [MATCH glob] [COUNT n] [WITHVALUES|WITHLAST]",
            ),
            ("AGG.INFO", 2, "node"),
            ("AGG.HELP", 1, ""),
            ("AGG.APPLY", 3, "node payload"),
        ];
        for (spec, (name, arity, usage)) in COMMANDS.iter().zip(expected) {
            assert_eq!((spec.name, spec.arity()), (name, arity));
            assert_eq!(spec.usage(), usage);
        }
    }

    #[test]
    fn categories_follow_from_flags_and_group() {
        let spec = |name: &str| COMMANDS.iter().find(|spec| spec.name == name);
        let of = |name: &str| spec(name).unwrap().categories();
        assert_eq!(of("AGG.STAT"), "write fast agg-report");
        assert_eq!(of("AGG.HIST"), "write fast agg-report");
        assert_eq!(of("AGG.FETCH"), "write slow blocking agg-drain");
        assert_eq!(of("AGG.PEEK"), "read slow agg-read");
        assert_eq!(of("AGG.GET"), "read fast agg-read");
        assert_eq!(of("AGG.APPLY"), "write admin dangerous");
    }
}
