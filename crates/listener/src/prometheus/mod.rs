//! Prometheus's text format 0.0.4 (<https://prometheus.io/docs/instrumenting/exposition_formats/>), with the quoted names
//! of Prometheus 3, and OpenMetrics 1.0 (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
//!
//! | type | reported as |
//! | --- | --- |
//! | counter | the total of a counter |
//! | gauge, untyped, unknown, info, stateset | the value of a gauge |
//! | summary | quantiles: gauges with the attribute `quantile`; `_count`, `_sum`: totals of counters |
//! | histogram | what was added since the previous scrape: a distribution; `_count`, `_sum`: totals of counters |
//! | gaugehistogram | its values: a distribution; `_gcount`, `_gsum`: gauges |
//!
//! Values that are not a number mean that there is no value, and are skipped. Times of creation are skipped, except
//! that those of histograms show resets. Descriptions and exemplars are ignored.
//!
//! # Invariants
//!
//! An invalid line does not affect others. A histogram is only compared if it is complete: without its last bucket it
//! is invalid, and is compared at the next scrape.

mod family;
mod file_sd;
mod groups;
mod histogram;
mod line;
mod output;
mod scrape;
mod state;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use aggregator_protocol::number::Number;

use crate::report::{Attribute, Receiver, Sample, SampleValue};

use family::{Comment, Described, Families, Role};
use groups::Groups;
use line::{Line, Value};

use line::remove_bound;
use output::Output;

pub use file_sd::{FileSdError, TargetGroup, targets};
pub use scrape::{Format, Scrape, Summary};
pub use state::{Limits, State};

/// Parses the answer to a scrape. `state` has the histograms of the target's previous scrape.
pub fn parse(
    body: &[u8],
    scrape: &Scrape<'_>,
    state: &mut State,
    receiver: &mut impl Receiver,
) -> Summary {
    let text = String::from_utf8_lossy(body);
    let mut parser = Parser {
        scrape,
        families: Families::default(),
        groups: Groups::default(),
        labels: Vec::new(),
        output: Output {
            summary: Summary::default(),
            receiver,
        },
    };
    let mut lines = text.split_inclusive('\n');
    let is_ended = lines.any(|line| parser.line(line) == Comment::End);
    parser.output.summary.is_complete = is_ended || scrape.format == Format::Text;
    if !parser.output.summary.is_complete {
        parser.output.invalid("no # EOF", "");
    }
    for line in lines.filter(|line| !line.trim_ascii().is_empty()) {
        parser.output.invalid("text after # EOF", line);
    }
    let Parser { groups, output, .. } = &mut parser;
    groups.finish(scrape, state, output);
    parser.output.summary
}

struct Parser<'t, 'r, R> {
    scrape: &'t Scrape<'t>,
    families: Families<'t>,
    groups: Groups<'t>,
    /// The labels of the current sample.
    labels: Vec<Attribute<'t>>,
    output: Output<'r, R>,
}

