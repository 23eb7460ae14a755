//! Reports as they are sent, each a command of the module, and their outcomes.

use std::sync::Arc;

use agg_client::command::{
    Cmd, Error, Hist, Level, Log, MstatReply, ObjectState, Occurrence, Reality, Report, Sequence,
};
use agg_client::command::{Command, Mstat};
use agg_client::reply::Value;
use aggregator_protocol::NodeName;

use super::samples::Samples;
use super::value::BatchedEntry;
use crate::identity::Resolved;
use crate::report::Distribution;

/// A report that is one command. It borrows nothing, so it may wait while the server is down.
#[derive(Debug)]
pub struct BatchedReport {
    node: Arc<NodeName>,
    protocol: &'static str,
    body: Body,
    bytes: usize,
}

/// The content of a report.
#[derive(Debug)]
pub(super) enum Body {
    Samples(Samples),
    Hist(Box<HistBody>),
    Log(LogBody),
    Error(ErrorBody),
    Object(Box<ObjectBody>),
}

/// Aggregated samples of a metric.
#[derive(Debug)]
pub(super) struct HistBody {
    metric: Box<str>,
    tags: Box<str>,
    values: Box<[(f64, u64)]>,
    sum: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
    at: Option<i64>,
}

/// A log entry.
#[derive(Debug)]
pub(super) struct LogBody {
    pub entry: BatchedEntry,
}

/// An error.
#[derive(Debug)]
pub(super) struct ErrorBody {
    pub entry: BatchedEntry,
    pub key: Box<str>,
}

/// The state of an object.
#[derive(Debug)]
pub(super) struct ObjectBody {
    pub key: Box<str>,
    pub model: Box<str>,
    pub json: Box<str>,
    pub tags: Box<str>,
}

/// The kind of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReportKind {
    /// Samples: AGG.MSTAT and AGG.HIST.
    Samples,
    /// A log entry: AGG.LOG.
    Log,
    /// An error: AGG.ERROR. Its log entry is a report of its own, so a log record may be counted by both.
    Error,
    /// The state of an object: AGG.REALITY.
    Object,
}

/// The outcome of a report that the server has taken. The numbers are those of what was received: a sample that stands
/// for several equal ones counts as these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The number of samples, entries or objects that counted.
    pub counted: u64,
    /// The number of those that were too late, or older than the stored state. If only some samples of a command were
    /// late and others stood for several ones, it is an estimate, because the reply does not say which samples were
    /// late. `counted`, `late` and the rejected ones always add up to [`BatchedReport::inputs`].
    pub late: u64,
    /// The samples that the server rejected.
    pub rejected: Vec<RejectedReport>,
}

/// A sample that the server rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedReport {
    /// Its place in the command, for [`BatchedReport::metric`].
    pub index: usize,
    /// The number of received samples that it stood for.
    pub inputs: u64,
    /// The reason.
    pub reason: String,
}

impl HistBody {
    pub fn new(series: &Resolved<'_>, distribution: &Distribution<'_>, at: Option<i64>) -> Self {
        HistBody {
            metric: series.metric.into(),
            tags: series.tags.into(),
            values: distribution.values.into(),
            sum: distribution.sum,
            min: distribution.min,
            max: distribution.max,
            at,
        }
    }

    fn write(&self, node: &NodeName, sequence: Option<Sequence<'_>>, cmd: &mut Cmd) {
        let mut hist = Hist::new(node, &*self.metric, self.values.iter().copied());
        if let Some(sum) = self.sum {
            hist = hist.sum(sum);
        }
        if let Some(min) = self.min {
            hist = hist.min(min);
        }
        if let Some(max) = self.max {
            hist = hist.max(max);
        }
        if !self.tags.is_empty() {
            hist = hist.tags(&self.tags);
        }
        if let Some(at) = self.at {
            hist = hist.at(at);
        }
        hist.write_numbered(sequence, cmd);
    }
}

impl LogBody {
    fn write(&self, node: &NodeName, sequence: Option<Sequence<'_>>, cmd: &mut Cmd) {
        let entry = &self.entry;
        let mut log = Log::new(node, &*entry.message).level(level(entry.level));
        if !entry.tags.is_empty() {
            log = log.tags(&entry.tags);
        }
        if let Some(at) = entry.at {
            log = log.at(at);
        }
        log.write_numbered(sequence, cmd);
    }
}

