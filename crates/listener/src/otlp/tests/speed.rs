//! Measures how fast requests are read: `cargo test --release -p agg-listener otlp::tests::speed -- --ignored --nocapture`.

use std::hint::black_box;

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, NumberDataPoint, number_data_point,
};

use super::*;
use crate::report::{LogRecord, ObjectReport, Receiver, Sample};

/// Counts samples.
struct Count(u64);

impl Receiver for Count {
    fn sample(&mut self, sample: &Sample<'_>) {
        black_box(sample);
        self.0 += 1;
    }

    fn log(&mut self, record: &LogRecord<'_>) {
        black_box(record);
        self.0 += 1;
    }

    fn object(&mut self, _object: &ObjectReport<'_>) {}

    fn invalid(&mut self, reason: &'static str, _input: &[u8]) {
        panic!("{reason}");
    }
}

/// Returns the CPU time of this thread in seconds.
fn cpu_time() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanos: f64 = text.split(' ').next().unwrap().parse().unwrap();
    nanos / 1e9
}

fn attributes(i: usize) -> Vec<KeyValue> {
    let name = |a| attribute(&format!("attribute.{a}"), &format!("value{i}"));
    (0..5).map(name).collect()
}

fn measure(name: &str, encoding: Encoding, body: &[u8]) {
    let (mut state, mut count, start) = (state(), Count(0), cpu_time());
    while cpu_time() - start < 1.0 {
        super::super::metrics(body, encoding, &mut state, &mut count).unwrap();
    }
    let rate = count.0 as f64 / (cpu_time() - start);
    println!(
        "{name}: {} bytes, {rate:.0} points per CPU second",
        body.len()
    );
}

#[test]
#[ignore = "a measurement"]
fn points_per_second() {
    let gauge = (0..1_000).map(|i| NumberDataPoint {
        attributes: attributes(i),
        time_unix_nano: TIME,
        value: Some(number_data_point::Value::AsDouble(i as f64 / 7.0)),
        ..Default::default()
    });
    let gauge = Data::Gauge(Gauge {
        data_points: gauge.collect(),
    });
    let histogram = |temporality| {
        let points = (0..1_000).map(|i| HistogramDataPoint {
            attributes: attributes(i),
            time_unix_nano: TIME,
            count: 15,
            sum: Some(3.0),
            explicit_bounds: (0..14).map(f64::from).collect(),
            bucket_counts: vec![1; 15],
            ..Default::default()
        });
        Data::Histogram(Histogram {
            data_points: points.collect(),
            aggregation_temporality: temporality,
        })
    };
    // The reference decodes only.
    let body = request(vec![metric("m", "s", gauge.clone())]).encode_to_vec();
    let (start, mut rounds) = (cpu_time(), 0.0);
    while cpu_time() - start < 1.0 {
        black_box(ExportMetricsServiceRequest::decode(&*body).unwrap());
        rounds += 1.0;
    }
    let rate = rounds * 1_000.0 / (cpu_time() - start);
    println!("gauge, decoded by prost: {rate:.0} points per CPU second");
    for (name, data) in [("gauge", gauge), ("histogram", histogram(1))] {
        let request = request(vec![metric("m", "s", data)]);
        measure(name, Encoding::Protobuf, &request.encode_to_vec());
        let json = serde_json::to_vec(&request).unwrap();
        measure(&format!("{name}, JSON"), Encoding::Json, &json);
    }
    // Cumulative points are read, compared and kept, but nothing is passed on the second time.
    let mut request = request(vec![metric("m", "s", histogram(2))]);
    let (mut state, mut count, start) = (state(), Count(0), cpu_time());
    let mut rounds = 0;
    while cpu_time() - start < 1.0 {
        rounds += 1;
        let data = request.resource_metrics[0].scope_metrics[0].metrics[0]
            .data
            .as_mut();
        let Some(Data::Histogram(histogram)) = data else {
            return;
        };
        for point in &mut histogram.data_points {
            point.time_unix_nano += 1;
            point.bucket_counts[3] += 1;
            point.count += 1;
        }
        let body = request.encode_to_vec();
        super::super::metrics(&body, Encoding::Protobuf, &mut state, &mut count).unwrap();
    }
    let rate = f64::from(rounds) * 1_000.0 / (cpu_time() - start);
    println!("cumulative histogram, with encoding: {rate:.0} points per CPU second");
}