impl<'t, R: Receiver> Parser<'t, '_, R> {
    fn line(&mut self, whole: &'t str) -> Comment {
        let line = whole.trim_matches([' ', '\t', '\r', '\n']);
        let is_open_metrics = self.scrape.format == Format::OpenMetrics;
        let result = match line.as_bytes().first() {
            None => return Comment::Text,
            Some(b'#') => match self.families.comment(line) {
                // Only in OpenMetrics it has a meaning.
                Ok(comment) if is_open_metrics => return comment,
                result => result.map(|_| ()),
            },
            // The end of a number may be missing.
            Some(_) if is_open_metrics && !whole.ends_with('\n') => Err("a line without an end"),
            Some(_) => self.sample(line),
        };
        if let Err(reason) = result {
            self.output.invalid(reason, line);
        }
        Comment::Text
    }

    fn sample(&mut self, text: &'t str) -> Result<(), &'static str> {
        let line = line::sample(text, self.scrape.format, &mut self.labels)?;
        let described = self.families.describe(&line.name)?;
        let value = match (described.role, line.value) {
            (Role::Created, _) => {
                self.output.summary.skipped_created += 1;
                return Ok(());
            }
            (_, Value::NotANumber) => {
                self.output.summary.skipped_nan += 1;
                return Ok(());
            }
            (_, Value::Infinite) => return Err("an infinite value"),
            (_, Value::Number(value)) => value,
        };
        match described.role {
            Role::Bucket | Role::GaugeBucket => self.bucket(text, &line, described, value),
            Role::HistogramCreated => {
                self.output.summary.skipped_created += 1;
                let group = self.groups.of(text, &line, described, &mut self.labels);
                group.totals.created = Some(value.to_f64());
                Ok(())
            }
            Role::HistogramCount => {
                let group = self.groups.of(text, &line, described, &mut self.labels);
                group.count = count(value);
                self.counter(&line, described, value)
            }
            Role::HistogramSum => {
                let group = self.groups.of(text, &line, described, &mut self.labels);
                group.totals.sum = Some(value.to_f64());
                self.counter(&line, described, value)
            }
            Role::GaugeSum => {
                let group = self.groups.of(text, &line, described, &mut self.labels);
                group.totals.sum = Some(value.to_f64());
                self.pass_on(&line, described, SampleValue::Abs(value));
                Ok(())
            }
            Role::Counter => self.counter(&line, described, value),
            Role::Gauge | Role::Created => {
                self.pass_on(&line, described, SampleValue::Abs(value));
                Ok(())
            }
        }
    }

    fn bucket(
        &mut self,
        text: &'t str,
        line: &Line<'t>,
        described: Described<'t>,
        value: Number,
    ) -> Result<(), &'static str> {
        let n = count(value).ok_or("an invalid number of values")?;
        let bound = remove_bound(&mut self.labels).ok_or("a bucket without le")?;
        let bound = match line::value(&bound) {
            Some(Value::Number(bound)) => bound.to_f64(),
            Some(Value::Infinite) if !bound.starts_with('-') => f64::INFINITY,
            _ => return Err("an invalid le"),
        };
        let group = self.groups.of(text, line, described, &mut self.labels);
        group.is_gauge = described.role == Role::GaugeBucket;
        group.add_bucket(bound, n)
    }

    fn counter(
        &mut self,
        line: &Line<'t>,
        described: Described<'t>,
        value: Number,
    ) -> Result<(), &'static str> {
        if value.to_f64() < 0.0 {
            return Err("a negative value of a counter");
        }
        self.pass_on(line, described, SampleValue::Diff(value));
        Ok(())
    }

    fn pass_on(&mut self, line: &Line<'t>, described: Described<'t>, value: SampleValue<'_>) {
        self.scrape.complete(&mut self.labels);
        self.output.sample(&Sample {
            name: Cow::Borrowed(&line.name),
            attributes: &self.labels,
            unit: described.unit,
            at: self.scrape.time(line),
            value,
        });
    }
}

impl<'a> Scrape<'a> {
    /// Adds the labels of the target to those of a sample.
    fn complete(&self, labels: &mut Vec<Attribute<'a>>) {
        let own = labels.len();
        for of_target in self.labels {
            let mut same = labels.iter_mut().take(own);
            let same = same.find(|label| label.name == of_target.name);
            match same {
                Some(_) if self.honor_labels => continue,
                Some(label) => label.name = format!("exported_{}", label.name).into(),
                None => {}
            }
            labels.push(Attribute::new(&of_target.name, &of_target.value));
        }
    }

    fn time(&self, line: &Line<'_>) -> Option<i64> {
        line.time.filter(|_| self.honor_timestamps)
    }
}

/// Returns a number of values. Those of some clients have decimals, which count once they are a whole value.
fn count(value: Number) -> Option<u64> {
    const END: f64 = (1u128 << 64) as f64;
    match value {
        Number::Int(n) => Some(n),
        Number::Float(n) => (0.0..END).contains(&n).then_some(n as u64),
    }
}
