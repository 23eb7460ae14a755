//! The cost of the listener: reading each protocol, resolving series, and collecting and encoding samples.
//!
//! `cargo bench -p agg-listener` measures all; an argument selects by name.

use std::fmt::Write;
use std::hint::black_box;

use agg_client::command::{Report, SampleType};
use agg_listener::batch::{Batch, BatchedReport, BatchedValue};
use agg_listener::collector::{Collector, CollectorSettings};
use agg_listener::identity::{Identity, IdentitySettings, Resolved};
use agg_listener::influx::{self, Precision, Rules};
use agg_listener::otlp::{self, Encoding};
use agg_listener::prometheus::{self, Format, Scrape};
use agg_listener::report::{Attribute, LogRecord, ObjectReport, Receiver, Sample};
use agg_listener::sets::SetSettings;
use agg_listener::statsd;
use aggregator_protocol::NodeName;
use aggregator_protocol::number::Number;
use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, number_data_point,
};
use prost::Message;

/// The time of the points, Unix nanoseconds.
const TIME: u64 = 1_700_000_000_000_000_000;

/// Ignores what is valid. Invalid input would make the results wrong.
struct Ignore;

impl Receiver for Ignore {
    fn sample(&mut self, sample: &Sample<'_>) {
        black_box(sample);
    }

    fn log(&mut self, record: &LogRecord<'_>) {
        black_box(record);
    }

    fn object(&mut self, object: &ObjectReport<'_>) {
        black_box(object);
    }

    fn invalid(&mut self, reason: &'static str, input: &[u8]) {
        panic!("{reason}: {}", String::from_utf8_lossy(input));
    }
}

/// Measures `run`, which reads so many elements.
fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    elements: u64,
    mut run: impl FnMut(),
) {
    group.throughput(Throughput::Elements(elements));
    group.bench_function(BenchmarkId::from_parameter(name), |b| b.iter(&mut run));
}

fn statsd_samples(c: &mut Criterion) {
    let mut group = c.benchmark_group("statsd samples");
    for (name, line, samples) in [
        ("two tags", "page.time.3:320|ms|#route:/pay,method:GET", 1),
        ("no tags", "page.views:1|c", 1),
        ("sample rate", "page.views:1|c|@0.1", 1),
        (
            "all fields",
            "page.time.3:320.25|ms|@0.5|#route:/pay,method:GET,env:prod,version:1.2.3|T1656581400|c:ci-83c0a99c",
            1,
        ),
        (
            "twelve values",
            "page.time.3:1:2:3:4:5:6:7:8:9:10:11:12|ms|#route:/pay,method:GET",
            12,
        ),
    ] {
        let lines = 1400 / (line.len() + 1);
        let packet = vec![line; lines].join("\n");
        measure(&mut group, name, lines as u64 * samples, || {
            statsd::parse(black_box(packet.as_bytes()), &mut Ignore);
        });
    }
}

fn influx_lines(c: &mut Criterion) {
    const LINES: u64 = 10_000;
    let (mut one, mut five) = (String::new(), String::new());
    for i in 0..LINES {
        let tags = format!("host=web{:03},region=eu,cpu=cpu{}", i % 500, i % 16);
        let (time, whole, part) = (TIME + i, i % 100, i % 97);
        let _ = writeln!(one, "cpu,{tags} usage_user={whole}.{part:02} {time}");
        let fields = format!("user={whole}.5,system=1.25,idle=93.{part:02},steal=0i,iowait=0.1");
        let _ = writeln!(five, "cpu,{tags} {fields} {time}");
    }
    let rules = Rules::new([
        ("net.bytes*", influx::Kind::Diff),
        ("*.time", influx::Kind::Hist),
    ]);
    let mut group = c.benchmark_group("InfluxDB lines");
    for (name, body) in [("1 field", &one), ("5 fields", &five)] {
        measure(&mut group, name, LINES, || {
            let body = black_box(body.as_bytes());
            influx::parse(body, Precision::Nanoseconds, &rules, &mut Ignore);
        });
    }
}

