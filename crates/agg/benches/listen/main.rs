//! Measures `agg listen`: the highest rate without loss, and its cost, on a machine that it shares with the sender and the
//! server; beside it the original statsd daemon with the same sender and packets.

mod http;
mod load;
mod machine;
mod otlp;
mod subject;
mod workload;

use aggregator_protocol::format::grouped;
use load::{Load, Trial};
use subject::Subject;

const HELP: &str = "\
Measures agg listen: what it receives without loss, and the CPU time that it takes, as a table in Markdown.

cargo bench -p agg --bench listen [-- [--long] [WORKLOAD...]]

Workloads: statsd, npm (the original statsd daemon), syslog, otlp, influxdb; all by default, in less than three minutes.
--long takes longer for each.

Datagrams and streams are sent at a steady rate. The highest rate is searched at which all is counted; it is measured again
for longer. What is lost at the next higher rate is in the table, too. Requests over HTTP are sent by 4 connections, each
of which waits for the answer: the server has counted the request then. CPU time is that of the processes, with their
part of the kernel.

Needs the module (make module, or AGG_MODULE), a server, and for the comparison Node and npm's statsd (make clients).";

/// The times for which rates are tried and measured, seconds.
#[derive(Clone, Copy)]
struct Times {
    trial: f64,
    measured: f64,
}

/// Measures a workload and prints its rows.
type Measure = fn(Times);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| words.iter().any(|given| given == word);
    if has("--help") || has("-h") {
        println!("{HELP}");
        return;
    }
    let times = match has("--long") {
        true => Times {
            trial: 2.0,
            measured: 10.0,
        },
        false => Times {
            trial: 0.6,
            measured: 3.0,
        },
    };
    let is_named = !words.iter().all(|word| word.starts_with('-'));
    println!("{}\n", machine::description());
    println!(
        "| workload | per second | per CPU second | ns each | server, ns each | sender, CPU s per s | at the next higher \
         rate |\n| --- | --- | --- | --- | --- | --- | --- |"
    );
    let all: [(&str, Measure); 5] = [
        ("statsd", statsd),
        ("npm", npm),
        ("syslog", syslog),
        ("otlp", otlp),
        ("influxdb", influxdb),
    ];
    for (name, measure) in all {
        if !is_named || has(name) {
            measure(times);
        }
    }
}

fn statsd(times: Times) {
    let loads = [
        ("statsd, 1,400-byte packets", workload::statsd(1400)),
        ("statsd, one sample per packet", workload::statsd(0)),
        ("DogStatsD, 1,400-byte packets", workload::dogstatsd(1400)),
    ];
    for (name, load) in &loads {
        row(name, &search(&listener("statsd"), load, 100_000.0, times));
    }
}

fn npm(times: Times) {
    let loads = [
        ("npm statsd, 1,400-byte packets", workload::statsd(1400)),
        ("npm statsd, one sample per packet", workload::statsd(0)),
    ];
    for (name, load) in &loads {
        match Subject::daemon() {
            Some(subject) => row(name, &search(&subject, load, 25_000.0, times)),
            None => {
                return println!(
                    "| without Node and npm's statsd there is no comparison | | | | | | |"
                );
            }
        }
    }
}

/// Starts `agg listen`; the reason is printed if it cannot be.
fn listener(protocol: &'static str) -> Subject {
    Subject::listener(protocol).unwrap_or_else(|| std::process::exit(1))
}

fn syslog(times: Times) {
    let loads = [
        ("syslog over UDP, lines", workload::syslog(false)),
        ("syslog over TCP, lines", workload::syslog(true)),
    ];
    for (name, load) in &loads {
        let subject = listener("syslog");
        row(name, &search(&subject, load, 50_000.0, times));
    }
}

fn otlp(times: Times) {
    let subject = listener("otlp");
    let bodies = (0..http::CONNECTIONS).map(otlp::request).collect();
    let load = http::Requests {
        path: "/v1/metrics",
        content_type: "application/x-protobuf",
        bodies,
        count: otlp::POINTS,
        samples: 1,
    };
    request_row(
        "OTLP/HTTP, points, 1,000 per request",
        &subject,
        &load,
        times,
    );
}

fn influxdb(times: Times) {
    let subject = listener("influxdb");
    let bodies = (0..http::CONNECTIONS).map(workload::influxdb).collect();
    let load = http::Requests {
        path: "/write?db=bench",
        content_type: "text/plain",
        bodies,
        count: workload::INFLUXDB_LINES,
        samples: 2,
    };
    request_row(
        "InfluxDB, lines of 2 fields, 1,000 per request",
        &subject,
        &load,
        times,
    );
}

fn request_row(name: &str, subject: &Subject, requests: &http::Requests, times: Times) {
    let trial = http::measure(subject, requests, times.measured);
    row(name, &(trial, String::new()));
}

/// Searches the highest rate without loss from a rate upwards, and measures it. Returns what happens at the next higher
/// rate, too.
fn search(subject: &Subject, load: &Load, from: f64, times: Times) -> (Trial, String) {
    let (mut good, mut bad, mut beyond) = (0.0, f64::INFINITY, String::new());
    let mut rate = from;
    while bad - good > good / 10.0 {
        let trial = load.send(subject, rate, times.trial);
        match trial.failure {
            None => good = rate,
            Some(_) => (bad, beyond) = (rate, failed(&trial, rate)),
        }
        rate = match bad.is_finite() {
            true => (good + bad) / 2.0,
            false => 2.0 * good,
        };
        assert!(rate > 100.0, "nothing is received");
    }
    loop {
        let trial = load.send(subject, good, times.measured);
        if trial.failure.is_none() {
            return (trial, beyond);
        }
        beyond = failed(&trial, good);
        good *= 0.93;
    }
}

/// Says what happened at a rate that was too high.
fn failed(trial: &Trial, rate: f64) -> String {
    let reason = trial.failure.unwrap_or_default();
    let share = 100.0 * trial.lost as f64 / trial.count as f64;
    let rate = grouped(rate as u64);
    match trial.lost {
        0 => format!("{rate}: {reason} is late, none lost"),
        _ => format!("{rate}: {reason} loses {share:.1} %"),
    }
}

fn row(name: &str, (trial, beyond): &(Trial, String)) {
    let count = trial.count as f64;
    let server = match trial.server {
        0.0 => String::new(),
        cpu => format!("{:.0}", 1e9 * cpu / count),
    };
    println!(
        "| {name} | {} | {} | {:.0} | {server} | {:.2} | {beyond} |",
        grouped((count / trial.seconds) as u64),
        grouped((count / trial.subject) as u64),
        1e9 * trial.subject / count,
        trial.sender / trial.seconds
    );
}
