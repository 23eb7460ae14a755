//! The tables, and the statements that create and fill them. No I/O.
//!
//! # Invariants
//!
//! The columns of a table have the order of [`Column`]s in its list, in the statement that creates it, in the one that
//! inserts, and in the rows of rows.rs. A key of statistics and logs ends with the time, so that a table may be partitioned by
//! it: a record has one time, so the key identifies it all the same.

use std::fmt::Write;

use aggregator_protocol::Queue;

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Windows, of MIN and HOUR.
    Statistics,
    /// Log entries.
    Logs,
    /// Errors in their latest state.
    Errors,
    /// Objects in their latest state.
    Reality,
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Text,
    Bigint,
    Integer,
    Double,
    Boolean,
    Time,
    Jsonb,
    /// `jsonb` that may be NULL.
    OptionalJsonb,
}

/// A column: its name, which is no reserved word, and its type.
pub type Column = (&'static str, Type);

use Type::{Bigint, Boolean, Double, Integer, Jsonb, OptionalJsonb, Text, Time};

const STATISTICS: [Column; 17] = [
    ("node", Text),
    ("queue", Text),
    ("id", Bigint),
    ("metric", Text),
    ("instance", Text),
    ("type", Text),
    ("seconds", Integer),
    ("start_time", Time),
    ("end_time", Time),
    ("count", Bigint),
    ("sum", Double),
    ("avg", Double),
    ("min", Double),
    ("max", Double),
    ("last", Double),
    ("percentiles", OptionalJsonb),
    ("hist", OptionalJsonb),
];
const LOGS: [Column; 6] = [
    ("node", Text),
    ("id", Bigint),
    ("time", Time),
    ("level", Integer),
    ("severity", Text),
    ("message", Text),
];
const ERRORS: [Column; 17] = [
    ("node", Text),
    ("key", Text),
    ("id", Bigint),
    ("message", Text),
    ("public", Text),
    ("level", Integer),
    ("severity", Text),
    ("type", Text),
    ("code", Text),
    ("function", Text),
    ("file", Text),
    ("backtrace", Text),
    ("gid", Bigint),
    ("nid", Bigint),
    ("occurrences", Bigint),
    ("first_time", Time),
    ("last_time", Time),
];
const REALITY: [Column; 7] = [
    ("node", Text),
    ("key", Text),
    ("id", Bigint),
    ("model", Text),
    ("json", Jsonb),
    ("time", Time),
    ("gone", Boolean),
];
/// The last column of every table.
const TAGS: Column = ("tags", Jsonb);

impl Table {
    /// All tables.
    pub const ALL: [Table; 4] = [
        Table::Statistics,
        Table::Logs,
        Table::Errors,
        Table::Reality,
    ];

    /// Returns the table for the records of a queue.
    pub fn of(queue: Queue) -> Table {
        match queue {
            Queue::Min | Queue::Hour => Table::Statistics,
            Queue::Log => Table::Logs,
            Queue::Error => Table::Errors,
            Queue::Reality => Table::Reality,
        }
    }

    /// Returns its name without the prefix.
    pub fn name(self) -> &'static str {
        match self {
            Table::Statistics => "statistics",
            Table::Logs => "logs",
            Table::Errors => "errors",
            Table::Reality => "reality",
        }
    }

    /// Returns whether a row is the latest state of an error or object, which a later one replaces.
    pub fn keeps_states(self) -> bool {
        matches!(self, Table::Errors | Table::Reality)
    }

    /// Returns the columns.
    pub fn columns(self) -> impl Iterator<Item = Column> + Clone {
        let own: &[Column] = match self {
            Table::Statistics => &STATISTICS,
            Table::Logs => &LOGS,
            Table::Errors => &ERRORS,
            Table::Reality => &REALITY,
        };
        own.iter().copied().chain([TAGS])
    }

    /// Returns the columns of the primary key.
    fn key(self) -> &'static str {
        match self {
            Table::Statistics => "node, queue, id, start_time",
            Table::Logs => "node, id, time",
            Table::Errors | Table::Reality => "node, key",
        }
    }

    /// Returns the definitions of the indexes besides the primary key.
    fn indexes(self) -> &'static [&'static str] {
        match self {
            // A BRIN index costs little: rows arrive in the order of their times.
            Table::Statistics => &["(metric, node, start_time)", "USING brin (start_time)"],
            Table::Logs => &["(node, time)", "USING brin (time)"],
            Table::Errors => &["(last_time)"],
            Table::Reality => &["(model, node)"],
        }
    }

    /// Returns the statements that create the table, under its full name, and its indexes.
    pub fn create(self, name: &str) -> String {
        let mut sql = format!("CREATE TABLE {name} (");
        for (column, kind) in self.columns() {
            // Writing to a string does not fail.
            let _ = write!(sql, "{column} {}, ", kind.definition());
        }
        let _ = write!(sql, "PRIMARY KEY ({}));", self.key());
        for index in self.indexes() {
            let _ = match index.strip_prefix("USING") {
                Some(rest) => write!(sql, "CREATE INDEX ON {name} USING{rest};"),
                None => write!(sql, "CREATE INDEX ON {name} {index};"),
            };
        }
        sql
    }

    /// Returns the statement that inserts rows, of which each parameter is a column.
    pub fn insert(self, name: &str) -> String {
        let names: Vec<&str> = self.columns().map(|(name, _)| name).collect();
        let names = names.join(", ");
        let values = self.columns().map(|(name, kind)| match kind {
            Jsonb | OptionalJsonb => format!("{name}::jsonb"),
            _ => name.to_owned(),
        });
        let values: Vec<String> = values.collect();
        let parameters = self.columns().enumerate();
        let parameters =
            parameters.map(|(n, (_, kind))| format!("${}::{}[]", n + 1, kind.parameter()));
        let parameters: Vec<String> = parameters.collect();
        let conflict = match self.keeps_states() {
            // With the key, so that a unique index of the user rejects a row instead of dropping it unseen.
            false => format!("ON CONFLICT ({}) DO NOTHING", self.key()),
            true => {
                let others = self
                    .columns()
                    .filter(|(name, _)| !matches!(*name, "node" | "key"));
                let set: Vec<String> = others
                    .map(|(name, _)| format!("{name} = excluded.{name}"))
                    .collect();
                format!(
                    "ON CONFLICT ({}) DO UPDATE SET {} WHERE excluded.id > t.id",
                    self.key(),
                    set.join(", ")
                )
            }
        };
        format!(
            "INSERT INTO {name} AS t ({names}) SELECT {} FROM unnest({}) AS r ({names}) {conflict}",
            values.join(", "),
            parameters.join(", ")
        )
    }
}

