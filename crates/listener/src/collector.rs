//! Takes what protocols pass on, and makes it reports to the server.
//!
//! # Invariants
//!
//! - What is not reported is counted as invalid, by protocol and reason.
//! - The collector has no clock: the caller passes the time by [`Collector::advance`].
//! - The reports that wait in the collector have no limit: the caller takes them when there are many.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use agg_client::command::SampleType;
use aggregator_protocol::NodeName;
use aggregator_protocol::number::Number;

use crate::batch::{Batch, BatchedEntry, BatchedReport, BatchedValue, MAX_TIMES, MAX_VALUES};
use crate::identity::{Identity, IdentitySettings};
use crate::report::{
    Attribute, Distribution, LogRecord, ObjectReport, Receiver, Sample, SampleValue, TOO_MUCH,
};
use crate::sets::{SetSettings, Sets};

/// Maximum bytes of an example of invalid input.
const MAX_EXAMPLE: usize = 200;

/// The maximum time of a log record ahead of the clock, milliseconds: less than `agg.max-future-ms`, 60 s by
/// default, because the server's clock may be behind.
const MAX_AHEAD_MS: i64 = 30_000;

/// The server takes a lower time for seconds.
const LEAST_TIME_MS: i64 = 100_000_000_000;

/// The settings of a collector.
#[derive(Clone, Debug)]
pub struct CollectorSettings {
    /// The node that the reports are about.
    pub node: NodeName,
    /// The mapping of series to metrics, and the tags of all reports.
    pub identity: IdentitySettings,
    /// The interval and the limits of sets.
    pub sets: SetSettings,
    /// Log records of this level and above are errors, too. None: no record is.
    pub errors_from: Option<u8>,
    /// Returns the key of the error with a message.
    pub error_key: fn(&str) -> String,
}

/// Input that was not used, for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Invalid {
    /// The number of times.
    pub count: u64,
    /// The beginning of the last input, printable.
    pub example: String,
}

/// The limits of a request. They are those of a hostile sender: what repeats in a request, such as a name, is short in its
/// body and long in its reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// The bytes of names, attributes and messages that are read: a limit of time.
    pub content: usize,
    /// The bytes of reports.
    pub reports: usize,
}

/// The samples, records and objects of a request that are not reported, although its protocol has passed them on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unreported {
    /// Their number.
    pub count: u64,
    /// The reason of the first.
    pub reason: Option<&'static str>,
}

/// A request that is parsed.
struct OpenRequest {
    limits: RequestLimits,
    content: usize,
    is_over: bool,
    unreported: Unreported,
}

/// Makes reports of what protocols pass on.
pub struct Collector {
    protocol: &'static str,
    identity: Identity,
    batch: Batch,
    sets: Sets,
    settings: CollectorSettings,
    /// By protocol and reason, which are constants of the program: so there are few.
    invalid: BTreeMap<(&'static str, &'static str), Invalid>,
    /// Unix milliseconds; 0: not known.
    now_ms: u64,
    wrong_times: u64,
    skipped: u64,
    request: Option<OpenRequest>,
}

impl Collector {
    /// Creates a collector without reports.
    pub fn new(settings: CollectorSettings) -> Collector {
        Collector {
            protocol: "",
            identity: Identity::new(&settings.identity),
            batch: Batch::new(settings.node.clone()),
            sets: Sets::new(settings.sets),
            settings,
            invalid: BTreeMap::new(),
            now_ms: 0,
            wrong_times: 0,
            skipped: 0,
            request: None,
        }
    }

    /// Begins a request.
    pub fn begin_request(&mut self, limits: RequestLimits) {
        self.request = Some(OpenRequest {
            limits,
            content: 0,
            is_over: false,
            unreported: Unreported::default(),
        });
    }

    /// Ends the request. Returns what was not reported.
    pub fn end_request(&mut self) -> Unreported {
        let request = self.request.take();
        request.map_or(Unreported::default(), |request| request.unreported)
    }

    /// Checks that a request may have so many more bytes.
    fn check_request(
        &mut self,
        bytes: usize,
        attributes: &[Attribute<'_>],
    ) -> Result<(), &'static str> {
        let Some(request) = &mut self.request else {
            return Ok(());
        };
        let reports = self.batch.bytes();
        let of = |attribute: &Attribute<'_>| attribute.name.len() + attribute.value.len();
        let bytes = bytes + attributes.iter().map(of).sum::<usize>();
        request.content = request.content.saturating_add(bytes);
        request.is_over |=
            request.content > request.limits.content || reports > request.limits.reports;
        match request.is_over {
            true => Err(TOO_MUCH),
            false => Ok(()),
        }
    }

