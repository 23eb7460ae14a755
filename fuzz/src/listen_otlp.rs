//! Reads any bytes as requests of OTLP: metrics and logs, in Protocol Buffers and JSON.
//!
//! A request is malformed, and nothing of it is passed on, or each of its points and records is passed on or counted. What
//! the reference implementation reads is read, with as many points, and in JSON as in Protocol Buffers. A request that is
//! undone counts again, one that is repeated does not add to cumulative histograms. The memory is a multiple of the input,
//! and what is kept stays within its limits.

use agg_listener::otlp::{self, Encoding, Limits, Malformed, Outcome, Signal, State, grpc};
use agg_listener::report::{LogRecord, ObjectReport, Receiver, Sample, SampleValue};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::memory::measured;
use crate::received::{Ignored, Received, Report};

/// Separates requests.
const REQUEST: &[u8] = b"\x0b\x0b";
/// The bytes that are allocated per byte of input, at most: an attribute without a name and a value takes two bytes, and
/// a vector of attributes three times 48 while it grows.
const MEMORY_PER_BYTE: usize = 256;
/// The bytes that a state may take beyond those that it counts: two tables.
const STATE: usize = 64 << 10;
const LIMITS: Limits = Limits {
    series: 4,
    bytes: 4096,
};

/// Runs the target. The first byte selects the signal and the encoding.
pub fn run(data: &[u8]) {
    let Some((settings, bodies)) = data.split_first() else {
        return;
    };
    let signal = match settings & 1 {
        0 => Signal::Metrics,
        _ => Signal::Logs,
    };
    let encoding = match settings & 2 {
        0 => Encoding::Protobuf,
        _ => Encoding::Json,
    };
    check_framing(bodies);
    let mut state = State::new(Limits::default(), 0);
    for body in split(bodies) {
        check(signal, encoding, body, &mut state);
        if encoding == Encoding::Protobuf {
            compare(signal, body);
        }
    }
    check_memory(signal, encoding, bodies);
}

fn split(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut is_done = false;
    std::iter::from_fn(move || {
        let at = bytes.windows(REQUEST.len()).position(|two| two == REQUEST);
        let body = at.map_or(bytes, |at| &bytes[..at]);
        if std::mem::replace(&mut is_done, at.is_none()) {
            return None;
        }
        bytes = at.map_or(b"", |at| &bytes[at + REQUEST.len()..]);
        Some(body)
    })
}

fn read(
    signal: Signal,
    encoding: Encoding,
    body: &[u8],
    state: &mut State,
    receiver: &mut impl Receiver,
) -> Result<Outcome, Malformed> {
    match signal {
        Signal::Metrics => otlp::metrics(body, encoding, state, receiver),
        Signal::Logs => otlp::logs(body, encoding, state, receiver),
    }
}

/// Reads a request, undoes it, and reads it twice.
fn check(signal: Signal, encoding: Encoding, body: &[u8], state: &mut State) {
    let mut first = Otlp::default();
    let Ok(outcome) = read(signal, encoding, body, state, &mut first) else {
        assert_eq!(first.received.reports.len(), 1);
        assert!(matches!(first.received.reports[0], Report::Invalid(..)));
        return;
    };
    assert!(first.invalid >= outcome.rejected);
    assert_eq!(outcome.reason.is_some(), outcome.rejected > 0);
    if signal == Signal::Logs {
        assert_eq!(first.logs, outcome.accepted);
    }
    state.undo(outcome.changes);
    let mut again = Otlp::default();
    let repeated = read(signal, encoding, body, state, &mut again).expect("read before");
    assert_eq!(again.received.reports, first.received.reports);
    assert_eq!(repeated.accepted, outcome.accepted);
    let mut repeated = Otlp::default();
    read(signal, encoding, body, state, &mut repeated).expect("read before");
    assert!(repeated.distributions <= first.distributions);
    assert_eq!(repeated.objects, 0);
}

/// Compares a request with what the reference implementation reads.
fn compare(signal: Signal, body: &[u8]) {
    match signal {
        Signal::Metrics => {
            if let Ok(request) = ExportMetricsServiceRequest::decode(body) {
                compare_request(signal, body, &request, points(&request));
            }
        }
        Signal::Logs => {
            if let Ok(request) = ExportLogsServiceRequest::decode(body) {
                let resources = request.resource_logs.iter();
                let scopes = resources.flat_map(|resource| &resource.scope_logs);
                let records = scopes.map(|scope| scope.log_records.len()).sum();
                compare_request(signal, body, &request, records);
            }
        }
    }
}

