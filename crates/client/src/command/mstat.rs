//! The command that reports many samples: AGG.MSTAT.
//!
//! Samples with equal options are sent as pairs of metric and value. Otherwise they are rows (the option COLUMNS), with
//! a column for each option in which the samples differ.

use std::collections::HashMap;

use super::report::{report, write_sequence};
use super::sample::{SampleOptions, sample_options};
use super::{Arg, Cmd, Command, Sample, Sequence, count};
use crate::reply::{self, Value};

/// AGG.MSTAT: reports up to 10,000 samples. A sample that is rejected does not affect the others.
///
/// The options of the command are those of each sample that does not have its own.
///
/// ```no_run
/// # async fn example(connection: &mut agg_client::Connection) -> Result<(), agg_client::ClientError> {
/// use agg_client::command::{Mstat, Sample, SampleType};
///
/// // Samples with the same options are pairs.
/// let memory = [("mem.used", 4096), ("mem.free", 1024)];
/// let reply = connection.run(&Mstat::new("web1", memory).tags("unit:bytes")).await?;
/// assert_eq!((reply.counted, reply.late), (2, 0));
///
/// // Others have options of their own.
/// let samples = [
///     Sample::new("http.requests", 1).sample_type(SampleType::Inc),
///     Sample::new("http.seconds", 0.012).hist(),
/// ];
/// for rejected in connection.run(&Mstat::new("web1", samples)).await?.rejected {
///     println!("sample {}: {}", rejected.index, rejected.reason);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Mstat<'a> {
    node: &'a [u8],
    samples: Vec<Sample<'a>>,
    is_atomic: bool,
    /// The options of samples that do not have their own.
    options: SampleOptions<'a>,
}

impl<'a> Mstat<'a> {
    /// Reports samples. A pair of metric and value is a sample, too.
    pub fn new(
        node: &'a (impl AsRef<[u8]> + ?Sized),
        samples: impl IntoIterator<Item = impl Into<Sample<'a>>>,
    ) -> Self {
        Mstat {
            node: node.as_ref(),
            samples: samples.into_iter().map(Into::into).collect(),
            is_atomic: false,
            options: SampleOptions::default(),
        }
    }

    /// Makes an invalid sample an error of the whole command: then no sample counts.
    pub fn atomic(mut self) -> Self {
        self.is_atomic = true;
        self
    }

    fn write_with(&self, sequence: Option<Sequence<'_>>, cmd: &mut Cmd) {
        let columns = Columns::of(self);
        cmd.arg(self.node);
        columns.options.write(cmd);
        if self.is_atomic {
            cmd.arg("ATOMIC");
        }
        write_sequence(cmd, sequence);
        columns.write_names(cmd);
        cmd.arg("VALUES");
        for sample in &self.samples {
            cmd.arg(sample.metric).arg(sample.value);
            columns.write_cells(sample, &self.effective(sample), cmd);
        }
    }

    /// Returns the options of a sample, type included; those that it does not have are the command's.
    fn effective(&self, sample: &Sample<'a>) -> SampleOptions<'a> {
        let (own, shared) = (&sample.options, &self.options);
        SampleOptions {
            sample_type: Some(own.sample_type.or(shared.sample_type).unwrap_or_default()),
            hist: own.hist || shared.hist,
            tags: own.tags.or(shared.tags),
            at: own.at.or(shared.at),
        }
    }

    /// Returns the same samples in commands whose samples have equal options.
    fn by_options(&self) -> Vec<Mstat<'a>> {
        let mut groups: Vec<Mstat<'a>> = Vec::new();
        let mut index = HashMap::new();
        for sample in &self.samples {
            let options = self.effective(sample);
            let at = *index.entry(options).or_insert(groups.len());
            if at == groups.len() {
                groups.push(Mstat {
                    node: self.node,
                    samples: Vec::new(),
                    is_atomic: self.is_atomic,
                    options,
                });
            }
            groups[at].samples.push(Sample {
                options: SampleOptions::default(),
                ..*sample
            });
        }
        groups
    }
}

sample_options!(Mstat, options);

impl Command for Mstat<'_> {
    type Output = MstatReply;
    const NAME: &'static str = "AGG.MSTAT";

    fn write_args(&self, cmd: &mut Cmd) {
        self.write_with(None, cmd);
    }

    fn read_reply(&self, reply: Value) -> Option<MstatReply> {
        MstatReply::read(reply)
    }
}

report!(Mstat {
    fn is_samples(&self) -> bool {
        true
    }

    fn without_columns(self) -> Vec<Self> {
        // Several commands would not be atomic.
        match self.is_atomic {
            true => vec![self],
            false => self.by_options(),
        }
    }
});

