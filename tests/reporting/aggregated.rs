//! AGG.HIST: what aggregated samples change, and which are rejected.

use super::*;

const HIST: &str = "AGG.HIST node metric [SUM s] [MIN m] [MAX m] [TAGS tags] [AT ms] [SEQ source n] \
                    VALUES value times [value times ...]";

#[test]
fn aggregated_samples_are_counted() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms() - 1_000;
    for (i, options) in [
        format!("SUM 40.5 MIN 0.5 MAX 9 AT {t} TAGS 'a:1 b'"),
        format!("tags 'b a=1' at {t} max 9 min 0.5 sum 40.5"),
    ]
    .iter()
    .enumerate()
    {
        let line = format!("AGG.HIST n m{i} {options} VALUES 1 5 8 4 2 1");
        assert_eq!(tell::<i64>(&server, &line), 1);
        let shown: Value = server.ask(&format!("AGG.GET n METRIC m{i}"));
        assert_eq!(
            (text(&shown, "type"), text(&shown, "last")),
            ("ABS".into(), "2".into())
        );
        assert_eq!((int(&shown, "samples"), int(&shown, "at")), (10, t));
        assert_eq!(text(at(&shown, "tags").unwrap(), "a"), "1");
        for window in ["min", "hour"] {
            let open = &list(at(&shown, window).unwrap())[0];
            assert_eq!(int(open, "count"), 10);
            let values =
                ["sum", "avg", "min", "max", "last", "p50", "p90"].map(|f| double(open, f));
            assert_eq!(values, [40.5, 4.05, 0.5, 9.0, 2.0, 1.0, 8.0]);
        }
    }
    assert_eq!(server.ask::<String>("TYPE n"), "aggr-node");
    // The records have the percentiles.
    assert_eq!(server.ask::<i64>("AGG.FORGET n METRIC m0"), 1);
    for queue in ["MIN", "HOUR"] {
        let record = only(&server, queue).json();
        assert_eq!((&record["p50"], &record["p99"]), (&1.0.into(), &8.0.into()));
        assert_eq!(
            (&record["count"], &record["sum"]),
            (&10.into(), &40.5.into())
        );
    }
    let late = format!("AGG.HIST n m0 AT {t} VALUES 3 7 4 1");
    assert_eq!(tell::<i64>(&server, &late), 0);
    assert_eq!(int(&server.ask("AGG.INFO n"), "late"), 8);
}

#[test]
fn any_number_of_connections_adds_up_to_the_same_window() {
    let Some(server) = Server::with_settings(CALM) else {
        return;
    };
    let t = now_ms() - 1_000;
    let report = |connection: &mut redis::Connection, metric: &str, from: i64, to: i64| {
        let pairs = (from..to).map(|i| format!(" {} {}", i * i % 1_009 + 1, i % 5 + 1));
        let line = format!(
            "AGG.HIST n {metric} AT {t} VALUES{}",
            pairs.collect::<String>()
        );
        assert_eq!(ask::<i64>(connection, &line), 1);
    };
    report(&mut server.connection(), "whole", 0, 4_000);
    std::thread::scope(|threads| {
        for client in 0..8 {
            let mut connection = server.connection();
            threads.spawn(move || {
                for i in 0..50 {
                    let from = client * 500 + i * 10;
                    report(&mut connection, "parts", from, from + 10);
                }
            });
        }
    });
    let open = |metric: &str| {
        let shown: Value = server.ask(&format!("AGG.GET n METRIC {metric}"));
        list(at(&shown, "hour").unwrap())[0].clone()
    };
    let (whole, parts) = (open("whole"), open("parts"));
    assert_eq!(int(&whole, "count"), 12_000);
    for field in [
        "count", "sum", "avg", "min", "max", "p50", "p90", "p95", "p99",
    ] {
        assert_eq!(at(&whole, field), at(&parts, field), "{field}");
    }
}

#[test]
fn each_invalid_argument_is_named() {
    let Some(server) = stocked("") else { return };
    let arity = "ERR wrong number of arguments for 'AGG.HIST' command";
    assert_rejected_once(&server, &words("AGG.HIST"), arity);
    assert_rejected(&server, "AGG.HIST n m VALUES 1", arity);
    for (arguments, why) in [
        ("gauge 1 2 3", format!("unknown option '1'; usage: {HIST}")),
        (
            "gauge SUM 1 TAGS a",
            format!("VALUES is missing; usage: {HIST}"),
        ),
        (
            "gauge VALUES 1 2 3",
            "VALUES requires pairs of value and times, got 3 arguments".into(),
        ),
        (
            "gauge VALUES 1 1 0x10 1",
            "pair 1: invalid value '0x10': expected a decimal number".into(),
        ),
        (
            "gauge VALUES 1 1 1 1.5",
            "pair 1: invalid times '1.5': expected an integer from 1 to 4294967296".into(),
        ),
        (
            "gauge MIN 2 MAX 1 VALUES 1 1",
            "MIN 2 is above MAX 1".into(),
        ),
    ] {
        let why = format!("ERR AGG.HIST: {why}");
        assert_rejected(&server, &format!("AGG.HIST n {arguments}"), &why);
    }
    let why = "ERR AGG.HIST: metric 'counter' is DIFF, the sample ABS: use AGG.FORGET node METRIC name to reset the metric";
    assert_rejected_once(&server, &words("AGG.HIST n counter VALUES 1 1"), why);
    assert_eq!(node_rejections(&server, "type"), 1);
}
