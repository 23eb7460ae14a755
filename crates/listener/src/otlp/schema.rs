//! The messages of OTLP that are read: their fields, for checking a request and for reading it from JSON.
//!
//! Fields that are not listed, such as exemplars, are skipped.
//!
//! Source: <https://github.com/open-telemetry/opentelemetry-proto>, packages `collector.metrics.v1`,
//! `collector.logs.v1`, `metrics.v1`, `logs.v1`, `resource.v1` and `common.v1`.

use super::wire::{Fields, Value, varint};

/// The type of a field.
#[derive(Clone, Copy)]
pub enum Kind {
    /// `string`
    Text,
    /// `bytes`, base64 in JSON.
    Bytes,
    /// `bytes`, hexadecimal in JSON.
    Hex,
    /// `bool`
    Bool,
    /// `int64` and `uint32`
    Int,
    /// `uint64`
    Uint,
    /// `sint32`
    Zigzag,
    /// `fixed64`
    Fixed64,
    /// `sfixed64`
    Sfixed64,
    /// `double`
    Double,
    /// An enumeration: numbers, and names beginning with a prefix. Numbers follow from the names' order.
    Enum(&'static str, &'static [&'static str]),
    /// A message.
    Message(&'static Message),
}

/// A field of a message.
pub struct Field {
    /// The number that identifies it.
    pub number: u32,
    /// The name in JSON.
    pub name: &'static str,
    /// The type.
    pub kind: Kind,
    /// True if it is `repeated`.
    pub is_repeated: bool,
}

/// A message.
pub struct Message {
    /// The fields.
    pub fields: &'static [Field],
}

const fn one(number: u32, name: &'static str, kind: Kind) -> Field {
    Field {
        number,
        name,
        kind,
        is_repeated: false,
    }
}

const fn many(number: u32, name: &'static str, kind: Kind) -> Field {
    Field {
        number,
        name,
        kind,
        is_repeated: true,
    }
}

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident: $($field:expr),+;)+) => {
        $($(#[$doc])* pub static $name: Message = Message { fields: &[$($field),+] };)+
    };
}

const TEMPORALITY: Kind = Kind::Enum(
    "AGGREGATION_TEMPORALITY_",
    &["UNSPECIFIED", "DELTA", "CUMULATIVE"],
);

const SEVERITY: Kind = Kind::Enum(
    "SEVERITY_NUMBER_",
    &[
        "UNSPECIFIED",
        "TRACE",
        "TRACE2",
        "TRACE3",
        "TRACE4",
        "DEBUG",
        "DEBUG2",
        "DEBUG3",
        "DEBUG4",
        "INFO",
        "INFO2",
        "INFO3",
        "INFO4",
        "WARN",
        "WARN2",
        "WARN3",
        "WARN4",
        "ERROR",
        "ERROR2",
        "ERROR3",
        "ERROR4",
        "FATAL",
        "FATAL2",
        "FATAL3",
        "FATAL4",
    ],
);

messages! {
    /// `ExportMetricsServiceRequest`
    METRICS_REQUEST: many(1, "resourceMetrics", Kind::Message(&RESOURCE_METRICS));
    /// `ResourceMetrics`
    RESOURCE_METRICS:
        one(1, "resource", Kind::Message(&RESOURCE)),
        many(2, "scopeMetrics", Kind::Message(&SCOPE_METRICS));
    /// `ScopeMetrics`
    SCOPE_METRICS: many(2, "metrics", Kind::Message(&METRIC));
    /// `Metric`
    METRIC:
        one(1, "name", Kind::Text),
        one(3, "unit", Kind::Text),
        one(5, "gauge", Kind::Message(&GAUGE)),
        one(7, "sum", Kind::Message(&SUM)),
        one(9, "histogram", Kind::Message(&HISTOGRAM)),
        one(10, "exponentialHistogram", Kind::Message(&EXPONENTIAL_HISTOGRAM)),
        one(11, "summary", Kind::Message(&SUMMARY));
    /// `Gauge`
    GAUGE: many(1, "dataPoints", Kind::Message(&NUMBER_POINT));
    /// `Sum`
    SUM:
        many(1, "dataPoints", Kind::Message(&NUMBER_POINT)),
        one(2, "aggregationTemporality", TEMPORALITY),
        one(3, "isMonotonic", Kind::Bool);
    /// `Histogram`
    HISTOGRAM:
        many(1, "dataPoints", Kind::Message(&HISTOGRAM_POINT)),
        one(2, "aggregationTemporality", TEMPORALITY);
    /// `ExponentialHistogram`
    EXPONENTIAL_HISTOGRAM:
        many(1, "dataPoints", Kind::Message(&EXPONENTIAL_POINT)),
        one(2, "aggregationTemporality", TEMPORALITY);
    /// `Summary`
    SUMMARY: many(1, "dataPoints", Kind::Message(&SUMMARY_POINT));
    /// `NumberDataPoint`
    NUMBER_POINT:
        many(7, "attributes", Kind::Message(&KEY_VALUE)),
        one(2, "startTimeUnixNano", Kind::Fixed64),
        one(3, "timeUnixNano", Kind::Fixed64),
        one(4, "asDouble", Kind::Double),
        one(6, "asInt", Kind::Sfixed64),
        one(8, "flags", Kind::Int);
    /// `HistogramDataPoint`
    HISTOGRAM_POINT:
        many(9, "attributes", Kind::Message(&KEY_VALUE)),
        one(2, "startTimeUnixNano", Kind::Fixed64),
        one(3, "timeUnixNano", Kind::Fixed64),
        one(4, "count", Kind::Fixed64),
        one(5, "sum", Kind::Double),
        many(6, "bucketCounts", Kind::Fixed64),
        many(7, "explicitBounds", Kind::Double),
        one(10, "flags", Kind::Int),
        one(11, "min", Kind::Double),
        one(12, "max", Kind::Double);
    /// `ExponentialHistogramDataPoint`
    EXPONENTIAL_POINT:
        many(1, "attributes", Kind::Message(&KEY_VALUE)),
        one(2, "startTimeUnixNano", Kind::Fixed64),
        one(3, "timeUnixNano", Kind::Fixed64),
        one(4, "count", Kind::Fixed64),
        one(5, "sum", Kind::Double),
        one(6, "scale", Kind::Zigzag),
        one(7, "zeroCount", Kind::Fixed64),
        one(8, "positive", Kind::Message(&BUCKETS)),
        one(9, "negative", Kind::Message(&BUCKETS)),
        one(10, "flags", Kind::Int),
        one(12, "min", Kind::Double),
        one(13, "max", Kind::Double),
        one(14, "zeroThreshold", Kind::Double);
    /// `ExponentialHistogramDataPoint.Buckets`
    BUCKETS: one(1, "offset", Kind::Zigzag), many(2, "bucketCounts", Kind::Uint);
    /// `SummaryDataPoint`
    SUMMARY_POINT:
        many(7, "attributes", Kind::Message(&KEY_VALUE)),
        one(2, "startTimeUnixNano", Kind::Fixed64),
        one(3, "timeUnixNano", Kind::Fixed64),
        one(4, "count", Kind::Fixed64),
        one(5, "sum", Kind::Double),
        many(6, "quantileValues", Kind::Message(&QUANTILE)),
        one(8, "flags", Kind::Int);
    /// `SummaryDataPoint.ValueAtQuantile`
    QUANTILE: one(1, "quantile", Kind::Double), one(2, "value", Kind::Double);
    /// `ExportLogsServiceRequest`
    LOGS_REQUEST: many(1, "resourceLogs", Kind::Message(&RESOURCE_LOGS));
    /// `ResourceLogs`
    RESOURCE_LOGS:
        one(1, "resource", Kind::Message(&RESOURCE)),
        many(2, "scopeLogs", Kind::Message(&SCOPE_LOGS));
    /// `ScopeLogs`
    SCOPE_LOGS: many(2, "logRecords", Kind::Message(&LOG_RECORD));
    /// `LogRecord`
    LOG_RECORD:
        one(1, "timeUnixNano", Kind::Fixed64),
        one(11, "observedTimeUnixNano", Kind::Fixed64),
        one(2, "severityNumber", SEVERITY),
        one(3, "severityText", Kind::Text),
        one(5, "body", Kind::Message(&ANY_VALUE)),
        many(6, "attributes", Kind::Message(&KEY_VALUE)),
        one(9, "traceId", Kind::Hex),
        one(10, "spanId", Kind::Hex),
        one(12, "eventName", Kind::Text);
    /// `Resource`
    RESOURCE: many(1, "attributes", Kind::Message(&KEY_VALUE));
    /// `KeyValue`
    KEY_VALUE: one(1, "key", Kind::Text), one(2, "value", Kind::Message(&ANY_VALUE));
    /// `AnyValue`
    ANY_VALUE:
        one(1, "stringValue", Kind::Text),
        one(2, "boolValue", Kind::Bool),
        one(3, "intValue", Kind::Int),
        one(4, "doubleValue", Kind::Double),
        one(5, "arrayValue", Kind::Message(&ARRAY)),
        one(6, "kvlistValue", Kind::Message(&KEY_VALUES)),
        one(7, "bytesValue", Kind::Bytes);
    /// `ArrayValue`
    ARRAY: many(1, "values", Kind::Message(&ANY_VALUE));
    /// `KeyValueList`
    KEY_VALUES: many(1, "values", Kind::Message(&KEY_VALUE));
}

/// The largest number of messages that contain each other.
const MAX_DEPTH: usize = 100;

/// Returns true if bytes are a message whose fields have their types, so that visiting them skips nothing.
pub fn is_valid(message: &'static Message, bytes: &[u8]) -> bool {
    let mut stack = vec![(message, Fields::new(bytes))];
    while let Some((message, fields)) = stack.last_mut() {
        let Some((number, value)) = fields.next() else {
            if !fields.rest().is_empty() {
                return false;
            }
            stack.pop();
            continue;
        };
        let Some(field) = message.fields.iter().find(|f| f.number == number) else {
            continue;
        };
        match (field.kind, value) {
            (Kind::Message(inner), Value::Bytes(bytes)) if stack.len() < MAX_DEPTH => {
                stack.push((inner, Fields::new(bytes)));
            }
            (kind, value) if is_valid_scalar(kind, field.is_repeated, value) => {}
            _ => return false,
        }
    }
    true
}

fn is_valid_scalar(kind: Kind, is_repeated: bool, value: Value<'_>) -> bool {
    match (kind, value) {
        (Kind::Text | Kind::Bytes | Kind::Hex, Value::Bytes(_)) => true,
        (Kind::Fixed64 | Kind::Sfixed64 | Kind::Double, Value::Fixed64(_)) => true,
        (Kind::Fixed64 | Kind::Double, Value::Bytes(b)) => is_repeated && b.len() % 8 == 0,
        (Kind::Uint, Value::Bytes(packed)) if is_repeated => is_packed_varints(packed),
        (Kind::Bool | Kind::Int | Kind::Uint | Kind::Zigzag | Kind::Enum(..), Value::Varint(_)) => {
            true
        }
        _ => false,
    }
}

fn is_packed_varints(mut packed: &[u8]) -> bool {
    while !packed.is_empty() {
        let Some((_, rest)) = varint(packed) else {
            return false;
        };
        packed = rest;
    }
    true
}