/// The options in which the samples of a command differ, each a column, and those that all samples share.
struct Columns<'a> {
    /// The options of the command. A cell that is empty stands for them.
    options: SampleOptions<'a>,
    sample_type: bool,
    hist: bool,
    times: bool,
    tags: bool,
    at: bool,
}

impl<'a> Columns<'a> {
    fn of(mstat: &Mstat<'a>) -> Columns<'a> {
        let all = || mstat.samples.iter().map(|sample| mstat.effective(sample));
        let first = all().next().unwrap_or_default();
        let sample_type = all().any(|options| options.sample_type != first.sample_type);
        let hist = all().any(|options| options.hist != first.hist);
        let tags = all().any(|options| options.tags != first.tags);
        let at = all().any(|options| options.at != first.at);
        // Empty cells stand for the command's own option, which each sample has that has no other.
        let own = mstat.options;
        Columns {
            options: SampleOptions {
                sample_type: if sample_type {
                    own.sample_type
                } else {
                    first.sample_type
                },
                hist: !hist && first.hist,
                tags: if tags { own.tags } else { first.tags },
                at: if at { own.at } else { first.at },
            },
            sample_type,
            hist,
            times: mstat.samples.iter().any(|sample| sample.times != 1),
            tags,
            at,
        }
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        [
            (self.sample_type, "TYPE"),
            (self.hist, "HIST"),
            (self.times, "TIMES"),
            (self.tags, "TAGS"),
            (self.at, "AT"),
        ]
        .into_iter()
        .filter_map(|(is_column, name)| is_column.then_some(name))
    }

    fn write_names(&self, cmd: &mut Cmd) {
        if self.names().next().is_some() {
            cmd.arg("COLUMNS").arg("METRIC").arg("VALUE");
            cmd.args(self.names());
        }
    }

    /// Appends the cells of a sample behind its metric and value.
    fn write_cells(&self, sample: &Sample<'_>, options: &SampleOptions<'_>, cmd: &mut Cmd) {
        let shared = &self.options;
        if self.sample_type {
            let own = options.sample_type.unwrap_or_default();
            let is_shared = own == shared.sample_type.unwrap_or_default();
            cmd.arg(if is_shared { "" } else { own.as_str() });
        }
        if self.hist {
            cmd.arg(if options.hist { "1" } else { "0" });
        }
        if self.times {
            cell(cmd, (sample.times != 1).then_some(sample.times));
        }
        if self.tags {
            cell(cmd, options.tags.filter(|_| options.tags != shared.tags));
        }
        if self.at {
            cell(cmd, options.at.filter(|_| options.at != shared.at));
        }
    }
}

/// Appends a cell, which is empty if the option of the command holds.
fn cell<T: Arg>(cmd: &mut Cmd, value: Option<T>) {
    match value {
        Some(value) => cmd.arg(value),
        None => cmd.arg(""),
    };
}

/// The outcome of AGG.MSTAT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MstatReply {
    /// The number of samples that counted.
    pub counted: u64,
    /// The number of samples that were too late.
    pub late: u64,
    /// The samples that were rejected.
    pub rejected: Vec<RejectedSample>,
}

/// A sample that the server rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedSample {
    /// The index of the sample in the command, from 0.
    pub index: usize,
    /// The reason.
    pub reason: String,
}

impl MstatReply {
    /// Reads the reply of AGG.MSTAT; none if it is not one.
    pub fn read(reply: Value) -> Option<MstatReply> {
        let [counted, late, rejected] = reply::items(reply)?.try_into().ok()?;
        let rejected = reply::items(rejected)?.into_iter();
        Some(MstatReply {
            counted: count(&counted)?,
            late: count(&late)?,
            rejected: rejected.map(RejectedSample::read).collect::<Option<_>>()?,
        })
    }
}

