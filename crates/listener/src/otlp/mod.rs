//! OTLP: metrics and logs of OpenTelemetry, in Protocol Buffers or JSON.
//!
//! A request is checked as a whole before any of it is passed on: it is malformed, or each of its points and records is
//! passed on or counted as invalid. JSON is rewritten to Protocol Buffers, so one format is read. Reading borrows from the
//! request, as `wire` explains.
//!
//! | data | sample |
//! | --- | --- |
//! | gauge | ABS |
//! | monotonic sum | cumulative: DIFF, first 0 at its start if that was seen; delta: INC |
//! | other sum | cumulative: ABS, delta: ADD |
//! | histogram, exponential histogram | distribution of what was added since the previous report |
//! | summary | `name.count` and `name.sum` as DIFF, and each quantile as ABS with the attribute `quantile` |
//!
//! Exemplars and the names of scopes are not passed on. Points whose sender has no value are skipped.
//!
//! A request that is answered with an error that says to retry must be undone with [`State::undo`], or what its cumulative
//! histograms added is lost.
//!
//! Sources: <https://opentelemetry.io/docs/specs/otlp/>, <https://opentelemetry.io/docs/specs/otel/metrics/data-model/>,
//! <https://opentelemetry.io/docs/specs/otel/logs/data-model/>

mod buckets;
mod cumulative;
pub mod grpc;
mod histogram;
mod json;
mod logs;
mod metrics;
mod points;
mod resource;
mod resources;
pub mod response;
mod schema;
mod text;
mod wire;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

pub use cumulative::Limits;
pub use logs::logs;
pub use metrics::metrics;

use crate::report::Receiver;

/// The encoding of a request and its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`
    Protobuf,
    /// `application/json`
    Json,
}

impl Encoding {
    /// Returns the encoding of a `Content-Type`, of which parameters are ignored.
    pub fn from_content_type(value: &str) -> Option<Encoding> {
        let mime = value.split(';').next().unwrap_or_default().trim();
        if mime.eq_ignore_ascii_case("application/x-protobuf") {
            Some(Encoding::Protobuf)
        } else if mime.eq_ignore_ascii_case("application/json") {
            Some(Encoding::Json)
        } else {
            None
        }
    }

    /// Returns the `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Encoding::Protobuf => "application/x-protobuf",
            Encoding::Json => "application/json",
        }
    }
}

/// The kind of data in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// An `ExportMetricsServiceRequest`.
    Metrics,
    /// An `ExportLogsServiceRequest`.
    Logs,
}

impl Signal {
    /// Returns the signal of a path of OTLP/HTTP or gRPC.
    pub fn from_path(path: &str) -> Option<Signal> {
        match path {
            "/v1/metrics" | "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => {
                Some(Signal::Metrics)
            }
            "/v1/logs" | "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => {
                Some(Signal::Logs)
            }
            _ => None,
        }
    }
}

/// A request that cannot be read. None of it is passed on. The response is 400 Bad Request, or INVALID_ARGUMENT.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed {
    message: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Malformed {}

/// The outcome of a request.
#[derive(Default)]
pub struct Outcome {
    /// The number of data points or log records that were passed on, or needed not be.
    pub accepted: u64,
    /// The number of those that cannot be used.
    pub rejected: u64,
    /// The reason of the first rejection.
    pub reason: Option<&'static str>,
    /// The changes of the state.
    pub changes: Changes,
}

impl Outcome {
    fn reject(&mut self, reason: &'static str) {
        self.rejected += 1;
        self.reason.get_or_insert(reason);
    }
}

/// The changes of the state by a request.
#[derive(Default)]
pub struct Changes {
    series: cumulative::Changes,
    counters: cumulative::Changes,
    resources: Vec<u64>,
}

/// The state that is kept between requests.
pub struct State {
    cumulative: cumulative::CumulativeState,
    /// The cumulative counters that have begun, without their counts: the server has those.
    counters: cumulative::CumulativeState,
    resources: resources::Resources,
}

/// The number of resources that are known to have been reported.
const MAX_RESOURCES: usize = 20_000;

impl State {
    /// Creates it with limits for the series of cumulative histograms. `now` is the time in Unix milliseconds: what
    /// began to count later counts from its first report.
    pub fn new(limits: Limits, now: i64) -> State {
        State {
            cumulative: cumulative::CumulativeState::new(limits, now),
            counters: cumulative::CumulativeState::new(limits, now),
            resources: resources::Resources::new(MAX_RESOURCES),
        }
    }

    /// Undoes what a request has changed, because its sender will send it again.
    pub fn undo(&mut self, changes: Changes) {
        self.cumulative.undo(changes.series);
        self.counters.undo(changes.counters);
        self.resources.undo(changes.resources);
    }

    /// Returns the number of series of cumulative histograms that were evicted. Each loses what happens up to its next
    /// report.
    pub fn evicted(&self) -> u64 {
        self.cumulative.evicted()
    }

    /// Returns the number of series of cumulative histograms, and their memory in bytes.
    pub fn used(&self) -> (usize, usize) {
        self.cumulative.used()
    }

    fn take_changes(&mut self) -> Changes {
        Changes {
            series: self.cumulative.take_changes(),
            counters: self.counters.take_changes(),
            resources: self.resources.take_reported(),
        }
    }
}

/// Returns a request as Protocol Buffers, whose fields have their types.
fn checked<'a>(
    message: &'static schema::Message,
    body: &'a [u8],
    encoding: Encoding,
    receiver: &mut impl Receiver,
) -> Result<Cow<'a, [u8]>, Malformed> {
    let result = match encoding {
        Encoding::Protobuf if schema::is_valid(message, body) => return Ok(Cow::Borrowed(body)),
        Encoding::Protobuf => Err("malformed Protocol Buffers".to_string()),
        Encoding::Json => match json::to_protobuf(message, body) {
            Ok(body) if schema::is_valid(message, &body) => return Ok(Cow::Owned(body)),
            Ok(_) => Err("malformed JSON: nested too deeply".to_string()),
            Err(error) => Err(format!("malformed JSON: {error}")),
        },
    };
    result.map_err(|message| {
        let start = body.get(..256).unwrap_or(body);
        receiver.invalid("a malformed request", start);
        // The parser of JSON quotes the input.
        let message = text::prefix(&message, 500).to_string();
        Malformed { message }
    })
}

/// Returns Unix nanoseconds as milliseconds; none if they are not known.
fn millis(nanos: u64) -> Option<i64> {
    i64::try_from(nanos / 1_000_000).ok().filter(|_| nanos != 0)
}
