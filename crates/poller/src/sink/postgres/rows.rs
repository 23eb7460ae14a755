//! Rows of a table, by column, as PostgreSQL's `unnest` takes them. No I/O.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use tokio_postgres::types::ToSql;

use crate::record::{Content, Record, Window};

use super::table::{Table, Type};

/// The values of a column.
enum Values<'a> {
    Text(Vec<Cow<'a, str>>),
    OptionalText(Vec<Option<Cow<'a, str>>>),
    Bigint(Vec<i64>),
    Integer(Vec<i32>),
    Double(Vec<f64>),
    Boolean(Vec<bool>),
    Time(Vec<SystemTime>),
}

/// A value of a row.
enum Value<'a> {
    Text(Cow<'a, str>),
    OptionalText(Option<Cow<'a, str>>),
    Bigint(i64),
    Integer(i32),
    Double(f64),
    Boolean(bool),
    Time(SystemTime),
}

/// A value that PostgreSQL cannot store, by the name that the record has for it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// A text contains NUL.
    #[error("the record's {0} contains NUL, which PostgreSQL cannot store")]
    Nul(&'static str),
    /// A number or a time is too large or too small.
    #[error("the record's {0} is out of PostgreSQL's range")]
    OutOfRange(&'static str),
}

/// Rows of a table.
pub struct Rows<'a> {
    columns: Vec<Values<'a>>,
}

/// A row: a value for each column of its table.
type Row<'a> = Vec<Value<'a>>;

/// The records of a write, by table.
#[derive(Default)]
pub struct Batch<'a> {
    rows: BTreeMap<usize, Vec<Row<'a>>>,
    /// For each error and object the newest state, with its id: a statement may not change a row twice. They are ordered
    /// by their keys, so that concurrent statements lock rows in the same order.
    states: BTreeMap<(usize, &'a str, &'a str), (i64, Row<'a>)>,
}

impl<'a> Batch<'a> {
    /// Adds a record.
    ///
    /// # Errors
    ///
    /// Returns an error, and adds nothing, if PostgreSQL has no place for a value of it: a number or a time out of range,
    /// or a text with NUL.
    pub fn add(&mut self, record: &'a Record<'a>) -> Result<(), RowError> {
        let table = Table::of(record.queue) as usize;
        let row = row(record)?;
        let key = match &record.content {
            Content::Error(error) => &*error.key,
            Content::Object(object) => &*object.key,
            Content::Window(_) | Content::Log(_) => {
                self.rows.entry(table).or_default().push(row);
                return Ok(());
            }
        };
        let key = (table, &*record.node, key);
        if self.states.get(&key).is_none_or(|(id, _)| *id < record.id) {
            self.states.insert(key, (record.id, row));
        }
        Ok(())
    }

    /// Returns the tables that have rows, and their rows.
    pub fn tables(self) -> impl Iterator<Item = (Table, Rows<'a>)> {
        let mut rows = self.rows;
        for ((table, ..), (_, row)) in self.states {
            rows.entry(table).or_default().push(row);
        }
        let of = |(index, rows)| (Table::ALL[index], Rows::new(Table::ALL[index], rows));
        rows.into_iter().map(of)
    }
}

impl<'a> Rows<'a> {
    fn new(table: Table, rows: Vec<Row<'a>>) -> Rows<'a> {
        let mut columns: Vec<Values> = table
            .columns()
            .map(|(_, kind)| Values::new(kind, rows.len()))
            .collect();
        for row in rows {
            for (column, value) in columns.iter_mut().zip(row) {
                column.push(value);
            }
        }
        Rows { columns }
    }

    /// Returns the parameters of the statement that inserts the rows.
    pub fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.columns.iter().map(Values::parameter).collect()
    }
}

impl<'a> Values<'a> {
    fn new(kind: Type, count: usize) -> Values<'a> {
        match kind {
            Type::Text | Type::Jsonb => Values::Text(Vec::with_capacity(count)),
            Type::OptionalJsonb => Values::OptionalText(Vec::with_capacity(count)),
            Type::Bigint => Values::Bigint(Vec::with_capacity(count)),
            Type::Integer => Values::Integer(Vec::with_capacity(count)),
            Type::Double => Values::Double(Vec::with_capacity(count)),
            Type::Boolean => Values::Boolean(Vec::with_capacity(count)),
            Type::Time => Values::Time(Vec::with_capacity(count)),
        }
    }

    fn push(&mut self, value: Value<'a>) {
        match (self, value) {
            (Values::Text(all), Value::Text(one)) => all.push(one),
            (Values::OptionalText(all), Value::OptionalText(one)) => all.push(one),
            (Values::Bigint(all), Value::Bigint(one)) => all.push(one),
            (Values::Integer(all), Value::Integer(one)) => all.push(one),
            (Values::Double(all), Value::Double(one)) => all.push(one),
            (Values::Boolean(all), Value::Boolean(one)) => all.push(one),
            (Values::Time(all), Value::Time(one)) => all.push(one),
            // row() and the columns of the table have the same order, which the tests check for each table.
            _ => unreachable!("a value of another type than its column"),
        }
    }

    fn parameter(&self) -> &(dyn ToSql + Sync) {
        match self {
            Values::Text(all) => all,
            Values::OptionalText(all) => all,
            Values::Bigint(all) => all,
            Values::Integer(all) => all,
            Values::Double(all) => all,
            Values::Boolean(all) => all,
            Values::Time(all) => all,
        }
    }
}

/// Returns the values of a record in the order of the columns of its table.
fn row<'a>(record: &'a Record<'a>) -> Result<Row<'a>, RowError> {
    let node = text("node", &record.node)?;
    let (mut row, tags) = match &record.content {
        Content::Window(window) => (window_row(record, window)?, &window.tags),
        Content::Log(entry) => {
            let row = vec![
                node,
                Value::Bigint(record.id),
                time("epoch", entry.epoch)?,
                Value::Integer(entry.level.into()),
                text("severity", &entry.severity)?,
                text("message", &entry.message)?,
            ];
            (row, &entry.tags)
        }
        Content::Error(error) => {
            let row = vec![
                node,
                text("key", &error.key)?,
                Value::Bigint(record.id),
                text("message", &error.message)?,
                text("public", &error.public)?,
                Value::Integer(error.level.into()),
                text("severity", &error.severity)?,
                text("type", &error.kind)?,
                text("code", &error.code)?,
                text("func", &error.function)?,
                text("file", &error.file)?,
                text("backtrace", &error.backtrace)?,
                Value::Bigint(error.gid),
                Value::Bigint(error.nid),
                bigint("occurrences", error.occurrences)?,
                time("first", error.first)?,
                time("last", error.last)?,
            ];
            (row, &error.tags)
        }
        Content::Object(object) => {
            let row = vec![
                node,
                text("key", &object.key)?,
                Value::Bigint(record.id),
                text("model", &object.model)?,
                json("json", object.json)?,
                time("epoch", object.epoch)?,
                Value::Boolean(object.gone),
            ];
            (row, &object.tags)
        }
    };
    row.push(json("tags", tags.json())?);
    Ok(row)
}

fn window_row<'a>(record: &'a Record<'a>, window: &'a Window<'a>) -> Result<Row<'a>, RowError> {
    let (metric, instance) = window.measurement_and_instance();
    let seconds = i32::try_from(window.seconds).map_err(|_| RowError::OutOfRange("window"))?;
    let histogram = window.histogram.as_ref();
    Ok(vec![
        text("node", &record.node)?,
        text("queue", record.queue.name())?,
        Value::Bigint(record.id),
        text("metric", metric)?,
        text("metric", instance)?,
        text("type", &window.kind)?,
        Value::Integer(seconds),
        time("start", window.start)?,
        time("end", window.end)?,
        bigint("count", window.count)?,
        Value::Double(window.sum),
        Value::Double(window.avg),
        Value::Double(window.min),
        Value::Double(window.max),
        Value::Double(window.last),
        Value::OptionalText(percentiles(window).map(Cow::Owned)),
        Value::OptionalText(histogram.map(|histogram| Cow::Borrowed(histogram.json))),
    ])
}

/// Returns the percentiles as a JSON object, or `None` if there are none. Their names need no escape.
fn percentiles(window: &Window<'_>) -> Option<String> {
    let mut json = String::new();
    for (name, value) in &window.percentiles {
        let separator = if json.is_empty() { '{' } else { ',' };
        // Writing to a string does not fail.
        let _ = write!(json, "{separator}\"{name}\":{value}");
    }
    (!json.is_empty()).then(|| json + "}")
}

fn text<'a>(name: &'static str, words: &'a str) -> Result<Value<'a>, RowError> {
    match words.contains('\0') {
        true => Err(RowError::Nul(name)),
        false => Ok(Value::Text(Cow::Borrowed(words))),
    }
}

/// Returns JSON for `jsonb`, whose texts have no NUL either
/// (<https://www.postgresql.org/docs/current/datatype-json.html>).
fn json<'a>(name: &'static str, json: &'a str) -> Result<Value<'a>, RowError> {
    const ESCAPE: &str = "\\u0000";
    // An even number of backslashes before the escape stands for backslashes, and leaves it an escape.
    let is_escape = |(at, _)| {
        (json[..at].bytes().rev())
            .take_while(|byte| *byte == b'\\')
            .count()
            % 2
            == 0
    };
    match json.match_indices(ESCAPE).any(is_escape) {
        true => Err(RowError::Nul(name)),
        false => Ok(Value::Text(Cow::Borrowed(json))),
    }
}

fn bigint(name: &'static str, number: u64) -> Result<Value<'static>, RowError> {
    let number = i64::try_from(number).map_err(|_| RowError::OutOfRange(name))?;
    Ok(Value::Bigint(number))
}

/// Converts ms since 1970, from the year 1 to the year 9999, which every client of the database can read.
fn time(name: &'static str, ms: i64) -> Result<Value<'static>, RowError> {
    const YEARS: RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;
    if !YEARS.contains(&ms) {
        return Err(RowError::OutOfRange(name));
    }
    let distance = Duration::from_millis(ms.unsigned_abs());
    Ok(Value::Time(match ms < 0 {
        true => SystemTime::UNIX_EPOCH - distance,
        false => SystemTime::UNIX_EPOCH + distance,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDS: [&str; 4] = [
        r#"{"node":"n","queue":"MIN","id":7,"metric":"m@a","type":"ABS","window":300,"start":300000,"end":600000,
           "count":2,"sum":3,"avg":1.5,"min":1,"max":2,"last":2,"p50":1.5,"p99_9":2,"tags":{"a":"b"}}"#,
        r#"{"node":"n","queue":"LOG","id":5,"message":"a","level":3,"severity":"INFO","tags":{},"epoch":1}"#,
        r#"{"node":"n","queue":"ERROR","id":6,"key":"k","message":"m","public":"","level":7,"severity":"ERROR",
           "type":"T","tags":{},"code":"","func":"","file":"","backtrace":"","gid":0,"nid":0,"occurrences":1,
           "first":1,"last":2}"#,
        r#"{"node":"n","queue":"REALITY","id":6,"key":"k","model":"m","json":{},"tags":{},"epoch":1,"gone":false}"#,
    ];

    #[test]
    fn row_has_the_columns_of_its_table() {
        for text in RECORDS {
            let record = Record::parse(text.as_bytes()).unwrap();
            let mut batch = Batch::default();
            batch.add(&record).unwrap();
            let (table, rows) = batch.tables().next().unwrap();
            assert_eq!(table, Table::of(record.queue));
            assert_eq!(rows.columns.len(), table.columns().count());
            let lengths = rows.columns.iter().map(|values| match values {
                Values::Text(all) => all.len(),
                Values::OptionalText(all) => all.len(),
                Values::Bigint(all) => all.len(),
                Values::Integer(all) => all.len(),
                Values::Double(all) => all.len(),
                Values::Boolean(all) => all.len(),
                Values::Time(all) => all.len(),
            });
            assert!(lengths.into_iter().all(|length| length == 1), "{text}");
        }
        let window = Record::parse(RECORDS[0].as_bytes()).unwrap();
        let Content::Window(window) = &window.content else {
            panic!()
        };
        assert_eq!(
            percentiles(window).as_deref(),
            Some(r#"{"p50":1.5,"p99_9":2}"#)
        );
    }

    #[test]
    fn newest_state_of_a_batch_is_written() {
        let text = |id: &str| RECORDS[3].replace("\"id\":6", &format!("\"id\":{id}"));
        let texts = [
            text("6"),
            text("9"),
            text("8"),
            RECORDS[3].replace("\"k\"", "\"l\""),
        ];
        let records: Vec<Record> = texts
            .iter()
            .map(|text| Record::parse(text.as_bytes()).unwrap())
            .collect();
        let mut batch = Batch::default();
        for record in &records {
            batch.add(record).unwrap();
        }
        let (_, rows) = batch.tables().next().unwrap();
        let Values::Bigint(ids) = &rows.columns[2] else {
            panic!()
        };
        assert_eq!(ids, &[9, 6]);
    }

    #[test]
    fn text_with_nul_is_rejected() {
        for (given, expected) in [
            (r#""message":"a\u0000""#, Some(RowError::Nul("message"))),
            (r#""message":"\\u0000\u0001""#, None),
        ] {
            let text = RECORDS[1].replace(r#""message":"a""#, given);
            let record = Record::parse(text.as_bytes()).unwrap();
            assert_eq!(Batch::default().add(&record).err(), expected, "{given}");
        }
        for (given, is_rejected) in [
            (r#"["\u0000"]"#, true),
            (r#"["\\u0000"]"#, false),
            (r#"["\\\u0000"]"#, true),
            (r#"["\\u0000","\u0000"]"#, true),
            (r#"["\u00001","\u0001"]"#, true),
            (r#"["u0000"]"#, false),
        ] {
            assert_eq!(json("json", given).is_err(), is_rejected, "{given}");
        }
    }

    #[test]
    fn time_beyond_the_year_9999_is_invalid() {
        for (epoch, valid) in [
            ("253402300799999", true),
            ("253402300800000", false),
            ("9223372036854775807", false),
        ] {
            let text = RECORDS[1].replace("\"epoch\":1", &format!("\"epoch\":{epoch}"));
            let record = Record::parse(text.as_bytes()).unwrap();
            assert_eq!(Batch::default().add(&record).is_ok(), valid, "{epoch}");
        }
    }
}
