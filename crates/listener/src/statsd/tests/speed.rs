//! The time per sample.

use super::*;
use crate::report::{LogRecord, ObjectReport, Sample};

/// Counts what it receives, and looks at all of it.
#[derive(Default)]
struct Counted {
    samples: u64,
    bytes: usize,
}

impl Receiver for Counted {
    fn sample(&mut self, sample: &Sample<'_>) {
        self.samples += 1;
        let attributes = sample.attributes.iter();
        self.bytes += sample.name.len()
            + attributes
                .map(|a| a.name.len() + a.value.len())
                .sum::<usize>();
        std::hint::black_box(sample);
    }

    fn log(&mut self, _: &LogRecord<'_>) {}

    fn object(&mut self, _: &ObjectReport<'_>) {}

    fn invalid(&mut self, reason: &'static str, _: &[u8]) {
        panic!("{reason}");
    }
}

/// Prints the time per sample: `cargo test --release -p agg-listener speed -- --ignored --nocapture`.
#[test]
#[ignore = "measures time, in a release build"]
fn speed_of_samples() {
    const PACKETS: u32 = 100_000;
    for line in [
        "page.time.3:320|ms|#route:/pay,method:GET",
        "page.views:1|c",
        "page.views:1|c|@0.1",
        "page.time.3:320.25|ms|@0.5|#route:/pay,method:GET,env:prod,version:1.2.3|T1656581400|c:ci-83c0a99c0a54c0c1",
        "page.time.3:1:2:3:4:5:6:7:8:9:10:11:12|ms|#route:/pay,method:GET",
    ] {
        for lines in [1, 1400 / (line.len() + 1)] {
            let packet = vec![line; lines].join("\n").into_bytes();
            let mut counted = Counted::default();
            let start = std::time::Instant::now();
            for _ in 0..PACKETS {
                parse(std::hint::black_box(&packet), &mut counted);
            }
            let nanos = start.elapsed().as_nanos() as f64 / counted.samples as f64;
            println!("{nanos:6.1} ns per sample, {lines} lines per packet: {line}");
        }
    }
}
