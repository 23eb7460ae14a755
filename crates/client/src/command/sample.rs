//! Commands that report samples: AGG.STAT and AGG.MSTAT.

use super::{Arg, Cmd, Command, count, option};
use crate::reply::{self, Value};

/// The value of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// An integer.
    Int(i64),
    /// An integer without a sign, as counters are.
    Unsigned(u64),
    /// A decimal number.
    Float(f64),
}

macro_rules! number_from {
    ($($from:ty => $variant:ident),*) => {
        $(impl From<$from> for Number {
            fn from(value: $from) -> Number {
                Number::$variant(value.into())
            }
        })*
    };
}

number_from!(i8 => Int, i16 => Int, i32 => Int, i64 => Int, u8 => Unsigned, u16 => Unsigned, u32 => Unsigned,
    u64 => Unsigned, f32 => Float, f64 => Float);

impl Arg for Number {
    fn append_to(&self, cmd: &mut Cmd) {
        match self {
            Number::Int(value) => value.append_to(cmd),
            Number::Unsigned(value) => value.append_to(cmd),
            Number::Float(value) => value.append_to(cmd),
        }
    }
}

/// The type of a metric: how its samples count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetricType {
    /// A gauge: the value counts. The default.
    Abs,
    /// A counter's total: its increase counts, as a rate per second.
    Diff,
}

impl MetricType {
    /// Returns the word of the commands.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricType::Abs => "ABS",
            MetricType::Diff => "DIFF",
        }
    }
}

/// The options that AGG.STAT and AGG.MSTAT share.
#[derive(Clone, Copy, Debug, Default)]
struct SampleOptions<'a> {
    metric_type: Option<MetricType>,
    tags: Option<&'a str>,
    at: Option<i64>,
}

impl SampleOptions<'_> {
    fn write(&self, cmd: &mut Cmd) {
        if let Some(metric_type) = self.metric_type {
            cmd.arg(metric_type.as_str());
        }
        option(cmd, "TAGS", self.tags);
        option(cmd, "AT", self.at);
    }
}

macro_rules! sample_options {
    ($name:ident) => {
        impl<'a> $name<'a> {
            /// Sets whether the value is a gauge or a counter's total.
            pub fn metric_type(mut self, metric_type: MetricType) -> Self {
                self.options.metric_type = Some(metric_type);
                self
            }

            /// Sets the tags, such as `unit:percent rack:a1`. They describe the metric; its name alone identifies it.
            pub fn tags(mut self, tags: &'a str) -> Self {
                self.options.tags = Some(tags);
                self
            }

            /// Sets the time of the sample, Unix milliseconds.
            pub fn at(mut self, at: i64) -> Self {
                self.options.at = Some(at);
                self
            }
        }
    };
}

/// AGG.STAT: reports a sample. Returns whether the sample counted; it does not if it was too late.
#[derive(Clone, Copy, Debug)]
pub struct Stat<'a> {
    node: &'a [u8],
    metric: &'a [u8],
    value: Number,
    options: SampleOptions<'a>,
}

impl<'a> Stat<'a> {
    /// Reports `value` for `metric`.
    pub fn new(
        node: &'a (impl AsRef<[u8]> + ?Sized),
        metric: &'a (impl AsRef<[u8]> + ?Sized),
        value: impl Into<Number>,
    ) -> Self {
        Stat {
            node: node.as_ref(),
            metric: metric.as_ref(),
            value: value.into(),
            options: SampleOptions::default(),
        }
    }
}

sample_options!(Stat);

impl Command for Stat<'_> {
    type Output = bool;
    const NAME: &'static str = "AGG.STAT";

    fn write_args(&self, cmd: &mut Cmd) {
        cmd.arg(self.node).arg(self.metric).arg(self.value);
        self.options.write(cmd);
    }

    fn read_reply(&self, reply: Value) -> Option<bool> {
        reply::int(&reply).map(|counted| counted == 1)
    }
}

/// AGG.MSTAT: reports up to 10,000 samples. A sample that is rejected does not affect the others.
#[derive(Clone, Debug)]
pub struct Mstat<'a> {
    node: &'a [u8],
    samples: Vec<(&'a [u8], Number)>,
    is_atomic: bool,
    options: SampleOptions<'a>,
}

impl<'a> Mstat<'a> {
    /// Reports samples, each a metric and its value.
    pub fn new<M: AsRef<[u8]> + ?Sized + 'a, N: Into<Number>>(
        node: &'a (impl AsRef<[u8]> + ?Sized),
        samples: impl IntoIterator<Item = (&'a M, N)>,
    ) -> Self {
        let samples = samples.into_iter();
        Mstat {
            node: node.as_ref(),
            samples: samples
                .map(|(m, value)| (m.as_ref(), value.into()))
                .collect(),
            is_atomic: false,
            options: SampleOptions::default(),
        }
    }

    /// Makes one bad sample an error of the whole command: then no sample is taken.
    pub fn atomic(mut self) -> Self {
        self.is_atomic = true;
        self
    }
}

sample_options!(Mstat);

/// The outcome of AGG.MSTAT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MstatReply {
    /// The number of samples that counted.
    pub taken: u64,
    /// The number of samples that were too late.
    pub late: u64,
    /// The index of each sample that was rejected, from 0, and the reason.
    pub rejected: Vec<(u64, String)>,
}

impl Command for Mstat<'_> {
    type Output = MstatReply;
    const NAME: &'static str = "AGG.MSTAT";

    fn write_args(&self, cmd: &mut Cmd) {
        cmd.arg(self.node);
        self.options.write(cmd);
        if self.is_atomic {
            cmd.arg("ATOMIC");
        }
        cmd.arg("VALUES");
        for (metric, value) in &self.samples {
            cmd.arg(*metric).arg(*value);
        }
    }

    fn read_reply(&self, reply: Value) -> Option<MstatReply> {
        MstatReply::read(reply)
    }
}

impl MstatReply {
    /// Reads the reply of AGG.MSTAT; none if it is not one.
    pub fn read(reply: Value) -> Option<MstatReply> {
        let [taken, late, rejected] = reply::items(reply)?.try_into().ok()?;
        let rejected = reply::items(rejected)?.into_iter().map(|pair| {
            let [index, why] = reply::items(pair)?.try_into().ok()?;
            Some((count(&index)?, reply::text(why)?))
        });
        Some(MstatReply {
            taken: count(&taken)?,
            late: count(&late)?,
            rejected: rejected.collect::<Option<_>>()?,
        })
    }
}