/// Returns histograms with such counts, one for each of 800 routes.
fn exposition(count: u64) -> String {
    const BOUNDS: [&str; 12] = [
        "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf",
    ];
    let name = "http_request_duration_seconds";
    let mut body = format!("# TYPE {name} histogram\n");
    for i in 0..800 {
        let labels = format!("method=\"GET\",route=\"/api/v1/items/{i}\"");
        for (bound, at) in BOUNDS.iter().zip(1u64..) {
            let count = count * at;
            let _ = writeln!(body, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(body, "{name}_sum{{{labels}}} {}.5", count * 3);
        let _ = writeln!(body, "{name}_count{{{labels}}} {}", count * 12);
    }
    body
}

fn prometheus_lines(c: &mut Criterion) {
    const LINES: u64 = 10_000;
    let mut counters = String::from("# TYPE http_requests_total counter\n");
    for i in 0..LINES {
        let labels = format!("method=\"GET\",route=\"/api/v1/items/{i}\",code=\"200\"");
        let _ = writeln!(counters, "http_requests_total{{{labels}}} {}", i * 7);
    }
    let labels = [
        Attribute::new("job", "web"),
        Attribute::new("instance", "web1:9100"),
    ];
    let scrape = Scrape {
        format: Format::Text,
        labels: &labels,
        honor_labels: false,
        honor_timestamps: true,
        now_ms: 0,
    };
    let mut state = prometheus::State::new(prometheus::Limits::default());
    let mut group = c.benchmark_group("Prometheus lines");
    measure(&mut group, "counters", LINES, || {
        let body = black_box(counters.as_bytes());
        prometheus::parse(body, &scrape, &mut state, &mut Ignore);
    });
    // The second continues the first, and the first is a restart after the second.
    let scrapes = [exposition(5), exposition(9)];
    let lines = scrapes[0].lines().count() as u64;
    let mut round = 0;
    measure(&mut group, "histograms", lines, || {
        let body = black_box(scrapes[round % 2].as_bytes());
        prometheus::parse(body, &scrape, &mut state, &mut Ignore);
        round += 1;
    });
}

/// The points of a request.
const POINTS: usize = 1000;

fn request(data: Data) -> ExportMetricsServiceRequest {
    let metric = Metric {
        name: "http.server.duration".into(),
        unit: "s".into(),
        data: Some(data),
        ..Default::default()
    };
    let scope = ScopeMetrics {
        metrics: vec![metric],
        ..Default::default()
    };
    let resource = ResourceMetrics {
        scope_metrics: vec![scope],
        ..Default::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![resource],
    }
}

/// Returns five attributes of a point.
fn attributes(point: usize) -> Vec<KeyValue> {
    let attribute = |i: usize| KeyValue {
        key: format!("attribute.{i}"),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(format!("value{point}"))),
        }),
        ..Default::default()
    };
    (0..5).map(attribute).collect()
}

fn gauge() -> Data {
    let point = |i| NumberDataPoint {
        attributes: attributes(i),
        time_unix_nano: TIME,
        value: Some(number_data_point::Value::AsDouble(i as f64 / 7.0)),
        ..Default::default()
    };
    Data::Gauge(Gauge {
        data_points: (0..POINTS).map(point).collect(),
    })
}

/// Returns the histograms of an export. Cumulative ones grow from export to export.
fn histogram(temporality: AggregationTemporality, export: u64) -> Data {
    let point = |i| HistogramDataPoint {
        attributes: attributes(i),
        time_unix_nano: TIME + export,
        count: 14 + export,
        sum: Some(3.0),
        explicit_bounds: (0..14).map(f64::from).collect(),
        bucket_counts: [vec![1; 14], vec![export]].concat(),
        ..Default::default()
    };
    Data::Histogram(Histogram {
        data_points: (0..POINTS).map(point).collect(),
        aggregation_temporality: temporality.into(),
    })
}

fn otlp_points(c: &mut Criterion) {
    let mut group = c.benchmark_group("OTLP points");
    let new_state = || otlp::State::new(otlp::Limits::default(), 0);
    let read = |body: &[u8], encoding, state: &mut otlp::State| {
        let outcome = otlp::metrics(black_box(body), encoding, state, &mut Ignore);
        assert!(outcome.is_ok());
    };
    for (name, data) in [
        ("gauge", gauge()),
        ("histogram", histogram(AggregationTemporality::Delta, 1)),
    ] {
        let request = request(data);
        let json = serde_json::to_vec(&request).expect("a request has a form in JSON");
        let mut state = new_state();
        let body = request.encode_to_vec();
        measure(&mut group, name, POINTS as u64, || {
            read(&body, Encoding::Protobuf, &mut state);
        });
        measure(&mut group, &format!("{name}, JSON"), POINTS as u64, || {
            read(&json, Encoding::Json, &mut state);
        });
    }
    // Each export is compared with the one before.
    let export = |n| request(histogram(AggregationTemporality::Cumulative, n)).encode_to_vec();
    let exports: Vec<Vec<u8>> = (1..50).map(export).collect();
    let points = (exports.len() * POINTS) as u64;
    measure(&mut group, "cumulative histogram", points, || {
        let mut state = new_state();
        for body in &exports {
            read(body, Encoding::Protobuf, &mut state);
        }
    });
}

