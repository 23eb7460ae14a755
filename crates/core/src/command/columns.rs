//! The samples of AGG.MSTAT: pairs of metric and value, or rows whose columns are named by COLUMNS.

use super::args::{Args, value};
use super::samples::{SampleOptions, check_times};
use crate::counters::RejectReason;
use crate::error::CommandError;
use crate::model::{MAX_TIMES, Sample, SampleKind};
use crate::node::CostedSample;
use aggregator_protocol::number::Number;
use aggregator_protocol::quote::quoted;
use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The largest number of bytes of names, values and other cells for each sample of a command, on average.
const SAMPLE_BYTES: usize = 512;

/// A column of AGG.MSTAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Metric,
    Value,
    Type,
    Hist,
    Times,
    Tags,
    At,
}

impl Column {
    pub const ALL: [Column; 7] = [
        Column::Metric,
        Column::Value,
        Column::Type,
        Column::Hist,
        Column::Times,
        Column::Tags,
        Column::At,
    ];

    /// Returns the keyword of the command.
    pub const fn name(self) -> &'static str {
        match self {
            Column::Metric => "METRIC",
            Column::Value => "VALUE",
            Column::Type => "TYPE",
            Column::Hist => "HIST",
            Column::Times => "TIMES",
            Column::Tags => "TAGS",
            Column::At => "AT",
        }
    }
}

/// The columns of a command.
pub(super) struct Columns {
    len: usize,
    /// The place of each column in a row; [`ABSENT`] for one that is not given.
    places: [usize; Column::ALL.len()],
    /// The command has the option COLUMNS.
    are_given: bool,
}

/// The place of a column that is not given: behind every row.
const ABSENT: usize = usize::MAX;

impl Columns {
    fn new(are_given: bool) -> Columns {
        Columns {
            len: 0,
            places: [ABSENT; Column::ALL.len()],
            are_given,
        }
    }

    /// Returns the columns of a command without COLUMNS.
    pub fn pairs() -> Columns {
        let mut columns = Columns::new(false);
        columns.add(Column::Metric);
        columns.add(Column::Value);
        columns
    }

    fn add(&mut self, column: Column) {
        self.places[column as usize] = self.len;
        self.len += 1;
    }

    fn contains(&self, column: Column) -> bool {
        self.places[column as usize] != ABSENT
    }

    /// Reads the columns that follow the word COLUMNS, and the word VALUES behind them.
    pub fn parse(args: &mut Args<'_, '_>) -> Result<Columns, CommandError> {
        let mut columns = Columns::new(true);
        loop {
            if args.is_empty() {
                return Err(args.missing("VALUES"));
            }
            let word = args.next("column")?;
            if word.eq_ignore_ascii_case(b"VALUES") {
                break;
            }
            let column = args.parse_one_of("column", word, &Column::ALL, Column::name)?;
            if columns.contains(column) {
                let column = column.name();
                return Err(args.reject(format_args!("column {column} is given twice")));
            }
            columns.add(column);
        }
        for column in [Column::Metric, Column::Value] {
            if !columns.contains(column) {
                return Err(args.missing(&format!("column {}", column.name())));
            }
        }
        Ok(columns)
    }

    /// Checks the number and the size of the words behind VALUES.
    pub fn check_len(&self, values: &[&[u8]], args: &Args<'_, '_>) -> Result<(), CommandError> {
        let (n, columns) = (values.len(), self.len);
        if n == 0 || n % columns != 0 {
            return Err(match self.are_given {
                true => args.reject(format_args!(
                    "VALUES requires a value for each of {columns} columns in each row, got {n} arguments"
                )),
                false => args.reject(format_args!(
                    "VALUES requires pairs of metric and value, got {n} arguments"
                )),
            });
        }
        let (n, max) = (n / columns, args.settings.max_values);
        if n > max {
            return Err(args.reject(format_args!("VALUES has {n} samples: the maximum is {max}")));
        }
        let bytes = values.iter().map(|word| word.len()).sum::<usize>();
        let max = max.saturating_mul(SAMPLE_BYTES);
        if bytes > max {
            return Err(args.reject(format_args!(
                "VALUES has {bytes} bytes: the maximum is {max}"
            )));
        }
        Ok(())
    }
}

/// A row of values.
struct Row<'c, 'a> {
    columns: &'c Columns,
    words: &'c [&'a [u8]],
}

impl<'a> Row<'_, 'a> {
    /// Returns the cell of a column, if the command has the column.
    fn get(&self, column: Column) -> Option<&'a [u8]> {
        let place = self.columns.places[column as usize];
        self.words.get(place).copied()
    }

    /// Returns a cell whose empty value means a default.
    fn given(&self, column: Column) -> Option<&'a [u8]> {
        self.get(column).filter(|cell| !cell.is_empty())
    }
}

/// A sample with its options.
pub(super) struct ParsedSample<'a> {
    /// Its place among the samples of the command.
    pub index: usize,
    pub metric: &'a [u8],
    pub kind: SampleKind,
    value: Number,
    times: u64,
    pub at: i64,
    hist: bool,
    /// The index of its tag list in [`Samples::tag_lists`].
    pub tags: Option<usize>,
    /// See [`CostedSample::reopened`].
    pub reopened: Option<usize>,
}

impl ParsedSample<'_> {
    /// Returns the sample with the tag list of its index.
    pub fn sample<'s>(&self, tag_lists: &'s [Cow<'_, [u8]>]) -> Sample<'s> {
        let tags = self.tags.and_then(|tags| tag_lists.get(tags));
        Sample {
            kind: self.kind,
            value: self.value,
            times: self.times,
            aggregate: None,
            at: self.at,
            tags: tags.map(|tags| &**tags),
            tag_id: None,
            hist: self.hist,
        }
    }

    pub fn costed(&self) -> CostedSample<'_> {
        CostedSample {
            name: self.metric,
            metric_type: self.kind.metric_type(),
            at: self.at,
            hist: self.hist,
            times: self.times,
            reopened: self.reopened,
        }
    }
}

