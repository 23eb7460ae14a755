//! Metrics: walks through a request, and passes on each data point.

use std::borrow::Cow;

use aggregator_protocol::number::Number;

use super::points::{Attributes, Buffers, NumberPoint, Summary};
use super::text::text;
use super::wire::{Fields, Value, messages};
use super::{Encoding, Malformed, Outcome, State, buckets, checked, millis, resource, schema};
use crate::otlp::cumulative::{Difference, Report};
use crate::report::{Attribute, Distribution, Receiver, Sample, SampleValue, TOO_MUCH};

/// Passes on the data points of an `ExportMetricsServiceRequest`. Its body is not compressed.
///
/// # Errors
/// The request cannot be read. Nothing of it is passed on.
pub fn metrics(
    body: &[u8],
    encoding: Encoding,
    state: &mut State,
    receiver: &mut impl Receiver,
) -> Result<Outcome, Malformed> {
    let body = checked(&schema::METRICS_REQUEST, body, encoding, receiver)?;
    let mut outcome = Outcome::default();
    let mut buffers = Buffers::default();
    for resource_metrics in messages(&body, 1) {
        let mut attributes = Vec::new();
        resource::enter(
            resource_metrics,
            &mut state.resources,
            &mut attributes,
            receiver,
        );
        let mut walk = Walk {
            state,
            receiver,
            outcome: &mut outcome,
            buffers: &mut buffers,
            attributes: Attributes::new(attributes),
        };
        for scope in messages(resource_metrics, 2) {
            for metric in messages(scope, 2) {
                walk.metric(metric);
            }
        }
    }
    outcome.changes = state.take_changes();
    Ok(outcome)
}

/// The properties that the points of a metric share.
struct Metric<'a> {
    name: Cow<'a, str>,
    unit: Cow<'a, str>,
}

/// The temporality of sums and histograms.
#[derive(Clone, Copy, PartialEq)]
enum Temporality {
    Delta,
    Cumulative,
}

fn temporality(data: &[u8]) -> Result<Temporality, &'static str> {
    let last = Fields::new(data).filter(|field| field.0 == 2).last();
    match last.map_or(0, |(_, value)| value.bits()) {
        1 => Ok(Temporality::Delta),
        2 => Ok(Temporality::Cumulative),
        _ => Err("an unknown temporality"),
    }
}

fn is_monotonic(data: &[u8]) -> bool {
    let last = Fields::new(data).filter(|field| field.0 == 3).last();
    last.is_some_and(|(_, value)| value.bits() != 0)
}

struct Walk<'w, 'a, R> {
    state: &'w mut State,
    receiver: &'w mut R,
    outcome: &'w mut Outcome,
    buffers: &'w mut Buffers,
    attributes: Attributes<'a>,
}