impl ErrorBody {
    fn write(&self, node: &NodeName, sequence: Option<Sequence<'_>>, cmd: &mut Cmd) {
        let entry = &self.entry;
        let mut error = Error::new(node, &*entry.message)
            .level(level(entry.level))
            .key(&*self.key);
        if !entry.tags.is_empty() {
            error = error.tags(&entry.tags);
        }
        if let Some(at) = entry.at {
            error = error.at(at);
        }
        error.write_numbered(sequence, cmd);
    }
}

impl ObjectBody {
    fn command<'a>(&'a self, node: &'a NodeName) -> Reality<'a> {
        let reality = Reality::new(node, &*self.key, &*self.model, &*self.json);
        match self.tags.is_empty() {
            true => reality,
            false => reality.tags(&self.tags),
        }
    }
}

/// Returns a level; one beyond the highest is that.
fn level(number: u8) -> Level {
    Level::new(number).unwrap_or(Level::CRITICAL)
}

impl BatchedReport {
    pub(super) fn new(node: Arc<NodeName>, protocol: &'static str, mut body: Body) -> Self {
        if let Body::Samples(samples) = &mut body {
            samples.shrink();
        }
        let entry = |entry: &BatchedEntry| entry.message.len() + entry.tags.len();
        let content = match &body {
            Body::Samples(samples) => samples.bytes(),
            Body::Hist(hist) => {
                let values = size_of_val(&*hist.values);
                size_of::<HistBody>() + hist.metric.len() + hist.tags.len() + values
            }
            Body::Log(log) => entry(&log.entry),
            // The message and the tags are shared with the log entry, but that may be sent earlier.
            Body::Error(error) => entry(&error.entry) + error.key.len(),
            Body::Object(object) => {
                let texts = [&object.key, &object.model, &object.json, &object.tags];
                size_of::<ObjectBody>() + texts.map(|text| text.len()).iter().sum::<usize>()
            }
        };
        BatchedReport {
            node,
            protocol,
            body,
            bytes: size_of::<BatchedReport>() + content,
        }
    }

    /// Returns the protocol.
    pub fn protocol(&self) -> &'static str {
        self.protocol
    }

    /// Returns what the report is about.
    pub fn kind(&self) -> ReportKind {
        match self.body {
            Body::Samples(_) | Body::Hist(_) => ReportKind::Samples,
            Body::Log(_) => ReportKind::Log,
            Body::Error(_) => ReportKind::Error,
            Body::Object(_) => ReportKind::Object,
        }
    }

    /// Returns the number of received samples, log records or objects that the report stands for.
    pub fn inputs(&self) -> u64 {
        match &self.body {
            Body::Samples(samples) => samples.inputs(),
            _ => 1,
        }
    }

    /// Returns the memory that the report takes, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the metric of a sample by its place in the command.
    pub fn metric(&self, index: usize) -> Option<&str> {
        match &self.body {
            Body::Samples(samples) => samples.metric(index),
            Body::Hist(hist) => Some(&*hist.metric).filter(|_| index == 0),
            Body::Log(_) | Body::Error(_) | Body::Object(_) => None,
        }
    }
}

impl Report for BatchedReport {
    type Reply = Outcome;

    fn name(&self) -> &'static str {
        match self.body {
            Body::Samples(_) => Mstat::NAME,
            Body::Hist(_) => Hist::NAME,
            Body::Log(_) => Log::NAME,
            Body::Error(_) => Error::NAME,
            Body::Object(_) => Reality::NAME,
        }
    }

    /// AGG.REALITY has no sequence number. A state that is reported twice is no change.
    fn write_numbered(&self, sequence: Option<Sequence<'_>>, cmd: &mut Cmd) {
        match &self.body {
            Body::Samples(samples) => {
                cmd.arg(&self.node.0);
                samples.write(sequence, cmd);
            }
            Body::Hist(hist) => hist.write(&self.node, sequence, cmd),
            Body::Log(log) => log.write(&self.node, sequence, cmd),
            Body::Error(error) => error.write(&self.node, sequence, cmd),
            Body::Object(object) => object.command(&self.node).write_args(cmd),
        }
    }

    fn read_taken(&self, reply: Value) -> Option<Outcome> {
        match &self.body {
            Body::Samples(samples) => Outcome::of_samples(samples, MstatReply::read(reply)?),
            Body::Hist(_) => match agg_client::reply::int(&reply)? {
                0 => Some(Outcome::late()),
                _ => Some(Outcome::counted()),
            },
            Body::Log(_) => agg_client::reply::int(&reply).map(|_| Outcome::counted()),
            Body::Error(error) => {
                let command = Error::new(&*self.node, &*error.entry.message);
                let read: Option<Occurrence> = command.read_reply(reply);
                read.map(|_| Outcome::counted())
            }
            Body::Object(object) => match object.command(&self.node).read_reply(reply)? {
                ObjectState::Changed | ObjectState::Unchanged => Some(Outcome::counted()),
                ObjectState::Older => Some(Outcome::late()),
            },
        }
    }

    fn is_samples(&self) -> bool {
        self.kind() == ReportKind::Samples
    }

    fn without_columns(self) -> Vec<Self> {
        let BatchedReport {
            node,
            protocol,
            body,
            bytes,
        } = self;
        match body {
            Body::Samples(samples) => {
                let parts = samples.without_columns().into_iter();
                let report =
                    |samples| BatchedReport::new(node.clone(), protocol, Body::Samples(samples));
                parts.map(report).collect()
            }
            body => vec![BatchedReport {
                node,
                protocol,
                body,
                bytes,
            }],
        }
    }
}