/// Ten names with a thousand series each.
struct Series {
    names: Vec<String>,
    routes: Vec<String>,
}

impl Series {
    fn new() -> Series {
        Series {
            names: (0..10).map(|n| format!("http.requests.{n}")).collect(),
            routes: (0..1000).map(|n| format!("/api/v1/items/{n}")).collect(),
        }
    }

    fn len(&self) -> u64 {
        (self.names.len() * self.routes.len()) as u64
    }

    fn resolve(&self, identity: &mut Identity, mut each: impl FnMut(&Resolved<'_>)) {
        for name in &self.names {
            for route in &self.routes {
                let pairs = [
                    Attribute::new("method", "GET"),
                    Attribute::new("route", route),
                ];
                let series = identity.resolve(name, &pairs, "ms");
                each(&series.expect("it has a name"));
            }
        }
    }
}

fn resolving(c: &mut Criterion) {
    let series = Series::new();
    let mut group = c.benchmark_group("series resolved");
    let mut known = Identity::new(&IdentitySettings::default());
    let look = |resolved: &Resolved<'_>| {
        black_box(resolved);
    };
    measure(&mut group, "known", series.len(), || {
        series.resolve(&mut known, look);
    });
    measure(&mut group, "new", series.len(), || {
        series.resolve(&mut Identity::new(&IdentitySettings::default()), look);
    });
}

/// Encodes reports as they are sent.
fn encode(reports: &[BatchedReport]) {
    for report in reports {
        black_box(report.to_numbered_cmd(None));
    }
}

fn batching(c: &mut Criterion) {
    let series = Series::new();
    let mut identity = Identity::new(&IdentitySettings::default());
    let mut collect = |step: u64| {
        let mut batch = Batch::new(NodeName(b"web1".to_vec()));
        series.resolve(&mut identity, |series| {
            for n in 0..2 {
                let value = BatchedValue {
                    sample_type: SampleType::Inc,
                    hist: false,
                    value: Number::Int(1 + n * step),
                    times: 1,
                };
                batch.sample("statsd", series, value, None);
            }
        });
        batch.take()
    };
    let mut group = c.benchmark_group("samples, two of each series");
    let samples = 2 * series.len();
    for (name, step) in [("different", 1), ("equal", 0)] {
        measure(&mut group, &format!("{name}, collected"), samples, || {
            black_box(collect(step));
        });
        let reports = collect(step);
        measure(&mut group, &format!("{name}, encoded"), samples, || {
            encode(&reports);
        });
    }
}

fn collecting(c: &mut Criterion) {
    const PACKETS: usize = 100;
    const LINES: usize = 28;
    let line = |n: usize| match n % 3 {
        0 => format!("page.views.{}:1|c|#route:/pay,method:GET", n % 7),
        1 => format!("page.time.{}:{}|ms|#route:/pay,method:GET", n % 7, n % 400),
        _ => format!("page.size.{}:{n}.5|h|@0.5|#route:/pay,method:GET", n % 7),
    };
    let packet = |p: usize| {
        let lines = (0..LINES).map(|n| line(p * LINES + n));
        lines.collect::<Vec<_>>().join("\n")
    };
    let packets: Vec<String> = (0..PACKETS).map(packet).collect();
    let mut collector = Collector::new(CollectorSettings {
        node: NodeName(b"web1".to_vec()),
        identity: IdentitySettings::default(),
        sets: SetSettings::default(),
        errors_from: None,
        error_key: aggregator_protocol::grouping::key,
    });
    let mut group = c.benchmark_group("samples of statsd");
    let samples = (PACKETS * LINES) as u64;
    measure(&mut group, "read, collected and encoded", samples, || {
        for packet in &packets {
            statsd::parse(black_box(packet.as_bytes()), &mut collector);
        }
        encode(&collector.take());
    });
}

criterion_group!(
    benches,
    statsd_samples,
    influx_lines,
    prometheus_lines,
    otlp_points,
    resolving,
    batching,
    collecting
);
criterion_main!(benches);
