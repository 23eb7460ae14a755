//! A window as metrics of OTLP.
//!
//! # Invariants
//!
//! - `NAME.avg`, `.min`, `.max`, `.last` and the percentiles, such as `NAME.p99_9`, are gauges; `NAME.sum` and `NAME.count` are
//!   sums of the window alone (delta temporality); `NAME.hist` is an exponential histogram of the window alone.
//! - Two windows that differ in node, metric, length or time never have a point of the same metric, attributes and time.
//! - The buckets of histograms are those of the record: both have inclusive upper bounds and the same indexes.
//!
//! Source: <https://github.com/open-telemetry/opentelemetry-proto>, package `metrics.v1`.

use crate::protobuf;
use crate::record::{Buckets, Histogram, Window};

use super::item::{CONTENT, attribute, nanoseconds, tag_name};

/// The attributes besides the tags.
const INSTANCE: &str = "instance";
const WINDOW: &str = "window";
/// The tag that becomes the unit of the metrics, and no attribute.
const UNIT: &str = "unit";

/// The fields of a metric.
const NAME: u64 = 1;
const UNIT_FIELD: u64 = 3;
const GAUGE: u64 = 5;
const SUM: u64 = 7;
const EXPONENTIAL_HISTOGRAM: u64 = 10;
/// The fields of gauges, sums and histograms.
const POINTS: u64 = 1;
const TEMPORALITY: u64 = 2;
const DELTA: u64 = 1;
const IS_MONOTONIC: u64 = 3;
/// The fields of a point.
const ATTRIBUTES: u64 = 7;
const ATTRIBUTES_OF_HISTOGRAM: u64 = 1;
const START: u64 = 2;
const TIME: u64 = 3;

/// Returns the metrics of a window as fields of a scope.
///
/// # Errors
///
/// Returns the reason if OTLP cannot express the window.
pub fn encode(window: &Window<'_>) -> Result<Vec<u8>, String> {
    let (name, instance) = window.measurement_and_instance();
    let is_counter = matches!(&*window.kind, "DIFF" | "INC");
    let unit = window.tags.get(UNIT).unwrap_or_default();
    // The values of a counter are rates.
    let unit_of_values = match is_counter && !unit.is_empty() {
        true => format!("{unit}/s"),
        false => unit.to_owned(),
    };
    let mut times = Vec::with_capacity(18);
    protobuf::fixed64(&mut times, START, nanoseconds(window.start)?);
    protobuf::fixed64(&mut times, TIME, nanoseconds(window.end)?);
    let length = format!("{}s", window.seconds);
    let attributes = |field: u64| {
        let mut out = Vec::with_capacity(128);
        if !instance.is_empty() {
            attribute(&mut out, field, INSTANCE, instance);
        }
        attribute(&mut out, field, WINDOW, &length);
        for (tag, value) in window.tags.iter().filter(|(tag, _)| *tag != UNIT) {
            attribute(&mut out, field, &tag_name(tag, &[INSTANCE, WINDOW]), value);
        }
        out
    };
    let mut point_start = attributes(ATTRIBUTES);
    point_start.extend_from_slice(&times);

    let mut out = Vec::with_capacity(10 * (point_start.len() + name.len() + 48));
    let mut metric = |suffix: &str, unit: &str, kind: u64, data: &[u8]| {
        let mut metric = Vec::with_capacity(name.len() + suffix.len() + data.len() + 32);
        protobuf::bytes(&mut metric, NAME, format!("{name}.{suffix}").as_bytes());
        if !unit.is_empty() {
            protobuf::bytes(&mut metric, UNIT_FIELD, unit.as_bytes());
        }
        protobuf::bytes(&mut metric, kind, data);
        protobuf::bytes(&mut out, CONTENT, &metric);
    };
    let point = |value: Number| {
        let mut point = Vec::with_capacity(point_start.len() + 10);
        point.extend_from_slice(&point_start);
        match value {
            Number::Double(value) => protobuf::double(&mut point, 4, value),
            Number::Integer(value) => protobuf::fixed64(&mut point, 6, value as u64),
        }
        let mut data = Vec::with_capacity(point.len() + 8);
        protobuf::bytes(&mut data, POINTS, &point);
        data
    };
    let values = [
        ("avg", window.avg),
        ("min", window.min),
        ("max", window.max),
        ("last", window.last),
    ];
    let percentiles = window.percentiles.iter();
    let percentiles = percentiles.map(|(name, value)| (&**name, *value));
    for (suffix, value) in values.into_iter().chain(percentiles) {
        metric(
            suffix,
            &unit_of_values,
            GAUGE,
            &point(Number::Double(value)),
        );
    }
    // The increase of an INC metric may be negative, and so may the sum of values.
    let count = i64::try_from(window.count).map_err(|_| "the count is too large")?;
    let is_sum_monotonic = &*window.kind == "DIFF";
    for (suffix, unit, value, is_monotonic) in [
        ("sum", unit, Number::Double(window.sum), is_sum_monotonic),
        ("count", "{sample}", Number::Integer(count), true),
    ] {
        let mut data = point(value);
        protobuf::integer(&mut data, TEMPORALITY, DELTA);
        protobuf::integer(&mut data, IS_MONOTONIC, is_monotonic.into());
        metric(suffix, unit, SUM, &data);
    }
    if let Some(histogram) = &window.histogram {
        let mut start = attributes(ATTRIBUTES_OF_HISTOGRAM);
        start.extend_from_slice(&times);
        let point = histogram_point(start, histogram, window, is_counter)?;
        let mut data = Vec::with_capacity(point.len() + 8);
        protobuf::bytes(&mut data, POINTS, &point);
        protobuf::integer(&mut data, TEMPORALITY, DELTA);
        metric("hist", &unit_of_values, EXPONENTIAL_HISTOGRAM, &data);
    }
    Ok(out)
}

