//! Memory per metric, as the growth of the server's used_memory: after one sample, after some windows without history,
//! and with the default history full. The queues are empty, and no client is connected.

use std::time::{Duration, Instant};

use crate::fill::{HOUR, MIN, Metrics, hours_ago, take_all};
use crate::host::Host;
use crate::load::Random;
use crate::measurement::{Measurement, Spread, Target, Unit};
use crate::options::Options;
use crate::{Result, say};
use testkit::{at, list};

const SECTION: &str = "memory";

/// Measures all rows.
pub fn run(options: &Options) -> Result<Vec<Measurement>> {
    let mut measurements = Vec::new();
    let without = "max-memory 8gb max-series 20000000 min-history 0 hour-history 0";
    let with = "max-memory 8gb max-series 20000000";
    let first = hours_ago(30);
    // A window of 300 s in each of 25 hours, then each window of an hour and a half: everything that the history keeps,
    // and the open windows.
    let hours: Vec<i64> = (0..25).map(|i| first + i * HOUR).collect();
    let minutes: Vec<i64> = (1..18).map(|i| hours[24] + i * MIN).collect();
    let full = [hours, minutes].concat();
    let steady = &full[25..31];
    for (name, settings, starts, most) in [
        ("a metric after one sample", without, &[][..], Some(200.0)),
        (
            "a metric without history, after 6 windows",
            without,
            steady,
            Some(200.0),
        ),
        (
            "a metric with the default history full",
            with,
            &full[..],
            Some(1500.0),
        ),
    ] {
        if !options.wants(SECTION, name) {
            continue;
        }
        say(&format!("{SECTION}: {name}"));
        let count = options.names()[0] / if options.quick { 5 } else { 1 };
        let (bytes, usage) = one(settings, count, starts)?;
        let mut measurement = Measurement::new(SECTION, name, Unit::Bytes, Spread::one(bytes))
            .noting(format!("{count} metrics; MEMORY USAGE: {usage:.0}"));
        measurement.target = most.map(Target::Value);
        measurements.push(measurement);
    }
    Ok(measurements)
}

/// Returns the bytes per metric: by used_memory, and by MEMORY USAGE.
fn one(settings: &str, count: usize, starts: &[i64]) -> Result<(f64, f64)> {
    let host = Host::start(&[], settings)?;
    let before = used(&host)?;
    let mut metrics = Metrics {
        host: &host,
        node: "node1",
        count,
        random: Random(5),
    };
    match starts {
        [] => metrics.sample(None)?,
        _ => {
            metrics.replay(starts)?;
            // Waits until the replayed windows are closed, as with samples that arrive on time; the current ones are
            // open.
            let deadline = Instant::now() + Duration::from_secs(60);
            take_all(&host, "node1")?;
            while !is_closed(&host)? {
                if Instant::now() > deadline {
                    return Err("the replayed windows did not close within 60 s".into());
                }
                std::thread::sleep(Duration::from_millis(200));
            }
            metrics.sample(None)?;
        }
    }
    take_all(&host, "node1")?;
    let grown = used(&host)? - before;
    let usage: f64 = host.ask("MEMORY USAGE node1")?;
    Ok((grown / count as f64, usage / count as f64))
}

/// Returns whether the last metric has no open window.
fn is_closed(host: &Host) -> Result<bool> {
    let (_, names): (u64, Vec<String>) = host.ask("AGG.SCAN node1 METRIC 0 COUNT 1")?;
    let name = names.first().ok_or("there is no metric")?;
    let metric: redis::Value = host.ask(&format!("AGG.GET node1 METRIC {name}"))?;
    let open = |length| at(&metric, length).map_or(0, |windows| list(windows).len());
    Ok(open("min") + open("hour") == 0)
}

/// Returns used_memory when no other client is connected.
pub fn used(host: &Host) -> Result<f64> {
    // The server frees the buffers of disconnected clients in its next cron calls.
    std::thread::sleep(Duration::from_millis(500));
    Ok(host.info("memory", "used_memory")?.parse()?)
}
