//! A reporter of metrics that existed before the attack, and a poller that drains their windows: every sample that was
//! accepted is found again in the delivered windows, except for windows that were dropped and counted as such.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use redis::{Connection, Value};

use testkit::*;

/// Windows of one and two seconds, with a delay that lets no sample of a slow machine miss its window.
pub const SHORT: &str = "min-window 1 hour-window 2 flush-delay-ms 1500";

/// Number of metrics of the reporter's node `live`.
const METRICS: usize = 40;

/// Count and sum by queue, metric and start.
type Windows = HashMap<(String, String, i64), (i64, f64)>;

/// See the file's header.
pub struct Reporter {
    is_over: Arc<AtomicBool>,
    reports: JoinHandle<(Windows, i64)>,
    polls: JoinHandle<Windows>,
}

impl Reporter {
    /// Starts. Its metrics exist when this returns.
    pub fn start(server: &Server) -> Reporter {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut connection = server.connection();
        let mut reported = Windows::new();
        let mut counters = vec![Counter::default(); METRICS];
        report(
            &mut connection,
            &mut Random(1),
            &mut reported,
            &mut counters,
        );
        report(
            &mut connection,
            &mut Random(2),
            &mut reported,
            &mut counters,
        );
        let o = is_over.clone();
        let reports = std::thread::spawn(move || {
            let (mut random, mut late) = (Random(3), 0);
            while !o.load(Relaxed) {
                late += report(&mut connection, &mut random, &mut reported, &mut counters);
                std::thread::sleep(Duration::from_millis(2));
            }
            (reported, late)
        });
        let mut connection = server.connection();
        let o = is_over.clone();
        let polls = std::thread::spawn(move || {
            let mut found = Windows::new();
            while !o.load(Relaxed) {
                poll(&mut connection, &mut found);
                std::thread::sleep(Duration::from_millis(30));
            }
            found
        });
        Reporter {
            is_over,
            reports,
            polls,
        }
    }

    /// Stops, waits until all windows have closed, and compares. Returns how many samples were counted and how many
    /// windows were dropped.
    pub fn stop(self, server: &Server) -> (i64, i64) {
        self.is_over.store(true, Relaxed);
        let (reported, late) = self.reports.join().expect("every sample is taken");
        let mut found = self.polls.join().expect("the poller continues");
        let mut connection = server.connection();
        until("all windows have closed", || {
            poll(&mut connection, &mut found);
            (0..METRICS).all(|i| is_quiet(server, i)).then_some(())
        });
        poll(&mut connection, &mut found);
        let info: Value = server.ask("AGG.INFO live");
        assert_eq!(
            int(&info, "late"),
            late,
            "samples answered 0, and counted as late"
        );
        let mut dropped = 0;
        for queue in ["MIN", "HOUR"] {
            // On a machine so slow that samples missed their MIN windows, the HOUR windows contain all samples.
            if queue == "MIN" && int(&info, "late-min") > 0 {
                continue;
            }
            let of = |windows: &Windows| -> Windows {
                let all = windows.iter().filter(|((q, ..), _)| q == queue);
                all.map(|(key, value)| (key.clone(), *value)).collect()
            };
            let (reported, found) = (of(&reported), of(&found));
            let lost: Vec<_> = reported
                .keys()
                .filter(|key| !found.contains_key(*key))
                .collect();
            let counted = of_queue(server, "live", queue, "dropped");
            assert_eq!(
                lost.len() as i64,
                counted,
                "{queue}: windows that never came, and windows that were dropped; lost {:?}",
                lost.first()
            );
            dropped += counted;
            for (key, value) in &found {
                assert_eq!(
                    reported.get(key),
                    Some(value),
                    "{key:?}: what was reported, and what came"
                );
            }
        }
        let min = reported.iter().filter(|((queue, ..), _)| queue == "MIN");
        (min.map(|(_, (count, _))| count).sum(), dropped)
    }
}

/// The reported total of a counter, and the part that no accepted sample has added yet.
#[derive(Clone, Default)]
struct Counter {
    total: i64,
    pending: i64,
}

/// Reports each metric once with the current time; every fourth is a counter. Returns how many samples were late.
fn report(
    connection: &mut Connection,
    random: &mut Random,
    reported: &mut Windows,
    counters: &mut [Counter],
) -> i64 {
    let at = now_ms();
    let mut commands: Vec<Words> = Vec::new();
    let mut values = Vec::new();
    for (i, counter) in counters.iter_mut().enumerate() {
        let value = random.below(1000) as i64;
        if i % 4 == 0 {
            let is_first = counter.total == 0;
            counter.total += value + 1;
            counter.pending += value + 1;
            let total = counter.total;
            commands.push(split(&format!("AGG.STAT live m{i} {total} DIFF AT {at}")));
            // The first sample only sets the total.
            values.push((!is_first).then_some(counter.pending));
        } else {
            commands.push(split(&format!("AGG.STAT live m{i} {value} AT {at}")));
            values.push(Some(value));
        }
    }
    let mut late = 0;
    for (i, answer) in burst(connection, &commands).into_iter().enumerate() {
        let answer = answer.unwrap_or_else(|error| panic!("m{i} is no longer counted: {error}"));
        if answer != Value::Int(1) {
            late += 1;
            continue;
        }
        counters[i].pending = 0;
        let Some(value) = values[i] else { continue };
        for (queue, length) in [("MIN", 1000), ("HOUR", 2000)] {
            let key = (queue.to_owned(), format!("m{i}"), at / length * length);
            let (count, sum) = reported.entry(key).or_default();
            *count += 1;
            *sum += value as f64;
        }
    }
    late
}

/// Drains what is available.
fn poll(connection: &mut Connection, found: &mut Windows) {
    let taken: Value = ask(connection, "AGG.POP live MIN HOUR COUNT 10000");
    for delivered in queued_records(&taken) {
        let record = delivered.json();
        let number = |name: &str| record[name].as_i64().unwrap();
        let key = (
            delivered.queue,
            record["metric"].as_str().unwrap().to_owned(),
            number("start"),
        );
        let value = (number("count"), record["sum"].as_f64().unwrap());
        assert_eq!(
            found.insert(key, value),
            None,
            "a window came twice: {record}"
        );
    }
}

fn is_quiet(server: &Server, i: usize) -> bool {
    let metric: Value = server.ask(&format!("AGG.GET live METRIC m{i}"));
    ["min", "hour"]
        .iter()
        .all(|length| list(at(&metric, length).unwrap()).is_empty())
}