    fn unreported(&mut self, reason: &'static str, input: &[u8]) {
        if let Some(request) = &mut self.request {
            request.unreported.count += 1;
            request.unreported.reason.get_or_insert(reason);
        }
        self.invalid(reason, input);
    }

    /// Changes the settings of what is passed on from now. If names may change, `send` takes all reports before, those of
    /// sets included.
    pub fn configure(&mut self, settings: CollectorSettings, send: impl FnOnce(&mut Collector)) {
        let is_same = self.settings.node == settings.node
            && self.settings.identity == settings.identity
            && self.settings.sets == settings.sets;
        if !is_same {
            self.flush_sets();
            send(self);
            self.identity = Identity::new(&settings.identity);
            self.batch = Batch::new(settings.node.clone());
            self.sets = Sets::new(settings.sets);
            self.advance(self.now_ms);
        }
        self.settings = settings;
    }

    /// Sets the protocol of what is passed on from now.
    pub fn set_protocol(&mut self, protocol: &'static str) {
        self.protocol = protocol;
    }

    /// Passes the time, Unix milliseconds: call it about once a second. Reports the sets whose interval has ended.
    pub fn advance(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.identity.advance(now_ms);
        let batch = &mut self.batch;
        self.sets.advance(now_ms, |set| {
            batch.sample(set.protocol, &set.series, gauge(set.members), None);
        });
    }

    /// Reports the sets before their interval has ended, for the end of the program.
    pub fn flush_sets(&mut self) {
        let batch = &mut self.batch;
        self.sets.flush(|set| {
            batch.sample(set.protocol, &set.series, gauge(set.members), None);
        });
    }

    /// Returns the number of reports, each one command.
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// Returns whether there are no reports.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Returns the memory that the reports take, bytes.
    pub fn bytes(&self) -> usize {
        self.batch.bytes()
    }

    /// Removes all reports, and returns them in the order in which they are to be sent.
    pub fn take(&mut self) -> Vec<BatchedReport> {
        self.batch.take()
    }

    /// Returns what was not used, by protocol and reason.
    pub fn invalid_input(&self) -> impl Iterator<Item = (&'static str, &'static str, &Invalid)> {
        let invalid = self.invalid.iter();
        invalid.map(|((protocol, reason), invalid)| (*protocol, *reason, invalid))
    }

    /// Removes and returns what was not used, by protocol and reason.
    pub fn take_invalid(&mut self) -> BTreeMap<(&'static str, &'static str), Invalid> {
        std::mem::take(&mut self.invalid)
    }

    /// Removes and returns the number of log records whose time the server would reject: they have the time of the server.
    pub fn take_wrong_times(&mut self) -> u64 {
        std::mem::take(&mut self.wrong_times)
    }

    /// Removes and returns the number of values that are no samples.
    pub fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    /// Returns the table of series.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns the sets.
    pub fn sets(&self) -> &Sets {
        &self.sets
    }

    /// Returns the time of a log record, or none if the server would reject it: a record of a sender whose clock is wrong
    /// is not lost. A sample with a wrong time is, because it would be a wrong value of now.
    fn time_of_record(&mut self, at: i64) -> Option<i64> {
        let now_ms = i64::try_from(self.now_ms).unwrap_or(i64::MAX);
        let is_ahead = now_ms != 0 && at.saturating_sub(now_ms) > MAX_AHEAD_MS;
        if is_ahead || at < LEAST_TIME_MS {
            self.wrong_times += 1;
            return None;
        }
        Some(at)
    }

