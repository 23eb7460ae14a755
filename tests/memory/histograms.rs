//! Histograms of known metrics: they grow within the reserve of the metrics, whatever is reported while memory is full.

use redis::Value;

use crate::support::*;
use testkit::*;

const LIMIT: i64 = 4 << 20;

/// Fills a server with metrics that have small histograms, all in one window, and returns their number.
fn fill_with_metrics(server: &Server, at: i64) -> usize {
    let report = |i: usize| split(&format!("AGG.HIST n h{i} AT {at} VALUES 1 1"));
    let mut connection = server.connection();
    let is_rejected = |i: &usize| burst(&mut connection, &[report(*i)])[0].is_err();
    (0..10_000).find(is_rejected).expect("memory is limited")
}

/// Reports samples of all metrics in some windows one after the other, and returns the most that was held.
fn grow(what: &str, pairs: &str, singly: bool) {
    let _beside = beside();
    let settings = "max-memory 4mb max-series 100000 min-history 0 hour-history 0";
    let Some(server) = server(settings) else {
        return;
    };
    let start = now_ms() / 3_600_000 * 3_600_000 - 20 * 3_600_000;
    let metrics = fill_with_metrics(&server, start);
    let small = agg(&server, "agg_held");
    let mut connection = server.connection();
    let mut most = 0;
    for window in 0..14 {
        let at = start + window * 300_000;
        for i in 0..metrics {
            let commands: Vec<Words> = if singly {
                let pairs = split(pairs);
                let sample = |pair: &[Vec<u8>]| {
                    let [value, times] =
                        [0, 1].map(|i| String::from_utf8_lossy(&pair[i]).into_owned());
                    split(&format!(
                        "AGG.STAT n h{i} {value} HIST TIMES {times} AT {at}"
                    ))
                };
                pairs.chunks(2).map(sample).collect()
            } else {
                vec![split(&format!("AGG.HIST n h{i} AT {at} VALUES {pairs}"))]
            };
            for answer in burst(&mut connection, &commands) {
                assert_eq!(answer, Ok(Value::Int(1)), "samples of known metrics count");
            }
            if i % 20 == 0 {
                most = most.max(agg(&server, "agg_held"));
                assert!(most <= LIMIT, "{what}: {most} bytes held, window {window}");
            }
        }
    }
    println!("{what}: {metrics} metrics, at most {most} bytes held");
    assert!(most > small + small / 4, "the reports were too small");
}

/// Values of both signs whose magnitudes are in all of the range of doubles.
fn all_magnitudes(times: u64) -> String {
    let pair = |i: i64| format!("1e{i} {times} -1e{i} {times}");
    (-75..76).map(|i| pair(i * 4)).collect::<Vec<_>>().join(" ")
}

/// Opens as many windows of each metric as may be open while memory is available, then reports to all of them.
#[test]
fn histograms_of_many_open_windows_do_not_exceed_the_memory_limit() {
    let _beside = beside();
    let settings = "max-memory 4mb max-series 100000 min-history 0 hour-history 0 min-window 300 \
                    flush-delay-ms 900000";
    let Some(server) = server(settings) else {
        return;
    };
    let newest = now_ms() / 300_000 * 300_000;
    let starts: Vec<i64> = (0..4).map(|i| newest - i * 300_000).rev().collect();
    let mut connection = server.connection();
    let report =
        |i: usize, at: &i64, pairs: &str| split(&format!("AGG.HIST n h{i} AT {at} VALUES {pairs}"));
    let is_rejected = |i: &usize| {
        let commands: Vec<Words> = starts.iter().map(|at| report(*i, at, "1 1")).collect();
        burst(&mut connection, &commands).iter().any(Result::is_err)
    };
    let metrics = (0..10_000).find(is_rejected).expect("memory is limited");
    let open: Value = server.ask("AGG.GET n METRIC h0");
    // The oldest closes if a window begins meanwhile.
    assert!(list(at(&open, "min").unwrap()).len() >= 3, "{open:?}");
    let mut most = 0;
    for times in [1, 70_000, 1 << 32] {
        let pairs = all_magnitudes(times);
        for i in 0..metrics {
            let commands: Vec<Words> = starts.iter().map(|at| report(i, at, &pairs)).collect();
            burst(&mut connection, &commands);
            if i % 20 == 0 {
                most = most.max(agg(&server, "agg_held"));
                assert!(
                    most <= LIMIT,
                    "{most} bytes held, {times} times, metric {i}"
                );
            }
        }
    }
    println!("{metrics} metrics with four open windows: at most {most} bytes held");
}

#[test]
fn wide_counts_do_not_exceed_the_memory_limit() {
    let wide = "1 4294967296 1000 4294967296 30 70000";
    grow("AGG.HIST", wide, false);
    grow("AGG.STAT with TIMES", wide, true);
}

#[test]
fn values_of_all_magnitudes_do_not_exceed_the_memory_limit() {
    for times in [1, 70_000, 1 << 32] {
        grow("all magnitudes", &all_magnitudes(times), false);
    }
}
