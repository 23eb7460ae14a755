//! A sample, and the command that reports one: AGG.STAT.

use super::number::Number;
use super::report::{report, write_sequence};
use super::{Cmd, Command, Sequence, option};
use crate::reply::{self, Value};

/// The meaning of the value of a sample. It determines the type of the metric; ABS and ADD report the same type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SampleType {
    /// The value of a gauge, such as a temperature. The default.
    #[default]
    #[doc(alias = "gauge")]
    Abs,
    /// The change of a gauge, such as one connection less. The gauge starts at 0.
    #[doc(alias = "increment")]
    Add,
    /// The total of a counter that **one** reporter maintains, such as the bytes that an interface has received. Its
    /// increase counts. Totals of several processes reported to one metric look like restarts of the counter: use
    /// [`SampleType::Inc`].
    #[doc(alias = "counter")]
    Diff,
    /// An increment, such as one request more. Any number of processes may report increments to a metric.
    #[doc(alias = "counter")]
    Inc,
}

impl SampleType {
    /// Returns the word of the commands.
    pub fn as_str(self) -> &'static str {
        match self {
            SampleType::Abs => "ABS",
            SampleType::Add => "ADD",
            SampleType::Diff => "DIFF",
            SampleType::Inc => "INC",
        }
    }
}

/// A sample: a metric, its value, and options.
///
/// ```
/// use agg_client::command::{Mstat, Sample, SampleType};
///
/// let samples = [
///     Sample::new("http.requests", 1).sample_type(SampleType::Inc),
///     Sample::new("http.seconds", 0.012).hist().tags("unit:s"),
///     Sample::new("queue.length", 17),
/// ];
/// let report = Mstat::new("web1", samples);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample<'a> {
    pub(super) metric: &'a [u8],
    pub(super) value: Number,
    pub(super) options: SampleOptions<'a>,
    pub(super) times: u64,
}

/// The options of samples that AGG.MSTAT can also set for all of its samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct SampleOptions<'a> {
    pub sample_type: Option<SampleType>,
    pub hist: bool,
    pub tags: Option<&'a str>,
    pub at: Option<i64>,
}

impl SampleOptions<'_> {
    /// Appends the options. The default type is left out.
    pub fn write(&self, cmd: &mut Cmd) {
        let sample_type = self.sample_type.unwrap_or_default();
        if sample_type != SampleType::default() {
            cmd.arg(sample_type.as_str());
        }
        if self.hist {
            cmd.arg("HIST");
        }
        option(cmd, "TAGS", self.tags);
        option(cmd, "AT", self.at);
    }
}

/// Implements the setters of the sample options for a type that holds them in the given field.
macro_rules! sample_options {
    ($name:ident, $($options:ident).+) => {
        impl<'a> $name<'a> {
            /// Sets what the value means; the default is the value of a gauge.
            pub fn sample_type(mut self, sample_type: $crate::command::SampleType) -> Self {
                self.$($options).+.sample_type = Some(sample_type);
                self
            }

            /// Makes the server keep a histogram of the metric, so that its windows have percentiles. The option
            /// holds for all later windows of the metric.
            #[doc(alias = "histogram")]
            pub fn hist(mut self) -> Self {
                self.$($options).+.hist = true;
                self
            }

            /// Sets the tags, such as `unit:percent rack:a1`. They describe the metric; its name alone identifies it.
            #[doc(alias = "labels")]
            #[doc(alias = "attributes")]
            pub fn tags(mut self, tags: &'a str) -> Self {
                self.$($options).+.tags = Some(tags);
                self
            }

            /// Sets the time of the sample, Unix milliseconds; the default is the server's clock.
            pub fn at(mut self, at: i64) -> Self {
                self.$($options).+.at = Some(at);
                self
            }
        }
    };
}

pub(super) use sample_options;

impl<'a> Sample<'a> {
    /// Creates a sample of `metric` without options.
    pub fn new(metric: &'a (impl AsRef<[u8]> + ?Sized), value: impl Into<Number>) -> Self {
        Sample {
            metric: metric.as_ref(),
            value: value.into(),
            options: SampleOptions::default(),
            times: 1,
        }
    }

    /// Sets how often the value occurred, 1 to 2^32, as a sampler does that sends one of `times` values. Only values of
    /// [`SampleType::Abs`] and [`SampleType::Inc`] may be repeated.
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }
}

sample_options!(Sample, options);

impl<'a, M, N> From<(&'a M, N)> for Sample<'a>
where
    M: AsRef<[u8]> + ?Sized,
    N: Into<Number>,
{
    fn from((metric, value): (&'a M, N)) -> Self {
        Sample::new(metric, value)
    }
}

/// AGG.STAT: reports a sample. Returns whether the sample counted; it does not if it was too late.
#[derive(Clone, Copy, Debug)]
pub struct Stat<'a> {
    node: &'a [u8],
    sample: Sample<'a>,
}

impl<'a> Stat<'a> {
    /// Reports `value` for `metric`.
    pub fn new(
        node: &'a (impl AsRef<[u8]> + ?Sized),
        metric: &'a (impl AsRef<[u8]> + ?Sized),
        value: impl Into<Number>,
    ) -> Self {
        Stat::of(node, Sample::new(metric, value))
    }

    /// Reports `sample`.
    pub fn of(node: &'a (impl AsRef<[u8]> + ?Sized), sample: Sample<'a>) -> Self {
        Stat {
            node: node.as_ref(),
            sample,
        }
    }

    /// Sets how often the value occurred: see [`Sample::times`].
    pub fn times(mut self, times: u64) -> Self {
        self.sample.times = times;
        self
    }

    fn write_with(&self, sequence: Option<Sequence<'_>>, cmd: &mut Cmd) {
        let sample = &self.sample;
        cmd.arg(self.node).arg(sample.metric).arg(sample.value);
        sample.options.write(cmd);
        if sample.times != 1 {
            cmd.arg("TIMES").arg(sample.times);
        }
        write_sequence(cmd, sequence);
    }
}

sample_options!(Stat, sample.options);

impl Command for Stat<'_> {
    type Output = bool;
    const NAME: &'static str = "AGG.STAT";

    fn write_args(&self, cmd: &mut Cmd) {
        self.write_with(None, cmd);
    }

    fn read_reply(&self, reply: Value) -> Option<bool> {
        reply::int(&reply).map(|counted| counted == 1)
    }
}

report!(Stat {
    fn is_samples(&self) -> bool {
        true
    }
});