    /// Resolves the series of a sample, and adds it. An error is the reason why it is not reported.
    fn add(&mut self, sample: &Sample<'_>) -> Result<(), &'static str> {
        check(&sample.value)?;
        self.check_request(sample.name.len(), sample.attributes)?;
        let series = self
            .identity
            .resolve(&sample.name, sample.attributes, sample.unit)
            .map_err(|reason| reason.as_str())?;
        let (sample_type, value) = match sample.value {
            SampleValue::Abs(value) => (SampleType::Abs, value),
            SampleValue::Add(value) => (SampleType::Add, value),
            SampleValue::Inc(value) => (SampleType::Inc, value),
            // Totals of several counters that alternate look like restarts.
            SampleValue::Diff(_) if series.id.is_other => {
                return Err("too many instances of a counter");
            }
            SampleValue::Diff(value) => (SampleType::Diff, value),
            SampleValue::Hist { value, times } => {
                let value = BatchedValue {
                    sample_type: SampleType::Abs,
                    hist: true,
                    value,
                    times,
                };
                self.batch.sample(self.protocol, &series, value, sample.at);
                return Ok(());
            }
            SampleValue::Distribution(distribution) => {
                self.batch
                    .distribution(self.protocol, &series, &distribution, sample.at);
                return Ok(());
            }
            SampleValue::Member(member) => {
                let added = self.sets.add(self.protocol, &series, member);
                return added.map_err(|_| "too many sets");
            }
        };
        let value = BatchedValue {
            sample_type,
            hist: false,
            value,
            times: 1,
        };
        self.batch.sample(self.protocol, &series, value, sample.at);
        Ok(())
    }
}

/// A value of a gauge.
fn gauge(value: u64) -> BatchedValue {
    BatchedValue {
        sample_type: SampleType::Abs,
        hist: false,
        value: Number::Int(value),
        times: 1,
    }
}

/// Checks what the server would reject. In AGG.HIST one invalid value would lose all.
fn check(value: &SampleValue<'_>) -> Result<(), &'static str> {
    let finite = |value: &Number| match value.to_f64().is_finite() {
        true => Ok(()),
        false => Err("a value that is not finite"),
    };
    let times = |times: u64| match (1..=MAX_TIMES).contains(&times) {
        true => Ok(()),
        false => Err("a number of occurrences out of range"),
    };
    match value {
        SampleValue::Abs(value) | SampleValue::Add(value) => finite(value),
        SampleValue::Diff(value) | SampleValue::Inc(value) => {
            finite(value)?;
            match value.to_f64() < 0.0 {
                true => Err("a negative value of a counter"),
                false => Ok(()),
            }
        }
        SampleValue::Hist { value, times: n } => finite(value).and_then(|()| times(*n)),
        SampleValue::Distribution(distribution) => {
            let Distribution {
                sum,
                min,
                max,
                values,
            } = distribution;
            if values.is_empty() || values.len() > MAX_VALUES {
                return Err("a number of buckets out of range");
            }
            let totals = [sum, min, max].into_iter().flatten().copied();
            for value in totals.chain(values.iter().map(|(value, _)| *value)) {
                finite(&Number::Float(value))?;
            }
            values.iter().try_for_each(|(_, n)| times(*n))?;
            match (min, max) {
                (Some(min), Some(max)) if min > max => Err("a minimum above the maximum"),
                _ => Ok(()),
            }
        }
        SampleValue::Member(_) => Ok(()),
    }
}

impl Receiver for Collector {
    fn sample(&mut self, sample: &Sample<'_>) {
        if let Err(reason) = self.add(sample) {
            self.unreported(reason, sample.name.as_bytes());
        }
    }

    fn log(&mut self, record: &LogRecord<'_>) {
        if let Err(reason) = self.check_request(record.message.len(), record.attributes) {
            return self.unreported(reason, record.message.as_bytes());
        }
        let entry = BatchedEntry {
            message: Arc::from(&*record.message),
            level: record.level,
            tags: Arc::from(self.identity.tags(record.attributes)),
            at: record.at.and_then(|at| self.time_of_record(at)),
        };
        self.batch.log(self.protocol, entry.clone());
        let errors_from = self.settings.errors_from;
        if errors_from.is_some_and(|level| record.level >= level) {
            let key = (self.settings.error_key)(&record.message);
            self.batch.error(self.protocol, entry, &key);
        }
    }

    fn object(&mut self, object: &ObjectReport<'_>) {
        if object.key.is_empty() {
            return self.unreported("an empty key", object.json.as_bytes());
        }
        if let Err(reason) = self.check_request(object.json.len(), object.attributes) {
            return self.unreported(reason, object.json.as_bytes());
        }
        let tags = self.identity.tags(object.attributes);
        let (key, json) = (&*object.key, &*object.json);
        self.batch
            .object(self.protocol, key, object.model, json, tags);
    }

    fn invalid(&mut self, reason: &'static str, input: &[u8]) {
        let reason = (self.protocol, reason);
        let invalid = self.invalid.entry(reason).or_default();
        invalid.count += 1;
        write_example(&mut invalid.example, input);
    }

    fn takes_more(&self) -> bool {
        self.request.as_ref().is_none_or(|request| !request.is_over)
    }

    fn skipped(&mut self, count: u64) {
        self.skipped += count;
    }
}

/// Writes the beginning of an input; what is not printable is escaped as in Rust.
fn write_example(example: &mut String, input: &[u8]) {
    example.clear();
    let shown = input.get(..MAX_EXAMPLE).unwrap_or(input);
    for chunk in shown.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c.is_control() {
                true => example.extend(c.escape_default()),
                false => example.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(example, "\\x{byte:02x}");
        }
    }
    let mut len = example.len().min(MAX_EXAMPLE);
    while !example.is_char_boundary(len) {
        len -= 1;
    }
    example.truncate(len);
}

#[cfg(test)]
mod tests;