fn compare_request<M>(signal: Signal, body: &[u8], request: &M, points: usize)
where
    M: Message + PartialEq + Serialize + DeserializeOwned,
{
    let read = |body: &[u8], encoding| {
        let (mut state, mut otlp) = (State::new(Limits::default(), 0), Otlp::default());
        let result = read(signal, encoding, body, &mut state, &mut otlp);
        result.map(|outcome| (outcome.accepted + outcome.rejected, otlp.received.reports))
    };
    // Groups in unknown fields, which proto3 does not have, are malformed here. The reference skips unknown fields.
    let has_unknown = request.encoded_len() < body.len();
    assert!(has_unknown || read(body, Encoding::Protobuf).is_ok());
    // A field that is given twice counts once here.
    let (count, reports) = read(&request.encode_to_vec(), Encoding::Protobuf).expect("valid");
    assert_eq!(count, points as u64);
    // JSON of the reference has no numbers that are not finite.
    let json = serde_json::to_vec(request).expect("JSON");
    if serde_json::from_slice::<M>(&json).is_ok_and(|read| read == *request) {
        let (_, of_json) = read(&json, Encoding::Json).expect("valid");
        assert_eq!(of_json, reports);
    }
}

/// The number of data points.
fn points(request: &ExportMetricsServiceRequest) -> usize {
    let resources = request.resource_metrics.iter();
    let scopes = resources.flat_map(|resource| &resource.scope_metrics);
    let metrics = scopes.flat_map(|scope| &scope.metrics);
    let of_metric = metrics.map(|metric| match &metric.data {
        None => 0,
        Some(Data::Gauge(data)) => data.data_points.len(),
        Some(Data::Sum(data)) => data.data_points.len(),
        Some(Data::Histogram(data)) => data.data_points.len(),
        Some(Data::ExponentialHistogram(data)) => data.data_points.len(),
        Some(Data::Summary(data)) => data.data_points.len(),
    });
    of_metric.sum()
}

/// Checks the memory of requests with a small state.
fn check_memory(signal: Signal, encoding: Encoding, bodies: &[u8]) {
    let mut state = State::new(LIMITS, 0);
    for body in split(bodies) {
        let request = || drop(read(signal, encoding, body, &mut state, &mut Ignored));
        let ((), peak, _) = measured(request);
        let most = MEMORY_PER_BYTE * body.len() + STATE;
        assert!(peak <= most as isize, "{peak} bytes of {}", body.len());
        let (series, bytes) = state.used();
        assert!(series <= LIMITS.series && bytes <= LIMITS.bytes);
    }
}

/// Reads a body of gRPC, and writes it.
fn check_framing(body: &[u8]) {
    if let Ok(message) = grpc::message(body, body.len())
        && !message.is_compressed
    {
        assert_eq!(grpc::frame(message.bytes), body);
    }
    let text = String::from_utf8_lossy(body);
    let escaped = grpc::escape(&text);
    assert!(escaped.bytes().all(|byte| (b' '..0x7f).contains(&byte)));
}

/// Keeps reports; distributions are checked.
#[derive(Default)]
struct Otlp {
    received: Received,
    distributions: u64,
    logs: u64,
    objects: u64,
    invalid: u64,
}

impl Receiver for Otlp {
    fn sample(&mut self, sample: &Sample<'_>) {
        assert!(!sample.name.is_empty());
        if let SampleValue::Distribution(distribution) = sample.value {
            self.distributions += 1;
            let totals = [distribution.sum, distribution.min, distribution.max];
            assert!(totals.into_iter().flatten().all(f64::is_finite));
            for (value, times) in distribution.values {
                assert!(value.is_finite() && (1..=1 << 32).contains(times));
            }
        }
        self.received.sample(sample);
    }

    fn log(&mut self, record: &LogRecord<'_>) {
        self.logs += 1;
        self.received.log(record);
    }

    fn object(&mut self, object: &ObjectReport<'_>) {
        self.objects += 1;
        self.received.object(object);
    }

    fn invalid(&mut self, reason: &'static str, input: &[u8]) {
        self.invalid += 1;
        self.received.invalid(reason, input);
    }
}
