//! Commands that report: AGG.STAT, AGG.MSTAT, AGG.LOG, AGG.ERROR, AGG.REALITY, and AGG.FORGET.

use redis::{Cmd, RedisWrite, ToRedisArgs, Value};

use super::{Command, Kind, count, option};
use crate::reply;

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

impl ToRedisArgs for Number {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        match self {
            Number::Int(value) => value.write_redis_args(out),
            Number::Unsigned(value) => value.write_redis_args(out),
            Number::Float(value) => value.write_redis_args(out),
        }
    }
}

/// How the samples of a metric count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// AGG.STAT: reports a sample. Answers whether the sample counted; it does not if it was too late.
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

/// AGG.MSTAT: reports many samples, 10,000 at most. A sample that is refused does not affect the others.
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

/// What AGG.MSTAT did with the samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MstatReply {
    /// The number of samples that counted.
    pub taken: u64,
    /// The number of samples that were too late.
    pub late: u64,
    /// The index of each sample that was refused, from 0, and the reason.
    pub refused: Vec<(u64, String)>,
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
        let [taken, late, refused] = reply::items(reply)?.try_into().ok()?;
        let refused = reply::items(refused)?.into_iter().map(|pair| {
            let [index, why] = reply::items(pair)?.try_into().ok()?;
            Some((count(&index)?, reply::text(why)?))
        });
        Some(MstatReply {
            taken: count(&taken)?,
            late: count(&late)?,
            refused: refused.collect::<Option<_>>()?,
        })
    }
}

/// AGG.LOG: reports a log entry. Answers the entry's id.
#[derive(Clone, Copy, Debug)]
pub struct Log<'a> {
    node: &'a [u8],
    message: &'a [u8],
    level: Option<u8>,
    tags: Option<&'a str>,
    at: Option<i64>,
}

impl<'a> Log<'a> {
    /// Reports `message`.
    pub fn new(
        node: &'a (impl AsRef<[u8]> + ?Sized),
        message: &'a (impl AsRef<[u8]> + ?Sized),
    ) -> Self {
        Log {
            node: node.as_ref(),
            message: message.as_ref(),
            level: None,
            tags: None,
            at: None,
        }
    }

    /// Sets the level, 0 to 9; the default is 5.
    pub fn level(mut self, level: u8) -> Self {
        self.level = Some(level);
        self
    }

    /// Sets the tags, such as `job:nightly`.
    pub fn tags(mut self, tags: &'a str) -> Self {
        self.tags = Some(tags);
        self
    }

    /// Sets the time, Unix milliseconds.
    pub fn at(mut self, at: i64) -> Self {
        self.at = Some(at);
        self
    }
}

impl Command for Log<'_> {
    type Output = u64;
    const NAME: &'static str = "AGG.LOG";

    fn write_args(&self, cmd: &mut Cmd) {
        cmd.arg(self.node).arg(self.message);
        option(cmd, "LEVEL", self.level);
        option(cmd, "TAGS", self.tags);
        option(cmd, "AT", self.at);
    }

    fn read_reply(&self, reply: Value) -> Option<u64> {
        count(&reply)
    }
}

/// The type of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// A defect of a program.
    Bug,
    /// Something takes too long or too much.
    Perf,
    /// The environment fails.
    Ops,
    /// Not known; the default.
    Unknown,
}

impl ErrorType {
    /// Returns the word of the commands.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorType::Bug => "BUG",
            ErrorType::Perf => "PERF",
            ErrorType::Ops => "OPS",
            ErrorType::Unknown => "UNKNOWN",
        }
    }
}

/// AGG.ERROR: reports an error. The server keeps each error once, with its count.
///
/// An error is identified by its key, or without one by a hash of message, public text, code, function and file: leave
/// out of the message what differs from one occurrence to the next, or give a key.
#[derive(Clone, Debug)]
pub struct Error<'a> {
    node: &'a [u8],
    message: &'a [u8],
    level: Option<u8>,
    error_type: Option<ErrorType>,
    tags: Option<&'a str>,
    /// Options that are texts, by the words of the command.
    texts: Vec<(&'static str, &'a [u8])>,
    gid: Option<u64>,
    nid: Option<u64>,
    at: Option<i64>,
}

impl<'a> Error<'a> {
    /// Reports `message`.
    pub fn new(
        node: &'a (impl AsRef<[u8]> + ?Sized),
        message: &'a (impl AsRef<[u8]> + ?Sized),
    ) -> Self {
        Error {
            node: node.as_ref(),
            message: message.as_ref(),
            level: None,
            error_type: None,
            tags: None,
            texts: Vec::new(),
            gid: None,
            nid: None,
            at: None,
        }
    }

    /// Sets the level, 0 to 9.
    pub fn level(mut self, level: u8) -> Self {
        self.level = Some(level);
        self
    }

    /// Sets the type.
    pub fn error_type(mut self, error_type: ErrorType) -> Self {
        self.error_type = Some(error_type);
        self
    }

    /// Sets the tags.
    pub fn tags(mut self, tags: &'a str) -> Self {
        self.tags = Some(tags);
        self
    }

    /// Sets the text that users may see.
    pub fn public(self, text: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.text("PUBLIC", text.as_ref())
    }

    /// Sets the error's code.
    pub fn code(self, code: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.text("CODE", code.as_ref())
    }

    /// Sets the function in which the error occurred.
    pub fn func(self, func: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.text("FUNC", func.as_ref())
    }

