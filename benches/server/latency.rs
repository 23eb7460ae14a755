//! The highest latencies of a node with a million metrics: while the metrics are created, when all windows close at
//! once, and when thousands of metrics expire. Measured by the server itself, and by the SETs of another client. Also
//! the CPU time of closing a window.

use std::thread::sleep;
use std::time::{Duration, Instant};

use redis::Value;

use crate::fill::Metrics;
use crate::host::Host;
use crate::load::{Clients, Random, Requests};
use crate::measurement::{Measurement, Spread, Target, Unit};
use crate::options::Options;
use crate::probe::{Latencies, Probe};
use crate::{Result, say};
use testkit::{ask, at, int, now_ms};

const SECTION: &str = "latency";

/// The longest wait for windows to be closed.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The number of metrics that expire.
const EXPIRING: usize = 10_000;

/// Settings of the module with which nothing is dropped.
const SETTINGS: &str =
    "max-series 20000000 max-memory 8gb queue-min 2gb queue-hour 2gb flush-delay-ms 1000";

/// Measures all rows.
pub fn run(options: &Options) -> Result<Vec<Measurement>> {
    let count = options.metrics();
    let names = [
        format!("while {count} metrics grow"),
        format!("closing the windows of {count} metrics"),
        format!("while {EXPIRING} of {count} metrics expire"),
    ];
    if !names.iter().any(|name| options.wants(SECTION, name)) {
        return Ok(Vec::new());
    }
    let host = Host::start(
        &[
            "--slowlog-log-slower-than",
            "300",
            "--slowlog-max-len",
            "1024",
            "--latency-monitor-threshold",
            "1",
        ],
        SETTINGS,
    )?;
    let _: Value = host.ask("CONFIG SET latency-tracking-info-percentiles 100")?;
    let mut measurements = vec![idle(&host, options)?];
    let parts = [growth, closing, expiry];
    for (name, part) in names.iter().zip(parts) {
        if options.wants(SECTION, name) {
            say(&format!("{SECTION}: {name}"));
            // A part that fails does not stop the others.
            if let Err(error) = part(&host, name, count, &mut measurements) {
                measurements.push(Measurement::missing(SECTION, name, &error.to_string()));
            }
        }
    }
    Ok(measurements)
}

/// Returns the length of windows in seconds: long enough to report all metrics within one.
fn window_s(count: usize) -> i64 {
    (count as i64 / 100_000).clamp(3, 100)
}

/// Measures SETs while nothing else runs: the noise of the machine.
fn idle(host: &Host, options: &Options) -> Result<Measurement> {
    say(&format!("{SECTION}: SETs only"));
    let probe = Probe::start(host.port())?;
    sleep(Duration::from_secs(if options.quick { 3 } else { 10 }));
    let name = "p99.99 of SETs alone, for comparison";
    Ok(set_latency(name, &probe.finish()?))
}

/// Returns the 99.99th percentile of SETs as a row.
fn set_latency(name: &str, latencies: &Latencies) -> Measurement {
    let value = Spread::one(latencies.at(0.9999));
    Measurement::new(SECTION, name, Unit::Milliseconds, value).noting(latencies.describe())
}

/// Returns the slowest AGG command since the last reset, and the latency of SETs.
fn worst_cases(
    host: &Host,
    name: &str,
    latencies: &Latencies,
    since: usize,
) -> Result<Vec<Measurement>> {
    let (longest, which) = longest_command(host)?;
    let server_notes = server_notes(host, since)?;
    Ok(vec![
        Measurement::new(
            SECTION,
            &format!("longest AGG command {name}"),
            Unit::Milliseconds,
            Spread::one(longest),
        )
        .at_most(Target::Value(1.0))
        .noting(format!("{which}; {server_notes}")),
        set_latency(&format!("p99.99 of SETs {name}"), latencies).at_most(Target::Value(2.0)),
    ])
}

/// Resets the server's statistics. Returns the length of the log.
fn reset(host: &Host) -> Result<usize> {
    let _: Value = host.ask("SLOWLOG RESET")?;
    let _: Value = host.ask("LATENCY RESET")?;
    let _: Value = host.ask("CONFIG RESETSTAT")?;
    Ok(host.log().len())
}

/// Returns the slowest AGG command by the server's statistics: milliseconds, and its name.
fn longest_command(host: &Host) -> Result<(f64, String)> {
    let info: String = host.ask("INFO latencystats")?;
    let mut longest = (0.0, "none".to_owned());
    for line in info.lines() {
        let Some((name, value)) = line
            .strip_prefix("latency_percentiles_usec_")
            .and_then(|rest| rest.split_once(":p100="))
        else {
            continue;
        };
        let ms = value.trim().parse::<f64>()? / 1000.0;
        // AGG.INFO is sent by this program.
        let is_ours = name.to_uppercase().starts_with("AGG.") && !name.ends_with("INFO");
        if is_ours && ms > longest.0 {
            longest = (ms, name.to_owned());
        }
    }
    Ok(longest)
}

