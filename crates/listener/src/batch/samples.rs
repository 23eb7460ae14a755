//! Samples that are one command: AGG.MSTAT.
//!
//! # Invariants
//!
//! - The names and tags of all samples are in one buffer. Those of samples of one series that follow each other, with
//!   samples of other series in between or not, are in it once.
//! - An option in which the samples differ is a column; one that all share is an option of the command.

use std::collections::HashMap;
use std::ops::Range;

use agg_client::command::{Cmd, SampleType, Sequence};
use aggregator_protocol::number::{self, Number};

use super::value::{BatchedValue, MAX_TIMES};
use crate::identity::Resolved;

/// The bytes of a sample in a command besides its name and tags: the value, the other columns, and the lengths.
const ROW_BYTES: usize = 64;

/// The largest integer below which a double represents all.
const MAX_EXACT: f64 = (1_u64 << 53) as f64;

/// The samples of a command.
#[derive(Debug, Default)]
pub(super) struct Samples {
    rows: Vec<Row>,
    texts: Vec<Text>,
    /// The texts.
    buffer: String,
    /// About the bytes of the command.
    encoded: usize,
    /// The number of samples that the rows stand for.
    inputs: u64,
}

/// A sample, or several that are equal.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// An index of the texts.
    text: u32,
    /// The number of samples for which the row stands.
    inputs: u32,
    value: BatchedValue,
    at: Option<i64>,
}

/// The metric and the tags of samples.
#[derive(Clone, Debug)]
struct Text {
    /// See [`crate::identity::SeriesId::number`].
    series: u64,
    metric: Range<usize>,
    tags: Range<usize>,
}

impl Samples {
    /// Adds a sample, and returns its row. `before` is the row of the last sample of the metric.
    pub fn add(
        &mut self,
        series: &Resolved<'_>,
        value: BatchedValue,
        at: Option<i64>,
        before: Option<u32>,
    ) -> u32 {
        self.inputs += 1;
        let is_same = |text: &Text| text.series == series.id.number;
        let last = before
            .and_then(|row| self.rows.get_mut(row as usize))
            .filter(|row| self.texts.get(row.text as usize).is_some_and(is_same));
        let text = match (last, before) {
            (Some(last), Some(before)) => {
                if last.at == at && join(&mut last.value, &value) {
                    last.inputs = last.inputs.saturating_add(1);
                    return before;
                }
                last.text
            }
            _ => self.add_text(series.id.number, series.metric, series.tags),
        };
        self.encoded += series.metric.len() + series.tags.len() + ROW_BYTES;
        self.rows.push(Row {
            text,
            inputs: 1,
            value,
            at,
        });
        self.rows.len() as u32 - 1
    }