/// The value of a point.
#[derive(Clone, Copy)]
enum Number {
    Double(f64),
    Integer(i64),
}

fn histogram_point(
    mut out: Vec<u8>,
    histogram: &Histogram<'_>,
    window: &Window<'_>,
    is_counter: bool,
) -> Result<Vec<u8>, String> {
    let counts = [&histogram.positive, &histogram.negative].map(|buckets| buckets.counts.iter());
    let count = counts
        .into_iter()
        .flatten()
        .try_fold(histogram.zero, |sum, count| sum.checked_add(*count));
    let count = count.ok_or("the counts of the histogram are too large")?;
    protobuf::fixed64(&mut out, 4, count);
    // The histogram of a counter is of rates, whose sum the record does not have.
    if !is_counter {
        protobuf::double(&mut out, 5, window.sum);
    }
    protobuf::integer(&mut out, 6, protobuf::zigzag(histogram.scale.into()));
    protobuf::fixed64(&mut out, 7, histogram.zero);
    for (field, buckets) in [(8, &histogram.positive), (9, &histogram.negative)] {
        if !buckets.counts.is_empty() {
            protobuf::bytes(&mut out, field, &encode_buckets(buckets));
        }
    }
    if count > 0 {
        protobuf::double(&mut out, 12, window.min);
        protobuf::double(&mut out, 13, window.max);
    }
    Ok(out)
}

fn encode_buckets(buckets: &Buckets) -> Vec<u8> {
    let mut packed = Vec::with_capacity(2 * buckets.counts.len());
    for count in &buckets.counts {
        protobuf::varint(&mut packed, *count);
    }
    let mut out = Vec::with_capacity(packed.len() + 12);
    protobuf::integer(&mut out, 1, protobuf::zigzag(buckets.offset.into()));
    protobuf::bytes(&mut out, 2, &packed);
    out
}

#[cfg(test)]
mod tests;