impl RejectedSample {
    fn read(pair: Value) -> Option<RejectedSample> {
        let [index, reason] = reply::items(pair)?.try_into().ok()?;
        Some(RejectedSample {
            index: usize::try_from(reply::int(&index)?).ok()?,
            reason: reply::text(reason)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Report, SampleType};

    /// The words of the command behind its name; an empty one is `""`.
    fn words(mstat: &Mstat<'_>) -> String {
        let text = String::from_utf8(mstat.to_cmd().to_bytes()).unwrap();
        let lines: Vec<&str> = text.split("\r\n").collect();
        // The lines in between are lengths.
        let words = lines[4..].iter().step_by(2);
        let shown = words.map(|word| if word.is_empty() { "\"\"" } else { word });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn samples_with_equal_options_are_pairs() {
        let pairs = Mstat::new("n", [("a", 1.5), ("b", 2.0)]);
        assert_eq!(words(&pairs), "n VALUES a 1.5 b 2");
        let all = pairs
            .clone()
            .sample_type(SampleType::Diff)
            .hist()
            .tags("x:y")
            .at(7)
            .atomic();
        assert_eq!(
            words(&all),
            "n DIFF HIST TAGS x:y AT 7 ATOMIC VALUES a 1.5 b 2"
        );
        let own = ["a", "b"].map(|m| Sample::new(m, 1).sample_type(SampleType::Inc).tags("x"));
        assert_eq!(words(&Mstat::new("n", own)), "n INC TAGS x VALUES a 1 b 1");
        // The default type is not another one.
        let mixed = [
            Sample::new("a", 1),
            Sample::new("b", 2).sample_type(SampleType::Abs),
        ];
        assert_eq!(words(&Mstat::new("n", mixed)), "n VALUES a 1 b 2");
        assert_eq!(words(&Mstat::new("n", [("", 0); 0])), "n VALUES");
    }

    #[test]
    fn options_in_which_samples_differ_are_columns() {
        let samples = [
            Sample::new("a", 1),
            Sample::new("b", 2)
                .sample_type(SampleType::Inc)
                .hist()
                .times(9)
                .tags("x")
                .at(5),
        ];
        assert_eq!(
            words(&Mstat::new("n", samples)),
            "n COLUMNS METRIC VALUE TYPE HIST TIMES TAGS AT VALUES a 1 \"\" 0 \"\" \"\" \"\" b 2 INC 1 9 x 5"
        );
        let samples = [Sample::new("a", 1).times(2), Sample::new("b", 2)];
        assert_eq!(
            words(
                &Mstat::new("n", samples)
                    .sample_type(SampleType::Inc)
                    .tags("x")
            ),
            "n INC TAGS x COLUMNS METRIC VALUE TIMES VALUES a 1 2 b 2 \"\""
        );
    }

    #[test]
    fn empty_cell_stands_for_the_option_of_the_command() {
        let samples = [
            Sample::new("a", 1),
            Sample::new("b", 2)
                .sample_type(SampleType::Abs)
                .tags("x")
                .at(5),
            Sample::new("c", 3)
                .sample_type(SampleType::Diff)
                .tags("y")
                .at(6),
        ];
        let mstat = Mstat::new("n", samples);
        assert_eq!(
            words(&mstat.clone().sample_type(SampleType::Diff).tags("y").at(6)),
            "n DIFF TAGS y AT 6 COLUMNS METRIC VALUE TYPE TAGS AT VALUES a 1 \"\" \"\" \"\" b 2 ABS x 5 \
             c 3 \"\" \"\" \"\""
        );
        // HIST has no such cell.
        let hist = Mstat::new("n", [Sample::new("a", 1), Sample::new("b", 1).hist()]);
        assert_eq!(
            words(&hist),
            "n COLUMNS METRIC VALUE HIST VALUES a 1 0 b 1 1"
        );
        assert_eq!(words(&hist.hist()), "n HIST VALUES a 1 b 1");
    }

    #[test]
    fn samples_are_grouped_where_there_are_no_columns() {
        let samples = [
            Sample::new("a", 1),
            Sample::new("b", 2).sample_type(SampleType::Diff),
            Sample::new("c", 3).sample_type(SampleType::Abs),
            Sample::new("d", 4).tags("x"),
        ];
        let mstat = Mstat::new("n", samples).tags("y");
        let groups = mstat.clone().without_columns();
        let expected = [
            "n TAGS y VALUES a 1 c 3",
            "n DIFF TAGS y VALUES b 2",
            "n TAGS x VALUES d 4",
        ];
        assert_eq!(groups.iter().map(words).collect::<Vec<_>>(), expected);
        assert_eq!(mstat.atomic().without_columns().len(), 1);
    }

    #[test]
    fn anything_but_an_outcome_is_not_read() {
        let bulk = |text: &str| Value::BulkString(text.into());
        let reply =
            |rejected| Value::Array(vec![Value::Int(1), Value::Int(0), Value::Array(rejected)]);
        let pair = |index, reason| Value::Array(vec![index, reason]);
        let rejected = MstatReply {
            counted: 1,
            late: 0,
            rejected: vec![RejectedSample {
                index: 3,
                reason: "x".into(),
            }],
        };
        let read = MstatReply::read(reply(vec![pair(Value::Int(3), bulk("x"))]));
        assert_eq!(read, Some(rejected));
        for other in [
            Value::Nil,
            Value::Int(1),
            reply(vec![bulk("x")]),
            reply(vec![pair(Value::Int(-1), bulk("x"))]),
            reply(vec![pair(bulk("3"), bulk("x"))]),
        ] {
            assert_eq!(MstatReply::read(other), None);
        }
    }
}
