//! The slowest moments of a node with very many metrics: while they grow from none, when all windows close at once, and
//! when thousands expire. What the server itself noted, and what another client's SETs felt; and what closing costs.

use std::thread::sleep;
use std::time::{Duration, Instant};

use redis::Value;

use crate::figure::{Figure, Spread, Target, Unit};
use crate::fill::Metrics;
use crate::host::Host;
use crate::load::{Clients, Random, Requests};
use crate::options::Options;
use crate::probe::{Latencies, Probe};
use crate::{Outcome, say};
use testkit::{ask, at, int, now_ms};

const SECTION: &str = "moments";

/// How long the closing of windows is waited for.
const LONGEST: Duration = Duration::from_secs(60);

/// How many expire.
const EXPIRING: usize = 10_000;

/// What the module is given, so that nothing is dropped.
const SETTINGS: &str =
    "max-series 20000000 max-memory 8gb queue-min 2gb queue-hour 2gb flush-delay-ms 1000";

/// All rows.
pub fn run(options: &Options) -> Outcome<Vec<Figure>> {
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
    let mut figures = vec![idle(&host, options)?];
    let parts = [growth, closing, expiry];
    for (name, part) in names.iter().zip(parts) {
        if options.wants(SECTION, name) {
            say(&format!("{SECTION}: {name}"));
            // What fails does not take the others along.
            if let Err(error) = part(&host, name, count, &mut figures) {
                figures.push(Figure::missing(SECTION, name, &error.to_string()));
            }
        }
    }
    Ok(figures)
}

/// The windows of the node that closes, seconds: long enough to report all its metrics within one.
fn window_s(count: usize) -> i64 {
    (count as i64 / 100_000).clamp(3, 100)
}

/// SETs while nothing else goes on: what the machine itself does to them.
fn idle(host: &Host, options: &Options) -> Outcome<Figure> {
    say(&format!("{SECTION}: SETs alone"));
    let probe = Probe::start(host.port())?;
    sleep(Duration::from_secs(if options.quick { 3 } else { 10 }));
    let name = "p99.99 of SETs alone, for comparison";
    Ok(felt(name, &probe.finish()?))
}

/// The 99.99th percentile of SETs as a row.
fn felt(name: &str, latencies: &Latencies) -> Figure {
    let value = Spread::one(latencies.at(0.9999));
    Figure::new(SECTION, name, Unit::Milliseconds, value).noting(latencies.describe())
}

/// What the server itself noted since the last reset, and what SETs felt.
fn moment(host: &Host, name: &str, latencies: &Latencies, since: usize) -> Outcome<Vec<Figure>> {
    let (longest, which) = longest_command(host)?;
    let noted = noted(host, since)?;
    Ok(vec![
        Figure::new(
            SECTION,
            &format!("longest AGG command {name}"),
            Unit::Milliseconds,
            Spread::one(longest),
        )
        .at_most(Target::Value(1.0))
        .noting(format!("{which}; {noted}")),
        felt(&format!("p99.99 of SETs {name}"), latencies).at_most(Target::Value(2.0)),
    ])
}

/// Forgets what was noted; how long the log is.
fn reset(host: &Host) -> Outcome<usize> {
    let _: Value = host.ask("SLOWLOG RESET")?;
    let _: Value = host.ask("LATENCY RESET")?;
    let _: Value = host.ask("CONFIG RESETSTAT")?;
    Ok(host.log().len())
}

/// The longest AGG command that writes and what it was, by the server's own statistics; milliseconds.
fn longest_command(host: &Host) -> Outcome<(f64, String)> {
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
        // Looks at the node by this program are no part of it.
        let is_ours = name.to_uppercase().starts_with("AGG.") && !name.ends_with("INFO");
        if is_ours && ms > longest.0 {
            longest = (ms, name.to_owned());
        }
    }
    Ok(longest)
}

/// What the slowlog and the latency monitor have above a millisecond, and the log of long ticks of the timer.
fn noted(host: &Host, since: usize) -> Outcome<String> {
    let mut found = Vec::new();
    let slow: Vec<(i64, i64, i64, Vec<String>, Value, Value)> = host.ask("SLOWLOG GET 1024")?;
    let mut above: Vec<(i64, String)> = (slow.into_iter())
        .filter(|(_, _, us, ..)| *us > 1000)
        .map(|(_, _, us, words, ..)| (us, words.first().cloned().unwrap_or_default()))
        .collect();
    above.sort_by_key(|(us, _)| -us);
    if let Some((us, name)) = above.first() {
        found.push(format!(
            "slowlog has {} above 1 ms, the longest {name} of {:.2} ms",
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
            "log: {} long ticks of the timer, the last of {last}",
            ticks.len()
        ));
    }
    if found.is_empty() {
        found.push("slowlog and latency monitor have nothing above 1 ms".into());
    }
    Ok(found.join(", "))
}

fn metrics(host: &Host, node: &str) -> Outcome<i64> {
    let info: Value = host.ask(&format!("AGG.INFO {node}"))?;
    Ok(int(&info, "metrics"))
}

/// A number of a queue in AGG.INFO.
fn of_queue(info: &Value, queue: &str, field: &str) -> Outcome<i64> {
    let queues = at(info, "queues").ok_or("AGG.INFO has no queues")?;
    let queue = at(queues, queue).ok_or("AGG.INFO lacks a queue")?;
    Ok(int(queue, field))
}