    /// Sets the file in which the error occurred.
    pub fn file(self, file: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.text("FILE", file.as_ref())
    }

    /// Sets the backtrace.
    pub fn backtrace(self, backtrace: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.text("BACKTRACE", backtrace.as_ref())
    }

    /// Sets the key that identifies the error.
    pub fn key(self, key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.text("KEY", key.as_ref())
    }

    /// Sets the id of the group that the error concerns.
    pub fn gid(mut self, gid: u64) -> Self {
        self.gid = Some(gid);
        self
    }

    /// Sets the id of the node that the error concerns.
    pub fn nid(mut self, nid: u64) -> Self {
        self.nid = Some(nid);
        self
    }

    /// Sets the time, Unix milliseconds.
    pub fn at(mut self, at: i64) -> Self {
        self.at = Some(at);
        self
    }

    fn text(mut self, name: &'static str, text: &'a [u8]) -> Self {
        self.texts.retain(|(other, _)| *other != name);
        self.texts.push((name, text));
        self
    }
}

/// What AGG.ERROR answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// The key of the error.
    pub key: String,
    /// How often the error has occurred.
    pub occurrences: u64,
}

impl Command for Error<'_> {
    type Output = Occurrence;
    const NAME: &'static str = "AGG.ERROR";

    fn write_args(&self, cmd: &mut Cmd) {
        cmd.arg(self.node).arg(self.message);
        option(cmd, "LEVEL", self.level);
        option(cmd, "TYPE", self.error_type.map(ErrorType::as_str));
        option(cmd, "TAGS", self.tags);
        for (name, text) in &self.texts {
            cmd.arg(*name).arg(*text);
        }
        option(cmd, "GID", self.gid);
        option(cmd, "NID", self.nid);
        option(cmd, "AT", self.at);
    }

    fn read_reply(&self, reply: Value) -> Option<Occurrence> {
        let [key, occurrences] = reply::items(reply)?.try_into().ok()?;
        Some(Occurrence {
            key: reply::text(key)?,
            occurrences: count(&occurrences)?,
        })
    }
}

/// AGG.REALITY: reports the state of an object as JSON. The same content in other spacing or order is no change.
#[derive(Clone, Copy, Debug)]
pub struct Reality<'a> {
    node: &'a [u8],
    key: &'a [u8],
    model: &'a [u8],
    json: &'a [u8],
    tags: Option<&'a str>,
    at: Option<i64>,
    ttl_s: Option<u64>,
}

impl<'a> Reality<'a> {
    /// Reports `json` as the state of the object `key`, which is of `model`.
    pub fn new(
        node: &'a (impl AsRef<[u8]> + ?Sized),
        key: &'a (impl AsRef<[u8]> + ?Sized),
        model: &'a (impl AsRef<[u8]> + ?Sized),
        json: &'a (impl AsRef<[u8]> + ?Sized),
    ) -> Self {
        Reality {
            node: node.as_ref(),
            key: key.as_ref(),
            model: model.as_ref(),
            json: json.as_ref(),
            tags: None,
            at: None,
            ttl_s: None,
        }
    }

    /// Sets the tags.
    pub fn tags(mut self, tags: &'a str) -> Self {
        self.tags = Some(tags);
        self
    }

    /// Sets the time, Unix milliseconds.
    pub fn at(mut self, at: i64) -> Self {
        self.at = Some(at);
        self
    }

    /// Sets after how many seconds without a report the object is gone; 0 is never.
    pub fn ttl_s(mut self, seconds: u64) -> Self {
        self.ttl_s = Some(seconds);
        self
    }
}

/// What became of a report of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectState {
    /// The object is new or has changed.
    Changed,
    /// The object is as it was.
    Unchanged,
    /// The report is older than the state that the server has.
    Older,
}

impl Command for Reality<'_> {
    type Output = ObjectState;
    const NAME: &'static str = "AGG.REALITY";

    fn write_args(&self, cmd: &mut Cmd) {
        cmd.arg(self.node)
            .arg(self.key)
            .arg(self.model)
            .arg(self.json);
        option(cmd, "TAGS", self.tags);
        option(cmd, "AT", self.at);
        option(cmd, "TTL", self.ttl_s);
    }

    fn read_reply(&self, reply: Value) -> Option<ObjectState> {
        match reply::int(&reply)? {
            1 => Some(ObjectState::Changed),
            0 => Some(ObjectState::Unchanged),
            -1 => Some(ObjectState::Older),
            _ => None,
        }
    }
}

/// AGG.FORGET: removes a metric, an error or an object. Answers whether it was there.
#[derive(Clone, Copy, Debug)]
pub struct Forget<'a> {
    node: &'a [u8],
    kind: Kind,
    name: &'a [u8],
}

impl<'a> Forget<'a> {
    /// Removes what has this name.
    pub fn new(
        node: &'a (impl AsRef<[u8]> + ?Sized),
        kind: Kind,
        name: &'a (impl AsRef<[u8]> + ?Sized),
    ) -> Self {
        Forget {
            node: node.as_ref(),
            kind,
            name: name.as_ref(),
        }
    }
}

impl Command for Forget<'_> {
    type Output = bool;
    const NAME: &'static str = "AGG.FORGET";

    fn write_args(&self, cmd: &mut Cmd) {
        cmd.arg(self.node).arg(self.kind.as_str()).arg(self.name);
    }

    fn read_reply(&self, reply: Value) -> Option<bool> {
        reply::int(&reply).map(|removed| removed == 1)
    }
}
