//! A record as series of Prometheus, each with one sample.
//!
//! # Invariants
//!
//! - Two records that differ in node, metric, window length or time never have a sample of the same series and time: the
//!   metric determines the stem and the labels of its series, and back (prometheus_name.rs). To the stem exactly one suffix
//!   is added, or none together with the label `quantile`, which no tag can have. So the series `x_count` of a metric `x`
//!   differs from all series of a metric `x_count`.
//! - The labels of a series are sorted by name, each occurs once, and none is empty.

use crate::config::Timestamp;
use crate::prometheus_name::PrometheusName;
use crate::protobuf;
use crate::record::{Content, Record, Window};

use super::histogram;

/// The label of the name of a series.
const NAME: &str = "__name__";
/// The label of the rank of a percentile.
const QUANTILE: &str = "quantile";

/// The field of a request that has a series.
const SERIES: u64 = 1;
/// The fields of a series.
const LABEL: u64 = 1;
const SAMPLE: u64 = 2;
const HISTOGRAM: u64 = 4;

/// Which series a record becomes, and when.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// The time of the samples.
    pub timestamp: Timestamp,
    /// True if a histogram becomes a native histogram.
    pub native_histograms: bool,
}

/// A record as series.
#[derive(Debug)]
pub struct Parts {
    /// The time of its samples, ms since 1970.
    pub timestamp: i64,
    /// The series of the values.
    pub values: Vec<u8>,
    /// The series of the histogram. It is sent as a part of its own, since a server may accept the values and reject it.
    pub histogram: Option<Vec<u8>>,
}

/// Encodes a record.
///
/// # Errors
///
/// Returns the reason if the record has no series.
pub fn encode(record: &Record<'_>, format: Format) -> Result<Parts, String> {
    let Content::Window(window) = &record.content else {
        return Err("not a window: only records of MIN and HOUR have values".into());
    };
    let timestamp = match format.timestamp {
        Timestamp::Start => window.start,
        // The end belongs to the next window. A range such as [1h] at a full hour has the windows of this hour then, in
        // versions of Prometheus that include the beginning of a range and in those that do not.
        Timestamp::End => window.end.saturating_sub(1),
    };
    let series = Series::new(&record.node, window);
    let mut values = Vec::with_capacity(10 * (series.len() + 32));
    for (suffix, value) in [
        ("_avg", window.avg),
        ("_min", window.min),
        ("_max", window.max),
        ("_last", window.last),
        ("_sum", window.sum),
        ("_count", window.count as f64),
    ] {
        let sample = sample(value, timestamp);
        series.write(&mut values, suffix, None, (SAMPLE, &sample));
    }
    for (field, value) in &window.percentiles {
        let sample = sample(*value, timestamp);
        series.write(&mut values, "", Some(&quantile(field)), (SAMPLE, &sample));
    }
    let histogram = match &window.histogram {
        Some(histogram) if format.native_histograms => {
            let message = histogram::encode(histogram, sum_of_values(window), timestamp)?;
            let mut part = Vec::new();
            series.write(&mut part, "_hist", None, (HISTOGRAM, &message));
            Some(part)
        }
        _ => None,
    };
    Ok(Parts {
        timestamp,
        values,
        histogram,
    })
}

/// The stem of the series of a record and their common labels, encoded.
struct Series {
    stem: String,
    /// The labels before the name of the series.
    before_name: Vec<u8>,
    /// Those between it and the quantile.
    before_quantile: Vec<u8>,
    /// Those after the quantile.
    rest: Vec<u8>,
}

impl Series {
    fn new(node: &str, window: &Window) -> Series {
        let is_counter = matches!(&*window.kind, "DIFF" | "INC");
        let name = PrometheusName::new(window.metric.as_bytes(), window.tags.iter(), is_counter);
        let length = format!("{}s", window.seconds);
        let own = [("node", node), ("window", &*length)];
        let of_metric = name.labels.iter().map(|(name, value)| (&**name, &**value));
        let mut labels: Vec<(&str, &str)> = own.into_iter().chain(of_metric).collect();
        labels.retain(|(_, value)| !value.is_empty());
        labels.sort_unstable();
        let mut series = Series {
            stem: name.stem,
            before_name: Vec::new(),
            before_quantile: Vec::new(),
            rest: Vec::new(),
        };
        for (name, value) in labels {
            let part = match name {
                name if name < NAME => &mut series.before_name,
                name if name < QUANTILE => &mut series.before_quantile,
                _ => &mut series.rest,
            };
            label(part, name, value);
        }
        series
    }

    /// Returns about the number of bytes of a series.
    fn len(&self) -> usize {
        self.stem.len() + self.before_name.len() + self.before_quantile.len() + self.rest.len()
    }

    /// Appends a series with one sample or histogram, given as its field and message.
    fn write(
        &self,
        out: &mut Vec<u8>,
        suffix: &str,
        quantile: Option<&str>,
        (field, message): (u64, &[u8]),
    ) {
        let mut series = Vec::with_capacity(self.len() + message.len() + 64);
        series.extend_from_slice(&self.before_name);
        label(&mut series, NAME, &format!("{}{suffix}", self.stem));
        series.extend_from_slice(&self.before_quantile);
        if let Some(quantile) = quantile {
            label(&mut series, QUANTILE, quantile);
        }
        series.extend_from_slice(&self.rest);
        protobuf::bytes(&mut series, field, message);
        protobuf::bytes(out, SERIES, &series);
    }
}

fn label(out: &mut Vec<u8>, name: &str, value: &str) {
    let mut label = Vec::with_capacity(name.len() + value.len() + 8);
    protobuf::bytes(&mut label, 1, name.as_bytes());
    protobuf::bytes(&mut label, 2, value.as_bytes());
    protobuf::bytes(out, LABEL, &label);
}

fn sample(value: f64, timestamp: i64) -> Vec<u8> {
    let mut sample = Vec::with_capacity(20);
    protobuf::double(&mut sample, 1, value);
    protobuf::integer(&mut sample, 2, timestamp as u64);
    sample
}

/// Returns the sum of the values that a histogram counts, or "not a number" if the record does not have it: the
/// histogram of a DIFF or INC metric counts rates, whereas its sum is the increase.
fn sum_of_values(window: &Window) -> f64 {
    match &*window.kind {
        "DIFF" | "INC" => f64::NAN,
        _ => window.sum,
    }
}

/// Returns the quantile of a percentile, given as the name of its field: `0.999` of `p99_9`. It is computed with the
/// digits, so it is exact.
fn quantile(field: &str) -> String {
    let digits = field.trim_start_matches('p');
    let (whole, decimals) = digits.split_once('_').unwrap_or((digits, ""));
    let whole = format!("{whole:0>3}");
    let (ones, hundredths) = whole.split_at(whole.len() - 2);
    let ones = match ones.trim_start_matches('0') {
        "" => "0",
        ones => ones,
    };
    let decimals = format!("{hundredths}{decimals}");
    match decimals.trim_end_matches('0') {
        "" => ones.to_owned(),
        decimals => format!("{ones}.{decimals}"),
    }
}

#[cfg(test)]
mod tests;