impl<'a, R: Receiver> Walk<'_, 'a, R> {
    fn metric(&mut self, message: &'a [u8]) {
        let (mut name, mut unit) = (&[][..], &[][..]);
        for (number, value) in Fields::new(message) {
            match number {
                1 => name = value.bytes(),
                3 => unit = value.bytes(),
                _ => {}
            }
        }
        let metric = Metric {
            name: text(name),
            unit: text(if unit == b"1" { b"" } else { unit }),
        };
        // The data is a oneof, so there is one.
        for (number, value) in Fields::new(message).filter(|field| field.0 >= 5) {
            self.data(&metric, number, value);
        }
    }

    fn data(&mut self, metric: &Metric<'_>, number: u32, value: Value<'a>) {
        let data = value.bytes();
        if !matches!(number, 5 | 7 | 9 | 10 | 11) {
            return;
        }
        let temporality = match number {
            7 | 9 | 10 => temporality(data),
            _ => Ok(Temporality::Delta),
        };
        let is_monotonic = number == 7 && is_monotonic(data);
        for point in messages(data, 1) {
            let result = match (number, temporality) {
                _ if !self.receiver.takes_more() => Err(TOO_MUCH),
                _ if metric.name.is_empty() => Err("an empty name"),
                (_, Err(reason)) => Err(reason),
                (5, _) => self.number(metric, point, false, SampleValue::Abs),
                (7, Ok(temporality)) => {
                    let value = match (temporality, is_monotonic) {
                        (Temporality::Cumulative, true) => SampleValue::Diff,
                        (Temporality::Cumulative, false) => SampleValue::Abs,
                        (Temporality::Delta, true) => SampleValue::Inc,
                        (Temporality::Delta, false) => SampleValue::Add,
                    };
                    self.number(metric, point, is_monotonic, value)
                }
                (11, _) => self.summary(metric, point),
                (_, Ok(temporality)) => self.histogram(metric, point, temporality, number == 10),
            };
            match result {
                Ok(()) => self.outcome.accepted += 1,
                Err(reason) => {
                    self.outcome.reject(reason);
                    self.receiver.invalid(reason, metric.name.as_bytes());
                }
            }
        }
    }

    fn number(
        &mut self,
        metric: &Metric<'_>,
        message: &'a [u8],
        is_monotonic: bool,
        value: fn(Number) -> SampleValue<'static>,
    ) -> Result<(), &'static str> {
        let point = NumberPoint::read(message, &mut self.attributes)?;
        if point.is_missing {
            return Ok(());
        }
        let number = point.number()?;
        if is_monotonic && number.to_f64() < 0.0 {
            return Err("a negative counter");
        }
        let value = value(number);
        if matches!(value, SampleValue::Diff(_)) {
            self.begin_counter(&metric.name, &metric.unit, point.start, point.time);
        }
        self.receiver.sample(&Sample {
            name: Cow::Borrowed(&metric.name),
            attributes: self.attributes.get(),
            unit: &metric.unit,
            at: millis(point.time),
            value,
        });
        Ok(())
    }

    /// Passes on that a cumulative counter was 0 at its start, before its first total. To the server the first total only
    /// begins a counter, so a process that exports once would count nothing. Repeated, this changes nothing: the server
    /// ignores a total that is older than the last one.
    fn begin_counter(&mut self, name: &str, unit: &str, start: u64, time: u64) {
        let counters = &mut self.state.counters;
        let attributes = self.attributes.get();
        let key = counters.key(name, attributes, start);
        if counters.begins(key, start, time) {
            self.receiver.sample(&Sample {
                name: Cow::Borrowed(name),
                attributes,
                unit,
                at: millis(start),
                value: SampleValue::Diff(Number::Int(0)),
            });
        }
    }

    fn histogram(
        &mut self,
        metric: &Metric<'_>,
        message: &'a [u8],
        temporality: Temporality,
        is_exponential: bool,
    ) -> Result<(), &'static str> {
        let (point, attributes) = (&mut self.buffers.point, &mut self.attributes);
        attributes.begin();
        let add = |key_value| attributes.add(key_value);
        if is_exponential {
            point.read_exponential(message, add)?;
        } else {
            point.read(message, add)?;
        }
        attributes.check()?;
        if point.is_missing {
            return Ok(());
        }
        let cumulative = &mut self.state.cumulative;
        let layout = if is_exponential {
            point.exponential_layout()?
        } else {
            point.layout(cumulative)?
        };
        let difference = match temporality {
            Temporality::Delta => Difference::All,
            Temporality::Cumulative => {
                let key = cumulative.key(&metric.name, attributes.get(), point.start);
                let report = Report {
                    start: point.start,
                    time: point.time,
                    sum: point.sum,
                    layout,
                    counts: &point.counts,
                };
                cumulative.difference(key, report, &mut self.buffers.part)
            }
        };
        let (layout, counts, sum) = match difference {
            Difference::Nothing => return Ok(()),
            Difference::OtherBuckets => return Err("other buckets than before"),
            Difference::All => (layout, &point.counts, point.sum),
            Difference::Part(layout, sum) => (layout, &self.buffers.part, sum),
        };
        let range = buckets::Range {
            min: point.min,
            max: point.max,
            is_exact: difference == Difference::All,
        };
        let values = &mut self.buffers.values;
        values.clear();
        buckets::values(layout, counts, &point.bounds, sum, &range, values)?;
        if values.is_empty() {
            return Ok(());
        }
        self.receiver.sample(&Sample {
            name: Cow::Borrowed(&metric.name),
            attributes: self.attributes.get(),
            unit: &metric.unit,
            at: millis(point.time),
            value: SampleValue::Distribution(Distribution {
                sum: sum.map(|v| v + 0.0),
                min: range.exact(range.min).map(|v| v + 0.0),
                max: range.exact(range.max).map(|v| v + 0.0),
                values,
            }),
        });
        Ok(())
    }

    fn summary(&mut self, metric: &Metric<'_>, message: &'a [u8]) -> Result<(), &'static str> {
        let summary = Summary::read(message, &mut self.attributes)?;
        if summary.is_missing {
            return Ok(());
        }
        let (count_name, sum_name) = (
            format!("{}.count", metric.name),
            format!("{}.sum", metric.name),
        );
        self.begin_counter(&count_name, "", summary.start, summary.time);
        if summary.sum.is_some() {
            self.begin_counter(&sum_name, &metric.unit, summary.start, summary.time);
        }
        let attributes = self.attributes.get();
        let mut pass = |name: &str, unit: &str, attributes: &[Attribute<'_>], value| {
            self.receiver.sample(&Sample {
                name: Cow::Borrowed(name),
                attributes,
                unit,
                at: millis(summary.time),
                value,
            });
        };
        let count = SampleValue::Diff(Number::Int(summary.count));
        pass(&count_name, "", attributes, count);
        if let Some(sum) = summary.sum {
            let sum = SampleValue::Diff(Number::Float(sum));
            pass(&sum_name, &metric.unit, attributes, sum);
        }
        let mut with_quantile = attributes.to_vec();
        with_quantile.push(Attribute::new("quantile", ""));
        for (quantile, value) in summary.quantiles() {
            if let Some(last) = with_quantile.last_mut() {
                last.value = Cow::Owned(quantile.to_string());
            }
            let value = SampleValue::Abs(Number::Float(value));
            pass(&metric.name, &metric.unit, &with_quantile, value);
        }
        Ok(())
    }
}