/// Describes what slowlog and latency monitor have above a millisecond, and the slow ticks in the log.
fn server_notes(host: &Host, since: usize) -> Result<String> {
    let mut found = Vec::new();
    let slow: Vec<(i64, i64, i64, Vec<String>, Value, Value)> = host.ask("SLOWLOG GET 1024")?;
    let mut above: Vec<(i64, String)> = (slow.into_iter())
        .filter(|(_, _, us, ..)| *us > 1000)
        .map(|(_, _, us, words, ..)| (us, words.first().cloned().unwrap_or_default()))
        .collect();
    above.sort_by_key(|(us, _)| -us);
    if let Some((us, name)) = above.first() {
        found.push(format!(
            "slowlog: {} commands above 1 ms, the slowest {name} with {:.2} ms",
            above.len(),
            *us as f64 / 1000.0
        ));
    }
    let events: Vec<(String, i64, i64, i64)> = host.ask("LATENCY LATEST")?;
    for (event, _, _, longest) in events {
        found.push(format!("latency monitor: {event} {longest} ms"));
    }
    let log = host.log();
    let ticks: Vec<&str> = (log.get(since..).unwrap_or_default().lines())
        .filter_map(|line| Some(line.split_once("a tick of the timer took ")?.1))
        .collect();
    if let Some(last) = ticks.last() {
        found.push(format!(
            "log: {} slow ticks of the timer, the last with {last}",
            ticks.len()
        ));
    }
    if found.is_empty() {
        found.push("slowlog and latency monitor: nothing above 1 ms".into());
    }
    Ok(found.join(", "))
}

fn metrics(host: &Host, node: &str) -> Result<i64> {
    let info: Value = host.ask(&format!("AGG.INFO {node}"))?;
    Ok(int(&info, "metrics"))
}

/// Returns a number of a queue in AGG.INFO.
fn of_queue(info: &Value, queue: &str, field: &str) -> Result<i64> {
    let queues = at(info, "queues").ok_or("AGG.INFO has no queues")?;
    let queue = at(queues, queue).ok_or("AGG.INFO lacks a queue")?;
    Ok(int(queue, field))
}

/// Creates metrics in small batches from one client, so that SETs wait for one command and not for a queue of them.
fn growth(
    host: &Host,
    name: &str,
    count: usize,
    measurements: &mut Vec<Measurement>,
) -> Result<()> {
    let mut random = Random(8);
    let mut requests = Requests::build(4, count, |i| {
        let name = format!("cpu:{i:012}");
        vec!["AGG.STAT".into(), "grow".into(), name, random.value()]
    });
    let mut clients = Clients::connect(host.port(), 1)?;
    let since = reset(host)?;
    let probe = Probe::start(host.port())?;
    let replies = clients.run(&mut requests, count, b":1\r\n")?;
    let latencies = probe.finish()?;
    if replies.wrong > 0 || metrics(host, "grow")? != count as i64 {
        return Err(format!("not all samples were accepted: {}", replies.first_wrong).into());
    }
    measurements.extend(worst_cases(host, name, &latencies, since)?);
    let _: Value = host.ask("UNLINK grow")?;
    Ok(())
}

/// The closed windows of a node.
struct ClosedWindows {
    records: i64,
    expected: i64,
    /// The time from the first to the last.
    seconds: f64,
}

impl ClosedWindows {
    fn describe(&self) -> String {
        let ClosedWindows {
            records,
            expected,
            seconds,
        } = self;
        match records < expected {
            true => {
                format!("only {records} of {expected} windows were closed after {seconds:.1} s")
            }
            false => format!("spread over {seconds:.1} s"),
        }
    }
}

/// A node whose windows all end at once.
struct Closing<'a> {
    host: &'a Host,
    metrics: Metrics<'a>,
    window_ms: i64,
}

impl Closing<'_> {
    /// Sleeps until an hour window begins (`half` 0), or its second half (1).
    fn wait_for(&self, half: i64) {
        let hour = 2 * self.window_ms;
        let wait = (half * self.window_ms + 20 - now_ms()).rem_euclid(hour);
        sleep(Duration::from_millis(wait as u64));
    }

    /// Reports each metric once within the current window.
    fn report(&mut self) -> Result<()> {
        let window = now_ms() / self.window_ms;
        self.metrics.sample(None)?;
        match now_ms() / self.window_ms == window {
            true => Ok(()),
            false => Err("the machine is too slow to report all metrics within a window".into()),
        }
    }

    /// Waits until the queues hold as many records, at most [`TIMEOUT`].
    fn wait_for_records(&self, min: i64, hour: i64) -> Result<ClosedWindows> {
        // One connection and few commands, as their CPU time counts as well.
        let mut connection = self.host.connection();
        let start = Instant::now();
        let mut began = None;
        loop {
            let info: Value = ask(&mut connection, "AGG.INFO close");
            let closed = of_queue(&info, "MIN", "length")?;
            let hours = of_queue(&info, "HOUR", "length")?;
            if of_queue(&info, "MIN", "dropped")? + of_queue(&info, "HOUR", "dropped")? > 0 {
                return Err("the queue dropped records".into());
            }
            if closed + hours > 0 && began.is_none() {
                began = Some(Instant::now());
            }
            if closed >= min && hours >= hour || start.elapsed() > TIMEOUT {
                return Ok(ClosedWindows {
                    records: closed + hours,
                    expected: min + hour,
                    seconds: began.unwrap_or(start).elapsed().as_secs_f64(),
                });
            }
            sleep(Duration::from_millis(200));
        }
    }
}