impl Type {
    /// Returns the type as a column has it.
    fn definition(self) -> &'static str {
        match self {
            Text => "text NOT NULL",
            Bigint => "bigint NOT NULL",
            Integer => "integer NOT NULL",
            Double => "double precision NOT NULL",
            Boolean => "boolean NOT NULL",
            Time => "timestamptz NOT NULL",
            Jsonb => "jsonb NOT NULL",
            OptionalJsonb => "jsonb",
        }
    }

    /// Returns the type as a parameter has it.
    fn parameter(self) -> &'static str {
        match self {
            Text | Jsonb | OptionalJsonb => "text",
            Bigint => "bigint",
            Integer => "integer",
            Double => "double precision",
            Boolean => "boolean",
            Time => "timestamptz",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_name_each_column() {
        assert_eq!(
            Table::Logs.create("public.logs"),
            "CREATE TABLE public.logs (node text NOT NULL, id bigint NOT NULL, time timestamptz NOT NULL, \
             level integer NOT NULL, severity text NOT NULL, message text NOT NULL, tags jsonb NOT NULL, \
             PRIMARY KEY (node, id, time));CREATE INDEX ON public.logs (node, time);\
             CREATE INDEX ON public.logs USING brin (time);"
        );
        assert_eq!(
            Table::Reality.insert("public.reality"),
            "INSERT INTO public.reality AS t (node, key, id, model, json, time, gone, tags) \
             SELECT node, key, id, model, json::jsonb, time, gone, tags::jsonb FROM unnest($1::text[], $2::text[], \
             $3::bigint[], $4::text[], $5::text[], $6::timestamptz[], $7::boolean[], $8::text[]) \
             AS r (node, key, id, model, json, time, gone, tags) ON CONFLICT (node, key) DO UPDATE SET \
             id = excluded.id, model = excluded.model, json = excluded.json, time = excluded.time, \
             gone = excluded.gone, tags = excluded.tags WHERE excluded.id > t.id"
        );
    }
}