/// New metrics, a few at once by one client, so that what SETs wait for is a command and not a queue of them.
fn growth(host: &Host, name: &str, count: usize, figures: &mut Vec<Figure>) -> Outcome<()> {
    let mut random = Random(8);
    let mut requests = Requests::build(4, count, |i| {
        let name = format!("cpu:{i:012}");
        vec!["AGG.STAT".into(), "grow".into(), name, random.value()]
    });
    let mut clients = Clients::connect(host.port(), 1)?;
    let since = reset(host)?;
    let probe = Probe::start(host.port())?;
    let ran = clients.run(&mut requests, count, b":1\r\n")?;
    let latencies = probe.finish()?;
    if ran.wrong > 0 || metrics(host, "grow")? != count as i64 {
        return Err(format!("not all were taken: {}", ran.first_wrong).into());
    }
    figures.extend(moment(host, name, &latencies, since)?);
    let _: Value = host.ask("UNLINK grow")?;
    Ok(())
}

/// Windows that were closed.
struct Closed {
    records: i64,
    expected: i64,
    /// From the first to the last.
    seconds: f64,
}

impl Closed {
    fn describe(&self) -> String {
        let Closed {
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

/// A node whose windows end all at once.
struct Closing<'a> {
    host: &'a Host,
    metrics: Metrics<'a>,
    window_ms: i64,
}

impl Closing<'_> {
    /// Sleeps until an hour window begins, or its second half.
    fn wait_for(&self, half: i64) {
        let hour = 2 * self.window_ms;
        let wait = (half * self.window_ms + 20 - now_ms()).rem_euclid(hour);
        sleep(Duration::from_millis(wait as u64));
    }

    /// Reports each metric once within the window that has begun.
    fn report(&mut self) -> Outcome<()> {
        let window = now_ms() / self.window_ms;
        self.metrics.sample(None)?;
        match now_ms() / self.window_ms == window {
            true => Ok(()),
            false => Err("the machine is too slow to report all metrics within a window".into()),
        }
    }

    /// Waits until as many records wait in the queues, but not for ever.
    fn wait_for_records(&self, min: i64, hour: i64) -> Outcome<Closed> {
        // One connection and few looks: their CPU time counts as well.
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
            if closed >= min && hours >= hour || start.elapsed() > LONGEST {
                return Ok(Closed {
                    records: closed + hours,
                    expected: min + hour,
                    seconds: began.unwrap_or(start).elapsed().as_secs_f64(),
                });
            }
            sleep(Duration::from_millis(200));
        }
    }
}

/// CPU time for closing MIN windows, and MIN and HOUR at once; then what SETs feel.
fn closing(host: &Host, name: &str, count: usize, figures: &mut Vec<Figure>) -> Outcome<()> {
    let window = window_s(count);
    // Each step has to be one where the second is a multiple of the first.
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
        // A new one each time: nothing of the time before is left to do.
        let _: Value = host.ask("DEL close")?;
        closing.wait_for(half);
        closing.report()?;
        // What the server takes with as much in it and nothing to do.
        let (start, before) = (Instant::now(), host.cpu()?);
        sleep(Duration::from_secs(2));
        let idle = (host.cpu()? - before) as f64 / start.elapsed().as_secs_f64();
        let (start, before) = (Instant::now(), host.cpu()?);
        let closed = closing.wait_for_records(count as i64, hours)?;
        let spent = (host.cpu()? - before) as f64 - idle * start.elapsed().as_secs_f64();
        let windows = if hours > 0 { 2.0 } else { 1.0 };
        let each = Spread::one(spent / closed.records as f64 * windows);
        let name = format!("{name}, {kind}, each metric");
        figures.push(
            Figure::new(SECTION, &name, Unit::Nanoseconds, each)
                .at_most(Target::Value(300.0))
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
    figures.extend(moment(host, &format!("while {name}"), &latencies, since)?);
    // The nodes that follow have the usual windows.
    let _: Value = host.ask("CONFIG SET agg.hour-window 3600")?;
    let _: Value = host.ask("CONFIG SET agg.min-window 300")?;
    let _: Value = host.ask("UNLINK close")?;
    Ok(())
}

/// Some go quiet, while the others are reported on and on.
fn expiry(host: &Host, name: &str, count: usize, figures: &mut Vec<Figure>) -> Outcome<()> {
    // Long enough to report all others twice.
    let ttl_s = 2 * window_s(count) as u64;
    let mut others = Metrics {
        host,
        node: "expire",
        count,
        random: Random(10),
    };
    others.sample(None)?;
    let mut quiet = Requests::build(64, EXPIRING, |i| {
        crate::commands::line(&format!("AGG.STAT expire quiet.{i} 1"))
    });
    let mut client = Clients::connect(host.port(), 1)?;
    client.run(&mut quiet, EXPIRING, b":1\r\n")?;
    sleep(Duration::from_secs(ttl_s));
    others.sample(None)?;
    let (mut requests, commands) = others.one_by_one();
    let since = reset(host)?;
    let probe = Probe::start(host.port())?;
    let _: Value = host.ask(&format!("CONFIG SET agg.series-ttl {ttl_s}"))?;
    let start = Instant::now();
    // All within half their lifetime, in twenty steps a second.
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
        return Err(format!("{left} metrics are left of those that were reported").into());
    }
    let gone = EXPIRING as i64 - (left - count as i64);
    let gone = format!("; {gone} of {EXPIRING} were gone after {took:.0} s");
    for mut figure in moment(host, name, &latencies, since)? {
        figure.note += &gone;
        figures.push(figure);
    }
    let _: Value = host.ask("UNLINK expire")?;
    Ok(())
}
