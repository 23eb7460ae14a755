//! Memory for each metric, as the growth of the server's used_memory: after one sample, after some windows without
//! history, and with the default history full. The queues are empty, the clients gone.

use std::time::{Duration, Instant};

use crate::figure::{Figure, Spread, Target, Unit};
use crate::fill::{HOUR, MIN, Metrics, hours_ago, take_all};
use crate::host::Host;
use crate::load::Random;
use crate::options::Options;
use crate::{Outcome, say};
use testkit::{at, list};

const SECTION: &str = "memory";

/// All rows.
pub fn run(options: &Options) -> Outcome<Vec<Figure>> {
    let mut figures = Vec::new();
    let without = "max-memory 8gb max-series 20000000 min-history 0 hour-history 0";
    let with = "max-memory 8gb max-series 20000000";
    let first = hours_ago(30);
    // A window of 300 s in each of 25 hours, then each window of an hour and a half: all that the history keeps, and
    // the windows that are open.
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
        let mut figure = Figure::new(SECTION, name, Unit::Bytes, Spread::one(bytes))
            .noting(format!("{count} metrics; MEMORY USAGE says {usage:.0}"));
        figure.target = most.map(Target::Value);
        figures.push(figure);
    }
    Ok(figures)
}

/// Bytes for each of so many metrics: by used_memory, and by MEMORY USAGE.
fn one(settings: &str, count: usize, starts: &[i64]) -> Outcome<(f64, f64)> {
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
            // As if those samples had come in their time: their windows have closed, and those of now are open.
            let most = Instant::now() + Duration::from_secs(60);
            take_all(&host, "node1")?;
            while Instant::now() < most && !is_closed(&host)? {
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

/// Whether the last metric has no open window.
fn is_closed(host: &Host) -> Outcome<bool> {
    let (_, names): (u64, Vec<String>) = host.ask("AGG.SCAN node1 METRIC 0 COUNT 1")?;
    let name = names.first().ok_or("there is no metric")?;
    let metric: redis::Value = host.ask(&format!("AGG.GET node1 METRIC {name}"))?;
    let open = |length| at(&metric, length).map_or(0, |windows| list(windows).len());
    Ok(open("min") + open("hour") == 0)
}

/// used_memory when no other client is there.
pub fn used(host: &Host) -> Outcome<f64> {
    // Buffers of clients that have left go with the next beats of the server's clock.
    std::thread::sleep(Duration::from_millis(500));
    Ok(host.info("memory", "used_memory")?.parse()?)
}