    fn add_text(&mut self, series: u64, metric: &str, tags: &str) -> u32 {
        let start = self.buffer.len();
        self.buffer.push_str(metric);
        let middle = self.buffer.len();
        self.buffer.push_str(tags);
        self.texts.push(Text {
            series,
            metric: start..middle,
            tags: middle..self.buffer.len(),
        });
        self.texts.len() as u32 - 1
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns the number of samples that the rows stand for.
    pub fn inputs(&self) -> u64 {
        self.inputs
    }

    /// Returns the number of samples that a row stands for.
    pub fn inputs_of(&self, row: usize) -> Option<u64> {
        self.rows.get(row).map(|row| row.inputs.into())
    }

    /// Returns about the bytes of the command.
    pub fn encoded_bytes(&self) -> usize {
        self.encoded
    }

    /// Returns the memory that the samples take, bytes.
    pub fn bytes(&self) -> usize {
        self.buffer.capacity()
            + self.rows.capacity() * size_of::<Row>()
            + self.texts.capacity() * size_of::<Text>()
    }

    /// Sets the time of the samples that have none.
    pub fn set_time(&mut self, at: i64) {
        for row in &mut self.rows {
            row.at.get_or_insert(at);
        }
    }

    /// Gives memory back that is not used.
    pub fn shrink(&mut self) {
        self.buffer.shrink_to_fit();
        self.rows.shrink_to_fit();
        self.texts.shrink_to_fit();
    }

    /// Returns the metric of a row.
    pub fn metric(&self, row: usize) -> Option<&str> {
        let text = self.texts.get(self.rows.get(row)?.text as usize)?;
        self.buffer.get(text.metric.clone())
    }

    /// Returns the metric and the tags of a row.
    fn texts(&self, row: &Row) -> (&str, &str) {
        let text = self.texts.get(row.text as usize);
        let get = |range: Option<Range<usize>>| range.and_then(|range| self.buffer.get(range));
        let metric = get(text.map(|text| text.metric.clone()));
        let tags = get(text.map(|text| text.tags.clone()));
        (metric.unwrap_or_default(), tags.unwrap_or_default())
    }

    /// Appends the arguments behind the node.
    pub fn write(&self, sequence: Option<Sequence<'_>>, cmd: &mut Cmd) {
        let Some(first) = self.rows.first() else {
            return;
        };
        let columns = Columns::of(self, first);
        let shared_tags = self.texts(first).1;
        cmd.reserve(self.encoded + 256);
        if !columns.sample_type && first.value.sample_type != SampleType::default() {
            cmd.arg(first.value.sample_type.as_str());
        }
        if !columns.hist && first.value.hist {
            cmd.arg("HIST");
        }
        if !columns.tags && !shared_tags.is_empty() {
            cmd.arg("TAGS").arg(shared_tags);
        }
        if let Some(at) = first.at.filter(|_| !columns.at) {
            cmd.arg("AT").arg(at);
        }
        write_sequence(sequence, cmd);
        columns.write_names(cmd);
        cmd.arg("VALUES");
        let mut number = Vec::with_capacity(32);
        for row in &self.rows {
            self.write_row(row, &columns, &mut number, cmd);
        }
    }

    fn write_row(&self, row: &Row, columns: &Columns, number: &mut Vec<u8>, cmd: &mut Cmd) {
        let (metric, tags) = self.texts(row);
        write_number(row.value.value, number);
        cmd.arg(metric).arg(&number[..]);
        if columns.sample_type {
            let sample_type = row.value.sample_type;
            let is_default = sample_type == SampleType::default();
            cmd.arg(if is_default { "" } else { sample_type.as_str() });
        }
        if columns.hist {
            cmd.arg(if row.value.hist { "1" } else { "0" });
        }
        if columns.times {
            number.clear();
            if row.value.times != 1 {
                number::write_u64(number, row.value.times);
            }
            cmd.arg(&number[..]);
        }
        if columns.tags {
            cmd.arg(tags);
        }
        if columns.at {
            number.clear();
            if let Some(at) = row.at {
                number::write_i64(number, at);
            }
            cmd.arg(&number[..]);
        }
    }

    /// Returns the same samples in commands whose samples share all options.
    pub fn without_columns(self) -> Vec<Samples> {
        let mut groups: Vec<Samples> = Vec::new();
        let mut index = HashMap::new();
        for row in &self.rows {
            let (metric, tags) = self.texts(row);
            let value = &row.value;
            let options = (value.sample_type, value.hist, value.times > 1, tags, row.at);
            let at = *index.entry(options).or_insert(groups.len());
            if at == groups.len() {
                groups.push(Samples::default());
            }
            let Some(group) = groups.get_mut(at) else {
                continue;
            };
            let text = group.add_text(u64::MAX, metric, tags);
            group.rows.push(Row { text, ..*row });
            group.inputs += u64::from(row.inputs);
            group.encoded += metric.len() + tags.len() + ROW_BYTES;
        }
        groups
    }
}

/// Adds the occurrences of `value` to those of `last` if the result is the same as that of both.
fn join(last: &mut BatchedValue, value: &BatchedValue) -> bool {
    // Values of a gauge without a histogram are rarely repeated, and servers of version 0.1 know no TIMES.
    let may_repeat = match value.sample_type {
        SampleType::Inc => true,
        SampleType::Abs => value.hist,
        SampleType::Add | SampleType::Diff => false,
    };
    let is_same = last.sample_type == value.sample_type && last.hist == value.hist;
    if !may_repeat || !is_same || last.value != value.value {
        return false;
    }
    let Some(times) = last
        .times
        .checked_add(value.times)
        .filter(|n| *n <= MAX_TIMES)
    else {
        return false;
    };
    let value = value.value.to_f64();
    if value.fract() != 0.0 || value.abs() * times as f64 > MAX_EXACT {
        return false;
    }
    last.times = times;
    true
}

/// The options in which samples differ.
struct Columns {
    sample_type: bool,
    hist: bool,
    times: bool,
    tags: bool,
    at: bool,
}

impl Columns {
    fn of(samples: &Samples, first: &Row) -> Columns {
        let mut columns = Columns {
            sample_type: false,
            hist: false,
            times: false,
            tags: false,
            at: false,
        };
        let shared = samples.texts(first).1;
        for row in &samples.rows {
            columns.sample_type |= row.value.sample_type != first.value.sample_type;
            columns.hist |= row.value.hist != first.value.hist;
            columns.times |= row.value.times != 1;
            columns.at |= row.at != first.at;
        }
        let mut texts = samples.texts.iter();
        columns.tags = texts.any(|text| samples.buffer.get(text.tags.clone()) != Some(shared));
        columns
    }

    fn write_names(&self, cmd: &mut Cmd) {
        let names = [
            (self.sample_type, "TYPE"),
            (self.hist, "HIST"),
            (self.times, "TIMES"),
            (self.tags, "TAGS"),
            (self.at, "AT"),
        ];
        if names.iter().any(|(is_column, _)| *is_column) {
            cmd.arg("COLUMNS").arg("METRIC").arg("VALUE");
            let columns = names.iter().filter(|(is_column, _)| *is_column);
            cmd.args(columns.map(|(_, name)| *name));
        }
    }
}

/// Writes a number in its shortest form.
fn write_number(value: Number, out: &mut Vec<u8>) {
    out.clear();
    match value {
        Number::Int(value) => number::write_u64(out, value),
        Number::Float(value) => {
            number::write_f64(out, value);
            if out.ends_with(b".0") {
                out.truncate(out.len() - 2);
            }
        }
    }
}

/// Appends the sequence number if there is one.
fn write_sequence(sequence: Option<Sequence<'_>>, cmd: &mut Cmd) {
    if let Some(Sequence { source, number }) = sequence {
        cmd.arg("SEQ").arg(source).arg(number);
    }
}