/// A sample that did not parse.
pub(super) struct InvalidSample {
    pub index: usize,
    pub reason: RejectReason,
    pub why: String,
}

/// The samples of a command.
#[derive(Default)]
pub(super) struct Samples<'a> {
    pub valid: Vec<ParsedSample<'a>>,
    pub invalid: Vec<InvalidSample>,
    /// The tag lists of the samples, each once.
    pub tag_lists: Vec<Cow<'a, [u8]>>,
    /// The index of the list of the command's option.
    option_tags: Option<usize>,
}

impl<'a> Samples<'a> {
    /// Parses the words behind VALUES, whose number is checked.
    pub fn parse(
        columns: &Columns,
        values: &'a [&'a [u8]],
        options: &mut SampleOptions<'a>,
        atomic: bool,
        args: &Args<'a, '_>,
    ) -> Result<Samples<'a>, CommandError> {
        let rows = values.chunks_exact(columns.len);
        let mut samples = Samples {
            valid: Vec::with_capacity(rows.len()),
            option_tags: options.tags.is_some().then_some(0),
            tag_lists: options.tags.take().into_iter().collect(),
            ..Samples::default()
        };
        // Cells of tags by their text: a list that many rows have is parsed and stored once.
        let mut known_tags = HashMap::new();
        for (index, row) in rows.enumerate() {
            let row = Row {
                columns,
                words: row,
            };
            match samples.parse_row(index, &row, options, &mut known_tags, args) {
                Ok(sample) => samples.valid.push(sample),
                Err(CommandError {
                    code,
                    reason,
                    command,
                    detail,
                }) if atomic => {
                    let detail = format_args!("sample {index}: {detail}; no sample was accepted");
                    return Err(CommandError::new(code, reason, command, detail));
                }
                Err(error) => samples.invalid.push(InvalidSample {
                    index,
                    reason: error.reason,
                    why: error.detail,
                }),
            }
        }
        if columns.contains(Column::At) {
            samples.find_reopened();
        }
        Ok(samples)
    }

    fn parse_row(
        &mut self,
        index: usize,
        cells: &Row<'_, 'a>,
        options: &SampleOptions<'a>,
        known_tags: &mut HashMap<&'a [u8], usize>,
        args: &Args<'a, '_>,
    ) -> Result<ParsedSample<'a>, CommandError> {
        let metric = cells.get(Column::Metric).unwrap_or_default();
        args.check_name("metric", metric)?;
        let text = cells.get(Column::Value).unwrap_or_default();
        args.check_size("value", text)?;
        let kind = match cells.given(Column::Type) {
            None => options.kind,
            Some(word) => args.parse_one_of("TYPE", word, &SampleKind::ALL, SampleKind::name)?,
        };
        let value = value(text, kind).map_err(|detail| args.reject(detail))?;
        let times = match cells.given(Column::Times) {
            None => options.times,
            Some(text) => args.parse_integer("TIMES", text, 1..=MAX_TIMES)?,
        };
        check_times(kind, times).map_err(|detail| args.reject(detail))?;
        let hist = match cells.get(Column::Hist) {
            None => options.hist,
            Some(b"0") => false,
            Some(b"1") => true,
            Some(text) => {
                let text = quoted(text);
                return Err(args.reject(format_args!("invalid HIST {text}: expected 0 or 1")));
            }
        };
        let at = match cells.given(Column::At) {
            None => options.at,
            Some(text) => args.parse_at(text)?,
        };
        let tags = match cells.given(Column::Tags) {
            None => self.option_tags,
            Some(text) => Some(self.tags(text, known_tags, args)?),
        };
        Ok(ParsedSample {
            index,
            metric,
            kind,
            value,
            times,
            at,
            hist,
            tags,
            reopened: None,
        })
    }

    /// Returns the index of the list of a cell.
    fn tags(
        &mut self,
        text: &'a [u8],
        known: &mut HashMap<&'a [u8], usize>,
        args: &Args<'a, '_>,
    ) -> Result<usize, CommandError> {
        if let Some(index) = known.get(text) {
            return Ok(*index);
        }
        self.tag_lists.push(args.parse_tags(text)?);
        let index = self.tag_lists.len() - 1;
        known.insert(text, index);
        Ok(index)
    }

    /// Marks the samples that may close a window that an earlier one opens.
    fn find_reopened(&mut self) {
        // By name: the first time, or none if there are several, and the longest tag list so far.
        let mut seen: HashMap<&[u8], (Option<i64>, usize)> = HashMap::new();
        for sample in &mut self.valid {
            let list = sample.tags.and_then(|tags| self.tag_lists.get(tags));
            let tags = list.map_or(0, |list| list.len());
            match seen.entry(sample.metric) {
                Entry::Vacant(entry) => {
                    entry.insert((Some(sample.at), tags));
                }
                Entry::Occupied(mut entry) => {
                    let (time, longest) = entry.get_mut();
                    if *time != Some(sample.at) {
                        *time = None;
                    }
                    // The windows that it closes have the lists of the samples before it.
                    sample.reopened = time.is_none().then_some(*longest);
                    *longest = tags.max(*longest);
                }
            }
        }
    }

    pub fn costed(&self) -> impl Iterator<Item = CostedSample<'_>> + Clone {
        self.valid.iter().map(ParsedSample::costed)
    }
}
