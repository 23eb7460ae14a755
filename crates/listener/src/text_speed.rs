//! Measures lines per CPU second of the text formats:
//! `cargo test --release -p agg-listener text_speed -- --ignored --nocapture`.

use std::fmt::Write;
use std::hint::black_box;

use crate::influx::{self, Precision, Rules};
use crate::prometheus::{self, Format, Limits, Scrape, State};
use crate::report::{Attribute, LogRecord, ObjectReport, Receiver, Sample};

const BOUNDS: [&str; 12] = [
    "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf",
];

/// Only counts.
#[derive(Default)]
struct Count {
    samples: u64,
    invalid: u64,
}

impl Receiver for Count {
    fn sample(&mut self, sample: &Sample<'_>) {
        black_box(sample);
        self.samples += 1;
    }

    fn log(&mut self, _: &LogRecord<'_>) {}

    fn object(&mut self, _: &ObjectReport<'_>) {}

    fn invalid(&mut self, _: &'static str, _: &[u8]) {
        self.invalid += 1;
    }
}

/// The CPU time of this thread, seconds (Linux).
fn cpu_s() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let ns = text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok());
    ns.expect("a number") / 1e9
}

/// Runs something for about a second, and prints lines and megabytes per CPU second.
fn measure(name: &str, body: &str, mut run: impl FnMut(&mut Count)) {
    let lines = body.lines().count() as f64;
    let mut count = Count::default();
    run(&mut count);
    let (start, mut runs) = (cpu_s(), 0.0);
    while cpu_s() - start < 1.0 {
        run(&mut count);
        runs += 1.0;
    }
    let per_s = runs / (cpu_s() - start);
    assert_eq!(count.invalid, 0);
    println!(
        "{name}: {:.2} M lines/s, {:.2} M samples/s, {:.0} MB/s",
        lines * per_s / 1e6,
        count.samples as f64 / (runs + 1.0) * per_s / 1e6,
        body.len() as f64 * per_s / 1e6
    );
}

#[test]
#[ignore = "measures speed"]
fn lines_per_second() {
    let (mut one, mut five) = (String::new(), String::new());
    for i in 0..10_000 {
        let tags = format!(
            "host=web{:03},region=eu-central-1,cpu=cpu{}",
            i % 500,
            i % 16
        );
        let time = 1_700_000_000_000_000_000u64 + i;
        writeln!(
            one,
            "cpu,{tags} usage_user={}.{:02} {time}",
            i % 100,
            i % 97
        )
        .unwrap();
        writeln!(
            five,
            "cpu,{tags} user={}.5,system=1.25,idle=93.{:02},steal=0i,iowait=0.1 {time}",
            i % 100,
            i % 97
        )
        .unwrap();
    }
    let rules = Rules::new([
        ("net.bytes*", influx::Kind::Diff),
        ("*.time", influx::Kind::Hist),
    ]);
    for (name, body) in [("influx, 1 field", &one), ("influx, 5 fields", &five)] {
        measure(name, body, |count| {
            influx::parse(body.as_bytes(), Precision::Nanoseconds, &rules, count);
        });
    }
    let (mut plain, mut histograms) = (String::new(), String::new());
    plain.push_str("# HELP http_requests_total Requests.\n# TYPE http_requests_total counter\n");
    for i in 0..10_000 {
        writeln!(
            plain,
            "http_requests_total{{method=\"GET\",route=\"/api/v1/items/{}\",code=\"200\"}} {}",
            i % 100,
            i * 7
        )
        .unwrap();
    }
    let histogram = |n: u64| {
        let mut body = String::from("# TYPE http_request_duration_seconds histogram\n");
        for i in 0..800 {
            let labels = format!("method=\"GET\",route=\"/api/v1/items/{i}\"");
            let name = "http_request_duration_seconds";
            for (bound, at) in BOUNDS.iter().zip(1u64..) {
                writeln!(body, "{name}_bucket{{{labels},le=\"{bound}\"}} {}", n * at).unwrap();
            }
            writeln!(body, "{name}_sum{{{labels}}} {}.5", n * 3).unwrap();
            writeln!(body, "{name}_count{{{labels}}} {}", n * 12).unwrap();
        }
        body
    };
    histograms.push_str(&histogram(5));
    let next = histogram(9);
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
    let mut state = State::new(Limits::default());
    measure("prometheus, counters", &plain, |count| {
        prometheus::parse(plain.as_bytes(), &scrape, &mut state, count);
    });
    let mut is_next = false;
    measure("prometheus, histograms", &histograms, |count| {
        is_next = !is_next;
        let body = if is_next { &next } else { &histograms };
        prometheus::parse(body.as_bytes(), &scrape, &mut state, count);
    });
}