/// Changes of a report that had to wait, and its outcome if the server did not take it.
impl BatchedReport {
    /// Sets the time of all that has none, Unix milliseconds.
    pub fn set_time(&mut self, at: i64) {
        let time = match &mut self.body {
            Body::Samples(samples) => return samples.set_time(at),
            Body::Hist(hist) => &mut hist.at,
            Body::Log(log) => &mut log.entry.at,
            Body::Error(error) => &mut error.entry.at,
            // A state that is reported late is still the latest.
            Body::Object(_) => return,
        };
        time.get_or_insert(at);
    }

    /// Returns the outcome of a report that the server has taken before.
    pub fn all_counted(&self) -> Outcome {
        Outcome {
            counted: self.inputs(),
            ..Outcome::default()
        }
    }

    /// Returns the outcome of a report that the server has rejected as a whole.
    pub fn all_rejected(&self, reason: String) -> Outcome {
        Outcome {
            rejected: vec![RejectedReport {
                index: 0,
                inputs: self.inputs(),
                reason,
            }],
            ..Outcome::default()
        }
    }
}

impl Outcome {
    /// Returns the number of samples, entries or objects.
    pub fn inputs(&self) -> u64 {
        self.counted + self.late + self.rejected_inputs()
    }

    /// Returns the number of samples, entries or objects that the server has rejected.
    pub fn rejected_inputs(&self) -> u64 {
        self.rejected.iter().map(|rejected| rejected.inputs).sum()
    }

    /// Returns the reason of the first rejection.
    pub fn reason(&self) -> Option<&str> {
        self.rejected.first().map(|rejected| &*rejected.reason)
    }

    /// Returns whether the same report may be taken later: a limit of the server is reached, or its user lacks a right.
    pub fn is_full(&self) -> bool {
        let mut rejected = self.rejected.iter();
        rejected.any(|rejected| is_limit(&rejected.reason))
    }

    fn counted() -> Outcome {
        Outcome {
            counted: 1,
            ..Outcome::default()
        }
    }

    fn late() -> Outcome {
        Outcome {
            late: 1,
            ..Outcome::default()
        }
    }

    /// None: the reply is not one of these samples.
    fn of_samples(samples: &Samples, reply: MstatReply) -> Option<Outcome> {
        let MstatReply {
            counted,
            late,
            rejected,
        } = reply;
        let rejected = rejected.into_iter().map(|sample| {
            Some(RejectedReport {
                index: sample.index,
                inputs: samples.inputs_of(sample.index)?,
                reason: sample.reason,
            })
        });
        let rejected: Vec<_> = rejected.collect::<Option<_>>()?;
        let taken = rejected.iter().map(|sample| sample.inputs);
        let taken = samples.inputs().saturating_sub(taken.sum());
        let late = match counted {
            0 => taken,
            // In proportion.
            _ => {
                (u128::from(taken) * u128::from(late) / (u128::from(counted) + u128::from(late)))
                    as u64
            }
        };
        Some(Outcome {
            counted: taken - late,
            late,
            rejected,
        })
    }
}

/// Returns whether a rejection names a limit or a right, which an operator may change. That of one sample has no code:
/// "cannot create metric 'x': the node has reached agg.max-series (1)".
fn is_limit(reason: &str) -> bool {
    reason.starts_with("AGGFULL")
        || reason.starts_with("NOPERM")
        || reason.contains("the node has reached agg.max-")
}