/// Measures the CPU time of closing MIN windows, and of MIN and HOUR at once; then the latency of SETs.
fn closing(
    host: &Host,
    name: &str,
    count: usize,
    measurements: &mut Vec<Measurement>,
) -> Result<()> {
    let window = window_s(count);
    // The hour window must be a multiple of the minute window after each step.
    let _: Value = host.ask(&format!("CONFIG SET agg.min-window {window}"))?;
    let _: Value = host.ask(&format!("CONFIG SET agg.hour-window {}", 2 * window))?;
    let mut closing = Closing {
        host,
        metrics: Metrics {
            host,
            node: "close",
            count,
            random: Random(9),
        },
        window_ms: window * 1000,
    };
    for (half, kind, hours) in [
        (0, "MIN alone", 0),
        (1, "MIN and HOUR at once", count as i64),
    ] {
        say(&format!("{SECTION}: {name}, {kind}"));
        // A new node each time, without work left from before.
        let _: Value = host.ask("DEL close")?;
        closing.wait_for(half);
        closing.report()?;
        // The CPU time of the idle server with the same data.
        let (start, before) = (Instant::now(), host.cpu()?);
        sleep(Duration::from_secs(2));
        let idle = (host.cpu()? - before) as f64 / start.elapsed().as_secs_f64();
        let (start, before) = (Instant::now(), host.cpu()?);
        let closed = closing.wait_for_records(count as i64, hours)?;
        let spent = (host.cpu()? - before) as f64 - idle * start.elapsed().as_secs_f64();
        let windows = if hours > 0 { 2.0 } else { 1.0 };
        let each = Spread::one(spent / closed.records as f64 * windows);
        let name = format!("{name}, {kind}, each metric");
        measurements.push(
            Measurement::new(SECTION, &name, Unit::Nanoseconds, each)
                .at_most(Target::Value(250.0))
                .noting(closed.describe()),
        );
    }
    say(&format!("{SECTION}: {name}, beside SETs"));
    let _: Value = host.ask("DEL close")?;
    closing.wait_for(1);
    closing.report()?;
    closing.wait_for(0);
    let since = reset(host)?;
    let probe = Probe::start(host.port())?;
    closing.wait_for_records(count as i64, count as i64)?;
    let latencies = probe.finish()?;
    measurements.extend(worst_cases(
        host,
        &format!("while {name}"),
        &latencies,
        since,
    )?);
    // The next nodes have the default windows.
    let _: Value = host.ask("CONFIG SET agg.hour-window 3600")?;
    let _: Value = host.ask("CONFIG SET agg.min-window 300")?;
    let _: Value = host.ask("UNLINK close")?;
    Ok(())
}

/// Lets some metrics expire while the others are reported continuously.
fn expiry(
    host: &Host,
    name: &str,
    count: usize,
    measurements: &mut Vec<Measurement>,
) -> Result<()> {
    // Long enough to report all other metrics twice.
    let ttl_s = 2 * window_s(count) as u64;
    let mut others = Metrics {
        host,
        node: "expire",
        count,
        random: Random(10),
    };
    others.sample(None)?;
    let mut quiet = Requests::build(64, EXPIRING, |i| {
        crate::rows::line(&format!("AGG.STAT expire quiet.{i} 1"))
    });
    let mut client = Clients::connect(host.port(), 1)?;
    client.run(&mut quiet, EXPIRING, b":1\r\n")?;
    sleep(Duration::from_secs(ttl_s));
    others.sample(None)?;
    let (mut requests, commands) = others.unbatched_requests();
    let since = reset(host)?;
    let probe = Probe::start(host.port())?;
    let _: Value = host.ask(&format!("CONFIG SET agg.series-ttl {ttl_s}"))?;
    let start = Instant::now();
    // All metrics within half their lifetime, in twenty steps per second.
    let step = commands.div_ceil(ttl_s as usize * 10);
    let left = loop {
        let left = metrics(host, "expire")?;
        if left <= count as i64 || start.elapsed() > Duration::from_secs(150) {
            break left;
        }
        client.run(&mut requests, step, b"*3")?;
        sleep(Duration::from_millis(45));
    };
    let took = start.elapsed().as_secs_f64();
    let latencies = probe.finish()?;
    let _: Value = host.ask("CONFIG SET agg.series-ttl 86400")?;
    if left < count as i64 {
        return Err(
            format!("only {left} metrics are left, also of those that were reported").into(),
        );
    }
    let expired = EXPIRING as i64 - (left - count as i64);
    let note = format!("; {expired} of {EXPIRING} expired after {took:.0} s");
    for mut measurement in worst_cases(host, name, &latencies, since)? {
        measurement.note += &note;
        measurements.push(measurement);
    }
    let _: Value = host.ask("UNLINK expire")?;
    Ok(())
}
